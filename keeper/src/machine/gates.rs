//! Whether one that is proven not to work may be restarted now.

use super::{Act, Barrier, Calm, Due, Hold, Now, Observation, Phase, State, Wait};
use crate::rules::{DAY_MS, GiveUp, MAX_EXITS, Rules};
use crate::seen::{Cause, Seen};

/// Suspicions within this time may have one reason.
const STORM_MS: u64 = 60_000;
/// From so many on it is a storm, if they are
const STORM_LEAST: usize = 2;
/// at least one in so many.
const STORM_SHARE: usize = 5;
/// After so long what one storm has left is restarted, one after another.
const STORM_LASTS_MS: u64 = 600_000;

/// Whether every service works that it needs.
pub fn needs_work(rules: &[Rules], states: &[State], number: usize) -> bool {
    needed(rules, number).all(|need| states.get(need).is_some_and(State::is_known_to_work))
}

fn needed(rules: &[Rules], number: usize) -> impl Iterator<Item = usize> {
    rules
        .get(number)
        .into_iter()
        .flat_map(|rules| rules.needs.iter().copied())
}

/// One that may have to be restarted.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    /// Which.
    pub number: usize,
    /// It is proven not to work. Otherwise it is due without proof.
    pub is_proven: bool,
}

/// Whether it is to be restarted without proof, and can be.
pub fn is_due(rules: &[Rules], states: &[State], number: usize, observation: &Observation) -> bool {
    let (Some(own), Some(state)) = (rules.get(number), states.get(number)) else {
        return false;
    };
    let can_be = match state.phase {
        Phase::Starting
        | Phase::Healthy
        | Phase::Probation
        | Phase::Suspect
        | Phase::Waiting(_)
        | Phase::Held(
            Hold::Needs
            | Hold::NeedsFailed
            | Hold::Inhibited
            | Hold::Storm
            | Hold::NoCommand
            | Hold::DryRun
            | Hold::NotRun
            | Hold::Exited
            | Hold::Absent,
        )
        | Phase::Backoff
        | Phase::Failed => true,
        Phase::Held(Hold::Marker) | Phase::Restarting | Phase::Verifying | Phase::Paused => false,
    };
    let Some(due) = state.due.filter(|_| can_be) else {
        return false;
    };
    let is_heard = match observation.seen {
        Some(Seen::Pass | Seen::Bad(_)) => true,
        // It works on something, or nobody knows.
        Some(Seen::NotNow | Seen::CouldNotAsk) | None => false,
    };
    let works = |&other: &usize| states.get(other).is_some_and(State::is_known_to_work);
    match due {
        // One that could not begin is tried again when it is asked.
        Due::Ordered => state.phase != Phase::Held(Hold::NotRun) || observation.seen.is_some(),
        Due::With => is_heard && own.restart_with.iter().all(works),
    }
}

/// Looks at each in turn: those that are needed come first.
pub fn open(
    rules: &[Rules],
    states: &mut [State],
    observed: &[Observation],
    candidates: &[Candidate],
    now: Now,
    acts: &mut Vec<Act>,
) {
    for state in &mut *states {
        // A clock that was wrong for a while.
        let times = state.restarts.iter_mut().chain(&mut state.exits);
        times.for_each(|at| *at = now.wall_ms.min(*at));
    }
    let storm: Vec<bool> = candidates
        .iter()
        .map(|candidate| is_storm(rules, states, candidate.number))
        .collect();
    for (&candidate, storm) in candidates.iter().zip(storm) {
        let number = candidate.number;
        let observation = observed.get(number);
        let barrier = observation.map_or(Barrier::Open, |observation| observation.barrier);
        let next = gate(rules, states, number, barrier, storm, now);
        if next != Phase::Restarting && !candidate.is_proven {
            // Later.
            continue;
        }
        if next == Phase::Failed {
            give_up(rules, states, number, now, acts);
        }
        let (Some(rules), Some(state)) = (rules.get(number), states.get_mut(number)) else {
            continue;
        };
        if next == Phase::Restarting {
            forget_old(rules, state, now);
            state.restarts.push(now.wall_ms);
            state.restarted_ms = Some(now.mono_ms);
            let found = observation.and_then(|observation| observation.instance);
            state.replaced = found.or(state.instance);
            state.due = None;
            acts.push(Act::Restart(number));
        }
        if next == Phase::Held(Hold::Storm) {
            state.storm_ms.get_or_insert(now.mono_ms);
        }
        if next == Phase::Suspect && state.phase != Phase::Suspect {
            state.before = Calm::Probation;
        }
        state.enter(next, now);
    }
}

