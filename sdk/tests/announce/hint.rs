//! On a nats-server before 2.11: whatever a hint says, what is found is what is there.

use std::time::Duration;

use ready_probe_sdk::connect::store::StoreAddress;
use ready_probe_sdk::signal::Name;
use ready_probe_sdk::store::{Failure, Seen, Store, connected};
use ready_probe_test_support::servers::{Nats, NatsVersion};
use serde_json::json;

use crate::bucket::{Bucket, VERSIONS};
use crate::common::{TempFolder, until};
use crate::fixture::{TTL, announced_agent};

/// How many instances of an agent are found when so many are to be ready, and how many of them are.
#[track_caller]
fn found(nats: &Nats, agent: &str, min: usize) -> (usize, usize) {
    let seen = find(nats, agent, min).unwrap();
    (
        seen.len(),
        seen.iter().filter(|seen| seen.is_ready()).count(),
    )
}

fn find(nats: &Nats, agent: &str, min: usize) -> Result<Vec<Seen>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let address = StoreAddress::parse(&nats.url()).unwrap();
        let namespace = Name::new("default").unwrap();
        let mut store = connected::connect(&address, &namespace).await.unwrap();
        let name = Name::new(agent).unwrap();
        store.find_ready(&name, min).await
    })
}

/// All instances of an agent.
#[track_caller]
pub fn seen(nats: &Nats, agent: &str) -> Vec<Seen> {
    find(nats, agent, usize::MAX).unwrap()
}

fn hint_of(bucket: &Bucket, agent: &str) -> Option<serde_json::Value> {
    let (_, body) = bucket.message(&format!("$KV.ready.default.{agent}"))?;
    serde_json::from_slice(&body).ok()
}

#[test]
fn an_agent_stands_in_its_hint_and_a_stranger_need_not() {
    let nats = Nats::builder(NatsVersion::V2_9).jetstream().start();
    let (bucket, folder) = (Bucket::of(&nats), TempFolder::new());
    let _agent = announced_agent(&folder, "hinted", &nats.url());
    let hint = hint_of(&bucket, "hinted").unwrap();
    assert_eq!(hint["instances"].as_array().unwrap().len(), 1);
    assert_eq!(found(&nats, "hinted", 1), (1, 1));
    let stranger = json!({
        "v": 1, "agent": "hinted", "instance": "stranger", "state": "ready", "ttl_ms": 60_000,
    });
    bucket.put(
        "$KV.ready.default.hinted.stranger",
        None,
        &stranger.to_string(),
    );
    assert_eq!(found(&nats, "hinted", 2), (2, 2));
    assert_eq!(found(&nats, "hinted", 3), (2, 2));
}

#[test]
fn a_hint_that_is_wrong_or_lost_hides_nobody_and_is_mended() {
    let nats = Nats::builder(NatsVersion::V2_9).jetstream().start();
    let (bucket, folder) = (Bucket::of(&nats), TempFolder::new());
    let agent = announced_agent(&folder, "misled", &nats.url());
    let agent_hint = until("it has a hint", || hint_of(&bucket, "misled"));
    for wrong in ["x", "{}", "{\"instances\":[\"gone\",\"../x\"]}"] {
        bucket.put("$KV.ready.default.misled", None, wrong);
        assert_eq!(found(&nats, "misled", 1), (1, 1), "{wrong}");
    }
    until("it is mended", || {
        hint_of(&bucket, "misled").filter(|hint| hint["instances"][0] == agent_hint["instances"][0])
    });
    agent.mark_not_ready("busy").unwrap();
    agent.wait_announced(Duration::from_secs(5)).unwrap();
    assert_eq!(found(&nats, "misled", 1), (1, 0));
}

#[test]
fn a_bucket_that_can_not_be_read_directly_is_written_to_and_who_reads_is_told() {
    for version in VERSIONS {
        let nats = Nats::builder(version).jetstream().start();
        let (bucket, folder) = (Bucket::of(&nats), TempFolder::new());
        let mut settings = match version {
            NatsVersion::V2_9 => Bucket::max_age(2 * TTL),
            NatsVersion::V2_15 => json!({ "allow_msg_ttl": true }),
        };
        settings["allow_direct"] = json!(false);
        bucket.make(&settings);
        let _agent = announced_agent(&folder, "indirect", &nats.url());
        let why = find(&nats, "indirect", 1).unwrap_err().to_string();
        assert_eq!(
            why,
            "bucket ready can't be read directly: nats stream edit KV_ready --allow-direct"
        );
    }
}
