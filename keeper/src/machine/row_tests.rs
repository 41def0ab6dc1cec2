//! Rows of the table of states that hold for several states or gates at once.

use super::table_tests::{GONE, NO, SECOND, World, saw};
use super::*;
use crate::rules::GiveUp;

/// What stands in the way of a restart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Debug)]
enum Gate {
    Needs,
    Inhibited,
    Storm,
    Budget,
    Backoff,
    Turn,
    None,
}

/// Another service's state, where it is needed.
#[derive(Clone, Copy, Debug)]
enum Need {
    Unasked,
    Paused,
    LeftToAPerson,
}

/// One service that is proven down, while this gate and all behind it are closed. What becomes of it?
fn behind(first: Gate, need: Need) -> (Phase, Vec<Act>) {
    const OWN: usize = 1;
    let mut rules = vec![Rules::of_passes(); 4];
    rules[OWN].needs = vec![0];
    if matches!(need, Need::LeftToAPerson) {
        rules[0].give_up = GiveUp::Stop;
    }
    let mut world = World::new(rules);
    world.hear(0, &[Seen::Pass; 4]);
    for _ in 0..2 {
        let other = if first <= Gate::Storm { NO } else { Seen::Pass };
        world.hear(SECOND, &[Seen::Pass, NO, Seen::Pass, other]);
    }
    let now = world.now();
    let mut observed = [saw(Seen::Pass), saw(NO), saw(Seen::Pass), saw(Seen::Pass)];
    if first <= Gate::Needs {
        observed[0] = saw(Seen::CouldNotAsk);
        match need {
            Need::Unasked => {}
            Need::Paused => observed[0].marker = Marker::Present,
            Need::LeftToAPerson => world.states[0].enter(Phase::Failed, now),
        }
    }
    if first <= Gate::Inhibited {
        observed[OWN].barrier = Barrier::Inhibited;
    }
    if first <= Gate::Storm {
        observed[3] = saw(Seen::CouldNotAsk);
    }
    if first <= Gate::Budget {
        world.states[OWN].attempts = 3;
        world.states[OWN].restarts = vec![now.wall_ms];
    }
    if first <= Gate::Backoff {
        world.states[OWN].not_before_ms = now.mono_ms + 60 * SECOND;
    }
    if first <= Gate::Turn {
        world.states[2].enter(Phase::Restarting, now);
        world.states[2].restarted_ms = Some(now.mono_ms);
        observed[2] = Observation {
            seen: None,
            command: Command::Running,
            ..saw(NO)
        };
    }
    let acts = world.see(SECOND, &observed);
    (world.states[OWN].phase, acts)
}

#[test]
fn the_first_gate_that_is_closed_decides() {
    for (first, need, phase) in [
        (Gate::Needs, Need::Unasked, Phase::Waiting(Wait::Needs)),
        (Gate::Needs, Need::Paused, Phase::Held(Hold::Needs)),
        (
            Gate::Needs,
            Need::LeftToAPerson,
            Phase::Held(Hold::NeedsFailed),
        ),
        (Gate::Inhibited, Need::Unasked, Phase::Held(Hold::Inhibited)),
        (Gate::Storm, Need::Unasked, Phase::Held(Hold::Storm)),
        (Gate::Budget, Need::Unasked, Phase::Failed),
        (Gate::Backoff, Need::Unasked, Phase::Backoff),
        (Gate::Turn, Need::Unasked, Phase::Waiting(Wait::Turn)),
    ] {
        assert_eq!(behind(first, need), (phase, vec![]), "{first:?} {need:?}");
    }
    let open = (Phase::Restarting, vec![Act::Restart(1)]);
    assert_eq!(behind(Gate::None, Need::Unasked), open);
}

#[test]
fn whatever_it_waits_for_it_is_on_probation_once_it_passes() {
    for phase in [
        Phase::Waiting(Wait::Turn),
        Phase::Held(Hold::Inhibited),
        Phase::Held(Hold::Storm),
        Phase::Held(Hold::NoCommand),
        Phase::Held(Hold::NotRun),
        Phase::Backoff,
        Phase::Failed,
    ] {
        let mut world = World::one();
        let now = world.now();
        world.states[0].attempts = 3;
        world.states[0].enter(phase, now);
        assert_eq!(world.hear(SECOND, &[Seen::Pass]), []);
        assert_eq!(
            (world.phase(), world.states[0].attempts),
            (Phase::Probation, 3),
            "{phase:?}"
        );
    }
}

#[test]
fn a_suspect_goes_back_where_it_came_from_and_attempts_are_kept_until_it_is_stable() {
    for (calm, attempts) in [(Phase::Healthy, 0), (Phase::Probation, 2)] {
        let mut world = World::one();
        let now = world.now();
        world.states[0].attempts = attempts;
        world.states[0].enter(calm, now);
        world.hear(SECOND, &[GONE]);
        assert_eq!(world.phase(), Phase::Suspect);
        world.hear(SECOND, &[Seen::Pass]);
        assert_eq!((world.phase(), world.states[0].attempts), (calm, attempts));
        world.hear(600 * SECOND, &[Seen::Pass]);
        assert_eq!(
            (world.phase(), world.states[0].attempts),
            (Phase::Healthy, 0)
        );
    }
}

#[test]
fn who_waited_for_another_has_its_whole_startup_when_that_is_back() {
    let mut rules = vec![Rules::of_passes(); 2];
    rules[1].needs = vec![0];
    rules[1].startup_ms = 60 * SECOND;
    let mut world = World::new(rules);
    world.hear(0, &[Seen::Pass; 2]);
    for _ in 0..3 {
        world.hear(SECOND, &[GONE, NO]);
    }
    assert_eq!(world.states[1].phase, Phase::Waiting(Wait::Needs));
    world.hear(0, &[Seen::Pass, NO]);
    world.hear(5 * SECOND, &[Seen::Pass, NO]);
    for _ in 0..59 {
        assert_eq!(world.states[1].phase, Phase::Starting);
        assert_eq!(world.hear(SECOND, &[Seen::Pass, NO]), []);
    }
    world.hear(2 * SECOND, &[Seen::Pass, NO]);
    assert_eq!(world.states[1].phase, Phase::Suspect);
}

#[test]
fn a_command_counts_when_it_has_ended_whatever_its_status() {
    let mut world = World::restarted();
    // Nobody says what its status was.
    world.hear(0, &[Seen::CouldNotAsk]);
    assert_eq!(world.phase(), Phase::Verifying);
    for _ in 0..60 {
        world.hear(SECOND, &[Seen::CouldNotAsk]);
        assert_eq!(world.phase(), Phase::Verifying, "no clock runs");
    }
}
