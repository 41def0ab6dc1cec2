//! What the table of states says about giving up, restarts without proof, and storms.

use super::recovery_tests::{fail, until_proven, with_rules};
use super::table_tests::{GONE, HUNG, NO, SECOND, World};
use super::*;
use crate::rules::GiveUp;

#[test]
fn one_that_was_given_up_is_tried_now_and_then_or_left_or_the_container_is_ended() {
    for (give_up, first, later) in [
        (GiveUp::Slow, vec![], vec![Act::Restart(0)]),
        (GiveUp::Stop, vec![], vec![]),
        (
            GiveUp::Exit,
            vec![Act::EndContainer(0)],
            vec![Act::Restart(0)],
        ),
    ] {
        let mut world = with_rules(|rules| rules.give_up = give_up);
        assert_eq!(until_proven(&mut world), [Act::Restart(0)]);
        for _ in 0..2 {
            fail(&mut world);
            assert_eq!(world.hear(SECOND, &[GONE]), [Act::Restart(0)]);
        }
        world.hear(0, &[GONE]);
        assert_eq!(world.hear(5 * SECOND, &[GONE]), first, "{give_up:?}");
        assert_eq!(world.phase(), Phase::Failed);
        for _ in 0..5 {
            assert_eq!(world.hear(SECOND, &[GONE]), [], "{give_up:?}");
        }
        world.hear(1_800 * SECOND, &[GONE]);
        world.hear(SECOND, &[GONE]);
        assert_eq!(world.hear(SECOND, &[GONE]), later, "{give_up:?}");
    }
}

#[test]
fn one_that_is_left_to_a_person_stays_so_until_it_works_or_is_reset() {
    let given_up = || {
        let mut world = with_rules(|rules| {
            rules.give_up = GiveUp::Stop;
            rules.max_restarts = 1;
        });
        until_proven(&mut world);
        fail(&mut world);
        world.hear(SECOND, &[GONE]);
        assert_eq!(world.phase(), Phase::Failed);
        // The window is over, and all the same.
        world.hear(3_600 * SECOND, &[GONE]);
        world.hear(SECOND, &[GONE]);
        assert_eq!(world.hear(SECOND, &[GONE]), []);
        world
    };
    let mut world = given_up();
    world.states[0].reset();
    assert_eq!(world.hear(SECOND, &[GONE]), [Act::Restart(0)]);
    let mut world = given_up();
    assert_eq!(until_proven(&mut world), [Act::Restart(0)]);
}

#[test]
fn a_container_is_ended_three_times_a_day_at_most_and_never_twice_at_once() {
    let exit = Rules {
        give_up: GiveUp::Exit,
        restarts: false,
        ..Rules::of_passes()
    };
    let mut world = World::new(vec![exit; 2]);
    let mut exits = 0;
    for day in 0..2 {
        for _ in 0..6 {
            world.hear(SECOND, &[Seen::Pass; 2]);
            world.hear(SECOND, &[GONE; 2]);
            world.hear(SECOND, &[GONE; 2]);
            let acts = world.hear(SECOND, &[GONE; 2]);
            assert!(acts.len() <= 1, "{acts:?}");
            exits += acts.len();
            // Another life of the container.
            let now = world.now();
            world.states = world
                .states
                .iter()
                .map(|state| state.clone().in_new_epoch(now))
                .collect();
        }
        assert_eq!(exits, (day + 1) * 3);
        world.now_ms += 24 * 3_600 * SECOND;
    }
}

#[test]
fn a_container_that_was_ended_gives_its_services_their_attempts_again() {
    let mut world = with_rules(|rules| rules.give_up = GiveUp::Exit);
    until_proven(&mut world);
    world.states[0].attempts = 2;
    world.hear(0, &[GONE]);
    assert_eq!(world.hear(5 * SECOND, &[GONE]), [Act::EndContainer(0)]);
    let now = world.now();
    world.states[0] = world.states[0].clone().in_new_epoch(now);
    world.hear(SECOND, &[GONE]);
    world.hear(SECOND, &[GONE]);
    assert_eq!(world.hear(SECOND, &[GONE]), [Act::Restart(0)]);
}

fn pair(change: impl Fn(&mut Vec<Rules>)) -> World {
    let mut rules = vec![Rules::of_passes(); 2];
    change(&mut rules);
    let mut world = World::new(rules);
    world.hear(0, &[Seen::Pass; 2]);
    world
}

