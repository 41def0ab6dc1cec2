//! What is taken for a predecessor's, and what becomes of it.

use ready_probe_test_support::servers::Redis;

use super::*;
use crate::connect::store::StoreAddress;
use crate::signal::{Instance, Signal, State, VERSION};
use crate::store::{Expiry, connected};

const OURS: &str = "4d8e2f0c";

fn epoch(init_start: u64) -> Epoch {
    Epoch {
        boot_id: Some("boot".to_owned()),
        pid_ns: Some(7),
        init_start: Some(init_start),
    }
}

/// Of an agent, published in a life of a container.
fn signal(agent: &str, container: Option<&str>, epoch: Epoch) -> Signal {
    Signal {
        v: VERSION,
        agent: Name::new(agent).unwrap(),
        instance: Instance::of_process("host", 17, epoch.init_start),
        state: State::Ready,
        reason: None,
        details: serde_json::Map::new(),
        ttl_ms: Some(60_000),
        beat_ms: None,
        seq: 1,
        host: Some("host".to_owned()),
        pid: Some(17),
        pid_start: Some(1),
        boot_id: epoch.boot_id,
        pid_ns: epoch.pid_ns,
        init_start: epoch.init_start,
        container: container.map(ToOwned::to_owned),
        mono_ms: Some(1),
        since: None,
        sdk: None,
        announced: None,
    }
}

fn seen(signal: &Signal) -> Seen {
    Seen {
        agent: signal.agent.clone(),
        instance: signal.instance.as_str().to_owned(),
        signal: Ok(signal.clone()),
        expiry: Expiry::Timely,
    }
}

fn announcer(store: &str, container: Option<&str>) -> Announcer {
    let destination = Destination {
        address: StoreAddress::parse(store).unwrap(),
        namespace: Name::new("default").unwrap(),
    };
    Announcer::new(destination, epoch(2), container.map(ToOwned::to_owned))
}

#[test]
fn only_an_earlier_life_of_this_very_container_is_a_predecessor() {
    let earlier = epoch(1);
    let earlier_boot = Epoch {
        boot_id: Some("earlier".to_owned()),
        ..epoch(2)
    };
    let unknown = Epoch {
        init_start: None,
        ..epoch(2)
    };
    for (us, container, epoch, want) in [
        (Some(OURS), Some(OURS), earlier.clone(), true),
        (Some(OURS), Some(OURS), earlier_boot, true),
        // Its neighbour, or itself.
        (Some(OURS), Some(OURS), epoch(2), false),
        (Some(OURS), Some(OURS), unknown, false),
        (Some(OURS), Some("another"), earlier.clone(), false),
        (Some(OURS), None, earlier.clone(), false),
        (None, Some(OURS), earlier.clone(), false),
        // Host name and process id are the same here, and prove nothing.
        (None, None, earlier, false),
    ] {
        let signal = signal("a", container, epoch.clone());
        let found = announcer("redis://h", us).predecessor(&seen(&signal));
        let want = want.then(|| Published {
            agent: signal.agent.clone(),
            instance: signal.instance.clone(),
        });
        assert_eq!(found, want, "{us:?}, {container:?}, {epoch:?}");
    }
}

#[test]
fn what_is_no_record_is_nobodys_predecessor() {
    let rubbish = Seen {
        signal: Signal::decode(b"rubbish"),
        ..seen(&signal("a", Some(OURS), epoch(1)))
    };
    let announcer = announcer("redis://h", Some(OURS));
    assert_eq!(announcer.predecessor(&rubbish), None);
}

#[tokio::test]
async fn who_comes_takes_the_place_of_its_predecessor_and_of_nobody_else() {
    let redis = Redis::start();
    let announcer = announcer(&redis.url(), Some(OURS));
    let Destination { address, namespace } = announcer.destination();
    let mut store = connected::connect(address, namespace).await.unwrap();
    let signals = [
        signal("a", Some(OURS), epoch(1)),
        signal("a", Some(OURS), epoch(2)),
        signal("a", Some("another"), epoch(3)),
        signal("b", Some(OURS), epoch(1)),
    ];
    let records = signals.map(|signal| Record::of(&signal).unwrap());
    for answer in store.put(&records).await.unwrap() {
        answer.unwrap();
    }
    let newcomers = [Name::new("a").unwrap()];
    announcer.succeed(&mut store, &newcomers).await.unwrap();
    let both = ["a", "b"].map(|name| Name::new(name).unwrap());
    let mut left: Vec<(String, String)> = store
        .read(&both)
        .await
        .unwrap()
        .into_iter()
        .map(|seen| (seen.agent.to_string(), seen.instance))
        .collect();
    left.sort();
    let want = [("a", "host-17-2"), ("a", "host-17-3"), ("b", "host-17-1")];
    assert_eq!(
        left,
        want.map(|(agent, instance)| (agent.to_owned(), instance.to_owned()))
    );
}
