//! What people are told, and by whom it is covered. Pure: it does no I/O and reads no clock.
//!
//! Everything is keyed by service and event, never by a text.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::events::{Episode, Event, Sighting, is_in_storm};
use super::fate::Fate;
use super::message::{Item, Letter, Subjects};
use super::tray::Tray;
use crate::machine::Phase;
use crate::voice::{self, Level};

/// What was told is not told again before.
const COOLDOWN: u64 = 3_600_000;

/// What was told, what is to be told, and to whom. All of it outlives the keeper.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Desk {
    episodes: BTreeMap<String, Episode>,
    storm: Storm,
    trays: BTreeMap<String, Tray>,
}

/// Services that fail at once, for all of which one is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Storm {
    told_ms: Option<u64>,
    is_open: bool,
    failing: BTreeSet<String>,
    back: BTreeSet<String>,
}

/// A message, and where it is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The channel.
    pub channel: String,
    /// Which of its messages.
    pub number: u64,
    /// The message.
    pub letter: Letter,
}

/// One pass: what there is to know about all services, and when. `time` is for people.
#[derive(Debug, Clone, Copy)]
pub struct Round<'a> {
    /// All services.
    pub subjects: &'a Subjects,
    /// What was seen.
    pub sightings: &'a [Sighting],
    /// The time of day.
    pub wall_ms: u64,
    /// The same for people.
    pub time: &'a str,
}

impl Desk {
    /// Takes in a pass.
    pub fn hear(&mut self, round: Round<'_>) {
        let Round {
            subjects, wall_ms, ..
        } = round;
        self.episodes.retain(|name, _| subjects.contains_key(name));
        let mut news: Vec<(&Sighting, Vec<Event>)> = Vec::new();
        for sighting in round.told() {
            let episode = self.episodes.entry(sighting.service.clone()).or_default();
            let mut events = episode.hear(sighting, wall_ms);
            // Each alert has one end: that is bounded already.
            events.retain(|&event| {
                event == Event::Recovered || !episode.is_cooling(event, COOLDOWN, wall_ms)
            });
            news.push((sighting, events));
        }
        let alarming = self.alarming(&news);
        for (sighting, events) in news {
            let is_covered = is_covered(subjects, &sighting.service, &alarming);
            let told = events
                .into_iter()
                .filter(|event| !(event.is_open() && is_covered));
            for event in told {
                if let Some(episode) = self.episodes.get_mut(&sighting.service) {
                    episode.note(event, wall_ms);
                }
                if event.is_open() {
                    self.take_back(subjects, &sighting.service);
                }
                self.put(round, &item(event, sighting, round));
            }
        }
        self.hear_storm(round);
    }

    /// The services of which people know, or hear now, that they do not work.
    fn alarming(&self, news: &[(&Sighting, Vec<Event>)]) -> BTreeSet<String> {
        let is_alarming = |(sighting, events): &&(&Sighting, Vec<Event>)| {
            let episode = self.episodes.get(&sighting.service);
            let is_known = episode.is_some_and(|episode| !episode.open.is_empty());
            let recovers = events.contains(&Event::Recovered);
            is_known && !recovers || events.iter().any(|event| event.is_open())
        };
        let names = news.iter().filter(is_alarming);
        names
            .map(|(sighting, _)| sighting.service.clone())
            .collect()
    }

    /// One alert for all that fail at once, and one when they are back.
    fn hear_storm(&mut self, round: Round<'_>) {
        let storm = &mut self.storm;
        storm
            .failing
            .retain(|name| round.subjects.contains_key(name));
        for sighting in round.told() {
            let name = &sighting.service;
            if is_in_storm(&sighting.after) {
                storm.back.remove(name);
                storm.failing.insert(name.clone());
            } else if sighting.after.phase != Phase::Starting && storm.failing.remove(name) {
                // One that fails in another way now has alerts of its own.
                if sighting.after.works() {
                    storm.back.insert(name.clone());
                }
            }
        }
        let is_cooling = |told: u64| told.abs_diff(round.wall_ms) < COOLDOWN;
        let mut told = None;
        if storm.failing.is_empty() {
            let services = std::mem::take(&mut storm.back);
            if std::mem::take(&mut storm.is_open) {
                told = Some((Event::Recovered, services));
            }
        } else if !storm.is_open && !storm.told_ms.is_some_and(is_cooling) {
            storm.told_ms = Some(round.wall_ms);
            storm.is_open = true;
            told = Some((Event::Held, storm.failing.clone()));
        }
        let Some((event, services)) = told else {
            return;
        };
        let one = round.told().find(|one| services.contains(&one.service));
        if let Some(one) = one {
            let item = Item {
                services: services.into_iter().collect(),
                covers: Vec::new(),
                ..item(event, one, round)
            };
            self.put(round, &item);
        }
    }

