//! NATS as the store: what is there while all is well, and how agents come back to it.

use std::time::{Duration, Instant};

use ready_probe_sdk::Agent;
use ready_probe_sdk::signal::State;
use ready_probe_test_support::process::free_port;
use ready_probe_test_support::proxy::{Fault, Proxy};
use ready_probe_test_support::servers::{Nats, NatsVersion};
use serde_json::json;

use crate::bucket::{Bucket, VERSIONS};
use crate::common::program::Program;
use crate::common::{PATIENCE, TempFolder, throughout, until};
use crate::fixture::{
    SLACK, announced_agent, assert_heals, assert_holds_nobody_up, builder, ready_agent, until_told,
};
use crate::hint::seen;

fn start(version: NatsVersion) -> Nats {
    Nats::builder(version).jetstream().start()
}

#[test]
fn a_signal_is_announced_with_a_ttl_and_taken_back() {
    for version in VERSIONS {
        let (nats, folder) = (start(version), TempFolder::new());
        let bucket = Bucket::of(&nats);
        let ttl = Duration::from_secs(2);
        if version == NatsVersion::V2_9 {
            bucket.make(&Bucket::max_age(ttl));
        }
        let agent = builder(&folder, "kept.1", &nats.url())
            .ttl(ttl)
            .register()
            .unwrap();
        agent.mark_ready(()).unwrap();
        agent.wait_announced(PATIENCE).unwrap();
        let announced = agent.announced().unwrap();
        assert_eq!((announced.ok, announced.reason), (true, None));
        assert_eq!(announced.store, nats.url());
        assert_eq!(bucket.record("kept.1").unwrap().state, State::Ready);
        let [subject] = bucket.subjects().try_into().unwrap();
        let (headers, _) = bucket.message(&subject).unwrap();
        let has_own = headers.contains("Nats-TTL: 2s") || headers.contains("Nats-TTL:2s");
        assert_eq!(has_own, version == NatsVersion::V2_15, "{headers}");
        drop(agent);
        until("it is taken back", || {
            bucket.record("kept.1").is_none().then_some(())
        });
        // What stands in its place does not stay either.
        let start = Instant::now();
        until("nothing is left", || (bucket.len() == 0).then_some(()));
        assert!(start.elapsed() < ttl + 2 * SLACK);
    }
}

/// A server knows the header in exactly these letters, and keeps for ever what has another one.
#[test]
fn a_record_with_another_spelling_of_its_ttl_is_not_believed() {
    let (nats, folder) = (start(NatsVersion::V2_15), TempFolder::new());
    let bucket = Bucket::of(&nats);
    let _agent = announced_agent(&folder, "spelled", &nats.url());
    let believed = |header: Option<(&str, &str)>| {
        let instance = "stranger";
        let record = json!({
            "v": 1, "agent": "speller", "instance": instance, "state": "ready", "ttl_ms": 60_000,
        });
        bucket.put(
            "$KV.ready.default.speller.stranger",
            header,
            &record.to_string(),
        );
        let [seen] = seen(&nats, "speller").try_into().unwrap();
        seen.is_ready()
    };
    assert!(believed(Some(("Nats-TTL", "60s"))));
    assert!(!believed(Some(("Nats-Ttl", "60s"))));
    assert!(!believed(Some(("Nats-TTL", "never"))));
    assert!(!believed(None));
}

/// Where the bucket decides how long a record lives, its own TTL is not its end.
#[test]
fn who_closes_while_the_store_is_away_is_taken_back_however_long_the_bucket_keeps_it() {
    let (mut nats, folder) = (start(NatsVersion::V2_9), TempFolder::new());
    let bucket = Bucket::of(&nats);
    bucket.make(&Bucket::max_age(Duration::from_secs(600)));
    let ttl = Duration::from_secs(1);
    let agent = builder(&folder, "closes", &nats.url()).ttl(ttl).register();
    let agent = agent.unwrap();
    agent.mark_ready(()).unwrap();
    agent.wait_announced(PATIENCE).unwrap();
    nats.stop();
    drop(agent);
    throughout(2 * ttl, || {});
    nats.restart_keeping_data();
    until("it is taken back", || {
        seen(&nats, "closes").is_empty().then_some(())
    });
}

#[test]
fn the_bucket_that_is_made_ends_every_record() {
    for version in VERSIONS {
        let (nats, folder) = (start(version), TempFolder::new());
        let _agent = announced_agent(&folder, "first", &nats.url());
        let config = &Bucket::of(&nats).info()["config"];
        match version {
            NatsVersion::V2_9 => assert_eq!(config["max_age"], 60_000_000_000_u64, "{config}"),
            NatsVersion::V2_15 => assert_eq!(config["allow_msg_ttl"], true, "{config}"),
        }
    }
}

