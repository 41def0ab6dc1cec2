//! What the table of states says while a restart command runs: whose answer it is, and when its time is over.

use super::table_tests::{GONE, HUNG, NO, SECOND, World, saw};
use super::*;

const LATE: u64 = 61 * SECOND;

/// What is said by a life while the command runs.
fn of(id: u64, seen: Seen) -> Observation {
    Observation {
        instance: Some(Instance {
            id,
            began_ms: 1_000,
            is_alone: false,
        }),
        command: Command::Running,
        ..saw(seen)
    }
}

fn unknown(seen: Seen) -> Observation {
    Observation {
        instance: None,
        ..of(0, seen)
    }
}

/// A person has ordered the restart of life 1, which works; nobody is heard in the round in which it begins.
fn ordered() -> World {
    let mut world = World::one();
    let idle = Command::Ended;
    let works = of(1, Seen::Pass);
    world.see(
        0,
        &[Observation {
            command: idle,
            ..works
        }],
    );
    world.states[0].ask_for_restart();
    let nothing = Observation {
        seen: None,
        command: idle,
        ..unknown(Seen::Pass)
    };
    assert_eq!(world.see(0, &[nothing]), [Act::Restart(0)]);
    world
}

#[test]
fn what_is_heard_while_the_command_runs() {
    let (restarting, verifying) = (Phase::Restarting, Phase::Verifying);
    let table = [
        // The old life works on while its command stops it, or drains.
        (of(1, Seen::Pass), restarting),
        (of(1, Seen::NotNow), restarting),
        (of(1, NO), restarting),
        // The command has become the service.
        (of(2, Seen::Pass), verifying),
        (of(2, Seen::NotNow), verifying),
        (of(2, NO), restarting),
        // Whose word it is can't be told.
        (unknown(Seen::Pass), verifying),
        (unknown(Seen::NotNow), restarting),
        (unknown(GONE), restarting),
        (unknown(Seen::CouldNotAsk), restarting),
    ];
    for (observation, want) in table {
        let mut world = ordered();
        assert_eq!(world.see(10 * SECOND, &[observation]), []);
        assert_eq!(world.phase(), want, "{observation:?}");
    }
}

#[test]
fn only_proof_ends_a_command_that_takes_long() {
    let end = vec![Act::EndCommand(0)];
    let table = [
        (unknown(Seen::NotNow), vec![], Phase::Verifying, 0),
        (unknown(Seen::CouldNotAsk), vec![], Phase::Verifying, 0),
        // An answer is still to come.
        (
            Observation {
                seen: None,
                ..unknown(GONE)
            },
            vec![],
            Phase::Restarting,
            0,
        ),
        // It was to end the old life.
        (of(1, Seen::Pass), end.clone(), Phase::Probation, 1),
        (of(1, Seen::NotNow), vec![], Phase::Verifying, 0),
        (of(2, GONE), end.clone(), Phase::Backoff, 1),
        (unknown(HUNG), end, Phase::Backoff, 1),
    ];
    for (observation, acts, phase, attempts) in table {
        let mut world = World::restarted();
        world.states[0].replaced = of(1, GONE).instance;
        assert_eq!(world.see(LATE, &[observation]), acts, "{observation:?}");
        let state = &world.states[0];
        assert_eq!(
            (state.phase, state.attempts),
            (phase, attempts),
            "{observation:?}"
        );
    }
}

#[test]
fn one_that_loads_while_its_command_runs_is_ended_once_it_is_proven_not_to_come() {
    let mut world = World::restarted();
    for _ in 0..9 {
        assert_eq!(world.see(LATE, &[unknown(Seen::NotNow)]), []);
    }
    assert_eq!(world.see(SECOND, &[unknown(NO)]), [Act::EndCommand(0)]);
}

#[test]
fn a_command_that_has_left_the_old_life_alone_is_ended() {
    let mut world = ordered();
    world.see(LATE, &[unknown(Seen::CouldNotAsk)]);
    assert_eq!(world.phase(), Phase::Verifying);
    let acts = world.see(5 * SECOND, &[of(1, Seen::Pass)]);
    assert_eq!(acts, [Act::EndCommand(0)]);
    assert_eq!(
        (world.phase(), world.states[0].attempts),
        (Phase::Probation, 1)
    );
}
