//! Agents are listed, each once and by its own name.

use super::Backend;
use super::support::{names, put, read, record};
use crate::signal::Name;
use crate::store::Record;

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
