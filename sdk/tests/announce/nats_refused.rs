//! A NATS server that answers, and does not take what it is told: permissions, buckets, JetStream.

use std::time::Duration;

use ready_probe_test_support::proxy::{Fault, Proxy};
use ready_probe_test_support::servers::{Nats, NatsVersion};
use serde_json::json;

use crate::bucket::{Bucket, VERSIONS};
use crate::common::{PATIENCE, TempFolder, throughout, until};
use crate::fixture::{BEAT, TTL, announced_agent, assert_heals, builder, ready_agent, until_told};

/// An administrator, and a user `app` who may publish what is not in `denied`.
fn users(denied: &str) -> String {
    format!(
        "authorization {{ users: [ {{ user: admin, password: pw }}, {{ user: app, password: pw, \
         permissions: {{ publish: {{ deny: [{denied}] }} }} }} ] }}"
    )
}

fn start(version: NatsVersion, denied: &str) -> (Nats, String) {
    let nats = Nats::builder(version)
        .jetstream()
        .config(&users(denied))
        .start();
    let url = format!("nats://app:pw@127.0.0.1:{}", nats.port());
    (nats, url)
}

#[test]
fn a_permission_denied_is_told_and_announcing_heals_when_it_is_given() {
    for version in VERSIONS {
        for (name, denied) in [
            ("may-not-put", "\"$KV.ready.default.may-not-put.*\""),
            ("may-not-ask", "\"$JS.API.STREAM.INFO.KV_ready\""),
        ] {
            let folder = TempFolder::new();
            let (mut nats, url) = start(version, denied);
            let _agent = ready_agent(&folder, name, &url);
            until_told(&folder, name, "Permissions Violation for Publish to ");
            let told = folder.record(name).announced.unwrap().reason.unwrap();
            let subject = denied.trim_matches(['"', '*']);
            let told = told.to_lowercase();
            assert!(told.contains(&subject.to_lowercase()), "{told}");
            nats.reload(&users(""));
            assert_heals(&folder, name);
            let bucket = Bucket::with_login(&nats, "admin", "pw");
            assert!(bucket.record(name).is_some());
        }
    }
}

#[test]
fn an_agent_that_may_not_be_announced_keeps_no_other_from_it() {
    for version in VERSIONS {
        let folder = TempFolder::new();
        let (nats, url) = start(version, "\"$KV.ready.default.denied-one.*\"");
        let denied = ready_agent(&folder, "denied-one", &url);
        let allowed = announced_agent(&folder, "allowed", &url);
        allowed.mark_not_ready("heard").unwrap();
        allowed.wait_announced(PATIENCE).unwrap();
        until_told(
            &folder,
            "denied-one",
            "Permissions Violation for Publish to ",
        );
        let bucket = Bucket::with_login(&nats, "admin", "pw");
        assert_eq!(
            bucket.record("allowed").unwrap().reason.as_deref(),
            Some("heard")
        );
        assert!(bucket.record("denied-one").is_none());
        drop(denied);
    }
}

#[test]
fn names_that_differ_in_case_are_not_taken_for_each_other() {
    for version in VERSIONS {
        let folder = TempFolder::new();
        let (nats, url) = start(version, "\"$KV.ready.default.cased.*\"");
        let _denied = ready_agent(&folder, "cased", &url);
        let allowed = announced_agent(&folder, "CASED", &url);
        until_told(&folder, "cased", "Permissions Violation for Publish to ");
        allowed.mark_not_ready("heard").unwrap();
        allowed.wait_announced(PATIENCE).unwrap();
        assert!(
            Bucket::with_login(&nats, "admin", "pw")
                .record("CASED")
                .is_some()
        );
    }
}

/// More than the client's library can tell at once.
#[test]
fn many_that_may_not_be_announced_keep_no_other_from_it() {
    let folder = TempFolder::in_memory();
    let config = "authorization { users: [ { user: app, password: pw, permissions: { publish: \
                  { allow: [\"$JS.API.>\", \"$KV.ready.default.allowed-among-many.*\"] } } } ] }";
    let nats = Nats::builder(NatsVersion::V2_15)
        .jetstream()
        .config(config)
        .start();
    let url = format!("nats://app:pw@127.0.0.1:{}", nats.port());
    let crowd: Vec<_> = (0..200)
        .map(|n| ready_agent(&folder, &format!("crowd-{n}"), &url))
        .collect();
    let allowed = announced_agent(&folder, "allowed-among-many", &url);
    for agent in &crowd {
        until_told(
            &folder,
            agent.name(),
            "Permissions Violation for Publish to ",
        );
    }
    let mut outages = 0;
    throughout(3 * BEAT, || {
        outages += u32::from(!allowed.announced().unwrap().ok);
    });
    assert_eq!(outages, 0);
    allowed.mark_not_ready("heard").unwrap();
    allowed.wait_announced(PATIENCE).unwrap();
}

