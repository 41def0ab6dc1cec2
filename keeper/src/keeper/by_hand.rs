//! What people want: their orders are done, and what they have stopped is left alone.

use ready_probe_sdk::clock;

use super::Keeper;
use crate::machine::{Act, Hold, Marker, Now};
use crate::markers;
use crate::orders::Order;
use crate::voice::{self, Level};

impl Keeper {
    /// Does what people have ordered. Returns what has been done.
    pub(super) fn obey(&mut self) -> Vec<(String, Order)> {
        // They are left to whoever acts.
        if self.manner.dry_run {
            return Vec::new();
        }
        let mut given = self.orders.given();
        self.obeyed.retain(|obeyed| given.contains(obeyed));
        given.retain(|order| !self.obeyed.contains(order) && !self.unkept_orders.contains(order));
        for (name, order) in &given {
            let number = self
                .services
                .iter()
                .position(|service| service.name == *name);
            let Some(number) = number else {
                let word = order.word();
                let text = format!("{name}: there is no such service here: {word} is not done");
                voice::say(Level::Warning, &text);
                continue;
            };
            let (state, slot) = (self.states.get_mut(number), self.slots.get_mut(number));
            let (Some(state), Some(slot)) = (state, slot) else {
                continue;
            };
            let restarts = self.rules.get(number).is_some_and(|rules| rules.restarts);
            match order {
                Order::Restart if !restarts => {
                    let text = format!(
                        "{name}: a person wants it restarted, and it has no restart command"
                    );
                    voice::say(Level::Warning, &text);
                }
                Order::Restart => {
                    voice::say(Level::Info, &format!("{name}: a person wants it restarted"));
                    state.reset();
                    state.ask_for_restart();
                }
                Order::Reset => {
                    let text = format!("{name}: its restarts and failures so far are forgotten");
                    voice::say(Level::Info, &text);
                    state.reset();
                }
            }
            slot.hurry();
        }
        given
    }

    /// Whether a person has stopped it, by a marker or by a pause.
    pub(super) fn marker(&self, number: usize) -> Marker {
        let Some(service) = self.services.get(number) else {
            return Marker::Unreadable;
        };
        let marker = markers::look(&self.manner.markers, &service.name);
        let pause = self.orders.look(&service.name, clock::wall_ms());
        match (marker, pause) {
            (Marker::Present, _) | (_, Marker::Present) => Marker::Present,
            (Marker::Unreadable, _) | (_, Marker::Unreadable) => Marker::Unreadable,
            (Marker::Absent, Marker::Absent) => Marker::Absent,
        }
    }

    /// Whether somebody has stopped the service since it was looked at, or nothing is to be done at all.
    pub(super) fn is_held_back(&mut self, act: Act, now: Now) -> bool {
        let (Act::Restart(number) | Act::EndCommand(number) | Act::EndContainer(number)) = act;
        let is_restart = matches!(act, Act::Restart(_));
        let ends_container = matches!(act, Act::EndContainer(_));
        let marker = self.marker(number);
        let Some(state) = self.states.get_mut(number) else {
            return true;
        };
        match (self.manner.dry_run, marker) {
            (_, Marker::Present | Marker::Unreadable) if ends_container => {
                state.exits.pop();
                true
            }
            (true, _) if ends_container => {
                state.exits.pop();
                true
            }
            (_, Marker::Present | Marker::Unreadable) if is_restart => {
                state.withdraw(marker, now);
                true
            }
            (true, _) if is_restart => {
                state.hold_back(Hold::DryRun, now);
                true
            }
            (dry_run, Marker::Absent | Marker::Present | Marker::Unreadable) => dry_run,
        }
    }
}
