//! What was put is read, as it was put, and nobody else's.

use super::Backend;
use super::support::{names, put, read, record, signal};
use crate::signal::{Name, State};
use crate::store::{Expiry, Published, Record, Store};

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
