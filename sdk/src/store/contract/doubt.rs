//! What strangers or accidents have left is told for what it is, and the next beat puts it right.

use std::time::Duration;

use super::Backend;
use super::support::{names, put, read, record, signal, until};
use crate::signal::{DecodeError, MAX_RECORD_BYTES, State};
use crate::store::{Expiry, Store};

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
