//! What a round has to say: to the log, and to people.

use std::collections::BTreeMap;

use ready_probe::redact::one_line;

use super::Keeper;
use crate::alert::events::Sighting;
use crate::machine::State;
use crate::schedule::Pace;
use crate::seen::Seen;
use crate::shell;
use crate::voice::{self, Ending, Level};

/// How much of a reason people are told.
const MAX_REASON_CHARS: usize = 300;

impl Keeper {
    pub(super) fn tell(
        &self,
        seen: &BTreeMap<usize, Seen>,
        before: &[State],
        ending: Option<Ending>,
    ) {
        let of_each = self.services.iter().zip(&self.slots);
        let states = before.iter().zip(&self.states);
        for (number, ((service, slot), (before, after))) in of_each.zip(states).enumerate() {
            let reason = slot.last().map_or("", |reply| reply.text.as_str());
            let name = &service.name;
            let left = voice::left(&service.rules, ending, self.manner.dry_run);
            let change = voice::change(name, left, (before, after), reason);
            let is_news = slot.is_other() || self.manner.pace == Pace::OnePass;
            if let Some(&seen) = seen.get(&number).filter(|_| is_news) {
                let is_silent = change.is_none() && slot.is_other();
                if let Some((level, text)) = voice::answer(name, seen, after, is_silent, reason) {
                    voice::say(level, &text);
                }
            }
            if let Some((level, text)) = change {
                voice::say(level, &text);
                let log = service.log.as_ref().filter(|_| level == Level::Error);
                if let Some(log) = log {
                    voice::say(level, &format!("View logs: {}", shell::tail(log)));
                }
            }
        }
    }

    /// People are told of what they should know.
    pub(super) fn alert(&self, seen: &BTreeMap<usize, Seen>, before: &[State]) {
        if !self.alerts.is_on() {
            return;
        }
        let of_each = self.services.iter().zip(&self.rules).zip(&self.slots);
        let states = before.iter().zip(&self.states);
        let all = of_each.zip(states).enumerate();
        let sightings = all.map(|(number, (((service, rules), slot), (before, after)))| {
            let reason = slot.last().map_or("", |reply| reply.text.as_str());
            Sighting {
                service: service.name.clone(),
                before: before.clone(),
                after: after.clone(),
                seen: seen.get(&number).copied(),
                reason: one_line(reason, MAX_REASON_CHARS),
                attempts: rules.attempts,
            }
        });
        self.alerts.tell(sightings.collect());
    }
}
