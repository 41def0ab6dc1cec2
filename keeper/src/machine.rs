//! What becomes of services: (states, observations, now) → (states, acts). Pure: it does no I/O and reads no clock.
//!
//! A service is restarted only on proof, see [`Proof`](crate::rules::Proof), and only if no gate is closed: what it needs,
//! a storm, its budget, its pause. What could not be asked proves nothing: no counter rises or falls, and no
//! clock of a state runs.

mod gates;
mod state;

pub use state::{Calm, Command, Hold, Marker, Now, Observation, Phase, State, Wait};

use crate::rules::Rules;
use crate::seen::Seen;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Run the restart command of this service.
    Restart(usize),
    /// End it: it takes too long.
    EndCommand(usize),
}

/// One pass over all services, in an order in which each comes after those that it needs.
pub fn pass(
    rules: &[Rules],
    states: &mut [State],
    observed: &[Observation],
    order: &[usize],
    now: Now,
) -> Vec<Act> {
    let mut acts = Vec::new();
    let mut proven = Vec::new();
    for &number in order {
        let needs_work = gates::needs_work(rules, states, number);
        let (Some(rules), Some(state), Some(observation)) = (
            rules.get(number),
            states.get_mut(number),
            observed.get(number),
        ) else {
            continue;
        };
        match hear(rules, state, *observation, needs_work, now) {
            Next::Stay => {}
            Next::Gates => proven.push(number),
            Next::EndCommand => {
                acts.push(Act::EndCommand(number));
                // One that says meanwhile that it is starting denies the proof.
                if state.phase == Phase::Restarting {
                    proven.push(number);
                }
            }
        }
    }
    gates::open(rules, states, &proven, now, &mut acts);
    for &number in order {
        let seen = observed
            .get(number)
            .and_then(|observation| observation.seen);
        if seen.is_some_and(|seen| matches!(seen, Seen::Pass | Seen::Bad(_)))
            && gates::open_for_person(rules, states, number, now)
        {
            acts.push(Act::Restart(number));
        }
    }
    acts
}

enum Next {
    Stay,
    Gates,
    EndCommand,
}

fn hear(
    rules: &Rules,
    state: &mut State,
    observation: Observation,
    needs_work: bool,
    now: Now,
) -> Next {
    match observation.marker {
        Marker::Present => {
            state.trust();
            state.enter(Phase::Paused, now);
            return Next::Stay;
        }
        Marker::Unreadable => {
            state.trust();
            state.enter(Phase::Held(Hold::Marker), now);
            return Next::Stay;
        }
        Marker::Absent => {}
    }
    if matches!(state.phase, Phase::Paused | Phase::Held(Hold::Marker)) {
        // Nothing from before counts.
        state.trust();
        state.enter(Phase::Starting, now);
    }
    if state.phase == Phase::Restarting {
        return hear_restarting(rules, state, observation, now);
    }
    let Some(seen) = observation.seen else {
        return Next::Stay;
    };
    let passed = state.run_clocks(seen, now);
    match state.phase {
        Phase::Starting => hear_starting(rules, state, seen, now),
        Phase::Healthy | Phase::Probation => hear_calm(rules, state, seen, now),
        Phase::Suspect => return hear_suspect(rules, state, seen, passed, now),
        Phase::Waiting(Wait::Needs) if needs_work && seen != Seen::CouldNotAsk => {
            // It has its whole startup: it may come back by itself.
            state.trust();
            state.enter(Phase::Starting, now);
            hear_starting(rules, state, seen, now);
        }
        Phase::Waiting(_) | Phase::Held(_) | Phase::Backoff | Phase::Failed => {
            return hear_stopped(state, seen, passed, now);
        }
        Phase::Verifying => return hear_verifying(rules, state, seen, now),
        // Both are dealt with above.
        Phase::Restarting | Phase::Paused => {}
    }
    Next::Stay
}

