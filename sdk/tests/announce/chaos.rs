//! Everything at once, and then nothing: whatever happens to agents and store, nothing of them stays.

use std::process::Command;
use std::time::Duration;

use ready_probe_test_support::servers::{Nats, NatsVersion, Redis};

use crate::bucket::{Bucket, VERSIONS};
use crate::common::program::Program;
use crate::common::{TempFolder, throughout, until};
use crate::fixture::{immortal_keys, keys};

/// Agents with a TTL of one second, which beat every 100 ms; those of even numbers share a name.
fn start(folder: &TempFolder, store: &str, n: usize) -> Program {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .env("READY_STORE", store)
        .env("READY_NATS_MAX_AGE", "1s");
    let mut program = Program::start_with(&folder.path(), command);
    let name = if n.is_multiple_of(2) {
        "even".to_owned()
    } else {
        format!("odd-{n}")
    };
    program.tell(&format!("register {name} 1000 100"));
    program.tell("ready");
    program
}

/// What happens to the store, by turns.
fn strike(redis: &mut Redis, n: usize) {
    match n % 4 {
        0 => {
            redis.command(&["FLUSHALL"]);
        }
        1 => {
            redis.pause();
            throughout(Duration::from_millis(300), || {});
            redis.resume();
        }
        2 => {
            redis.kill();
            redis.restart();
        }
        _ => redis.restart(),
    }
}

/// Agents come and go while all this happens; returns those that live.
fn rage(folder: &TempFolder, store: &str, mut strike: impl FnMut(usize)) -> Vec<Program> {
    let mut programs: Vec<Program> = (0..6).map(|n| start(folder, store, n)).collect();
    for round in 0..8 {
        strike(round);
        let slot = round % programs.len();
        let mut old = std::mem::replace(&mut programs[slot], start(folder, store, 6 + round));
        if round % 3 == 0 {
            old.tell("close_all chaos");
        }
        // Killed while it announces, or while it does not.
        drop(old);
    }
    programs
}

#[test]
fn nothing_immortal_is_left_whatever_happens_to_agents_and_store() {
    let (mut redis, folder) = (Redis::start(), TempFolder::new());
    let url = redis.url();
    let programs = rage(&folder, &url, |round| strike(&mut redis, round));
    until("the agents recover", || {
        let says = redis.command(&["SMEMBERS", "ready:default"]);
        (says.lines().count() >= 4).then_some(())
    });
    assert_eq!(immortal_keys(&redis), Vec::<String>::new());
    drop(programs);
    assert_eq!(immortal_keys(&redis), Vec::<String>::new());
    until("everything is gone", || {
        keys(&redis, "*").is_empty().then_some(())
    });
}

fn strike_nats(nats: &mut Nats, round: usize) {
    match round % 4 {
        0 => Bucket::of(nats).delete(),
        1 => {
            nats.pause();
            throughout(Duration::from_millis(300), || {});
            nats.resume();
        }
        2 => {
            nats.kill();
            nats.restart();
        }
        _ => nats.restart_keeping_data(),
    }
    // Somebody has to make it again before it can be deleted.
    let bucket = Bucket::of(nats);
    until("the bucket is back", || {
        bucket.info()["error"].is_null().then_some(())
    });
}

#[test]
fn nor_in_nats() {
    for version in VERSIONS {
        let nats = Nats::builder(version).jetstream().start();
        let (mut nats, folder) = (nats, TempFolder::new());
        let url = nats.url();
        let bucket = Bucket::of(&nats);
        let first = start(&folder, &url, 99);
        until("the bucket is made", || (bucket.len() > 0).then_some(()));
        let programs = rage(&folder, &url, |round| strike_nats(&mut nats, round));
        until("the agents recover", || (bucket.len() >= 6).then_some(()));
        let is_mortal = || match version {
            NatsVersion::V2_9 => bucket.info()["config"]["max_age"] == 1_000_000_000_u64,
            NatsVersion::V2_15 => bucket.subjects().iter().all(|subject| {
                // It may have ended by now.
                let message = bucket.message(subject);
                message.is_none_or(|(headers, _)| headers.contains("Nats-TTL"))
            }),
        };
        assert!(is_mortal());
        drop((first, programs));
        assert!(is_mortal());
        until("everything is gone", || (bucket.len() == 0).then_some(()));
    }
}
