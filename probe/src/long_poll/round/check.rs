//! One check of a held answer: what it has answered, how it is asked, and when again.

use std::time::Duration;

use ready_probe_sdk::clock::{self, millis};

use ready_probe::answer::Answer;
use ready_probe::plan::Question;
use ready_probe::target::{Kind, Target};

/// One check.
pub(super) struct Check {
    pub(super) question: Question,
    /// As it came.
    pub(super) answer: Answer,
    /// When it came, by `CLOCK_MONOTONIC` in milliseconds.
    pub(super) came_ms: u64,
    /// It has come since the last report.
    pub(super) is_fresh: bool,
    /// It is being asked.
    pub(super) is_asked: bool,
    /// Something has happened since that was begun.
    asks_again: bool,
    /// When it is to be asked again, by `CLOCK_MONOTONIC` in milliseconds.
    pub(super) due_ms: Option<u64>,
    pub(super) way: Way,
    /// What the agents within it have said: only if that changes, they are a reason to ask the others.
    pub(super) within: Vec<&'static str>,
}

/// How a check is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Its records are read at once.
    Agent,
    /// It needs no process.
    Here,
    /// It starts one.
    Process,
}

impl Check {
    /// It has just been asked.
    pub(super) fn new(question: Question, answer: Answer) -> Self {
        let target = &question.target;
        let way = match (&target.kind, &question.mount) {
            (Kind::Agent { .. } | Kind::Agents, None) => Way::Agent,
            (_, Some(_)) => Way::Process,
            (_, None) if target.asks(|kind| matches!(kind, Kind::Exec(_))) => Way::Process,
            (_, None) => Way::Here,
        };
        Self {
            due_ms: next_ms(target),
            question,
            answer,
            came_ms: clock::mono_ms(),
            is_fresh: true,
            is_asked: false,
            asks_again: false,
            way,
            within: Vec::new(),
        }
    }

    pub(super) fn is_due(&self, now_ms: u64) -> bool {
        self.due_ms.is_some_and(|due_ms| due_ms <= now_ms)
    }

    /// Is asked at this time, or before.
    pub(super) fn ask_by(&mut self, ms: u64) {
        self.due_ms = Some(self.due_ms.map_or(ms, |due_ms| due_ms.min(ms)));
    }

    /// Something has happened that concerns it.
    pub(super) fn ask_now(&mut self) {
        self.due_ms = Some(clock::mono_ms());
        self.asks_again = self.is_asked;
    }

    /// Whoever was asked has answered.
    pub(super) fn answered(&mut self, answer: Answer) {
        self.is_asked = false;
        self.renew(answer);
        self.due_ms = match std::mem::take(&mut self.asks_again) {
            true => Some(self.came_ms),
            false => next_ms(&self.question.target),
        };
    }

    pub(super) fn renew(&mut self, answer: Answer) {
        self.answer = answer;
        self.came_ms = clock::mono_ms();
        self.is_fresh = true;
    }
}

/// When it is to be asked again if nothing happens, once it has been asked now.
fn next_ms(target: &Target) -> Option<u64> {
    let recheck = target.recheck.or_else(|| default_recheck(target))?;
    Some(clock::mono_ms().saturating_add(millis(recheck)))
}

/// What is cheap to ask is asked every second. A command leaves lines in logs, or takes a fork; a server is asked
/// by every container of a fleet. Of an agent the folder tells.
fn default_recheck(target: &Target) -> Option<Duration> {
    let seconds = match &target.kind {
        Kind::Agents | Kind::Agent { .. } => return None,
        Kind::Connect(_) | Kind::Pid(_) | Kind::File(_) => 1,
        Kind::Redis(_)
        | Kind::Nats(_)
        | Kind::Http(_)
        | Kind::Supervisor(_)
        | Kind::Container(_)
        | Kind::Peer { .. }
        | Kind::Process { .. } => 5,
        // What runs out does so slowly, and decides nothing unless it is told to.
        Kind::Exec(_) | Kind::Resource(_) => 10,
        Kind::Any(targets) => return targets.iter().filter_map(default_recheck).max(),
    };
    Some(Duration::from_secs(seconds))
}
