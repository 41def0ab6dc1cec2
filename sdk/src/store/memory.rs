//! Signals in this process's memory: what the contract means without a server. For tests.

use std::collections::BTreeMap;

use super::{Expiry, Failure, Published, Record, Seen, Store, Stored};
use crate::clock;
use crate::signal::{Instance, Name};

/// A store in memory.
///
/// ```
/// use ready_probe_sdk::store::{Store, memory::MemoryStore};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let mut store = MemoryStore::default();
/// assert!(store.agents().await?.is_empty());
/// # Ok::<(), ready_probe_sdk::store::Failure>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct MemoryStore {
    records: BTreeMap<(Name, Instance), Remembered>,
}

#[derive(Debug)]
struct Remembered {
    bytes: Vec<u8>,
    /// Never, if nothing is here.
    until_ms: Option<u64>,
}

impl MemoryStore {
    /// Puts anything in an instance's place, as a stranger would.
    pub fn put_raw(&mut self, published: &Published, bytes: &[u8], ttl_ms: Option<u64>) {
        let key = (published.agent.clone(), published.instance.clone());
        let kept = Remembered {
            bytes: bytes.to_vec(),
            until_ms: ttl_ms.map(|ttl_ms| clock::mono_ms() + ttl_ms),
        };
        self.records.insert(key, kept);
    }

    /// Forgets everything.
    pub fn wipe(&mut self) {
        self.records.clear();
    }

    fn expire(&mut self) {
        let now_ms = clock::mono_ms();
        self.records
            .retain(|_, kept| kept.until_ms.is_none_or(|until_ms| until_ms > now_ms));
    }
}

impl Store for MemoryStore {
    async fn put(&mut self, records: &[Record]) -> Result<Vec<Stored>, Failure> {
        for record in records {
            self.put_raw(&record.published, &record.bytes, Some(record.ttl_ms));
        }
        Ok(records.iter().map(|_| Ok(None)).collect())
    }

    async fn read(&mut self, agents: &[Name]) -> Result<Vec<Seen>, Failure> {
        self.expire();
        let wanted = |(agent, _): &&(Name, Instance)| agents.contains(agent);
        let keys = self.records.keys().filter(wanted);
        let seen = keys.filter_map(|key| {
            let kept = self.records.get(key)?;
            let now_ms = clock::mono_ms();
            let expiry = |ttl_ms| match kept.until_ms {
                Some(until_ms) => Expiry::within(until_ms.saturating_sub(now_ms), ttl_ms),
                None => Expiry::Never,
            };
            let seen = Seen::at(&key.0, key.1.as_str(), &kept.bytes, expiry);
            Some(match kept.until_ms {
                Some(until_ms) => seen.left(until_ms.saturating_sub(now_ms)),
                None => seen,
            })
        });
        Ok(seen.collect())
    }

    async fn agents(&mut self) -> Result<Vec<Name>, Failure> {
        self.expire();
        let mut names: Vec<Name> = self
            .records
            .keys()
            .map(|(agent, _)| agent.clone())
            .collect();
        names.dedup();
        Ok(names)
    }

    async fn remove(&mut self, published: &[Published]) -> Result<(), Failure> {
        for one in published {
            self.records
                .remove(&(one.agent.clone(), one.instance.clone()));
        }
        Ok(())
    }

    async fn tidy(&mut self, _: &[Name]) -> Result<(), Failure> {
        Ok(())
    }
}
