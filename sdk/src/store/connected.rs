//! The SDK's connections to stores.

use std::time::Duration;

use super::Failure;
use super::any::AnyStore;
use super::nats::NatsStore;
use super::redis::RedisStore;
use crate::clock;
use crate::connect::store::{Server, StoreAddress};
use crate::connect::{Endpoint, failover, stage};
use crate::signal::Name;

#[cfg(feature = "nats")]
use super::nats::client::NatsClient;
#[cfg(feature = "redis")]
use super::redis::client::RedisClient;

/// A silent server keeps the next one of a list waiting no longer than this.
const NEXT_SERVER_AFTER: Duration = Duration::from_secs(1);

/// A store at the other end of a connection. It never reconnects by itself: after a [`Failure`]
/// that says so, connect anew.
pub type Connected = AnyStore<RedisClient, NatsClient>;

/// Connects to the first of a store's servers that accepts, for the signals of a namespace. Waits
/// for as long as that takes: the time limit is the caller's. To be called within a tokio runtime.
///
/// ```no_run
/// use ready_probe_sdk::connect::store::StoreAddress;
/// use ready_probe_sdk::signal::Name;
/// use ready_probe_sdk::store::{Store, connected};
///
/// # async fn list() -> Result<(), Box<dyn std::error::Error>> {
/// let address = StoreAddress::parse("redis://redis:6379")?;
/// let mut store = connected::connect(&address, &Name::new("default")?).await?;
/// for agent in store.agents().await? {
///     println!("{agent}");
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Failure`]: why none of its servers can be talked to, or that this build has no support for it.
pub async fn connect(address: &StoreAddress, namespace: &Name) -> Result<Connected, Failure> {
    let endpoints = address.endpoints();
    let asked = failover::in_turn(endpoints, 0, 1, async |next| {
        let connecting = connect_to(next.endpoint, address, namespace);
        if next.left == 1 {
            return connecting.await.map_err(|e| e.cause);
        }
        let by = clock::instant() + NEXT_SERVER_AFTER;
        let connected = stage::until(by, NEXT_SERVER_AFTER, connecting).await?;
        connected.map_err(|e| e.cause)
    });
    let asked = asked.await;
    let connected = asked.answers.into_iter().next();
    connected.ok_or_else(|| Failure::lost(failover::why_none(endpoints, &asked.failures)))
}

/// The same with one of the store's servers.
pub(crate) async fn connect_to(
    endpoint: &Endpoint,
    address: &StoreAddress,
    namespace: &Name,
) -> Result<Connected, Failure> {
    let (tls, namespace) = (&address.tls, namespace.clone());
    Ok(match &address.server {
        Server::Redis(redis) => {
            let client = RedisClient::connect(endpoint, redis, tls).await?;
            AnyStore::Redis(RedisStore::new(client, namespace))
        }
        Server::Nats(nats, bucket) => {
            let client = NatsClient::connect(endpoint, nats, tls).await?;
            AnyStore::Nats(NatsStore::new(client, namespace, bucket.clone()))
        }
    })
}

#[cfg(not(feature = "nats"))]
use absent::NatsClient;
#[cfg(not(feature = "redis"))]
use absent::RedisClient;

/// Replaces the client of a server that this build does not support: it never connects.
#[cfg(not(all(feature = "redis", feature = "nats")))]
mod absent {
    use std::convert::Infallible;

    use crate::connect::tls::TlsOptions;
    use crate::store::Failure;

    #[cfg(not(feature = "redis"))]
    #[derive(Debug)]
    pub struct RedisClient(Infallible);

    #[cfg(not(feature = "redis"))]
    impl RedisClient {
        pub(super) async fn connect(
            _: &crate::connect::Endpoint,
            _: &crate::connect::redis::RedisAddress,
            _: &TlsOptions,
        ) -> Result<Self, Failure> {
            Err(no_support("redis"))
        }
    }

    #[cfg(not(feature = "redis"))]
    impl crate::store::redis::CommandLink for RedisClient {
        async fn exchange(
            &mut self,
            _: &[::redis::Cmd],
            _: usize,
        ) -> Result<Vec<::redis::Value>, Failure> {
            match self.0 {}
        }
    }

    #[cfg(not(feature = "nats"))]
    #[derive(Debug)]
    pub struct NatsClient(Infallible);

    #[cfg(not(feature = "nats"))]
    impl NatsClient {
        pub(super) async fn connect(
            _: &crate::connect::Endpoint,
            _: &crate::connect::nats::NatsAddress,
            _: &TlsOptions,
        ) -> Result<Self, Failure> {
            Err(no_support("nats"))
        }
    }

    #[cfg(not(feature = "nats"))]
    impl crate::store::nats::Link for NatsClient {
        async fn ask(
            &mut self,
            _: Vec<crate::store::nats::Request>,
        ) -> Result<Vec<Vec<crate::store::nats::Reply>>, Failure> {
            match self.0 {}
        }

        fn server_version(&self) -> (u64, u64) {
            match self.0 {}
        }
    }

    fn no_support(feature: &str) -> Failure {
        Failure::answered(format!(
            "this build of the SDK can't talk to this kind of store: enable its feature {feature}"
        ))
    }
}
