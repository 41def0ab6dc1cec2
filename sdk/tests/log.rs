//! What the heartbeat logs, and that the logger can do it no harm: this one calls back into the
//! SDK, and then panics.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::fs;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use common::{TempFolder, until};
use ready_probe_sdk::Agent;

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());
static AGENT: OnceLock<Arc<Agent>> = OnceLock::new();

/// Notes the line, calls back, and panics.
fn hostile(line: &str) {
    LINES
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(line.to_owned());
    if let Some(agent) = AGENT.get() {
        let _ = agent.mark_ready(());
    }
    panic!("a logger that panics");
}

fn lines(part: &str) -> Vec<String> {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    lines
        .iter()
        .filter(|line| line.contains(part))
        .cloned()
        .collect()
}

#[test]
fn an_outage_is_logged_when_it_begins_and_when_it_ends_and_the_logger_cannot_stop_the_beats() {
    common::log::on_event(hostile);
    let folder = TempFolder::new();
    let second = Duration::from_secs(1);
    let builder = |name| Agent::builder(name).folder(folder.signals()).ttl(second);
    let agent = Arc::new(builder("a").heartbeat(second / 10).register().unwrap());
    // In another folder, and after `a` in the order of names: it must not suffer.
    let calm = TempFolder::new();
    let builder = Agent::builder("b").folder(calm.signals());
    let bystander = builder.heartbeat(second / 10).register().unwrap();
    agent.mark_ready(()).unwrap();
    bystander.mark_ready(()).unwrap();
    assert!(AGENT.set(Arc::clone(&agent)).is_ok());

    fs::remove_dir_all(folder.path()).unwrap();
    fs::write(folder.path(), "in the way").unwrap();
    until("the outage is logged", || {
        lines("can't be written").first().cloned()
    });
    let seq = calm.record("b").seq;
    until("the bystander beats on", || {
        (calm.record("b").seq > seq + 5).then_some(())
    });
    fs::remove_file(folder.path()).unwrap();
    folder.until_says("a", "ready");
    until("its end is logged", || {
        lines("is written again after").first().cloned()
    });
    let seq = folder.record("a").seq;
    until("it goes on beating", || {
        (folder.record("a").seq > seq + 5).then_some(())
    });

    let begin = lines("can't be written");
    assert!(
        begin.len() == 1 && begin[0].starts_with("ERROR"),
        "{begin:?}"
    );
    assert!(begin[0].contains(" agent=a"), "{begin:?}");
    let end = lines("is written again after ");
    assert!(end.len() == 1 && end[0].starts_with("INFO"), "{end:?}");
    assert!(!lines("heartbeat restarted: it panicked").is_empty());
}
