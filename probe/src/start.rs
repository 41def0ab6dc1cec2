//! When a run started, and what ends it in time.

use std::cell::OnceCell;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ready_probe::settings::{DEFAULT_TIMEOUT, Format};
use ready_probe::time_limit::TimeLimit;
use ready_probe_sdk::clock;
use ready_probe_sdk::host::Mounts;

use crate::deadline::Deadline;
use crate::exit::Exit;
use crate::hung_settings;

/// When this run started to work, and what ends it in time.
#[derive(Debug)]
pub struct Start {
    /// When: for a child that a command was left to, its parent's start.
    pub at: Instant,
    deadline: Deadline,
    mounts: OnceCell<Option<Mounts>>,
}

impl Start {
    /// Now; until more is known, the default deadline counts.
    pub fn now() -> Self {
        Self {
            at: hung_settings::begun().unwrap_or_else(clock::instant),
            deadline: Deadline::new(DEFAULT_TIMEOUT),
            mounts: OnceCell::new(),
        }
    }

    /// What is mounted, if that can be known.
    pub fn mounts(&self) -> Option<&Mounts> {
        self.mounts.get_or_init(Mounts::current).as_ref()
    }

    /// The same, if any mount may hang.
    pub fn far_mounts(&self) -> Option<&Mounts> {
        self.mounts().filter(|mounts| mounts.may_hang())
    }

    /// Makes the deadline end whatever blocks from now on.
    pub fn watch(&self) {
        self.deadline.watch();
    }

    /// That long after the start.
    pub fn plus(&self, duration: Duration) -> Instant {
        self.at + duration
    }

    /// The end of a run that may take so long, to the last moment.
    pub fn limit(&self, timeout: Duration) -> TimeLimit {
        TimeLimit {
            at: self.plus(timeout),
            set: timeout,
        }
    }

    /// The time since.
    pub fn elapsed(&self) -> Duration {
        clock::instant().saturating_duration_since(self.at)
    }

    /// Makes the process end by then, whatever blocks it; returns that instant.
    pub fn end_by(&self, timeout: Duration) -> Instant {
        self.deadline.reset(timeout.saturating_sub(self.elapsed()));
        self.plus(timeout)
    }

    /// If the process is stopped beyond its deadline, it has so long once it goes on.
    pub fn resume_with(&self, timeout: Duration) {
        self.deadline.resume_with(timeout);
    }

    /// What the deadline says is in this format; what was set first counts.
    pub fn speak(&self, format: Format) {
        self.deadline.speak(format);
    }

    /// Says it before the run is over; tells whether somebody has taken all of it. What is left to be ended
    /// with is its status.
    pub fn say(&self, exit: Exit) -> (Exit, bool) {
        self.say_within(exit, self.deadline.left())
    }

    /// The same, with so much more time for what comes after it.
    pub fn say_first(&self, exit: Exit, more: Duration) -> (Exit, bool) {
        let patience = self.deadline.left();
        self.deadline.reset(patience + more);
        self.say_within(exit, patience)
    }

    fn say_within(&self, exit: Exit, patience: Duration) -> (Exit, bool) {
        let status = exit.status();
        self.deadline.decide(status);
        let whole = exit.say(patience);
        (Exit::Said(status), whole)
    }

    /// The run is over but for its report, which may take until the deadline and no longer.
    pub fn finish(&self, exit: Exit) -> ExitCode {
        self.deadline.decide(exit.status());
        exit.print(self.deadline.left())
    }
}
