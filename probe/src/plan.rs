//! What is asked in one round, and the name by which each question is known from one probe to the
//! next.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;

use crate::answer::Answer;
use crate::stuck_child::StuckChild;
use crate::target::Target;
use ready_probe_sdk::connect::place::Place;

/// The longest target that the probe's memory holds as it is.
const MAX_KEY_BYTES: usize = 200;

/// What is asked in one round.
#[derive(Default)]
pub struct Plan {
    /// In the order in which they are reported.
    pub questions: Vec<Question>,
    /// Mounts that a child was asked about, and the child if it is stuck.
    pub children: Vec<(String, Option<StuckChild>)>,
}

/// One check of a round, and its answer if nobody has to be asked.
#[derive(Clone)]
pub struct Question {
    /// What is asked.
    pub target: Target,
    /// The check's identity from one probe to the next.
    pub key: String,
    /// Its answer, if that is known.
    pub settled: Option<Answer>,
    /// The mount that has to be asked, if it may hang.
    pub mount: Option<PathBuf>,
    /// It is about an agent that nobody named.
    pub discovered: bool,
}

impl Plan {
    /// A peer in one store or namespace says nothing about its namesake in another.
    pub fn tell_stores_apart(&mut self, place: Option<&Place>) {
        let Some(Place { store, namespace }) = place else {
            return;
        };
        let place = format!(" in {namespace} of {}", store.redacted());
        let asking = self.questions.iter_mut().filter(|q| q.target.asks_store());
        for question in asking {
            question.key = short(&format!("{}{place}", question.key));
        }
    }

    /// Adds a question; `discovered` says that nobody has named its agent.
    pub fn add(&mut self, target: Target, settled: Option<Answer>, discovered: bool) {
        // Two checks may differ in a secret only: they must not share a memory.
        let same = self
            .questions
            .iter()
            .filter(|other| other.target.redacted == target.redacted)
            .count();
        let key = match same {
            0 => short(&target.redacted),
            n => format!("{} ({})", short(&target.redacted), n + 1),
        };
        self.questions.push(Question {
            target,
            key,
            settled,
            mount: None,
            discovered,
        });
    }
}

/// A target as a key of a file that must stay small.
fn short(target: &str) -> String {
    if target.len() <= MAX_KEY_BYTES {
        return target.to_owned();
    }
    let mut hasher = DefaultHasher::new();
    target.hash(&mut hasher);
    let start: String = target.chars().take(MAX_KEY_BYTES / 4).collect();
    format!("{start}…{:016x}", hasher.finish())
}
