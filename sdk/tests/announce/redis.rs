//! Redis as the store: what is there while all is well, and who is told.

use std::time::Duration;

use ready_probe_sdk::{Agent, ErrorKind};
use ready_probe_test_support::process::free_port;
use ready_probe_test_support::servers::{Redis, RedisBinary};

use crate::common::{PATIENCE, TempFolder, until};
use crate::fixture::{AT_ONCE, announced_agent, builder, keys, record, waited};

#[test]
fn a_signal_is_announced_with_a_ttl_and_taken_back() {
    for binary in [RedisBinary::Debian, RedisBinary::Valkey] {
        let redis = Redis::builder().binary(binary).start();
        let folder = TempFolder::new();
        let agent = builder(&folder, "kept", &redis.url()).register().unwrap();
        agent.mark_ready(serde_json::json!({ "port": 1 })).unwrap();
        agent.wait_announced(PATIENCE).unwrap();
        let announced = agent.announced().unwrap();
        assert!(announced.ok, "{announced:?}");
        assert_eq!(announced.store, redis.url());
        let all = keys(&redis, "*");
        assert_eq!(all.len(), 3, "{all:?}");
        for key in &all {
            let ttl: i64 = redis.command(&["PTTL", key]).parse().unwrap();
            assert!((1..=12_000).contains(&ttl), "{key}: {ttl}");
        }
        until("the local signal says so", || {
            (folder.record("kept").announced.as_ref() == Some(&announced)).then_some(())
        });
        let record = redis.command(&["GET", &all[2]]);
        assert!(record.contains("\"state\":\"ready\""), "{record}");
        drop(agent);
        until("it is taken back", || {
            keys(&redis, "*").is_empty().then_some(())
        });
    }
}

#[test]
fn a_store_that_is_away_holds_nobody_up_and_is_told_when_it_comes() {
    let folder = TempFolder::new();
    let port = free_port();
    let url = format!("redis://127.0.0.1:{port}");
    let agent = builder(&folder, "away", &url);
    let mut registered = None;
    let waited = waited(|| {
        let agent = registered.insert(agent.register().unwrap());
        agent.mark_ready(()).unwrap();
    });
    assert!(waited < AT_ONCE, "{waited:?}");
    let agent = registered.unwrap();
    until("the local signal says what is wrong", || {
        let announced = folder.record("away").announced?;
        (!announced.ok && announced.reason? == "connection refused").then_some(())
    });
    let e = agent.wait_announced(Duration::from_millis(10)).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::StoreUnavailable);
    assert_eq!(
        e.to_string(),
        format!("agent away was not announced to {url} within 10ms: connection refused")
    );
    let redis = Redis::builder().port(port).start();
    agent.wait_announced(Duration::MAX).unwrap();
    assert_eq!(keys(&redis, "*").len(), 3);
    until("the local signal says that all is well", || {
        folder.record("away").announced.filter(|a| a.ok)
    });
}

#[test]
fn who_waits_is_told_when_the_store_has_the_last_word() {
    let (redis, folder) = (Redis::start(), TempFolder::new());
    let agent = builder(&folder, "awaited", &redis.url())
        .register()
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for n in 0..50 {
        agent.mark_ready(serde_json::json!({ "n": n })).unwrap();
        if n % 2 == 0 {
            agent.wait_announced(PATIENCE).unwrap();
        } else {
            let announced = async { tokio::time::timeout(PATIENCE, agent.until_announced()).await };
            runtime.block_on(announced).unwrap().unwrap();
        }
        let said = record(&redis, "awaited").unwrap();
        assert_eq!(said.details["n"], n);
    }
}

#[test]
fn without_a_store_there_is_nothing_to_wait_for() {
    let folder = TempFolder::new();
    let agent = Agent::builder("alone")
        .folder(folder.signals())
        .register()
        .unwrap();
    assert_eq!(agent.announced(), None);
    let e = agent.wait_announced(PATIENCE).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidConfig);
    assert_eq!(
        e.to_string(),
        "agent alone is not announced anywhere: READY_STORE is not set"
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let e = runtime.block_on(agent.until_announced()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidConfig);
    assert_eq!(folder.record("alone").announced, None);
}

#[test]
fn a_local_agent_is_announced_nowhere() {
    let folder = TempFolder::new();
    let redis = Redis::builder().start();
    let agent = builder(&folder, "local", &redis.url());
    let agent = agent.local().register().unwrap();
    let e = agent.wait_announced(PATIENCE).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidConfig);
    assert_eq!(keys(&redis, "*"), Vec::<String>::new());
}

#[test]
fn an_agent_is_announced_by_whatever_leads_to_the_server() {
    let folder = TempFolder::new();
    let redis = Redis::with(&["--requirepass", "p@ss/word"]);
    let socket = redis.unix_socket();
    for (name, url) in [
        (
            "by-port",
            format!("redis://:p%40ss%2Fword@127.0.0.1:{}/3", redis.port()),
        ),
        (
            "by-socket",
            format!(
                "redis+unix://{}?db=3&password=p%40ss%2Fword",
                socket.display()
            ),
        ),
        (
            "by-list",
            format!(
                "redis://:p%40ss%2Fword@127.0.0.1:1,127.0.0.1:{}/3",
                redis.port()
            ),
        ),
    ] {
        let agent = announced_agent(&folder, name, &url);
        let shown = agent.announced().unwrap().store;
        assert!(!shown.contains("ss"), "{shown}");
        let keyspace = redis.command(&["INFO", "keyspace"]);
        assert!(keyspace.contains("db3:keys=3,"), "{keyspace}");
    }
}

#[test]
fn an_agent_is_announced_over_tls_with_a_private_authority() {
    use ready_probe_test_support::tls::Ca;
    let (ca, stranger) = (Ca::new(), Ca::new());
    let redis = Redis::builder().tls(&ca.server(&["localhost"])).start();
    let folder = TempFolder::new();
    let url = |ca: &Ca| format!("{}#ca={}", redis.tls_url(), ca.path().display());
    let agent = announced_agent(&folder, "tls", &url(&ca));
    assert_eq!(keys(&redis, "*").len(), 3);
    drop(agent);
    let _refused = builder(&folder, "tls-stranger", &url(&stranger))
        .register()
        .unwrap();
    crate::fixture::until_told(&folder, "tls-stranger", "TLS: ");
}
