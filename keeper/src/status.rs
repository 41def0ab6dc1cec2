//! `ready-keeper status`: what is remembered of services, whether a keeper is at work or not.

use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

use ready_probe::redact::{one_line, shown};
use ready_probe_sdk::clock;
use serde_json::{Value, json};

use crate::account::Account;
use crate::cli::{Format, Status};
use crate::exit::{NOT_WORKING, OK, Refusal, print};
use crate::machine::{Phase, State};
use crate::memory::{self, Holder, Keeps, Kept};
use crate::orders::{Orders, Pause};
use crate::voice::word;

const HEAD: [&str; 7] = [
    "SERVICE", "STATE", "SINCE", "PASSED", "RESTARTS", "ATTEMPTS", "REASON",
];
const MAX_REASON_CHARS: usize = 200;

/// One service.
struct Row {
    name: String,
    state: State,
    account: Account,
    pause: Option<Pause>,
}

/// Prints it.
pub fn run(options: &Status) -> Result<u8, Refusal> {
    let dir = &options.state.dir;
    let holder = memory::holder(dir);
    let Some(kept) = memory::look(dir, holder.as_ref())? else {
        let state = dir.display();
        let why =
            format!("{state}: nothing is known yet: no ready-keeper has run with this folder");
        return Err(why.into());
    };
    let (orders, now_ms) = (Orders::beside(dir), clock::wall_ms());
    let row = |(name, state): (&String, &State)| Row {
        name: name.clone(),
        state: state.clone(),
        account: kept.accounts.get(name).cloned().unwrap_or_default(),
        pause: orders.pause(name, now_ms).ok().flatten(),
    };
    let mut rows: Vec<Row> = kept.here().map(row).collect();
    if let Some(name) = &options.name {
        rows.retain(|row| row.name == *name);
        if rows.is_empty() {
            return Err(Refusal::usage(format!(
                "there is no service {}",
                shown(name)
            )));
        }
    }
    let text = match options.format {
        Format::Text => text(&rows, holder.as_ref(), &kept),
        Format::Json => json(&rows, holder.as_ref(), &kept).to_string() + "\n",
    };
    print(&text)?;
    let is_bad = |row: &Row| matches!(row.state.phase, Phase::Failed | Phase::Held(_));
    let is_blind = options.name.is_none() && kept.unlisted.is_some();
    Ok(if is_blind || rows.iter().any(is_bad) {
        NOT_WORKING
    } else {
        OK
    })
}

fn text(rows: &[Row], holder: Option<&Holder>, kept: &Kept) -> String {
    let mut text = match holder {
        Some(holder) => {
            let how = if holder.is_dry { ", as a dry run" } else { "" };
            let pid = holder.process.pid;
            format!("ready-keeper is at work (process {pid}){how}\n")
        }
        None => format!(
            "no ready-keeper is at work; this was known at {}\n",
            time(kept.written_ms)
        ),
    };
    if let Some(why) = &kept.unlisted {
        let why = one_line(why, MAX_REASON_CHARS);
        // Writing to a string does not fail.
        let _ = writeln!(text, "which containers have the label can't be told: {why}");
    }
    let cells = |row: &Row| {
        let account = &row.account;
        let restarts = match account.restart_rate() {
            Some(rate) => format!("{}, {} helped", account.restarts, percent(rate)),
            None => account.restarts.to_string(),
        };
        [
            row.name.clone(),
            word(row.state.phase).to_owned(),
            time(account.since_ms),
            account.pass_rate().map_or("-".to_owned(), percent),
            restarts,
            row.state.attempts.to_string(),
            reason(row),
        ]
    };
    let mut table = vec![HEAD.map(str::to_owned)];
    table.extend(rows.iter().map(cells));
    let width = |column: usize| {
        let of = |cells: &[String; 7]| cells.get(column).map_or(0, |cell| cell.chars().count());
        table.iter().map(of).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    for cells in &table {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(&widths) {
            // Writing to a string does not fail.
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn json(rows: &[Row], holder: Option<&Holder>, kept: &Kept) -> Value {
    let service = |row: &Row| {
        let (state, account) = (&row.state, &row.account);
        json!({
            "name": row.name,
            "state": word(state.phase),
            "since": time(account.since_ms),
            "reason": reason(row),
            "attempts": state.attempts,
            "restarts": {
                "total": account.restarts,
                "helped": account.helped,
                "did_not_help": account.helped_not,
                "rate": account.restart_rate(),
            },
            "checks": {
                "passed": account.passed,
                "failed": account.failed,
                "could_not_ask": account.unasked,
                "rate": account.pass_rate(),
            },
            "pause": row.pause.as_ref().map(|pause| json!({
                "until": pause.until_ms.map(time),
                "reason": pause.reason,
            })),
        })
    };
    json!({
        "keeper": {
            "at_work": holder.is_some(),
            "pid": holder.map(|holder| holder.process.pid),
            "loop": holder.map(|holder| holder.keeps == Keeps::On),
            "dry_run": holder.map(|holder| holder.is_dry),
            "written": time(kept.written_ms),
            "unlisted": kept.unlisted,
        },
        "services": rows.iter().map(service).collect::<Vec<_>>(),
    })
}

fn reason(row: &Row) -> String {
    let text = match &row.pause {
        Some(pause) => {
            let until = pause.until().unwrap_or_default();
            let why = pause.reason.as_deref().unwrap_or_default();
            format!("paused{until} {why}").trim_end().to_owned()
        }
        None => row.account.reason.clone(),
    };
    one_line(&text, MAX_REASON_CHARS)
}

fn percent(rate: f64) -> String {
    format!("{:.1}%", rate * 100.0)
}

fn time(wall_ms: u64) -> String {
    clock::rfc3339(UNIX_EPOCH + Duration::from_millis(wall_ms))
}
