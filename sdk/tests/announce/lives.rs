//! How an agent's life ends and what of it stays announced: closed, killed, panicked, stalled.

use std::thread;
use std::time::{Duration, Instant};

use ready_probe_sdk::signal::State;
use ready_probe_test_support::servers::Redis;

use crate::common::program::Program;
use crate::common::{PATIENCE, TempFolder, until};
use crate::fixture::{
    SLACK, announced_agent, builder, immortal_keys, keys, ready_agent, record, record_keys,
};

#[test]
fn an_agent_that_closes_takes_back_its_own_and_nothing_else() {
    let (redis, folder) = (Redis::start(), TempFolder::new());
    let agent = announced_agent(&folder, "shared", &redis.url());
    let neighbour = announced_agent(&folder, "neighbour", &redis.url());
    let mut program = Program::announcing(&TempFolder::new().path(), &redis.url());
    program.tell("register shared");
    program.tell("wait_announced");
    assert_eq!(record_keys(&redis, "shared").len(), 2);

    let draining = agent.close("deploy").unwrap();
    until("stopping is announced", || {
        let keys = record_keys(&redis, "shared");
        let records = keys.iter().map(|key| redis.command(&["GET", key]));
        let stopping = |record: &String| record.contains("\"state\":\"stopping\"");
        (records.filter(stopping).count() == 1).then_some(())
    });
    drop(draining);
    let left = record(&redis, "shared").unwrap();
    assert_eq!(left.pid, Some(program.pid()));
    assert_eq!(redis.command(&["SCARD", "ready:default:{shared}"]), "1");
    assert!(record(&redis, "neighbour").is_some());
    program.tell("drop");
    assert_eq!(redis.command(&["SMEMBERS", "ready:default"]), "neighbour");
    drop(neighbour);
    until("nothing is left", || {
        keys(&redis, "*").is_empty().then_some(())
    });
}

#[test]
fn an_agent_that_comes_and_goes_leaves_nothing_behind() {
    let (redis, folder) = (Redis::start(), TempFolder::new());
    for n in 0..100 {
        let agent = ready_agent(&folder, "fleeting", &redis.url());
        // Some go while they are being announced.
        if n % 3 == 0 {
            thread::yield_now();
        }
        drop(agent);
    }
    let agent = announced_agent(&folder, "fleeting", &redis.url());
    drop(agent);
    assert_eq!(keys(&redis, "*"), Vec::<String>::new());
}

#[test]
fn a_process_that_closes_all_takes_everything_back() {
    let (redis, folder) = (Redis::start(), TempFolder::new());
    let mut program = Program::announcing(&folder.path(), &redis.url());
    program.tell("register held");
    program.tell("mark_ready marked");
    program.tell("wait_announced");
    until("both are announced", || {
        (keys(&redis, "*").len() == 5).then_some(())
    });
    program.tell("close_all deploy");
    assert_eq!(keys(&redis, "*"), Vec::<String>::new());
}

#[test]
fn a_process_that_is_killed_leaves_nothing_that_does_not_end() {
    let (redis, folder) = (Redis::start(), TempFolder::new());
    let mut program = Program::announcing(&folder.path(), &redis.url());
    program.tell("register killed 1000");
    program.tell("wait_announced");
    assert_eq!(keys(&redis, "*").len(), 3);
    program.kill();
    assert_eq!(immortal_keys(&redis), Vec::<String>::new());
    let start = Instant::now();
    until("the record ends", || {
        record_keys(&redis, "killed").is_empty().then_some(())
    });
    assert!(start.elapsed() < Duration::from_secs(1) + SLACK);
    until("the indexes end", || {
        keys(&redis, "*").is_empty().then_some(())
    });
    assert!(start.elapsed() < Duration::from_secs(2) + SLACK);
}

#[test]
fn the_last_word_of_an_agent_that_panics_is_announced() {
    let (redis, folder) = (Redis::start(), TempFolder::new());
    let agent = announced_agent(&folder, "panics", &redis.url());
    let panicked = thread::spawn(move || {
        let _agent = agent;
        panic!("as it was told");
    });
    assert!(panicked.join().is_err());
    let said = until("its last word is announced", || {
        record(&redis, "panics").filter(|said| said.state == State::Stopping)
    });
    assert_eq!(said.reason.as_deref(), Some("panicked"));
    assert_eq!(immortal_keys(&redis), Vec::<String>::new());
}

#[test]
fn a_stall_is_announced_at_once_and_so_is_its_end() {
    let (redis, folder) = (Redis::start(), TempFolder::new());
    let limit = Duration::from_millis(300);
    // Beats come every ten seconds: none of this waits for one.
    let agent = builder(&folder, "stalls", &redis.url())
        .ttl(Duration::from_secs(60))
        .watchdog(limit)
        .register()
        .unwrap();
    agent.mark_ready(()).unwrap();
    let start = Instant::now();
    let stalled = until("the stall is announced", || {
        record(&redis, "stalls").filter(|said| said.state == State::NotReady)
    });
    assert!(start.elapsed() < limit + SLACK);
    let reason = stalled.reason.unwrap();
    assert!(reason.starts_with("stalled: no progress for "), "{reason}");
    let start = Instant::now();
    until("its end is announced", || {
        agent.tick().unwrap();
        record(&redis, "stalls").filter(|said| said.state == State::Ready)
    });
    assert!(start.elapsed() < SLACK);
}

#[test]
fn who_registers_again_has_the_last_word_whatever_was_to_be_said_before() {
    let (mut redis, folder) = (Redis::start(), TempFolder::new());
    let mut program = Program::announcing(&folder.path(), &redis.url());
    program.tell("register again 6000");
    program.tell("ready");
    program.tell("wait_announced");
    redis.stop();
    // Its last word can't be said yet, and is overtaken.
    program.tell("panic");
    program.tell("register again 6000");
    program.tell("ready");
    redis.restart();
    let first = until("it is announced again", || record(&redis, "again"));
    assert_eq!(first.state, State::Ready, "{first:?}");
}

#[test]
fn what_may_not_be_taken_back_keeps_nobody_else_from_being_announced() {
    let (redis, folder) = (Redis::start(), TempFolder::new());
    redis.command(&[
        "ACL", "SETUSER", "app", "on", ">pw", "allkeys", "+@all", "-del",
    ]);
    let url = format!("redis://app:pw@127.0.0.1:{}", redis.port());
    let gone = announced_agent(&folder, "undeletable", &url);
    let stays = announced_agent(&folder, "stays", &url);
    drop(gone);
    stays.mark_not_ready("still heard").unwrap();
    stays.wait_announced(PATIENCE).unwrap();
    until("it ends with its TTL", || {
        record_keys(&redis, "undeletable").is_empty().then_some(())
    });
    assert!(record(&redis, "stays").is_some());
}
