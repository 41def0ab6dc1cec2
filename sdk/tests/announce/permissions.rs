//! The narrow permissions that docs/signal.md states for NATS are enough for agents and readers.

use std::time::Duration;

use async_nats::ConnectOptions;
use ready_probe_sdk::connect::store::StoreAddress;
use ready_probe_sdk::signal::Name;
use ready_probe_sdk::store::{Record, Store, connected};
use ready_probe_test_support::servers::Nats;

use crate::bucket::VERSIONS;
use crate::common::{TempFolder, own_signal};
use crate::fixture::{announced_agent, ready_agent, until_told};

const DOCUMENT: &str = include_str!("../../../docs/signal.md");

/// The block of the document, with a password of ours.
fn documented() -> String {
    let (_, rest) = DOCUMENT.split_once("```text\nauthorization {").unwrap();
    let (block, _) = rest.split_once("```").unwrap();
    format!("authorization {{{}", block.replace("PASSWORD", "pw"))
}

fn start() -> impl Iterator<Item = Nats> {
    VERSIONS.into_iter().map(|version| {
        Nats::builder(version)
            .jetstream()
            .config(&documented())
            .start()
    })
}

fn url(nats: &Nats, user: &str) -> String {
    format!("nats://{user}:pw@127.0.0.1:{}", nats.port())
}

#[tokio::test]
async fn the_documented_permissions_are_enough() {
    for nats in start() {
        let connect = async |user: &str| {
            let address = StoreAddress::parse(&url(&nats, user)).unwrap();
            let namespace = Name::new("default").unwrap();
            connected::connect(&address, &namespace).await.unwrap()
        };
        let record = Record::of(&own_signal("permitted")).unwrap();
        let names = [record.published.agent.clone()];
        let mut agent = connect("ready-agent").await;
        let mut reader = connect("ready-reader").await;
        // Nobody has made the bucket yet.
        assert!(reader.read(&names).await.unwrap().is_empty());
        let put = agent.put(std::slice::from_ref(&record)).await.unwrap();
        assert!(put.iter().all(Result::is_ok), "{put:?}");
        assert_eq!(reader.read(&names).await.unwrap().len(), 1);
        assert_eq!(reader.agents().await.unwrap(), names);
        let refused = reader.put(std::slice::from_ref(&record)).await.unwrap();
        let why = refused[0].as_ref().unwrap_err();
        assert!(why.contains("Permissions Violation"), "{why}");
        agent.remove(&[record.published]).await.unwrap();
        assert!(reader.read(&names).await.unwrap().is_empty());
    }
}

/// A record that nothing ends has to be purged, and its agent may not.
#[tokio::test]
async fn who_may_not_purge_what_stays_for_ever_is_told() {
    for version in VERSIONS {
        let nats = Nats::builder(version)
            .jetstream()
            .config(
                "authorization { users: [ { user: admin, password: pw }, { user: app, password: pw, \
                 permissions: { publish: { deny: \"$JS.API.STREAM.PURGE.>\" } } } ] }",
            )
            .start();
        let address = StoreAddress::parse(&url(&nats, "app")).unwrap();
        let namespace = Name::new("default").unwrap();
        let record = Record::of(&own_signal("stays")).unwrap();
        let mut store = connected::connect(&address, &namespace).await.unwrap();
        let put = store.put(std::slice::from_ref(&record)).await.unwrap();
        assert!(put.iter().all(Result::is_ok), "{put:?}");
        let admin = ConnectOptions::with_user_and_password("admin".into(), "pw".into());
        let admin = async_nats::jetstream::new(admin.connect(nats.url()).await.unwrap());
        let stream = admin.get_stream("KV_ready").await.unwrap();
        let mut config = stream.cached_info().config.clone();
        (config.max_age, config.allow_message_ttl) = (Duration::ZERO, false);
        admin.delete_stream("KV_ready").await.unwrap();
        admin.create_stream(config).await.unwrap();
        // One that has not seen the bucket before.
        let mut store = connected::connect(&address, &namespace).await.unwrap();
        let removed = store.remove(&[record.published]).await;
        let why = removed.unwrap_err().cause;
        for part in ["for ever", "may not publish $JS.API.STREAM.PURGE.KV_ready"] {
            assert!(why.contains(part), "{why}");
        }
    }
}

#[test]
fn an_agent_lives_by_the_documented_permissions_and_who_may_only_read_is_told() {
    for nats in start() {
        let folder = TempFolder::new();
        drop(announced_agent(
            &folder,
            "by-rule",
            &url(&nats, "ready-agent"),
        ));
        let _reader = ready_agent(&folder, "by-reader", &url(&nats, "ready-reader"));
        until_told(&folder, "by-reader", "Permissions Violation for Publish");
    }
}
