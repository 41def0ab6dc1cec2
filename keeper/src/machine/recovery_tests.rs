//! What the table of states says about lives of a service, barriers, and old proof.

use super::table_tests::{GONE, HUNG, NO, SECOND, World, saw};
use super::*;

/// A life that began then.
fn life(id: u64, began_ms: u64) -> Option<Instance> {
    Some(Instance {
        id,
        began_ms,
        is_alone: false,
    })
}

pub(super) fn with_rules(change: impl Fn(&mut Rules)) -> World {
    let mut rules = Rules::of_passes();
    change(&mut rules);
    World::new(vec![rules])
}

/// Passes, then is gone until it is proven.
pub(super) fn until_proven(world: &mut World) -> Vec<Act> {
    world.hear(0, &[Seen::Pass]);
    world.hear(SECOND, &[GONE]);
    world.hear(SECOND, &[GONE]);
    world.hear(SECOND, &[GONE])
}

/// From a restart to its failure, and a pause that is over.
pub(super) fn fail(world: &mut World) {
    world.hear(0, &[GONE]);
    world.hear(5 * SECOND, &[GONE]);
    world.states[0].not_before_ms = 0;
}

#[test]
fn who_was_started_by_somebody_else_since_it_was_suspected_is_left_alone() {
    let mut world = with_rules(|rules| rules.startup_ms = 60 * SECOND);
    world.see(
        0,
        &[Observation {
            instance: life(1, 1_000),
            ..saw(Seen::Pass)
        }],
    );
    let old = Observation {
        instance: life(1, 1_000),
        ..saw(HUNG)
    };
    assert_eq!(world.see(SECOND, &[old]), []);
    assert_eq!(world.phase(), Phase::Suspect);
    // A deploy ends the old one, and the new one needs its time.
    let began = world.now_ms + SECOND;
    let new = Observation {
        instance: life(2, began),
        ..saw(NO)
    };
    for _ in 0..60 {
        assert_eq!(world.see(SECOND, &[new]), []);
        assert_eq!(world.phase(), Phase::Starting);
    }
    world.see(SECOND, &[new]);
    assert_eq!(world.phase(), Phase::Suspect, "its startup is over");
    world.see(SECOND, &[new]);
    assert_eq!(world.see(SECOND, &[new]), [Act::Restart(0)]);
}

#[test]
fn who_was_proven_down_and_then_started_by_somebody_else_is_left_alone() {
    for hold in [
        Phase::Held(Hold::Storm),
        Phase::Backoff,
        Phase::Failed,
        Phase::Waiting(Wait::Turn),
    ] {
        let mut world = with_rules(|rules| rules.startup_ms = 60 * SECOND);
        world.hear(0, &[Seen::Pass]);
        world.hear(SECOND, &[GONE]);
        let now = world.now();
        world.states[0].enter(hold, now);
        let new = Observation {
            instance: life(2, world.now_ms + 1),
            ..saw(GONE)
        };
        assert_eq!(world.see(SECOND, &[new]), []);
        assert_eq!(world.phase(), Phase::Starting, "{hold:?}");
    }
}

#[test]
fn an_old_process_that_is_seen_late_is_no_act_of_somebody_else() {
    let mut world = World::one();
    world.hear(0, &[Seen::Pass]);
    world.hear(SECOND, &[NO]);
    let old = Observation {
        instance: life(1, 1_000),
        ..saw(NO)
    };
    world.see(SECOND, &[old]);
    assert_eq!(world.see(SECOND, &[old]), [Act::Restart(0)]);
}

#[test]
fn one_that_somebody_restarted_while_it_worked_has_its_startup() {
    let mut world = with_rules(|rules| rules.startup_ms = 60 * SECOND);
    let of = |id, began, seen| Observation {
        instance: life(id, began),
        ..saw(seen)
    };
    world.see(0, &[of(1, 1_000, Seen::Pass)]);
    let began = world.now_ms;
    for _ in 0..59 {
        world.see(SECOND, &[of(2, began, NO)]);
        assert_eq!(world.phase(), Phase::Starting);
    }
    world.see(SECOND, &[of(2, began, Seen::Pass)]);
    assert_eq!(world.phase(), Phase::Healthy);
}

