//! Questions that are under way, and the answers so far. Not remembered: whoever begins, asks.

use crate::question::{Question, Reply};
use crate::schedule::LastAsked;
use crate::seen::Seen;

/// Questions for whoever asks them.
#[derive(Debug)]
pub struct Ask {
    pub(super) generation: u64,
    pub(super) numbers: Vec<usize>,
    /// The questions.
    pub questions: Vec<Question>,
}

/// Their answers.
#[derive(Debug)]
pub struct Answered {
    pub(super) generation: u64,
    pub(super) replies: Vec<(usize, Reply)>,
}

impl Ask {
    /// The answers, in the order of the questions.
    pub fn answered(self, replies: Vec<Reply>) -> Answered {
        Answered {
            generation: self.generation,
            replies: self.numbers.into_iter().zip(replies).collect(),
        }
    }
}

/// One service's.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// It is being asked.
    is_asked: bool,
    /// What it is asked about is over: that answer says nothing of what is now.
    is_void: bool,
    /// Something has happened: it is asked at once.
    hurries: bool,
    asked_ms: Option<u64>,
    last: Option<Reply>,
    /// It is another than the one before.
    is_other: bool,
    unasked: u32,
}

impl Slot {
    /// As the schedule wants it; none while it is asked.
    pub(super) fn asking(&self, interval_ms: u64) -> Option<LastAsked> {
        (!self.is_asked).then(|| LastAsked {
            asked_ms: self.asked_ms.filter(|_| !self.hurries),
            last: self.last.as_ref().map(|reply| reply.seen),
            unasked: self.unasked,
            interval_ms,
        })
    }

    /// Whether its answer is still to come.
    pub(super) fn is_asked(&self) -> bool {
        self.is_asked
    }

    /// It is asked from now on.
    pub(super) fn begin(&mut self) {
        (self.is_asked, self.is_void, self.hurries) = (true, false, false);
    }

    /// It is not asked: a person has stopped it.
    pub(super) fn skip(&mut self, now_ms: u64) {
        self.asked_ms = Some(now_ms);
        self.hurries = false;
    }

    /// Takes an answer. Returns what it says of what is now.
    pub(super) fn hear(&mut self, reply: Reply, now_ms: u64) -> Option<Seen> {
        self.is_asked = false;
        if std::mem::take(&mut self.is_void) {
            return None;
        }
        self.asked_ms = Some(now_ms);
        let seen = reply.seen;
        self.unasked = match seen {
            Seen::CouldNotAsk => self.unasked.saturating_add(1),
            Seen::Pass | Seen::Bad(_) | Seen::NotNow => 0,
        };
        self.is_other = self.last.as_ref().map(|last| last.seen) != Some(seen);
        self.last = Some(reply);
        Some(seen)
    }

    /// An answer that is still to come is about what was before this.
    pub(super) fn void(&mut self) {
        self.is_void = self.is_asked;
    }

    /// It has to be asked again, whatever the schedule says; after the answer that is still to come, if there is one.
    pub(super) fn hurry(&mut self) {
        self.hurries = true;
    }

    /// Its last answer.
    pub(super) fn last(&self) -> Option<&Reply> {
        self.last.as_ref()
    }

    /// Whether that is another than the one before.
    pub(super) fn is_other(&self) -> bool {
        self.is_other
    }

    /// The process of its last answer.
    pub(super) fn process(&self) -> Option<(u32, u64)> {
        self.last.as_ref()?.process
    }

    /// That process is gone.
    pub(super) fn lose_process(&mut self) {
        if let Some(last) = &mut self.last {
            last.process = None;
        }
        self.hurry();
    }
}
