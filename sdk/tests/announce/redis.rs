//! Redis as the store.

use std::time::Duration;

use ready_probe_sdk::clock;

use ready_probe_sdk::{Agent, AgentBuilder, ErrorKind};
use ready_probe_test_support::process::free_port;
use ready_probe_test_support::servers::Redis;

use crate::common::{Folder, PATIENCE, until};

fn builder(folder: &Folder, name: &str, store: &str) -> AgentBuilder {
    Agent::builder(name)
        .local(folder.store())
        .store(store)
        .ttl(Duration::from_secs(6))
}

/// The keys of a pattern; tests may scan where the SDK does not.
fn keys(redis: &Redis, pattern: &str) -> Vec<String> {
    let mut keys: Vec<String> = redis
        .command(&["KEYS", pattern])
        .lines()
        .map(ToOwned::to_owned)
        .collect();
    keys.sort();
    keys
}

#[test]
fn a_signal_is_announced_with_a_ttl_and_taken_back() {
    let (redis, folder) = (Redis::start(), Folder::new());
    let agent = builder(&folder, "kept", &redis.url()).register().unwrap();
    agent.mark_ready(serde_json::json!({ "port": 1 })).unwrap();
    agent.wait_announced(PATIENCE).unwrap();
    let announced = agent.announcement().unwrap();
    assert!(announced.ok, "{announced:?}");
    assert_eq!(announced.store, redis.url());
    let all = keys(&redis, "*");
    assert_eq!(all.len(), 3, "{all:?}");
    for key in &all {
        let ttl: i64 = redis.command(&["PTTL", key]).parse().unwrap();
        assert!((1..=12_000).contains(&ttl), "{key}: {ttl}");
    }
    let says = folder.record("kept");
    assert_eq!(says.announced, Some(announced));
    let record = redis.command(&["GET", &all[2]]);
    assert!(record.contains("\"state\":\"ready\""), "{record}");
    drop(agent);
    assert_eq!(keys(&redis, "*"), Vec::<String>::new());
}

#[test]
fn a_store_that_is_away_holds_nobody_up_and_is_told_when_it_comes() {
    let folder = Folder::new();
    let port = free_port();
    let url = format!("redis://127.0.0.1:{port}");
    let start = clock::instant();
    let agent = builder(&folder, "away", &url).register().unwrap();
    agent.mark_ready(()).unwrap();
    assert!(start.elapsed() < Duration::from_millis(200));
    until("the local signal says what is wrong", || {
        let announced = folder.record("away").announced?;
        (!announced.ok && announced.reason? == "connection refused").then_some(())
    });
    let e = agent.wait_announced(Duration::from_millis(10)).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::StoreUnavailable);
    assert!(e.to_string().contains("connection refused"), "{e}");
    let redis = Redis::builder().port(port).start();
    agent.wait_announced(PATIENCE).unwrap();
    assert_eq!(keys(&redis, "*").len(), 3);
    until("the local signal says that all is well", || {
        folder.record("away").announced.filter(|a| a.ok)
    });
}
