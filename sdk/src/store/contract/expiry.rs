//! Records end by themselves, and a store is tidied of what has ended.

use std::time::Duration;

use super::Backend;
use super::support::{expiry, names, put, read, record, until};
use crate::clock;
use crate::signal::Name;
use crate::store::Store;

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
