//! `ready-probe list`: the signals in the store, or those of this container; one row an instance.

use std::fmt::Write;

use ready_probe_sdk::clock;
use ready_probe_sdk::connect::place::Place;
use ready_probe_sdk::folder::Folder;
use ready_probe_sdk::freshness::{self, Observed};
use ready_probe_sdk::host::Epoch;
use ready_probe_sdk::signal::{DecodeError, Name, Signal, State};
use ready_probe_sdk::store::{Expiry, Failure, Seen, Store};
use serde_json::{Value, json};

use crate::cli;
use crate::exit::Exit;
use crate::run;
use crate::start::Start;
use ready_probe::event_loop;
use ready_probe::link::store::{self, LinkedStore};
use ready_probe::newest::newest;
use ready_probe::redact::Secrets;
use ready_probe::settings::{Flags, Format, Invalid, Origin, Settings};
use ready_probe::time_limit::TimeLimit;

/// The version of the JSON.
const SCHEMA: u32 = 1;
/// How much of what others say is quoted.
const MAX_QUOTE_CHARS: usize = 300;
/// How many agents are read at once.
const CHUNK: usize = 256;
/// A chunk of agents with the largest records, several instances each.
const MAX_REPLY_BYTES: usize = 16 * 1024 * 1024;

/// One instance of an agent.
struct Listed {
    agent: Name,
    instance: String,
    ready: bool,
    /// What it says, or what is wrong with its record.
    state: String,
    reason: Option<String>,
    signal: Option<Signal>,
}

/// Runs the command.
pub fn run(args: &cli::List, options: &Flags, start: &Start) -> Exit {
    let settings = match run::resolve_alone(options, start) {
        Ok(settings) => settings,
        Err(exit) => return exit,
    };
    let names: Result<Vec<Name>, Invalid> = args
        .names
        .iter()
        .map(|name| {
            let invalid = |e: ready_probe_sdk::Error| Invalid::new(&Origin::Flag("NAME"), e);
            Name::new(name).map_err(invalid)
        })
        .collect();
    let names = match names {
        Ok(names) => names,
        Err(invalid) => return invalid.into(),
    };
    let listed = match &settings.place {
        Some(place) => list_remote(&place.value, &names, &settings, start),
        None => list_local(&settings.folder.value, &names),
    };
    match listed {
        Ok(mut rows) => {
            rows.sort_by(|a, b| (&a.agent, &a.instance).cmp(&(&b.agent, &b.instance)));
            Exit::Done(match settings.format.value {
                Format::Text => text(&rows, &settings),
                Format::Json => json(&rows, &settings),
            })
        }
        Err(why) => Exit::failed(settings.secrets.quote(&why, MAX_QUOTE_CHARS)),
    }
}

fn list_remote(
    place: &Place,
    names: &[Name],
    settings: &Settings,
    start: &Start,
) -> Result<Vec<Listed>, String> {
    let event_loop = event_loop::start()?;
    let limit = TimeLimit::from(start.at, settings.timeout.value);
    event_loop.block_on(async {
        let read = store::each(place, limit, async |endpoint| {
            let mut store =
                store::open(place, endpoint, MAX_REPLY_BYTES, &settings.secrets).await?;
            let (agents, seen) = read_all(&mut store, names).await.map_err(|e| e.cause)?;
            Ok((store, agents, seen))
        });
        let read = read
            .await
            .map_err(|why| store::quote(place, &why, &settings.secrets, MAX_QUOTE_CHARS))?;
        let mut all = Vec::new();
        for (mut store, agents, seen) in read {
            store::tidy(place, &mut store, &agents, limit, &settings.secrets).await;
            all.extend(seen);
        }
        Ok(newest(&all).into_iter().map(row_of_seen).collect())
    })
}

/// The agents, and what is there of them.
async fn read_all(
    store: &mut LinkedStore,
    names: &[Name],
) -> Result<(Vec<Name>, Vec<Seen>), Failure> {
    let agents = match names {
        [] => store.agents().await?,
        names => names.to_vec(),
    };
    let mut seen = Vec::new();
    for some in agents.chunks(CHUNK) {
        seen.extend(store.read(some).await?);
    }
    Ok((agents, seen))
}

fn list_local(folder: &Folder, names: &[Name]) -> Result<Vec<Listed>, String> {
    let unreadable = |e| format!("the folder of signals can't be read: {e}");
    let all = match names {
        [] => folder.agents().map_err(unreadable)?,
        names => names.to_vec(),
    };
    let epoch = Epoch::current();
    let mut rows = Vec::new();
    for agent in all {
        let found = folder.read(&agent).map_err(unreadable)?;
        let now_ms = clock::mono_ms();
        for record in found.believed {
            let observed = Observed {
                epoch: &epoch,
                process: record.process,
                now_ms,
            };
            let dead = match &record.signal {
                Ok(signal) => match freshness::judge(signal, &observed) {
                    Ok(_) | Err(freshness::NotReady::Says { .. }) => None,
                    Err(why) => Some(why.to_string()),
                },
                Err(_) => None,
            };
            let instance = match &record.signal {
                Ok(signal) => signal.instance.as_str().to_owned(),
                Err(_) => format!("process {}", record.pid),
            };
            rows.push(row(agent.clone(), instance, record.signal, dead));
        }
    }
    Ok(rows)
}

