//! What a service has been through, counted for people. It decides nothing.

use serde::{Deserialize, Serialize};

use crate::machine::State;
use crate::question::Reply;
use crate::seen::Seen;

/// The counts of one service, since it is looked after.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Account {
    /// The time of day at which it came to where it stands.
    pub since_ms: u64,
    /// The time of day at which it was looked after last.
    pub seen_ms: u64,
    /// Answers: it works.
    pub passed: u64,
    /// Answers: it does not, or not yet.
    pub failed: u64,
    /// It could not be asked.
    pub unasked: u64,
    /// Restart commands that were started.
    pub restarts: u64,
    /// Restarts after which it worked.
    pub helped: u64,
    /// Restarts after which it did not.
    pub helped_not: u64,
    /// What it said last.
    pub reason: String,
}

impl Account {
    /// One that begins now.
    pub fn new(wall_ms: u64) -> Self {
        Self {
            since_ms: wall_ms,
            seen_ms: wall_ms,
            ..Self::default()
        }
    }

    /// Counts an answer.
    pub fn hear(&mut self, reply: &Reply) {
        let count = match reply.seen {
            Seen::Pass => &mut self.passed,
            Seen::Bad(_) | Seen::NotNow => &mut self.failed,
            Seen::CouldNotAsk => &mut self.unasked,
        };
        *count += 1;
        self.reason.clone_from(&reply.text);
    }

    /// Counts what has become of it.
    pub fn step(&mut self, before: &State, after: &State, wall_ms: u64) {
        self.seen_ms = wall_ms;
        if before.phase != after.phase {
            self.since_ms = wall_ms;
        }
        if after.attempts > before.attempts {
            self.helped_not += 1;
        } else if before.phase.is_restart() && after.works() {
            self.helped += 1;
        }
    }

    /// How many of its answers say that it works; none before the first.
    pub fn pass_rate(&self) -> Option<f64> {
        rate(self.passed, self.failed)
    }

    /// How many of its restarts have helped; none before the first has ended.
    pub fn restart_rate(&self) -> Option<f64> {
        rate(self.helped, self.helped_not)
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "for people: nobody counts beyond 2^52"
)]
fn rate(yes: u64, no: u64) -> Option<f64> {
    let all = yes.saturating_add(no);
    (all > 0).then(|| yes as f64 / all as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Now, Phase};
    use crate::seen::Cause;

    fn reply(seen: Seen) -> Reply {
        Reply {
            seen,
            text: "what it said".to_owned(),
            ..Reply::unasked("")
        }
    }

    #[test]
    fn nothing_is_divided_by_nothing() {
        let mut account = Account::new(5);
        assert_eq!((account.pass_rate(), account.restart_rate()), (None, None));
        account.hear(&reply(Seen::CouldNotAsk));
        assert_eq!(account.pass_rate(), None);
        account.hear(&reply(Seen::Pass));
        account.hear(&reply(Seen::Bad(Cause::Gone)));
        assert_eq!(account.pass_rate(), Some(0.5));
    }

    #[test]
    fn a_restart_helped_or_did_not_once_it_is_verified() {
        let now = Now {
            mono_ms: 1,
            wall_ms: 9,
            dice: 0,
        };
        let mut account = Account::new(5);
        let (mut before, mut after) = (State::new(now), State::new(now));
        before.phase = Phase::Verifying;
        after.phase = Phase::Probation;
        account.step(&before, &after, 9);
        assert_eq!((account.helped, account.since_ms), (1, 9));
        (after.phase, after.attempts) = (Phase::Backoff, 1);
        account.step(&before, &after, 12);
        assert_eq!((account.helped_not, account.restart_rate()), (1, Some(0.5)));
        // It works, in the process that it had before.
        (after.phase, after.attempts) = (Phase::Probation, 2);
        (before.phase, before.attempts) = (Phase::Verifying, 1);
        account.step(&before, &after, 12);
        assert_eq!((account.helped, account.helped_not), (1, 2));
        // It stays there.
        account.step(&after, &after.clone(), 15);
        assert_eq!((account.helped_not, account.since_ms), (2, 12));
    }
}