    /// Puts it into the trays of all who are told of one of its services.
    fn put(&mut self, round: Round<'_>, item: &Item) {
        let services = item.services.iter();
        let channels: BTreeSet<&String> = services
            .flat_map(|service| channels(round.subjects, service))
            .collect();
        for channel in channels {
            let tray = self.trays.entry(channel.clone()).or_default();
            tray.put(item.clone(), round.wall_ms);
        }
    }

    /// Takes back what was about to be told of those who need this service.
    fn take_back(&mut self, subjects: &Subjects, service: &str) {
        let alarming = BTreeSet::from([service.to_owned()]);
        let is_meant = |item: &Item| match &item.services[..] {
            [one] => item.event.is_open() && is_covered(subjects, one, &alarming),
            _ => false,
        };
        for item in self
            .trays
            .values_mut()
            .flat_map(|tray| tray.take_back(is_meant))
        {
            for one in &item.services {
                if let Some(episode) = self.episodes.get_mut(one) {
                    episode.forget(item.event);
                }
            }
        }
    }

    /// Makes messages of what has waited long enough; of everything, if nothing more will come.
    pub fn compose(&mut self, subjects: &Subjects, host: &str, wall_ms: u64, is_last: bool) {
        for tray in self.trays.values_mut() {
            tray.compose(subjects, host, wall_ms, is_last);
        }
    }

    /// What is to be sent now.
    pub fn due(&self, wall_ms: u64) -> Vec<Delivery> {
        let of = |(channel, tray): (&String, &Tray)| {
            let due = tray.due(wall_ms).map(|(number, letter)| Delivery {
                channel: channel.clone(),
                number,
                letter: letter.clone(),
            });
            due.collect::<Vec<Delivery>>()
        };
        self.trays.iter().flat_map(of).collect()
    }

    /// In how long there is something to do.
    pub fn next_ms(&self, wall_ms: u64, is_last: bool) -> Option<u64> {
        let nexts = self
            .trays
            .values()
            .filter_map(|tray| tray.next_ms(wall_ms, is_last));
        nexts.min()
    }

    /// Takes in what became of a message. Returns what is to be said; `shown` is what people call the channel.
    pub fn settle(
        &mut self,
        delivery: &Delivery,
        fate: Fate,
        shown: &str,
        wall_ms: u64,
    ) -> Option<(Level, String)> {
        let tray = self.trays.get_mut(&delivery.channel)?;
        tray.settle(delivery.number, fate, shown, wall_ms)
    }

    /// How much was given up since this was asked last.
    pub fn take_dropped(&mut self) -> u64 {
        self.trays.values_mut().map(Tray::take_dropped).sum()
    }

    /// Forgets what is for channels that are no more.
    pub fn keep_channels(&mut self, is_known: impl Fn(&str) -> bool) {
        self.trays.retain(|channel, _| is_known(channel));
    }
}

impl<'a> Round<'a> {
    /// Those of which somebody is told.
    fn told(self) -> impl Iterator<Item = &'a Sighting> {
        let is_told = move |one: &&Sighting| !channels(self.subjects, &one.service).is_empty();
        self.sightings.iter().filter(is_told)
    }
}

fn channels<'a>(subjects: &'a Subjects, service: &str) -> &'a [String] {
    subjects
        .get(service)
        .map_or(&[], |subject| subject.channels.as_slice())
}

/// All that a service needs, and what that needs.
fn needed<'a>(subjects: &'a Subjects, service: &'a str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut open = vec![service];
    while let Some(name) = open.pop() {
        let needs = subjects
            .get(name)
            .into_iter()
            .flat_map(|subject| &subject.needs);
        for need in needs {
            if found.insert(need.as_str()) {
                open.push(need);
            }
        }
    }
    found
}

/// Whether all who are told of it are told of something that it needs.
fn is_covered(subjects: &Subjects, service: &str, alarming: &BTreeSet<String>) -> bool {
    let own = channels(subjects, service);
    needed(subjects, service).into_iter().any(|need| {
        let theirs = channels(subjects, need);
        alarming.contains(need) && own.iter().all(|channel| theirs.contains(channel))
    })
}

fn item(event: Event, sighting: &Sighting, round: Round<'_>) -> Item {
    let service = sighting.service.as_str();
    let waits = |other: &&Sighting| {
        event.is_open()
            && !other.after.works()
            && needed(round.subjects, &other.service).contains(service)
    };
    let covers = round.sightings.iter().filter(waits);
    Item {
        event,
        services: vec![service.to_owned()],
        reason: sighting.reason.clone(),
        hold: voice::why_held(&sighting.after).unwrap_or_default(),
        attempts: sighting.after.attempts,
        covers: covers.map(|other| other.service.clone()).collect(),
        time: round.time.to_owned(),
    }
}

#[cfg(test)]
pub mod tests;
