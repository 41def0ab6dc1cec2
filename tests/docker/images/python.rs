//! `examples/python`, built and brought up as its user does, with the wheel of `make wheel`.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Stdio,
    sync::OnceLock,
    time::Duration,
};

use ready_probe_test_support::{
    docker::{Compose, Container, Engine, RunOptions},
    process::{Guard, probe, run, wait_until, workspace_root},
};

use crate::fixture::{LIMIT, Probes, says};

/// What stands in for `python:3.12-slim` where no registry can be reached.
pub const PYTHON_IMAGE: &str = "ready-probe-test/python:local";

/// The image of the Dockerfile's first stage, under the name that compose.yml gives it.
const AGENT_IMAGE: &str = "ready-probe-example-python";

const SERVICES: [&str; 4] = ["plain-agent", "asyncio-agent", "service", "workers"];

fn example() -> PathBuf {
    workspace_root().join("examples/python")
}

/// The image that [`PYTHON_IMAGE`] names.
pub fn base_image() {
    Engine::shared().python_image(PYTHON_IMAGE, &example().join("requirements.txt"));
}

/// The wheel of this build.
pub fn wheel() -> PathBuf {
    let dist = workspace_root().join("dist");
    let wheels: Vec<PathBuf> = files_of(&dist).filter(|file| is_wheel(file)).collect();
    assert!(
        wheels.len() == 1,
        "{} holds {} wheels instead of one: `make wheel` builds it",
        dist.display(),
        wheels.len()
    );
    wheels[0].clone()
}

fn files_of(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
}

fn is_wheel(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "whl")
}

/// The project of compose.yml, with its images built.
fn fleet() -> Compose {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        // A copy, where the wheel of this build can be put beside the Dockerfile.
        let context = tempfile::tempdir().unwrap();
        let sources = files_of(&example()).filter(|file| !is_wheel(file));
        for file in sources.chain([wheel()]) {
            fs::copy(&file, context.path().join(file.file_name().unwrap())).unwrap();
        }
        base_image();
        let built = project(&context.path().join("compose.yml")).run(&["build"]);
        assert_eq!(built.code(), 0, "{built:?}");
    });
    project(&example().join("compose.yml"))
}

fn project(file: &Path) -> Compose {
    Compose::new(Engine::shared(), file, "python")
        .env("PYTHON_IMAGE", PYTHON_IMAGE)
        .env("COMPOSE_DOCKER_CLI_BUILD", "1")
}

#[test]
fn examples_turn_healthy_and_stop_being_so_when_their_agents_do() {
    let fleet = fleet();
    fleet.up();
    for service in SERVICES {
        let health = fleet.service(service).wait_health("healthy", LIMIT);
        let output = &health.log.last().unwrap().output;
        assert!(output.starts_with("healthy: "), "{service}: {output}");
    }
    let [plain, asyncio, service, workers] = SERVICES.map(|service| fleet.service(service));
    a_dead_worker_makes_its_container_unhealthy(&workers);
    a_blocked_event_loop_is_stalled_until_it_runs_again(&asyncio);
    let version = plain.exec(&["ready-probe", "--version"]);
    assert_eq!(version.stdout, run(probe().arg("--version")).stdout);
    let answer = service.exec(&["ready-probe", "http://localhost:8000/#json=/hello=world"]);
    assert_eq!(answer.code(), 0, "{answer:?}");

    fleet.run(&["stop", "plain-agent", "service"]);
    assert_eq!(plain.wait_exit(LIMIT), 0, "{}", plain.logs());
    let logs = service.logs();
    assert!(logs.contains("Application shutdown complete."), "{logs}");
}

