//! By when something is answered.

use std::time::{Duration, Instant};

use ready_probe_sdk::clock;
use ready_probe_sdk::clock::millis;
use ready_probe_sdk::connect::{servers, stage};
use ready_probe_sdk::freshness::Span;

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
        let set = servers::share(left, among);
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
