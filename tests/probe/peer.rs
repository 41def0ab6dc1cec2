//! `peer:NAME`: what the store says of agents of other containers, on real servers. Records are written
//! with plain commands, as another language's client would.

use std::time::Duration;

use ready_probe_test_support::process::{Guard, Run, free_port, run, wait_until};
use ready_probe_test_support::servers::{Nats, NatsVersion, Redis, RedisBinary};
use serde_json::{Value, json};

use crate::container::{Container, assert_mentions, assert_said};

const LIMIT: Duration = Duration::from_secs(10);

pub fn record(agent: &str, instance: &str, state: &str) -> Value {
    json!({ "v": 1, "agent": agent, "instance": instance, "state": state, "ttl_ms": 60_000 })
}

/// As docs/signal.md says it, with nothing but a Redis client.
pub fn announce(redis: &Redis, namespace: &str, record: &Value, ttl_ms: Option<u32>) {
    let (agent, instance) = (text(record, "agent"), text(record, "instance"));
    let set = format!("ready:{namespace}:{{{agent}}}");
    let key = format!("{set}:{instance}");
    redis.command(&["SET", &key, &record.to_string()]);
    if let Some(ttl_ms) = ttl_ms {
        redis.command(&["PEXPIRE", &key, &ttl_ms.to_string()]);
    }
    redis.command(&["SADD", &set, &instance]);
    redis.command(&["PEXPIRE", &set, "120000"]);
    redis.command(&["SADD", &format!("ready:{namespace}"), &agent]);
    redis.command(&["PEXPIRE", &format!("ready:{namespace}"), "120000"]);
}

fn text(record: &Value, key: &str) -> String {
    record[key].as_str().unwrap().to_owned()
}

pub fn ask(container: &Container, store: &str, targets: &[&str]) -> Run {
    run(container.probe(targets).env("READY_STORE", store))
}

/// All parts stand somewhere in what was printed.
#[track_caller]
fn assert_says(run: &Run, parts: &[&str]) {
    assert_eq!(run.code(), 0, "{run:?}");
    for part in parts {
        assert!(run.stdout.contains(part), "{part:?} in {run:?}");
    }
}

#[test]
fn a_peer_announced_with_plain_commands_is_ready() {
    for binary in [RedisBinary::Debian, RedisBinary::Valkey] {
        let redis = Redis::builder().binary(binary).start();
        let container = Container::new();
        announce(
            &redis,
            "default",
            &record("b", "x-1", "ready"),
            Some(60_000),
        );
        assert_said(
            &ask(&container, &redis.url(), &["peer:b"]),
            0,
            "healthy: 1 check passes",
        );
        let other = ask(
            &container,
            &redis.url(),
            &["--namespace", "other", "peer:b"],
        );
        assert_said(
            &other,
            1,
            "unhealthy: dependency peer:b: no signal in the store",
        );
        announce(&redis, "other", &record("b", "x-2", "ready"), Some(60_000));
        let other = ask(
            &container,
            &redis.url(),
            &["--namespace", "other", "peer:b"],
        );
        assert_said(&other, 0, "healthy: 1 check passes");
    }
}

#[test]
fn a_peer_says_why_it_is_not_ready() {
    let redis = Redis::start();
    let mut not_ready = record("no", "x-1", "not_ready");
    not_ready["reason"] = json!("reloading");
    announce(&redis, "default", &not_ready, Some(60_000));
    announce(
        &redis,
        "default",
        &record("up", "x-1", "starting"),
        Some(60_000),
    );
    announce(&redis, "default", &record("for-ever", "x-1", "ready"), None);
    let mut later = record("later", "x-1", "ready");
    later["v"] = json!(2);
    announce(&redis, "default", &later, Some(60_000));
    announce(
        &redis,
        "default",
        &record("two", "x-1", "ready"),
        Some(60_000),
    );
    announce(
        &redis,
        "default",
        &record("two", "x-2", "stopping"),
        Some(60_000),
    );
    redis.command(&[
        "SET",
        "ready:default:{moved}:x-1",
        &not_ready.to_string(),
        "PX",
        "60000",
    ]);
    redis.command(&["SADD", "ready:default:{moved}", "x-1"]);
    let container = Container::new();
    for (target, code, said) in [
        (
            "peer:no",
            1,
            "unhealthy: dependency peer:no: not_ready: reloading",
        ),
        ("peer:up", 1, "unhealthy: dependency peer:up: starting"),
        (
            "peer:nobody",
            1,
            "unhealthy: dependency peer:nobody: no signal in the store",
        ),
        ("peer:nobody#not", 0, "healthy: 1 check passes"),
        ("peer:two", 0, "healthy: 1 check passes"),
        (
            "peer:two#min=2",
            1,
            "unhealthy: dependency peer:two#min=2: 1 of 2 instances ready, 2 needed; stopping",
        ),
    ] {
        assert_said(&ask(&container, &redis.url(), &[target]), code, said);
    }
    let run = ask(&container, &redis.url(), &["peer:for-ever"]);
    assert_mentions(
        &run,
        1,
        &["unhealthy: dependency peer:for-ever: its record has no TTL"],
    );
    let run = ask(&container, &redis.url(), &["peer:later"]);
    assert_mentions(&run, 1, &["record of version 2"]);
    let run = ask(&container, &redis.url(), &["peer:moved"]);
    assert_mentions(
        &run,
        1,
        &["malformed record: it names no x-1, but its key names moved x-1"],
    );
}

