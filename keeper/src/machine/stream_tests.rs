//! Random streams of answers with a truth behind them. An oracle, that knows none of the machine's counters, says which
//! restarts were needless and which are missing.

use fastrand::Rng;

use super::oracle_tests::{Service, Truth, live, truth};
use super::*;
use crate::rules::GiveUp;

const STREAMS: u64 = 100_000;
const STEPS: usize = 60;
const SERVICES: usize = 3;
const MINUTE: u64 = 60_000;

fn rules(random: &mut Rng) -> Vec<Rules> {
    let mut rules = vec![
        if random.bool() {
            Rules::of_passes()
        } else {
            Rules::of_loop()
        };
        SERVICES
    ];
    for rules in &mut rules {
        rules.give_up = *random
            .choice([GiveUp::Slow, GiveUp::Slow, GiveUp::Stop, GiveUp::Exit].iter())
            .unwrap_or(&GiveUp::Slow);
        // Else no stream would be long enough.
        rules.hung.for_ms = 0;
    }
    if random.bool() {
        rules[2].needs = vec![0];
    } else if random.bool() {
        rules[2].restart_with = vec![1];
    }
    rules
}

/// Runs one stream. Returns how many restarts there were.
fn stream(seed: u64) -> usize {
    let mut random = Rng::with_seed(seed);
    let rules = rules(&mut random);
    let mut now = Now {
        mono_ms: 10_000_000,
        wall_ms: 90_000_000,
        dice: 0,
    };
    let mut world: Vec<Service> = (0..SERVICES)
        .map(|_| Service::new(now, random.bool()))
        .collect();
    let mut states: Vec<State> = (0..SERVICES).map(|_| State::new(now)).collect();
    let (mut restarts, mut exits) = (0, Vec::new());
    for step in 0..STEPS {
        let steps = [1, 1, 1, 2, 2, 2, 5, 5, 30, 30, 90, 900, 3_600].map(|seconds| seconds * 1_000);
        let passed = *random.choice(steps.iter()).unwrap_or(&1_000);
        now = Now {
            mono_ms: now.mono_ms + passed,
            wall_ms: now.wall_ms + passed,
            dice: random.u64(..),
        };
        let observed: Vec<Observation> = world
            .iter_mut()
            .zip(&states)
            .map(|(service, state)| {
                let is_ours = matches!(state.phase, Phase::Restarting | Phase::Verifying);
                live(service, is_ours, &mut random, passed, now)
            })
            .collect();
        for (leader, _) in states
            .iter()
            .enumerate()
            .filter(|(_, state)| state.phase == Phase::Restarting)
        {
            for (follower, rules) in world.iter_mut().zip(&rules) {
                follower.is_due |= rules.restart_with.contains(&leader) && !follower.is_paused;
            }
        }
        let before = states.clone();
        let acts = pass(&rules, &mut states, &observed, &[0, 1, 2], now);
        let context = || format!("stream {seed}, step {step}: {acts:?} {observed:?} {before:?}");
        for &act in &acts {
            match act {
                Act::Restart(number) => {
                    restarts += 1;
                    assert_not_needless(number, &world, &rules, &observed, now, &context);
                    let comes = if random.bool() {
                        Truth::Works
                    } else {
                        truth(&mut random)
                    };
                    let service = &mut world[number];
                    service.restarts.push(now.mono_ms);
                    service.in_row += 1;
                    service.is_due = false;
                    service.command = Some((random.u8(..3), comes));
                    for (other, rules) in world.iter_mut().zip(&rules) {
                        other.is_due |= rules.restart_with.contains(&number);
                    }
                }
                Act::EndCommand(number) => world[number].command = None,
                Act::EndContainer(number) => {
                    assert_eq!(rules[number].give_up, GiveUp::Exit, "{}", context());
                    exits.push(now.mono_ms);
                }
            }
        }
        let today = exits
            .iter()
            .filter(|&&at| at + 24 * 60 * MINUTE > now.mono_ms);
        assert!(
            today.count() <= 3,
            "the container is ended too often: {}",
            context()
        );
        let at_once = states
            .iter()
            .filter(|state| state.phase == Phase::Restarting)
            .count();
        assert!(at_once <= 1, "two at once: {}", context());
        for number in 0..SERVICES {
            assert_frozen(&states[number], &before[number], observed[number], &context);
            let is_left =
                states[number].phase == Phase::Failed && rules[number].give_up == GiveUp::Stop;
            world[number].given_up |= is_left;
            let is_bad = matches!(observed[number].seen, Some(Seen::Bad(_)));
            if states[number].attempts > before[number].attempts && is_bad {
                world[number].has_failed = true;
                world[number].bad_ms = now.mono_ms;
            }
            // A restart stands or falls with its verification.
            if matches!(states[number].phase, Phase::Restarting | Phase::Verifying) {
                world[number].since_ms = Some(now.mono_ms);
                world[number].verified_ms = now.mono_ms;
            }
            assert_not_missing(
                number,
                &mut world,
                &rules,
                (&before, &states),
                now,
                &context,
            );
        }
    }
    restarts
}