#[test]
fn who_needs_what_was_given_up_for_good_is_held() {
    let mut world = pair(|rules| {
        rules[0].give_up = GiveUp::Stop;
        rules[1].needs = vec![0];
    });
    let now = world.now();
    world.states[0].enter(Phase::Failed, now);
    world.states[0].given_up = true;
    for _ in 0..5 {
        assert_eq!(world.hear(SECOND, &[GONE; 2]), []);
    }
    assert_eq!(world.states[1].phase, Phase::Held(Hold::NeedsFailed));
}

#[test]
fn a_needed_service_that_nobody_can_ask_is_none_that_works() {
    let mut world = pair(|rules| rules[1].needs = vec![0]);
    for _ in 0..5 {
        assert_eq!(world.hear(SECOND, &[Seen::CouldNotAsk, NO]), []);
    }
    assert_eq!(world.states[1].phase, Phase::Waiting(Wait::Needs));
}

#[test]
fn who_is_restarted_with_another_is_next_once_that_works() {
    let mut world = pair(|rules| rules[1].restart_with = vec![0]);
    world.hear(SECOND, &[GONE, Seen::Pass]);
    world.hear(SECOND, &[GONE, Seen::Pass]);
    assert_eq!(world.hear(SECOND, &[GONE, Seen::Pass]), [Act::Restart(0)]);
    assert_eq!(world.hear(0, &[Seen::Pass; 2]), []);
    // Nobody knows how it is: later.
    assert_eq!(world.hear(5 * SECOND, &[Seen::Pass, Seen::CouldNotAsk]), []);
    assert_eq!(world.hear(SECOND, &[Seen::Pass; 2]), [Act::Restart(1)]);
    world.hear(0, &[Seen::Pass; 2]);
    world.hear(5 * SECOND, &[Seen::Pass; 2]);
    assert_eq!(world.hear(SECOND, &[Seen::Pass; 2]), [], "once");
    assert_eq!(world.states[1].phase, Phase::Probation);
}

#[test]
fn who_works_and_may_not_be_restarted_with_another_stays_as_it_is() {
    let mut world = pair(|rules| {
        rules[1].restart_with = vec![0];
        rules[1].max_restarts = 0;
    });
    world.states[1].due = Some(Due::With);
    assert_eq!(world.hear(SECOND, &[Seen::Pass; 2]), []);
    assert_eq!(world.states[1].phase, Phase::Healthy);
}

#[test]
fn a_restart_that_a_person_orders_needs_no_proof_and_heeds_a_stop_and_the_turn() {
    let mut world = pair(|_| {});
    world.states[0].ask_for_restart();
    world.states[1].ask_for_restart();
    assert_eq!(
        world.hear(SECOND, &[Seen::CouldNotAsk; 2]),
        [Act::Restart(0)]
    );
    assert_eq!(world.hear(0, &[Seen::Pass; 2]), [Act::Restart(1)]);
    let mut world = pair(|_| {});
    world.states[0].ask_for_restart();
    let acts = world.observe(SECOND, &[GONE; 2], Marker::Present, Command::Ended);
    assert_eq!(acts, []);
    assert_eq!(
        world.hear(SECOND, &[Seen::Pass; 2]),
        [],
        "nothing from before counts"
    );
}

#[test]
fn what_a_storm_has_left_is_restarted_in_the_end_one_after_another() {
    let mut world = World::new(vec![Rules::of_passes(); 4]);
    let seen = [HUNG, HUNG, Seen::Pass, Seen::Pass];
    world.hear(0, &[Seen::Pass; 4]);
    let mut acts = Vec::new();
    for step in 0..700 {
        let now = world.hear(SECOND, &seen);
        assert!(step >= 600 || now.is_empty(), "{step}");
        acts.extend(now);
    }
    assert_eq!(acts[..2], [Act::Restart(0), Act::Restart(1)]);
}

#[test]
fn a_clock_that_was_wrong_for_a_while_costs_one_window_at_most() {
    let mut world = World::one();
    world.states[0].restarts = vec![u64::MAX / 2; 5];
    until_proven(&mut world);
    assert_eq!(world.phase(), Phase::Failed);
    world.hear(3_600 * SECOND, &[GONE]);
    world.hear(SECOND, &[GONE]);
    assert_eq!(world.hear(SECOND, &[GONE]), [Act::Restart(0)]);
}