#[test]
fn a_peer_that_a_restarted_store_has_lost_is_tolerated_until_it_says_no() {
    let redis = Redis::start();
    let container = Container::new();
    let ask = || ask(&container, &redis.url(), &["peer:b"]);
    assert_said(
        &ask(),
        1,
        "unhealthy: dependency peer:b: no signal in the store",
    );
    announce(
        &redis,
        "default",
        &record("b", "x-1", "ready"),
        Some(60_000),
    );
    assert_said(&ask(), 0, "healthy: 1 check passes");
    redis.command(&["FLUSHALL"]);
    assert_mentions(
        &ask(),
        0,
        &[
            "degraded: dependency peer:b: no signal in the store",
            "grace",
        ],
    );
    announce(
        &redis,
        "default",
        &record("b", "x-1", "not_ready"),
        Some(60_000),
    );
    assert_mentions(&ask(), 1, &["unhealthy: dependency peer:b: not_ready"]);
    redis.command(&["FLUSHALL"]);
    assert_mentions(
        &ask(),
        1,
        &["unhealthy: dependency peer:b: no signal in the store"],
    );
}

#[test]
fn a_store_that_is_away_is_no_answer() {
    let container = Container::new();
    let mut redis = Redis::start();
    announce(
        &redis,
        "default",
        &record("b", "x-1", "ready"),
        Some(60_000),
    );
    let url = redis.url();
    assert_said(
        &ask(&container, &url, &["peer:b"]),
        0,
        "healthy: 1 check passes",
    );
    redis.stop();
    let said = format!("degraded: dependency peer:b: {url}: connection refused");
    assert_mentions(
        &ask(&container, &url, &["peer:b"]),
        0,
        &[&said, "of 3m grace"],
    );
    let never = ask(&container, &url, &["peer:c"]);
    assert_mentions(
        &never,
        1,
        &["unhealthy: dependency peer:c: ", "it has never passed"],
    );
}

#[test]
fn a_store_that_refuses_says_why_and_no_secret() {
    let redis = Redis::with(&["--requirepass", "right-password"]);
    let url = |password: &str| format!("redis://:{password}@127.0.0.1:{}", redis.port());
    let container = Container::new();
    let run = ask(&container, &url("wrong-password"), &["peer:b"]);
    assert_mentions(&run, 1, &["redis://***@127.0.0.1", "WRONGPASS"]);
    assert!(!run.stdout.contains("wrong-password"), "{run:?}");
    let run = ask(&container, &redis_without(&redis), &["peer:b"]);
    assert_mentions(&run, 1, &["NOAUTH"]);
    let run = ask(&container, &url("right-password"), &["peer:b"]);
    assert_mentions(&run, 1, &["no signal in the store"]);
}

fn redis_without(redis: &Redis) -> String {
    format!("redis://127.0.0.1:{}", redis.port())
}

#[test]
fn a_peer_needs_a_store_to_be_named() {
    let container = Container::new();
    let run = container.run(["peer:b"]);
    assert_eq!(run.code(), 64, "{run:?}");
    assert!(
        run.stderr
            .contains("TARGET (command line): peer:b: set READY_STORE"),
        "{run:?}"
    );
    let mut probe = container.probe::<&str>([]);
    let checked = self::run(probe.env("READY_CHECKS", "peer:b"));
    assert_eq!(checked.code(), 78, "{checked:?}");
    for (variable, value, said) in [
        ("READY_STORE", "http://h", "READY_STORE (environment): "),
        (
            "READY_NAMESPACE",
            "../x",
            "READY_NAMESPACE (environment): invalid name",
        ),
        (
            "READY_NATS_MAX_AGE",
            "60",
            "READY_NATS_MAX_AGE (environment): ",
        ),
        (
            "READY_NATS_MAX_AGE",
            "2h",
            "READY_NATS_MAX_AGE (environment): ",
        ),
    ] {
        let run = self::run(container.probe(["file:/etc/passwd"]).env(variable, value));
        assert_eq!(run.code(), 78, "{variable}={value}: {run:?}");
        assert!(run.stderr.contains(said), "{variable}={value}: {run:?}");
    }
}

