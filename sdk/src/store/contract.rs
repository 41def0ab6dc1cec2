//! What every store is held to: the contract of [`Store`] as tests, one suite for all.
//!
//! A test of a store implements [`Backend`] and calls
//! [`store_contract!`](crate::store_contract), which makes one `#[test]` of each of the functions here.
//! They panic when the contract is broken.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "these are the bodies of tests"
)]

use std::time::Duration;

use super::{Expiry, Published, Record, Seen, Store};
use crate::clock;
use crate::signal::{DecodeError, Instance, MAX_RECORD_BYTES, Name, Signal, State, VERSION};

/// How long a server may take to notice that a TTL has passed, beyond the TTL itself.
const EXPIRY_SLACK: Duration = Duration::from_secs(4);

/// A store to be tested, and what a stranger can do to it.
#[allow(async_fn_in_trait, reason = "for tests")]
pub trait Backend {
    /// The store under test.
    type Store: Store;
    /// A TTL that a test can wait for, in milliseconds.
    const SHORT_MS: u64 = 1_000;
    /// A TTL that no test waits for, where there can be one.
    const LONG_MS: u64 = 60_000;

    /// Whether it keeps each record for as long as whoever put it asked for.
    const KEEPS_EACH: bool = true;

    /// The store, through a connection of its own.
    async fn store(&mut self) -> Self::Store;

    /// The publication of the `nth` instance of an agent.
    fn published(&mut self, agent: &str, nth: u32) -> Published {
        Published {
            agent: Name::new(agent).unwrap(),
            instance: Instance::of_process("host", nth, Some(1)),
        }
    }

    /// What makes a signal that of a publication; a store may look into it.
    fn complete(&mut self, _: &mut Signal) {}

    /// Puts anything in an instance's place, with a TTL or for ever. Says whether it could: not
    /// every store can be written to so.
    async fn put_raw(&mut self, published: &Published, bytes: &[u8], ttl_ms: Option<u64>) -> bool;

    /// Makes the store too full for a record to replace a smaller one, or no longer so. Says whether
    /// it could: not every store can be full.
    async fn fill(&mut self, _is_full: bool) -> bool {
        false
    }

    /// Loses everything, as a server that is restarted without its data does.
    async fn wipe(&mut self);
}

/// Makes tests of every function of the contract.
#[macro_export]
macro_rules! store_contract {
    ($module:ident, $backend:expr) => {
        mod $module {
            use super::*;

            $crate::store_contract!(@each $backend,
                a_record_that_was_put_is_read,
                a_record_replaces_the_one_before,
                two_instances_of_an_agent_stand_beside_each_other,
                an_agent_is_read_without_its_neighbours,
                several_agents_are_read_at_once,
                enough_that_are_ready_are_found_or_all_there_are,
                agents_are_listed_once,
                names_with_every_letter_keep_apart,
                what_is_removed_is_gone_and_nobody_else,
                what_is_not_there_may_be_removed,
                a_no_that_there_is_no_room_for_leaves_no_yes,
                what_is_removed_from_a_full_store_is_gone,
                a_record_expires_by_itself,
                a_beat_renews_the_ttl,
                a_wiped_store_is_whole_after_the_next_put,
                corrupt_records_are_seen_with_the_reason,
                a_record_in_another_ones_place_is_not_believed,
                a_record_for_ever_is_not_believed,
                a_record_that_is_kept_for_too_long_is_seen_so,
                tidying_leaves_the_living,
                many_records_are_put_at_once,
            );
        }
    };
    (@each $backend:expr, $($name:ident,)+) => {
        $(
            #[test]
            fn $name() {
                let runtime = ::tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    let mut backend = $backend;
                    $crate::store::contract::$name(&mut backend).await;
                });
            }
        )+
    };
}

