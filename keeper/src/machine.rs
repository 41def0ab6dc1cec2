//! What becomes of services: (states, observations, now) → (states, acts). Pure: it does no I/O and reads no clock.
//!
//! A service is restarted only on proof, see [`Proof`](crate::rules::Proof), and only if no gate is closed: what it needs,
//! a storm, its budget, its pause. What could not be asked proves nothing: no counter rises or falls, and no
//! clock of a state runs.

mod gates;
mod state;

pub use state::{
    Barrier, Calm, Command, Due, Hold, Instance, Marker, Now, Observation, Phase, State, Wait,
};

use crate::rules::Rules;
use crate::seen::Seen;
use gates::Candidate;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Run the restart command of this service.
    Restart(usize),
    /// End it: it takes too long.
    EndCommand(usize),
    /// End the container, by its process 1: this service can't be helped.
    EndContainer(usize),
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
    let mut candidates = Vec::new();
    for &number in order {
        gates::follow(rules, states, number);
        let needs_work = gates::needs_work(rules, states, number);
        let (Some(own), Some(state), Some(observation)) = (
            rules.get(number),
            states.get_mut(number),
            observed.get(number),
        ) else {
            continue;
        };
        let is_proven = match hear(own, state, *observation, needs_work, now) {
            Next::Stay => false,
            Next::Gates => true,
            Next::EndCommand => {
                acts.push(Act::EndCommand(number));
                // One that says meanwhile that it is starting denies the proof.
                state.phase.is_restart()
            }
        };
        if is_proven || gates::is_due(rules, states, number, observation) {
            candidates.push(Candidate { number, is_proven });
        }
    }
    gates::open(rules, states, observed, &candidates, now, &mut acts);
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
            state.forget();
            state.enter(Phase::Paused, now);
            return Next::Stay;
        }
        Marker::Unreadable => {
            state.forget();
            state.enter(Phase::Held(Hold::Marker), now);
            return Next::Stay;
        }
        Marker::Absent => {}
    }
    if matches!(state.phase, Phase::Paused | Phase::Held(Hold::Marker)) {
        state.forget();
        state.enter(Phase::Starting, now);
    }
    if let Some(instance) = observation.instance {
        notice(state, instance, now);
    }
    if state.phase == Phase::Restarting {
        return hear_restarting(rules, state, observation, now);
    }
    let Some(seen) = observation.seen else {
        return Next::Stay;
    };
    let passed = state.run_clocks(seen, now);
    if seen == Seen::Pass {
        state.passed_ms = observation.asked_ms;
    }
    if (seen, observation.barrier) == (Seen::Pass, Barrier::Needs) {
        if state.phase != Phase::Verifying || state.in_phase_ms >= rules.delay_ms {
            state.passes();
            state.enter(Phase::Waiting(Wait::Needs), now);
        }
        return Next::Stay;
    }
    let needs_work = needs_work && observation.barrier != Barrier::Needs;
    match state.phase {
        Phase::Starting => hear_starting(rules, state, seen, now),
        Phase::Healthy | Phase::Probation => hear_calm(rules, state, seen, now),
        Phase::Suspect => return hear_suspect(rules, state, seen, passed, now),
        Phase::Waiting(Wait::Needs) | Phase::Held(Hold::Needs | Hold::NeedsFailed)
            if needs_work && seen != Seen::CouldNotAsk =>
        {
            // It has its whole startup: it may come back by itself.
            state.trust();
            state.enter(Phase::Starting, now);
            hear_starting(rules, state, seen, now);
        }
        Phase::Waiting(_) | Phase::Held(_) | Phase::Backoff | Phase::Failed => {
            return hear_stopped(rules, state, seen, passed, now);
        }
        Phase::Verifying => return hear_verifying(rules, state, seen, observation, now),
        // Both are dealt with above.
        Phase::Restarting | Phase::Paused => {}
    }
    Next::Stay
}

/// Which life of it this is. Whoever has restarted it meanwhile has acted, and it has its whole startup.
fn notice(state: &mut State, instance: Instance, now: Now) {
    let known = state.instance.replace(instance);
    if known.is_some_and(|known| known.id == instance.id) {
        return;
    }
    let is_new = match state.phase {
        // Its startup begins with it.
        Phase::Starting => true,
        Phase::Healthy | Phase::Probation => {
            known.is_some_and(|known| instance.is_alone || instance.began_ms > known.began_ms)
        }
        Phase::Suspect | Phase::Waiting(_) | Phase::Held(_) | Phase::Backoff | Phase::Failed => {
            let follows = instance.is_alone && known.is_some();
            follows || instance.began_ms > state.suspected_ms
        }
        // That is our own doing.
        Phase::Restarting | Phase::Verifying | Phase::Paused => false,
    };
    if is_new {
        state.trust();
        state.enter(Phase::Starting, now);
        state.in_phase_ms = match known {
            // It has come after the one that was seen last. Whose clock tells its age is not known.
            Some(_) if instance.is_alone => 0,
            Some(_) | None => now.mono_ms.saturating_sub(instance.began_ms),
        };
        state.heard_ms = Some(now.mono_ms);
    }
}

