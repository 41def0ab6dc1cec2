//! The child's side: asks what concerns one mount, and prints each answer as it comes.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::answer::Answer;
use crate::fleet::Fleet;
use crate::outcome::Outcome;

/// One answer, as a child prints it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AnswerLine {
    /// The question's key.
    pub key: String,
    /// The answer.
    pub outcome: Outcome,
    /// How long it took, in microseconds.
    elapsed_us: u64,
    /// Whom the check has seen in a store.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    fleets: Vec<Fleet>,
    /// It is about an agent that was found there, which the parent does not know.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub discovered: bool,
}

impl AnswerLine {
    /// The answer to a question.
    pub fn new(key: &str, answer: &Answer, discovered: bool) -> Self {
        Self {
            key: key.to_owned(),
            outcome: answer.outcome.clone(),
            elapsed_us: u64::try_from(answer.elapsed.as_micros()).unwrap_or(u64::MAX),
            fleets: answer.fleets.clone(),
            discovered,
        }
    }

    /// The answer it is.
    pub fn answer(self) -> Answer {
        Answer {
            outcome: self.outcome,
            elapsed: Duration::from_micros(self.elapsed_us),
            fleets: self.fleets,
        }
    }

    /// Prints it. If the parent is gone, there is nobody to tell.
    pub fn print(&self) {
        if let Ok(mut text) = serde_json::to_vec(self) {
            text.push(b'\n');
            let _ = std::io::stdout().write_all(&text);
        }
    }
}

/// The mount that this process has to ask, if it is such a child.
pub fn mount() -> Option<PathBuf> {
    let role = crate::role::role()?;
    Some(PathBuf::from(role.to_str()?.strip_prefix("asks ")?))
}
