//! Who is told of what, and how often: the real program, and an ntfy server that enforces what its documentation says.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use ready_probe_test_support::hostile::{Behaviour, Hostile};
use ready_probe_test_support::http::Response;
use ready_probe_test_support::ntfy::NtfyServer;
use ready_probe_test_support::process::{Guard, Run, Signal, free_port, run_within};
use serde_json::{Value, json};

use crate::host::{Host, assert_says, http};

const URL: &str = "READY_KEEPER_NTFY_URL";
const HOUR_MS: u64 = 3_600_000;

/// A pass that tells ntfy.
fn once(host: &Host, url: &str) -> Run {
    run_within(host.command().env(URL, url), Duration::from_secs(60))
}

/// A service that is there while a file is, and is told of.
fn file(host: &Host, restart: &str) -> Value {
    let up = host.path("up").display().to_string();
    let check = json!({"type": "custom", "command": format!("test -e {up}"), "timeout_seconds": 2});
    json!({"health_check": check, "restart_cmd": restart, "notify_on_fail": "alerts", "log_path": "/var/log/svc.log"})
}

/// A service without a restart command: it is told of at once.
fn watched(host: &Host, name: &str) -> Value {
    let up = host.path(name).display().to_string();
    let check = json!({"type": "custom", "command": format!("test -e {up}"), "timeout_seconds": 2});
    json!({"health_check": check, "notify_on_fail": "alerts"})
}

/// Makes what was told older.
fn age_alerts(host: &Host, by_ms: u64) {
    let path = host.path("state/alerts.json");
    let mut kept: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    for episode in kept["episodes"].as_object_mut().unwrap().values_mut() {
        for told in episode["told_ms"].as_object_mut().unwrap().values_mut() {
            *told = json!(told.as_u64().unwrap() - by_ms);
        }
    }
    fs::write(path, kept.to_string()).unwrap();
}

/// Makes all pauses between tries end.
fn hurry_alerts(host: &Host) {
    let path = host.path("state/alerts.json");
    let mut kept: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    for tray in kept["trays"].as_object_mut().unwrap().values_mut() {
        for queued in tray["queue"].as_array_mut().unwrap() {
            queued["pause"]["for_ms"] = json!(0);
        }
    }
    fs::write(path, kept.to_string()).unwrap();
}

#[test]
fn two_restarts_that_fail_are_one_alert_and_the_end_of_it_another() {
    let (host, ntfy) = (Host::new(), NtfyServer::start());
    host.services(&[("svc", file(&host, "true --password=Sesam01"))]);
    let first = once(&host, &ntfy.url());
    assert_says(&first, "ERROR Failed to recover svc");
    assert_eq!(ntfy.requests(), 0, "the first attempt is silent: {first:?}");
    host.age(60_000);
    let second = once(&host, &ntfy.url());
    assert_says(
        &second,
        "INFO alert sent to ntfy's topic al…: svc does not come back",
    );
    // Too early for another restart.
    once(&host, &ntfy.url());
    let messages = ntfy.messages();
    let [message] = &messages[..] else {
        panic!("{messages:?}")
    };
    assert_eq!(message["topic"], "alerts");
    assert_eq!(
        message["title"],
        "svc does not come back: 2 restarts did not help"
    );
    assert_eq!(message["priority"], 4);
    assert_eq!(message["tags"], json!(["warning", "auto-recovery"]));
    let body = message["message"].as_str().unwrap();
    for line in [
        "Service: svc",
        "Status: failed health check: exit status 1",
        "Recovery attempt: failed 2 times in a row; it is tried again",
        "Restart command: true …",
        "Health check: command test …",
        "View logs: tail -50 /var/log/svc.log",
    ] {
        assert!(
            body.lines().any(|is| is == line),
            "{line:?} is missing: {body}"
        );
    }
    host.write("up", "");
    once(&host, &ntfy.url());
    let messages = ntfy.messages();
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert_eq!(messages[1]["title"], "svc works again");
    assert_eq!(messages[1]["priority"], 3);
    once(&host, &ntfy.url());
    assert_eq!(ntfy.requests(), 2);
}