fn hear_starting(rules: &Rules, state: &mut State, seen: Seen, now: Now) {
    match seen {
        Seen::Pass => {
            state.passes();
            let works = if state.attempts > 0 {
                Phase::Probation
            } else {
                Phase::Healthy
            };
            state.enter(works, now);
        }
        Seen::Bad(cause) if state.in_phase_ms >= rules.startup_ms.max(rules.unseen_ms) => {
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
        // It has waited for the word of what it needs, and meanwhile somebody may have mended it.
        Seen::Bad(cause) if state.is_proven(rules) && state.is_proof_old(now) => {
            state.suspect(cause, state.before, now);
            Next::Stay
        }
        Seen::Bad(cause) => {
            state.count(cause, passed, now);
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
fn hear_stopped(rules: &Rules, state: &mut State, seen: Seen, passed: u64, now: Now) -> Next {
    match seen {
        Seen::Pass => {
            state.passes();
            state.enter(Phase::Probation, now);
            Next::Stay
        }
        Seen::NotNow => {
            state.trust();
            state.enter(Phase::Starting, now);
            Next::Stay
        }
        Seen::Bad(cause) => {
            if state.is_proof_old(now) {
                // Meanwhile somebody may have mended it.
                state.suspect(cause, Calm::Probation, now);
                return Next::Stay;
            }
            state.count(cause, passed, now);
            if state.is_proven(rules) {
                Next::Gates
            } else {
                Next::Stay
            }
        }
        Seen::CouldNotAsk => Next::Stay,
    }
}

fn hear_restarting(rules: &Rules, state: &mut State, observation: Observation, now: Now) -> Next {
    let ran_ms = state
        .restarted_ms
        .map_or(0, |began| now.mono_ms.saturating_sub(began));
    let is_late = ran_ms >= rules.command_ms;
    let is_old = is_old_life(state, observation);
    let is_new = observation.instance.is_some() && !is_old;
    let is_verified = match (observation.command, observation.seen) {
        (Command::Ended, _) => true,
        // The old life may pass, and drain, as long as the command has not ended it.
        (Command::Running, Some(Seen::Pass)) => !is_old,
        (Command::Running, Some(Seen::NotNow)) => is_new || is_late,
        // The command may have become the service. Others have their turn.
        (Command::Running, Some(Seen::CouldNotAsk)) => is_late,
        (Command::Running, Some(Seen::Bad(_)) | None) => false,
    };
    if is_verified {
        state.enter(Phase::Verifying, now);
        return Next::Stay;
    }
    match observation.seen {
        Some(Seen::Bad(_)) if is_late => {
            state.fail(now);
            Next::EndCommand
        }
        Some(Seen::Pass) if is_late => {
            state.passes();
            state.fail(now);
            state.enter(Phase::Probation, now);
            Next::EndCommand
        }
        Some(Seen::Pass | Seen::Bad(_) | Seen::NotNow | Seen::CouldNotAsk) | None => Next::Stay,
    }
}

/// Whether what is seen is the life that the restart was to end.
fn is_old_life(state: &State, observation: Observation) -> bool {
    let lives = state.replaced.zip(observation.instance);
    lives.is_some_and(|(old, found)| old.id == found.id)
}

fn hear_verifying(
    rules: &Rules,
    state: &mut State,
    seen: Seen,
    observation: Observation,
    now: Now,
) -> Next {
    match seen {
        Seen::Pass if state.in_phase_ms >= rules.delay_ms => {
            state.passes();
            state.enter(Phase::Probation, now);
            if !is_old_life(state, observation) {
                return Next::Stay;
            }
            // It works again, and was not restarted.
            state.fail(now);
            match observation.command {
                Command::Ended => Next::Stay,
                Command::Running => Next::EndCommand,
            }
        }
        Seen::Bad(cause) if state.in_phase_ms >= rules.delay_ms + rules.startup_ms => {
            state.count(cause, 0, now);
            state.fail(now);
            match observation.command {
                Command::Ended => Next::Gates,
                Command::Running => Next::EndCommand,
            }
        }
        Seen::Pass | Seen::Bad(_) | Seen::NotNow | Seen::CouldNotAsk => Next::Stay,
    }
}

#[cfg(test)]
mod limits_tests;
#[cfg(test)]
mod oracle_tests;
#[cfg(test)]
mod recovery_tests;
#[cfg(test)]
mod restarting_tests;
#[cfg(test)]
mod row_tests;
#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod table_tests;
