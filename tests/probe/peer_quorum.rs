//! A NATS cluster that has lost its quorum: the server that is left still answers, and still has records
//! that nobody renews.

use std::time::{Duration, Instant};

use ready_probe_test_support::process::{Run, run, wait_until};
use ready_probe_test_support::servers::{Nats, NatsCluster, NatsVersion};
use serde_json::{Value, json};

use crate::container::{Container, assert_mentions, assert_said};
use crate::peer::{ask, record};

const HEALTHY: &str = "healthy: 1 check passes";
const TTL: Duration = Duration::from_secs(5);
/// How long beyond its TTL a record may be believed, and the time of a few probes.
const BELIEVED: Duration = Duration::from_secs(5 + 5 + 2);
const LIMIT: Duration = Duration::from_secs(60);

fn bucket(life: &Value) -> Value {
    named("ready", life)
}

fn named(bucket: &str, life: &Value) -> Value {
    let mut config = json!({
        "name": format!("KV_{bucket}"),
        "subjects": [format!("$KV.{bucket}.>")],
        "max_msgs_per_subject": 1,
        "discard": "new",
        "allow_rollup_hdrs": true,
        "deny_delete": true,
        "allow_direct": true,
    });
    let life = life.as_object().unwrap().clone();
    config.as_object_mut().unwrap().extend(life);
    config
}

fn max_age(seconds: u64) -> Value {
    let nanos = seconds * 1_000_000_000;
    json!({ "max_age": nanos, "duplicate_window": nanos })
}

fn put(nats: &Nats, ttl: Option<&str>) {
    put_into("ready", nats, ttl);
}

fn put_into(bucket: &str, nats: &Nats, ttl: Option<&str>) {
    let mut record = record("b", "x-1", "ready");
    record["ttl_ms"] = json!(u64::try_from(TTL.as_millis()).unwrap());
    let headers: Vec<(&str, &str)> = ttl.iter().map(|ttl| ("Nats-TTL", *ttl)).collect();
    wait_until(LIMIT, "the record to be taken", || {
        let subject = format!("$KV.{bucket}.default.b.x-1");
        let (_, ack) = nats.request(&subject, &headers, &record.to_string())?;
        ack.contains("\"seq\"").then_some(())
    });
}

/// The server still gives the record to whoever asks for it.
fn is_there(bucket: &str, nats: &Nats) -> bool {
    let body = json!({ "last_by_subj": format!("$KV.{bucket}.default.b.x-1") });
    let subject = format!("$JS.API.DIRECT.GET.KV_{bucket}");
    let answer = nats.request(&subject, &[], &body.to_string());
    let (_, body) = answer.expect("a server answers for what it has");
    body.contains("x-1")
}

#[test]
fn a_dead_agent_is_not_ready_for_ever_at_a_server_without_quorum() {
    let mut cluster = NatsCluster::start(NatsVersion::V2_15);
    let life = json!({ "allow_msg_ttl": true, "subject_delete_marker_ttl": 1_000_000_000 });
    // It goes on claiming to lead for a while, and leads nobody.
    let survivor = cluster.make_stream(&bucket(&life));
    // As docs/signal.md has it made.
    cluster.make_stream(&named("advised", &json!({ "allow_msg_ttl": true })));
    let store = cluster.server(survivor).url();
    let container = Container::new();
    put(cluster.server(survivor), Some("5s"));
    assert_said(&ask(&container, &store, &["peer:b"]), 0, HEALTHY);
    put_into("advised", cluster.server(survivor), Some("5s"));
    wait_until(LIMIT, "the record on this server", || {
        is_there("advised", cluster.server(survivor)).then_some(())
    });
    put(cluster.server(survivor), Some("5s"));
    let beaten = Instant::now();
    cluster.kill_all_but(survivor);
    let mut overdue = false;
    let mut leaderless = false;
    wait_until(LIMIT, "the loss of the leader to be seen", || {
        let asked = Instant::now();
        let run = ask(&container, &store, &["peer:b", "--timeout", "1s"]);
        if asked.duration_since(beaten) > BELIEVED {
            assert_ne!(run.first_line(), HEALTHY, "{:?}", beaten.elapsed());
            assert_eq!(run.code(), 0, "it is unknown and has its grace: {run:?}");
        }
        overdue |= run.stdout.contains("the store still has its record");
        leaderless |= run.stdout.contains("bucket ready has no leader");
        leaderless.then_some(())
    });
    assert!(overdue, "it claimed to lead for less than usual");
    let server = cluster.server(survivor);
    assert!(is_there("ready", server), "it expires records after all");
    assert!(!is_there("advised", server), "nor does it expire others");
    assert_mentions(
        &ask(&Container::new(), &store, &["peer:b"]),
        1,
        &[
            "unhealthy: dependency peer:b: ",
            "bucket ready has no leader",
            "it has never passed",
        ],
    );
    // Nor is anything else about it fine.
    let listed = run(container.probe(["list"]).env("READY_STORE", &store));
    assert_eq!(listed.code(), 1, "{listed:?}");
    assert!(
        listed.stdout.contains("bucket ready has no leader"),
        "{listed:?}"
    );
    let target = format!("{store}#bucket=ready");
    let bucket = Container::new().ask(&target);
    assert_mentions(&bucket, 1, &["bucket ready has no leader", "never passed"]);
    let jetstream = Container::new().ask(format!("{store}#jetstream"));
    assert_mentions(&jetstream, 1, &["temporarily unavailable", "never passed"]);
    // All that the server itself is asked is whether it is there.
    assert_said(&Container::new().ask(&store), 0, HEALTHY);
}

