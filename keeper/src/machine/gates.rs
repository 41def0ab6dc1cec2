//! Whether one that is proven not to work may be restarted now.

use super::{Act, Hold, Now, Phase, State, Wait};
use crate::rules::Rules;
use crate::seen::Cause;

/// Suspicions within this time may have one reason.
const STORM_MS: u64 = 60_000;
/// From so many on it is a storm, if they are
const STORM_LEAST: usize = 2;
/// at least one in so many.
const STORM_SHARE: usize = 5;

/// Whether everything works that it needs.
pub fn needs_work(rules: &[Rules], states: &[State], number: usize) -> bool {
    needed(rules, number).all(|need| states.get(need).is_some_and(State::works))
}

fn needed(rules: &[Rules], number: usize) -> impl Iterator<Item = usize> {
    rules
        .get(number)
        .into_iter()
        .flat_map(|rules| rules.needs.iter().copied())
}

/// Looks at each in turn: those that are needed come first.
pub fn open(
    rules: &[Rules],
    states: &mut [State],
    proven: &[usize],
    now: Now,
    acts: &mut Vec<Act>,
) {
    let storm: Vec<bool> = proven
        .iter()
        .map(|&number| is_storm(rules, states, number))
        .collect();
    for (&number, storm) in proven.iter().zip(storm) {
        let next = gate(rules, states, number, storm, now);
        let (Some(rules), Some(state)) = (rules.get(number), states.get_mut(number)) else {
            continue;
        };
        if next == Phase::Restarting {
            forget_old(rules, state, now);
            state.restarts.push(now.wall_ms);
            state.restarted_ms = Some(now.mono_ms);
            acts.push(Act::Restart(number));
        }
        state.enter(next, now);
    }
}

/// Begins the restart that a person wants, if it can be now.
pub fn open_for_person(rules: &[Rules], states: &mut [State], number: usize, now: Now) -> bool {
    let is_busy = states.iter().any(|state| state.phase == Phase::Restarting);
    let (Some(rules), Some(state)) = (rules.get(number), states.get_mut(number)) else {
        return false;
    };
    let is_stopped = matches!(state.phase, Phase::Paused | Phase::Held(Hold::Marker));
    if !state.is_due || is_busy || is_stopped || !rules.restarts {
        return false;
    }
    state.is_due = false;
    state.restarts.push(now.wall_ms);
    state.restarted_ms = Some(now.mono_ms);
    state.enter(Phase::Restarting, now);
    true
}

fn gate(rules: &[Rules], states: &[State], number: usize, storm: bool, now: Now) -> Phase {
    let (Some(own), Some(state)) = (rules.get(number), states.get(number)) else {
        return Phase::Held(Hold::NoCommand);
    };
    if !needs_work(rules, states, number) {
        let is_paused = |need: usize| {
            states
                .get(need)
                .is_some_and(|state| state.phase == Phase::Paused)
        };
        return if needed(rules, number).any(is_paused) {
            Phase::Held(Hold::Needs)
        } else {
            Phase::Waiting(Wait::Needs)
        };
    }
    if !own.restarts {
        return Phase::Held(Hold::NoCommand);
    }
    if storm {
        return Phase::Held(Hold::Storm);
    }
    if is_spent(own, state, now) {
        return Phase::Failed;
    }
    if now.mono_ms < state.not_before_ms {
        return Phase::Backoff;
    }
    if states.iter().any(|state| state.phase == Phase::Restarting) {
        return Phase::Waiting(Wait::Turn);
    }
    Phase::Restarting
}

/// Whether its budget is spent. A clock that was set back makes it last longer, never shorter.
fn is_spent(rules: &Rules, state: &State, now: Now) -> bool {
    let in_window = state
        .restarts
        .iter()
        .filter(|&&at| is_recent(at, rules, now))
        .count();
    if in_window >= rules.max_restarts {
        return true;
    }
    let tried_ms = state.restarts.iter().max();
    let waits = tried_ms.is_some_and(|&at| now.wall_ms < at.saturating_add(rules.slow_ms));
    state.attempts >= rules.attempts && waits
}

fn is_recent(at: u64, rules: &Rules, now: Now) -> bool {
    now.wall_ms < at.saturating_add(rules.window_ms)
}

fn forget_old(rules: &Rules, state: &mut State, now: Now) {
    state.restarts.retain(|&at| is_recent(at, rules, now));
}

/// Whether so many were suspected at once, by anything but that they are gone, that the reason must be elsewhere. Who
/// waits for another has its reason.
fn is_storm(rules: &[Rules], states: &[State], number: usize) -> bool {
    let Some(own) = states.get(number) else {
        return false;
    };
    let falls = |state: &State| match (state.phase, state.cause) {
        (_, None | Some(Cause::Gone)) => false,
        // One that failed again after its restart is its own case.
        (Phase::Suspect | Phase::Held(Hold::Storm), Some(Cause::Hung | Cause::SaysNo)) => true,
        (
            Phase::Starting
            | Phase::Healthy
            | Phase::Probation
            | Phase::Waiting(_)
            | Phase::Held(Hold::Marker | Hold::Needs | Hold::NoCommand | Hold::DryRun | Hold::NotRun)
            | Phase::Backoff
            | Phase::Restarting
            | Phase::Verifying
            | Phase::Failed
            | Phase::Paused,
            Some(Cause::Hung | Cause::SaysNo),
        ) => false,
    };
    let near = |state: &State| state.suspected_ms.abs_diff(own.suspected_ms) <= STORM_MS;
    let together = (0..states.len())
        .filter(|&other| needs_work(rules, states, other))
        .filter_map(|other| states.get(other))
        .filter(|state| falls(state) && near(state))
        .count();
    falls(own) && together >= STORM_LEAST && together * STORM_SHARE >= states.len()
}
