//! What is to be published of a program: conditions and what has happened → state and reason. Pure: no I/O,
//! and time comes from outside.

use ready_probe_sdk::freshness::Span;
use ready_probe_sdk::signal::State;

use super::notify::Said;

/// How many answers to `--when` in a row may be missing once it has passed.
const MAX_UNANSWERED: u32 = 3;

/// What has to be true for the program to be ready: all of these.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    /// `--when` passes.
    pub when: bool,
    /// Such a line has come.
    pub line: Option<String>,
    /// `READY=1` has come.
    pub notify: bool,
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A program that may speak has said something.
    Said(Said),
    /// The line has come.
    Line,
    /// `--when` was asked.
    Asked(WhenAnswer),
    /// This signal has reached it, which asks it to end.
    Terminated(String),
    /// Its main process, which somebody else has started, has ended.
    MainEnded(u32),
    /// This process did not run for so long, nor did the program: its container was paused.
    Paused(u64),
}

/// What `--when` answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhenAnswer {
    /// All of it passes.
    Yes,
    /// Some of it does not, and why.
    No(String),
    /// Some of it did not answer, and what happened instead.
    Unknown(String),
}

/// What is to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The state.
    pub state: State,
    /// Why.
    pub reason: Option<String>,
    /// Its own `STATUS=`.
    pub status: Option<String>,
    /// It is not ready since it reloads.
    pub reloading: bool,
}

/// All that is known of whether a program is ready.
#[derive(Debug)]
pub struct Readiness {
    conditions: Conditions,
    said_ready: bool,
    line_seen: bool,
    when: When,
    /// All conditions have held once.
    came_up: bool,
    reloading: bool,
    stopping: Option<String>,
    main_ended: Option<u32>,
    watchdog: Watchdog,
    status: Option<String>,
}

#[derive(Debug, Default)]
struct When {
    passed: bool,
    /// Why it does not pass, if it does not.
    fault: Option<String>,
    unanswered: u32,
}

#[derive(Debug, Default)]
struct Watchdog {
    limit_ms: Option<u64>,
    /// The last progress.
    last_ms: u64,
    /// It has said itself that it hangs.
    triggered: bool,
}

impl Readiness {
    /// Nothing has happened yet. Without a condition `READY=1` is one.
    pub fn new(conditions: Conditions, watchdog_ms: Option<u64>) -> Self {
        let none = !conditions.when && conditions.line.is_none();
        Self {
            conditions: Conditions {
                notify: conditions.notify || none,
                ..conditions
            },
            said_ready: false,
            line_seen: false,
            when: When::default(),
            came_up: false,
            reloading: false,
            stopping: None,
            main_ended: None,
            watchdog: Watchdog {
                limit_ms: watchdog_ms,
                ..Watchdog::default()
            },
            status: None,
        }
    }

    /// Takes what has happened.
    pub fn take(&mut self, event: Event, now_ms: u64) {
        match event {
            Event::Said(said) => self.hear(said, now_ms),
            Event::Line => self.line_seen = true,
            Event::Asked(answer) => self.when.take(answer),
            Event::Terminated(signal) => self.stop(&signal),
            Event::MainEnded(pid) => self.main_ended = Some(pid),
            Event::Paused(paused_ms) => {
                let last_ms = self.watchdog.last_ms.saturating_add(paused_ms);
                self.watchdog.last_ms = last_ms.min(now_ms);
            }
        }
        if !self.came_up && self.missing().is_none() {
            self.came_up = true;
            self.watchdog.last_ms = self.watchdog.last_ms.max(now_ms);
        }
    }

    fn hear(&mut self, said: Said, now_ms: u64) {
        match said {
            Said::Ready => {
                self.said_ready = true;
                self.reloading = false;
                self.main_ended = None;
                self.watchdog.progress(now_ms);
            }
            Said::Reloading => self.reloading = true,
            Said::Stopping => self.stop("STOPPING=1"),
            Said::Status(text) => self.status = Some(text).filter(|text| !text.is_empty()),
            Said::Alive => self.watchdog.progress(now_ms),
            Said::Stalled => self.watchdog.triggered = true,
            Said::WatchdogMs(limit_ms) => {
                self.watchdog.limit_ms = Some(limit_ms).filter(|limit_ms| *limit_ms > 0);
                self.watchdog.progress(now_ms);
            }
            Said::MainPid(_) => self.main_ended = None,
        }
    }