#[test]
fn who_may_not_subscribe_is_told_so_each_time() {
    for version in VERSIONS {
        let config = "authorization { users: [ { user: app, password: pw, permissions: { \
                      publish: \">\", subscribe: { deny: \">\" } } } ] }";
        let nats = Nats::builder(version).jetstream().config(config).start();
        let folder = TempFolder::new();
        let url = format!("nats://app:pw@127.0.0.1:{}", nats.port());
        let _agent = ready_agent(&folder, "deaf", &url);
        let why = "Permissions Violation for Subscription to ";
        until_told(&folder, "deaf", why);
        throughout(3 * BEAT, || {
            let told = folder.record("deaf").announced.unwrap();
            assert!(told.reason.as_deref().unwrap().contains(why), "{told:?}");
        });
    }
}

#[test]
fn who_may_not_make_the_bucket_is_told_the_command_that_makes_it() {
    for (version, command) in [
        (
            NatsVersion::V2_9,
            "nats kv add ready --history=1 --ttl=1m (Permissions Violation for Publish to ",
        ),
        (
            NatsVersion::V2_15,
            "nats kv add ready --history=1 && nats stream edit KV_ready --allow-msg-ttl -f (Permissions \
             Violation for Publish to ",
        ),
    ] {
        let folder = TempFolder::new();
        let (nats, url) = start(version, "\"$JS.API.STREAM.CREATE.>\"");
        let _agent = ready_agent(&folder, "may-not-make", &url);
        until_told(&folder, "may-not-make", command);
        let told = folder.record("may-not-make").announced.unwrap();
        let told = told.reason.unwrap();
        let start = "bucket ready is not there and can't be created: ";
        assert!(told.starts_with(start), "{told}");
        // As that command makes it.
        let life = match version {
            NatsVersion::V2_9 => Bucket::max_age(Duration::from_secs(60)),
            NatsVersion::V2_15 => json!({ "allow_msg_ttl": true }),
        };
        let bucket = Bucket::with_login(&nats, "admin", "pw");
        bucket.make(&json!({}));
        bucket.edit(&life);
        assert_heals(&folder, "may-not-make");
    }
}

#[test]
fn a_server_without_jetstream_is_told() {
    for version in VERSIONS {
        let (nats, folder) = (Nats::start(version), TempFolder::new());
        let _agent = ready_agent(&folder, "no-jetstream", &nats.url());
        until_told(&folder, "no-jetstream", "JetStream is not enabled");
    }
}

#[test]
fn an_account_without_jetstream_is_told() {
    for version in VERSIONS {
        let config = "accounts { A { jetstream: enabled, users: [{ user: a, password: pw }] }, \
                      B { users: [{ user: app, password: pw }] } }";
        let nats = Nats::builder(version).jetstream().config(config).start();
        let folder = TempFolder::new();
        let url = format!("nats://app:pw@127.0.0.1:{}", nats.port());
        let _agent = ready_agent(&folder, "no-account", &url);
        until_told(&folder, "no-account", "JetStream is not enabled");
    }
}

#[test]
fn before_2_11_the_bucket_decides_how_long_a_record_lives_and_says_so() {
    let nats = Nats::builder(NatsVersion::V2_9).jetstream().start();
    let folder = TempFolder::new();
    let bucket = Bucket::of(&nats);
    bucket.make(&Bucket::max_age(2 * TTL));
    let register = |name: &str, ttl: Duration| {
        let agent = builder(&folder, name, &nats.url()).ttl(ttl);
        agent.register().unwrap()
    };
    let shorter = register("shorter", TTL);
    shorter.wait_announced(PATIENCE).unwrap();
    let said = until("it is told", || {
        folder.record("shorter").announced.filter(|a| a.ok)
    });
    assert_eq!(
        said.reason.as_deref(),
        Some("bucket ready keeps it for 12s instead of 6s")
    );
    let equal = register("equal", 2 * TTL);
    equal.wait_announced(PATIENCE).unwrap();
    assert_eq!(equal.announced().unwrap().reason, None);
    let _longer = register("longer", 4 * TTL);
    until_told(
        &folder,
        "longer",
        "a TTL of 24s is longer than bucket ready keeps anything (12s): shorten it, or nats stream \
         edit KV_ready --max-age=24s",
    );
    assert!(bucket.record("longer").is_none());
    assert_eq!(bucket.subjects().len(), 2);
    bucket.edit(&Bucket::max_age(4 * TTL));
    // Its beat is longer as well.
    until("it is announced", || bucket.record("longer"));
}

