//! A store that has no room: whoever is no longer ready does not stay `ready` there.

use std::time::Duration;

use ready_probe_sdk::Agent;
use ready_probe_sdk::signal::State;
use ready_probe_test_support::servers::{Nats, NatsVersion, Redis, RedisBinary};
use serde_json::{Value, json};

use crate::bucket::{Bucket, VERSIONS};
use crate::common::{TempFolder, until};
use crate::fixture::{announced_agent, assert_heals, builder, record, record_keys, until_told};

/// As long as a TTL is by default: no test here waits for its end, or for a beat.
const TTL: Duration = Duration::from_secs(60);

fn announced(folder: &TempFolder, name: &str, store: &str) -> Agent {
    let agent = builder(folder, name, store).ttl(TTL).register().unwrap();
    agent.mark_ready(()).unwrap();
    agent.wait_announced(crate::common::PATIENCE).unwrap();
    agent
}

/// What ends records in a bucket of that server.
fn life(version: NatsVersion) -> Value {
    match version {
        NatsVersion::V2_9 => Bucket::max_age(TTL),
        NatsVersion::V2_15 => json!({ "allow_msg_ttl": true }),
    }
}

/// The bucket comes to refuse every record that would replace another one, the marker of a removal included.
fn fill(bucket: &Bucket, version: NatsVersion, is_full: bool) {
    let mut settings = life(version);
    settings["discard_new_per_subject"] = is_full.into();
    bucket.edit(&settings);
}

fn start(version: NatsVersion, denied: &str) -> (Nats, String, Bucket) {
    let users = format!(
        "authorization {{ users: [ {{ user: admin, password: pw }}, {{ user: app, password: pw, \
         permissions: {{ publish: {{ deny: [{denied}] }} }} }} ] }}"
    );
    let nats = Nats::builder(version).jetstream().config(&users).start();
    let url = format!("nats://app:pw@127.0.0.1:{}", nats.port());
    let bucket = Bucket::with_login(&nats, "admin", "pw");
    bucket.make(&life(version));
    (nats, url, bucket)
}

#[test]
fn a_full_redis_forgets_a_ready_that_no_longer_holds() {
    for binary in [RedisBinary::Debian, RedisBinary::Valkey] {
        let (redis, folder) = (Redis::builder().binary(binary).start(), TempFolder::new());
        let agent = announced(&folder, "oom", &redis.url());
        redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
        agent.mark_ready(json!({ "still": true })).unwrap();
        until_told(&folder, "oom", "OOM command not allowed");
        let kept = record(&redis, "oom").expect("a ready that is refused leaves what is there");
        assert_eq!(kept.state, State::Ready);
        agent.mark_not_ready("overloaded").unwrap();
        until("ready is gone", || {
            record_keys(&redis, "oom").is_empty().then_some(())
        });
        redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
        agent.mark_not_ready("overloaded still").unwrap();
        assert_heals(&folder, "oom");
        let said = record(&redis, "oom").unwrap();
        assert_eq!(said.reason.as_deref(), Some("overloaded still"));
    }
}

#[test]
fn an_agent_that_closes_is_gone_from_a_full_redis() {
    let (redis, folder) = (Redis::start(), TempFolder::new());
    let agent = announced(&folder, "oom-close", &redis.url());
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    drop(agent.close("deploy").unwrap());
    until("it is gone", || {
        record_keys(&redis, "oom-close").is_empty().then_some(())
    });
}

#[test]
fn a_redis_that_refuses_the_removal_as_well_is_quoted() {
    let (redis, folder) = (Redis::start(), TempFolder::new());
    let rules = ["on", ">pw", "allkeys", "+@all", "-del"];
    redis.command(&[&["ACL", "SETUSER", "app"], rules.as_slice()].concat());
    let url = format!("redis://app:pw@127.0.0.1:{}", redis.port());
    let agent = announced(&folder, "oom-undeletable", &url);
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    agent.mark_not_ready("overloaded").unwrap();
    until_told(
        &folder,
        "oom-undeletable",
        "; the previous signal stays until its TTL ends: NOPERM",
    );
}

#[test]
fn a_full_bucket_takes_a_not_ready_in_place_of_the_ready() {
    for version in VERSIONS {
        let (_nats, url, bucket) = start(version, "");
        let folder = TempFolder::new();
        let agent = announced(&folder, "full", &url);
        fill(&bucket, version, true);
        agent.mark_ready(json!({ "still": true })).unwrap();
        until_told(&folder, "full", "maximum messages per subject exceeded");
        assert_eq!(bucket.record("full").unwrap().state, State::Ready);
        agent.mark_not_ready("overloaded").unwrap();
        let said = until("not_ready is there", || {
            bucket
                .record("full")
                .filter(|said| said.state == State::NotReady)
        });
        assert_eq!(said.reason.as_deref(), Some("overloaded"));
        assert_heals(&folder, "full");
    }
}

#[test]
fn an_agent_that_closes_is_gone_from_a_full_bucket() {
    for version in VERSIONS {
        let (_nats, url, bucket) = start(version, "");
        let folder = TempFolder::new();
        let agent = announced(&folder, "full-close", &url);
        fill(&bucket, version, true);
        drop(agent);
        until("it is gone", || bucket.subjects().is_empty().then_some(()));
    }
}

#[test]
fn who_may_not_purge_a_full_bucket_is_told_which_permission_is_missing() {
    for version in VERSIONS {
        let (mut nats, url, bucket) = start(version, "\"$JS.API.STREAM.PURGE.KV_ready\"");
        let folder = TempFolder::new();
        let agent = announced_agent(&folder, "may-not-purge", &url);
        fill(&bucket, version, true);
        agent.mark_not_ready("overloaded").unwrap();
        until_told(
            &folder,
            "may-not-purge",
            "bucket ready: maximum messages per subject exceeded; the previous signal stays until its \
             TTL ends, since this user may not publish $JS.API.STREAM.PURGE.KV_ready",
        );
        assert_eq!(bucket.record("may-not-purge").unwrap().state, State::Ready);
        nats.reload(
            "authorization { users: [ { user: admin, password: pw }, { user: app, password: pw } ] }",
        );
        assert_heals(&folder, "may-not-purge");
        assert_eq!(
            bucket.record("may-not-purge").unwrap().state,
            State::NotReady
        );
    }
}

/// A bucket that replaces a record by a smaller one only, as nats-server 2.15 does at `max_bytes`.
#[test]
fn without_that_permission_a_marker_takes_the_place_of_a_ready_where_it_fits() {
    let version = NatsVersion::V2_15;
    let (_nats, url, bucket) = start(version, "\"$JS.API.STREAM.PURGE.KV_ready\"");
    let folder = TempFolder::new();
    let agent = announced(&folder, "marked", &url);
    let mut settings = life(version);
    settings["max_bytes"] = bucket.info()["state"]["bytes"].clone();
    bucket.edit(&settings);
    agent
        .mark_not_ready("a reason that makes the record longer than the one before")
        .unwrap();
    until_told(&folder, "marked", "maximum bytes exceeded");
    assert!(bucket.record("marked").is_none());
}
