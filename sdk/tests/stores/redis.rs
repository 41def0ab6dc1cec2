//! Redis 7.0 and Valkey 9.

use ready_probe_sdk::connect::redis::RedisAddress;
use ready_probe_sdk::connect::tls::TlsOptions;
use ready_probe_sdk::signal::Name;
use ready_probe_sdk::store::Published;
use ready_probe_sdk::store::contract::Backend;
use ready_probe_sdk::store::redis::RedisStore;
use ready_probe_sdk::store::redis::client::RedisClient;
use ready_probe_sdk::store_contract;
use ready_probe_test_support::servers::{Redis, RedisBinary};

struct Server(Redis);

impl Server {
    fn start(binary: RedisBinary) -> Self {
        Self(Redis::builder().binary(binary).start())
    }
}

/// As another language's client writes them.
fn record_key(published: &Published) -> String {
    let Published { agent, instance } = published;
    format!("ready:ns.1:{{{agent}}}:{}", instance.as_str())
}

impl Backend for Server {
    type Store = RedisStore<RedisClient>;

    async fn store(&mut self) -> Self::Store {
        let mut tls = TlsOptions::default();
        let address = RedisAddress::parse(&self.0.url(), &mut tls).unwrap();
        let client = RedisClient::connect(&address.endpoints[0], &address, &tls)
            .await
            .unwrap();
        RedisStore::new(client, Name::new("ns.1").unwrap())
    }

    async fn put_raw(&mut self, published: &Published, bytes: &[u8], ttl_ms: Option<u64>) -> bool {
        let key = record_key(published);
        let text = std::str::from_utf8(bytes).unwrap();
        let Published { agent, instance } = published;
        self.0.command(&["SET", &key, text]);
        if let Some(ttl_ms) = ttl_ms {
            self.0.command(&["PEXPIRE", &key, &ttl_ms.to_string()]);
        }
        let set = format!("ready:ns.1:{{{agent}}}");
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

store_contract!(redis_7, Server::start(RedisBinary::Debian));
store_contract!(valkey_9, Server::start(RedisBinary::Valkey));
