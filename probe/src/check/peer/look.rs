//! Looks for an agent on all of the store's servers: one may have what another lacks.

use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use ready_probe_sdk::clock;
use ready_probe_sdk::connect::place::Place;
use ready_probe_sdk::connect::{Endpoint, failover};
use ready_probe_sdk::signal::Name;
use ready_probe_sdk::store::{Seen, Store};

use crate::link::kept::{self, KeptFor, Opened};
use crate::link::store::{self, LinkedStore};
use crate::redact::Secrets;
use crate::time_limit::TimeLimit;

/// Once some servers have shown enough to decide, the others get so long to show a newer word. They
/// are neighbours, and answer in much less; one that hangs must not make every probe last until its
/// deadline.
const MOMENT: Duration = Duration::from_millis(300);
/// A thousand instances of one agent take less, unless they tell a good deal.
const MAX_REPLY_BYTES: usize = 1024 * 1024;

/// What the servers have shown.
#[derive(Debug, Default)]
pub struct Looks {
    /// Everything that the servers have shown that answered.
    pub seen: Vec<Seen>,
    /// Why others could not be asked: one line a server, with its name if there are several.
    pub failures: Vec<String>,
}

/// Asks all servers at once, until all have answered, or until a moment after `enough` says so.
pub async fn look(
    place: &Place,
    kept: Option<KeptFor<'_>>,
    limit: TimeLimit,
    secrets: &Secrets,
    (name, min): (&Name, usize),
    enough: impl Fn(&Looks) -> bool,
) -> Looks {
    let endpoints = place.store.endpoints();
    let asked = endpoints.iter().map(|endpoint| async move {
        let opened = || Opened::Store(endpoint.clone(), place.clone());
        let anew = ask(place, endpoint, kept, secrets, (name, min));
        let asked = kept::ask(
            kept,
            opened,
            limit,
            async |store: &mut LinkedStore| read(store, name, min).await,
            |said| said.as_ref().is_ok_and(|seen| are_ready(seen, min)),
            anew,
        );
        (endpoint, limit.hold(asked).await)
    });
    let mut asked: FuturesUnordered<_> = asked.collect();
    let mut looks = Looks::default();
    let mut until = None;
    loop {
        let next = match until {
            None => asked.next().await,
            Some(until) => match tokio::time::timeout_at(until, asked.next()).await {
                Ok(next) => next,
                Err(_) => break,
            },
        };
        match next {
            None => break,
            Some((_, Ok(seen))) => looks.seen.extend(seen),
            Some((endpoint, Err(cause))) => {
                let cause = failover::named(endpoints, endpoint, &cause);
                looks.failures.push(cause);
            }
        }
        if until.is_none() && !asked.is_empty() && enough(&looks) {
            until = Some((clock::instant() + MOMENT).into());
        }
    }
    looks
}

/// Asks one server, and keeps the connection if it shows enough who are ready.
async fn ask(
    place: &Place,
    endpoint: &Endpoint,
    kept: Option<KeptFor<'_>>,
    secrets: &Secrets,
    (name, min): (&Name, usize),
) -> Result<Vec<Seen>, String> {
    let mut store = store::open(place, endpoint, MAX_REPLY_BYTES, secrets).await?;
    let seen = read(&mut store, name, min).await?;
    if let Some(kept) = kept.filter(|_| are_ready(&seen, min)) {
        kept.put(Opened::Store(endpoint.clone(), place.clone()), store);
    }
    Ok(seen)
}

async fn read(store: &mut LinkedStore, name: &Name, min: usize) -> Result<Vec<Seen>, String> {
    store.find_ready(name, min).await.map_err(|e| e.cause)
}

fn are_ready(seen: &[Seen], min: usize) -> bool {
    seen.iter().filter(|seen| seen.is_ready()).count() >= min
}
