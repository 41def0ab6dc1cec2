//! The fleet of `examples/compose.yml`.

use std::{collections::HashMap, path::Path};

use ready_probe_test_support::{
    docker::{Compose, Engine},
    process::workspace_root,
};

use crate::events::Events;
use crate::fixture::{LIMIT, Probes, kill_agent, says};
use crate::packaging::{RUST_IMAGE, probe_image};

/// The services in the order in which they must come up; the first two in any.
const SERVICES: [&str; 4] = ["redis", "nats", "translator", "speech"];

/// A project of `examples/`, with its images built.
pub fn build(engine: &Engine, file: &Path, name: &str) -> Compose {
    engine.server_image("redis:7");
    engine.server_image("nats:2");
    // The builder has most steps at hand then.
    probe_image();
    let project = Compose::new(engine, file, name)
        .env("RUST_IMAGE", RUST_IMAGE)
        // By `docker build`: what the older compose builds by itself shares no steps with that.
        .env("COMPOSE_DOCKER_CLI_BUILD", "1");
    let built = project.run(&["build"]);
    assert_eq!(built.code(), 0, "{built:?}");
    project
}

#[test]
fn fleet_comes_up_in_order_and_misses_a_dead_agent() {
    let engine = Engine::shared();
    let events = Events::record(engine);
    let example = workspace_root().join("examples/compose.yml");
    let fleet = build(engine, &example, "fleet");
    fleet.up();

    for service in SERVICES {
        fleet.service(service).wait_health("healthy", LIMIT);
    }
    let first = |event: &str| -> HashMap<&str, u64> {
        SERVICES
            .map(|service| (service, events.first(fleet.service(service).id(), event)))
            .into()
    };
    let (started, healthy) = (first("start"), first("health_status: healthy"));
    for (service, dependency) in [
        ("translator", "redis"),
        ("translator", "nats"),
        ("speech", "redis"),
        ("speech", "nats"),
        ("speech", "translator"),
    ] {
        assert!(
            started[service] > healthy[dependency],
            "{service} before {dependency}: {started:?} {healthy:?}"
        );
    }
    // Each agent asks for both servers by its environment alone.
    let speech = fleet.service("speech");
    let output = speech.health().log.last().unwrap().output.clone();
    for target in [
        "agent:asr",
        "agent:tts",
        "redis://redis:6379",
        "nats://nats:4222",
    ] {
        assert!(output.contains(&format!(" pass     {target} ")), "{output}");
    }

    // The engine's log still holds those from its start, if that was a moment ago.
    let mut probes = Probes::of(&speech);
    probes.wait_healthy();
    let pid = kill_agent(&speech, "tts");
    let gone = format!("unhealthy: agent tts: process {pid} is gone");
    probes.wait(
        "the death to be seen",
        |probe| says(probe, "healthy: "),
        |probe| says(probe, &gone),
    );
    speech.wait_health("unhealthy", LIMIT);
    assert_eq!(speech.status(), "running");
    assert_eq!(fleet.health("translator").status, "healthy");
}
