//! The store that `READY_STORE` names: what the SDK's stores ask, over our own bounded connections.

use ready_probe_sdk::connect::Endpoint;
use ready_probe_sdk::connect::store::{Server, StoreAddress};
use ready_probe_sdk::signal::Name;
use ready_probe_sdk::store::Store;
use ready_probe_sdk::store::any::AnyStore;
use ready_probe_sdk::store::nats::NatsStore;
use ready_probe_sdk::store::predecessor::Successor;
use ready_probe_sdk::store::redis::RedisStore;

use super::nats::NatsLink;
use super::redis::RedisLink;
use crate::redact::Secrets;
use crate::time_limit::TimeLimit;

/// The store, through one of our connections.
pub type Connected = AnyStore<RedisLink, NatsLink>;

/// How much is quoted of what a server says against being tidied.
const MAX_QUOTE_CHARS: usize = 300;

/// Where signals are announced, for everybody.
#[derive(Debug, Clone)]
pub struct Remote {
    /// The store.
    pub address: StoreAddress,
    /// The namespace in it.
    pub namespace: Name,
}

impl Remote {
    /// What a server says, without our secrets, those in files included.
    pub fn quote(&self, said: &str, secrets: &Secrets, max: usize) -> String {
        let mut secrets = secrets.clone();
        self.address.add_secrets(&mut secrets);
        secrets.quote(said, max)
    }

    /// Removes what the dead have left of these agents, if there is time. Somebody who may only read
    /// leaves it to others.
    pub async fn tidy(
        &self,
        store: &mut Connected,
        agents: &[Name],
        limit: TimeLimit,
        secrets: &Secrets,
    ) {
        let tidied = limit.hold(async { store.tidy(agents).await.map_err(|e| e.cause) });
        self.note(tidied.await, secrets);
    }

    /// The same, and removes what dead processes of this container have published of these agents.
    pub async fn succeed(
        &self,
        store: &mut Connected,
        agents: &[Name],
        limit: TimeLimit,
        secrets: &Secrets,
    ) {
        let successor = Successor::current();
        let succeeded = limit.hold(async {
            let succeeded = successor.succeed(store, agents).await;
            succeeded.map(drop).map_err(|e| e.cause)
        });
        self.note(succeeded.await, secrets);
    }

    fn note(&self, tidied: Result<(), String>, secrets: &Secrets) {
        if let Err(why) = tidied {
            let why = self.quote(&why, secrets, MAX_QUOTE_CHARS);
            tracing::debug!("not tidied: {why}");
        }
    }

    /// Asks the first of the store's servers that answers within the limit. The error is the last
    /// one's, for people.
    pub async fn first<T>(
        &self,
        limit: TimeLimit,
        ask: impl AsyncFn(&Endpoint) -> Result<T, String>,
    ) -> Result<T, String> {
        let (answers, failure) = self.ask_in_turn(limit, ask, 1).await;
        answers.into_iter().next().ok_or(failure)
    }

    /// Asks each of them, and returns what those say that answer within the limit. The error is as
    /// above, if none does.
    pub async fn each<T>(
        &self,
        limit: TimeLimit,
        ask: impl AsyncFn(&Endpoint) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        let (answers, failure) = self.ask_in_turn(limit, ask, usize::MAX).await;
        if answers.is_empty() {
            return Err(failure);
        }
        Ok(answers)
    }

    /// Up to so many answers, and why the last one failed that gave none.
    async fn ask_in_turn<T>(
        &self,
        limit: TimeLimit,
        ask: impl AsyncFn(&Endpoint) -> Result<T, String>,
        wanted: usize,
    ) -> (Vec<T>, String) {
        let (mut answers, mut failure) = (Vec::new(), String::new());
        // One that is silent must leave the others their time.
        let mut left = u32::try_from(self.address.endpoints().len()).unwrap_or(u32::MAX);
        for endpoint in self.address.endpoints() {
            let share = limit.share(left);
            left -= 1;
            match share.hold(ask(endpoint)).await {
                Ok(answer) => answers.push(answer),
                Err(e) => failure = format!("{endpoint}: {e}"),
            }
            if answers.len() == wanted {
                break;
            }
        }
        (answers, failure)
    }

    /// Connects to one of the store's servers, for answers of up to `max_bytes`. The error is for
    /// people.
    pub async fn open(
        &self,
        endpoint: &Endpoint,
        max_bytes: usize,
        secrets: &Secrets,
    ) -> Result<Connected, String> {
        let (tls, namespace) = (&self.address.tls, self.namespace.clone());
        Ok(match &self.address.server {
            Server::Redis(redis) => {
                let link = RedisLink::open(redis, tls, endpoint, max_bytes, secrets).await?;
                AnyStore::Redis(RedisStore::new(link.logging_in(redis), namespace))
            }
            Server::Nats(nats, bucket) => {
                let link = NatsLink::open(nats, tls, endpoint, max_bytes, secrets).await?;
                AnyStore::Nats(NatsStore::new(link, namespace, bucket.clone()))
            }
        })
    }
}

#[cfg(test)]
mod tests;
