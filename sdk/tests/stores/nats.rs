//! nats-server 2.9 and 2.15.

use async_nats::HeaderMap;
use async_nats::jetstream::{self, stream};
use ready_probe_sdk::connect::nats::NatsAddress;
use ready_probe_sdk::connect::store::Bucket;
use ready_probe_sdk::connect::tls::TlsOptions;
use ready_probe_sdk::signal::Name;
use ready_probe_sdk::store::Published;
use ready_probe_sdk::store::contract::Backend;
use ready_probe_sdk::store::nats::NatsStore;
use ready_probe_sdk::store::nats::client::NatsClient;
use ready_probe_sdk::store_contract;
use ready_probe_test_support::servers::{Nats, NatsVersion};

/// The version with which a message got a TTL of its own makes another store of it.
struct Server<const OWN_TTL: bool>(Nats);

impl<const OWN_TTL: bool> Server<OWN_TTL> {
    fn start() -> Self {
        let version = if OWN_TTL {
            NatsVersion::V2_15
        } else {
            NatsVersion::V2_9
        };
        Self(Nats::builder(version).jetstream().start())
    }

    /// With a bucket that leaves a marker in the place of what has expired.
    fn start_with_markers() -> Self {
        let server = Self::start();
        let config = stream::Config {
            subject_delete_marker_ttl: Some(std::time::Duration::from_secs(60)),
            ..Self::bucket()
        };
        let make = async { server.jetstream().await.create_stream(config).await };
        // The contract runs this within its runtime.
        let made = std::thread::scope(|scope| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let maker = scope.spawn(move || runtime.block_on(make));
            maker.join().unwrap()
        });
        made.unwrap();
        server
    }

    /// As the command line's `nats kv add` would make it.
    fn bucket() -> stream::Config {
        let short = std::time::Duration::from_millis(Self::SHORT_MS);
        let life = if OWN_TTL {
            stream::Config {
                allow_message_ttl: true,
                ..stream::Config::default()
            }
        } else {
            stream::Config {
                max_age: short,
                duplicate_window: short,
                ..stream::Config::default()
            }
        };
        stream::Config {
            name: "KV_ready".into(),
            subjects: vec!["$KV.ready.>".into()],
            max_messages_per_subject: 1,
            allow_direct: true,
            allow_rollup: true,
            ..life
        }
    }

    async fn jetstream(&self) -> jetstream::Context {
        jetstream::new(async_nats::connect(self.0.url()).await.unwrap())
    }
}

fn token(name: &str) -> String {
    name.replace('.', "=2E")
}

impl<const OWN_TTL: bool> Backend for Server<OWN_TTL> {
    type Store = NatsStore<NatsClient>;
    const SHORT_MS: u64 = if OWN_TTL { 1_000 } else { 3_000 };
    const LONG_MS: u64 = if OWN_TTL { 60_000 } else { 3_000 };
    const KEEPS_EACH: bool = OWN_TTL;

    async fn store(&mut self) -> Self::Store {
        let address = NatsAddress::parse(&self.0.url()).unwrap();
        let tls = TlsOptions::default();
        let client = NatsClient::connect(&address.endpoints[0], &address, &tls)
            .await
            .unwrap();
        let bucket = Bucket {
            max_age: std::time::Duration::from_millis(Self::SHORT_MS),
            ..Bucket::default()
        };
        NatsStore::new(client, Name::new("ns.1").unwrap(), bucket)
    }

    async fn put_raw(&mut self, published: &Published, bytes: &[u8], ttl_ms: Option<u64>) -> bool {
        if !OWN_TTL && ttl_ms.is_none() {
            return false;
        }
        let jetstream = self.jetstream().await;
        // It may be there.
        let _ = jetstream.create_stream(Self::bucket()).await;
        let Published { agent, instance } = published;
        let [agent, instance] = [agent.as_str(), instance.as_str()].map(token);
        let subject = format!("$KV.ready.ns=2E1.{agent}.{instance}");
        let mut headers = HeaderMap::new();
        if let Some(ttl_ms) = ttl_ms {
            headers.insert("Nats-TTL", format!("{}s", ttl_ms / 1_000));
        }
        let payload = bytes.to_vec().into();
        let ack = jetstream
            .publish_with_headers(subject, headers, payload)
            .await;
        ack.unwrap().await.unwrap();
        true
    }

    /// Before 2.11 a server lets a record replace another of its subject whatever their sizes, unless the
    /// bucket refuses to replace at all.
    async fn fill(&mut self, is_full: bool) -> bool {
        let client = async_nats::connect(self.0.url()).await.unwrap();
        let ask = async |what: &str, body: String| -> serde_json::Value {
            let subject = format!("$JS.API.STREAM.{what}.KV_ready");
            let answer = client.request(subject, body.into()).await.unwrap();
            serde_json::from_slice(&answer.payload).unwrap()
        };
        let info = ask("INFO", String::new()).await;
        let mut config = info["config"].clone();
        if OWN_TTL {
            let limit = info["state"]["bytes"].as_i64().filter(|_| is_full);
            config["max_bytes"] = limit.unwrap_or(-1).into();
        } else {
            config["discard_new_per_subject"] = is_full.into();
        }
        config["discard"] = "new".into();
        let edited = ask("UPDATE", config.to_string()).await;
        assert!(edited["error"].is_null(), "{edited}");
        true
    }

    async fn wipe(&mut self) {
        let _ = self.jetstream().await.delete_stream("KV_ready").await;
    }
}

store_contract!(nats_2_9, Server::<false>::start());
store_contract!(nats_2_15, Server::<true>::start());
store_contract!(nats_2_15_markers, Server::<true>::start_with_markers());
