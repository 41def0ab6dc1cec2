//! Each row of the table of states, as one service goes through it.

use super::*;
use crate::seen::Cause;

pub(super) const GONE: Seen = Seen::Bad(Cause::Gone);
pub(super) const NO: Seen = Seen::Bad(Cause::SaysNo);
pub(super) const HUNG: Seen = Seen::Bad(Cause::Hung);
pub(super) const SECOND: u64 = 1_000;

pub(super) fn saw(seen: Seen) -> Observation {
    Observation {
        seen: Some(seen),
        marker: Marker::Absent,
        command: Command::Ended,
        instance: None,
        barrier: Barrier::Open,
        // Later than whatever was suspected.
        asked_ms: u64::MAX,
    }
}

/// Services, and a clock.
pub(super) struct World {
    pub(super) rules: Vec<Rules>,
    pub(super) states: Vec<State>,
    pub(super) now_ms: u64,
}

impl World {
    pub(super) fn new(rules: Vec<Rules>) -> Self {
        let mut world = Self {
            states: Vec::new(),
            rules,
            now_ms: 1_000_000,
        };
        world.states = world
            .rules
            .iter()
            .map(|_| State::new(world.now()))
            .collect();
        world
    }

    pub(super) fn one() -> Self {
        Self::new(vec![Rules::of_passes()])
    }

    pub(super) fn now(&self) -> Now {
        // In the middle: no jitter.
        Now {
            mono_ms: self.now_ms,
            wall_ms: self.now_ms + 7_000_000,
            dice: 200,
        }
    }

    /// So much later every service is heard, by its number.
    pub(super) fn hear(&mut self, later_ms: u64, seen: &[Seen]) -> Vec<Act> {
        self.observe(later_ms, seen, Marker::Absent, Command::Ended)
    }

    pub(super) fn observe(
        &mut self,
        later_ms: u64,
        seen: &[Seen],
        marker: Marker,
        command: Command,
    ) -> Vec<Act> {
        let observed: Vec<Observation> = seen
            .iter()
            .map(|&seen| Observation {
                marker,
                command,
                ..saw(seen)
            })
            .collect();
        self.see(later_ms, &observed)
    }

    pub(super) fn see(&mut self, later_ms: u64, observed: &[Observation]) -> Vec<Act> {
        self.now_ms += later_ms;
        let order: Vec<usize> = (0..self.rules.len()).collect();
        let now = self.now();
        pass(&self.rules, &mut self.states, observed, &order, now)
    }

    pub(super) fn phase(&self) -> Phase {
        self.states[0].phase
    }

    /// Gone, for as long as it takes to be restarted.
    pub(super) fn restarted() -> Self {
        let mut world = Self::one();
        world.hear(0, &[Seen::Pass]);
        world.hear(0, &[GONE]);
        world.hear(SECOND, &[GONE]);
        assert_eq!(world.hear(SECOND, &[GONE]), [Act::Restart(0)]);
        world
    }

    /// And once more without success.
    fn failed_once() -> Self {
        let mut world = Self::restarted();
        world.hear(0, &[GONE]);
        assert_eq!(world.phase(), Phase::Verifying);
        world.hear(5 * SECOND, &[GONE]);
        assert_eq!(
            (world.phase(), world.states[0].attempts),
            (Phase::Backoff, 1)
        );
        world
    }
}

#[test]
fn starting_has_its_startup_before_anything_is_suspected() {
    for (startup_ms, unseen_ms) in [(60 * SECOND, 0), (0, 60 * SECOND)] {
        let mut world = World::new(vec![Rules {
            startup_ms,
            unseen_ms,
            ..Rules::of_passes()
        }]);
        for _ in 0..59 {
            world.hear(SECOND, &[GONE]);
            assert_eq!(world.phase(), Phase::Starting);
        }
        world.hear(SECOND, &[GONE]);
        assert_eq!(world.phase(), Phase::Suspect);
        world.hear(SECOND, &[Seen::Pass]);
        assert_eq!(world.phase(), Phase::Healthy);
    }
}

