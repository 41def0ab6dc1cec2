//! The report: one line that stands alone, then one line a check; or JSON.
//!
//! Docker keeps 4096 bytes of a health check's output, Podman 500.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use crate::outcome::Outcome;
use crate::verdict::{Ballot, Scope, Tolerance, Verdict};

/// All that is ever printed.
pub const MAX_BYTES: usize = 4_096;
/// What the first line may take.
pub const MAX_FIRST_LINE_BYTES: usize = 500;
/// The version of the JSON report; its schema is `docs/report.schema.json`.
const SCHEMA: u32 = 1;
/// What one row of a report may take, so that many fit.
const MAX_ROW_BYTES: usize = 400;

/// What a probe found.
#[derive(Debug)]
pub struct Report {
    /// The fold of all outcomes.
    pub verdict: Verdict,
    /// One row a check.
    pub rows: Vec<Row>,
    /// What else is to be said.
    pub notes: Vec<String>,
    /// This life of the container.
    pub epoch: String,
}

/// What became of one check.
#[derive(Debug)]
pub struct Row {
    /// What it is called.
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
    /// If it is `Unknown`: whether that is tolerated.
    pub tolerance: Tolerance,
    /// Its answer.
    pub outcome: Outcome,
    /// How long that took.
    pub elapsed: Duration,
}

