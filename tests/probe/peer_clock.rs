//! A store whose clock is set: a dead agent's record must not outlive its TTL by that.

use ready_probe_test_support::process::run;
use ready_probe_test_support::servers::Redis;

use crate::container::{Container, assert_mentions, assert_said};
use crate::peer::{announce, ask, record};

const HOUR: i64 = 3_600;

#[test]
fn a_record_that_a_clock_set_back_keeps_is_no_answer_until_the_next_beat() {
    let redis = Redis::builder().own_clock().start();
    let (container, stranger) = (Container::new(), Container::new());
    let beat = || {
        announce(
            &redis,
            "default",
            &record("b", "x-1", "ready"),
            Some(60_000),
        );
    };
    beat();
    let healthy = "healthy: 1 check passes";
    assert_said(&ask(&container, &redis.url(), &["peer:b"]), 0, healthy);
    redis.set_clock(-HOUR);
    let why = "the store would keep its record for 1h";
    assert_mentions(
        &ask(&container, &redis.url(), &["peer:b"]),
        0,
        &[
            "degraded: dependency peer:b: ",
            why,
            "its TTL is 1m",
            "of 3m grace",
        ],
    );
    assert_mentions(
        &ask(&stranger, &redis.url(), &["peer:b"]),
        1,
        &["unhealthy: dependency peer:b: ", why, "it has never passed"],
    );
    let listed = run(container.probe(["list"]).env("READY_STORE", redis.url()));
    assert!(
        listed.stdout.contains("stale") && listed.stdout.contains(why),
        "{listed:?}"
    );
    beat();
    assert_said(&ask(&container, &redis.url(), &["peer:b"]), 0, healthy);
}

#[test]
fn a_record_without_a_ttl_of_its_own_is_malformed() {
    let redis = Redis::start();
    let mut unbounded = record("b", "x-1", "ready");
    unbounded["ttl_ms"] = serde_json::Value::Null;
    announce(&redis, "default", &unbounded, Some(60_000));
    let run = ask(&Container::new(), &redis.url(), &["peer:b"]);
    assert_mentions(
        &run,
        1,
        &["unhealthy: dependency peer:b: malformed record: ttl_ms is null"],
    );
}