#[test]
fn a_store_that_is_away_holds_nobody_up_and_is_told_when_it_comes() {
    for version in VERSIONS {
        let folder = TempFolder::new();
        let port = free_port();
        let agent = ready_agent(&folder, "nats-away", &format!("nats://127.0.0.1:{port}"));
        until_told(&folder, "nats-away", "connection refused");
        assert_holds_nobody_up(&agent, 50);
        let nats = Nats::builder(version).jetstream().port(port).start();
        assert_heals(&folder, "nats-away");
        assert!(Bucket::of(&nats).record("nats-away").is_some());
    }
}

#[test]
fn a_restart_under_many_agents_loses_none_with_its_data_and_without() {
    for version in VERSIONS {
        let (mut nats, folder) = (start(version), TempFolder::new());
        let names: Vec<String> = (0..30).map(|n| format!("many-{n}")).collect();
        let agents: Vec<Agent> = names
            .iter()
            .map(|name| announced_agent(&folder, name, &nats.url()))
            .collect();
        for keeps_data in [true, false] {
            if keeps_data {
                nats.restart_keeping_data();
            } else {
                nats.restart();
            }
            let start = Instant::now();
            let bucket = Bucket::of(&nats);
            let last_word = serde_json::json!({ "keeps_data": keeps_data });
            for agent in &agents {
                agent.mark_ready(&last_word).unwrap();
            }
            for agent in &agents {
                agent.wait_announced(PATIENCE).unwrap();
            }
            let took = start.elapsed();
            assert!(took < Duration::from_millis(2_200) + SLACK, "{took:?}");
            assert_eq!(bucket.subjects().len(), agents.len());
            let record = bucket.record("many-29").unwrap();
            assert_eq!(record.details["keeps_data"], keeps_data);
        }
    }
}

#[test]
fn a_bucket_that_is_deleted_is_back_with_its_records_within_one_beat() {
    for version in VERSIONS {
        let (nats, folder) = (start(version), TempFolder::new());
        let _agent = announced_agent(&folder, "deleted", &nats.url());
        let bucket = Bucket::of(&nats);
        bucket.delete();
        let start = Instant::now();
        until("it is back", || bucket.record("deleted"));
        let took = start.elapsed();
        assert!(took < Duration::from_millis(2_200) + SLACK, "{took:?}");
        assert_heals(&folder, "deleted");
    }
}

#[test]
fn a_server_that_hangs_and_a_network_that_does() {
    for (name, fault) in [
        ("nats-cut", Fault::Blackhole),
        ("nats-swallow", Fault::SwallowReplies),
        ("nats-reset", Fault::Reset),
        ("nats-refuse", Fault::Refuse),
        ("nats-late", Fault::Delay(Duration::from_millis(800))),
    ] {
        let (nats, folder) = (start(NatsVersion::V2_15), TempFolder::new());
        let proxy = Proxy::start(([127, 0, 0, 1], nats.port()).into());
        let url = format!("nats://127.0.0.1:{}", proxy.port());
        let agent = announced_agent(&folder, name, &url);
        proxy.set(fault);
        assert_holds_nobody_up(&agent, 50);
        until_told(&folder, name, "");
        assert_holds_nobody_up(&agent, 50);
        proxy.set(Fault::None);
        let last_word = json!({ "last": name });
        agent.mark_ready(&last_word).unwrap();
        assert_heals(&folder, name);
        agent.wait_announced(PATIENCE).unwrap();
        let record = Bucket::of(&nats).record(name).unwrap();
        assert_eq!(record.details["last"], name);
    }
    let (mut nats, folder) = (start(NatsVersion::V2_15), TempFolder::new());
    let agent = announced_agent(&folder, "nats-hangs", &nats.url());
    nats.pause();
    assert_holds_nobody_up(&agent, 50);
    let told = "no answer within 1s (connected to 127.0.0.1:";
    until_told(&folder, "nats-hangs", told);
    nats.resume();
    assert_heals(&folder, "nats-hangs");
}

#[test]
fn a_process_that_is_killed_leaves_nothing_that_does_not_end() {
    for version in VERSIONS {
        let (nats, folder) = (start(version), TempFolder::new());
        let bucket = Bucket::of(&nats);
        if version == NatsVersion::V2_9 {
            bucket.make(&Bucket::max_age(Duration::from_secs(1)));
        }
        let mut program = Program::announcing(&folder.path(), &nats.url());
        program.tell("register killed 1000");
        program.tell("wait_announced");
        assert_eq!(bucket.subjects().len(), 1);
        program.kill();
        let start = Instant::now();
        until("nothing is left", || (bucket.len() == 0).then_some(()));
        assert!(start.elapsed() < Duration::from_secs(1) + 2 * SLACK);
    }
}