#[test]
fn each_cause_has_its_own_proof() {
    for (seen, answers) in [(GONE, 3), (NO, 3), (HUNG, 2)] {
        let mut world = World::one();
        world.hear(0, &[Seen::Pass]);
        for nth in 1..answers {
            assert_eq!(world.hear(SECOND, &[seen]), [], "{seen:?} {nth}");
            assert_eq!(world.phase(), Phase::Suspect);
        }
        // Passes are apart, unless a person makes them.
        let apart = if seen == HUNG { 30 } else { 1 };
        assert_eq!(world.hear((apart - 1) * SECOND, &[]), []);
        assert_eq!(world.hear(SECOND, &[seen]), [Act::Restart(0)], "{seen:?}");
    }
}

#[test]
fn an_answer_between_begins_the_proof_anew() {
    for between in [Seen::Pass, Seen::NotNow] {
        let mut world = World::one();
        world.hear(0, &[Seen::Pass]);
        for seen in [GONE, GONE, between, GONE, GONE] {
            assert_eq!(world.hear(SECOND, &[seen]), []);
        }
        assert_eq!(world.hear(SECOND, &[GONE]), [Act::Restart(0)]);
    }
}

#[test]
fn what_could_not_be_asked_counts_for_nothing_and_no_clock_runs() {
    let mut world = World::one();
    world.hear(0, &[Seen::Pass]);
    world.hear(SECOND, &[GONE]);
    let before = world.states[0].streaks;
    for _ in 0..1_000 {
        assert_eq!(world.hear(SECOND, &[Seen::CouldNotAsk]), []);
        assert_eq!(
            (world.phase(), world.states[0].streaks),
            (Phase::Suspect, before)
        );
    }
    assert_eq!(world.hear(SECOND, &[GONE]), []);
    // Two seconds of "gone" are two seconds in which somebody could look.
    assert_eq!(world.hear(SECOND, &[GONE]), []);
    assert_eq!(world.hear(SECOND, &[GONE]), [Act::Restart(0)]);
}

#[test]
fn a_restart_that_helps_is_on_probation_until_it_is_stable() {
    let mut world = World::restarted();
    world.observe(SECOND, &[GONE], Marker::Absent, Command::Running);
    assert_eq!(world.phase(), Phase::Restarting);
    world.hear(SECOND, &[GONE]);
    assert_eq!(world.phase(), Phase::Verifying);
    world.hear(4 * SECOND, &[Seen::Pass]);
    assert_eq!(world.phase(), Phase::Verifying, "its delay is not over");
    world.hear(SECOND, &[Seen::Pass]);
    assert_eq!(world.phase(), Phase::Probation);
    world.hear(599 * SECOND, &[Seen::Pass]);
    assert_eq!(world.phase(), Phase::Probation);
    world.hear(SECOND, &[Seen::Pass]);
    assert_eq!(world.phase(), Phase::Healthy);
}

#[test]
fn a_command_in_the_foreground_is_left_alone_once_the_service_works() {
    let mut world = World::restarted();
    let acts = world.observe(SECOND, &[Seen::Pass], Marker::Absent, Command::Running);
    assert_eq!((acts, world.phase()), (vec![], Phase::Verifying));
    let acts = world.observe(
        600 * SECOND,
        &[Seen::Pass],
        Marker::Absent,
        Command::Running,
    );
    assert_eq!((acts, world.phase()), (vec![], Phase::Probation));
}

#[test]
fn a_command_that_takes_too_long_is_ended_and_counts() {
    let mut world = World::restarted();
    assert_eq!(
        world.observe(59 * SECOND, &[GONE], Marker::Absent, Command::Running),
        []
    );
    assert_eq!(
        world.observe(SECOND, &[GONE], Marker::Absent, Command::Running),
        [Act::EndCommand(0)]
    );
    assert_eq!(
        (world.phase(), world.states[0].attempts),
        (Phase::Backoff, 1)
    );
}

