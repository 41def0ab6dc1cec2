//! What a check has seen of an agent's instances in a store: who is ready, and who else is there.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use ready_probe_sdk::signal::Name;
use serde::{Deserialize, Serialize};

/// The instances of one agent, at one look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fleet {
    /// The agent.
    pub agent: Name,
    /// How many of them must be ready.
    pub min: usize,
    /// Those that are ready, and their TTLs in milliseconds: within that they beat again.
    pub ready: BTreeMap<Id, u64>,
    /// Those that are there and not ready.
    pub others: BTreeSet<Id>,
}

/// An instance in four bytes: a memory holds hundreds of them. Two that look alike count as one;
/// that happens once in a few million pairs, and then one too few is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Id(pub u32);

impl Id {
    /// The instance of this name.
    pub fn of(instance: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        instance.hash(&mut hasher);
        let [a, b, c, d, ..] = hasher.finish().to_be_bytes();
        Self(u32::from_be_bytes([a, b, c, d]))
    }
}

impl Fleet {
    /// Whether an instance is there, whatever it says.
    pub fn has(&self, id: Id) -> bool {
        self.others.contains(&id) || self.ready.contains_key(&id)
    }
}
