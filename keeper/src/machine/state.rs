//! What is known of a service, and what counts as proof.

use serde::{Deserialize, Serialize};

use crate::rules::{PROOF_HOLDS_MS, Proof, Rules};
use crate::seen::{Cause, Seen};

/// When it is.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// The monotonic clock, by which everything is decided.
    pub mono_ms: u64,
    /// The time of day, for budgets: they outlive a reboot.
    pub wall_ms: u64,
    /// Any number, for pauses that differ.
    pub dice: u64,
}

/// Whether a person has stopped the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marker {
    /// Nobody has.
    Absent,
    /// Somebody has.
    Present,
    /// It can't be told.
    Unreadable,
}

/// Its restart command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// It has ended, or there was none.
    Ended,
    /// It runs.
    Running,
}

/// One life of a service: of its process, or of its container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// No other has it.
    pub id: u64,
    /// When it began, by the monotonic clock.
    pub began_ms: u64,
    /// There is one at a time: another one has come after it, whatever the clocks say.
    #[serde(default)]
    pub is_alone: bool,
}

/// What stands in the way of a restart, outside of all services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Barrier {
    /// Nothing.
    Open,
    /// Something that it needs does not work.
    Needs,
    /// A restart would not help, or whether it would can't be told.
    Inhibited,
    /// Its container has ended, and whoever ended it may have meant it.
    Exited,
    /// There is no such container.
    Absent,
}

/// What is known of one service in one pass.
#[derive(Debug, Clone, Copy)]
pub struct Observation {
    /// Its answer, if it was asked.
    pub seen: Option<Seen>,
    /// A person's word.
    pub marker: Marker,
    /// Its restart command.
    pub command: Command,
    /// Which life of it was seen, where that is known.
    pub instance: Option<Instance>,
    /// What else was seen, if it was asked.
    pub barrier: Barrier,
    /// When it was asked for that answer.
    pub asked_ms: u64,
}

/// Where a service stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It may not work yet.
    Starting,
    /// It works.
    Healthy,
    /// It works since a restart, or after a failure that ended by itself.
    Probation,
    /// It does not, and it is not yet proven.
    Suspect,
    /// It does not, and something has to happen first.
    Waiting(Wait),
    /// It does not, and a restart would be wrong.
    Held(Hold),
    /// It does not, and the pause before the next restart is not over.
    Backoff,
    /// Its restart command runs.
    Restarting,
    /// It was restarted, and does not work yet.
    Verifying,
    /// It was given up, but for a try now and then.
    Failed,
    /// A person has stopped it.
    Paused,
}

impl Phase {
    /// Whether it is being restarted, or has yet to prove itself after that.
    pub fn is_restart(self) -> bool {
        match self {
            Self::Restarting | Self::Verifying => true,
            Self::Starting
            | Self::Healthy
            | Self::Probation
            | Self::Suspect
            | Self::Waiting(_)
            | Self::Held(_)
            | Self::Backoff
            | Self::Failed
            | Self::Paused => false,
        }
    }
}

/// What has to happen first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    /// What it needs must work.
    Needs,
    /// Another one is being restarted.
    Turn,
}

/// Why a restart would be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// Whether a person has stopped it can't be told.
    Marker,
    /// A person has stopped what it needs.
    Needs,
    /// What it needs was given up.
    NeedsFailed,
    /// It would not help, or whether it would can't be told.
    Inhibited,
    /// Too many fail at once: the fault is elsewhere.
    Storm,
    /// It has no restart command.
    NoCommand,
    /// Nothing is done, it is only told.
    DryRun,
    /// Its restart command could not be started, or not be remembered.
    NotRun,
    /// Its container has ended, and whoever ended it may have meant it.
    Exited,
    /// There is no such container.
    Absent,
}

/// One kind of failure, as long as nothing denies it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streak {
    /// So many answers.
    pub times: u32,
    /// From the first to the last of them, without the time in which nobody could ask.
    pub lasted_ms: u64,
}

