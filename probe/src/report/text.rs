//! The report as text: one line that stands alone, then one line a check.

use std::fmt::Write;

use super::limit::{MAX_BYTES, MAX_FIRST_LINE_BYTES, MAX_ROW_BYTES, cut};
use super::{Report, Row, milliseconds};
use crate::outcome::Outcome;

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
}

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
