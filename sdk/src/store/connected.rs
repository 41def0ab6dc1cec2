//! A connection to whichever store an address names.

#![cfg_attr(
    not(any(feature = "redis", feature = "nats")),
    allow(unused, reason = "then there is nothing to connect to")
)]

use super::{Failure, Published, Record, Seen, Store, Stored};
use crate::connect::store::{Server, StoreAddress};
use crate::signal::Name;

/// A store at the other end of a connection. It never reconnects by itself: after a [`Failure`]
/// that says so, connect anew.
///
/// ```no_run
/// use ready_probe_sdk::connect::store::StoreAddress;
/// use ready_probe_sdk::signal::Name;
/// use ready_probe_sdk::store::{Store, connected::Connected};
///
/// # async fn list() -> Result<(), Box<dyn std::error::Error>> {
/// let address = StoreAddress::parse("redis://redis:6379")?;
/// let mut store = Connected::connect(&address, &Name::new("default")?).await?;
/// for agent in store.agents().await? {
///     println!("{agent}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Connected {
    /// Redis or Valkey.
    #[cfg(feature = "redis")]
    Redis(super::redis::RedisStore<super::redis::client::Client>),
    /// NATS.
    #[cfg(feature = "nats")]
    Nats(super::nats::NatsStore<super::nats::client::Client>),
    /// Nothing: this build has no support for any.
    #[doc(hidden)]
    #[cfg(not(any(feature = "redis", feature = "nats")))]
    Never(std::convert::Infallible),
}

/// The same for every store.
macro_rules! each {
    ($connected:expr, $store:ident => $do:expr) => {
        match $connected {
            #[cfg(feature = "redis")]
            Connected::Redis($store) => $do,
            #[cfg(feature = "nats")]
            Connected::Nats($store) => $do,
            #[cfg(not(any(feature = "redis", feature = "nats")))]
            Connected::Never(never) => match *never {},
        }
    };
}

impl Connected {
    /// Connects, for a namespace's signals. Waits for as long as that takes: the caller has the time
    /// limit. To be called within a tokio runtime.
    ///
    /// # Errors
    /// [`Failure`]: why the server can't be talked to, or that this build has no support for it.
    pub async fn connect(address: &StoreAddress, namespace: &Name) -> Result<Self, Failure> {
        match &address.server {
            #[cfg(feature = "redis")]
            Server::Redis(redis) => {
                use super::redis::{RedisStore, client::Client};
                let client = Client::connect(redis, &address.tls).await?;
                Ok(Self::Redis(RedisStore::new(client, namespace.clone())))
            }
            #[cfg(feature = "nats")]
            Server::Nats(nats, bucket) => {
                use super::nats::{NatsStore, client::Client};
                let client = Client::connect(nats, &address.tls).await?;
                let (namespace, bucket) = (namespace.clone(), bucket.clone());
                Ok(Self::Nats(NatsStore::new(client, namespace, bucket)))
            }
            #[cfg(not(all(feature = "redis", feature = "nats")))]
            _ => Err(Failure::answered(
                "this build of the SDK can't talk to this kind of store: enable its feature, redis \
                 or nats",
            )),
        }
    }
}

impl Store for Connected {
    async fn put(&mut self, records: &[Record]) -> Result<Vec<Stored>, Failure> {
        each!(self, store => store.put(records).await)
    }

    async fn read(&mut self, agents: &[Name]) -> Result<Vec<Seen>, Failure> {
        each!(self, store => store.read(agents).await)
    }

    async fn agents(&mut self) -> Result<Vec<Name>, Failure> {
        each!(self, store => store.agents().await)
    }

    async fn remove(&mut self, published: &[Published]) -> Result<(), Failure> {
        each!(self, store => store.remove(published).await)
    }

    async fn tidy(&mut self, agents: &[Name]) -> Result<(), Failure> {
        each!(self, store => store.tidy(agents).await)
    }
}
