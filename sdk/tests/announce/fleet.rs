//! Many agents: what they cost the store, and how they come back to it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ready_probe_sdk::Agent;
use ready_probe_test_support::proxy::{Fault, Proxy};
use ready_probe_test_support::servers::{Nats, NatsVersion, Redis};

use crate::bucket::Bucket;
use crate::common::program::Program;
use crate::common::{TempFolder, until};
use crate::fixture::{BEAT, SLACK, TTL, immortal_keys, keys, ready_agent, record_keys};

/// One beat with its variation, and the longest backoff, which the beat limits.
const ALL_BACK: Duration = Duration::from_millis(2_200);

fn agents(folder: &TempFolder, prefix: &str, count: usize, url: &str) -> Vec<Agent> {
    let names = (0..count).map(|n| format!("{prefix}-{n}"));
    let agents: Vec<Agent> = names.map(|name| ready_agent(folder, &name, url)).collect();
    for agent in &agents {
        agent.wait_announced(crate::common::PATIENCE).unwrap();
    }
    agents
}

#[test]
fn a_restart_under_a_hundred_agents_loses_none() {
    let (mut redis, folder) = (Redis::start(), TempFolder::in_memory());
    let agents = agents(&folder, "restarted", 100, &redis.url());
    redis.restart();
    let start = Instant::now();
    until("all are announced again", || {
        (record_keys(&redis, "restarted-*").len() == 100).then_some(())
    });
    let took = start.elapsed();
    assert!(took < ALL_BACK + SLACK, "{took:?}");
    assert_eq!(redis.command(&["SCARD", "ready:default"]), "100");
    assert_eq!(keys(&redis, "*").len(), 201);
    assert_eq!(immortal_keys(&redis), Vec::<String>::new());
    until("all know it", || {
        let mut all = agents.iter().map(|agent| agent.announced());
        all.all(|a| a.is_some_and(|a| a.ok)).then_some(())
    });
}

/// With the TTL that agents have by default: one beat, its variation, the longest backoff.
const ALL_BACK_BY_DEFAULT: Duration = Duration::from_secs(17);

/// A hundred agents as they come; `restart` and `back` are the store's.
fn restart_under_a_hundred(
    prefix: &str,
    url: &str,
    restart: impl FnOnce(),
    mut count: impl FnMut() -> usize,
) {
    let folder = TempFolder::in_memory();
    let register = |n| {
        let agent = Agent::builder(&format!("{prefix}-{n}"));
        let agent = agent
            .folder(folder.signals())
            .store(url)
            .register()
            .unwrap();
        agent.mark_ready(()).unwrap();
        agent
    };
    let agents: Vec<Agent> = (0..100).map(register).collect();
    for agent in &agents {
        agent.wait_announced(crate::common::PATIENCE).unwrap();
    }
    restart();
    let start = Instant::now();
    until("all are announced again", || (count() == 100).then_some(()));
    let took = start.elapsed();
    assert!(took < ALL_BACK_BY_DEFAULT, "{took:?}");
}

#[test]
fn agents_of_the_default_ttl_are_back_in_redis_within_17_seconds() {
    let redis = RefCell::new(Redis::start());
    let url = redis.borrow().url();
    restart_under_a_hundred(
        "default",
        &url,
        || redis.borrow_mut().restart(),
        || record_keys(&redis.borrow(), "default-*").len(),
    );
}

#[test]
fn agents_of_the_default_ttl_are_back_in_nats_2_9_within_17_seconds() {
    restart_nats_under_a_hundred("old-nats", NatsVersion::V2_9);
}

#[test]
fn agents_of_the_default_ttl_are_back_in_nats_2_15_within_17_seconds() {
    restart_nats_under_a_hundred("new-nats", NatsVersion::V2_15);
}

fn restart_nats_under_a_hundred(prefix: &str, version: NatsVersion) {
    let mut nats = Nats::builder(version).jetstream().start();
    let (url, bucket) = (nats.url(), Bucket::of(&nats));
    restart_under_a_hundred(prefix, &url, || nats.restart(), || bucket.subjects().len());
}

