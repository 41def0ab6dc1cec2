//! What people are told of, beside restarts that do not help.

use std::fs;
use std::time::Duration;

use ready_probe_test_support::ntfy::NtfyServer;
use ready_probe_test_support::process::{Run, run_within};
use serde_json::{Value, json};

use crate::host::{Host, assert_says};

const QUARTER_MS: u64 = 900_000;

fn once(host: &Host, ntfy: &NtfyServer) -> Run {
    let mut command = host.command();
    command.env("READY_KEEPER_NTFY_URL", ntfy.url());
    run_within(&mut command, Duration::from_secs(60))
}

/// One service that is asked by a command.
fn asked_by(command: &str) -> (Host, NtfyServer) {
    let host = Host::new();
    let command = command.replace("HERE", &host.path("").display().to_string());
    let check = json!({"type": "custom", "command": command, "timeout_seconds": 5});
    host.services(&[(
        "svc",
        json!({"health_check": check, "notify_on_fail": "alerts"}),
    )]);
    (host, NtfyServer::start())
}

#[test]
fn what_nobody_could_ask_for_a_quarter_of_an_hour_is_told() {
    let (host, ntfy) = asked_by("/nowhere/is-it-there");
    let first = once(&host, &ntfy);
    assert_says(&first, "svc could not be asked, which proves nothing");
    assert_eq!(ntfy.requests(), 0, "{first:?}");
    let path = host.path("state/alerts.json");
    let mut kept: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let since = &mut kept["episodes"]["svc"]["unasked_ms"];
    *since = json!(since.as_u64().unwrap() - QUARTER_MS);
    fs::write(path, kept.to_string()).unwrap();
    let second = once(&host, &ntfy);
    let messages = ntfy.messages();
    assert_eq!(messages.len(), 1, "{second:?}");
    assert_eq!(messages[0]["title"], "svc can't be checked for 15 minutes");
    assert_eq!(messages[0]["priority"], 4);
}

#[test]
fn another_reason_is_no_new_alert() {
    let (host, ntfy) = asked_by("exit $(cat HERE/code)");
    for (code, requests) in [("1", 1), ("2", 1), ("3", 1)] {
        host.write("code", code);
        let run = once(&host, &ntfy);
        assert_eq!(ntfy.requests(), requests, "{run:?}");
        let kept = host.read("state/state.json") + &run.stdout;
        assert!(kept.contains(&format!("exit status {code}")), "{run:?}");
    }
    let message = ntfy.messages()[0]["message"].to_string();
    assert!(message.contains("exit status 1"), "{message}");
}

#[test]
fn where_nobody_can_say_who_was_stopped_that_is_told() {
    let (host, ntfy) = asked_by("false");
    fs::remove_dir(host.path("stopped")).unwrap();
    host.write("stopped", "no folder");
    let run = once(&host, &ntfy);
    assert_eq!(run.code(), 1, "{run:?}");
    let messages = ntfy.messages();
    assert_eq!(messages.len(), 1, "{run:?}");
    assert_eq!(messages[0]["priority"], 4);
    let message = messages[0]["message"].as_str().unwrap();
    assert!(message.contains("--manual-stop"), "{message}");
}