fn a_dead_worker_makes_its_container_unhealthy(container: &Container) {
    let kill =
        "cd /dev/shm/ready-probe/worker-1 && set -- *.json && kill -9 ${1%%-*} && echo ${1%%-*}";
    let killed = container.exec(&["sh", "-c", kill]);
    assert_eq!(killed.code(), 0, "{killed:?}");
    let reason = format!(
        "unhealthy: agent worker-1: process {} has died and is a zombie",
        killed.stdout.trim()
    );
    let asked = wait_until(LIMIT, "the probe to miss it", || {
        let asked = container.exec(&["ready-probe"]);
        (asked.code() == 1 && asked.stdout.starts_with(&reason)).then_some(asked)
    });
    assert!(
        asked.stdout.contains(" pass     agent:worker-2 "),
        "{asked:?}"
    );

    let health = container.wait_health("unhealthy", LIMIT);
    for probe in &health.log[health.log.len() - 3..] {
        assert!(says(probe, &reason), "{probe:?}");
    }
    assert_eq!(container.status(), "running");
}

fn a_blocked_event_loop_is_stalled_until_it_runs_again(container: &Container) {
    let mut attach = Engine::shared().command("docker");
    attach.args(["attach", "--sig-proxy=false", container.id()]);
    let mut attached = Guard::spawn(attach.stdin(Stdio::piped()).stdout(Stdio::null()));
    let jobs = attached.child().stdin.as_mut().unwrap();
    // Several, for a machine too busy to look while the first one blocks.
    jobs.write_all(b"block\nblock\nblock\n").unwrap();
    wait_until(LIMIT, "the probe to see that it is blocked", || {
        let asked = container.exec(&["ready-probe"]);
        let reason = "unhealthy: agent asyncio-agent: not_ready: stalled: no progress for ";
        (asked.code() == 1 && asked.stdout.starts_with(reason)).then_some(())
    });
    wait_until(LIMIT, "the probe to see that it runs again", || {
        (container.exec(&["ready-probe"]).code() == 0).then_some(())
    });
}

/// Loads until there is /tmp/loaded, is ready, and says no once there is /tmp/reload.
const SLOW_AGENT: &str = "
import os, time
from ready_probe import Agent

def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.05)

agent = Agent('slow')
wait_for('/tmp/loaded')
agent.mark_ready()
wait_for('/tmp/reload')
agent.mark_not_ready('reloading the model')
time.sleep(3600)
";

#[test]
fn health_is_what_the_agent_says_from_its_start_on() {
    fleet();
    let container = Engine::shared().run(
        RunOptions::image(AGENT_IMAGE)
            .name("slow")
            .env("READY_AGENT", "slow")
            .health_interval(Duration::from_secs(1))
            .command(["python", "-c", SLOW_AGENT]),
    );
    let mut probes = Probes::of(&container);
    let loads = |probe: &_| says(probe, "starting: agent slow: starting");
    probes.wait("it to register", |probe| says(probe, "starting: "), loads);
    probes.wait_each(3, "it to go on loading", loads);
    assert_eq!(container.health().status, "starting");

    assert_eq!(container.exec(&["touch", "/tmp/loaded"]).code(), 0);
    probes.wait("it to be ready", loads, |probe| says(probe, "healthy: "));
    assert_eq!(container.health().status, "healthy");

    assert_eq!(container.exec(&["touch", "/tmp/reload"]).code(), 0);
    let reloads = |probe: &_| {
        says(
            probe,
            "unhealthy: agent slow: not_ready: reloading the model",
        )
    };
    probes.wait("it to say no", |probe| says(probe, "healthy: "), reloads);
    probes.wait_each(2, "it to go on reloading", reloads);
    container.wait_health("unhealthy", LIMIT);
}

#[test]
fn process_1_that_asks_for_the_handler_is_ended_by_sigterm() {
    fleet();
    let program = "
import signal
from ready_probe import Agent
agent = Agent('first', install_signal_handlers=True)
agent.mark_ready()
while True:
    signal.pause()
";
    let container = Engine::shared().run(
        RunOptions::image(AGENT_IMAGE)
            .name("first")
            .no_healthcheck()
            .command(["python", "-c", program]),
    );
    wait_until(LIMIT, "it to be ready", || {
        (container.exec(&["ready-probe", "agent:first"]).code() == 0).then_some(())
    });
    container.kill("TERM");
    assert_eq!(container.wait_exit(LIMIT), 143, "{}", container.logs());
}