/// What is remembered of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Where it stands.
    pub phase: Phase,
    /// How long it has stood there, without the time in which nobody could ask.
    pub in_phase_ms: u64,
    /// Where a suspect came from.
    pub before: Calm,
    /// Hung, says no (or gone), gone.
    pub streaks: [Streak; 3],
    /// When it was suspected first, since its last restart.
    pub suspected_ms: u64,
    /// By what.
    pub cause: Option<Cause>,
    /// Restarts in a row that did not help.
    pub attempts: u32,
    /// The times of day of its restarts, within the window.
    pub restarts: Vec<u64>,
    /// When the last one began.
    pub restarted_ms: Option<u64>,
    /// No restart before.
    pub not_before_ms: u64,
    /// When it was last heard, if it could be asked then.
    pub heard_ms: Option<u64>,
    /// What it was last seen to be.
    #[serde(default)]
    pub last: Option<Seen>,
    /// When it was asked for the answer that said last that it works.
    #[serde(default)]
    pub passed_ms: u64,
    /// When it was last seen not to work.
    #[serde(default)]
    pub bad_ms: u64,
    /// When it was first held since others failed, too.
    #[serde(default)]
    pub storm_ms: Option<u64>,
    /// Which life of it was seen last.
    #[serde(default)]
    pub instance: Option<Instance>,
    /// Which life its last restart was to end.
    #[serde(default)]
    pub replaced: Option<Instance>,
    /// It is to be restarted, whatever it says.
    #[serde(default)]
    pub due: Option<Due>,
    /// Its budget was spent, and it has not worked since.
    #[serde(default)]
    pub given_up: bool,
    /// The times of day at which the container was ended on its behalf, within a day.
    #[serde(default)]
    pub exits: Vec<u64>,
}

/// Why a service is to be restarted without proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Due {
    /// What it is restarted with was restarted.
    With,
    /// A person wants it.
    Ordered,
}

/// Where a suspect returns to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Calm {
    /// [`Phase::Healthy`]
    Healthy,
    /// [`Phase::Probation`]
    Probation,
}

impl State {
    /// A service that was never seen.
    pub fn new(now: Now) -> Self {
        Self {
            phase: Phase::Starting,
            in_phase_ms: 0,
            before: Calm::Healthy,
            streaks: [Streak::default(); 3],
            suspected_ms: now.mono_ms,
            cause: None,
            attempts: 0,
            restarts: Vec::new(),
            restarted_ms: None,
            not_before_ms: 0,
            heard_ms: Some(now.mono_ms),
            last: None,
            passed_ms: 0,
            bad_ms: now.mono_ms,
            storm_ms: None,
            instance: None,
            replaced: None,
            due: None,
            given_up: false,
            exits: Vec::new(),
        }
    }

    /// What counts in another life of the container: budgets, by the time of day.
    pub fn in_new_epoch(self, now: Now) -> Self {
        // A container that was ended on its behalf is its recovery.
        let is_new = self.given_up && !self.exits.is_empty();
        Self {
            attempts: if is_new { 0 } else { self.attempts },
            restarts: self.restarts,
            exits: self.exits,
            ..Self::new(now)
        }
    }

    /// Whether what needs it may be restarted.
    pub fn works(&self) -> bool {
        match self.phase {
            Phase::Healthy | Phase::Probation => true,
            Phase::Starting
            | Phase::Suspect
            | Phase::Waiting(_)
            | Phase::Held(_)
            | Phase::Backoff
            | Phase::Restarting
            | Phase::Verifying
            | Phase::Failed
            | Phase::Paused => false,
        }
    }

    /// Whether it works, and said so when it was asked last.
    pub(super) fn is_known_to_work(&self) -> bool {
        self.works() && self.last == Some(Seen::Pass)
    }

    /// The same, and was asked after that time.
    pub(super) fn has_worked_since(&self, ms: u64) -> bool {
        self.is_known_to_work() && self.passed_ms > ms
    }

    /// Takes back a restart that was decided, and not begun: a person was faster.
    pub fn withdraw(&mut self, marker: Marker, now: Now) {
        self.restarts.pop();
        self.restarted_ms = None;
        self.forget();
        let phase = match marker {
            Marker::Present => Phase::Paused,
            Marker::Absent | Marker::Unreadable => Phase::Held(Hold::Marker),
        };
        self.enter(phase, now);
    }

