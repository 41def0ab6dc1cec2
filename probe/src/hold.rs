//! How long an answer may be held back, by what its asker is known to have heard. Pure.
//!
//! An engine counts answers. Whoever holds one back must be sure what the engine believes meanwhile: that is
//! what it has heard last. [`crate::memory`] knows whether that can be known.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::verdict::Verdict;

/// An answer that is no better than "healthy" is held this long at most: who never comes up must not turn red
/// later than by being asked again and again.
pub const FAILED_AT_MOST: Duration = Duration::from_secs(5);
/// The longest hold.
pub const LONGEST: Duration = Duration::from_secs(3_600);

/// Verdicts, as far as a change of them is news.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Healthy or degraded: exit status 0.
    Healthy,
    /// It has not come up yet.
    Starting,
    /// It does not work.
    Unhealthy,
}

impl From<Verdict> for Class {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Healthy | Verdict::Degraded => Self::Healthy,
            Verdict::Starting => Self::Starting,
            Verdict::Unhealthy => Self::Unhealthy,
        }
    }
}

/// What the asker has surely heard last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// The answer.
    pub class: Class,
    /// How many answers in a row were none of [`Class::Healthy`].
    pub failures: u32,
}

/// How an answer is to be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// At most so long, from the start of the run.
    pub longest: Duration,
    /// So many failed answers in a row make the container unhealthy: HEALTHCHECK's `--retries`.
    pub retries: u32,
}

impl Hold {
    /// How long an answer may be held, from the start of the run. Nothing if it is to be given at once.
    pub fn of(&self, heard: Option<Heard>, now: Class) -> Option<Duration> {
        let Heard { class, failures } = heard?;
        let failed = self.longest.min(FAILED_AT_MOST);
        match (class, now) {
            (Class::Healthy, Class::Healthy) => Some(self.longest),
            (Class::Starting, Class::Starting) => Some(failed),
            (Class::Unhealthy, Class::Unhealthy | Class::Starting) => {
                (failures >= self.retries).then_some(failed)
            }
            (Class::Healthy, Class::Starting | Class::Unhealthy)
            | (Class::Starting, Class::Healthy | Class::Unhealthy)
            | (Class::Unhealthy, Class::Healthy) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth_table() {
        use Class::{Healthy, Starting, Unhealthy};
        let long = Some(Duration::from_secs(25));
        let short = Some(FAILED_AT_MOST);
        let hold = Hold {
            longest: Duration::from_secs(25),
            retries: 3,
        };
        for (heard, failures, now, want) in [
            (Healthy, 0, Healthy, long),
            (Healthy, 0, Starting, None),
            (Healthy, 0, Unhealthy, None),
            (Starting, 1, Starting, short),
            (Starting, 900, Starting, short),
            (Starting, 900, Healthy, None),
            (Starting, 900, Unhealthy, None),
            (Unhealthy, 1, Healthy, None),
            (Unhealthy, 9, Healthy, None),
            (Unhealthy, 2, Unhealthy, None),
            (Unhealthy, 2, Starting, None),
            (Unhealthy, 3, Unhealthy, short),
            (Unhealthy, 3, Starting, short),
            (Unhealthy, 4, Unhealthy, short),
        ] {
            let heard = Heard {
                class: heard,
                failures,
            };
            assert_eq!(hold.of(Some(heard), now), want, "{heard:?} {now:?}");
        }
        for now in [Healthy, Starting, Unhealthy] {
            assert_eq!(hold.of(None, now), None, "nothing is sure: {now:?}");
        }
    }

    #[test]
    fn a_failed_answer_is_held_no_longer_than_any() {
        let hold = Hold {
            longest: Duration::from_secs(2),
            retries: 1,
        };
        for class in [Class::Starting, Class::Unhealthy] {
            let heard = Heard { class, failures: 1 };
            assert_eq!(hold.of(Some(heard), class), Some(Duration::from_secs(2)));
        }
    }

    #[test]
    fn degraded_is_healthy() {
        assert_eq!(Class::from(Verdict::Degraded), Class::Healthy);
        assert_eq!(Class::from(Verdict::Healthy), Class::Healthy);
    }
}
