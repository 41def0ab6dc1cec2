//! A server that hangs, and a network that does: agents go on, and are announced when it is over.

use std::time::{Duration, Instant};

use ready_probe_sdk::Agent;
use ready_probe_test_support::proxy::{Fault, Proxy};
use ready_probe_test_support::servers::Redis;

use crate::common::{TempFolder, until};
use crate::fixture::{
    AT_ONCE, announced_agent, assert_heals, assert_holds_nobody_up, keys, record, until_told,
    waited,
};

/// An agent that is announced through a proxy.
struct Behind {
    redis: Redis,
    proxy: Proxy,
    folder: TempFolder,
    agent: Agent,
}

impl Behind {
    fn start(name: &str) -> Self {
        let (redis, folder) = (Redis::start(), TempFolder::new());
        let proxy = Proxy::start(([127, 0, 0, 1], redis.port()).into());
        let url = format!("redis://127.0.0.1:{}", proxy.port());
        let agent = announced_agent(&folder, name, &url);
        Self {
            redis,
            proxy,
            folder,
            agent,
        }
    }

    /// A fault of the network from its beginning to some time after its end.
    fn suffer(&self, fault: Fault, why: &str) {
        let name = self.agent.name();
        self.proxy.set(fault);
        assert_holds_nobody_up(&self.agent, 50);
        until_told(&self.folder, name, why);
        assert_holds_nobody_up(&self.agent, 50);
        assert_eq!(self.folder.says(name), ["ready"]);
        self.proxy.set(Fault::None);
        self.agent
            .mark_ready(serde_json::json!({ "after": why }))
            .unwrap();
        assert_heals(&self.folder, name);
        until("the store has the last word", || {
            let record = record(&self.redis, name)?;
            (record.details.get("after")? == why).then_some(())
        });
        assert_eq!(keys(&self.redis, "*").len(), 3);
    }
}

#[test]
fn a_server_that_hangs_costs_two_timeouts_and_then_the_connection() {
    let mut behind = Behind::start("hangs");
    let before = behind.proxy.connections();
    let start = Instant::now();
    behind.redis.pause();
    assert_holds_nobody_up(&behind.agent, 50);
    let told = "no answer within 1s (connected to 127.0.0.1:";
    until_told(&behind.folder, "hangs", told);
    let connections = behind.proxy.connections();
    // The second timeout has passed, too, where this machine stood still.
    if start.elapsed() < Duration::from_millis(1_900) {
        assert_eq!(connections, before, "once is no reason");
    }
    until("it connects anew", || {
        assert_holds_nobody_up(&behind.agent, 1);
        (behind.proxy.connections() > before).then_some(())
    });
    behind.redis.resume();
    assert_heals(&behind.folder, "hangs");
    assert_eq!(keys(&behind.redis, "*").len(), 3);
}

#[test]
fn a_server_that_refuses_connections() {
    Behind::start("refuse").suffer(Fault::Refuse, "connection refused");
}

#[test]
fn a_network_that_resets_connections() {
    Behind::start("reset").suffer(Fault::Reset, "onnection");
}

#[test]
fn a_network_that_is_cut() {
    Behind::start("cut").suffer(Fault::Blackhole, "no answer within 1s");
}

#[test]
fn a_network_that_is_slow() {
    let late = Fault::Delay(Duration::from_millis(800));
    Behind::start("slow").suffer(late, "no answer within 1s");
}

#[test]
fn a_network_that_swallows_acknowledgements() {
    let behind = Behind::start("swallow");
    behind.suffer(Fault::SwallowReplies, "no answer within 1s");
    assert!(behind.proxy.bytes_swallowed() > 0);
}

#[test]
fn an_agent_that_ends_does_not_wait_for_a_store_that_is_away() {
    let behind = Behind::start("ends");
    behind.proxy.set(Fault::Blackhole);
    until_told(&behind.folder, "ends", "no answer within 1s");
    let waited = waited(|| drop(behind.agent));
    assert!(waited < AT_ONCE, "{waited:?}");
    // It is taken back when the store takes it, since this process goes on.
    behind.proxy.set(Fault::None);
    until("it is taken back", || {
        keys(&behind.redis, "*").is_empty().then_some(())
    });
}
