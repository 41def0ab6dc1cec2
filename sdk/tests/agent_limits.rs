//! What an agent may not say, and what it is told then.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::time::Duration;

use common::TempFolder;
use ready_probe_sdk::{Agent, AgentBuilder, ErrorKind, State};
use serde_json::json;

const SECOND: Duration = Duration::from_secs(1);

fn builder(folder: &TempFolder, name: &str) -> AgentBuilder {
    Agent::builder(name).folder(folder.signals())
}

fn register(folder: &TempFolder, name: &str) -> Agent {
    builder(folder, name).register().unwrap()
}

#[test]
fn what_is_out_of_range_is_refused_with_the_range() {
    let folder = TempFolder::new();
    let builder = || builder(&folder, "ranges");
    let ttl = |ttl| builder().ttl(ttl);
    let beat = |interval| builder().ttl(10 * SECOND).heartbeat(interval);
    let table = [
        (
            ttl(SECOND - Duration::from_nanos(1)),
            "a TTL of 999ms is out of range: at least 1s",
        ),
        (
            ttl(Duration::from_secs(3_601)),
            "a TTL of 3601000ms is out of range: at least 1s",
        ),
        (
            beat(Duration::from_millis(49)),
            "a heartbeat every 49ms is out of range: at least 50ms, \
          at most half the TTL of 10s",
        ),
        (
            beat(Duration::from_millis(5_001)),
            "a heartbeat every 5s is out of range",
        ),
        (
            builder().watchdog(Duration::from_millis(99)),
            "a watchdog of 99ms is too short: at \
          least 100ms",
        ),
    ];
    for (builder, want) in table {
        let e = builder.register().unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidArgument);
        assert!(e.to_string().starts_with(want), "{e}");
    }
    let e = Agent::builder("a/b")
        .folder(folder.signals())
        .register()
        .unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidName);
    assert!(!folder.path().exists(), "something was published");
    for builder in [
        ttl(SECOND),
        ttl(3_600 * SECOND),
        beat(5 * SECOND),
        beat(SECOND / 20),
    ] {
        drop(builder.watchdog(Duration::MAX).register().unwrap());
    }
}

#[test]
fn details_that_cannot_be_published_are_refused_and_the_last_word_stands() {
    let folder = TempFolder::new();
    let agent = register(&folder, "details");
    agent.mark_not_ready("loading").unwrap();
    let large = json!({ "x": "y".repeat(4_096) });
    assert_eq!(
        agent.mark_ready(&large).unwrap_err().kind(),
        ErrorKind::TooLarge
    );
    for (details, want) in [
        (
            json!([1]),
            "details must be a JSON object, not an array: give each value a name",
        ),
        (
            json!("x"),
            "details must be a JSON object, not a single value: give each value a name",
        ),
    ] {
        let e = agent.mark_ready(details).unwrap_err();
        assert_eq!(
            (e.kind(), e.to_string().as_str()),
            (ErrorKind::InvalidArgument, want)
        );
    }
    let no_json = std::collections::HashMap::from([((1, 2), 3)]);
    let e = agent.mark_ready(no_json).unwrap_err().to_string();
    assert!(e.starts_with("details can't be written as JSON: "), "{e}");
    assert_eq!(
        (agent.state(), folder.says("details")),
        (State::NotReady, vec!["not_ready: loading".to_owned()])
    );
}

#[test]
fn details_that_just_fit_do_not_stand_in_the_way_of_a_reason() {
    let folder = TempFolder::new();
    let agent = builder(&folder, "fits")
        .watchdog(SECOND / 10)
        .register()
        .unwrap();
    let fits = (0..4_096)
        .rev()
        .find(|n| agent.mark_ready(json!({ "x": "y".repeat(*n) })).is_ok());
    let fits = fits.unwrap();
    let bytes = fs::read(folder.agent_dir("fits").join(common::own_file())).unwrap();
    assert!(bytes.len() > 4_000, "{}", bytes.len());
    // A stall needs room for its reason, too.
    folder.until_says("fits", "not_ready: stalled: no progress for ");
    agent.mark_not_ready(&"\"".repeat(256)).unwrap();
    assert!(folder.says("fits")[0].starts_with("not_ready: \"\"\""));
    agent.mark_ready(json!({ "x": "y".repeat(fits) })).unwrap();
    assert_eq!(
        folder.record("fits").details["x"].as_str().unwrap().len(),
        fits
    );
}

#[test]
fn a_reason_without_words_is_none() {
    let folder = TempFolder::new();
    let agent = register(&folder, "silent");
    agent.mark_not_ready(" \n").unwrap();
    assert_eq!(
        (folder.says("silent"), folder.record("silent").reason),
        (vec!["not_ready".into()], None)
    );
}