fn gate(
    rules: &[Rules],
    states: &[State],
    number: usize,
    barrier: Barrier,
    storm: bool,
    now: Now,
) -> Phase {
    let (Some(own), Some(state)) = (rules.get(number), states.get(number)) else {
        return Phase::Held(Hold::NoCommand);
    };
    let is_free = !states.iter().any(|state| state.phase == Phase::Restarting);
    // Whoever orders it knows why.
    if state.due == Some(Due::Ordered) && own.restarts && is_free {
        return Phase::Restarting;
    }
    if let Some(wait) = waits(rules, states, number, barrier) {
        return wait;
    }
    // What it needs may have gone before it: what that said before says nothing of now.
    let has_worked = |need| {
        let need: Option<&State> = states.get(need);
        need.is_some_and(|need| need.has_worked_since(state.suspected_ms))
    };
    if !needed(rules, number).all(has_worked) {
        return Phase::Suspect;
    }
    // The container can be ended all the same.
    if !own.restarts && own.give_up != GiveUp::Exit {
        return Phase::Held(Hold::NoCommand);
    }
    match barrier {
        Barrier::Open | Barrier::Needs => {}
        Barrier::Inhibited => return Phase::Held(Hold::Inhibited),
        Barrier::Exited => return Phase::Held(Hold::Exited),
        Barrier::Absent => return Phase::Held(Hold::Absent),
    }
    let is_over = |since: u64| now.mono_ms.saturating_sub(since) >= STORM_LASTS_MS;
    if storm && !state.storm_ms.is_some_and(is_over) {
        return Phase::Held(Hold::Storm);
    }
    if !own.restarts || is_spent(own, state, now) {
        return Phase::Failed;
    }
    if now.mono_ms < state.not_before_ms {
        return Phase::Backoff;
    }
    if is_free {
        Phase::Restarting
    } else {
        Phase::Waiting(Wait::Turn)
    }
}

/// What it waits for among what it needs.
fn waits(rules: &[Rules], states: &[State], number: usize, barrier: Barrier) -> Option<Phase> {
    if needs_work(rules, states, number) {
        return match barrier {
            Barrier::Needs => Some(Phase::Waiting(Wait::Needs)),
            Barrier::Open | Barrier::Inhibited | Barrier::Exited | Barrier::Absent => None,
        };
    }
    let phase = |need: usize| states.get(need).map(|state| state.phase);
    let is_left = |need: usize| {
        let stops = rules
            .get(need)
            .is_some_and(|rules| rules.give_up == GiveUp::Stop);
        stops && phase(need) == Some(Phase::Failed)
    };
    Some(
        if needed(rules, number).any(|need| phase(need) == Some(Phase::Paused)) {
            Phase::Held(Hold::Needs)
        } else if needed(rules, number).any(is_left) {
            Phase::Held(Hold::NeedsFailed)
        } else {
            Phase::Waiting(Wait::Needs)
        },
    )
}

/// What follows from a restart that has begun, which one that was decided may not have: what is restarted with this
/// one is next, once this one works.
pub fn follow(rules: &[Rules], states: &mut [State], number: usize) {
    let Some(state) = states
        .get_mut(number)
        .filter(|state| state.phase == Phase::Restarting)
    else {
        return;
    };
    state.given_up = false;
    state.storm_ms = None;
    for (rules, state) in rules.iter().zip(states) {
        if rules.restart_with.contains(&number) {
            state.due.get_or_insert(Due::With);
        }
    }
}

/// Its budget is spent: ends the container, if that is what is wanted, and it was not done too often.
fn give_up(rules: &[Rules], states: &mut [State], number: usize, now: Now, acts: &mut Vec<Act>) {
    let is_today = |at: &u64| now.wall_ms < at.saturating_add(DAY_MS);
    let today: usize = states
        .iter()
        .map(|state| state.exits.iter().filter(|at| is_today(at)).count())
        .sum();
    let (Some(rules), Some(state)) = (rules.get(number), states.get_mut(number)) else {
        return;
    };
    let ends = rules.give_up == GiveUp::Exit && !state.given_up && today < MAX_EXITS;
    let is_ended = acts.iter().any(|act| matches!(act, Act::EndContainer(_)));
    state.given_up = true;
    if ends && !is_ended {
        state.exits.retain(is_today);
        state.exits.push(now.wall_ms);
        acts.push(Act::EndContainer(number));
    }
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
    let is_out = state.attempts >= rules.attempts;
    let tried_ms = state.restarts.iter().max();
    let waits = tried_ms.is_some_and(|&at| now.wall_ms < at.saturating_add(rules.slow_ms));
    match rules.give_up {
        GiveUp::Stop => is_out || state.given_up,
        GiveUp::Slow | GiveUp::Exit => is_out && waits,
    }
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
            | Phase::Held(
                Hold::Marker
                | Hold::Needs
                | Hold::NeedsFailed
                | Hold::Inhibited
                | Hold::NoCommand
                | Hold::DryRun
                | Hold::NotRun
                | Hold::Exited
                | Hold::Absent,
            )
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