#[test]
fn pauses_grow_and_the_third_failure_in_a_row_is_the_last() {
    let mut world = World::failed_once();
    assert_eq!(world.hear(9 * SECOND, &[GONE]), []);
    assert_eq!(world.hear(SECOND, &[GONE]), [Act::Restart(0)]);
    world.hear(0, &[GONE]);
    world.hear(5 * SECOND, &[GONE]);
    assert_eq!(world.hear(19 * SECOND, &[GONE]), []);
    assert_eq!(world.hear(SECOND, &[GONE]), [Act::Restart(0)]);
    world.hear(0, &[GONE]);
    world.hear(5 * SECOND, &[GONE]);
    assert_eq!(
        (world.phase(), world.states[0].attempts),
        (Phase::Failed, 3)
    );
    // A try now and then, on new proof; and a service that comes back by itself is welcome.
    assert_eq!(world.hear(1_790 * SECOND, &[GONE]), []);
    for _ in 0..2 {
        assert_eq!(world.hear(2 * SECOND, &[GONE]), []);
    }
    assert_eq!(world.hear(2 * SECOND, &[GONE]), [Act::Restart(0)]);
    world.hear(0, &[GONE]);
    world.hear(5 * SECOND, &[GONE]);
    assert_eq!(world.phase(), Phase::Failed);
    world.hear(SECOND, &[Seen::Pass]);
    assert_eq!(world.phase(), Phase::Probation);
}

#[test]
fn restarts_that_help_have_a_budget_too() {
    let mut world = World::one();
    world.hear(0, &[Seen::Pass]);
    for nth in 1..=6 {
        world.hear(SECOND, &[GONE]);
        world.hear(SECOND, &[GONE]);
        let acts = world.hear(SECOND, &[GONE]);
        if nth == 6 {
            assert_eq!((acts, world.phase()), (vec![], Phase::Failed));
            continue;
        }
        assert_eq!(acts, [Act::Restart(0)], "{nth}");
        world.hear(0, &[Seen::Pass]);
        world.hear(5 * SECOND, &[Seen::Pass]);
        assert_eq!(world.phase(), Phase::Probation);
    }
    // The first one leaves the window.
    assert_eq!(world.hear(3_600 * SECOND, &[GONE]), []);
    world.hear(SECOND, &[GONE]);
    assert_eq!(world.hear(SECOND, &[GONE]), [Act::Restart(0)]);
}

#[test]
fn what_a_person_stopped_is_left_alone_and_begins_anew() {
    let mut world = World::one();
    world.hear(0, &[Seen::Pass]);
    world.hear(0, &[GONE]);
    for _ in 0..9 {
        assert_eq!(
            world.observe(60 * SECOND, &[GONE], Marker::Present, Command::Ended),
            []
        );
        assert_eq!(world.phase(), Phase::Paused);
    }
    assert_eq!(
        world.observe(SECOND, &[GONE], Marker::Unreadable, Command::Ended),
        []
    );
    assert_eq!(world.phase(), Phase::Held(Hold::Marker));
    for _ in 0..2 {
        assert_eq!(world.hear(SECOND, &[GONE]), []);
        assert_eq!(world.phase(), Phase::Suspect);
    }
    assert_eq!(world.hear(SECOND, &[GONE]), [Act::Restart(0)]);
}

#[test]
fn a_restart_that_a_person_forestalled_costs_nothing() {
    let mut world = World::restarted();
    let now = world.now();
    world.states[0].withdraw(Marker::Present, now);
    assert_eq!(
        (world.phase(), world.states[0].restarts.len()),
        (Phase::Paused, 0)
    );
}

fn pair() -> World {
    World::new(vec![
        Rules::of_passes(),
        Rules {
            needs: vec![0],
            ..Rules::of_passes()
        },
    ])
}

#[test]
fn who_needs_another_waits_for_it_and_may_come_back_by_itself() {
    let mut world = pair();
    world.hear(0, &[Seen::Pass, Seen::Pass]);
    world.hear(SECOND, &[GONE, NO]);
    world.hear(SECOND, &[GONE, NO]);
    assert_eq!(world.hear(SECOND, &[GONE, NO]), [Act::Restart(0)]);
    assert_eq!(world.states[1].phase, Phase::Waiting(Wait::Needs));
    world.hear(0, &[Seen::Pass, NO]);
    world.hear(5 * SECOND, &[Seen::Pass, NO]);
    assert_eq!(world.states[0].phase, Phase::Probation);
    assert_eq!(
        world.states[1].phase,
        Phase::Suspect,
        "its proof begins anew"
    );
    world.hear(SECOND, &[Seen::Pass, Seen::Pass]);
    assert!(world.states[1].works() && world.states[1].restarts.is_empty());
}