#[test]
fn what_is_given_up_is_told_with_the_highest_priority() {
    let (host, ntfy) = (Host::new(), NtfyServer::start());
    host.services(&[("svc", file(&host, "true"))]);
    for _ in 0..3 {
        once(&host, &ntfy.url());
        host.age(60_000);
    }
    let titles: Vec<Value> = ntfy
        .messages()
        .iter()
        .map(|it| it["title"].clone())
        .collect();
    assert_eq!(
        titles,
        [
            "svc does not come back: 2 restarts did not help",
            "svc is down and given up"
        ]
    );
    assert_eq!(ntfy.messages()[1]["priority"], 5);
    assert_eq!(
        ntfy.messages()[1]["tags"],
        json!(["rotating_light", "alert", "auto-recovery"])
    );
}

#[test]
fn a_first_restart_that_works_is_silent_and_the_third_is_not() {
    let (host, ntfy, port) = (Host::new(), NtfyServer::start(), free_port());
    let svc = json!({"health_check": http(port), "restart_cmd": host.server(port), "notify_on_fail": "alerts"});
    host.services(&[("svc", svc)]);
    for restarts in 1..=3 {
        assert_eq!(ntfy.requests(), 0, "{restarts}");
        let run = once(&host, &ntfy.url());
        assert_eq!((run.code(), host.starts(port)), (0, restarts), "{run:?}");
        host.signal(port, Signal::KILL);
    }
    let messages = ntfy.messages();
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert_eq!(messages[0]["title"], "svc fails again and again");
}

#[test]
fn nothing_is_told_again_within_an_hour_by_other_passes() {
    let (host, ntfy) = (Host::new(), NtfyServer::start());
    host.services(&[("svc", watched(&host, "up"))]);
    let titles = || -> Vec<String> {
        let messages = ntfy.messages();
        messages
            .iter()
            .map(|it| it["title"].as_str().unwrap().to_owned())
            .collect()
    };
    once(&host, &ntfy.url());
    once(&host, &ntfy.url());
    assert_eq!(titles(), ["svc is down and not restarted"]);
    host.write("up", "");
    once(&host, &ntfy.url());
    fs::remove_file(host.path("up")).unwrap();
    once(&host, &ntfy.url());
    assert_eq!(
        titles(),
        ["svc is down and not restarted", "svc works again"]
    );
    age_alerts(&host, HOUR_MS);
    once(&host, &ntfy.url());
    assert_eq!(titles().len(), 3, "{:?}", titles());
    assert_eq!(titles()[2], "svc is down and not restarted");
}

#[test]
fn what_fails_in_one_pass_is_one_message_and_what_is_needed_covers_the_rest() {
    let (host, ntfy) = (Host::new(), NtfyServer::start());
    let mut app = watched(&host, "app");
    app["dependencies"] = json!(["db"]);
    host.services(&[
        ("app", app),
        ("db", watched(&host, "db")),
        ("other", watched(&host, "other")),
    ]);
    let run = once(&host, &ntfy.url());
    let messages = ntfy.messages();
    let [message] = &messages[..] else {
        panic!("{messages:?} {run:?}")
    };
    // Each is asked by itself, and named in the order of their answers.
    let title = message["title"].as_str().unwrap();
    let titles = ["db, other", "other, db"].map(|names| format!("2 services need a look: {names}"));
    assert!(titles.iter().any(|one| one == title), "{title}");
    let body = message["message"].as_str().unwrap();
    assert!(body.contains("Waiting for it: app"), "{body}");
    assert!(!body.contains("Service: app"), "{body}");
}