#[test]
fn startup_counts_from_the_start_of_the_process_where_it_is_known() {
    let mut world = with_rules(|rules| rules.startup_ms = 60 * SECOND);
    // It runs for an hour already, and nobody has looked.
    let old = Observation {
        instance: life(1, 1),
        ..saw(NO)
    };
    world.see(0, &[old]);
    assert_eq!(world.phase(), Phase::Suspect);
}

#[test]
fn a_restart_that_changed_nothing_counts_as_an_attempt() {
    for (id, attempts) in [(1, 1), (2, 0)] {
        let mut world = World::one();
        let of = |id, seen| Observation {
            instance: life(id, 1_000),
            ..saw(seen)
        };
        world.see(0, &[of(1, Seen::Pass)]);
        world.see(SECOND, &[of(1, NO)]);
        world.see(SECOND, &[of(1, NO)]);
        assert_eq!(world.see(SECOND, &[of(1, NO)]), [Act::Restart(0)]);
        world.see(0, &[of(1, NO)]);
        world.see(5 * SECOND, &[of(id, Seen::Pass)]);
        assert_eq!(
            (world.phase(), world.states[0].attempts),
            (Phase::Probation, attempts)
        );
    }
}

#[test]
fn a_command_that_still_runs_when_its_service_is_not_back_is_ended() {
    let mut world = World::restarted();
    world.observe(SECOND, &[Seen::Pass], Marker::Absent, Command::Running);
    assert_eq!(world.phase(), Phase::Verifying);
    let acts = world.observe(5 * SECOND, &[NO], Marker::Absent, Command::Running);
    assert_eq!(acts, [Act::EndCommand(0)]);
    assert_eq!(
        (world.phase(), world.states[0].attempts),
        (Phase::Backoff, 1)
    );
}

#[test]
fn what_inhibits_a_restart_holds_it_until_it_passes() {
    let mut world = World::one();
    world.hear(0, &[Seen::Pass]);
    let inhibited = Observation {
        barrier: Barrier::Inhibited,
        ..saw(GONE)
    };
    for _ in 0..9 {
        assert_eq!(world.see(SECOND, &[inhibited]), []);
    }
    assert_eq!(
        (world.phase(), world.states[0].restarts.len()),
        (Phase::Held(Hold::Inhibited), 0)
    );
    assert_eq!(world.hear(SECOND, &[GONE]), [Act::Restart(0)]);
}

#[test]
fn what_is_no_service_is_waited_for_as_well() {
    let mut world = with_rules(|rules| rules.startup_ms = 60 * SECOND);
    world.hear(0, &[Seen::Pass]);
    let waits = Observation {
        barrier: Barrier::Needs,
        ..saw(NO)
    };
    for _ in 0..9 {
        assert_eq!(world.see(SECOND, &[waits]), []);
    }
    assert_eq!(world.phase(), Phase::Waiting(Wait::Needs));
    // Back again: it has its whole startup.
    for _ in 0..60 {
        assert_eq!(world.hear(SECOND, &[NO]), []);
        assert_eq!(world.phase(), Phase::Starting);
    }
    world.hear(SECOND, &[NO]);
    assert_eq!(world.phase(), Phase::Suspect);
}

#[test]
fn one_that_works_but_for_what_it_depends_on_waits_and_is_never_restarted() {
    let mut world = World::one();
    world.hear(0, &[Seen::Pass]);
    let waits = Observation {
        barrier: Barrier::Needs,
        ..saw(Seen::Pass)
    };
    for _ in 0..9 {
        assert_eq!(world.see(SECOND, &[waits]), []);
        assert_eq!(world.phase(), Phase::Waiting(Wait::Needs));
    }
    // It was never proven down: one answer is not enough.
    assert_eq!(world.hear(SECOND, &[GONE]), []);
    world.hear(SECOND, &[Seen::Pass]);
    assert!(world.states[0].works());
}

