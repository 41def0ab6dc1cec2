//! `container:`, as asked of a real engine, through a proxy that lets through nothing but what the documents name.

use std::time::Duration;

use ready_probe_test_support::{
    docker::{Container, Engine, RunOptions, SocketProxy},
    process::{Run, probe, run, wait_until},
};

use crate::fixture::{LIMIT, agent, agent_image};
use crate::keeper_containers::is_documented;

/// What the engine says of a container by this name or id.
fn ask(proxy: &SocketProxy, name: &str) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let target = format!("container:{name}#inet={}&name=it", proxy.address());
    let mut probe = probe();
    probe
        .env("READY_DIR", folder.path())
        .args(["--agent", "off", "--grace", "0", &target]);
    run(&mut probe)
}

/// The first line, up to where it names a time or a process.
#[track_caller]
fn assert_said(proxy: &SocketProxy, name: &str, code: i32, line: &str) {
    let run = ask(proxy, name);
    assert!(
        run.code() == code && run.first_line().starts_with(line),
        "{line}: {run:?}"
    );
}

/// As it is called, without the slash.
fn name_of(container: &Container) -> String {
    let inspected = container.inspect();
    let name = inspected["Name"].as_str().unwrap();
    name.trim_start_matches('/').to_owned()
}

#[test]
fn a_container_passes_as_long_as_its_engine_says_that_it_works() {
    let engine = Engine::shared();
    let proxy = SocketProxy::start(engine, is_documented);
    let container = engine.run(agent("engine-healthy"));
    let name = name_of(&container);
    container.wait_health("healthy", LIMIT);
    assert_said(&proxy, &name, 0, "healthy: 1 check passes");
    // By its id, and by what `docker ps` shows of that.
    for id in [container.id(), &container.id()[..12]] {
        assert_said(&proxy, id, 0, "healthy: 1 check passes");
    }
    container.pause();
    assert_said(&proxy, &name, 1, "unhealthy: dependency it: paused");
    container.unpause();
    container.wait_health("healthy", LIMIT);
    container.kill("KILL");
    container.wait_exit(LIMIT);
    let ended = "unhealthy: dependency it: exited with status 137";
    assert_said(&proxy, &name, 1, ended);
    engine.docker(["rm", "--force", "--volumes", &name]);
    let absent = "unhealthy: dependency it: no such container";
    assert_said(&proxy, &name, 1, absent);
    assert_eq!(proxy.refused(), [""; 0]);
    assert!(
        proxy
            .asked()
            .contains(&format!("GET /containers/{name}/json"))
    );
}

#[test]
fn a_container_that_is_not_well_says_why() {
    let engine = Engine::shared();
    let proxy = SocketProxy::start(engine, is_documented);
    let loads = agent("engine-loads").env("AGENT_LOAD", "1h");
    let loads = engine.run(loads.health_start_period(Duration::from_secs(3_600)));
    assert_said(
        &proxy,
        &name_of(&loads),
        1,
        "unhealthy: dependency it: its health check has not passed yet",
    );
    // Without a start period the engine counts what the agent says at once.
    let slow = engine.run(agent("engine-slow").env("AGENT_LOAD", "1h"));
    slow.wait_health("unhealthy", LIMIT);
    assert_said(
        &proxy,
        &name_of(&slow),
        1,
        "unhealthy: dependency it: unhealthy: starting: agent translator: starting",
    );
    let unasked = engine.run(agent("engine-unasked").no_healthcheck());
    let passes = ask(&proxy, &name_of(&unasked));
    assert_eq!(passes.code(), 0, "{passes:?}");
    assert!(
        passes.stdout.contains("it runs; it has no health check"),
        "{passes:?}"
    );
    let unused = RunOptions::image(agent_image()).restart_policy("always");
    let crashes = engine.run(
        unused
            .name("engine-crashes")
            .command(["/rust-agent", "no-such-verb"]),
    );
    let name = name_of(&crashes);
    let restarting = "unhealthy: dependency it: restarting, its last exit status is 64";
    wait_until(LIMIT, "a crash to be seen", || {
        ask(&proxy, &name)
            .first_line()
            .starts_with(restarting)
            .then_some(())
    });
    let created = engine.unique_name("engine-created");
    let id = engine.docker(["create", "--name", &created, agent_image()]);
    let _created = engine.adopt(&id);
    assert_said(
        &proxy,
        &created,
        1,
        "unhealthy: dependency it: created, and never started",
    );
    assert_eq!(proxy.refused(), [""; 0]);
}

/// An engine answers for the beginning of an id as if it were a name.
#[test]
fn the_beginning_of_an_id_is_nobodys_name_and_may_be_anothers() {
    let engine = Engine::shared();
    let proxy = SocketProxy::start(engine, is_documented);
    let container = engine.run(agent("engine-prefix"));
    container.wait_health("healthy", LIMIT);
    let beginning = &container.id()[..8];
    let absent = "unhealthy: dependency it: no such container";
    assert_said(&proxy, beginning, 1, absent);
    // Another one has it for its name.
    let other = engine.run(agent("engine-namesake").no_healthcheck());
    engine.docker(["rename", other.id(), beginning]);
    other.stop();
    let ended = "unhealthy: dependency it: exited with status";
    assert_said(&proxy, beginning, 1, ended);
    assert_said(&proxy, container.id(), 0, "healthy: 1 check passes");
}
