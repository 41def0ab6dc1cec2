//! By when something is answered, and what `--timeout 5s`, `timeout=5s` and their like may say.

use std::time::{Duration, Instant};

use ready_probe_sdk::clock;
use ready_probe_sdk::clock::millis;
use ready_probe_sdk::connect::{failover, stage};
use ready_probe_sdk::freshness::Span;

use crate::duration::duration;
use crate::redact::shown;

/// How long before the deadline the checks end at the most: time to say what they answered, also on
/// a busy host.
const MAX_MARGIN: Duration = Duration::from_millis(100);

/// Longer than a busy machine takes to end a process.
pub const LATER: Duration = Duration::from_secs(1);

/// By when everything is answered.
#[derive(Debug, Clone, Copy)]
pub struct TimeLimit {
    /// The deadline.
    pub at: Instant,
    /// How long that was to be, for people: a part of it was gone when the first check was asked.
    pub set: Duration,
}

/// Parses how long something may take, which has to be long enough for something to happen.
pub fn parse(text: &str) -> Result<Duration, String> {
    let parsed = duration(text)?;
    if parsed < Duration::from_millis(1) {
        return Err(format!("{} leaves no time: at least 1ms", shown(text)));
    }
    Ok(parsed)
}

impl TimeLimit {
    /// The limit of a run that has so long from when it was started. The answers come first: the
    /// process itself is ended soon after the deadline.
    pub fn from(started: Instant, timeout: Duration) -> Self {
        Self {
            at: started + timeout - (timeout / 20).min(MAX_MARGIN),
            set: timeout,
        }
    }

    /// Waits for an answer until then, and no longer. The error is for people, and says how far it came.
    pub async fn hold<T>(
        self,
        asked: impl Future<Output = Result<T, String>>,
    ) -> Result<T, String> {
        let answer = stage::until(self.at, self.set, asked).await;
        answer.unwrap_or_else(Err)
    }

    /// An equal part of what is left, where so many are to be asked one after another.
    pub fn share(self, among: u32) -> Self {
        let left = self.at.saturating_duration_since(clock::instant());
        let set = failover::share(left, among);
        Self {
            at: clock::instant() + set,
            set,
        }
    }

    /// For whoever has to answer before somebody else's same limit.
    pub fn sooner(self) -> Self {
        Self {
            at: self.at - (self.set / 20).min(MAX_MARGIN),
            ..self
        }
    }

    /// For whoever leaves it to somebody else to say that time is up.
    pub fn later(self) -> Self {
        Self {
            at: self.at + LATER,
            ..self
        }
    }

    /// How long it was to be, for people.
    pub fn shown(self) -> Span {
        Span(millis(self.set))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn something_must_be_able_to_happen() {
        assert_eq!(parse("1ms"), Ok(Duration::from_millis(1)));
        for nothing in ["0", "0s", "999us", "5"] {
            assert!(parse(nothing).is_err(), "{nothing}");
        }
    }
}
