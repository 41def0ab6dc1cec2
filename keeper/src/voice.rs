//! What the keeper says, a line each, with the phrases that logs were searched for before there was a keeper.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ready_probe::redact::one_line;
use ready_probe_sdk::clock;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::machine::{Hold, Phase, State, Wait};
use crate::rules::{GiveUp, Rules};
use crate::seen::Seen;

const MAX_CHARS: usize = 600;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Info,
    /// Somebody may want to know.
    Warning,
    /// Somebody has to do something.
    Error,
}

/// Lines that nobody has read in time.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Says it on standard output. Where nobody reads, no restart waits for that: the line is lost.
pub fn say(level: Level, text: &str) {
    let lost = LOST.load(Relaxed);
    let patience = Timespec {
        tv_sec: i64::from(lost == 0),
        tv_nsec: 0,
    };
    if !is_read(patience) {
        LOST.fetch_add(1, Relaxed);
        return;
    }
    if LOST.swap(0, Relaxed) > 0 {
        write(
            Level::Warning,
            &format!("nobody has read {lost} lines, and they are lost"),
        );
    }
    write(level, text);
}

fn write(level: Level, text: &str) {
    let level = match level {
        Level::Info => "INFO",
        Level::Warning => "WARNING",
        Level::Error => "ERROR",
    };
    let line = format!(
        "{} {level} {}\n",
        clock::wall_rfc3339(),
        one_line(text, MAX_CHARS)
    );
    // Nobody listens: that stops no restart.
    let _ = io::stdout().write_all(line.as_bytes());
}

/// Whether there is room for a line: a pipe has room for 4096 bytes then, see pipe(7).
fn is_read(patience: Timespec) -> bool {
    let stdout = io::stdout();
    let mut polled = [PollFd::new(&stdout, PollFlags::OUT)];
    // One that can't be polled is no pipe, or is closed.
    poll(&mut polled, Some(&patience)) != Ok(0)
}

/// What is to be said of an answer. A failure `is_silent` if nothing else is said of it.
pub fn answer(
    name: &str,
    seen: Seen,
    after: &State,
    is_silent: bool,
    reason: &str,
) -> Option<(Level, String)> {
    match seen {
        Seen::Pass if after.works() => {
            Some((Level::Info, format!("Health check passed for {name}")))
        }
        Seen::CouldNotAsk => Some((
            Level::Warning,
            format!("{name} could not be asked, which proves nothing: {reason}"),
        )),
        Seen::NotNow => Some((
            Level::Info,
            format!("{name} is not ready, and says so: {reason}"),
        )),
        Seen::Bad(_) if is_silent => Some((
            Level::Warning,
            format!(
                "Health check failed for {name}: {reason} ({})",
                word(after.phase)
            ),
        )),
        Seen::Pass | Seen::Bad(_) => None,
    }
}

/// Where a service stands, in a word.
pub fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Starting => "starting",
        Phase::Healthy => "healthy",
        Phase::Probation => "probation",
        Phase::Suspect => "suspect",
        Phase::Waiting(_) => "waiting",
        Phase::Held(_) => "held",
        Phase::Backoff => "backoff",
        Phase::Restarting => "restarting",
        Phase::Verifying => "verifying",
        Phase::Failed => "failed",
        Phase::Paused => "paused",
    }
}

/// What has become of the container, which was to be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Its process 1 was asked to end.
    Done,
    /// That was not possible.
    Failed,
    /// This is a dry run, or a person was faster.
    HeldBack,
}

/// What is left to a service that is given up.
pub fn left(rules: &Rules, ending: Option<Ending>, dry_run: bool) -> &'static str {
    match (rules.give_up, ending) {
        (GiveUp::Slow, _) => ", but for a try every 30 minutes",
        (GiveUp::Stop, _) => ", and left to a person",
        (GiveUp::Exit, Some(Ending::Done)) => ", and the container is ended",
        (GiveUp::Exit, Some(Ending::Failed)) => ", and the container could not be ended",
        (GiveUp::Exit, Some(Ending::HeldBack)) if dry_run => {
            ", and the container would be ended, but this is a dry run"
        }
        (GiveUp::Exit, Some(Ending::HeldBack)) => {
            ", and the container is not ended: a person has stopped the service"
        }
        (GiveUp::Exit, None) if rules.restarts => {
            ", but for a try every 30 minutes: the container was ended often enough"
        }
        (GiveUp::Exit, None) => ", and left to a person: the container was ended often enough",
    }
}

