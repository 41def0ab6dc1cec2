//! The narrow permissions that docs/signal.md states for NATS are enough for agents and readers.

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
