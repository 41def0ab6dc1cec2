//! The fleets of `examples/compose.yml` and `examples/peers.yml`.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Mutex, PoisonError},
};

use ready_probe_test_support::{
    docker::{Compose, Engine},
    process::{wait_until, workspace_root},
};

use super::packaging::{RUST_IMAGE, probe_image};
use crate::events::Events;
use crate::fixture::{LIMIT, Probes, kill_agent, says, tell};

/// The services in the order in which they must come up; the first two in any.
const SERVICES: [&str; 4] = ["redis", "nats", "translator", "speech"];

static BUILDING: Mutex<()> = Mutex::new(());

/// A project of `examples/`, with its images built.
fn build(engine: &Engine, file: &Path, name: &str) -> Compose {
    engine.server_image("redis:7");
    engine.server_image("nats:2");
    // The builder has most steps at hand then, and all of them once the first of these projects is built.
    probe_image();
    let _one_at_a_time = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
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

#[test]
fn agents_wait_for_their_peers_and_follow_what_these_say() {
    let engine = Engine::shared();
    let example = workspace_root().join("examples/peers.yml");
    let fleet = build(engine, &example, "peers");
    fleet.up();
    for service in ["redis", "memory-system", "translator"] {
        fleet.service(service).wait_health("healthy", LIMIT);
    }
    let (memory, translator) = (fleet.service("memory-system"), fleet.service("translator"));
    let waited = translator.logs();
    assert!(
        waited.contains("waiting: unhealthy: dependency peer:memory-system: "),
        "{waited}"
    );
    let output = translator.health().log.last().unwrap().output.clone();
    for target in ["agent:translator", "peer:memory-system"] {
        assert!(output.contains(&format!(" pass     {target} ")), "{output}");
    }
    let listed = memory.exec(&["/ready-probe", "list"]);
    let rows: Vec<&str> = listed.stdout.lines().collect();
    assert_eq!(rows.len(), 4, "{listed:?}");
    assert_eq!(rows[0], "2 agents: 2 ready");
    assert!(rows[2].starts_with("memory-system  ready "), "{listed:?}");
    assert!(rows[3].starts_with("translator     ready "), "{listed:?}");

    let ask = || translator.exec(&["/ready-probe"]);
    tell(&memory, "reload new weights");
    wait_until(LIMIT, "the peer's word to be heard", || {
        let asked = ask();
        let said = "unhealthy: dependency peer:memory-system: not_ready: new weights";
        (asked.code() == 1 && asked.stdout.starts_with(said)).then_some(())
    });
    tell(&memory, "resume");
    wait_until(LIMIT, "the peer to be ready again", || {
        (ask().code() == 0).then_some(())
    });
    // The store comes back empty, and the beats bring the signals back.
    fleet.service("redis").restart();
    wait_until(LIMIT, "both to be announced again", || {
        let listed = memory.exec(&["/ready-probe", "list"]);
        listed
            .stdout
            .starts_with("2 agents: 2 ready\n")
            .then_some(())
    });
    wait_until(LIMIT, "nothing to be wrong any more", || {
        ask().stdout.starts_with("healthy: ").then_some(())
    });
}
