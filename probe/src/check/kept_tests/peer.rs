//! Peers, in the stores that they are announced in.

use ready_probe_sdk::connect::store::StoreAddress;
use ready_probe_sdk::signal::{Name, Signal};
use ready_probe_sdk::store::{Record, Store};
use ready_probe_test_support::servers::{Nats, NatsVersion};

use super::*;
use crate::link::store;

fn place(url: &str) -> Place {
    Place {
        store: StoreAddress::parse(url).unwrap(),
        namespace: Name::new("default").unwrap(),
    }
}

fn asking(proxies: &[&Proxy], scheme: &str, options: &str) -> Asking {
    let hosts: Vec<String> = proxies
        .iter()
        .map(|proxy| format!("127.0.0.1:{}", proxy.port()))
        .collect();
    let url = format!("{scheme}://{}{options}", hosts.join(","));
    Asking {
        place: Some(place(&url)),
        ..Asking::new(&["peer:a"])
    }
}

/// Has an instance of agent `a` say this.
fn announce(asking: &Asking, url: &str, state: &str) {
    let record = serde_json::json!({
        "v": 1, "agent": "a", "instance": "one", "state": state, "ttl_ms": 60_000,
    });
    let signal = Signal::decode(record.to_string().as_bytes()).unwrap();
    let place = place(url);
    let stored = asking.event_loop.block_on(async {
        let [endpoint] = place.store.endpoints() else {
            panic!("one server")
        };
        let mut store = store::open(&place, endpoint, 1024 * 1024, &Secrets::default())
            .await
            .unwrap();
        store.put(&[Record::of(&signal).unwrap()]).await.unwrap()
    });
    assert!(stored.iter().all(Result::is_ok), "{stored:?}");
}

#[test]
fn peers_are_read_over_one_connection() {
    let redis = Redis::start();
    let valkey = Redis::builder().binary(RedisBinary::Valkey).start();
    let old = Nats::builder(NatsVersion::V2_9).jetstream().start();
    let new = Nats::builder(NatsVersion::V2_15).jetstream().start();
    for (url, port, scheme) in [
        (redis.url(), redis.port(), "redis"),
        (valkey.url(), valkey.port(), "redis"),
        (old.url(), old.port(), "nats"),
        (new.url(), new.port(), "nats"),
    ] {
        let proxy = Proxy::start(([127, 0, 0, 1], port).into());
        let asking = asking(&[&proxy], scheme, "");
        assert!(asking.round()[0].starts_with("fail no signal"), "{url}");
        announce(&asking, &url, "ready");
        asking.passes();
        let before = proxy.connections();
        for _ in 0..3 {
            asking.passes();
        }
        assert_eq!(proxy.connections(), before, "{url}");
        announce(&asking, &url, "not_ready");
        assert_eq!(asking.round(), ["fail not_ready"], "{url}");
        announce(&asking, &url, "ready");
        asking.passes();
    }
}

#[test]
fn a_store_that_is_gone_is_news_and_another_one_is_asked() {
    let (mut first, second) = (Redis::start(), Redis::start());
    let proxies = [&first, &second].map(|redis| {
        let upstream = ([127, 0, 0, 1], redis.port()).into();
        Proxy::start(upstream)
    });
    let [a, b] = &proxies;
    let asking = asking(&[a, b], "redis", "");
    announce(&asking, &first.url(), "ready");
    announce(&asking, &second.url(), "ready");
    asking.passes();
    asking.passes();
    assert_eq!((a.connections(), b.connections()), (1, 1));
    asking.has_news_after(|| first.kill());
    asking.passes();
    asking.passes();
    assert_eq!(b.connections(), 1);
}

#[test]
fn a_silent_connection_to_a_store_costs_a_part_of_the_time() {
    let nats = Nats::builder(NatsVersion::V2_15).jetstream().start();
    let proxy = Proxy::start(([127, 0, 0, 1], nats.port()).into());
    let asking = asking(&[&proxy], "nats", "");
    announce(&asking, &nats.url(), "ready");
    asking.passes_past_a_silence(&proxy);
}
