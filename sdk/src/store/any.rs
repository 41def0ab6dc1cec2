//! Whichever store an address names, over whatever connection there is.

use super::nats::{self, NatsStore};
use super::redis::{self, RedisStore};
use super::{Failure, Published, Record, Seen, Store, Stored};
use crate::signal::Name;

/// A store in Redis, over a connection `R`, or in NATS, over a connection `N`.
#[derive(Debug)]
pub enum AnyStore<R, N> {
    /// Redis or Valkey.
    Redis(RedisStore<R>),
    /// NATS.
    Nats(NatsStore<N>),
}

impl<R: redis::CommandLink, N: nats::Link> Store for AnyStore<R, N> {
    async fn put(&mut self, records: &[Record]) -> Result<Vec<Stored>, Failure> {
        match self {
            Self::Redis(store) => store.put(records).await,
            Self::Nats(store) => store.put(records).await,
        }
    }

    async fn read(&mut self, agents: &[Name]) -> Result<Vec<Seen>, Failure> {
        match self {
            Self::Redis(store) => store.read(agents).await,
            Self::Nats(store) => store.read(agents).await,
        }
    }

    async fn find_ready(&mut self, agent: &Name, min: usize) -> Result<Vec<Seen>, Failure> {
        match self {
            Self::Redis(store) => store.find_ready(agent, min).await,
            Self::Nats(store) => store.find_ready(agent, min).await,
        }
    }

    async fn agents(&mut self) -> Result<Vec<Name>, Failure> {
        match self {
            Self::Redis(store) => store.agents().await,
            Self::Nats(store) => store.agents().await,
        }
    }

    async fn remove(&mut self, published: &[Published]) -> Result<(), Failure> {
        match self {
            Self::Redis(store) => store.remove(published).await,
            Self::Nats(store) => store.remove(published).await,
        }
    }

    async fn tidy(&mut self, agents: &[Name]) -> Result<(), Failure> {
        match self {
            Self::Redis(store) => store.tidy(agents).await,
            Self::Nats(store) => store.tidy(agents).await,
        }
    }
}
