//! What a check has answered.

use std::time::Duration;

use crate::fleet::Fleet;
use crate::outcome::Outcome;

/// A check's outcome, and how long it took.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The outcome.
    pub outcome: Outcome,
    /// From the question to the answer.
    pub elapsed: Duration,
    /// Whom it has seen in a store, if that answered.
    pub fleets: Vec<Fleet>,
}

impl Answer {
    /// One for which nobody was asked.
    pub fn unasked(outcome: Outcome) -> Self {
        Self {
            outcome,
            elapsed: Duration::ZERO,
            fleets: Vec::new(),
        }
    }
}