/// Beats of processes that were started together come at phases of their own, and so does what each
/// does about a store that has come back.
fn connect_again(
    prefix: &str,
    scheme: &str,
    port: u16,
    restart: impl FnOnce(),
    mut count: impl FnMut() -> usize,
) -> Vec<Instant> {
    let folder = TempFolder::in_memory();
    let proxy = Proxy::start(([127, 0, 0, 1], port).into());
    let url = format!("{scheme}://127.0.0.1:{}", proxy.port());
    let programs: Vec<Program> = (0..8)
        .map(|n| {
            let mut program = Program::announcing(&folder.path(), &url);
            program.tell(&format!("register {prefix}-{n}"));
            program.tell("wait_announced");
            program
        })
        .collect();
    let before = proxy.connections();
    proxy.set(Fault::Refuse);
    restart();
    proxy.set(Fault::None);
    let mut came = Vec::new();
    until("all have connected again", || {
        let connections = usize::try_from(proxy.connections() - before).unwrap();
        came.resize(came.len().max(connections), Instant::now());
        (count() == programs.len()).then_some(())
    });
    let spread = came[came.len() - 1] - came[0];
    assert!(spread >= Duration::from_secs(1), "{spread:?}");
    came
}

#[test]
fn processes_connect_again_one_after_another() {
    let redis = RefCell::new(Redis::start());
    let port = redis.borrow().port();
    let came = connect_again(
        "process",
        "redis",
        port,
        || redis.borrow_mut().restart(),
        || record_keys(&redis.borrow(), "process-*").len(),
    );
    assert_eq!(came.len(), 8, "one connection each");
}

#[test]
fn processes_connect_to_nats_again_one_after_another() {
    let mut nats = Nats::builder(NatsVersion::V2_15).jetstream().start();
    let (port, bucket) = (nats.port(), Bucket::of(&nats));
    connect_again(
        "nats-process",
        "nats",
        port,
        || nats.restart(),
        || bucket.subjects().len(),
    );
}

/// How often each command was called since the statistics were reset.
fn calls(redis: &Redis) -> BTreeMap<String, f64> {
    let stats = redis.command(&["INFO", "commandstats"]);
    let calls = stats.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        let (calls, _) = rest.split_once(',')?;
        Some((name.to_owned(), calls.parse().unwrap()))
    });
    calls
        .filter(|(name, _)| ["set", "sadd", "pexpire", "smembers", "get"].contains(&name.as_str()))
        .collect()
}

#[test]
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "some thousands"
)]
fn a_beat_of_a_thousand_agents_is_one_pipeline_on_one_connection() {
    const COUNT: usize = 1_000;
    let (redis, folder) = (Redis::start(), TempFolder::in_memory());
    let proxy = Proxy::start(([127, 0, 0, 1], redis.port()).into());
    let url = format!("redis://127.0.0.1:{}", proxy.port());
    let _agents = agents(&folder, "thousand", COUNT, &url);
    // One after another they would take 40 s a beat, which comes every second.
    proxy.set(Fault::Delay(Duration::from_millis(20)));
    redis.command(&["CONFIG", "RESETSTAT"]);
    let start = Instant::now();
    // Once a TTL the indexes are kept, which costs more than the other beats.
    let calls = until("they beat for a TTL and keep their indexes", || {
        let calls = calls(&redis);
        let kept = calls.get("sadd").copied().unwrap_or_default() as usize;
        (start.elapsed() > TTL && kept >= COUNT).then_some(calls)
    });
    let beats = start.elapsed().as_secs_f64() / BEAT.as_secs_f64();
    // Another one is made when a busy machine is too slow for a turn.
    let connections = proxy.connections();
    assert!(connections < 100, "{connections}");
    let a_beat = calls.values().sum::<f64>() / COUNT as f64 / beats;
    assert!((0.2..=3.0).contains(&a_beat), "{a_beat}: {calls:?}");
    assert_eq!(record_keys(&redis, "thousand-*").len(), COUNT);
    // Each agent that is dropped waits a moment until it is taken back.
    proxy.set(Fault::None);
}
