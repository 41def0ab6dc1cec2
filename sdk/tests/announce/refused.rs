//! A server that answers, and does not take what it is told: passwords, permissions, failovers.

use std::thread;

use ready_probe_sdk::Agent;
use ready_probe_test_support::process::free_port;
use ready_probe_test_support::proxy::Proxy;
use ready_probe_test_support::servers::Redis;

use crate::common::{TempFolder, until};
use crate::fixture::{
    announced_agent, assert_heals, assert_holds_nobody_up, keys, ready_agent, record_keys,
    until_told,
};

#[test]
fn a_wrong_password_is_told_and_announcing_heals_when_it_is_mended() {
    let folder = TempFolder::new();
    let redis = Redis::with(&["--requirepass", "right"]);
    let url = format!("redis://:hUnTeR2@127.0.0.1:{}", redis.port());
    let agent = ready_agent(&folder, "password", &url);
    until_told(&folder, "password", "refuses the user or the password");
    assert_holds_nobody_up(&agent, 100);
    let file = folder.agent_dir("password").join(crate::common::own_file());
    let text = std::fs::read_to_string(file).unwrap();
    assert!(!text.contains("hUnTeR2"), "{text}");

    redis.command(&["CONFIG", "SET", "requirepass", "hUnTeR2"]);
    assert_heals(&folder, "password");
    let keys = redis.command_as("default", "hUnTeR2", &["KEYS", "*"]);
    assert_eq!(keys.lines().count(), 3, "{keys}");
}

#[test]
fn a_missing_password_is_told_and_announcing_heals_when_none_is_wanted() {
    let folder = TempFolder::new();
    let redis = Redis::with(&["--requirepass", "right"]);
    let _agent = ready_agent(&folder, "no-password", &redis.url());
    until_told(&folder, "no-password", "NOAUTH");
    redis.command(&["CONFIG", "SET", "requirepass", ""]);
    assert_heals(&folder, "no-password");
}

#[test]
fn a_permission_denied_is_told_and_announcing_heals_when_it_is_given() {
    let folder = TempFolder::new();
    let redis = Redis::start();
    redis.command(&["ACL", "SETUSER", "app", "on", ">pw", "~*", "+ping"]);
    let url = format!("redis://app:pw@127.0.0.1:{}", redis.port());
    let agent = ready_agent(&folder, "denied", &url);
    until_told(&folder, "denied", "NOPERM");
    let told = agent.announced().unwrap().reason.unwrap();
    assert!(told.contains("'set'"), "{told}");
    redis.command(&["ACL", "SETUSER", "app", "+@all"]);
    assert_heals(&folder, "denied");

    // Taken away in mid-life, from one of two.
    let _other = announced_agent(&folder, "not-denied", &url);
    let mine = "~ready:default:{not-denied}*";
    redis.command(&["ACL", "SETUSER", "app", "resetkeys", "~ready:default", mine]);
    until_told(&folder, "denied", "NOPERM");
    assert!(folder.record("not-denied").announced.unwrap().ok);
    redis.command(&["ACL", "SETUSER", "app", "allkeys"]);
    assert_heals(&folder, "denied");
    assert_eq!(record_keys(&redis, "denied").len(), 1);
}

/// A server behind a proxy, which counts connections, and an agent that is announced there.
struct Watched {
    redis: Redis,
    proxy: Proxy,
    folder: TempFolder,
    agent: Agent,
}

impl Watched {
    fn start(name: &str, redis: Redis) -> Self {
        let proxy = Proxy::start(([127, 0, 0, 1], redis.port()).into());
        let folder = TempFolder::new();
        let url = format!("redis://127.0.0.1:{}", proxy.port());
        let agent = announced_agent(&folder, name, &url);
        assert_eq!(proxy.connections(), 1);
        Self {
            redis,
            proxy,
            folder,
            agent,
        }
    }

    /// A failover has moved the name to another server: a connection to the old one is of no use.
    fn assert_connects_anew(&self, why: &str) {
        until_told(&self.folder, self.agent.name(), why);
        let before = self.proxy.connections();
        until("it connects anew", || {
            (self.proxy.connections() > before).then_some(())
        });
        until("it has one at a time", || {
            (self.proxy.open() <= 1).then_some(())
        });
    }
}

#[test]
fn a_server_that_has_become_a_replica_is_left_and_found_again() {
    let watched = Watched::start("failover", Redis::start());
    let nobody = free_port().to_string();
    watched.redis.command(&["REPLICAOF", "127.0.0.1", &nobody]);
    watched.assert_connects_anew("READONLY");
    watched.redis.command(&["REPLICAOF", "NO", "ONE"]);
    assert_heals(&watched.folder, "failover");
    assert_eq!(keys(&watched.redis, "*").len(), 3);
}

#[test]
fn a_server_that_has_lost_its_master_is_left_and_found_again() {
    let watched = Watched::start("masterdown", Redis::start());
    for option in ["replica-read-only", "replica-serve-stale-data"] {
        watched.redis.command(&["CONFIG", "SET", option, "no"]);
    }
    let nobody = free_port().to_string();
    watched.redis.command(&["REPLICAOF", "127.0.0.1", &nobody]);
    watched.assert_connects_anew("MASTERDOWN");
    watched.redis.command(&["REPLICAOF", "NO", "ONE"]);
    assert_heals(&watched.folder, "masterdown");
}

#[test]
fn a_server_that_loads_its_data_is_tried_again_until_it_has_them() {
    let watched = Watched::start("loading", Redis::with(&["--enable-debug-command", "yes"]));
    let redis = &watched.redis;
    redis.command(&["DEBUG", "POPULATE", "300", "ballast", "8192"]);
    // So that it looks up from loading now and then, and takes its time: in µs for each key.
    redis.command(&[
        "CONFIG",
        "SET",
        "loading-process-events-interval-bytes",
        "4096",
    ]);
    redis.command(&["CONFIG", "SET", "key-load-delay", "10000"]);
    thread::scope(|scope| {
        scope.spawn(|| redis.command(&["DEBUG", "RELOAD"]));
        watched.assert_connects_anew("LOADING");
    });
    assert_heals(&watched.folder, "loading");
    assert_eq!(record_keys(redis, "loading").len(), 1);
}