#[test]
fn who_needs_what_a_person_stopped_is_held() {
    let mut world = pair();
    world.hear(0, &[Seen::Pass, Seen::Pass]);
    for _ in 0..5 {
        world.now_ms += SECOND;
        let paused = Observation {
            seen: None,
            marker: Marker::Present,
            ..saw(NO)
        };
        assert_eq!(world.see(0, &[paused, saw(NO)]), []);
    }
    assert_eq!(world.states[1].phase, Phase::Held(Hold::Needs));
    // It has its whole startup: it may come back by itself.
    assert_eq!(world.hear(SECOND, &[Seen::Pass, NO]), []);
    assert_eq!(world.states[1].phase, Phase::Suspect);
}

#[test]
fn one_is_restarted_at_a_time() {
    let mut world = World::new(vec![Rules::of_passes(); 2]);
    world.hear(0, &[Seen::Pass; 2]);
    world.hear(SECOND, &[GONE; 2]);
    world.hear(SECOND, &[GONE; 2]);
    assert_eq!(world.hear(SECOND, &[GONE; 2]), [Act::Restart(0)]);
    assert_eq!(world.states[1].phase, Phase::Waiting(Wait::Turn));
    assert_eq!(
        world.observe(SECOND, &[GONE; 2], Marker::Absent, Command::Running),
        []
    );
    assert_eq!(world.hear(SECOND, &[GONE; 2]), [Act::Restart(1)]);
}

#[test]
fn several_that_fail_at_once_but_are_not_gone_are_a_storm() {
    for (first, second, services, is_storm) in [
        (NO, NO, 2, true),
        (HUNG, HUNG, 10, true),
        (NO, HUNG, 11, false),
        (GONE, NO, 2, false),
        (GONE, GONE, 2, false),
        (NO, Seen::Pass, 2, false),
    ] {
        let mut world = World::new(vec![Rules::of_passes(); services]);
        let mut seen = vec![Seen::Pass; services];
        world.hear(0, &seen);
        (seen[0], seen[1]) = (first, second);
        let acts: Vec<Act> = (0..5)
            .flat_map(|_| world.hear(10 * SECOND, &seen))
            .collect();
        assert_eq!(acts.is_empty(), is_storm, "{first:?} {second:?} {services}");
        assert_eq!(world.states[0].phase == Phase::Held(Hold::Storm), is_storm);
    }
}

#[test]
fn who_waits_for_another_is_no_part_of_a_storm() {
    let mut world = pair();
    world.hear(0, &[Seen::Pass; 2]);
    world.hear(SECOND, &[NO; 2]);
    world.hear(SECOND, &[NO; 2]);
    assert_eq!(world.hear(SECOND, &[NO; 2]), [Act::Restart(0)]);
}

#[test]
fn without_a_command_it_is_only_watched() {
    let mut world = World::new(vec![Rules {
        restarts: false,
        ..Rules::of_passes()
    }]);
    for _ in 0..5 {
        assert_eq!(world.hear(SECOND, &[GONE]), []);
    }
    assert_eq!(world.phase(), Phase::Held(Hold::NoCommand));
}

#[test]
fn a_keeper_that_died_in_mid_restart_goes_on_with_verifying() {
    let mut world = World::restarted();
    let text = serde_json::to_string(&world.states).unwrap();
    world.states = serde_json::from_str(&text).unwrap();
    assert_eq!(world.hear(60 * SECOND, &[GONE]), []);
    assert_eq!(world.phase(), Phase::Verifying);
    world.hear(5 * SECOND, &[Seen::Pass]);
    assert_eq!(
        (world.phase(), world.states[0].restarts.len()),
        (Phase::Probation, 1)
    );
}
