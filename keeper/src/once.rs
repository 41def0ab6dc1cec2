//! `ready-keeper once`: one pass over all services, from the first question to the last verification.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use ready_probe_sdk::clock;

use crate::askers;
use crate::keeper::{Answered, Keeper};

/// How often a restart command is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Makes a pass. Returns whether every service works, or is meant not to.
pub fn run(keeper: &mut Keeper) -> bool {
    let (sender, answers) = channel();
    loop {
        for ask in keeper.due() {
            let sender = sender.clone();
            // Nobody listens when the pass is over.
            askers::ask(ask, move |answered| drop(sender.send(answered)));
        }
        let answered = wait(keeper, &answers);
        let has_answered = answered.is_some();
        keeper.round(answered);
        if !has_answered && !keeper.is_asking() && keeper.next_ms().is_none() {
            return keeper.all_work();
        }
    }
}

/// Waits for an answer, for what is due, or for the end of a command.
fn wait(keeper: &mut Keeper, answers: &Receiver<Answered>) -> Option<Answered> {
    loop {
        let left_ms = match keeper.next_ms() {
            Some(next_ms) => next_ms.saturating_sub(clock::mono_ms()),
            None if keeper.is_asking() => u64::MAX,
            None => 0,
        };
        if left_ms == 0 || keeper.restart_has_ended() {
            return answers.try_recv().ok();
        }
        let left = Duration::from_millis(left_ms);
        let pause = if keeper.restarts() {
            left.min(LOOK)
        } else {
            left
        };
        if let Ok(answered) = answers.recv_timeout(pause) {
            return Some(answered);
        }
    }
}
