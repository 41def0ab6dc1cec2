//! Questions that are under way, and the answers so far. Not remembered: whoever begins, asks.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::question::{Question, Reply};
use crate::schedule::LastAsked;
use crate::seen::Seen;
use crate::services::Service;

/// What may take longer is asked by itself.
const MAX_TOGETHER: Duration = Duration::from_secs(10);

/// Questions for whoever asks them.
#[derive(Debug)]
pub struct Ask {
    pub(super) slots: Vec<u64>,
    /// The questions.
    pub questions: Vec<Question>,
}

/// Their answers.
#[derive(Debug)]
pub struct Answered {
    pub(super) replies: Vec<(u64, Reply)>,
}

impl Ask {
    /// The answers, in the order of the questions.
    pub fn answered(self, replies: Vec<Reply>) -> Answered {
        Answered {
            replies: self.slots.into_iter().zip(replies).collect(),
        }
    }
}

/// One service's.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// No other has it, also under later settings: an answer to a question that is asked no more is nobody's.
    id: u64,
    /// It is being asked.
    is_asked: bool,
    /// What it is asked about is over: that answer says nothing of what is now.
    is_void: bool,
    /// Something has happened: it is asked at once.
    hurries: bool,
    /// Its answer takes no longer than others can wait.
    is_short: bool,
    /// When it was asked last.
    begun_ms: u64,
    /// When its last answer came.
    asked_ms: Option<u64>,
    heard_ms: Option<u64>,
    last: Option<Reply>,
    /// It is another than the one before.
    is_other: bool,
    unasked: u32,
}

/// Those of these services. Who is asked the same as before keeps its own, with the answer that is still to come.
pub(super) fn slots_of<'a>(
    services: &[Service],
    before: impl Iterator<Item = (&'a Service, Slot)>,
    so_far: &mut u64,
) -> Vec<Slot> {
    let mut before: BTreeMap<&str, (&Question, Slot)> = before
        .map(|(service, slot)| (service.name.as_str(), (&service.question, slot)))
        .collect();
    let slot = |service: &Service| match before.remove(service.name.as_str()) {
        Some((question, slot)) if *question == service.question => slot,
        Some(_) | None => {
            *so_far += 1;
            Slot::of(&service.question, *so_far)
        }
    };
    services.iter().map(slot).collect()
}

impl Slot {
    /// That of a service which is asked this.
    pub(super) fn of(question: &Question, id: u64) -> Self {
        Self {
            id,
            is_short: question.patience() <= MAX_TOGETHER,
            ..Self::default()
        }
    }

    /// Whose answers are its own.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

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
    pub(super) fn begin(&mut self, now_ms: u64) {
        self.begun_ms = now_ms;
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
        self.heard_ms = Some(now_ms);
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

    /// That it could not be asked so far says nothing of what comes: its restart command has ended.
    pub(super) fn begin_anew(&mut self) {
        self.unasked = 0;
    }

    /// It has to be asked again, whatever the schedule says; after the answer that is still to come, if there is one.
    pub(super) fn hurry(&mut self) {
        self.hurries = true;
    }

    /// When it was asked last.
    pub(super) fn begun_ms(&self) -> u64 {
        self.begun_ms
    }

    /// Whether it may be asked together with others, all of whom wait for the slowest answer: one that may be slow keeps
    /// nobody waiting.
    pub(super) fn is_quick(&self) -> bool {
        let is_well = match self.last.as_ref().map(|reply| reply.seen) {
            None | Some(Seen::Pass | Seen::NotNow) => true,
            Some(Seen::Bad(_) | Seen::CouldNotAsk) => false,
        };
        is_well && self.is_short
    }

    /// When its last answer came; none before.
    pub(super) fn heard_ms(&self) -> Option<u64> {
        self.heard_ms
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Labelled;
    use crate::question::What;
    use crate::seen::Cause;
    use crate::services::Source;

    #[test]
    fn who_is_asked_the_same_as_before_keeps_its_answers() {
        let folder = tempfile::tempdir().unwrap();
        let services = |names: &[(&str, &str)]| {
            let tables = names.iter().map(|(name, file)| {
                format!("[[service]]\nname = \"{name}\"\ncheck = [\"file:{file}\"]\n")
            });
            let path = folder.path().join("services.toml");
            std::fs::write(&path, tables.collect::<String>()).unwrap();
            let source = Source::read(&path).unwrap();
            source.services(None, &Labelled::new()).unwrap().all
        };
        let (first, then) = (
            services(&[("a", "/a"), ("b", "/b"), ("c", "/c")]),
            services(&[("x", "/x"), ("c", "/c"), ("b", "/other")]),
        );
        let mut so_far = 0;
        let mut slots = slots_of(&first, std::iter::empty(), &mut so_far);
        slots.iter_mut().for_each(|slot| slot.begin(1));
        let slots = slots_of(&then, first.iter().zip(slots), &mut so_far);
        let of_each = slots.iter().map(|slot| (slot.id(), slot.is_asked()));
        assert_eq!(Vec::from_iter(of_each), [(4, false), (3, true), (5, false)]);
    }

    #[test]
    fn who_may_be_slow_is_asked_by_itself() {
        let quick = [Seen::Pass, Seen::NotNow].map(|seen| (Some(seen), 5, true));
        let others = [
            Seen::Bad(Cause::Hung),
            Seen::Bad(Cause::Gone),
            Seen::CouldNotAsk,
        ];
        let others = others.map(|seen| (Some(seen), 5, false));
        let never = [
            (None, 10, true),
            (None, 11, false),
            (Some(Seen::Pass), 86_400, false),
        ];
        for (last, seconds, want) in quick.into_iter().chain(others).chain(never) {
            let mut slot = Slot::of(
                &Question {
                    checks: vec![What::Target("tcp://localhost:9#scope=own".to_owned())],
                    timeout_ms: seconds * 1_000,
                    ..Question::default()
                },
                1,
            );
            if let Some(seen) = last {
                let reply = Reply::unasked("");
                slot.hear(Reply { seen, ..reply }, 1);
            }
            assert_eq!(slot.is_quick(), want, "{last:?} {seconds}");
        }
    }
}
