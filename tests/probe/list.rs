//! `ready-probe list`: the table, the JSON, and where they come from.

use std::process::Command;

use ready_probe_test_support::hostile::{Behaviour, Hostile, refused_port};
use ready_probe_test_support::process::{Guard, Run, free_port, run};
use ready_probe_test_support::servers::{Nats, NatsVersion, Redis};
use serde_json::Value;

use crate::container::Container;
use crate::peer::{announce, record};
use crate::records::publish;

fn list(container: &Container, store: Option<&str>, args: &[&str]) -> Run {
    let mut probe = container.probe(["list"]);
    probe.args(args);
    if let Some(store) = store {
        probe.env("READY_STORE", store);
    }
    run(&mut probe)
}

fn json(container: &Container, store: Option<&str>, args: &[&str]) -> Value {
    let run = list(container, store, &[args, &["--format", "json"]].concat());
    assert_eq!(run.code(), 0, "{run:?}");
    serde_json::from_str(&run.stdout).unwrap()
}

#[test]
fn signals_of_this_container_are_listed_the_dead_ones_too() {
    let container = Container::new();
    let run = list(&container, None, &[]);
    assert_eq!(run.code(), 0, "{run:?}");
    assert!(run.stdout.starts_with("no signals in /"), "{run:?}");
    let mut living = Guard::spawn(Command::new("sleep").arg("1000"));
    let dead = Guard::spawn(Command::new("sleep").arg("1000"));
    publish(&container, "a", living.pid(), |_| {});
    publish(&container, "b", dead.pid(), |_| {});
    publish(&container, "c", living.pid(), |record| {
        record["state"] = "not_ready".into();
        record["reason"] = "reloading".into();
    });
    drop(dead);
    let run = list(&container, None, &[]);
    let lines: Vec<&str> = run.stdout.lines().collect();
    // The worst first.
    let [summary, head, b, c, a] = lines.as_slice() else {
        panic!("{run:?}")
    };
    assert_eq!(*summary, "3 agents: 1 ready, 1 stale, 1 not_ready");
    let head: Vec<&str> = head.split_whitespace().collect();
    let columns = ["AGENT", "STATE", "FOR", "BEAT", "INSTANCE", "REASON"];
    assert_eq!(head, columns, "{run:?}");
    let cells = |row: &str| {
        row.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    // Since the hour that the record names, and the moment in which it was written.
    let [agent, state, lasts, beat, instance] = cells(a).try_into().unwrap();
    assert_eq!((agent.as_str(), state.as_str()), ("a", "ready"));
    assert!(lasts.contains('h') && beat.ends_with('s'), "{run:?}");
    assert!(instance.starts_with("host-"), "{run:?}");
    assert_eq!(cells(b)[..3], ["b", "stale", "-"]);
    assert!(b.contains(" is gone"), "{run:?}");
    assert_eq!(cells(c)[..2], ["c", "not_ready"]);
    assert!(c.ends_with("  reloading"), "{run:?}");
    let listed = json(&container, None, &["c", "a"]);
    assert_eq!(listed["store"], "local");
    let signals = listed["signals"].as_array().unwrap();
    assert_eq!(signals.len(), 2);
    assert_eq!(signals[0]["ready"], false);
    assert_eq!(signals[0]["reason"], "reloading");
    assert_eq!(signals[1]["agent"], "a");
    assert_eq!(signals[1]["ready"], true);
    assert_eq!(signals[1]["details"]["port"], 5555);
    assert!(signals[1]["beat_age_ms"].is_u64() && signals[1]["state_age_ms"].is_u64());
    assert_eq!(listed["summary"]["ready"], 1);
    assert_eq!(listed["summary"]["agents"], 2);
    assert!(living.ended().is_none());
}

#[test]
fn what_hangs_is_counted_as_stalled_and_what_is_ready_can_be_left_out() {
    let container = Container::new();
    let process = Guard::spawn(Command::new("sleep").arg("1000"));
    let other = Guard::spawn(Command::new("sleep").arg("1000"));
    publish(&container, "a", process.pid(), |_| {});
    publish(&container, "a", other.pid(), |_| {});
    publish(&container, "b", process.pid(), |record| {
        record["state"] = "not_ready".into();
        record["reason"] = "stalled: no progress for 12s (limit 10s)".into();
    });
    let run = list(&container, None, &["--not-ready"]);
    assert_eq!(run.code(), 0, "{run:?}");
    let lines: Vec<&str> = run.stdout.lines().collect();
    let [summary, _, b] = lines.as_slice() else {
        panic!("{run:?}")
    };
    assert_eq!(*summary, "2 agents, 3 instances: 2 ready, 1 stalled");
    assert!(b.starts_with("b      stalled  -    "), "{run:?}");
    assert!(b.ends_with("  no progress for 12s (limit 10s)"), "{run:?}");
    let listed = json(&container, None, &["--not-ready"]);
    assert_eq!(listed["signals"].as_array().unwrap().len(), 1);
    assert_eq!(listed["signals"][0]["state"], "stalled");
    assert_eq!(listed["summary"]["ready"], 2);
}

#[test]
fn those_that_are_expected_and_not_ready_are_named() {
    let container = Container::new();
    let process = Guard::spawn(Command::new("sleep").arg("1000"));
    publish(&container, "a", process.pid(), |_| {});
    publish(&container, "b", process.pid(), |record| {
        record["state"] = "starting".into();
    });
    let run = list(&container, None, &["--expect", "a"]);
    assert_eq!(run.code(), 0, "{run:?}");
    for args in [
        &["--expect", "d,a,b, c"][..],
        &["a", "--expect", "d", "--expect", "b,c"],
    ] {
        let run = list(&container, None, args);
        assert_eq!(run.code(), 1, "{run:?}");
        assert!(
            run.stdout
                .starts_with("2 agents: 1 ready, 1 starting\nmissing: c, d\nnot ready: b\n"),
            "{run:?}"
        );
    }
    let run = list(&container, None, &["--expect", "c", "--format", "json"]);
    assert_eq!(run.code(), 1, "{run:?}");
    let listed: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(listed["missing"], serde_json::json!(["c"]));
    assert_eq!(listed["not_ready"], serde_json::json!([]));
    let run = list(&container, None, &["--expect", "a,,b"]);
    assert_eq!(run.code(), 64, "{run:?}");
}

#[test]
fn wide_shows_where_an_instance_runs_and_its_details() {
    let container = Container::new();
    let process = Guard::spawn(Command::new("sleep").arg("1000"));
    publish(&container, "a", process.pid(), |_| {});
    let run = list(&container, None, &["--wide"]);
    let row = run.stdout.lines().nth(2).unwrap();
    let pid = process.pid();
    let said = format!("  2026-11-22T03:00:00Z  host  {pid}  1m   hand/1  {{\"port\":5555}}");
    assert!(row.ends_with(&said), "{run:?}");
}

#[test]
fn signals_of_a_store_are_listed_one_row_an_instance() {
    let redis = Redis::start();
    let servers = [NatsVersion::V2_9, NatsVersion::V2_15];
    let servers = servers.map(|version| Nats::builder(version).jetstream().start());
    let stores: Vec<String> = std::iter::once(redis.url())
        .chain(servers.iter().map(Nats::url))
        .collect();
    for store in &stores {
        let container = Container::new();
        let empty = list(&container, Some(store), &[]);
        assert!(empty.stdout.contains(", namespace default\n"), "{empty:?}");
        let process = Guard::spawn(Command::new("sleep").arg("1000"));
        let pid = process.pid().to_string();
        for agent in ["b", "a.1"] {
            let mut mark = container.probe(["mark", agent, "--pid", &pid]);
            assert_eq!(run(mark.env("READY_STORE", store)).code(), 0);
        }
        let listed = json(&container, Some(store), &[]);
        assert_eq!(listed["store"], store.as_str());
        assert_eq!(listed["namespace"], "default");
        let signals = listed["signals"].as_array().unwrap();
        let agents: Vec<&Value> = signals.iter().map(|signal| &signal["agent"]).collect();
        assert_eq!(agents, ["a.1", "b"]);
        assert_eq!(signals[0]["pid"], process.pid());
        assert_eq!(signals[0]["ttl_ms"], 60_000);
        // Nats-server 2.9 does not tell its time.
        let age_ms = signals[0]["beat_age_ms"].as_u64();
        let is_old = Some(store) == stores.get(1);
        assert_eq!(age_ms.is_some_and(|ms| ms < 60_000), !is_old, "{listed}");
        assert_eq!(
            json(&container, Some(store), &["b"])["signals"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
    }
}

#[test]
fn no_server_of_several_hides_what_another_one_has() {
    let (a, b) = (Redis::start(), Redis::start());
    let dead = refused_port();
    let put = |redis: &Redis, agent: &str, state: &str, seq: u64| {
        let mut record = record(agent, "x-1", state);
        record["seq"] = seq.into();
        announce(redis, "default", &record, Some(60_000));
    };
    put(&a, "left", "ready", 1);
    put(&b, "left", "not_ready", 2);
    put(&b, "moved", "ready", 1);
    for ports in [
        [dead.port(), a.port(), b.port()],
        [b.port(), a.port(), dead.port()],
    ] {
        let servers = ports.map(|port| format!("127.0.0.1:{port}")).join(",");
        let store = format!("redis://{servers}");
        let listed = json(&Container::new(), Some(&store), &[]);
        let signals = listed["signals"].as_array().unwrap();
        let rows: Vec<(&Value, &Value)> = signals
            .iter()
            .map(|signal| (&signal["agent"], &signal["state"]))
            .collect();
        assert_eq!(
            rows,
            [
                (&Value::from("left"), &Value::from("not_ready")),
                (&Value::from("moved"), &Value::from("ready"))
            ],
            "{listed}"
        );
        let why = format!("127.0.0.1:{}: connection refused", dead.port());
        assert_eq!(listed["unanswered"], serde_json::json!([why]));
    }
}

#[test]
fn what_the_dead_leave_in_the_indexes_is_removed_by_a_list() {
    let redis = Redis::start();
    for names in [&["gone", "half"][..], &[]] {
        redis.command(&["SADD", "ready:default", "gone", "half"]);
        redis.command(&["SADD", "ready:default:{half}", "x-1"]);
        let container = Container::new();
        let run = list(&container, Some(&redis.url()), names);
        assert_eq!(run.code(), 0, "{run:?}");
        assert_eq!(redis.command(&["KEYS", "*"]), "", "list {names:?}");
    }
}

#[test]
fn an_index_of_very_many_dead_instances_hides_nobody_and_is_mended() {
    let redis = Redis::start();
    let container = Container::new();
    let process = Guard::spawn(Command::new("sleep").arg("1000"));
    let pid = process.pid().to_string();
    let mark = || {
        let mut mark = container.probe(["mark", "job", "--pid", &pid]);
        assert_eq!(run(mark.env("READY_STORE", redis.url())).code(), 0);
    };
    let set = "ready:default:{job}";
    let overgrow = || {
        let dead: Vec<String> = (0..3_000).map(|n| format!("gone-{n}")).collect();
        let dead: Vec<&str> = dead.iter().map(String::as_str).collect();
        redis.command(&[&["SADD", set], dead.as_slice()].concat());
    };
    mark();
    overgrow();
    let peer = run(container
        .probe(["peer:job"])
        .env("READY_STORE", redis.url()));
    assert_eq!(peer.code(), 0, "{peer:?}");
    let listed = json(&container, Some(&redis.url()), &[]);
    assert_eq!(listed["signals"].as_array().unwrap().len(), 1);
    assert_eq!(redis.command(&["SCARD", set]), "1");
    redis.command(&["SADD", set, "gone"]);
    mark();
    assert_eq!(redis.command(&["SCARD", set]), "1");
}

#[test]
fn a_silent_server_costs_the_others_nothing() {
    let redis = Redis::start();
    put(&redis, "here");
    let silent = [(); 2].map(|()| Hostile::tcp(Behaviour::Silent));
    let [a, b] = silent.each_ref().map(|server| server.addr().to_string());
    let store = format!("redis://{a},{b},127.0.0.1:{}", redis.port());
    // In turn, the last one would be asked when most of the time is gone.
    let listed = json(&Container::new(), Some(&store), &["--timeout", "3s"]);
    assert_eq!(listed["signals"][0]["agent"], "here", "{listed}");
    let unanswered = listed["unanswered"].as_array().unwrap();
    let said = [a, b].map(|at| format!("{at}: no answer within 3s (connected to {at}, no reply"));
    assert_eq!(unanswered.len(), said.len(), "{listed}");
    for (line, said) in unanswered.iter().zip(said) {
        assert!(line.as_str().unwrap().starts_with(&said), "{listed}");
    }
}

fn put(redis: &Redis, agent: &str) {
    let record = record(agent, "x-1", "ready");
    announce(redis, "default", &record, Some(60_000));
}

#[test]
fn a_store_that_does_not_answer_is_told_and_what_is_here_is_shown() {
    let container = Container::new();
    let port = free_port();
    let store = format!("redis://:hunter2@127.0.0.1:{port}");
    let process = Guard::spawn(Command::new("sleep").arg("1000"));
    let shown = format!("redis://***@127.0.0.1:{port}");
    let head = format!(
        "the store {shown} can't be asked: 127.0.0.1:{port}: connection refused\n\
         this container alone:\n"
    );
    let run = list(&container, Some(&store), &["--expect", "a"]);
    assert_eq!(run.code(), 1, "{run:?}");
    let nothing = format!("{head}no signals in {}", container.ready_dir().display());
    assert!(run.stdout.starts_with(&nothing), "{run:?}");
    publish(&container, "a", process.pid(), |_| {});
    let run = list(&container, Some(&store), &[]);
    assert_eq!(run.code(), 1, "{run:?}");
    assert!(
        run.stdout.starts_with(&(head + "1 agent: 1 ready\n")),
        "{run:?}"
    );
    let run = list(&container, Some(&store), &["--format", "json"]);
    let listed: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(
        listed["away"],
        format!("127.0.0.1:{port}: connection refused")
    );
    assert_eq!(listed["signals"][0]["agent"], "a");
    assert!(!run.stdout.contains("hunter2"), "{run:?}");
    let run = list(&container, None, &["../x"]);
    assert_eq!(run.code(), 64, "{run:?}");
}
