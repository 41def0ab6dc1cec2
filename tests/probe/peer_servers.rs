//! `peer:NAME` where `READY_STORE` lists several servers: what one of them lacks never hides what another
//! one has, and one that is away neither hides nor delays it.

use std::time::{Duration, Instant};

use ready_probe_test_support::hostile::{Behaviour, Hostile, refused_port};
use ready_probe_test_support::servers::Redis;
use serde_json::{Value, json};

use crate::container::{Container, assert_mentions, assert_said};
use crate::peer::{announce, ask, record};

const HEALTHY: &str = "healthy: 1 check passes";
/// Far below the probe's deadline of 5 s, also on a busy host.
const SOON: Duration = Duration::from_secs(3);

fn word(state: &str, seq: u64) -> Value {
    let mut record = record("b", "x-1", state);
    record["seq"] = json!(seq);
    record
}

fn put(redis: &Redis, record: &Value) {
    announce(redis, "default", record, Some(60_000));
}

fn list(ports: &[u16]) -> String {
    let servers: Vec<String> = ports.iter().map(|p| format!("127.0.0.1:{p}")).collect();
    format!("redis://{}", servers.join(","))
}

/// Whichever stands first in the list.
fn both(a: &Redis, b: &Redis) -> [String; 2] {
    [[a, b], [b, a]].map(|servers| list(&servers.map(Redis::port)))
}

#[test]
fn an_empty_server_does_not_hide_a_no() {
    let (full, empty) = (Redis::start(), Redis::start());
    for store in both(&full, &empty) {
        let container = Container::new();
        put(&full, &word("ready", 1));
        assert_said(&ask(&container, &store, &["peer:b"]), 0, HEALTHY);
        put(&full, &word("not_ready", 2));
        assert_said(
            &ask(&container, &store, &["peer:b"]),
            1,
            "unhealthy: dependency peer:b: not_ready",
        );
    }
}

#[test]
fn the_newest_word_of_an_instance_counts_whichever_server_has_it() {
    let (a, b) = (Redis::start(), Redis::start());
    for store in both(&a, &b) {
        let container = Container::new();
        put(&a, &word("ready", 7));
        put(&b, &word("not_ready", 8));
        assert_said(
            &ask(&container, &store, &["peer:b"]),
            1,
            "unhealthy: dependency peer:b: not_ready",
        );
        put(&a, &word("ready", 9));
        assert_said(&ask(&container, &store, &["peer:b"]), 0, HEALTHY);
    }
}

#[test]
fn instances_on_different_servers_are_counted_together_and_once() {
    let (a, b) = (Redis::start(), Redis::start());
    let [store, _] = both(&a, &b);
    let container = Container::new();
    put(&a, &word("ready", 1));
    put(&b, &word("ready", 1));
    assert_said(
        &ask(&container, &store, &["peer:b#min=2"]),
        1,
        "unhealthy: dependency peer:b#min=2: 1 of 1 instances ready, 2 needed",
    );
    put(&b, &record("b", "x-2", "ready"));
    assert_said(&ask(&container, &store, &["peer:b#min=2"]), 0, HEALTHY);
}

#[test]
fn a_server_that_is_away_or_silent_hides_and_delays_nothing() {
    let redis = Redis::start();
    let silent = Hostile::tcp(Behaviour::Silent);
    let dead = refused_port();
    for away in [silent.port(), dead.port()] {
        for ports in [[away, redis.port()], [redis.port(), away]] {
            let store = list(&ports);
            let container = Container::new();
            for (state, seq, code, said) in [
                ("ready", 1, 0, HEALTHY),
                ("not_ready", 2, 1, "unhealthy: dependency peer:b: not_ready"),
            ] {
                put(&redis, &word(state, seq));
                let start = Instant::now();
                assert_said(&ask(&container, &store, &["peer:b"]), code, said);
                assert!(start.elapsed() < SOON, "{store}: {:?}", start.elapsed());
            }
        }
    }
}

#[test]
fn what_no_server_shows_is_unknown_while_one_of_them_is_away_and_each_is_named_once() {
    let redis = Redis::start();
    let dead = [refused_port(), refused_port()];
    let [one, two] = dead.each_ref().map(|port| port.port());
    let store = list(&[one, redis.port(), two]);
    let run = ask(&Container::new(), &store, &["peer:b"]);
    let said = format!(
        "unhealthy: dependency peer:b: {store}: 127.0.0.1:{one}: connection refused; 127.0.0.1:{two}: connection \
         refused; it has never passed"
    );
    assert_said(&run, 1, &said);
    let silent = Hostile::tcp(Behaviour::Silent);
    let store = list(&[silent.port(), redis.port()]);
    let run = ask(&Container::new(), &store, &["peer:b", "--timeout", "1s"]);
    assert_mentions(
        &run,
        1,
        &[
            &format!("peer:b: {store}: 127.0.0.1:{}: no answer", silent.port()),
            "it has never passed",
        ],
    );
}
