//! Who was ready when a `peer:` check last passed, and since when they are missing.
//!
//! A store that was wiped, or restarted empty, has lost agents that are well: their beats bring
//! them back within their TTL. Until then, the first to come back do not speak for the others.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Answered, Memory};
use crate::fleet::{Fleet, Id};
use crate::grace::Grace;

/// So many instances of an agent are remembered beyond those that are needed. If as many have come
/// back and are not ready, the answer is no.
const SPARE: usize = 16;
/// So many instances of all agents together are remembered: some 64 KiB.
const MAX_MEMBERS: usize = 8_192;

/// Checks by their identity, and what they have seen of agents; `None` if they have not asked a
/// store, or had no answer.
type Fleets<'a> = [(&'a str, &'a [Fleet])];

/// Instances that were ready at a check's last `Pass`, and have not said otherwise since; by their agents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Groups", into = "Groups")]
pub struct Roster {
    agents: BTreeMap<String, BTreeMap<Id, Known>>,
}

/// What is remembered of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Known {
    ttl_ms: u64,
    /// The first probe that missed it: `CLOCK_MONOTONIC` in milliseconds.
    missing_ms: Option<u64>,
}

impl Known {
    /// Until when it is waited for, if it is not there now.
    fn until_ms(self, now_ms: u64) -> u64 {
        // A clock that went back belongs to another boot: count from now.
        let since_ms = self.missing_ms.filter(|ms| *ms <= now_ms).unwrap_or(now_ms);
        since_ms.saturating_add(self.ttl_ms)
    }
}

impl Roster {
    /// Who is ready now.
    fn of(fleets: &[Fleet]) -> Self {
        let mut roster = Self::default();
        for fleet in fleets {
            let known = |ttl_ms: u64| Known {
                ttl_ms,
                missing_ms: None,
            };
            let ready = fleet.ready.iter().map(|(id, ttl_ms)| (*id, known(*ttl_ms)));
            let remembered = ready.take(fleet.min + SPARE);
            let agent = roster.agents.entry(fleet.agent.to_string()).or_default();
            agent.extend(remembered);
        }
        roster.agents.retain(|_, members| !members.is_empty());
        roster
    }

    /// Those still waited for, after another look that was not enough. An instance that is there
    /// and not ready has had its say.
    fn after(&self, fleets: &[Fleet], now_ms: u64) -> Self {
        let mut after = self.clone();
        for fleet in fleets {
            let Some(members) = after.agents.get_mut(fleet.agent.as_str()) else {
                continue;
            };
            members
                .retain(|id, known| !fleet.others.contains(id) && known.until_ms(now_ms) > now_ms);
            for (id, known) in members {
                known.missing_ms = match fleet.has(*id) {
                    true => None,
                    false => known.missing_ms.filter(|ms| *ms <= now_ms).or(Some(now_ms)),
                };
            }
        }
        after
    }

    /// Until when each missing member of a fleet may still come back.
    fn missing<'a>(&'a self, fleet: &'a Fleet, now_ms: u64) -> impl Iterator<Item = u64> + 'a {
        let members = self.agents.get(fleet.agent.as_str()).into_iter().flatten();
        members
            .filter(move |(id, _)| !fleet.has(**id))
            .map(move |(_, known)| known.until_ms(now_ms))
            .filter(move |until_ms| *until_ms > now_ms)
    }

    /// Whether some agent has enough instances, together with those that may still come back.
    pub fn may_be_enough(&self, fleets: &[Fleet], now_ms: u64) -> bool {
        fleets.iter().any(|fleet| {
            let missing = self.missing(fleet, now_ms).count();
            missing > 0 && fleet.ready.len() + missing >= fleet.min
        })
    }

    fn len(&self) -> usize {
        self.agents.values().map(BTreeMap::len).sum()
    }
}

impl Memory {
    /// Who was ready when a check last passed; `None` if it has not passed, or if they were too
    /// many.
    pub fn roster(&self, key: &str) -> Option<&Roster> {
        self.peers.get(key)
    }