    fn stop(&mut self, why: &str) {
        self.stopping.get_or_insert_with(|| why.to_owned());
    }

    /// What is to be published now.
    pub fn word(&self, now_ms: u64) -> Word {
        let (state, reason) = self.judged(now_ms);
        let reason = reason.map(|reason| match &self.status {
            Some(status) => format!("{reason}; it says: {status}"),
            None => reason,
        });
        Word {
            state,
            reason,
            status: self.status.clone(),
            reloading: self.reloading && state == State::NotReady,
        }
    }

    fn judged(&self, now_ms: u64) -> (State, Option<String>) {
        if let Some(why) = &self.stopping {
            return (State::Stopping, Some(why.clone()));
        }
        if !self.came_up {
            return (State::Starting, self.missing());
        }
        let fault = self
            .main_fault()
            .or_else(|| self.watchdog.fault(now_ms))
            .or_else(|| self.reloading.then(|| "reloading".to_owned()))
            .or_else(|| self.when.fault.clone());
        match fault {
            Some(fault) => (State::NotReady, Some(fault)),
            None => (State::Ready, None),
        }
    }

    /// The first condition that has not held yet.
    fn missing(&self) -> Option<String> {
        let Conditions { when, line, notify } = &self.conditions;
        if *notify && !self.said_ready {
            return Some("no READY=1 yet".to_owned());
        }
        if let (Some(line), false) = (line, self.line_seen) {
            return Some(format!("no line with {line:?} yet"));
        }
        if self.reloading {
            return Some("reloading".to_owned());
        }
        match (*when, self.when.passed, &self.when.fault) {
            (false, _, _) | (true, true, None) => None,
            (true, _, Some(fault)) => Some(fault.clone()),
            (true, false, None) => Some("--when has not been answered yet".to_owned()),
        }
    }

    fn main_fault(&self) -> Option<String> {
        let pid = self.main_ended?;
        Some(format!("its main process {pid} has ended"))
    }

    /// When the word may change without anything happening.
    pub fn changes_at_ms(&self) -> Option<u64> {
        let limit_ms = self.watchdog.limit_ms.filter(|_| self.came_up)?;
        Some(self.watchdog.last_ms + limit_ms + 1)
    }

    /// Whether `--when` is worth asking soon: it does not pass, or its last answer is missing.
    pub fn is_when_failing(&self) -> bool {
        self.when.fault.is_some() || self.when.unanswered > 0
    }
}

impl When {
    /// A plain no counts at once. No answer counts only if none has come for a while, unless the last one
    /// was no.
    fn take(&mut self, answer: WhenAnswer) {
        match answer {
            WhenAnswer::Yes => {
                *self = Self {
                    passed: true,
                    ..Self::default()
                };
            }
            WhenAnswer::No(why) => self.fault = Some(why),
            WhenAnswer::Unknown(why) => {
                self.unanswered += 1;
                let tolerated = self.passed && self.unanswered <= MAX_UNANSWERED;
                if !tolerated || self.fault.is_some() {
                    self.fault = Some(why);
                }
            }
        }
    }
}

impl Watchdog {
    fn progress(&mut self, now_ms: u64) {
        self.last_ms = self.last_ms.max(now_ms);
        self.triggered = false;
    }

    fn fault(&self, now_ms: u64) -> Option<String> {
        if self.triggered {
            return Some("stalled: it says WATCHDOG=trigger".to_owned());
        }
        let limit_ms = self.limit_ms?;
        let is_late = now_ms.saturating_sub(self.last_ms) > limit_ms;
        is_late.then(|| format!("stalled: no WATCHDOG=1 within {}", Span(limit_ms)))
    }
}

#[cfg(test)]
mod tests;