#[test]
fn a_server_that_is_away_delays_no_restart_and_is_told_later() {
    let (host, port) = (Host::new(), free_port());
    let svc = json!({"health_check": http(port), "restart_cmd": host.server(port)});
    host.services(&[("svc", svc), ("told", watched(&host, "up"))]);
    let silent = Hostile::tcp(Behaviour::Silent);
    let url = format!("http://{}", silent.addr());
    let run = once(&host, &url);
    assert_eq!(host.starts(port), 1, "{run:?}");
    assert_says(
        &run,
        "WARNING alert not sent to ntfy's topic al…, tried again in 1 s",
    );
    // The message of the last pass hangs from the beginning of this one.
    hurry_alerts(&host);
    host.signal(port, Signal::KILL);
    let began = std::time::SystemTime::now();
    let run = once(&host, &url);
    let started = fs::metadata(host.path(&format!("starts.{port}")))
        .unwrap()
        .modified()
        .unwrap();
    assert!(
        started.duration_since(began).unwrap() < Duration::from_secs(8),
        "{run:?}"
    );
    assert_says(&run, "Successfully recovered svc");
    assert!(run.elapsed < Duration::from_secs(30), "{run:?}");
    let ntfy = NtfyServer::start();
    hurry_alerts(&host);
    let last = once(&host, &ntfy.url());
    assert_eq!(ntfy.messages().len(), 1, "{run:?} {last:?}");
    assert_eq!(
        ntfy.messages()[0]["title"],
        "told is down and not restarted"
    );
}

#[test]
fn who_refuses_us_is_not_asked_again() {
    let host = Host::new();
    host.services(&[("svc", watched(&host, "up"))]);
    let ntfy = NtfyServer::protected("Bearer tk_right", &["alerts"]);
    let run = once(&host, &ntfy.url());
    assert_says(
        &run,
        "ERROR alert not sent to ntfy's topic al…, and not tried again: svc is down and not restarted: status 401: unauthorized; look at its token or password",
    );
    once(&host, &ntfy.url());
    assert_eq!(ntfy.requests(), 1);
}

