//! A bucket of a cluster that has lost its quorum takes no records, and the agents say so.

use std::time::Duration;

use ready_probe_sdk::connect::store::StoreAddress;
use ready_probe_sdk::signal::Name;
use ready_probe_sdk::store::{Store, connected};
use ready_probe_test_support::servers::{NatsCluster, NatsVersion};
use serde_json::{Value, json};

use crate::common::TempFolder;
use crate::fixture::{announced_agent, until_told};

/// A bucket as docs/signal.md has it made.
fn bucket(version: NatsVersion) -> Value {
    let mut config = json!({
        "name": "KV_ready",
        "subjects": ["$KV.ready.>"],
        "max_msgs_per_subject": 1,
        "discard": "new",
        "allow_rollup_hdrs": true,
        "deny_delete": true,
        "allow_direct": true,
    });
    match version {
        NatsVersion::V2_15 => config["allow_msg_ttl"] = json!(true),
        NatsVersion::V2_9 => config["max_age"] = json!(60_000_000_000_u64),
    }
    config
}

/// Now and then nats-server 2.9 says so of JetStream as a whole.
fn is_meant(why: &str) -> bool {
    ["has no leader", "temporarily unavailable"]
        .iter()
        .any(|cause| why.contains(cause))
}

#[test]
fn an_agent_whose_bucket_has_lost_its_leader_says_so() {
    for version in [NatsVersion::V2_9, NatsVersion::V2_15] {
        let mut cluster = NatsCluster::start(version);
        let leader = cluster.make_stream(&bucket(version));
        let survivor = (leader + 1) % 3;
        let store = cluster.server(survivor).url();
        let folder = TempFolder::new();
        let agent = announced_agent(&folder, "without-quorum", &store);
        cluster.kill_all_but(survivor);
        cluster.wait_leaderless(survivor, "KV_ready");
        until_told(
            &folder,
            "without-quorum",
            "bucket ready has no leader: too few of its servers are up",
        );
        let why = agent.wait_announced(Duration::ZERO).unwrap_err();
        assert!(is_meant(&why.to_string()), "{why}");
        // Nor is what such a server has, or lacks, an answer to those who read.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let address = StoreAddress::parse(&store).unwrap();
            let namespace = Name::new("default").unwrap();
            let mut store = connected::connect(&address, &namespace).await.unwrap();
            let names = [Name::new("without-quorum").unwrap()];
            for failure in [
                store.read(&names).await.unwrap_err(),
                store.find_ready(&names[0], 1).await.unwrap_err(),
                store.agents().await.unwrap_err(),
            ] {
                assert!(is_meant(&failure.cause), "{failure}");
            }
        });
    }
}
