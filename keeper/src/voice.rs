//! What the keeper says, a line each, with the phrases that logs were searched for before there was a keeper.

use std::io::{self, Write};

use ready_probe::redact::one_line;
use ready_probe_sdk::clock;

use crate::machine::{Hold, Phase, State, Wait};

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

/// Says it on standard output.
pub fn say(level: Level, text: &str) {
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

/// What is to be said when a service has come from one state to another.
pub fn change(name: &str, before: &State, after: &State, reason: &str) -> Option<(Level, String)> {
    if before.phase == after.phase && before.attempts == after.attempts {
        return None;
    }
    let said = match after.phase {
        Phase::Probation if is_restarted(before.phase) => {
            (Level::Info, format!("Successfully recovered {name}"))
        }
        _ if after.attempts > before.attempts => {
            let nth = after.attempts;
            let left = match after.phase {
                Phase::Failed => "; it is given up, but for a try every 30 minutes",
                Phase::Starting
                | Phase::Healthy
                | Phase::Probation
                | Phase::Suspect
                | Phase::Waiting(_)
                | Phase::Held(_)
                | Phase::Backoff
                | Phase::Restarting
                | Phase::Verifying
                | Phase::Paused => "",
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
                "{name} is given up after {} restarts, but for a try every 30 minutes: {reason}",
                after.restarts.len()
            ),
        ),
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

fn is_restarted(phase: Phase) -> bool {
    match phase {
        Phase::Restarting | Phase::Verifying => true,
        Phase::Starting
        | Phase::Healthy
        | Phase::Probation
        | Phase::Suspect
        | Phase::Waiting(_)
        | Phase::Held(_)
        | Phase::Backoff
        | Phase::Failed
        | Phase::Paused => false,
    }
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
        Hold::Storm => {
            "several services fail at once, so the reason is likely elsewhere: look at this machine first"
        }
        Hold::NoCommand => "it has no restart_cmd",
    }
}
