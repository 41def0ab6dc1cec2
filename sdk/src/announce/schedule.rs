//! Who is to be announced, and when: the announcer's memory between its turns.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::backoff::backoff_ms;
use crate::clock;
use crate::outbox::Outbox;
use crate::signal::{MAX_TTL_MS, Name};
use crate::store::predecessor::looks::Looks;
use crate::store::retelling::Retelling;
use crate::store::{Published, Record};

#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// There is a task, and it has not come to its end.
    pub(super) running: bool,
    pub(super) agents: BTreeMap<Name, Entry>,
    farewells: Vec<Farewell>,
    /// Counts farewells, to tell them apart.
    farewell: u64,
    pub(super) outage: Option<Outage>,
    retelling: Retelling,
    /// How often the task was interrupted, by a panic as a rule, since it last came through.
    pub(super) panics: u32,
    /// After that, it does nothing before this.
    pub(super) resume_ms: u64,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) agent: Arc<Outbox>,
    /// All of it has to be told again, new or not.
    is_lost: bool,
    /// When to renew its record.
    pub(super) renew_ms: u64,
    /// For what its predecessors have left in the store.
    looks: Looks,
    /// The store answers, but does not take it.
    pub(super) is_refused: bool,
}

/// Of an agent that is gone.
#[derive(Debug, Clone)]
pub(super) struct Farewell {
    number: u64,
    pub(super) published: Published,
    /// What has to stay for its TTL: the last record of an agent whose thread panicked. Without
    /// one, its record is removed.
    pub(super) record: Option<Record>,
    /// It is not said after that: a last word has a TTL, and a record that has to be removed ends
    /// by itself, perhaps later than by its own TTL if a bucket has another one.
    until_ms: u64,
    /// It was said, and is kept to be said again: an earlier message that is still under way may
    /// undo it.
    is_said: bool,
}

/// Since when something has not been announced.
#[derive(Debug)]
pub(super) struct Outage {
    pub(super) since_ms: u64,
    /// The store takes nothing at all.
    pub(super) is_away: bool,
}

/// An agent to announce now.
pub(super) struct Due {
    pub(super) agent: Arc<Outbox>,
    pub(super) is_new: bool,
}

impl Entry {
    /// It has something to say that must not wait for its renewal.
    fn has_changed(&self) -> bool {
        self.is_lost || self.agent.has_changed()
    }
}

impl Schedule {
    pub(super) fn add(&mut self, agent: &Arc<Outbox>) {
        let name = &agent.published.agent;
        // Its last word has been overtaken; a record that has to be removed for the first time is
        // removed before the agent is announced.
        self.farewells.retain(|farewell| {
            let is_removal = farewell.record.is_none() && !farewell.is_said;
            farewell.published.agent != *name || is_removal
        });
        let entry = Entry {
            agent: Arc::clone(agent),
            is_lost: true,
            renew_ms: u64::MAX,
            looks: Looks::default(),
            is_refused: false,
        };
        self.agents.insert(name.clone(), entry);
    }

    /// An agent goes, and leaves this record, or nothing.
    pub(super) fn part(&mut self, published: Published, record: Option<Record>) {
        self.agents.remove(&published.agent);
        self.farewells
            .retain(|farewell| !farewell.is_said || farewell.published != published);
        self.farewell += 1;
        let ttl_ms = record.as_ref().map_or(MAX_TTL_MS, |record| record.ttl_ms);
        self.farewells.push(Farewell {
            number: self.farewell,
            published,
            record,
            until_ms: clock::mono_ms().saturating_add(ttl_ms),
            is_said: false,
        });
    }

    /// Whether somebody has gone, and the store does not know it yet.
    pub(super) fn has_farewells(&self) -> bool {
        self.farewells.iter().any(|farewell| !farewell.is_said)
    }

    /// What to say about agents that are gone.
    pub(super) fn farewells(&self, now_ms: u64) -> Vec<Farewell> {
        let retells = self.retelling.is_due(now_ms);
        let due = self.farewells.iter().filter(|f| retells || !f.is_said);
        due.cloned().collect()
    }

    /// A turn that was taken then has come through, and these farewells with it. Later ones stay:
    /// the same agent may have come and gone again.
    pub(super) fn came_through(&mut self, said: &[Farewell], taken_ms: u64, now_ms: u64) {
        self.panics = 0;
        self.retelling.came_through(taken_ms, now_ms);
        for farewell in &mut self.farewells {
            farewell.is_said |= said.iter().any(|said| said.number == farewell.number);
        }
        if !self.retelling.is_going_on() {
            self.farewells.retain(|farewell| !farewell.is_said);
        }
    }