/// A signal as an agent's process would publish it.
fn signal<B: Backend>(backend: &mut B, published: &Published, state: State, ttl_ms: u64) -> Signal {
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

fn record<B: Backend>(backend: &mut B, agent: &str, nth: u32, ttl_ms: u64) -> Record {
    let published = backend.published(agent, nth);
    Record::of(&signal(backend, &published, State::Ready, ttl_ms)).unwrap()
}

async fn put(store: &mut impl Store, records: &[Record]) {
    for answer in store.put(records).await.unwrap() {
        answer.unwrap();
    }
}

async fn read(store: &mut impl Store, agent: &str) -> Vec<Seen> {
    let mut seen = store.read(&[Name::new(agent).unwrap()]).await.unwrap();
    seen.sort_by(|a, b| a.instance.cmp(&b.instance));
    seen
}

async fn names(store: &mut impl Store) -> Vec<String> {
    let names = store.agents().await.unwrap();
    names.iter().map(ToString::to_string).collect()
}

/// How long a short record may be there.
fn expiry<B: Backend>() -> Duration {
    Duration::from_millis(B::SHORT_MS) + EXPIRY_SLACK
}

/// Waits until a look finds what it looks for; the store's clock is not ours.
async fn until<S: Store, T>(
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

pub async fn a_record_that_was_put_is_read<B: Backend>(backend: &mut B) {
    let mut store = backend.store().await;
    assert!(read(&mut store, "a").await.is_empty());
    let record = record(backend, "a", 1, B::LONG_MS);
    put(&mut store, std::slice::from_ref(&record)).await;
    for store in [&mut store, &mut backend.store().await] {
        let [seen] = read(store, "a").await.try_into().unwrap();
        assert_eq!(seen.agent, record.published.agent);
        assert_eq!(seen.instance, record.published.instance.as_str());
        assert_eq!(seen.signal.unwrap().encode().unwrap(), record.bytes);
        assert_eq!(seen.expiry, Expiry::Timely);
    }
}

pub async fn a_record_replaces_the_one_before<B: Backend>(backend: &mut B) {
    let mut store = backend.store().await;
    let published = backend.published("a", 1);
    for state in [State::Starting, State::Ready, State::NotReady] {
        let signal = signal(backend, &published, state, B::LONG_MS);
        put(&mut store, &[Record::of(&signal).unwrap()]).await;
        let [seen] = read(&mut store, "a").await.try_into().unwrap();
        assert_eq!(seen.signal.unwrap().state, state);
    }
}

pub async fn two_instances_of_an_agent_stand_beside_each_other<B: Backend>(backend: &mut B) {
    let mut store = backend.store().await;
    let (one, two) = (
        record(backend, "a", 1, B::LONG_MS),
        record(backend, "a", 2, B::LONG_MS),
    );
    put(&mut store, std::slice::from_ref(&one)).await;
    put(&mut backend.store().await, std::slice::from_ref(&two)).await;
    let instances: Vec<String> = read(&mut store, "a")
        .await
        .into_iter()
        .map(|seen| seen.instance)
        .collect();
    let mut want = [one, two].map(|record| record.published.instance.as_str().to_owned());
    want.sort();
    assert_eq!(instances, want);
    assert_eq!(names(&mut store).await, ["a"]);
}

pub async fn an_agent_is_read_without_its_neighbours<B: Backend>(backend: &mut B) {
    let mut store = backend.store().await;
    let records = [
        record(backend, "a", 1, B::LONG_MS),
        record(backend, "a.b", 1, B::LONG_MS),
        record(backend, "ab", 1, B::LONG_MS),
    ];
    put(&mut store, &records).await;
    for agent in ["a", "a.b", "ab"] {
        let [seen] = read(&mut store, agent).await.try_into().unwrap();
        assert_eq!(seen.agent.as_str(), agent);
    }
    assert!(read(&mut store, "b").await.is_empty());
}

pub async fn several_agents_are_read_at_once<B: Backend>(backend: &mut B) {
    let mut store = backend.store().await;
    let records = [
        record(backend, "a", 1, B::LONG_MS),
        record(backend, "b", 1, B::LONG_MS),
    ];
    put(&mut store, &records).await;
    let wanted = ["b", "nobody", "a"].map(|name| Name::new(name).unwrap());
    let seen = store.read(&wanted).await.unwrap();
    let mut agents: Vec<&str> = seen.iter().map(|seen| seen.agent.as_str()).collect();
    agents.sort_unstable();
    assert_eq!(agents, ["a", "b"]);
    assert!(store.read(&[]).await.unwrap().is_empty());
}

pub async fn enough_that_are_ready_are_found_or_all_there_are<B: Backend>(backend: &mut B) {
    let mut store = backend.store().await;
    let name = Name::new("a").unwrap();
    let find = async |store: &mut B::Store, min: usize| {
        let seen = store.find_ready(&name, min).await.unwrap();
        let ready = seen.iter().filter(|seen| seen.is_ready()).count();
        (ready, seen.len())
    };
    assert_eq!(find(&mut store, 1).await, (0, 0));
    put(&mut store, &[record(backend, "a", 1, B::LONG_MS)]).await;
    assert_eq!(find(&mut store, 1).await, (1, 1));
    let published = backend.published("a", 2);
    let not_ready = signal(backend, &published, State::NotReady, B::LONG_MS);
    let mut another = backend.store().await;
    put(&mut another, &[Record::of(&not_ready).unwrap()]).await;
    assert_eq!(find(&mut store, 2).await, (1, 2));
    // A stranger keeps to the records alone.
    let third = record(backend, "a", 3, B::LONG_MS);
    if backend
        .put_raw(&third.published, &third.bytes, Some(B::LONG_MS))
        .await
    {
        assert_eq!(find(&mut store, 2).await, (2, 3));
    }
    let (ready, _) = find(&mut store, 1).await;
    assert!(ready >= 1, "{ready}");
    let gone = [backend.published("a", 1), published, third.published];
    store.remove(&gone).await.unwrap();
    assert_eq!(find(&mut store, 1).await, (0, 0));
}

pub async fn agents_are_listed_once<B: Backend>(backend: &mut B) {
    let mut store = backend.store().await;
    assert!(names(&mut store).await.is_empty());
    let records = [
        record(backend, "b", 1, B::LONG_MS),
        record(backend, "a", 1, B::LONG_MS),
        record(backend, "a", 2, B::LONG_MS),
    ];
    put(&mut store, &records).await;
    assert_eq!(names(&mut store).await, ["a", "b"]);
}

pub async fn names_with_every_letter_keep_apart<B: Backend>(backend: &mut B) {
    let mut store = backend.store().await;
    let long = "n".repeat(128);
    let all = ["0.", "A-_.z", "a.b.c", "a=b", "a_2Eb", long.as_str()];
    let all: Vec<&str> = all.into_iter().filter(|n| Name::new(n).is_ok()).collect();
    let records: Vec<Record> = all
        .iter()
        .map(|name| record(backend, name, 1, B::LONG_MS))
        .collect();
    put(&mut store, &records).await;
    assert_eq!(names(&mut store).await, all);
    for name in all {
        let [seen] = read(&mut store, name).await.try_into().unwrap();
        assert_eq!(seen.signal.unwrap().agent.as_str(), name);
    }
}

pub async fn what_is_removed_is_gone_and_nobody_else<B: Backend>(backend: &mut B) {
    let mut store = backend.store().await;
    let records = [
        record(backend, "a", 1, B::LONG_MS),
        record(backend, "a", 2, B::LONG_MS),
        record(backend, "b", 1, B::LONG_MS),
    ];
    put(&mut store, &records).await;
    let [one, two, three] = records.map(|record| record.published);
    store.remove(std::slice::from_ref(&one)).await.unwrap();
    let [seen] = read(&mut store, "a").await.try_into().unwrap();
    assert_eq!(seen.instance, two.instance.as_str());
    assert_eq!(names(&mut store).await, ["a", "b"]);
    store.remove(&[two, three]).await.unwrap();
    assert!(names(&mut store).await.is_empty());
    assert!(read(&mut store, "a").await.is_empty());
    // And it may come back.
    let record = record(backend, "a", 1, B::LONG_MS);
    put(&mut store, &[record]).await;
    assert_eq!(read(&mut store, "a").await.len(), 1);
}

pub async fn what_is_not_there_may_be_removed<B: Backend>(backend: &mut B) {
    let mut store = backend.store().await;
    let published = backend.published("a", 1);
    store.remove(&[published]).await.unwrap();
    store.remove(&[]).await.unwrap();
    assert!(names(&mut store).await.is_empty());
}

/// Which of these agents have an instance that says it is ready.
async fn ready(store: &mut impl Store, agents: [&str; 2]) -> Vec<String> {
    let agents = agents.map(|name| Name::new(name).unwrap());
    let seen = store.read(&agents).await.unwrap();
    let ready = seen.iter().filter(|seen| seen.is_ready());
    ready.map(|seen| seen.agent.to_string()).collect()
}

pub async fn a_no_that_there_is_no_room_for_leaves_no_yes<B: Backend>(backend: &mut B) {
    for state in [State::Starting, State::NotReady, State::Stopping] {
        let mut store = backend.store().await;
        let records = [
            record(backend, "a", 1, B::LONG_MS),
            record(backend, "b", 1, B::LONG_MS),
        ];
        put(&mut store, &records).await;
        if !backend.fill(true).await {
            return;
        }
        let mut no = signal(backend, &records[0].published, state, B::LONG_MS);
        no.reason = Some("much longer than what it is to replace".to_owned());
        let no = Record::of(&no).unwrap();
        // Whoever has put the old record, and a connection that knows nothing of it.
        for store in [&mut store, &mut backend.store().await] {
            let refused = store.put(&records[1..]).await.unwrap();
            let answers = store.put(std::slice::from_ref(&no)).await.unwrap();
            let left = ready(store, ["a", "b"]).await;
            assert_eq!(left, ["b"], "{state:?}: {refused:?}, {answers:?}");
        }
        backend.fill(false).await;
        put(&mut store, std::slice::from_ref(&no)).await;
        let [seen] = read(&mut store, "a").await.try_into().unwrap();
        assert_eq!(seen.signal.unwrap().state, state);
        assert_eq!(names(&mut store).await, ["a", "b"]);
    }
}

pub async fn what_is_removed_from_a_full_store_is_gone<B: Backend>(backend: &mut B) {
    let mut store = backend.store().await;
    let records = [
        record(backend, "a", 1, B::LONG_MS),
        record(backend, "a", 2, B::LONG_MS),
        record(backend, "b", 1, B::LONG_MS),
    ];
    put(&mut store, &records).await;
    if !backend.fill(true).await {
        return;
    }
    let [one, two, _] = records.map(|record| record.published);
    store.remove(&[one, two]).await.unwrap();
    assert!(read(&mut store, "a").await.is_empty());
    assert_eq!(ready(&mut store, ["a", "b"]).await, ["b"]);
    backend.fill(false).await;
}

pub async fn a_record_expires_by_itself<B: Backend>(backend: &mut B) {
    let mut store = backend.store().await;
    let records = [
        record(backend, "short", 1, B::SHORT_MS),
        record(backend, "long", 1, B::LONG_MS),
    ];
    let start = clock::instant();
    put(&mut store, &records).await;
    assert_eq!(read(&mut store, "short").await.len(), 1);
    let [_, long] = &records;
    // Where a bucket keeps everything equally long, only beats tell them apart.
    let gone = async |store: &mut B::Store| {
        put(store, std::slice::from_ref(long)).await;
        read(store, "short").await.is_empty().then_some(())
    };
    let limit = expiry::<B>();
    until(&mut store, limit, "it expires", gone).await;
    let early = Duration::from_millis(B::SHORT_MS - 100);
    assert!(start.elapsed() >= early, "too early");
    assert_eq!(names(&mut store).await, ["long"]);
    assert_eq!(read(&mut store, "long").await.len(), 1);
}

pub async fn a_beat_renews_the_ttl<B: Backend>(backend: &mut B) {
    let mut store = backend.store().await;
    let start = clock::instant();
    while start.elapsed() < Duration::from_millis(5 * B::SHORT_MS / 2) {
        let record = record(backend, "a", 1, B::SHORT_MS);
        put(&mut store, &[record]).await;
        assert_eq!(read(&mut store, "a").await.len(), 1);
        assert_eq!(names(&mut store).await, ["a"]);
        tokio::time::sleep(Duration::from_millis(B::SHORT_MS / 5)).await;
    }
}

pub async fn a_wiped_store_is_whole_after_the_next_put<B: Backend>(backend: &mut B) {
    let mut store = backend.store().await;
    let records = [
        record(backend, "a", 1, B::LONG_MS),
        record(backend, "b", 1, B::LONG_MS),
    ];
    put(&mut store, &records).await;
    backend.wipe().await;
    // A store that is told so only now may fail once.
    let again = async |store: &mut B::Store| {
        let answers = store.put(&records).await.ok()?;
        answers.iter().all(Result::is_ok).then_some(())
    };
    until(
        &mut store,
        Duration::from_secs(5),
        "it can be put again",
        again,
    )
    .await;
    assert_eq!(names(&mut store).await, ["a", "b"]);
    for store in [&mut store, &mut backend.store().await] {
        assert_eq!(read(store, "a").await.len(), 1);
        assert_eq!(read(store, "b").await.len(), 1);
    }
}

pub async fn corrupt_records_are_seen_with_the_reason<B: Backend>(backend: &mut B) {
    let mut store = backend.store().await;
    let published = backend.published("a", 1);
    let later = signal(backend, &published, State::Ready, B::LONG_MS);
    let mut later = serde_json::to_value(later).unwrap();
    later["v"] = 2.into();
    let later = later.to_string();
    let large = [b"{\"v\":1,".to_vec(), vec![b' '; MAX_RECORD_BYTES]].concat();
    type IsMeant = fn(&DecodeError) -> bool;
    let cases: [(&[u8], IsMeant); 4] = [
        (b"rubbish", |e| matches!(e, DecodeError::Malformed(_))),
        (b"{\"v\":1}", |e| matches!(e, DecodeError::Malformed(_))),
        (later.as_bytes(), |e| *e == DecodeError::UnknownVersion(2)),
        (&large, |e| *e == DecodeError::TooLarge),
    ];
    for (bytes, is_meant) in cases {
        assert!(backend.put_raw(&published, bytes, Some(B::LONG_MS)).await);
        let [seen] = read(&mut store, "a").await.try_into().unwrap();
        let e = seen.signal.unwrap_err();
        assert!(is_meant(&e), "{e}");
        assert_eq!(names(&mut store).await, ["a"]);
    }
    // Its own writer puts it right.
    let record = record(backend, "a", 1, B::LONG_MS);
    put(&mut store, &[record]).await;
    let [seen] = read(&mut store, "a").await.try_into().unwrap();
    assert!(seen.signal.is_ok());
}

pub async fn a_record_in_another_ones_place_is_not_believed<B: Backend>(backend: &mut B) {
    let mut store = backend.store().await;
    let record = record(backend, "a", 1, B::LONG_MS);
    let place = backend.published("b", 1);
    assert!(
        backend
            .put_raw(&place, &record.bytes, Some(B::LONG_MS))
            .await
    );
    let [seen] = read(&mut store, "b").await.try_into().unwrap();
    assert!(matches!(seen.signal, Err(DecodeError::Malformed(_))));
}

pub async fn a_record_for_ever_is_not_believed<B: Backend>(backend: &mut B) {
    let mut store = backend.store().await;
    let record = record(backend, "a", 1, B::LONG_MS);
    if backend
        .put_raw(&record.published, &record.bytes, None)
        .await
    {
        let [seen] = read(&mut store, "a").await.try_into().unwrap();
        assert_eq!(seen.expiry, Expiry::Never);
        // Its own writer puts it right.
        put(&mut store, &[record]).await;
        let [seen] = read(&mut store, "a").await.try_into().unwrap();
        assert_eq!(seen.expiry, Expiry::Timely);
    }
}

pub async fn a_record_that_is_kept_for_too_long_is_seen_so<B: Backend>(backend: &mut B) {
    let mut store = backend.store().await;
    let record = record(backend, "a", 1, B::SHORT_MS);
    let too_long_ms = 10 * B::LONG_MS;
    // A local record ends with its process, and where a bucket keeps all equally long none is kept longer.
    if backend
        .put_raw(&record.published, &record.bytes, Some(too_long_ms))
        .await
    {
        let [seen] = read(&mut store, "a").await.try_into().unwrap();
        if B::KEEPS_EACH {
            assert!(seen.expiry.is_doubtful(), "{:?}", seen.expiry);
            assert!(!seen.is_ready());
        } else {
            assert_eq!(seen.expiry, Expiry::Timely);
        }
        // Its own writer puts it right.
        put(&mut store, &[record]).await;
        let [seen] = read(&mut store, "a").await.try_into().unwrap();
        assert_eq!(seen.expiry, Expiry::Timely);
    }
}

pub async fn tidying_leaves_the_living<B: Backend>(backend: &mut B) {
    let mut store = backend.store().await;
    let records = [
        record(backend, "a", 1, B::SHORT_MS),
        record(backend, "a", 2, B::LONG_MS),
        record(backend, "b", 1, B::SHORT_MS),
    ];
    put(&mut store, &records).await;
    let [_, living, _] = &records;
    let gone = async |store: &mut B::Store| {
        put(store, std::slice::from_ref(living)).await;
        let [a, b] = ["a", "b"].map(|name| Name::new(name).unwrap());
        let left = store.read(&[a, b]).await.unwrap().len();
        (left <= 1).then_some(())
    };
    until(&mut store, expiry::<B>(), "the short ones expire", gone).await;
    let agents = ["a", "b", "nobody"].map(|name| Name::new(name).unwrap());
    store.tidy(&agents).await.unwrap();
    store.tidy(&[]).await.unwrap();
    assert_eq!(names(&mut store).await, ["a"]);
    assert_eq!(read(&mut store, "a").await.len(), 1);
    let again = [
        record(backend, "a", 1, B::SHORT_MS),
        record(backend, "b", 1, B::SHORT_MS),
    ];
    put(&mut store, &again).await;
    assert_eq!(read(&mut store, "a").await.len(), 2);
    assert_eq!(names(&mut store).await, ["a", "b"]);
}

pub async fn many_records_are_put_at_once<B: Backend>(backend: &mut B) {
    let mut store = backend.store().await;
    let records: Vec<Record> = (0..300)
        .map(|n| record(backend, &format!("agent-{n:03}"), 1, B::LONG_MS))
        .collect();
    for _ in 0..2 {
        put(&mut store, &records).await;
    }
    let all = store.agents().await.unwrap();
    assert_eq!(all.len(), records.len());
    let seen = store.read(&all).await.unwrap();
    assert_eq!(seen.len(), records.len());
    assert!(seen.iter().all(|seen| seen.signal.is_ok()));
    let published: Vec<Published> = records.into_iter().map(|r| r.published).collect();
    store.remove(&published).await.unwrap();
    assert!(store.agents().await.unwrap().is_empty());
}