    /// Adds who was seen, after the answer itself was [added](Memory::add); says whether that is
    /// worth writing.
    pub(super) fn add_fleets(&mut self, fleets: &Fleets<'_>, now_ms: u64) -> bool {
        let before = self.peers.clone();
        for (key, fleets) in fleets {
            let next = match (self.past(key).map(|past| past.last), self.peers.get(*key)) {
                (Some(Answered::Pass), _) => Roster::of(fleets),
                (Some(Answered::Unknown), Some(roster)) => roster.after(fleets, now_ms),
                (Some(Answered::Fail | Answered::Unknown) | None, _) => Roster::default(),
            };
            if next.len() > 0 {
                self.peers.insert((*key).to_owned(), next);
            } else {
                self.peers.remove(*key);
            }
        }
        self.peers.retain(|key, _| self.checks.contains_key(key));
        self.forget_largest(&fleets.iter().map(|(key, _)| *key).collect());
        self.peers != before
    }

    /// How long an `Unknown` is tolerated that is due to missing instances: no longer than one of
    /// them may take to come back.
    pub fn grace(&self, key: &str, fleets: &[Fleet], grace: Grace, now_ms: u64) -> Grace {
        let (Some(past), Some(roster)) = (self.past(key), self.roster(key)) else {
            return grace;
        };
        let missing = fleets
            .iter()
            .flat_map(|fleet| roster.missing(fleet, now_ms));
        match (past.last, missing.max()) {
            (Answered::Unknown, Some(until_ms)) => {
                grace.at_most_ms(until_ms.saturating_sub(past.since_ms))
            }
            (Answered::Unknown | Answered::Pass | Answered::Fail, _) => grace,
        }
    }

    /// Forgets members beyond [`MAX_MEMBERS`], first those of checks that were not asked now.
    fn forget_largest(&mut self, asked: &BTreeSet<&str>) {
        let count =
            |peers: &BTreeMap<String, Roster>| peers.values().map(Roster::len).sum::<usize>();
        while count(&self.peers) > MAX_MEMBERS {
            let largest = self
                .peers
                .iter()
                .max_by_key(|(key, roster)| (!asked.contains(key.as_str()), roster.len()));
            let Some(largest) = largest.map(|(key, _)| key.clone()) else {
                return;
            };
            self.peers.remove(&largest);
        }
    }
}

/// A roster in the file: the instances of an agent that share everything else.
type Groups = BTreeMap<String, Vec<Group>>;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Group {
    ttl_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    missing_ms: Option<u64>,
    ids: Ids,
}

/// Eight hexadecimal digits each, without anything in between.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Ids(Vec<Id>);

impl From<Roster> for Groups {
    fn from(roster: Roster) -> Self {
        let groups = |members: BTreeMap<Id, Known>| {
            let mut groups: BTreeMap<Known, Vec<Id>> = BTreeMap::new();
            for (id, known) in members {
                groups.entry(known).or_default().push(id);
            }
            let groups = groups.into_iter().map(|(known, ids)| Group {
                ttl_ms: known.ttl_ms,
                missing_ms: known.missing_ms,
                ids: Ids(ids),
            });
            groups.collect()
        };
        let agents = roster.agents.into_iter();
        agents
            .map(|(agent, members)| (agent, groups(members)))
            .collect()
    }
}

impl From<Groups> for Roster {
    fn from(groups: Groups) -> Self {
        let members = |groups: Vec<Group>| {
            let members = groups.into_iter().flat_map(|group| {
                let known = Known {
                    ttl_ms: group.ttl_ms,
                    missing_ms: group.missing_ms,
                };
                group.ids.0.into_iter().map(move |id| (id, known))
            });
            members.collect()
        };
        let agents = groups.into_iter();
        Self {
            agents: agents
                .map(|(agent, groups)| (agent, members(groups)))
                .collect(),
        }
    }
}

impl From<Ids> for String {
    fn from(ids: Ids) -> Self {
        ids.0.iter().map(|id| format!("{:08x}", id.0)).collect()
    }
}

impl TryFrom<String> for Ids {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let digits = text.as_bytes().chunks(8);
        let ids = digits.map(|digits| {
            let digits = std::str::from_utf8(digits).ok().filter(|d| d.len() == 8)?;
            u32::from_str_radix(digits, 16).ok().map(Id)
        });
        let ids: Option<Vec<Id>> = ids.collect();
        ids.map(Self).ok_or("no instances")
    }
}

#[cfg(test)]
#[path = "missing_peers_tests.rs"]
mod tests;