type Context<'a> = &'a dyn Fn() -> String;

/// Needless: it works, or says that it will, or nobody knows, or somebody has stopped or started it, or it would not help.
fn assert_not_needless(
    number: usize,
    world: &[Service],
    rules: &[Rules],
    observed: &[Observation],
    now: Now,
    context: Context<'_>,
) {
    let (service, rules) = (&world[number], &rules[number]);
    let is_bad = matches!(observed[number].seen, Some(Seen::Bad(_)));
    let is_proof = is_bad && service.is_proven(rules);
    assert!(is_proof || service.is_due, "without proof: {}", context());
    if !service.is_due {
        assert!(
            !service.is_acted_on(rules, now),
            "somebody else has started it: {}",
            context()
        );
    }
    assert!(!service.is_paused, "a person has stopped it: {}", context());
    if is_bad {
        assert!(
            !service.is_inhibited && !service.lacks,
            "it would not help: {}",
            context()
        );
    }
    assert!(!service.given_up, "it is left to a person: {}", context());
    let with = rules.restart_with.iter().filter(|_| !is_proof);
    for &need in rules.needs.iter().chain(with) {
        assert_eq!(
            observed[need].seen,
            Some(Seen::Pass),
            "what it needs does not work: {}",
            context()
        );
    }
    let recent = service.within(rules.window_ms, now);
    assert!(
        recent < rules.max_restarts,
        "more than its budget: {}",
        context()
    );
}

/// While nobody can ask, no counter rises or falls, and no clock runs.
fn assert_frozen(state: &State, before: &State, observation: Observation, context: Context<'_>) {
    let stands = state.phase == before.phase && before.phase != Phase::Restarting;
    if observation.seen == Some(Seen::CouldNotAsk) && stands {
        assert_eq!(state.streaks, before.streaks, "counted: {}", context());
        // A process that is started anew begins its startup.
        if state.instance == before.instance {
            assert_eq!(
                state.in_phase_ms,
                before.in_phase_ms,
                "a clock ran: {}",
                context()
            );
        }
    }
}

/// Missing: it is proven, nothing stands in its way by the rules' own words, and it was not restarted.
fn assert_not_missing(
    number: usize,
    world: &mut [Service],
    rules: &[Rules],
    (before, states): (&[State], &[State]),
    now: Now,
    context: Context<'_>,
) {
    // Also one that ends in this very step had its turn in it.
    let is_busy = before
        .iter()
        .chain(states)
        .any(|state| state.phase == Phase::Restarting);
    let needs_work = rules[number]
        .needs
        .iter()
        .all(|&need| world[need].truth == Truth::Works && states[need].works());
    // Two that do not answer at once, whatever they need.
    let others = (0..SERVICES).filter(|&other| other != number);
    let is_storm = world[number].gone.0 == 0
        && others
            .into_iter()
            .any(|other| world[other].since_ms.is_some());
    let (service, rules) = (&mut world[number], &rules[number]);
    let pause = if service.in_row < rules.attempts {
        rules.startup_ms + 5_000 + 300_000 * 6 / 5
    } else {
        31 * MINUTE
    };
    let is_spent = service.within(rules.window_ms, now) >= rules.max_restarts
        || now.mono_ms < service.verified_ms + pause
        || service.given_up
        // Its attempts are spent, and nobody resets them.
        || rules.give_up == GiveUp::Stop && service.in_row >= rules.attempts;
    let is_bad = service.since_ms.is_some() && service.is_heard && !service.is_paused;
    if service.lacks || !needs_work {
        // When that is back, it has its whole startup, and is proven anew.
        (service.bad_for_ms, service.closely_ms) = (0, 0);
    }
    let is_startup_over = service.bad_for_ms > rules.startup_ms + 30_000;
    let is_open = is_bad
        && service.is_proven_now(rules)
        && is_startup_over
        && service.closely_ms > 31_000
        && !service.is_acted_on(rules, now)
        && !service.is_inhibited
        && !service.lacks
        && !is_spent
        && needs_work
        && !is_busy
        && !is_storm;
    service.open = if is_open && states[number].phase != Phase::Restarting {
        service.open + 1
    } else {
        0
    };
    // What was proven long ago is proven anew, and so it is after it has waited for another.
    assert!(
        service.open < 8,
        "missing for service {number}: {}",
        context()
    );
}

#[test]
fn random_streams_have_no_needless_and_no_missing_restart() {
    let restarts: usize = (0..STREAMS).map(stream).sum();
    // That the streams are not empty.
    assert!(restarts > 50_000, "{restarts}");
}