fn row_of_seen(seen: &Seen) -> Listed {
    let dead = match seen.expiry {
        Expiry::Timely => None,
        expiry @ (Expiry::Never | Expiry::Late { .. } | Expiry::Overdue { .. }) => {
            Some(expiry.to_string())
        }
    };
    row(
        seen.agent.clone(),
        seen.instance.clone(),
        seen.signal.clone(),
        dead,
    )
}

/// A record that does not count is `stale` whatever it says, one that is none `malformed`.
fn row(
    agent: Name,
    instance: String,
    signal: Result<Signal, DecodeError>,
    dead: Option<String>,
) -> Listed {
    let (state, reason, signal) = match (signal, dead) {
        (Ok(signal), Some(why)) => ("stale".to_owned(), Some(why), Some(signal)),
        (Ok(signal), None) => {
            let reason = signal.reason.clone().filter(|r| !r.trim().is_empty());
            (signal.state.to_string(), reason, Some(signal))
        }
        (Err(e), _) => ("malformed".to_owned(), Some(e.to_string()), None),
    };
    Listed {
        ready: state == State::Ready.to_string(),
        agent,
        instance,
        state,
        reason,
        signal,
    }
}

const HEAD: [&str; 5] = ["AGENT", "STATE", "SINCE", "INSTANCE", "REASON"];

fn text(rows: &[Listed], settings: &Settings) -> String {
    if rows.is_empty() {
        return format!("no signals in {}\n", place(settings));
    }
    let quote = |text: &str| settings.secrets.quote(text, MAX_QUOTE_CHARS);
    let cells: Vec<[String; 5]> = rows
        .iter()
        .map(|row| {
            let since = row
                .signal
                .as_ref()
                .and_then(|signal| signal.since.as_deref());
            [
                row.agent.to_string(),
                row.state.clone(),
                quote(since.unwrap_or("-")),
                quote(&row.instance),
                quote(row.reason.as_deref().unwrap_or("")),
            ]
        })
        .collect();
    let head = HEAD.map(ToOwned::to_owned);
    let lines: Vec<&[String; 5]> = std::iter::once(&head).chain(&cells).collect();
    let width = |column: usize| {
        let widths = lines.iter().filter_map(|line| line.get(column));
        widths.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths = [width(0), width(1), width(2), width(3)];
    let mut text = String::new();
    for [agent, state, since, instance, reason] in lines {
        let [a, b, c, d] = widths;
        let line = format!("{agent:<a$}  {state:<b$}  {since:<c$}  {instance:<d$}  {reason}");
        // Writing to a String can't fail.
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

fn json(rows: &[Listed], settings: &Settings) -> String {
    let secrets = &settings.secrets;
    let signals: Vec<Value> = rows.iter().map(|row| json_row(row, secrets)).collect();
    let mut listed = json!({ "schema": SCHEMA, "signals": signals });
    match &settings.place {
        Some(place) => {
            listed["store"] = json!(place.value.store.redacted());
            listed["namespace"] = json!(place.value.namespace);
        }
        None => listed["store"] = json!("local"),
    }
    listed.to_string() + "\n"
}

fn json_row(row: &Listed, secrets: &Secrets) -> Value {
    let signal = row.signal.as_ref();
    json!({
        "agent": row.agent,
        "instance": row.instance,
        "ready": row.ready,
        "state": row.state,
        "reason": row.reason.as_deref().map(|reason| secrets.quote(reason, MAX_QUOTE_CHARS)),
        "details": signal.map(|signal| &signal.details),
        "since": signal.and_then(|signal| signal.since.as_deref()),
        "host": signal.and_then(|signal| signal.host.as_deref()),
        "pid": signal.and_then(|signal| signal.pid),
        "ttl_ms": signal.and_then(|signal| signal.ttl_ms),
        "beat_ms": signal.and_then(|signal| signal.beat_ms),
        "seq": signal.map(|signal| signal.seq),
        "sdk": signal.and_then(|signal| signal.sdk.as_deref()),
    })
}

fn place(settings: &Settings) -> String {
    match &settings.place {
        Some(place) => format!(
            "{}, namespace {}",
            place.value.store.redacted(),
            place.value.namespace
        ),
        None => {
            let dirs = settings.folder.value.dirs();
            let dirs: Vec<String> = dirs.map(|dir| dir.display().to_string()).collect();
            dirs.join(", ")
        }
    }
}
