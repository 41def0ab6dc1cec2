//! The report as one line of JSON. Its schema is `docs/report.schema.json`.

use std::time::Duration;

use serde::Serialize;

use super::limit::{MAX_BYTES, MAX_FIRST_LINE_BYTES, MAX_ROW_BYTES, cut};
use super::{Report, Row, milliseconds};

/// The version of the schema.
const SCHEMA: u32 = 1;

impl Report {
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
