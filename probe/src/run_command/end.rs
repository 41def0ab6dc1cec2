//! How a program ended, and what that makes of this command's own end.

use std::collections::BTreeMap;
use std::fmt;

use rustix::process::WaitStatus;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

/// How long after SIGHUP, SIGINT or SIGQUIT an end is one that was asked for. Programs may also reload by
/// them, or do something else, and crash a week later.
const ASKED_FOR_MS: u64 = 10_000;

/// The signals that have reached a program and end one, as a rule: each with the last time, in milliseconds.
#[derive(Debug, Clone, Default)]
pub struct Asked(BTreeMap<i32, u64>);

impl Asked {
    /// This signal has reached it.
    pub fn note(&mut self, number: i32, now_ms: u64) {
        if matches!(number, SIGTERM | SIGINT | SIGQUIT | SIGHUP) {
            self.0.insert(number, now_ms);
        }
    }

    /// Whether it has ended since it was asked to.
    pub fn explains(&self, end: End, now_ms: u64) -> bool {
        self.0.iter().any(|(number, at_ms)| {
            *number == SIGTERM
                || end == End::Killed(*number)
                || end == End::Exited(0)
                || now_ms.saturating_sub(*at_ms) <= ASKED_FOR_MS
        })
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself, with this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

impl End {
    /// What wait(2) says.
    pub fn of(status: WaitStatus) -> Option<Self> {
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Some(Self::Exited(code)),
            (None, Some(number)) => Some(Self::Killed(number)),
            (None, None) => None,
        }
    }

    /// The exit status that says so, as a shell has it.
    pub fn status(self) -> u8 {
        let status = match self {
            Self::Exited(code) => code,
            Self::Killed(number) => 128 + number,
        };
        u8::try_from(status & 0xff).unwrap_or(1)
    }

    /// Whether it is a crash: nobody had asked for it, and it did not say that all is well.
    pub fn is_crash(self, asked_for: bool) -> bool {
        !asked_for && self != Self::Exited(0)
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exited with {code}"),
            Self::Killed(number) => write!(f, "killed by {}", signal_name(*number)),
        }
    }
}

/// `SIGTERM`, say.
pub fn signal_name(number: i32) -> String {
    match signal_hook::low_level::signal_name(number) {
        Some(name) => name.to_owned(),
        None => format!("signal {number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_long_after_a_signal_that_need_not_end_it_was_not_asked_for() {
        const LATER: u64 = 5 + ASKED_FOR_MS;
        let table = [
            (None, End::Exited(0), 5, false),
            (Some(SIGTERM), End::Exited(1), 5, true),
            (Some(SIGTERM), End::Exited(1), LATER + 1, true),
            (Some(SIGHUP), End::Exited(1), LATER, true),
            (Some(SIGHUP), End::Exited(1), LATER + 1, false),
            (Some(SIGHUP), End::Exited(0), LATER + 1, true),
            (Some(SIGHUP), End::Killed(SIGHUP), LATER + 1, true),
            (Some(SIGINT), End::Killed(SIGQUIT), LATER + 1, false),
            (Some(SIGQUIT), End::Killed(11), LATER + 1, false),
            (Some(signal_hook::consts::SIGUSR1), End::Exited(1), 5, false),
        ];
        for (number, end, now_ms, want) in table {
            let mut asked = Asked::default();
            if let Some(number) = number {
                asked.note(number, 5);
            }
            assert_eq!(asked.explains(end, now_ms), want, "{number:?} {end}");
        }
    }

    #[test]
    fn how_it_ended_in_words_and_as_a_status() {
        let table = [
            (End::Exited(0), "exited with 0", 0, false, false),
            (End::Exited(3), "exited with 3", 3, true, false),
            (End::Exited(255), "exited with 255", 255, true, false),
            (End::Killed(9), "killed by SIGKILL", 137, true, false),
            (End::Killed(15), "killed by SIGTERM", 143, true, false),
            (End::Killed(40), "killed by signal 40", 168, true, false),
        ];
        for (end, text, status, unasked, asked) in table {
            assert_eq!(end.to_string(), text);
            assert_eq!(end.status(), status);
            assert_eq!(end.is_crash(false), unasked, "{text}");
            assert_eq!(end.is_crash(true), asked, "{text}");
        }
    }
}