#[test]
fn a_wait_for_a_peer_and_its_store_starts_the_command_once_they_are_there() {
    let port = free_port();
    let container = Container::new();
    let started = container.path("started");
    let mut wait = container.probe(["wait", "--for", "30s", "peer:memory-system"]);
    wait.arg(format!("redis://127.0.0.1:{port}"))
        .args(["--", "touch"])
        .arg(&started)
        .env("READY_STORE", format!("redis://127.0.0.1:{port}"));
    let mut waiting = Guard::spawn(&mut wait);
    let redis = Redis::builder().port(port).start();
    announce(
        &redis,
        "default",
        &record("memory-system", "x-1", "starting"),
        Some(60_000),
    );
    assert!(!started.exists());
    announce(
        &redis,
        "default",
        &record("memory-system", "x-1", "ready"),
        Some(60_000),
    );
    assert_eq!(waiting.wait_within(LIMIT).code(), Some(0));
    assert!(started.exists());
}

#[test]
fn a_mark_is_announced_and_seen_by_others() {
    for version in [NatsVersion::V2_9, NatsVersion::V2_15] {
        let nats = Nats::builder(version).jetstream().start();
        marks_are_seen(&nats.url());
    }
    let redis = Redis::start();
    marks_are_seen(&redis.url());
    let keys = redis.command(&["KEYS", "*"]);
    for key in keys.lines() {
        let ttl: i64 = redis.command(&["PTTL", key]).parse().unwrap();
        assert!(ttl > 0, "{key} would stay for ever");
    }
}

fn marks_are_seen(store: &str) {
    let (here, elsewhere) = (Container::new(), Container::new());
    let process = Guard::spawn(std::process::Command::new("sleep").arg("1000"));
    let pid = process.pid().to_string();
    let said = run(here
        .probe(["mark", "job", "--pid", &pid, "--detail", "shard=3"])
        .env("READY_STORE", store));
    assert_says(
        &said,
        &[
            "job: ready, bound to process ",
            "job: announced to ",
            " for 1m\n",
        ],
    );
    wait_until(LIMIT, "the peer passes", || {
        let run = ask(&elsewhere, store, &["peer:job"]);
        (run.code() == 0).then_some(())
    });
    // A mark of the same process replaces the last one.
    let said = run(here
        .probe(["mark", "job", "--pid", &pid, "--not-ready", "disk is full"])
        .env("READY_STORE", store));
    assert_says(&said, &["job: not_ready", "announced to "]);
    let run = ask(&elsewhere, store, &["peer:job"]);
    assert_mentions(
        &run,
        1,
        &["unhealthy: dependency peer:job: not_ready: disk is full"],
    );
}

#[test]
fn a_mark_that_could_not_be_announced_says_so_and_stands() {
    let container = Container::new();
    let process = Guard::spawn(std::process::Command::new("sleep").arg("1000"));
    let pid = process.pid().to_string();
    let store = format!("redis://127.0.0.1:{}", free_port());
    let mut mark = container.probe(["mark", "job", "--pid", &pid, "--quiet"]);
    let said = run(mark.env("READY_STORE", &store));
    assert_says(&said, &["not announced to redis://", "connection refused"]);
    assert_said(&container.ask("agent:job"), 0, "healthy: 1 check passes");
}

#[test]
fn an_agent_that_is_ready_and_not_announced_is_degraded() {
    let container = Container::new();
    let process = Guard::spawn(std::process::Command::new("sleep").arg("1000"));
    let announced = |ok: bool| {
        crate::records::publish(&container, "a", process.pid(), |record| {
            record["announced"] =
                json!({ "store": "redis://redis:6379", "ok": ok, "reason": "connection refused" });
        });
    };
    announced(false);
    let run = container.ask("agent:a");
    let said = "degraded: agent a: not announced to redis://redis:6379: connection refused";
    assert_says(&run, &[said, "\n pass     agent:a"]);
    announced(true);
    assert_said(&container.ask("agent:a"), 0, "healthy: 1 check passes");
}

#[test]
fn peers_on_nats_are_read_whatever_the_version() {
    for version in [NatsVersion::V2_9, NatsVersion::V2_15] {
        let nats = Nats::builder(version).jetstream().start();
        let container = Container::new();
        assert_said(
            &ask(&container, &nats.url(), &["peer:job"]),
            1,
            "unhealthy: dependency peer:job: no signal in the store",
        );
    }
    let nats = Nats::start(NatsVersion::V2_15);
    let container = Container::new();
    let run = ask(&container, &nats.url(), &["peer:job"]);
    assert_mentions(&run, 1, &["JetStream is not enabled"]);
}
