//! Signals written by hand, as another language's client would write them: nothing of the SDK is in here.

use std::fs;
use std::path::PathBuf;

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use crate::container::Container;

/// `CLOCK_MONOTONIC` in milliseconds.
pub fn mono_ms() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap() * 1_000 + u64::try_from(now.tv_nsec).unwrap() / 1_000_000
}

/// Field 22 of `/proc/PID/stat`.
pub fn start_of(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(')').unwrap();
    rest.split_whitespace().nth(19).unwrap().parse().unwrap()
}

/// A fresh, complete record of a ready agent in this process.
pub fn ready(agent: &str, pid: u32) -> Value {
    let namespace = fs::read_link("/proc/self/ns/pid").unwrap();
    let namespace = namespace
        .to_str()
        .unwrap()
        .trim_matches(|c: char| !c.is_ascii_digit());
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    json!({
        "v": 1,
        "agent": agent,
        "instance": format!("host-{pid}-{}", start_of(pid)),
        "state": "ready",
        "reason": null,
        "details": { "port": 5555 },
        "ttl_ms": 60_000,
        "beat_ms": 10_000,
        "seq": 1,
        "host": "host",
        "pid": pid,
        "pid_start": start_of(pid),
        "boot_id": boot.trim(),
        "pid_ns": namespace.parse::<u64>().unwrap(),
        "init_start": start_of(1),
        "mono_ms": mono_ms(),
        "since": "2026-11-22T03:00:00Z",
        "sdk": "hand/1",
        "a key of tomorrow": [1, 2, 3],
    })
}

/// Where the record of a process belongs.
pub fn path(container: &Container, agent: &str, pid: u32) -> PathBuf {
    let folder = container.ready_dir().join(agent);
    fs::create_dir_all(&folder).unwrap();
    folder.join(format!("{pid}-{}.json", start_of(pid)))
}

/// Publishes a record of this process, changed before.
pub fn publish(container: &Container, agent: &str, pid: u32, change: impl FnOnce(&mut Value)) {
    let mut record = ready(agent, pid);
    change(&mut record);
    fs::write(path(container, agent, pid), record.to_string()).unwrap();
}