fn hear_starting(rules: &Rules, state: &mut State, seen: Seen, now: Now) {
    match seen {
        Seen::Pass => {
            let works = if state.attempts > 0 {
                Phase::Probation
            } else {
                Phase::Healthy
            };
            state.enter(works, now);
        }
        Seen::Bad(cause) if state.in_phase_ms >= rules.startup_ms => {
            let before = if state.attempts > 0 {
                Calm::Probation
            } else {
                Calm::Healthy
            };
            state.suspect(cause, before, now);
        }
        Seen::Bad(_) | Seen::NotNow | Seen::CouldNotAsk => {}
    }
}

fn hear_calm(rules: &Rules, state: &mut State, seen: Seen, now: Now) {
    let is_healthy = state.phase == Phase::Healthy;
    match seen {
        Seen::Pass if !is_healthy && state.in_phase_ms >= rules.stable_ms => {
            state.attempts = 0;
            state.enter(Phase::Healthy, now);
        }
        Seen::Bad(cause) => {
            let before = if is_healthy {
                Calm::Healthy
            } else {
                Calm::Probation
            };
            state.suspect(cause, before, now);
        }
        Seen::Pass | Seen::NotNow | Seen::CouldNotAsk => {}
    }
}

fn hear_suspect(rules: &Rules, state: &mut State, seen: Seen, passed: u64, now: Now) -> Next {
    match seen {
        Seen::Pass | Seen::NotNow => {
            state.trust();
            let before = match state.before {
                Calm::Healthy => Phase::Healthy,
                Calm::Probation => Phase::Probation,
            };
            // One that says itself that it is starting does not work yet.
            state.enter(
                if seen == Seen::Pass {
                    before
                } else {
                    Phase::Starting
                },
                now,
            );
            Next::Stay
        }
        Seen::Bad(cause) => {
            state.count(cause, passed);
            if state.is_proven(rules) {
                Next::Gates
            } else {
                Next::Stay
            }
        }
        Seen::CouldNotAsk => Next::Stay,
    }
}

/// Waiting, held, backing off or given up.
fn hear_stopped(state: &mut State, seen: Seen, passed: u64, now: Now) -> Next {
    match seen {
        Seen::Pass => {
            state.trust();
            state.enter(Phase::Probation, now);
            Next::Stay
        }
        Seen::NotNow => {
            state.trust();
            state.enter(Phase::Starting, now);
            Next::Stay
        }
        Seen::Bad(cause) => {
            state.count(cause, passed);
            Next::Gates
        }
        Seen::CouldNotAsk => Next::Stay,
    }
}

fn hear_restarting(rules: &Rules, state: &mut State, observation: Observation, now: Now) -> Next {
    let ran_ms = state
        .restarted_ms
        .map_or(0, |began| now.mono_ms.saturating_sub(began));
    match (observation.command, observation.seen) {
        (Command::Ended, _) | (Command::Running, Some(Seen::Pass)) => {
            state.enter(Phase::Verifying, now);
            Next::Stay
        }
        (Command::Running, _) if ran_ms >= rules.command_ms => {
            state.fail(now);
            if observation.seen == Some(Seen::NotNow) {
                state.trust();
                state.enter(Phase::Starting, now);
            }
            Next::EndCommand
        }
        (Command::Running, Some(Seen::Bad(_) | Seen::NotNow | Seen::CouldNotAsk) | None) => {
            Next::Stay
        }
    }
}

fn hear_verifying(rules: &Rules, state: &mut State, seen: Seen, now: Now) -> Next {
    match seen {
        Seen::Pass if state.in_phase_ms >= rules.delay_ms => {
            state.trust();
            state.enter(Phase::Probation, now);
            Next::Stay
        }
        Seen::Bad(cause) if state.in_phase_ms >= rules.delay_ms + rules.startup_ms => {
            state.count(cause, 0);
            state.fail(now);
            Next::Gates
        }
        Seen::Pass | Seen::Bad(_) | Seen::NotNow | Seen::CouldNotAsk => Next::Stay,
    }
}

#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod table_tests;
