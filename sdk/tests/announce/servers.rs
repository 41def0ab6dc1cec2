//! An address with several servers: whichever of them takes the signal will do.

use ready_probe_test_support::servers::{Nats, Redis};

use crate::bucket::{Bucket, VERSIONS};
use crate::common::{PATIENCE, TempFolder, until};
use crate::fixture::{
    AT_ONCE, announced_agent, assert_holds_nobody_up, ready_agent, record, until_told, waited,
};

fn both(first: &Redis, second: &Redis) -> String {
    format!(
        "redis://127.0.0.1:{},127.0.0.1:{}",
        first.port(),
        second.port()
    )
}

#[test]
fn a_replica_is_passed_over_for_the_master() {
    let (replica, master, folder) = (Redis::start(), Redis::start(), TempFolder::new());
    replica.command(&["REPLICAOF", "127.0.0.1", &master.port().to_string()]);
    let _agent = announced_agent(&folder, "replicated", &both(&replica, &master));
    assert!(record(&master, "replicated").is_some());
}

#[test]
fn when_the_master_changes_the_signal_follows() {
    let (first, second, folder) = (Redis::start(), Redis::start(), TempFolder::new());
    second.command(&["REPLICAOF", "127.0.0.1", &first.port().to_string()]);
    let agent = announced_agent(&folder, "follows", &both(&first, &second));
    second.command(&["REPLICAOF", "NO", "ONE"]);
    first.command(&["REPLICAOF", "127.0.0.1", &second.port().to_string()]);
    agent.mark_not_ready("moved").unwrap();
    until("the new master is told", || {
        record(&second, "follows").filter(|record| record.reason.as_deref() == Some("moved"))
    });
}

#[test]
fn a_server_that_hangs_is_passed_over() {
    let (mut hung, live, folder) = (Redis::start(), Redis::start(), TempFolder::new());
    hung.pause();
    let agent = ready_agent(&folder, "hung", &both(&hung, &live));
    assert_holds_nobody_up(&agent, 20);
    agent.wait_announced(PATIENCE).unwrap();
    assert!(record(&live, "hung").is_some());
    hung.resume();
}

#[test]
fn a_server_that_comes_to_hang_is_left() {
    let (mut hung, live, folder) = (Redis::start(), Redis::start(), TempFolder::new());
    let agent = announced_agent(&folder, "left", &both(&hung, &live));
    hung.pause();
    assert_holds_nobody_up(&agent, 20);
    until("the other one is told", || record(&live, "left"));
    hung.resume();
}

#[test]
fn a_server_without_jetstream_is_passed_over() {
    for version in VERSIONS {
        let (plain, good) = (
            Nats::start(version),
            Nats::builder(version).jetstream().start(),
        );
        let folder = TempFolder::new();
        let url = format!(
            "nats://127.0.0.1:{},127.0.0.1:{}",
            plain.port(),
            good.port()
        );
        let _agent = announced_agent(&folder, "jetstream", &url);
        assert!(Bucket::of(&good).record("jetstream").is_some());
    }
}

#[test]
fn where_none_will_do_each_is_named_with_its_reason() {
    let (mut away, replica, folder) = (Redis::start(), Redis::start(), TempFolder::new());
    replica.command(&["REPLICAOF", "127.0.0.1", &away.port().to_string()]);
    let url = both(&away, &replica);
    away.stop();
    let agent = ready_agent(&folder, "none", &url);
    let of = |redis: &Redis, why: &str| format!("127.0.0.1:{}: {why}", redis.port());
    until_told(&folder, "none", &of(&replica, "READONLY"));
    replica.command(&["CONFIG", "SET", "requirepass", "s3cret"]);
    until_told(&folder, "none", &of(&replica, "NOAUTH"));
    let waited = waited(|| drop(agent));
    assert!(waited < AT_ONCE, "{waited:?}");
}
