//! Threads that wait for answers, so that the keeper does not.

use crate::children;
use crate::discovery;
use crate::engine::{Listed, Use};
use crate::keeper::{Answered, Ask};

/// Asks in a child of its own, and tells the answers when they have come.
pub fn ask(ask: Ask, tell: impl FnOnce(Answered) + Send + 'static) {
    let questions = ask.questions.clone();
    let (sender, taken) = std::sync::mpsc::channel::<(Ask, Box<dyn FnOnce(Answered) + Send>)>();
    let wait = move || {
        if let Ok((ask, tell)) = taken.recv() {
            let replies = children::ask(&ask.questions);
            tell(ask.answered(replies));
        }
    };
    match std::thread::Builder::new().spawn(wait) {
        // It waits for that.
        Ok(_) => drop(sender.send((ask, Box::new(tell)))),
        Err(e) => {
            let replies = children::unasked(&questions, &format!("no thread can be had: {e}"));
            tell(ask.answered(replies));
        }
    }
}

/// Asks an engine for its containers, and tells what came of it.
pub fn list(wanted: Use, tell: impl FnOnce(Listed) + Send + 'static) {
    let (sender, taken) = std::sync::mpsc::channel::<Box<dyn FnOnce(Listed) + Send>>();
    let wait = move || {
        if let Ok(tell) = taken.recv() {
            tell(discovery::look(&wanted));
        }
    };
    match std::thread::Builder::new().spawn(wait) {
        // It waits for that.
        Ok(_) => drop(sender.send(Box::new(tell))),
        Err(e) => tell(Listed::Trouble(format!("no thread can be had: {e}"))),
    }
}