#[test]
fn what_a_server_without_quorum_lacks_is_unknown_on_older_servers_too() {
    let mut cluster = NatsCluster::start(NatsVersion::V2_9);
    let life = max_age(5);
    let leader = cluster.make_stream(&bucket(&life));
    let survivor = (leader + 1) % 3;
    let store = cluster.server(survivor).url();
    let container = Container::new();
    put(cluster.server(leader), None);
    assert_said(&ask(&container, &store, &["peer:b"]), 0, HEALTHY);
    cluster.kill_all_but(survivor);
    cluster.wait_leaderless(survivor, "KV_ready");
    // Now and then its JetStream as a whole says so.
    let until_named = |what: &str, ask: &dyn Fn() -> Run| {
        wait_until(LIMIT, what, || {
            let run = ask();
            let row = run.stdout.lines().nth(1).unwrap_or_default();
            assert!(row.starts_with(" unknown"), "{run:?}");
            run.stdout
                .contains("bucket ready has no leader")
                .then_some(())
        });
    };
    until_named("peer: to name the cause", &|| {
        ask(&container, &store, &["peer:b"])
    });
    let target = format!("{store}#bucket=ready");
    until_named("#bucket= to name the cause", &|| {
        Container::new().ask(&target)
    });
}

#[test]
fn a_cluster_with_a_quorum_is_read_at_any_of_its_servers() {
    for (version, life, ttl) in [
        (NatsVersion::V2_9, max_age(5), None),
        (
            NatsVersion::V2_15,
            json!({ "allow_msg_ttl": true }),
            Some("5s"),
        ),
    ] {
        let cluster = NatsCluster::start(version);
        let leader = cluster.make_stream(&bucket(&life));
        let servers = (0..3).map(|n| cluster.server(n).url());
        for store in servers.chain([cluster.url()]) {
            // A follower has it a moment later.
            wait_until(LIMIT, "the peer to pass", || {
                put(cluster.server(leader), ttl);
                let run = ask(&Container::new(), &store, &["peer:b"]);
                (run.first_line() == HEALTHY).then_some(())
            });
        }
    }
}

#[test]
fn a_record_that_its_bucket_keeps_too_long_is_no_answer() {
    let nats = Nats::builder(NatsVersion::V2_15).jetstream().start();
    let made = nats.api(
        "STREAM.CREATE.KV_ready",
        &bucket(&json!({ "allow_msg_ttl": true })),
    );
    assert!(made.unwrap()["error"].is_null());
    for (ttl, kept) in [("1h30m", "1h30m"), ("61", "1m1s"), ("1.5h", "1h30m")] {
        put(&nats, Some(ttl));
        assert_mentions(
            &ask(&Container::new(), &nats.url(), &["peer:b"]),
            1,
            &[
                "unhealthy: dependency peer:b: ",
                &format!("the store would keep its record for {kept}"),
                "its TTL is 5s",
                "never passed",
            ],
        );
    }
    put(&nats, Some("never"));
    let run = ask(&Container::new(), &nats.url(), &["peer:b"]);
    assert_mentions(
        &run,
        1,
        &["unhealthy: dependency peer:b: its record has no TTL"],
    );
    // The server counts whole seconds.
    for ttl in ["5s", "6s", "5"] {
        put(&nats, Some(ttl));
        let run = ask(&Container::new(), &nats.url(), &["peer:b"]);
        assert_said(&run, 0, HEALTHY);
    }
}
