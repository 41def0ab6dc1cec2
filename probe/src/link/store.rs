//! The store that `READY_STORE` names: the SDK's stores, over our own bounded connections.

use std::task::{Context, Poll};

use futures_util::future::join_all;
use ready_probe_sdk::connect::Endpoint;
use ready_probe_sdk::connect::place::Place;
use ready_probe_sdk::connect::store::Server;
use ready_probe_sdk::connect::{failover, looked_up_once};
use ready_probe_sdk::signal::Name;
use ready_probe_sdk::store::any::AnyStore;
use ready_probe_sdk::store::nats::NatsStore;
use ready_probe_sdk::store::predecessor::Successor;
use ready_probe_sdk::store::redis::RedisStore;
use ready_probe_sdk::store::{Failure, Store};

use super::kept::Resting;
use super::nats::NatsLink;
use super::redis::RedisLink;
use crate::redact::Secrets;
use crate::time_limit::TimeLimit;

/// The store, through one of our connections.
pub type LinkedStore = AnyStore<RedisLink, NatsLink>;

/// How much is quoted of a server's refusal to be tidied.
const MAX_QUOTE_CHARS: usize = 300;

/// What a server says, without our secrets, those in files included.
pub fn quote(place: &Place, said: &str, secrets: &Secrets, max: usize) -> String {
    let mut secrets = secrets.clone();
    place.store.add_secrets(&mut secrets, looked_up_once::text);
    secrets.quote(said, max)
}

/// Removes what the dead have left of these agents, if there is time. A user who may only read
/// leaves it to others.
pub async fn tidy(
    place: &Place,
    store: &mut LinkedStore,
    agents: &[Name],
    limit: TimeLimit,
    secrets: &Secrets,
) {
    let tidied = limit.hold(async { store.tidy(agents).await.map_err(|e| e.cause) });
    note(place, tidied.await, secrets);
}

/// The same, and removes what dead processes of this container have published of these agents. Returns
/// those that a living one publishes as well.
pub async fn succeed(
    place: &Place,
    store: &mut LinkedStore,
    (successor, agents): (&Successor, &[Name]),
    limit: TimeLimit,
    secrets: &Secrets,
) -> Result<Vec<Name>, Failure> {
    let succeeded = limit.hold(async { Ok(successor.succeed(store, agents).await) });
    let succeeded = succeeded
        .await
        .unwrap_or_else(|why| Err(Failure::lost(why)));
    let noted = succeeded.as_ref().map(drop).map_err(|e| e.cause.clone());
    note(place, noted, secrets);
    succeeded
}

fn note(place: &Place, tidied: Result<(), String>, secrets: &Secrets) {
    if let Err(why) = tidied {
        let why = quote(place, &why, secrets, MAX_QUOTE_CHARS);
        tracing::debug!("not tidied: {why}");
    }
}

/// Reading keeps nothing from one time to the next: a store can rest as its connection does.
impl Resting for LinkedStore {
    fn poll_settled(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        match self {
            Self::Redis(store) => store.link().poll_settled(context),
            Self::Nats(store) => store.link().poll_settled(context),
        }
    }

    fn poll_ended(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Redis(store) => store.link().poll_ended(context),
            Self::Nats(store) => store.link().poll_ended(context),
        }
    }
}

/// Asks the store's servers one after another, within the limit, until one answers. The error says
/// why each did not, for people.
pub async fn first<T>(
    place: &Place,
    limit: TimeLimit,
    ask: impl AsyncFn(&Endpoint) -> Result<T, String>,
) -> Result<T, String> {
    let endpoints = place.store.endpoints();
    let asked = failover::in_turn(endpoints, 0, 1, async |next| {
        limit.share(next.left).hold(ask(next.endpoint)).await
    });
    let asked = looked_up_once::share(asked).await;
    let first = asked.answers.into_iter().next();
    first.ok_or_else(|| failover::each_named(&asked.failures))
}

/// Asks all of them at once, each for as long as `ask` takes. Returns their answers, and a line for
/// each that has none. If none answers, the error is as above.
pub async fn each<T>(
    place: &Place,
    ask: impl AsyncFn(&Endpoint) -> Result<T, String>,
) -> Result<(Vec<T>, Vec<String>), String> {
    let endpoints = place.store.endpoints();
    let asked = join_all(endpoints.iter().map(|endpoint| ask(endpoint)));
    let asked = looked_up_once::share(asked).await;
    let mut answers = Vec::new();
    let mut failures = Vec::new();
    for (endpoint, said) in endpoints.iter().zip(asked) {
        match said {
            Ok(answer) => answers.push(answer),
            Err(why) => failures.push((endpoint, why)),
        }
    }
    if answers.is_empty() {
        return Err(failover::each_named(&failures));
    }
    let failures = failures
        .iter()
        .map(|failure| failover::each_named(std::slice::from_ref(failure)));
    Ok((answers, failures.collect()))
}

/// Connects to one of the store's servers, for answers of up to `max_bytes`. The error is for
/// people.
pub async fn open(
    place: &Place,
    endpoint: &Endpoint,
    max_bytes: usize,
    secrets: &Secrets,
) -> Result<LinkedStore, String> {
    let (tls, namespace) = (&place.store.tls, place.namespace.clone());
    Ok(match &place.store.server {
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

#[cfg(test)]
mod tests;
