//! What `list` prints for people.

use std::fmt::Write;

use ready_probe_sdk::clock::{self, millis};
use ready_probe_sdk::freshness::Span;
use ready_probe_sdk::signal::Name;

use super::{Listing, MAX_QUOTE_CHARS, place};
use crate::instances::{ListRow, ListStanding, Summary};
use ready_probe::settings::Settings;

const HEAD: [&str; 6] = ["AGENT", "STATE", "FOR", "BEAT", "INSTANCE", "REASON"];
const WIDE: [&str; 6] = ["SINCE", "HOST", "PID", "TTL", "SDK", "DETAILS"];

/// The whole text.
pub fn text(listing: &Listing, wide: bool, settings: &Settings) -> String {
    let mut text = String::new();
    let mut say = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    for why in &listing.unanswered {
        say(&format!("not asked: {why}"));
    }
    if let (Some(why), Some(place)) = (&listing.away, &settings.place) {
        let store = place.value.store.redacted();
        say(&format!("the store {store} can't be asked: {why}"));
        say("this container alone:");
    }
    if listing.rows.is_empty() {
        let place = if listing.away.is_some() {
            super::folder(settings)
        } else {
            place(settings)
        };
        say(&format!("no signals in {place}"));
    } else {
        say(&Summary::of(&listing.rows).text());
    }
    let unmet = &listing.unmet;
    for (what, names) in [("missing", &unmet.missing), ("not ready", &unmet.not_ready)] {
        if !names.is_empty() {
            let names: Vec<&str> = names.iter().map(Name::as_str).collect();
            say(&format!("{what}: {}", names.join(", ")));
        }
    }
    let rows: Vec<Vec<String>> = listing
        .shown()
        .map(|row| cells(row, wide, settings))
        .collect();
    if !rows.is_empty() {
        text.push_str(&table(wide, rows));
    }
    text
}

fn cells(row: &ListRow, wide: bool, settings: &Settings) -> Vec<String> {
    let quote = |text: &str| settings.secrets.quote(text, MAX_QUOTE_CHARS);
    let or_dash = |text: Option<String>| text.filter(|t| !t.is_empty()).unwrap_or("-".to_owned());
    let span = |ms: Option<u64>| or_dash(ms.map(|ms| Span(ms).to_string()));
    let mut cells = vec![
        row.agent.to_string(),
        row.standing.word().to_owned(),
        span(state_age_ms(row)),
        span(row.beat_age_ms),
        quote(&row.instance),
    ];
    if wide {
        let signal = row.signal.as_ref();
        let details = signal
            .map(|signal| &signal.details)
            .filter(|d| !d.is_empty());
        let details = details.and_then(|details| serde_json::to_string(details).ok());
        let quoted = |text: Option<&str>| or_dash(text.map(quote));
        cells.extend([
            quoted(signal.and_then(|signal| signal.since.as_deref())),
            quoted(signal.and_then(|signal| signal.host.as_deref())),
            or_dash(
                signal
                    .and_then(|signal| signal.pid)
                    .map(|pid| pid.to_string()),
            ),
            span(signal.and_then(|signal| signal.ttl_ms)),
            quoted(signal.and_then(|signal| signal.sdk.as_deref())),
            quoted(details.as_deref()),
        ]);
    }
    cells.push(quote(row.reason.as_deref().unwrap_or("")));
    cells
}

/// How long an instance has had its standing, by this host's clock.
pub fn state_age_ms(row: &ListRow) -> Option<u64> {
    let said = |_: &&ListRow| ListStanding::is_said(row.standing);
    let signal = Some(row).filter(said)?.signal.as_ref()?;
    clock::age_of(signal.since.as_deref()?).map(millis)
}

fn table(wide: bool, rows: Vec<Vec<String>>) -> String {
    let [before @ .., last] = HEAD;
    let wide = WIDE.iter().filter(|_| wide);
    let head = before.iter().chain(wide).chain([&last]);
    let head: Vec<String> = head.map(ToString::to_string).collect();
    let columns = head.len();
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let mut text = String::new();
    for line in &lines {
        let mut padded = String::new();
        for (column, cell) in line.iter().enumerate() {
            let cells = lines.iter().filter_map(|line| line.get(column));
            let width = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
            let width = if column + 1 == columns { 0 } else { width };
            // Writing to a String can't fail.
            let _ = write!(padded, "{cell:<width$}  ");
        }
        text.push_str(padded.trim_end());
        text.push('\n');
    }
    text
}