#[test]
fn one_answer_is_no_proof_when_the_proof_is_old() {
    for hold in [
        Phase::Held(Hold::Storm),
        Phase::Backoff,
        Phase::Failed,
        Phase::Waiting(Wait::Turn),
    ] {
        let mut world = World::one();
        until_proven(&mut world);
        let now = world.now();
        world.states[0].enter(hold, now);
        assert_eq!(world.hear(61 * SECOND, &[NO]), [], "{hold:?}");
        assert_eq!(world.phase(), Phase::Suspect);
        world.hear(SECOND, &[Seen::Pass]);
        assert_eq!(world.phase(), Phase::Probation);
    }
}

#[test]
fn another_cause_needs_its_own_proof() {
    let mut world = World::one();
    until_proven(&mut world);
    let now = world.now();
    world.states[0].enter(Phase::Held(Hold::Storm), now);
    assert_eq!(world.hear(SECOND, &[HUNG]), []);
    assert_eq!(world.hear(29 * SECOND, &[HUNG]), []);
    assert_eq!(world.hear(SECOND, &[HUNG]), [Act::Restart(0)]);
}

#[test]
fn an_answer_denies_that_it_hangs() {
    let mut world = World::one();
    world.hear(0, &[Seen::Pass]);
    world.hear(SECOND, &[HUNG]);
    world.hear(300 * SECOND, &[NO]);
    assert_eq!(world.hear(SECOND, &[HUNG]), []);
    assert_eq!(world.hear(300 * SECOND, &[HUNG]), [Act::Restart(0)]);
}

#[test]
fn what_has_ended_or_is_not_there_is_told_after_its_startup_and_never_restarted() {
    for (barrier, hold) in [
        (Barrier::Exited, Hold::Exited),
        (Barrier::Absent, Hold::Absent),
    ] {
        let mut world = with_rules(|rules| rules.startup_ms = 60 * SECOND);
        let container = |id, seen, barrier| Observation {
            // Its clock is not ours.
            instance: Some(Instance {
                id,
                began_ms: 1,
                is_alone: true,
            }),
            barrier,
            ..saw(seen)
        };
        let runs = container(1, Seen::Pass, Barrier::Open);
        world.see(0, &[runs]);
        world.see(SECOND, &[runs]);
        assert_eq!(world.phase(), Phase::Healthy);
        // Whoever ended it may be about to start another one.
        let ended = Observation {
            instance: Some(Instance {
                id: 2,
                began_ms: world.now_ms,
                is_alone: true,
            }),
            ..container(2, GONE, barrier)
        };
        for _ in 0..59 {
            assert_eq!(world.see(SECOND, &[ended]), []);
            assert_eq!(world.phase(), Phase::Starting);
        }
        for _ in 0..600 {
            assert_eq!(world.see(SECOND, &[ended]), []);
        }
        assert_eq!(world.phase(), Phase::Held(hold));
        // Another one, which is unhealthy at first.
        let new = container(3, NO, Barrier::Open);
        assert_eq!(world.see(SECOND, &[new]), []);
        assert_eq!(world.phase(), Phase::Starting);
        assert_eq!(world.states[0].attempts, 0);
    }
}

/// A service and one that is restarted with it.
fn followed() -> World {
    let follower = Rules {
        restart_with: vec![0],
        ..Rules::of_passes()
    };
    World::new(vec![Rules::of_passes(), follower])
}

