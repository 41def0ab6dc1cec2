//! Agents that others can see: announced in a store, waited for, taken back, succeeded.

use ready_probe_test_support::docker::{Container, Engine, Network, RunOptions};
use ready_probe_test_support::process::wait_until;
use serde_json::Value;

use crate::fixture::{LIMIT, Probes, agent, says, tell};

/// A store, and containers that announce there under one host name: it proves nothing.
fn announcing(name: &str, network: &Network) -> Container {
    let options = agent(name)
        .network(network, name)
        .hostname("agent-1")
        .env("READY_STORE", "redis://redis:6379");
    Engine::shared().run(options)
}

#[test]
fn the_next_life_of_a_container_takes_its_predecessors_place_and_nobody_elses() {
    let engine = Engine::shared();
    engine.server_image("redis:7");
    let network = Network::create(engine, "succession");
    let _redis = engine.run(
        RunOptions::image("redis:7")
            .name("succession-redis")
            .network(&network, "redis")
            .no_healthcheck(),
    );
    let one = announcing("succession-1", &network);
    let other = announcing("succession-2", &network);
    let instances = || -> Vec<String> {
        let asked = other.exec(&["/ready-probe", "list", "--format", "json"]);
        assert_eq!(asked.code(), 0, "{asked:?}");
        let listed: Value = serde_json::from_str(&asked.stdout).unwrap();
        let signals = listed["signals"].as_array().unwrap();
        let instances = signals.iter().map(|signal| signal["instance"].to_string());
        instances.collect()
    };
    let both = wait_until(LIMIT, "both to be announced", || {
        Some(instances()).filter(|keys| keys.len() == 2)
    });
    // Not even a chance to take anything back.
    one.kill("KILL");
    one.wait_exit(LIMIT);
    assert_eq!(instances(), both, "they live on for their TTL");
    one.start();
    let after = wait_until(LIMIT, "the new life to take the old one's place", || {
        Some(instances()).filter(|keys| keys.len() == 2 && *keys != both)
    });
    let kept = after.iter().filter(|key| both.contains(key)).count();
    assert_eq!(kept, 1, "{both:?} {after:?}");
    let asked = other.exec(&["/ready-probe", "peer:translator#min=2"]);
    assert_eq!(asked.code(), 0, "{asked:?}");
    // One that ends as it should leaves nothing.
    tell(&one, "quit");
    wait_until(LIMIT, "its signal to be taken back", || {
        Some(instances()).filter(|keys| keys.len() == 1)
    });
}

#[test]
fn a_store_that_is_away_degrades_and_fails_nobody() {
    let engine = Engine::shared();
    engine.server_image("redis:7");
    let network = Network::create(engine, "away");
    let redis = engine.run(
        RunOptions::image("redis:7")
            .name("away-redis")
            .network(&network, "redis")
            .no_healthcheck(),
    );
    let container = announcing("away-agent", &network);
    let mut probes = Probes::of(&container);
    probes.wait_healthy();
    redis.stop();
    let bearable = |probe: &_| says(probe, "healthy: ") || says(probe, "degraded: ");
    probes.wait("the announcement to fail", bearable, |probe| {
        says(
            probe,
            "degraded: agent translator: not announced to redis://redis:6379: ",
        )
    });
    redis.start();
    probes.wait("the announcement to heal", bearable, |probe| {
        says(probe, "healthy: ")
    });
}
