//! A store that was wiped: instances that were ready are waited for, for as long as their beats may take,
//! and no longer.

use std::time::{Duration, Instant};

use ready_probe_test_support::process::{Run, wait_until};
use ready_probe_test_support::servers::Redis;
use serde_json::{Value, json};

use crate::container::{Container, assert_mentions, assert_said};
use crate::peer::{announce, ask, record};

const HEALTHY: &str = "healthy: 1 check passes";
const LIMIT: Duration = Duration::from_secs(20);

struct Fleet {
    redis: Redis,
    container: Container,
}

impl Fleet {
    fn new() -> Self {
        Self {
            redis: Redis::start(),
            container: Container::new(),
        }
    }

    /// Puts one instance's word, which claims to live for so long; the store keeps it for longer than a
    /// test takes.
    fn put(&self, instance: &str, state: &str) {
        announce(
            &self.redis,
            "default",
            &record("b", instance, state),
            Some(60_000),
        );
    }

    /// The same with a TTL that a test can wait for.
    fn put_short(&self, instance: &str, ttl_ms: u32) {
        let mut short: Value = record("b", instance, "ready");
        short["ttl_ms"] = json!(ttl_ms);
        announce(&self.redis, "default", &short, Some(ttl_ms));
    }

    fn wipe(&self) {
        self.redis.command(&["FLUSHALL"]);
    }

    fn ask(&self, target: &str) -> Run {
        ask(&self.container, &self.redis.url(), &[target])
    }
}

#[test]
fn a_no_that_comes_back_first_is_not_the_word_of_those_that_were_ready() {
    let fleet = Fleet::new();
    fleet.put("x-1", "ready");
    fleet.put("x-2", "not_ready");
    assert_said(&fleet.ask("peer:b"), 0, HEALTHY);
    fleet.wipe();
    assert_mentions(
        &fleet.ask("peer:b"),
        0,
        &["degraded: dependency peer:b: no signal"],
    );
    fleet.put("x-2", "not_ready");
    assert_mentions(
        &fleet.ask("peer:b"),
        0,
        &[
            "degraded: dependency peer:b: not_ready; others that were ready are missing",
            "of 1m grace",
        ],
    );
    // Its own no is one, also if the store loses that as well.
    fleet.put("x-1", "not_ready");
    assert_mentions(
        &fleet.ask("peer:b"),
        1,
        &["unhealthy: dependency peer:b: 0 of 2"],
    );
    fleet.wipe();
    assert_mentions(
        &fleet.ask("peer:b"),
        1,
        &["unhealthy: dependency peer:b: no signal"],
    );
}

#[test]
fn those_that_are_there_and_those_that_are_missing_must_be_enough_together() {
    let fleet = Fleet::new();
    let target = "peer:b#min=2";
    fleet.put("x-1", "ready");
    fleet.put("x-2", "ready");
    assert_said(&fleet.ask(target), 0, HEALTHY);
    fleet.wipe();
    fleet.put("x-1", "ready");
    assert_mentions(
        &fleet.ask(target),
        0,
        &["degraded: ", "1 of 1 instances ready"],
    );
    fleet.put("x-1", "not_ready");
    assert_mentions(&fleet.ask(target), 1, &["unhealthy: ", "0 of 1 instances"]);
}

#[test]
fn a_store_that_has_lost_an_agent_is_believed_once_its_ttl_has_passed() {
    let fleet = Fleet::new();
    fleet.put_short("x-1", 2_000);
    assert_said(&fleet.ask("peer:b"), 0, HEALTHY);
    fleet.wipe();
    let start = Instant::now();
    assert_mentions(
        &fleet.ask("peer:b"),
        0,
        &[
            "degraded: dependency peer:b: no signal in the store",
            "of 2s grace",
        ],
    );
    wait_until(LIMIT, "the probe to stop waiting", || {
        (fleet.ask("peer:b").code() == 1).then_some(())
    });
    assert!(start.elapsed() >= Duration::from_secs(2), "too early");
    assert_mentions(
        &fleet.ask("peer:b"),
        1,
        &["unhealthy: dependency peer:b: no signal in the store"],
    );
    // It passes again when it is back.
    fleet.put("x-1", "ready");
    assert_said(&fleet.ask("peer:b"), 0, HEALTHY);
}

#[test]
fn an_instance_that_closes_while_another_stays_is_not_missed() {
    let fleet = Fleet::new();
    fleet.put("x-1", "ready");
    fleet.put("x-2", "ready");
    assert_said(&fleet.ask("peer:b"), 0, HEALTHY);
    fleet.redis.command(&["DEL", "ready:default:{b}:x-2"]);
    assert_said(&fleet.ask("peer:b"), 0, HEALTHY);
    // Nor later, when the other one says no.
    fleet.put("x-1", "not_ready");
    assert_mentions(
        &fleet.ask("peer:b"),
        1,
        &["unhealthy: dependency peer:b: not_ready"],
    );
}

#[test]
fn one_of_several_checks_waits_for_its_peers_as_well() {
    let fleet = Fleet::new();
    fleet.container.file(
        "any.toml",
        "agent = []\n[[check]]\nany = [\"peer:b\", \"peer:c\"]\nname = \"either\"\n",
    );
    let config = fleet.container.path("any.toml");
    let config = config.to_str().unwrap();
    let ask = || ask(&fleet.container, &fleet.redis.url(), &["--config", config]);
    fleet.put("x-1", "ready");
    fleet.put("x-2", "not_ready");
    assert_said(&ask(), 0, HEALTHY);
    fleet.wipe();
    fleet.put("x-2", "not_ready");
    assert_mentions(&ask(), 0, &["degraded: "]);
    fleet.put("x-1", "not_ready");
    assert_mentions(&ask(), 1, &["unhealthy: "]);
}

#[test]
fn the_memory_of_an_older_probe_is_read_and_has_the_whole_grace() {
    let fleet = Fleet::new();
    fleet.put("x-1", "ready");
    assert_said(&fleet.ask("peer:b"), 0, HEALTHY);
    let text = std::fs::read_to_string(fleet.container.memory()).unwrap();
    let mut memory: Value = serde_json::from_str(&text).unwrap();
    memory.as_object_mut().unwrap().remove("peers");
    std::fs::write(fleet.container.memory(), memory.to_string()).unwrap();
    fleet.wipe();
    let run = fleet.ask("peer:b");
    assert_mentions(
        &run,
        0,
        &["degraded: dependency peer:b: no signal", "of 3m grace"],
    );
    assert!(!run.stdout.contains("no grace: "), "{run:?}");
}

#[test]
fn a_large_fleet_is_remembered_in_a_small_file() {
    let fleet = Fleet::new();
    let set = "ready:default:{b}";
    for n in 0..1_000 {
        let instance = format!("host-{n}-{}", "x".repeat(100));
        let key = format!("{set}:{instance}");
        let record = record("b", &instance, "ready").to_string();
        fleet.redis.command(&["SET", &key, &record, "PX", "60000"]);
        fleet.redis.command(&["SADD", set, &instance]);
    }
    assert_said(&fleet.ask("peer:b#min=900"), 0, HEALTHY);
    let size = std::fs::metadata(fleet.container.memory()).unwrap().len();
    assert!(size < 10_000, "{size} bytes");
    fleet.wipe();
    fleet.put("other", "not_ready");
    assert_mentions(&fleet.ask("peer:b#min=900"), 0, &["degraded: "]);
}
