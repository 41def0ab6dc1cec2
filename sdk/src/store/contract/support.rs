//! What every part of the contract puts, reads and waits for.

use std::time::Duration;

use super::Backend;
use crate::clock;
use crate::signal::{Name, Signal, State, VERSION};
use crate::store::{Published, Record, Seen, Store};

/// How long a server may take to notice that a TTL has passed, beyond the TTL itself.
const EXPIRY_SLACK: Duration = Duration::from_secs(4);

/// A signal as an agent's process would publish it.
pub(super) fn signal<B: Backend>(
    backend: &mut B,
    published: &Published,
    state: State,
    ttl_ms: u64,
) -> Signal {
    let mut signal = Signal {
        v: VERSION,
        agent: published.agent.clone(),
        instance: published.instance.clone(),
        state,
        reason: None,
        details: serde_json::Map::new(),
        ttl_ms: Some(ttl_ms),
        beat_ms: None,
        seq: 1,
        host: None,
        pid: None,
        pid_start: None,
        boot_id: None,
        pid_ns: None,
        init_start: None,
        time_ns: None,
        container: None,
        mono_ms: Some(clock::mono_ms()),
        since: None,
        sdk: None,
        announced: None,
    };
    backend.complete(&mut signal);
    signal
}

pub(super) fn record<B: Backend>(backend: &mut B, agent: &str, nth: u32, ttl_ms: u64) -> Record {
    let published = backend.published(agent, nth);
    Record::of(&signal(backend, &published, State::Ready, ttl_ms)).unwrap()
}

pub(super) async fn put(store: &mut impl Store, records: &[Record]) {
    for answer in store.put(records).await.unwrap() {
        answer.unwrap();
    }
}

pub(super) async fn read(store: &mut impl Store, agent: &str) -> Vec<Seen> {
    let mut seen = store.read(&[Name::new(agent).unwrap()]).await.unwrap();
    seen.sort_by(|a, b| a.instance.cmp(&b.instance));
    seen
}

pub(super) async fn names(store: &mut impl Store) -> Vec<String> {
    let names = store.agents().await.unwrap();
    names.iter().map(ToString::to_string).collect()
}

/// How long a short record may be there.
pub(super) fn expiry<B: Backend>() -> Duration {
    Duration::from_millis(B::SHORT_MS) + EXPIRY_SLACK
}

/// Waits until a look finds what it looks for; the store's clock is not ours.
pub(super) async fn until<S: Store, T>(
    store: &mut S,
    limit: Duration,
    what: &str,
    mut look: impl AsyncFnMut(&mut S) -> Option<T>,
) -> T {
    let start = clock::instant();
    loop {
        if let Some(found) = look(store).await {
            return found;
        }
        assert!(start.elapsed() < limit, "{what}, not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