    /// A person wants it to be tried anew: its failures and restarts so far are forgotten.
    pub fn reset(&mut self) {
        self.attempts = 0;
        self.restarts.clear();
        self.not_before_ms = 0;
        self.given_up = false;
    }

    /// A person wants it to be restarted.
    pub fn ask_for_restart(&mut self) {
        self.due = Some(Due::Ordered);
    }

    /// Takes back a restart that was decided, and can't be begun.
    pub fn hold_back(&mut self, hold: Hold, now: Now) {
        self.restarts.pop();
        self.restarted_ms = None;
        self.enter(Phase::Held(hold), now);
    }

    pub(super) fn enter(&mut self, phase: Phase, now: Now) {
        if self.phase != phase {
            self.phase = phase;
            self.in_phase_ms = 0;
            self.heard_ms = Some(now.mono_ms);
        }
    }

    /// It works, whatever was done.
    pub(super) fn passes(&mut self) {
        self.trust();
        self.given_up = false;
        self.storm_ms = None;
    }

    /// Nothing from before counts.
    pub(super) fn forget(&mut self) {
        self.passes();
        self.due = None;
    }

    pub(super) fn trust(&mut self) {
        self.streaks = [Streak::default(); 3];
        self.cause = None;
    }

    /// Lets the clocks run, unless nobody could ask, now or the last time.
    pub(super) fn run_clocks(&mut self, seen: Seen, now: Now) -> u64 {
        self.last = Some(seen);
        if seen == Seen::CouldNotAsk {
            self.heard_ms = None;
            return 0;
        }
        let passed = self
            .heard_ms
            .map_or(0, |heard| now.mono_ms.saturating_sub(heard));
        self.heard_ms = Some(now.mono_ms);
        self.in_phase_ms += passed;
        passed
    }

    pub(super) fn count(&mut self, cause: Cause, passed: u64, now: Now) {
        for (streak, of) in self
            .streaks
            .iter_mut()
            .zip([Cause::Hung, Cause::SaysNo, Cause::Gone])
        {
            match (of, cause) {
                // One that refuses us does not hang, and has not answered either.
                (Cause::Hung, Cause::Gone) => continue,
                // An answer denies that it hangs, and something weaker the stronger.
                (Cause::Hung, Cause::SaysNo)
                | (Cause::SaysNo, Cause::Hung)
                | (Cause::Gone, Cause::Hung | Cause::SaysNo) => {
                    *streak = Streak::default();
                    continue;
                }
                (Cause::Hung, Cause::Hung)
                | (Cause::SaysNo, Cause::SaysNo | Cause::Gone)
                | (Cause::Gone, Cause::Gone) => {}
            }
            // What hangs, hangs in a later pass, too.
            if of != Cause::Hung && passed > PROOF_HOLDS_MS {
                *streak = Streak::default();
            }
            if streak.times > 0 {
                streak.lasted_ms += passed;
            }
            streak.times = streak.times.saturating_add(1);
        }
        self.cause = Some(cause);
        self.bad_ms = now.mono_ms;
    }

    pub(super) fn is_proven(&self, rules: &Rules) -> bool {
        let proofs = [rules.hung, rules.says_no, rules.gone];
        let is_met = |(streak, proof): (&Streak, Proof)| {
            streak.times >= proof.times && streak.lasted_ms >= proof.for_ms
        };
        self.streaks.iter().zip(proofs).any(is_met)
    }

    pub(super) fn is_proof_old(&self, now: Now) -> bool {
        now.mono_ms.saturating_sub(self.bad_ms) > PROOF_HOLDS_MS
    }

    pub(super) fn suspect(&mut self, cause: Cause, before: Calm, now: Now) {
        self.trust();
        self.enter(Phase::Suspect, now);
        self.before = before;
        self.suspected_ms = now.mono_ms;
        self.count(cause, 0, now);
    }

    /// A restart did not help.
    pub(super) fn fail(&mut self, now: Now) {
        self.attempts = self.attempts.saturating_add(1);
        self.suspected_ms = now.mono_ms;
        self.not_before_ms = now.mono_ms + Rules::backoff_ms(self.attempts, now.dice);
    }
}