    /// It has not: these agents, and all farewells, wait for the next one.
    pub(super) fn broke<'a>(&mut self, agents: impl Iterator<Item = &'a Name>) {
        self.retelling.broke();
        for farewell in &mut self.farewells {
            farewell.is_said = false;
        }
        for name in agents {
            if let Some(entry) = self.agents.get_mut(name) {
                entry.is_lost = true;
            }
        }
    }

    /// When something is due; `None` if there is nothing left to do.
    pub(super) fn due_ms(&mut self) -> Option<u64> {
        // One whose publisher is gone says nothing any more.
        self.agents
            .retain(|_, entry| Arc::strong_count(&entry.agent) > 1);
        let now_ms = clock::mono_ms();
        self.farewells.retain(|farewell| farewell.until_ms > now_ms);
        if self.is_idle() {
            return None;
        }
        if self.has_farewells() {
            return Some(0);
        }
        let entries = self.agents.values();
        let due_ms = entries.map(|entry| {
            if entry.has_changed() {
                0
            } else {
                entry.renew_ms
            }
        });
        due_ms.chain(self.retelling.due_ms()).min()
    }

    /// What is due. Once something is renewed, so is everything that would be soon: the agents of
    /// one process beat together.
    pub(super) fn due(&mut self, now_ms: u64) -> Vec<Due> {
        let retells = self.retelling.is_due(now_ms);
        let renewing = self.agents.values().any(|entry| entry.renew_ms <= now_ms);
        let mut due = Vec::new();
        for entry in self.agents.values_mut() {
            let soon_ms = now_ms.saturating_add(entry.agent.beat_ms / 2);
            let is_due = entry.has_changed() || retells || (renewing && entry.renew_ms <= soon_ms);
            if !is_due {
                continue;
            }
            entry.is_lost = false;
            due.push(Due {
                agent: Arc::clone(&entry.agent),
                is_new: entry.looks.is_due(now_ms, retells),
            });
        }
        due
    }

    /// The predecessors of these agents have been looked for; some have living siblings.
    pub(super) fn tidied(&mut self, names: &[Name], siblings: &[Name], now_ms: u64) {
        let is_going_on = self.retelling.is_going_on();
        for name in names {
            let Some(entry) = self.agents.get_mut(name) else {
                continue;
            };
            let has_sibling = siblings.contains(name);
            entry.looks = entry.looks.after(has_sibling, is_going_on, now_ms);
        }
    }

    /// The task has gone without coming to its end. Nobody knows what it said to whom: all of it is
    /// due again.
    pub(super) fn interrupted(&mut self) {
        self.running = false;
        self.agents
            .values_mut()
            .for_each(|entry| entry.is_lost = true);
        self.broke([].into_iter());
        self.resume_ms = clock::mono_ms() + backoff_ms(self.panics);
        self.panics = self.panics.saturating_add(1);
    }

    /// An outage, unless there is one; says whether it begins now.
    pub(super) fn begin_outage(&mut self, is_away: bool) -> bool {
        let begins = self.outage.is_none();
        let since_ms = clock::mono_ms();
        let outage = self.outage.get_or_insert(Outage { since_ms, is_away });
        outage.is_away = is_away;
        begins
    }

    pub(super) fn is_away(&self) -> bool {
        self.outage.as_ref().is_some_and(|outage| outage.is_away)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.agents.is_empty() && self.farewells.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::Instance;

    fn published() -> Published {
        Published {
            agent: Name::new("a").unwrap(),
            instance: Instance::new("h-1").unwrap(),
        }
    }

    /// One turn, taken and answered at once: how many farewells it said.
    fn turn(schedule: &mut Schedule, now_ms: u64) -> usize {
        let said = schedule.farewells(now_ms);
        schedule.came_through(&said, now_ms, now_ms);
        said.len()
    }

    #[test]
    fn a_farewell_is_said_once_where_nothing_can_undo_it() {
        let mut schedule = Schedule::default();
        schedule.part(published(), None);
        assert_eq!(schedule.due_ms(), Some(0));
        assert!(schedule.has_farewells());
        assert_eq!(turn(&mut schedule, 0), 1);
        assert!(schedule.is_idle());
        assert_eq!(schedule.due_ms(), None);
    }

    #[test]
    fn after_a_failure_a_farewell_is_said_again_and_again_and_nobody_waits_for_that() {
        let mut schedule = Schedule::default();
        schedule.part(published(), None);
        schedule.broke([].into_iter());
        assert_eq!(turn(&mut schedule, 0), 1);
        for due_ms in [1_000, 5_000, 15_000, 45_000, 120_000] {
            assert!(!schedule.has_farewells());
            assert_eq!(schedule.due_ms(), Some(due_ms));
            assert_eq!(turn(&mut schedule, due_ms - 1), 0);
            assert_eq!(turn(&mut schedule, due_ms), 1);
        }
        assert!(schedule.is_idle());
        assert_eq!(schedule.due_ms(), None);
    }

    #[test]
    fn a_farewell_that_fails_to_be_said_again_is_due_until_it_is() {
        let mut schedule = Schedule::default();
        schedule.broke([].into_iter());
        schedule.part(published(), None);
        assert_eq!(turn(&mut schedule, 0), 1);
        assert_eq!(schedule.farewells(1_000).len(), 1);
        schedule.broke([].into_iter());
        assert_eq!(schedule.due_ms(), Some(0));
        assert_eq!(turn(&mut schedule, 2_000), 1);
        assert_eq!(schedule.due_ms(), Some(3_000));
    }

    #[test]
    fn who_goes_again_says_farewell_once() {
        let mut schedule = Schedule::default();
        schedule.broke([].into_iter());
        schedule.part(published(), None);
        assert_eq!(turn(&mut schedule, 0), 1);
        schedule.part(published(), None);
        assert_eq!(schedule.farewells(1_000).len(), 1);
    }

    #[test]
    fn what_comes_while_a_farewell_is_said_stands_behind_it() {
        let mut schedule = Schedule::default();
        schedule.part(published(), None);
        let said = schedule.farewells(0);
        schedule.part(published(), None);
        schedule.came_through(&said, 0, 0);
        assert_eq!(schedule.farewells(0).len(), 1);
    }
}