#[test]
fn only_a_restart_that_has_begun_is_followed_by_others() {
    for begins in [true, false] {
        let mut world = followed();
        world.hear(0, &[Seen::Pass; 2]);
        world.hear(SECOND, &[GONE, Seen::Pass]);
        world.hear(SECOND, &[GONE, Seen::Pass]);
        let acts = world.hear(SECOND, &[GONE, Seen::Pass]);
        assert_eq!(acts, [Act::Restart(0)]);
        if !begins {
            let now = world.now();
            world.states[0].hold_back(Hold::NotRun, now);
        }
        // It comes back, by its restart or by itself.
        let mut acts = world.hear(SECOND, &[Seen::Pass; 2]);
        acts.extend(world.hear(5 * SECOND, &[Seen::Pass; 2]));
        assert!(world.states[0].works());
        acts.extend(world.hear(SECOND, &[Seen::Pass; 2]));
        assert_eq!(acts.contains(&Act::Restart(1)), begins);
    }
}

#[test]
fn one_that_was_given_up_stays_so_when_its_restart_does_not_begin() {
    for begins in [true, false] {
        let mut world = World::restarted();
        let now = world.now();
        world.states[0].given_up = true;
        world.states[0].storm_ms = Some(5);
        if !begins {
            world.states[0].hold_back(Hold::NotRun, now);
        }
        world.hear(0, &[GONE]);
        let state = &world.states[0];
        assert_eq!(
            (state.given_up, state.storm_ms.is_some()),
            (!begins, !begins)
        );
    }
}

/// One that needs the other, and is gone; the other passed last before that.
fn needs_one_that_passed_before() -> World {
    let needs = Rules {
        needs: vec![0],
        ..Rules::of_passes()
    };
    let mut world = World::new(vec![Rules::of_passes(), needs]);
    world.hear(0, &[Seen::Pass; 2]);
    let before = Observation {
        asked_ms: world.now_ms,
        ..saw(Seen::Pass)
    };
    assert_eq!(world.see(SECOND, &[before, saw(GONE)]), []);
    world
}

/// It was not asked.
const UNASKED: Observation = Observation {
    seen: None,
    marker: Marker::Absent,
    command: Command::Ended,
    instance: None,
    barrier: Barrier::Open,
    asked_ms: 0,
};

#[test]
fn what_it_needs_has_to_pass_after_it_was_suspected() {
    let mut world = needs_one_that_passed_before();
    for _ in 0..5 {
        assert_eq!(world.see(SECOND, &[UNASKED, saw(GONE)]), []);
        assert_eq!(world.states[1].phase, Phase::Suspect);
    }
    let fresh = Observation {
        asked_ms: world.now_ms,
        ..saw(Seen::Pass)
    };
    assert_eq!(world.see(SECOND, &[fresh, saw(GONE)]), [Act::Restart(1)]);
    // Or it has gone as well.
    let mut world = needs_one_that_passed_before();
    world.see(SECOND, &[UNASKED, saw(GONE)]);
    world.see(SECOND, &[UNASKED, saw(GONE)]);
    assert_eq!(world.see(SECOND, &[saw(GONE), saw(GONE)]), []);
    assert_eq!(world.states[1].phase, Phase::Waiting(Wait::Needs));
}

#[test]
fn a_restart_that_did_not_help_counts_once_while_what_it_needs_is_not_heard() {
    let mut world = needs_one_that_passed_before();
    world.see(SECOND, &[UNASKED, saw(GONE)]);
    assert_eq!(
        world.see(SECOND, &[saw(Seen::Pass), saw(GONE)]),
        [Act::Restart(1)]
    );
    world.states[0].passed_ms = world.now_ms;
    world.see(SECOND, &[UNASKED, saw(GONE)]);
    for _ in 0..3 {
        assert_eq!(world.see(5 * SECOND, &[UNASKED, saw(GONE)]), []);
        assert_eq!(
            (world.states[1].phase, world.states[1].attempts),
            (Phase::Suspect, 1)
        );
    }
    world.see(SECOND, &[saw(Seen::Pass), saw(Seen::Pass)]);
    assert_eq!(world.states[1].phase, Phase::Probation);
}
