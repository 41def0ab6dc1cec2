//! Three nats-servers that are one JetStream.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Nats, NatsVersion};
use crate::process::{free_port, wait_until};

/// For three servers to elect leaders, and to notice that too few of them are left.
const PATIENCE: Duration = Duration::from_secs(60);
const SERVERS: usize = 3;

/// A cluster on 127.0.0.1. Two of its servers are a quorum.
#[derive(Debug)]
pub struct NatsCluster {
    servers: Vec<Nats>,
}

impl NatsCluster {
    /// Starts it, and waits until it takes new streams.
    ///
    /// # Panics
    /// When it does not get that far.
    pub fn start(version: NatsVersion) -> Self {
        let ports: Vec<u16> = (0..SERVERS).map(|_| free_port()).collect();
        let routes: Vec<String> = ports
            .iter()
            .map(|port| format!("\"nats://127.0.0.1:{port}\""))
            .collect();
        let routes = routes.join(", ");
        let start = |(n, port): (usize, &u16)| {
            let config = format!(
                "server_name: n{n}\n\
                 cluster {{ name: c, host: 127.0.0.1, port: {port}, routes: [{routes}] }}"
            );
            Nats::builder(version).jetstream().config(&config).start()
        };
        let cluster = Self {
            servers: ports.iter().enumerate().map(start).collect(),
        };
        wait_until(PATIENCE, "a leader of JetStream", || {
            let info = cluster.servers[0].api("INFO", &json!({}))?;
            info["error"].is_null().then_some(())
        });
        cluster
    }

    /// One of its servers.
    pub fn server(&self, n: usize) -> &Nats {
        &self.servers[n]
    }

    /// All of its servers, as a list in one address.
    pub fn url(&self) -> String {
        let servers = self.servers.iter().map(|server| server.port());
        let servers: Vec<String> = servers.map(|port| format!("127.0.0.1:{port}")).collect();
        format!("nats://{}", servers.join(","))
    }

    /// Makes a stream on all of its servers, and returns which of them leads it.
    ///
    /// # Panics
    /// When it can't be made.
    pub fn make_stream(&self, config: &Value) -> usize {
        let name = config["name"].as_str().expect("a stream has a name");
        let mut config = config.clone();
        config["num_replicas"] = json!(SERVERS);
        wait_until(PATIENCE, "the stream", || {
            let made = self.servers[0].api(&format!("STREAM.CREATE.{name}"), &config)?;
            made["error"].is_null().then_some(())
        });
        wait_until(PATIENCE, "its leader", || {
            let info = self.servers[0].api(&format!("STREAM.INFO.{name}"), &json!({}))?;
            let leader = info["cluster"]["leader"].as_str()?.strip_prefix('n')?;
            leader.parse().ok()
        })
    }

    /// Kills all servers but one: what is left is no quorum.
    pub fn kill_all_but(&mut self, survivor: usize) {
        for (n, server) in self.servers.iter_mut().enumerate() {
            if n != survivor {
                server.kill();
            }
        }
    }

    /// Waits until a server knows that a stream has no leader.
    ///
    /// # Panics
    /// When it does not come to that.
    pub fn wait_leaderless(&self, survivor: usize, stream: &str) {
        wait_until(PATIENCE, "the stream to lose its leader", || {
            let info = self.servers[survivor].api(&format!("STREAM.INFO.{stream}"), &json!({}))?;
            info["cluster"]["leader"].is_null().then_some(())
        });
    }
}
