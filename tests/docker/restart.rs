//! A signal of an earlier life of the container, or of another container, is never believed.

use std::{fs, time::Duration};

use ready_probe_test_support::docker::{Container, Engine, HealthLog, RunOptions, Volume};

use crate::fixture::{LIMIT, Probes, agent, says};

/// How long the agent loads in each of its lives: long enough for several probes in between.
const LOAD: Duration = Duration::from_secs(4);

#[test]
fn signal_does_not_survive_a_restart() {
    let container = start(agent("restart"));
    assert_starts_anew(&container);
}

#[test]
fn signal_on_a_volume_does_not_survive_a_restart() {
    let volume = Volume::create(Engine::shared(), "signals");
    let container = start(
        agent("volume")
            .volume(&volume, "/signals")
            .env("READY_DIR", "/signals"),
    );
    assert_starts_anew(&container);

    // The old signal was there all the time.
    let copy = tempfile::tempdir().unwrap();
    let from = format!("{}:/signals/translator", container.id());
    Engine::shared().docker(["cp", &from, copy.path().to_str().unwrap()]);
    let records = fs::read_dir(copy.path().join("translator"))
        .unwrap()
        .count();
    assert_eq!(records, 2, "one of each life");
}

#[test]
fn signal_on_a_shared_volume_counts_in_its_own_container_only() {
    let volume = Volume::create(Engine::shared(), "shared");
    let on_volume = |options: RunOptions| {
        options
            .volume(&volume, "/signals")
            .env("READY_DIR", "/signals")
            .hostname("agent-1")
    };
    let owner = Engine::shared().run(on_volume(agent("owner")));
    owner.wait_health("healthy", LIMIT);

    let forever = ["/ready-probe", "wait", "--for=1h", "file:/never"];
    let other = Engine::shared().run(on_volume(agent("other").command(forever)));
    Probes::of(&other).wait_each(3, "the foreign signal to be ignored", |probe| {
        says(probe, "starting: no agent has published a signal")
    });
    let named = other.exec(&["/ready-probe", "agent:translator"]);
    assert_eq!(named.code(), 1, "{named:?}");
    assert!(
        named
            .stdout
            .contains("no signal in this life of the container"),
        "{named:?}"
    );
    assert_eq!(owner.health().status, "healthy");
}

/// An agent that loads for [`LOAD`] at each start.
#[track_caller]
fn start(options: RunOptions) -> Container {
    let load = format!("{}s", LOAD.as_secs());
    let options = options.hostname("agent-1").env("AGENT_LOAD", &load);
    let options = options.health_interval(Duration::from_millis(500));
    Engine::shared().run(options.health_start_period(LIMIT))
}

/// Every probe from the restart until the new life has said `ready` must be a starting one.
#[track_caller]
fn assert_starts_anew(container: &Container) {
    let mut probes = Probes::of(container);
    probes.wait_healthy();
    let first_life = container.started();
    // Killed: an agent that ends takes its signal with it.
    container.kill("KILL");
    container.start();
    let second_life = container.started();
    assert!(second_life > first_life);
    let healthy = probes.wait(
        "health in the second life",
        |probe| probe.start < second_life || says(probe, "starting: agent translator: starting"),
        |probe| probe.start >= second_life && probe.exit_code == 0,
    );
    // The process is a little older than what the engine calls the start of the container.
    let ready = second_life + LOAD - Duration::from_millis(500);
    assert!(
        healthy.end >= ready,
        "it believed the old signal: {healthy:?}"
    );
    let in_second_life = |probe: &&HealthLog| probe.start >= second_life && probe.start < ready;
    assert!(
        probes.all().iter().filter(in_second_life).count() >= 2,
        "{:#?}",
        probes.all()
    );
}
