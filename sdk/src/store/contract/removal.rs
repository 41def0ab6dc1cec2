//! What is removed is gone, also from a store that is full.

use super::Backend;
use super::support::{names, put, read, record, signal};
use crate::signal::{Name, State};
use crate::store::{Record, Store};

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
