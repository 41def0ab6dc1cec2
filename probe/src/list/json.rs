//! What `list` prints for programs.

use serde_json::{Map, Value, json};

use super::text::state_age_ms;
use super::{Listing, MAX_QUOTE_CHARS};
use crate::instances::{ListRow, ListStanding, Summary};
use ready_probe::redact::Secrets;
use ready_probe::settings::Settings;
use ready_probe_sdk::signal::Signal;

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
    let quoted = |text: Option<&str>| text.map(|text| secrets.quote(text, MAX_QUOTE_CHARS));
    let said = |text: fn(&Signal) -> Option<&str>| quoted(signal.and_then(text));
    json!({
        "agent": row.agent,
        "instance": quoted(Some(&row.instance)),
        "ready": row.standing == ListStanding::Ready,
        "state": row.standing.word(),
        "reason": quoted(row.reason.as_deref()),
        "details": signal.map(|signal| hidden(&json!(signal.details), secrets)),
        "since": said(|signal| signal.since.as_deref()),
        "state_age_ms": state_age_ms(row),
        "beat_age_ms": row.beat_age_ms,
        "host": said(|signal| signal.host.as_deref()),
        "pid": signal.and_then(|signal| signal.pid),
        "ttl_ms": signal.and_then(|signal| signal.ttl_ms),
        "beat_ms": signal.and_then(|signal| signal.beat_ms),
        "seq": signal.map(|signal| signal.seq),
        "sdk": said(|signal| signal.sdk.as_deref()),
    })
}

/// The same value, with whatever may be a secret hidden in its texts and names.
fn hidden(value: &Value, secrets: &Secrets) -> Value {
    match value {
        Value::String(text) => Value::String(secrets.hide(text)),
        Value::Array(values) => values.iter().map(|value| hidden(value, secrets)).collect(),
        Value::Object(members) => {
            let members = members.iter();
            let members = members.map(|(name, value)| (secrets.hide(name), hidden(value, secrets)));
            Value::Object(members.collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}
