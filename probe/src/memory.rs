//! The probe's memory: what each check answered before, in this life of the container. Grace is
//! counted from it.
//!
//! [`Keeper`] keeps it in a file. If that is missing, foreign or corrupt, there is no grace, and
//! the report says so. It can make an Unknown tolerable, or turn a "no" of peers into an Unknown if
//! those that were ready are missing; never into a "yes".

mod asker_limit;
mod asker_pace;
mod file;
mod missing_peers;
mod told;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::fleet::Fleet;
use crate::grace::Grace;
use crate::outcome::Outcome;
use crate::stuck_child::StuckChild;
use crate::verdict::Tolerance;
pub use file::{Keeper, Recalled, SHORT_PATIENCE};
pub use missing_peers::Roster;
pub use told::{Begun, Ending, Holder, Told};

/// The version of the file.
const VERSION: u32 = 1;
/// At most this many checks are remembered; those with the oldest answers are forgotten. Trying out
/// targets by hand leaves one each.
const MAX_CHECKS: usize = 500;
/// A memory is written anew at least this often, although nothing in it changes: one that has not
/// been written for days belongs to nobody.
const REWRITE_MS: u64 = 3_600_000;

/// Checks by their identity, and what they answer now.
type Answers<'a> = [(&'a str, &'a Outcome)];

/// What one round of a probe has learned.
#[derive(Debug, Default)]
pub struct News<'a> {
    /// What the checks answer now.
    pub answers: Vec<(&'a str, &'a Outcome)>,
    /// Whom the checks that ask a store have seen there, if it answered.
    pub fleets: Vec<(&'a str, &'a [Fleet])>,
    /// Mounts that a child was asked about, and the child if it is stuck.
    pub children: &'a [(String, Option<StuckChild>)],
}

/// What is remembered of every check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    v: u32,
    #[serde(default)]
    written_ms: u64,
    checks: BTreeMap<String, Past>,
    /// Children that wait for a file system, by its mount.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    stuck: BTreeMap<String, StuckChild>,
    /// Who was ready, of the checks that ask a store.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    peers: BTreeMap<String, Roster>,
    /// What askers of held answers were told, by their command lines.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    told: BTreeMap<String, Told>,
}

/// What is remembered of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// Whether it has passed in this epoch.
    pub passed: bool,
    /// The last definite answer.
    pub definite: Option<Answered>,
    /// The last answer.
    pub last: Answered,
    /// Since when it answers so: `CLOCK_MONOTONIC` in milliseconds.
    pub since_ms: u64,
    /// Since when it has not passed, whatever it answered instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_pass_since_ms: Option<u64>,
}

/// An outcome without its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answered {
    /// Yes.
    Pass,
    /// No.
    Fail,
    /// Nobody knows.
    Unknown,
}

impl From<&Outcome> for Answered {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Pass(_) | Outcome::Blemished(_) => Self::Pass,
            Outcome::Fail(_) => Self::Fail,
            Outcome::Unknown(_) => Self::Unknown,
        }
    }
}

impl Memory {
    /// What is remembered of a check.
    pub fn past(&self, key: &str) -> Option<&Past> {
        self.checks.get(key)
    }

    /// The child that is stuck where a file system is mounted.
    pub fn stuck(&self, point: &str) -> Option<&StuckChild> {
        self.stuck.get(point)
    }

    /// Adds what was learned now; says whether that is worth writing.
    pub fn learn(&mut self, news: &News<'_>, now_ms: u64) -> bool {
        // Whom a check has seen is judged by its present answer.
        let has_answered = self.add(&news.answers, now_ms);
        let has_seen = self.add_fleets(&news.fleets, now_ms);
        self.note_children(news.children) | has_answered | has_seen
    }

    /// Notes which children are stuck, and which mounts have answered; says whether that is worth
    /// writing.
    fn note_children(&mut self, children: &[(String, Option<StuckChild>)]) -> bool {
        let mut changed = false;
        for (point, stuck) in children {
            changed |= match stuck {
                Some(stuck) => self.stuck.insert(point.clone(), *stuck) != Some(*stuck),
                None => self.stuck.remove(point).is_some(),
            };
        }
        changed
    }

    /// Adds what was answered now; says whether that is worth writing.
    fn add(&mut self, answers: &Answers<'_>, now_ms: u64) -> bool {
        let mut changed = now_ms.saturating_sub(self.written_ms) >= REWRITE_MS;
        for (key, outcome) in answers {
            let next = Past::after(self.past(key), (*outcome).into(), now_ms);
            changed |= self.checks.insert((*key).to_owned(), next) != Some(next);
        }
        self.stamp(now_ms);
        self.forget_oldest(&answers.iter().map(|(key, _)| *key).collect());
        changed
    }

    fn stamp(&mut self, now_ms: u64) {
        self.v = VERSION;
        self.written_ms = now_ms;
    }

    fn is_of_this_version(&self) -> bool {
        self.v == VERSION
    }

    /// Forgets checks beyond [`MAX_CHECKS`], but never one that was `asked` now.
    fn forget_oldest(&mut self, asked: &BTreeSet<&str>) {
        while self.checks.len() > MAX_CHECKS {
            let others = self
                .checks
                .iter()
                .filter(|(key, _)| !asked.contains(key.as_str()));
            let Some((oldest, _)) = others.min_by_key(|(_, past)| past.since_ms) else {
                return;
            };
            let oldest = oldest.clone();
            self.checks.remove(&oldest);
        }
    }
}

impl Past {
    /// What to remember after `answer`.
    fn after(before: Option<&Self>, answer: Answered, now_ms: u64) -> Self {
        let definite = match answer {
            Answered::Pass | Answered::Fail => Some(answer),
            Answered::Unknown => before.and_then(|past| past.definite),
        };
        let no_pass_before = before.and_then(|past| past.no_pass_since_ms);
        Self {
            no_pass_since_ms: match answer {
                Answered::Pass => None,
                Answered::Fail | Answered::Unknown => Some(
                    no_pass_before
                        .filter(|since_ms| *since_ms <= now_ms)
                        .unwrap_or(now_ms),
                ),
            },
            passed: answer == Answered::Pass || before.is_some_and(|past| past.passed),
            definite,
            last: answer,
            since_ms: match before {
                // If the clock went back, this is another boot: count from now.
                Some(past) if past.last == answer && past.since_ms <= now_ms => past.since_ms,
                Some(_) | None => now_ms,
            },
        }
    }

    /// How long it has answered as it does now.
    pub fn lasted_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.since_ms)
    }

    /// Whether an `Unknown` is tolerated: the last definite answer was `Pass`, and the grace,
    /// counted from the first `Unknown` after it, is not over.
    pub fn tolerance(&self, grace: Grace, now_ms: u64) -> Tolerance {
        match self.definite {
            Some(Answered::Pass) => grace.tolerance(self.since_ms, now_ms),
            Some(Answered::Fail | Answered::Unknown) | None => Tolerance::Exhausted,
        }
    }
}

#[cfg(test)]
mod tests;
