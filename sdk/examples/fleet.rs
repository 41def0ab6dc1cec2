//! What `make bench` measures: many agents of one process that announce, and a peer that is read in
//! fleets of two sizes. Driven by bench/fleet.py.
//!
//! ```text
//! fleet announce STORE COUNT TTL_S         says "announced", and goes on until its input ends
//! fleet read SMALL_STORE LARGE_STORE SMALL LARGE ROUNDS
//!                                          says the median of reading one peer in each, in ns
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench that can't go on says why and ends"
)]

use std::time::Duration;

use ready_probe_sdk::connect::store::StoreAddress;
use ready_probe_sdk::signal::{Name, State};
use ready_probe_sdk::store::connected;
use ready_probe_sdk::store::{Published, Record, Store};
use ready_probe_sdk::{Agent, clock, close_all};

/// Nothing expires while it is measured.
const LONG_TTL: Duration = Duration::from_secs(3_600);
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["announce", store, count, ttl_s] => {
            announce(store, count.parse().unwrap(), ttl_s.parse().unwrap());
        }
        ["read", small_store, large_store, small, large, rounds] => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let fleets = [
                (*small_store, small.parse().unwrap()),
                (*large_store, large.parse().unwrap()),
            ];
            runtime.block_on(read(fleets, rounds.parse().unwrap()));
        }
        _ => panic!("see the first lines of this program"),
    }
}

fn announce(store: &str, count: usize, ttl_s: u64) {
    let names = (0..count).map(|n| format!("agent-{n}"));
    let agents: Vec<Agent> = names
        .map(|name| {
            let builder = Agent::builder(&name).store(store);
            let agent = builder.ttl(Duration::from_secs(ttl_s)).register().unwrap();
            agent.mark_ready(()).unwrap();
            agent
        })
        .collect();
    for agent in &agents {
        agent.wait_announced(PATIENCE).unwrap();
    }
    println!("announced");
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
    let failed = agents.iter().filter_map(|agent| agent.announced());
    let failed: Vec<_> = failed.filter(|announced| !announced.ok).collect();
    assert!(failed.is_empty(), "{failed:?}");
    close_all("measured");
}

/// A record as an agent would publish it.
fn record(agent: usize) -> Record {
    let (agent, instance) = (format!("agent-{agent}"), format!("host-17-{agent}"));
    let bytes = format!(
        "{{\"v\":1,\"agent\":\"{agent}\",\"instance\":\"{instance}\",\"state\":\"ready\",\"reason\":null,\
         \"details\":{{\"port\":5555}},\"ttl_ms\":3600000,\"pid\":17,\"mono_ms\":1}}"
    );
    Record {
        published: Published {
            agent: Name::new(&agent).unwrap(),
            instance: ready_probe_sdk::signal::Instance::new(&instance).unwrap(),
        },
        state: State::Ready,
        ttl_ms: 3_600_000,
        bytes: bytes.into_bytes(),
    }
}

async fn read(fleets: [(&str, usize); 2], rounds: usize) {
    let mut stores = Vec::new();
    for (index, (store, count)) in fleets.into_iter().enumerate() {
        let address = StoreAddress::parse(store).unwrap().with_max_age(LONG_TTL);
        let namespace = Name::new(&format!("fleet-{index}")).unwrap();
        let mut store = connected::connect(&address, &namespace).await.unwrap();
        let records: Vec<Record> = (0..count).map(record).collect();
        for records in records.chunks(1_000) {
            for answer in store.put(records).await.unwrap() {
                answer.unwrap();
            }
        }
        stores.push((store, Vec::with_capacity(rounds)));
    }
    // By turns, so that whatever else goes on concerns both.
    for round in 0..rounds + rounds / 10 {
        for (index, (store, took)) in stores.iter_mut().enumerate() {
            let agent = Name::new(&format!("agent-{}", round % fleets[index].1)).unwrap();
            let start = clock::instant();
            let seen = store.find_ready(&agent, 1).await.unwrap();
            let elapsed = start.elapsed().as_nanos();
            assert_eq!(seen.len(), 1);
            // The first ones warm up.
            if round >= rounds / 10 {
                took.push(elapsed);
            }
        }
    }
    for (_, took) in &mut stores {
        took.sort_unstable();
        println!("{}", took[took.len() / 2]);
    }
}