impl Row {
    /// A check that could not even be found out, since settings can't be read.
    pub fn unknown(cause: &str) -> Self {
        Self {
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

    /// What the fold needs to know of it.
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

    /// `agent:translator` reads better as `agent translator:` in a sentence. Of a dependency it is said
    /// that it is one: nobody is to restart this container for it.
    fn named(&self) -> String {
        match (self.label.strip_prefix("agent:"), self.scope) {
            (Some(name), Scope::Own) => format!("agent {name}"),
            (None, Scope::Own) => self.label.clone(),
            (_, Scope::Dependency) => format!("dependency {}", self.label),
        }
    }
}

impl Report {
    /// The first line: verdict, the first check that explains it, why.
    pub fn first_line(&self) -> String {
        cut(
            &format!("{}: {}", self.verdict.word(), self.reason()),
            MAX_FIRST_LINE_BYTES,
        )
    }

    /// The whole text, at most [`MAX_BYTES`] with its line endings.
    pub fn text(&self) -> String {
        let mut text = self.first_line();
        text.push('\n');
        let width = self
            .rows
            .iter()
            .map(|row| row.label.chars().count())
            .max()
            .unwrap_or(0)
            .clamp(26, 48);
        let lines: Vec<String> = self.rows.iter().map(|row| row_text(row, width)).collect();
        let sizes: Vec<usize> = lines.iter().map(|line| line.len() + 1).collect();
        let notes: Vec<String> = self
            .notes
            .iter()
            .map(|note| cut(&format!(" note     {note}"), MAX_ROW_BYTES))
            .collect();
        let reserved: usize = notes.iter().map(|note| note.len() + 1).sum();
        let room = MAX_BYTES.saturating_sub(text.len() + reserved);
        let kept = self.fit(&sizes, room, 40);
        let omitted = lines.len() - kept.len();
        for line in kept.into_iter().filter_map(|i| lines.get(i)) {
            text.push_str(line);
            text.push('\n');
        }
        if omitted > 0 {
            // Writing to a String can't fail.
            let _ = writeln!(text, " …        {omitted} more checks left out");
        }
        for note in notes {
            text.push_str(&note);
            text.push('\n');
        }
        text
    }

    /// One line of JSON, at most [`MAX_BYTES`] with its line ending.
    pub fn json(&self, elapsed: Duration) -> String {
        let reason = self.reason();
        let rows: Vec<JsonRow<'_>> = self.rows.iter().map(JsonRow::from).collect();
        let size = |row| serde_json::to_string(row).map_or(0, |line| line.len() + 1);
        let sizes: Vec<usize> = rows.iter().map(size).collect();
        let mut json = Json {
            verdict: self.verdict.word(),
            reason: &cut(&reason, MAX_FIRST_LINE_BYTES),
            schema: SCHEMA,
            epoch: &self.epoch,
            elapsed_ms: milliseconds(elapsed),
            notes: self
                .notes
                .iter()
                .map(|note| cut(note, MAX_ROW_BYTES))
                .collect(),
            omitted: 0,
            checks: Vec::new(),
        };
        let frame = serde_json::to_string(&json).unwrap_or_default().len() + 24;
        let kept = self.fit(&sizes, MAX_BYTES.saturating_sub(frame), 0);
        json.omitted = rows.len() - kept.len();
        let rows = rows.into_iter().enumerate();
        json.checks = rows
            .filter(|(i, _)| kept.contains(i))
            .map(|(_, row)| row)
            .collect();
        let mut text = serde_json::to_string(&json).unwrap_or_default();
        text.push('\n');
        text
    }

    fn reason(&self) -> String {
        // The first of the heaviest.
        let heaviest = self.rows.iter().rev().max_by_key(|row| row.ballot().rank());
        match heaviest.filter(|row| row.ballot().rank() > 0) {
            Some(row) if row.target == AGENTS => row.outcome.text().to_owned(),
            Some(row) => format!("{}: {}", row.named(), row.outcome.text()),
            None => {
                let (agents, asked): (Vec<_>, Vec<_>) =
                    self.rows.iter().partition(|row| row.target == AGENTS);
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

    /// Chooses which of the rows, of these sizes, fit into `room` bytes: the heaviest first, in
    /// their own order. A line that says that some are left out takes `omission` bytes.
    fn fit(&self, sizes: &[usize], room: usize, omission: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..sizes.len()).collect();
        if sizes.iter().sum::<usize>() <= room {
            return order;
        }
        order.sort_by_key(|i| {
            let rank = self.rows.get(*i).map_or(0, |row| row.ballot().rank());
            std::cmp::Reverse(rank)
        });
        let mut left = room.saturating_sub(omission);
        order.retain(|i| {
            let size = sizes.get(*i).copied().unwrap_or(0);
            let fits = size <= left;
            left -= if fits { size } else { 0 };
            fits
        });
        order.sort_unstable();
        order
    }
}

/// The check that looks for agents; every other target has a scheme.
pub const AGENTS: &str = "agents";

/// What stands where the targets can't be known.
const SETTINGS: &str = "settings";

fn row_text(row: &Row, width: usize) -> String {
    let text = match (&row.outcome, row.outcome.text()) {
        (Outcome::Pass(_), "") => format!("{}ms", milliseconds(row.elapsed)),
        (
            Outcome::Pass(_) | Outcome::Blemished(_) | Outcome::Fail(_) | Outcome::Unknown(_),
            text,
        ) => text.to_owned(),
    };
    let optional = if row.required { "" } else { "(optional) " };
    cut(
        &format!(
            " {:<8} {:<width$} {optional}{text}",
            row.outcome.word(),
            row.label
        ),
        MAX_ROW_BYTES,
    )
}

#[derive(Serialize)]
struct Json<'a> {
    verdict: &'static str,
    reason: &'a str,
    schema: u32,
    epoch: &'a str,
    elapsed_ms: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
    #[serde(skip_serializing_if = "is_zero")]
    omitted: usize,
    checks: Vec<JsonRow<'a>>,
}

#[derive(Serialize)]
struct JsonRow<'a> {
    target: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    scope: &'static str,
    #[serde(skip_serializing_if = "is_false")]
    optional: bool,
    outcome: &'static str,
    reason: String,
    elapsed_ms: f64,
}

impl<'a> From<&'a Row> for JsonRow<'a> {
    fn from(row: &'a Row) -> Self {
        Self {
            target: cut(&row.target, MAX_ROW_BYTES / 2),
            name: (row.label != row.target).then_some(row.label.as_str()),
            scope: row.scope.word(),
            optional: !row.required,
            outcome: row.outcome.word(),
            reason: cut(row.outcome.text(), MAX_ROW_BYTES),
            elapsed_ms: milliseconds(row.elapsed),
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(n: &usize) -> bool {
    *n == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(b: &bool) -> bool {
    !*b
}

/// Milliseconds to one decimal, which is all that anybody reads.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

/// Cuts a text to `max` bytes at a character, and ends it in `…`.
fn cut(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let mut end = max.saturating_sub('…'.len_utf8());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests;
