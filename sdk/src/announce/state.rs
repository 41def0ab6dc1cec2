//! Who is to be announced, and when: the announcer's memory between its turns.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use crate::agent::{Shared, backoff_ms};
use crate::clock;
use crate::signal::{MAX_TTL_MS, Name};
use crate::store::{Published, Record};

#[derive(Debug, Default)]
pub(super) struct State {
    /// There is a task, and it has not come to its end.
    pub(super) running: bool,
    pub(super) agents: BTreeMap<Name, Entry>,
    farewells: Vec<Farewell>,
    /// Counts farewells, to tell them apart.
    farewell: u64,
    pub(super) outage: Option<Outage>,
    /// How often the task was interrupted, by a panic as a rule, since it last came through.
    pub(super) panics: u32,
    /// It does nothing before, after that.
    pub(super) resume_ms: u64,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) agent: Weak<Shared>,
    pub(super) beat_ms: u64,
    /// It has something new to say.
    pub(super) changed: bool,
    /// When its record is to be renewed.
    pub(super) renew_ms: u64,
    /// What those before it have left has not been looked for.
    pub(super) is_new: bool,
    /// The store answers, and does not take it.
    pub(super) is_refused: bool,
}

/// Of an agent that is gone.
#[derive(Debug, Clone)]
pub(super) struct Farewell {
    number: u64,
    pub(super) published: Published,
    /// What is to stand there for its TTL: the last record of an agent whose thread panicked.
    /// Without one, what stands there is taken back.
    pub(super) record: Option<Record>,
    /// It is not said any more then: a last word has a TTL, and what is to be taken back ends by itself,
    /// if later than by its own TTL where a bucket has another one.
    until_ms: u64,
}

/// Something has not been announced since then.
#[derive(Debug)]
pub(super) struct Outage {
    pub(super) since_ms: u64,
    /// The store takes nothing at all.
    pub(super) is_away: bool,
}

/// An agent that is to be announced now.
pub(super) struct Due {
    pub(super) agent: Arc<Shared>,
    pub(super) is_new: bool,
}

impl State {
    pub(super) fn add(&mut self, agent: &Arc<Shared>, beat_ms: u64) {
        let name = &agent.name;
        // Its last word has been overtaken; that something of it is taken back comes first anyway.
        self.farewells
            .retain(|farewell| farewell.published.agent != *name || farewell.record.is_none());
        let entry = Entry {
            agent: Arc::downgrade(agent),
            beat_ms,
            changed: true,
            renew_ms: u64::MAX,
            is_new: true,
            is_refused: false,
        };
        self.agents.insert(name.clone(), entry);
    }

    /// An agent goes, and leaves this record, or nothing.
    pub(super) fn part(&mut self, published: Published, record: Option<Record>) {
        self.agents.remove(&published.agent);
        self.farewell += 1;
        let ttl_ms = record.as_ref().map_or(MAX_TTL_MS, |record| record.ttl_ms);
        self.farewells.push(Farewell {
            number: self.farewell,
            published,
            record,
            until_ms: clock::mono_ms().saturating_add(ttl_ms),
        });
    }

    pub(super) fn farewells(&self) -> &[Farewell] {
        &self.farewells
    }

    /// These are said. What has come meanwhile stands behind them: the same agent may have come and
    /// gone again.
    pub(super) fn parted(&mut self, said: &[Farewell]) {
        self.farewells
            .retain(|farewell| said.iter().all(|said| said.number != farewell.number));
    }

    /// When something is due; nothing when there is nothing left to do.
    pub(super) fn due_ms(&mut self) -> Option<u64> {
        self.agents
            .retain(|_, entry| entry.agent.strong_count() > 0);
        let now_ms = clock::mono_ms();
        self.farewells.retain(|farewell| farewell.until_ms > now_ms);
        if !self.farewells.is_empty() {
            return Some(0);
        }
        let entries = self.agents.values();
        entries
            .map(|entry| if entry.changed { 0 } else { entry.renew_ms })
            .min()
    }

    /// What is due. Once something is renewed, everything is that soon would be: the agents of one
    /// process beat together.
    pub(super) fn due(&mut self, now_ms: u64) -> Vec<Due> {
        let renewing = self.agents.values().any(|entry| entry.renew_ms <= now_ms);
        let mut due = Vec::new();
        for entry in self.agents.values_mut() {
            let soon_ms = now_ms.saturating_add(entry.beat_ms / 2);
            let is_due = entry.changed || (renewing && entry.renew_ms <= soon_ms);
            if !is_due {
                continue;
            }
            if let Some(agent) = entry.agent.upgrade() {
                entry.changed = false;
                due.push(Due {
                    agent,
                    is_new: entry.is_new,
                });
            }
        }
        due
    }

    /// What was there before these agents has been looked for.
    pub(super) fn tidied(&mut self, names: &[Name]) {
        for name in names {
            if let Some(entry) = self.agents.get_mut(name) {
                entry.is_new = false;
            }
        }
    }

    /// The task is gone without having come to its end. It is not known who was said what: all of it
    /// is due again.
    pub(super) fn interrupted(&mut self) {
        self.running = false;
        self.agents
            .values_mut()
            .for_each(|entry| entry.changed = true);
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
