//! What the SDK's stores are held to, over the probe's own connections.

use std::time::Duration;

use ready_probe_sdk::connect::store::StoreAddress;
use ready_probe_sdk::store::contract::Backend;
use ready_probe_sdk::store::nats::{Replies, Request};
use ready_probe_sdk::store::{Published, Store};
use ready_probe_sdk::store_contract;
use ready_probe_test_support::servers::{Nats, NatsVersion, Redis, RedisBinary};
use serde_json::{Value, json};

use super::*;

const MAX_BYTES: usize = 4 * 1024 * 1024;

async fn connected(url: &str, keep: Duration) -> LinkedStore {
    let place = Place {
        store: StoreAddress::parse(url).unwrap().with_max_age(keep),
        namespace: Name::new("ns.1").unwrap(),
    };
    let [endpoint] = place.store.endpoints() else {
        panic!("one server")
    };
    let opened = open(&place, endpoint, MAX_BYTES, &Secrets::default()).await;
    opened.unwrap()
}

struct RedisServer(Redis);

impl RedisServer {
    fn start(binary: RedisBinary) -> Self {
        Self(Redis::builder().binary(binary).start())
    }
}

impl Backend for RedisServer {
    type Store = LinkedStore;

    async fn store(&mut self) -> LinkedStore {
        connected(&self.0.url(), Duration::from_secs(60)).await
    }

    async fn put_raw(&mut self, published: &Published, bytes: &[u8], ttl_ms: Option<u64>) -> bool {
        let Published { agent, instance } = published;
        let set = format!("ready:ns.1:{{{agent}}}");
        let key = format!("{set}:{}", instance.as_str());
        let text = std::str::from_utf8(bytes).unwrap();
        self.0.command(&["SET", &key, text]);
        if let Some(ttl_ms) = ttl_ms {
            self.0.command(&["PEXPIRE", &key, &ttl_ms.to_string()]);
        }
        self.0.command(&["SADD", &set, instance.as_str()]);
        self.0.command(&["SADD", "ready:ns.1", agent.as_str()]);
        true
    }

    async fn fill(&mut self, is_full: bool) -> bool {
        let limit = if is_full { "1" } else { "0" };
        self.0.command(&["CONFIG", "SET", "maxmemory", limit]);
        true
    }

    async fn wipe(&mut self) {
        self.0.command(&["FLUSHALL"]);
    }
}

struct NatsServer<const OWN_TTL: bool>(Nats);

impl<const OWN_TTL: bool> NatsServer<OWN_TTL> {
    fn start() -> Self {
        let version = if OWN_TTL {
            NatsVersion::V2_15
        } else {
            NatsVersion::V2_9
        };
        Self(Nats::builder(version).jetstream().start())
    }

    async fn ask(
        &self,
        subject: &str,
        headers: Vec<(&'static str, String)>,
        payload: &[u8],
    ) -> Value {
        let Server::Nats(address, _) = StoreAddress::parse(&self.0.url()).unwrap().server else {
            panic!("not NATS")
        };
        let tls = ready_probe_sdk::connect::tls::TlsOptions::default();
        let endpoint = address.endpoints.first().unwrap();
        let mut link = NatsLink::open(&address, &tls, endpoint, MAX_BYTES, &Secrets::default())
            .await
            .unwrap();
        let request = Request {
            subject: subject.to_owned(),
            headers,
            payload: payload.to_vec(),
            replies: Replies::One,
        };
        let heard = link.exchange(&[request]).await.unwrap();
        assert_eq!(heard.error, None);
        let reply = heard.replies.into_iter().flatten().next().unwrap();
        serde_json::from_slice(&reply.payload).unwrap()
    }
}

impl<const OWN_TTL: bool> Backend for NatsServer<OWN_TTL> {
    type Store = LinkedStore;
    const SHORT_MS: u64 = if OWN_TTL { 1_000 } else { 3_000 };
    const LONG_MS: u64 = if OWN_TTL { 60_000 } else { 3_000 };
    const KEEPS_EACH: bool = OWN_TTL;

    async fn store(&mut self) -> LinkedStore {
        connected(&self.0.url(), Duration::from_millis(Self::SHORT_MS)).await
    }

    async fn put_raw(&mut self, published: &Published, bytes: &[u8], ttl_ms: Option<u64>) -> bool {
        if !OWN_TTL && ttl_ms.is_none() {
            return false;
        }
        // Makes the bucket, if it is not there.
        self.store().await.put(&[]).await.unwrap();
        let token = |name: &str| name.replace('.', "=2E");
        let (agent, instance) = (
            token(published.agent.as_str()),
            token(published.instance.as_str()),
        );
        let subject = format!("$KV.ready.ns=2E1.{agent}.{instance}");
        let ttl = ttl_ms.filter(|_| OWN_TTL);
        let headers = ttl.map(|ttl_ms| ("Nats-TTL", format!("{}s", ttl_ms / 1_000)));
        self.ask(&subject, headers.into_iter().collect(), bytes)
            .await;
        true
    }

    /// The bucket refuses to replace anything.
    async fn fill(&mut self, is_full: bool) -> bool {
        let info = self.ask("$JS.API.STREAM.INFO.KV_ready", Vec::new(), b"");
        let mut config = info.await["config"].clone();
        config["discard_new_per_subject"] = is_full.into();
        let config = config.to_string();
        let subject = "$JS.API.STREAM.UPDATE.KV_ready";
        let edited = self.ask(subject, Vec::new(), config.as_bytes()).await;
        assert_eq!(edited["error"], Value::Null);
        true
    }

    async fn wipe(&mut self) {
        let nothing = json!({}).to_string();
        self.ask(
            "$JS.API.STREAM.DELETE.KV_ready",
            Vec::new(),
            nothing.as_bytes(),
        )
        .await;
    }
}

store_contract!(redis_7, RedisServer::start(RedisBinary::Debian));
store_contract!(valkey_9, RedisServer::start(RedisBinary::Valkey));
store_contract!(nats_2_9, NatsServer::<false>::start());
store_contract!(nats_2_15, NatsServer::<true>::start());
