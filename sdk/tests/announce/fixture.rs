//! What the tests of announcing stand on.

use std::time::{Duration, Instant};

use ready_probe_sdk::signal::Signal;
use ready_probe_sdk::{Agent, AgentBuilder};
use ready_probe_test_support::servers::Redis;

use crate::common::{PATIENCE, TempFolder, until};

pub const TTL: Duration = Duration::from_secs(6);
/// As the SDK derives it from the TTL.
pub const BEAT: Duration = Duration::from_secs(1);
/// How soon a signal is announced again: one beat with its variation, and the longest backoff, which
/// a short beat cuts to its own length.
const HEALS_WITHIN: Duration = Duration::from_millis(2_200);
/// For this machine, which has other things to do.
pub const SLACK: Duration = Duration::from_secs(5);
/// No call of an agent waits longer, whatever the store does. What waits for a store waits for a second.
pub const AT_ONCE: Duration = Duration::from_millis(400);

pub fn builder(folder: &TempFolder, name: &str, store: &str) -> AgentBuilder {
    Agent::builder(name)
        .folder(folder.signals())
        .store(store)
        .ttl(TTL)
}

pub fn ready_agent(folder: &TempFolder, name: &str, store: &str) -> Agent {
    let agent = builder(folder, name, store).register().unwrap();
    agent.mark_ready(()).unwrap();
    agent
}

/// The same, once it is announced and has tidied up, which comes between its first two words.
pub fn announced_agent(folder: &TempFolder, name: &str, store: &str) -> Agent {
    let agent = ready_agent(folder, name, store);
    agent.wait_announced(PATIENCE).unwrap();
    agent.mark_ready(()).unwrap();
    agent.wait_announced(PATIENCE).unwrap();
    agent
}

/// Waits until the local record says that the agent is not announced, and why.
pub fn until_told(folder: &TempFolder, agent: &str, why: &str) {
    let mut last = None;
    until(
        &format!("{agent} says that it is not announced: {why}"),
        || {
            let announced = folder.record(agent).announced?;
            let told = !announced.ok && announced.reason.as_deref()?.contains(why);
            if last.as_ref() != Some(&announced) {
                eprintln!("{agent}: {announced:?}");
                last = Some(announced);
            }
            told.then_some(())
        },
    );
}

/// Waits until the local record says that the agent is announced again, and holds that against the
/// promised time.
#[track_caller]
pub fn assert_heals(folder: &TempFolder, agent: &str) {
    let start = Instant::now();
    until(&format!("{agent} says that it is announced"), || {
        folder.record(agent).announced.filter(|a| a.ok)
    });
    let took = start.elapsed();
    assert!(took < HEALS_WITHIN + SLACK, "{agent} healed after {took:?}");
}

/// Does what an agent does, again and again, and holds each call against its limit.
#[track_caller]
pub fn assert_holds_nobody_up(agent: &Agent, calls: u32) {
    for n in 0..calls {
        let waited = waited(|| {
            agent.mark_ready(serde_json::json!({ "n": n })).unwrap();
            agent.tick().unwrap();
            let _ = agent.announced();
        });
        assert!(waited < AT_ONCE, "call {n} of {calls} waited {waited:?}");
        std::thread::yield_now();
    }
}

/// For how long this thread waited for something else than a processor, of which there are fewer than
/// threads.
pub fn waited(act: impl FnOnce()) -> Duration {
    let (start, before) = (Instant::now(), busy());
    act();
    start.elapsed().saturating_sub(busy() - before)
}

/// For how long this thread has run, or waited to, in all; see `schedstat` in the kernel's
/// Documentation/scheduler/sched-stats.rst.
fn busy() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let numbers = told.split_whitespace().take(2);
    Duration::from_nanos(numbers.filter_map(|ns| ns.parse::<u64>().ok()).sum())
}

/// The keys of a pattern; tests may scan where the SDK does not.
pub fn keys(redis: &Redis, pattern: &str) -> Vec<String> {
    let mut keys: Vec<String> = redis
        .command(&["KEYS", pattern])
        .lines()
        .map(ToOwned::to_owned)
        .collect();
    keys.sort();
    keys
}

/// The keys of the records of an agent, in the namespace that is there by default.
pub fn record_keys(redis: &Redis, agent: &str) -> Vec<String> {
    keys(redis, &format!("ready:default:{{{agent}}}:*"))
}

/// What Redis holds of the only instance of an agent.
pub fn record(redis: &Redis, agent: &str) -> Option<Signal> {
    let keys = record_keys(redis, agent);
    let [key] = keys.as_slice() else {
        return None;
    };
    Signal::decode(redis.command(&["GET", key]).as_bytes()).ok()
}

/// The keys that nothing will ever remove.
pub fn immortal_keys(redis: &Redis) -> Vec<String> {
    let all = keys(redis, "*");
    let immortal = |key: &String| redis.command(&["PTTL", key]) == "-1";
    all.into_iter().filter(immortal).collect()
}