/// What is to be said when a service has come from one state to another.
pub fn change(
    name: &str,
    left: &str,
    (before, after): (&State, &State),
    reason: &str,
) -> Option<(Level, String)> {
    if before.phase == after.phase && before.attempts == after.attempts {
        return None;
    }
    let said = match after.phase {
        Phase::Probation if before.phase.is_restart() && after.attempts > before.attempts => (
            Level::Warning,
            format!(
                "The restart of {name} changed nothing: it works, in the process that it had before"
            ),
        ),
        Phase::Probation if before.phase.is_restart() => {
            (Level::Info, format!("Successfully recovered {name}"))
        }
        _ if after.attempts > before.attempts => {
            let nth = after.attempts;
            let left = match after.phase {
                Phase::Failed => format!("; it is given up{left}"),
                Phase::Starting
                | Phase::Healthy
                | Phase::Probation
                | Phase::Suspect
                | Phase::Waiting(_)
                | Phase::Held(_)
                | Phase::Backoff
                | Phase::Restarting
                | Phase::Verifying
                | Phase::Paused => String::new(),
            };
            (
                Level::Error,
                format!("Failed to recover {name}: {reason} (attempt {nth} in a row){left}"),
            )
        }
        Phase::Suspect => (
            Level::Warning,
            format!("Health check failed for {name}: {reason}"),
        ),
        Phase::Restarting => (
            Level::Info,
            format!("Executing restart command for {name}, attempting recovery: {reason}"),
        ),
        Phase::Verifying => return None,
        Phase::Healthy | Phase::Probation | Phase::Starting => return None,
        Phase::Waiting(Wait::Needs) => (
            Level::Warning,
            format!("{name} waits: what it needs does not work"),
        ),
        Phase::Waiting(Wait::Turn) => (
            Level::Info,
            format!("{name} waits: another service is being restarted"),
        ),
        Phase::Backoff => (
            Level::Warning,
            format!("{name} is not restarted yet: the last restart did not help"),
        ),
        Phase::Failed => (
            Level::Error,
            format!(
                "{name} is given up after {} restarts{left}: {reason}",
                after.restarts.len()
            ),
        ),
        Phase::Held(Hold::DryRun) => (
            Level::Info,
            format!(
                "This is a dry run, in which {name} is not restarted; otherwise it would be: {reason}"
            ),
        ),
        // The reason names what inhibits it.
        Phase::Held(Hold::Inhibited) => {
            (Level::Error, format!("{name} is not restarted: {reason}"))
        }
        Phase::Held(hold) => (
            Level::Error,
            format!("{name} is not restarted: {}", why(hold)),
        ),
        Phase::Paused => (
            Level::Info,
            format!("{name} manually stopped, skipping auto-recovery"),
        ),
    };
    Some(said)
}

/// Why a restart would be wrong, if it would be.
pub fn why_held(state: &State) -> Option<String> {
    match state.phase {
        Phase::Held(hold) => Some(why(hold).to_owned()),
        Phase::Starting
        | Phase::Healthy
        | Phase::Probation
        | Phase::Suspect
        | Phase::Waiting(_)
        | Phase::Backoff
        | Phase::Restarting
        | Phase::Verifying
        | Phase::Failed
        | Phase::Paused => None,
    }
}

fn why(hold: Hold) -> &'static str {
    match hold {
        Hold::Marker => {
            "whether somebody has stopped it can't be told: look at the folder of --manual-stop"
        }
        Hold::Needs => "somebody has stopped what it needs",
        Hold::NeedsFailed => "what it needs was given up",
        Hold::Inhibited => "it would not help",
        Hold::Storm => {
            "several services fail at once, so the reason is likely elsewhere: look at this machine first"
        }
        Hold::NoCommand => "it has no restart command",
        Hold::DryRun => "this is a dry run",
        Hold::NotRun => "its restart command can't be run",
        Hold::Exited => {
            "its container has ended, which somebody may have meant: docker start, or restart_exited = true"
        }
        Hold::Absent => "there is no such container, and nothing that could be restarted",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_given_up_is_tried_again_only_if_it_can_be() {
        let (done, failed) = (Some(Ending::Done), Some(Ending::Failed));
        let held = Some(Ending::HeldBack);
        let table = [
            (GiveUp::Slow, true, None, false, "a try every 30 minutes"),
            (GiveUp::Stop, true, None, false, "left to a person"),
            (GiveUp::Exit, true, done, false, "the container is ended"),
            (GiveUp::Exit, false, failed, false, "could not be ended"),
            (GiveUp::Exit, true, held, true, "this is a dry run"),
            (GiveUp::Exit, true, held, false, "a person has stopped the"),
            (GiveUp::Exit, true, None, false, "a try every 30 minutes"),
            (GiveUp::Exit, false, None, false, "left to a person: the"),
        ];
        for (give_up, restarts, ending, dry_run, want) in table {
            let rules = Rules {
                give_up,
                restarts,
                ..Rules::of_loop()
            };
            let said = left(&rules, ending, dry_run);
            assert!(said.contains(want), "{said:?}: {want}");
            let tries = said.contains("try");
            assert!(restarts || !tries, "{said}");
        }
    }
}