#[test]
fn a_bucket_that_keeps_everything_for_ever_is_refused_and_nothing_is_left_there() {
    for (version, option) in [
        (NatsVersion::V2_9, "--max-age=1m"),
        (NatsVersion::V2_15, "--allow-msg-ttl"),
    ] {
        let nats = Nats::builder(version).jetstream().start();
        let folder = TempFolder::new();
        let bucket = Bucket::of(&nats);
        bucket.make(&json!({}));
        let why = format!(
            "bucket ready would keep a dead agent's signal for ever: nats stream edit KV_ready {option}"
        );
        let agent = ready_agent(&folder, "for-ever", &nats.url());
        until_told(&folder, "for-ever", &why);
        drop(agent);
        assert_eq!(bucket.len(), 0, "no record, and no marker");
        // As that command mends it.
        let _agent = ready_agent(&folder, "for-ever", &nats.url());
        until_told(&folder, "for-ever", &why);
        bucket.edit(&match version {
            NatsVersion::V2_9 => Bucket::max_age(Duration::from_secs(60)),
            NatsVersion::V2_15 => json!({ "allow_msg_ttl": true }),
        });
        assert_heals(&folder, "for-ever");
    }
}

#[test]
fn a_bucket_that_comes_to_keep_everything_for_ever_is_noticed_and_nothing_is_left_there() {
    for version in VERSIONS {
        let nats = Nats::builder(version).jetstream().start();
        let folder = TempFolder::new();
        let _agent = announced_agent(&folder, "becomes", &nats.url());
        let bucket = Bucket::of(&nats);
        bucket.delete();
        bucket.make(&json!({}));
        until_told(&folder, "becomes", "for ever");
        assert_eq!(bucket.len(), 0);
        bucket.delete();
        assert_heals(&folder, "becomes");
    }
}

/// A connection that is new does not know what the one before has put there.
#[test]
fn a_bucket_that_came_to_keep_everything_for_ever_while_it_was_away_keeps_nothing_of_who_is_not_ready()
 {
    let nats = Nats::builder(NatsVersion::V2_9).jetstream().start();
    let proxy = Proxy::start(([127, 0, 0, 1], nats.port()).into());
    let url = format!("nats://127.0.0.1:{}", proxy.port());
    let folder = TempFolder::new();
    let (says_no, closes) = (
        announced_agent(&folder, "says-no", &url),
        announced_agent(&folder, "closes-later", &url),
    );
    let bucket = Bucket::of(&nats);
    assert_eq!(bucket.subjects().len(), 2);
    proxy.set(Fault::Refuse);
    says_no.mark_not_ready("overloaded").unwrap();
    until_told(&folder, "says-no", "connection refused");
    drop(closes);
    bucket.edit(&json!({ "max_age": 0, "duplicate_window": 6_000_000_000_u64 }));
    proxy.set(Fault::None);
    until_told(&folder, "says-no", "for ever");
    until("nothing is left", || {
        bucket.subjects().is_empty().then_some(())
    });
}

/// A longer TTL of a record's own does not outlive the bucket's `max_age`.
#[test]
fn since_2_11_a_bucket_that_ends_records_before_their_time_says_so() {
    let nats = Nats::builder(NatsVersion::V2_15).jetstream().start();
    let folder = TempFolder::new();
    let bucket = Bucket::of(&nats);
    let life = |max_age: Duration| {
        let mut life = Bucket::max_age(max_age);
        life["allow_msg_ttl"] = json!(true);
        life
    };
    bucket.make(&life(TTL / 2));
    let _agent = ready_agent(&folder, "cut-short", &nats.url());
    until_told(
        &folder,
        "cut-short",
        "a TTL of 6s is longer than bucket ready keeps anything (3s): shorten it, or nats stream \
         edit KV_ready --max-age=6s",
    );
    assert_eq!(bucket.len(), 0);
    bucket.edit(&life(2 * TTL));
    assert_heals(&folder, "cut-short");
    // The record's own TTL is what ends it.
    let said = folder.record("cut-short").announced.unwrap();
    assert_eq!(said.reason, None);
}

#[test]
fn a_bucket_with_a_history_is_refused_since_it_would_bring_an_older_signal_back() {
    for version in VERSIONS {
        let nats = Nats::builder(version).jetstream().start();
        let folder = TempFolder::new();
        let bucket = Bucket::of(&nats);
        let life = |history: u32| {
            let mut life = match version {
                NatsVersion::V2_9 => Bucket::max_age(2 * TTL),
                NatsVersion::V2_15 => json!({ "allow_msg_ttl": true }),
            };
            life["max_msgs_per_subject"] = json!(history);
            life
        };
        bucket.make(&life(5));
        let _agent = ready_agent(&folder, "history", &nats.url());
        until_told(
            &folder,
            "history",
            "bucket ready would bring back an older signal when the last one ends: nats stream edit \
             KV_ready --max-msgs-per-subject=1",
        );
        assert_eq!(bucket.len(), 0);
        bucket.edit(&life(1));
        assert_heals(&folder, "history");
    }
}
