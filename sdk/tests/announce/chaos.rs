//! Everything at once, and then nothing: whatever happens to agents and store, nothing of them stays.

use std::time::Duration;

use ready_probe_test_support::servers::Redis;

use crate::common::program::Program;
use crate::common::{Folder, throughout, until};
use crate::fixture::{immortal_keys, keys};

/// Agents with a TTL of one second, which beat every 100 ms; those of even numbers share a name.
fn start(folder: &Folder, redis: &Redis, n: usize) -> Program {
    let mut program = Program::announcing(&folder.path(), &redis.url());
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

#[test]
fn nothing_immortal_is_left_whatever_happens_to_agents_and_store() {
    let (mut redis, folder) = (Redis::start(), Folder::new());
    let mut programs: Vec<Program> = (0..6).map(|n| start(&folder, &redis, n)).collect();
    for round in 0..8 {
        strike(&mut redis, round);
        let slot = round % programs.len();
        let mut old = std::mem::replace(&mut programs[slot], start(&folder, &redis, 6 + round));
        if round % 3 == 0 {
            old.tell("close_all chaos");
        }
        // Killed while it announces, or while it does not.
        drop(old);
    }
    until("the agents recover", || {
        let says = redis.command(&["SMEMBERS", "ready:default"]);
        (says.lines().count() >= 4).then_some(())
    });
    // Indexes come a moment before their TTL.
    until("everything has a TTL", || {
        immortal_keys(&redis).is_empty().then_some(())
    });
    drop(programs);
    assert_eq!(immortal_keys(&redis), Vec::<String>::new());
    until("everything is gone", || {
        keys(&redis, "*").is_empty().then_some(())
    });
}
