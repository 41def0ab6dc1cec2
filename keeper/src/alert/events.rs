//! Which changes of a service are worth an alert. Pure: it does no I/O and reads no clock.
//!
//! An event is told once, until the service works again. What still is so and could not be told, since something covered it or
//! its time had not come, is found again in the next pass: nothing that lasts is lost.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::machine::{Hold, Phase, State};
use crate::seen::Seen;

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
/// Nobody could ask for so long.
const UNASKED: u64 = 15 * MINUTE;
/// So many restarts that worked
const FLAPS: usize = 3;
/// within so long.
const FLAPS_WITHIN: u64 = 24 * HOUR;
/// From this attempt on somebody is told: one restart that does not help may be bad luck.
const ATTEMPTS: u32 = 2;

/// What has come to pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// It is given up.
    Failed,
    /// A restart did not help, and it was not the first.
    RecoveryFailed,
    /// It fails again and again.
    Flapping,
    /// Nobody could ask it for a long time.
    CannotTell,
    /// It does not work, and a restart would be wrong.
    Held,
    /// It works again, and somebody was told that it did not.
    Recovered,
}

impl Event {
    /// ntfy's, from 1 to 5: 5 wakes people up.
    pub fn priority(self) -> u8 {
        match self {
            Self::Failed => 5,
            Self::RecoveryFailed | Self::Flapping | Self::CannotTell | Self::Held => 4,
            Self::Recovered => 3,
        }
    }

    /// Whether the service does not work, or nobody knows, as long as nothing else is said.
    pub fn is_open(self) -> bool {
        match self {
            Self::Failed | Self::RecoveryFailed | Self::CannotTell | Self::Held => true,
            Self::Flapping | Self::Recovered => false,
        }
    }
}

/// A service in one pass.
#[derive(Debug, Clone)]
pub struct Sighting {
    /// Which.
    pub service: String,
    /// What was known before.
    pub before: State,
    /// What is known now.
    pub after: State,
    /// Its answer, if it was asked.
    pub seen: Option<Seen>,
    /// The answer in words, without secrets.
    pub reason: String,
    /// After so many restarts in a row that did not help it is given up.
    pub attempts: u32,
}

/// What is remembered of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Episode {
    /// What was told since it worked last.
    pub open: BTreeSet<Event>,
    /// When each was told last, by the time of day.
    pub told_ms: BTreeMap<Event, u64>,
    /// When restarts worked.
    restarts_ms: Vec<u64>,
    /// Since when nobody could ask.
    unasked_ms: Option<u64>,
}

impl Episode {
    /// Takes in what was seen. Returns what may be worth an alert, the gravest first.
    pub fn hear(&mut self, sighting: &Sighting, wall_ms: u64) -> Vec<Event> {
        let Sighting {
            before,
            after,
            seen,
            ..
        } = sighting;
        match seen {
            None => {}
            Some(Seen::CouldNotAsk) => {
                self.unasked_ms.get_or_insert(wall_ms);
            }
            Some(Seen::Pass | Seen::NotNow | Seen::Bad(_)) => self.unasked_ms = None,
        }
        let flaps = self.flaps(before, after, wall_ms);
        let mut events = Vec::new();
        let is_new = |event: Event| !self.open.contains(&event);
        let fell = before.phase != Phase::Failed;
        // By its window, then, which the restarts that worked have spent.
        let is_spent = after.phase == Phase::Failed && fell && after.attempts < sighting.attempts;
        if after.phase == Phase::Failed && (fell || is_new(Event::Failed)) {
            events.push(Event::Failed);
        }
        let missed = after.attempts > before.attempts && after.attempts >= ATTEMPTS;
        if missed && after.phase != Phase::Failed {
            events.push(Event::RecoveryFailed);
        }
        if flaps || is_spent {
            events.push(Event::Flapping);
        }
        let is_unasked = |since: u64| since.abs_diff(wall_ms) >= UNASKED;
        if self.unasked_ms.is_some_and(is_unasked) && is_new(Event::CannotTell) {
            events.push(Event::CannotTell);
        }
        if is_held(after) && (before.phase != after.phase || is_new(Event::Held)) {
            events.push(Event::Held);
        }
        if *seen == Some(Seen::Pass) && after.works() && !self.open.is_empty() {
            events.push(Event::Recovered);
        }
        events
    }

    /// It was told.
    pub fn note(&mut self, event: Event, wall_ms: u64) {
        self.told_ms.insert(event, wall_ms);
        if event.is_open() {
            self.open.insert(event);
        }
        if event == Event::Recovered {
            self.open.clear();
        }
    }

    /// It was not told after all.
    pub fn forget(&mut self, event: Event) {
        self.told_ms.remove(&event);
        self.open.remove(&event);
    }

    /// Whether that was told not long ago. A clock that is set back by more ends it, too.
    pub fn is_cooling(&self, event: Event, cooldown_ms: u64, wall_ms: u64) -> bool {
        let told = self.told_ms.get(&event);
        told.is_some_and(|told| told.abs_diff(wall_ms) < cooldown_ms)
    }

    /// Whether so many restarts have worked, each for a while only.
    fn flaps(&mut self, before: &State, after: &State, wall_ms: u64) -> bool {
        let worked = before.phase.is_restart() && after.works();
        if worked {
            self.restarts_ms
                .retain(|at| at.abs_diff(wall_ms) < FLAPS_WITHIN);
            self.restarts_ms.push(wall_ms);
        }
        worked && self.restarts_ms.len() >= FLAPS
    }
}

/// Whether a restart would be wrong, for a reason of its own. A storm is one for all.
fn is_held(state: &State) -> bool {
    matches!(state.phase, Phase::Held(_)) && !is_in_storm(state)
}

/// Whether it fails together with others.
pub fn is_in_storm(state: &State) -> bool {
    state.phase == Phase::Held(Hold::Storm)
}

#[cfg(test)]
pub mod tests;
