//! The report: one line that stands alone, then one line a check; or JSON.

mod json;
pub mod limit;
mod text;

use std::time::Duration;

use crate::outcome::Outcome;
use crate::verdict::{Ballot, Scope, Tolerance, Verdict};

/// What a probe found.
#[derive(Debug)]
pub struct Report {
    /// The fold of all outcomes.
    pub verdict: Verdict,
    /// One row a check.
    pub rows: Vec<Row>,
    /// What else to say.
    pub notes: Vec<String>,
    /// This life of the container.
    pub epoch: String,
}

/// What became of one check.
#[derive(Debug)]
pub struct Row {
    /// What it is about.
    pub subject: Subject,
    /// Its name in the report.
    pub label: String,
    /// Its target, redacted.
    pub target: String,
    /// Whose fault it finds.
    pub scope: Scope,
    /// Whether it decides.
    pub required: bool,
    /// Whether it had passed before in this epoch.
    pub passed_before: bool,
    /// Whether there is no agent to say that the container is still starting.
    pub without_agents: bool,
    /// If it does not pass: whether that is tolerated.
    pub tolerance: Tolerance,
    /// Its answer.
    pub outcome: Outcome,
    /// How long that took.
    pub elapsed: Duration,
}

/// What a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Which agents there are.
    Agents,
    /// One agent, called by its name.
    Agent,
    /// Anything else.
    Other,
}

impl Row {
    /// A check that nobody could even find out, since the settings can't be read.
    pub fn unknown(cause: &str) -> Self {
        Self {
            subject: Subject::Other,
            label: SETTINGS.to_owned(),
            target: SETTINGS.to_owned(),
            scope: Scope::Own,
            required: true,
            passed_before: false,
            without_agents: false,
            tolerance: Tolerance::Exhausted,
            outcome: Outcome::unknown(cause),
            elapsed: Duration::ZERO,
        }
    }

    /// What the fold has to know about it.
    pub fn ballot(&self) -> Ballot<'_> {
        Ballot {
            outcome: &self.outcome,
            required: self.required,
            scope: self.scope,
            passed_before: self.passed_before,
            without_agents: self.without_agents,
            tolerance: self.tolerance,
        }
    }

    /// In a sentence, `agent:translator` reads better as `agent translator:`. A dependency is
    /// called one: nobody should restart this container for it.
    fn named(&self) -> String {
        match (self.scope, self.subject) {
            (Scope::Own, Subject::Agent) => self.label.replacen(':', " ", 1),
            (Scope::Own, Subject::Agents | Subject::Other) => self.label.clone(),
            (Scope::Dependency, _) => format!("dependency {}", self.label),
        }
    }
}

impl Report {
    fn reason(&self) -> String {
        // The first of the heaviest.
        let heaviest = self.rows.iter().rev().max_by_key(|row| row.ballot().rank());
        match heaviest.filter(|row| row.ballot().rank() > 0) {
            Some(row) if row.subject == Subject::Agents => row.outcome.text().to_owned(),
            Some(row) => format!("{}: {}", row.named(), row.outcome.text()),
            None => {
                let (agents, asked): (Vec<_>, Vec<_>) = self
                    .rows
                    .iter()
                    .partition(|row| row.subject == Subject::Agents);
                let checks = match asked.len() {
                    1 => "1 check passes".to_owned(),
                    n => format!("{n} checks pass"),
                };
                let discovered = agents.iter().map(|row| row.outcome.text());
                let also = discovered.chain(self.notes.iter().map(String::as_str));
                also.fold(checks, |line, note| format!("{line}; {note}"))
            }
        }
    }
}

/// What is shown if the targets can't be known.
const SETTINGS: &str = "settings";

/// Milliseconds to one decimal, which is all that anybody reads.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

#[cfg(test)]
mod tests;
