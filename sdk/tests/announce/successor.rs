//! A process that died and left its signal behind, and the one that takes its place in the same container.

use std::time::Duration;

use ready_probe_sdk::host::Process;
use ready_probe_sdk::signal::Signal;
use ready_probe_test_support::servers::{Nats, Redis};
use rustix::process::Signal as Kill;

use crate::bucket::{Bucket, VERSIONS};
use crate::common::program::Program;
use crate::common::{TempFolder, throughout, until};
use crate::fixture::{BEAT, record_keys};

/// As long as a TTL is by default: no test here waits for its end.
const REGISTER: &str = "register succeeded 60000";

/// The process ids of the instances that a store holds.
fn instances(records: impl Iterator<Item = Vec<u8>>) -> Vec<u32> {
    let signals = records.filter_map(|bytes| Signal::decode(&bytes).ok());
    let mut pids: Vec<u32> = signals.filter_map(|signal| signal.pid).collect();
    pids.sort_unstable();
    pids
}

fn in_redis(redis: &Redis) -> Vec<u32> {
    let keys = record_keys(redis, "succeeded");
    let records = keys
        .iter()
        .map(|key| redis.command(&["GET", key]).into_bytes());
    instances(records)
}

fn in_bucket(bucket: &Bucket) -> Vec<u32> {
    let subjects = bucket.subjects();
    let messages = subjects
        .iter()
        .filter_map(|subject| bucket.message(subject));
    instances(messages.map(|(_, body)| body))
}

fn start(folder: &TempFolder, store: &str) -> Program {
    let mut program = Program::announcing(&folder.path(), store);
    program.tell(REGISTER);
    program.tell("ready");
    program.tell("wait_announced");
    program
}

/// What a supervisor does, seen from a store: `look` says whose records it holds.
fn assert_succeeds(store: &str, look: impl Fn() -> Vec<u32>) {
    let folder = TempFolder::new();
    let mut first = start(&folder, store);
    let mut paused = start(&folder, store);
    paused.signal(Kill::STOP);
    let mut living = vec![first.pid(), paused.pid()];
    living.sort_unstable();
    assert_eq!(look(), living, "both live");

    first.kill();
    first.reap();
    let mut second = start(&folder, store);
    let mut living = vec![paused.pid(), second.pid()];
    living.sort_unstable();
    until("the dead one is gone", || (look() == living).then_some(()));
    throughout(BEAT, || assert_eq!(look(), living, "the living stay"));

    // Dead as well, though nobody has reaped it yet.
    second.kill();
    let pid = second.pid();
    until("it has died", || {
        matches!(Process::of(pid), Process::Zombie { .. }).then_some(())
    });
    let third = start(&folder, store);
    let mut living = vec![paused.pid(), third.pid()];
    living.sort_unstable();
    until("the zombie is gone", || (look() == living).then_some(()));
    second.reap();
    paused.signal(Kill::CONT);
    paused.tell("drop");
    until("one is left", || (look() == [third.pid()]).then_some(()));
}

#[test]
fn what_a_killed_process_left_in_redis_is_removed_by_its_successor() {
    let redis = Redis::start();
    assert_succeeds(&redis.url(), || in_redis(&redis));
}

#[test]
fn what_a_killed_process_left_in_nats_is_removed_by_its_successor() {
    for version in VERSIONS {
        let nats = Nats::builder(version).jetstream().start();
        let bucket = Bucket::of(&nats);
        assert_succeeds(&nats.url(), || in_bucket(&bucket));
    }
}

#[test]
fn who_comes_before_its_predecessor_has_died_removes_what_that_left_all_the_same() {
    let (redis, folder) = (Redis::start(), TempFolder::new());
    let start = || {
        let mut program = Program::announcing(&folder.path(), &redis.url());
        // With beats of a second, and a TTL that nobody waits for.
        program.tell("register succeeded 60000 1000");
        program.tell("wait_announced");
        program
    };
    let (mut first, second) = (start(), start());
    let mut both = vec![first.pid(), second.pid()];
    both.sort_unstable();
    // Its first look is over.
    throughout(BEAT / 2, || assert_eq!(in_redis(&redis), both));
    first.kill();
    first.reap();
    until("the dead one is gone", || {
        (in_redis(&redis) == [second.pid()]).then_some(())
    });
}

/// In a PID namespace of its own the same number is another process.
#[test]
fn what_a_process_of_another_pid_namespace_left_is_nobodys_to_remove() {
    let (redis, folder) = (Redis::start(), TempFolder::new());
    let mut foreign = std::process::Command::new("unshare");
    foreign.args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
    foreign.arg(std::env::current_exe().unwrap());
    foreign.env("READY_STORE", redis.url());
    let mut foreign = Program::start_with(&folder.path(), foreign);
    foreign.tell(REGISTER);
    foreign.tell("wait_announced");
    assert_eq!(in_redis(&redis), [1]);
    foreign.kill();
    foreign.reap();
    let second = start(&folder, &redis.url());
    let both = vec![1, second.pid()];
    throughout(Duration::from_secs(1), || {
        assert_eq!(in_redis(&redis), both);
    });
}
