//! `container:` asks a real engine, as somebody outside of the container does.

use ready_probe_test_support::docker::{Container, Engine, RunOptions};
use ready_probe_test_support::process::{Run, probe, run, wait_until};
use tempfile::TempDir;

use crate::fixture::{LIMIT, agent, agent_image, kill_agent};

/// Asks the engine from this host. Nothing is remembered from one question to the next.
fn ask(name: &str) -> Run {
    let dir = TempDir::with_prefix("rp-engine-").unwrap();
    let socket = Engine::shared()
        .host()
        .and_then(|host| host.strip_prefix("unix://"));
    let socket = socket.unwrap_or("/var/run/docker.sock");
    let target = format!("container:{name}#socket={socket}");
    run(probe().env("READY_DIR", dir.path()).arg(target))
}

/// `fail paused`
fn said(run: &Run) -> String {
    let line = run.stdout.lines().nth(1).unwrap().trim_start();
    let (word, rest) = line.split_once(' ').unwrap();
    let (_, text) = rest.trim_start().split_once(' ').unwrap();
    format!("{word} {}", text.trim_start())
}

#[track_caller]
fn assert_says(container: &Container, wanted: &str) {
    let run = ask(container.id());
    assert!(said(&run).starts_with(wanted), "wanted {wanted}: {run:?}");
}

#[track_caller]
fn wait_until_it_says(container: &Container, wanted: &str) {
    wait_until(LIMIT, wanted, || {
        said(&ask(container.id())).starts_with(wanted).then_some(())
    });
}

#[test]
fn the_health_that_docker_shows_is_the_answer() {
    let container =
        Engine::shared().run(agent("asked").command(["/rust-agent", "supervise", "translator"]));
    container.wait_health("healthy", LIMIT);
    assert_says(&container, "pass ");
    // The other name of the same.
    let name = container.inspect()["Name"]
        .as_str()
        .unwrap()
        .trim_start_matches('/')
        .to_owned();
    assert_eq!(ask(&name).code(), 0);
    container.pause();
    assert_says(&container, "fail paused");
    container.unpause();
    wait_until_it_says(&container, "pass ");
    kill_agent(&container, "translator");
    container.wait_health("unhealthy", LIMIT);
    // What the last probe in there has said.
    assert_says(&container, "fail unhealthy: agent translator: process ");
    container.stop();
    assert_says(&container, "fail exited with status ");
    let id = container.id().to_owned();
    drop(container);
    assert_eq!(said(&ask(&id)), "fail no such container");
}

#[test]
fn without_a_health_check_it_counts_that_it_runs() {
    let sleeps = ["/ready-probe", "wait", "--for=1h", "file:/never"];
    let options = || RunOptions::image(agent_image()).no_healthcheck();
    let container = Engine::shared().run(options().name("runs").command(sleeps));
    assert_says(&container, "pass it runs; it has no health check");
    container.kill("KILL");
    container.wait_exit(LIMIT);
    assert_says(&container, "fail exited with status 137");

    let fails = ["/ready-probe", "file:/never"];
    let loops = options()
        .name("loops")
        .command(fails)
        .restart_policy("always");
    let container = Engine::shared().run(loops);
    wait_until_it_says(&container, "fail restarting, its last exit status is 1");
}

#[test]
fn a_check_that_has_not_passed_yet_is_a_start() {
    let starts = agent("starts")
        .command(["/ready-probe", "wait", "--for=1h", "file:/never"])
        .health_start_period(LIMIT);
    let container = Engine::shared().run(starts);
    assert_says(&container, "fail its health check has not passed yet");
}

#[test]
fn a_container_that_was_never_started_says_so() {
    let engine = Engine::shared();
    let name = engine.unique_name("created");
    let id = engine.docker([
        "create",
        "--name",
        &name,
        "--label",
        "ready-probe.test",
        agent_image(),
    ]);
    let container = engine.adopt(&id);
    assert_says(&container, "fail created, and never started");
}

/// Its limit is that of its cgroup.
#[test]
fn the_limit_of_processes_is_seen_from_inside() {
    let limited = agent("limited").pids_limit(50);
    let container = Engine::shared().run(limited);
    let run = container.exec(&["/ready-probe", "pids:#used=90%", "zombies:#max=5"]);
    assert!(
        run.stdout.contains(" of 50 processes and threads ("),
        "{run:?}"
    );
    let run = container.exec(&["/ready-probe", "pids:#used=1%&optional=false"]);
    assert!(
        run.code() == 1 && run.stdout.contains("limit 1%"),
        "{run:?}"
    );
}
