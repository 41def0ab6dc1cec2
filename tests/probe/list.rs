//! `ready-probe list`: the table, the JSON, and where they come from.

use std::process::Command;

use ready_probe_test_support::hostile::refused_port;
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
    let [head, a, b, c] = lines.as_slice() else {
        panic!("{run:?}")
    };
    assert!(head.starts_with("AGENT  STATE      SINCE "), "{run:?}");
    assert!(a.starts_with("a      ready      2026-"), "{run:?}");
    assert!(
        b.starts_with("b      stale ") && b.contains(" is gone"),
        "{run:?}"
    );
    assert!(
        c.starts_with("c      not_ready ") && c.ends_with("  reloading"),
        "{run:?}"
    );
    let listed = json(&container, None, &["c", "a"]);
    assert_eq!(listed["store"], "local");
    let signals = listed["signals"].as_array().unwrap();
    assert_eq!(signals.len(), 2);
    assert_eq!(signals[0]["agent"], "a");
    assert_eq!(signals[0]["ready"], true);
    assert_eq!(signals[0]["details"]["port"], 5555);
    assert_eq!(signals[1]["ready"], false);
    assert_eq!(signals[1]["reason"], "reloading");
    assert!(living.ended().is_none());
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
fn a_store_that_does_not_answer_is_a_failure_with_its_reason() {
    let container = Container::new();
    let port = free_port();
    let run = list(
        &container,
        Some(&format!("redis://:hunter2@127.0.0.1:{port}")),
        &[],
    );
    assert_eq!(run.code(), 1, "{run:?}");
    let said = format!("ready-probe: 127.0.0.1:{port}: connection refused\n");
    assert_eq!(run.stdout, said);
    let run = list(&container, None, &["../x"]);
    assert_eq!(run.code(), 64, "{run:?}");
}