#[test]
fn a_server_that_is_busy_is_given_the_time_that_it_asks_for() {
    let (host, ntfy) = (Host::new(), NtfyServer::start());
    host.services(&[("svc", watched(&host, "up"))]);
    ntfy.answer_next(
        Response::new(429)
            .header("Retry-After", "4")
            .body(r#"{"code":42901,"http":429,"error":"limit reached"}"#),
    );
    let run = once(&host, &ntfy.url());
    assert_says(
        &run,
        "tried again in 4 s: svc is down and not restarted: status 429: limit reached",
    );
    assert!(run.elapsed >= Duration::from_secs(4), "{run:?}");
    assert_eq!((ntfy.requests(), ntfy.messages().len()), (2, 1));
    // One that asks for more than a pass has is asked in a later one.
    fs::write(host.path("up"), "").unwrap();
    ntfy.answer_next(Response::new(429).header("Retry-After", "120"));
    let run = once(&host, &ntfy.url());
    assert!(run.elapsed < Duration::from_secs(15), "{run:?}");
    once(&host, &ntfy.url());
    assert_eq!(
        (ntfy.requests(), ntfy.messages().len()),
        (3, 1),
        "it is still given its time"
    );
}

#[test]
fn a_message_is_tried_four_times() {
    let (host, ntfy) = (Host::new(), NtfyServer::start());
    host.services(&[("svc", watched(&host, "up"))]);
    for _ in 0..4 {
        ntfy.answer_next(Response::new(503));
    }
    // After 1 and 5 seconds in this pass.
    let run = once(&host, &ntfy.url());
    assert_eq!(ntfy.requests(), 3, "{run:?}");
    assert_says(&run, "tried again in 25 s");
    // After 25 in another.
    hurry_alerts(&host);
    let run = once(&host, &ntfy.url());
    assert_says(
        &run,
        "ERROR alert not sent to ntfy's topic al…, and given up after 4 tries",
    );
    once(&host, &ntfy.url());
    assert_eq!((ntfy.requests(), ntfy.messages().len()), (4, 0));
}

#[test]
fn no_secret_is_printed_or_kept() {
    let host = Host::new();
    host.services(&[("svc", watched(&host, "up"))]);
    let ntfy = NtfyServer::protected("Basic dXNlcjpTZXNhbTAx", &["alerts"]);
    let url = ntfy.url().replace("http://", "http://user:Sesam01@");
    let run = once(&host, &url);
    assert_eq!(ntfy.messages().len(), 1, "{run:?}");
    ntfy.answer_next(Response::new(500).body("you said user:Sesam01 dXNlcjpTZXNhbTAx"));
    host.write("up", "");
    let second = once(&host, &url);
    assert_says(
        &second,
        "tried again in 1 s: svc works again: status 500: you said",
    );
    let kept = host.read("state/alerts.json");
    for text in [
        &run.stdout,
        &run.stderr,
        &second.stdout,
        &second.stderr,
        &kept,
    ] {
        for secret in ["Sesam01", "dXNlcjpTZXNhbTAx"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

#[test]
fn the_address_of_ntfy_may_stand_in_a_file() {
    let (host, ntfy) = (Host::new(), NtfyServer::start());
    host.services(&[("svc", watched(&host, "up"))]);
    let file = "READY_KEEPER_NTFY_URL_FILE";
    host.write("ntfy", &format!("{}\n", ntfy.url()));
    let run = run_within(
        host.command().env(file, host.path("ntfy")),
        Duration::from_secs(60),
    );
    assert_eq!(ntfy.messages().len(), 1, "{run:?}");
    let run = run_within(
        host.alert_test().env(file, host.path("nowhere")),
        Duration::from_secs(60),
    );
    assert_eq!(run.code(), 1, "{run:?}");
    assert_says(&run, "nowhere: No such file");
}

#[test]
fn without_an_address_of_ntfy_that_is_said_and_the_rest_goes_on() {
    let host = Host::new();
    host.services(&[(
        "svc",
        file(&host, &format!("touch {}", host.path("up").display())),
    )]);
    let run = host.once();
    assert_eq!(run.code(), 0, "{run:?}");
    assert_says(
        &run,
        "WARNING svc: notify_on_fail: nobody is told: READY_KEEPER_NTFY_URL does not say where ntfy is",
    );
}

#[test]
fn alert_test_sends_one_message_to_each_channel_and_says_what_came_of_it() {
    let (host, ntfy) = (
        Host::new(),
        NtfyServer::protected("Bearer tk_1", &["alerts"]),
    );
    let mut b = watched(&host, "b");
    b["notify_on_fail"] = json!("others");
    host.services(&[("a", watched(&host, "a")), ("b", b)]);
    let test = |url: &str| {
        let mut command = host.alert_test();
        run_within(command.env(URL, url), Duration::from_secs(60))
    };
    let open = NtfyServer::start();
    let run = test(&open.url());
    assert_eq!(run.code(), 0, "{run:?}");
    assert_eq!(
        run.stdout,
        "ntfy's topic al…: delivered\nntfy's topic ot…: delivered\n"
    );
    assert_eq!(open.messages().len(), 2);
    assert_eq!(open.messages()[0]["title"], "ready-keeper: test");
    let run = test(&format!(
        "{}#header=Authorization:Bearer%20tk_1",
        ntfy.url()
    ));
    assert_eq!(run.code(), 1, "{run:?}");
    assert_eq!(
        run.stdout,
        "ntfy's topic al…: delivered\nntfy's topic ot…: not delivered: status 403: forbidden; look at its token or password\n"
    );
    let run = test("http://127.0.0.1:1");
    assert_eq!(run.code(), 1, "{run:?}");
    assert_says(&run, "ntfy's topic al…: not delivered: connection refused");
    let run = run_within(&mut host.alert_test(), Duration::from_secs(60));
    assert_eq!(run.code(), 78, "{run:?}");
    assert!(run.stderr.contains("there is no channel"), "{run:?}");
}

/// Docker kills after 10 s.
#[test]
fn a_loop_that_is_ended_does_not_wait_for_long_until_its_alerts_are_sent() {
    let host = Host::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    host.services(&[("svc", watched(&host, "up"))]);
    let log = fs::File::create(host.path("log")).unwrap();
    let mut keeper = Guard::spawn(host.keep("run").env(URL, url).stdout(log));
    host.wait_for("log", "svc is not restarted: it has no restart command");
    let told = Instant::now();
    keeper.signal(Signal::TERM);
    assert_eq!(keeper.wait_within(Duration::from_secs(60)).code(), Some(0));
    assert!(
        told.elapsed() < Duration::from_secs(9),
        "{:?}",
        told.elapsed()
    );
    assert!(
        host.read("state/alerts.json")
            .contains("svc is down and not restarted")
    );
}
