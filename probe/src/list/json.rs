//! What `list` prints for programs.

use serde_json::{Map, Value, json};

use super::rows::{ListRow, ListStanding, Summary};
use super::text::state_age_ms;
use super::{Listing, MAX_QUOTE_CHARS};
use ready_probe::redact::Secrets;
use ready_probe::settings::Settings;

/// The version of the JSON.
const SCHEMA: u32 = 1;

/// The whole text.
pub fn json(listing: &Listing, settings: &Settings) -> String {
    let secrets = &settings.secrets;
    let signals: Vec<Value> = listing.shown().map(|row| json_row(row, secrets)).collect();
    let mut listed = json!({
        "schema": SCHEMA,
        "summary": json_summary(&Summary::of(&listing.rows)),
        "signals": signals,
    });
    match &settings.place {
        Some(place) => {
            listed["store"] = json!(place.value.store.redacted());
            listed["namespace"] = json!(place.value.namespace);
        }
        None => listed["store"] = json!("local"),
    }
    if let Some(why) = &listing.away {
        listed["away"] = json!(why);
    }
    if !listing.unanswered.is_empty() {
        listed["unanswered"] = json!(listing.unanswered);
    }
    if !listing.unmet.is_empty() {
        listed["missing"] = json!(listing.unmet.missing);
        listed["not_ready"] = json!(listing.unmet.not_ready);
    }
    listed.to_string() + "\n"
}

fn json_summary(summary: &Summary) -> Value {
    let standings = summary.standings.iter();
    let mut counts: Map<String, Value> = standings
        .map(|(standing, n)| (standing.word().to_owned(), json!(n)))
        .collect();
    counts.insert("agents".to_owned(), json!(summary.agents));
    counts.insert("instances".to_owned(), json!(summary.instances));
    Value::Object(counts)
}

fn json_row(row: &ListRow, secrets: &Secrets) -> Value {
    let signal = row.signal.as_ref();
    json!({
        "agent": row.agent,
        "instance": row.instance,
        "ready": row.standing == ListStanding::Ready,
        "state": row.standing.word(),
        "reason": row.reason.as_deref().map(|reason| secrets.quote(reason, MAX_QUOTE_CHARS)),
        "details": signal.map(|signal| &signal.details),
        "since": signal.and_then(|signal| signal.since.as_deref()),
        "state_age_ms": state_age_ms(row),
        "beat_age_ms": row.beat_age_ms,
        "host": signal.and_then(|signal| signal.host.as_deref()),
        "pid": signal.and_then(|signal| signal.pid),
        "ttl_ms": signal.and_then(|signal| signal.ttl_ms),
        "beat_ms": signal.and_then(|signal| signal.beat_ms),
        "seq": signal.map(|signal| signal.seq),
        "sdk": signal.and_then(|signal| signal.sdk.as_deref()),
    })
}
