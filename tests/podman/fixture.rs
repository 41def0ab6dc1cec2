//! The images of these tests, and what is seen of their containers.

use std::{path::PathBuf, time::Duration};

use ready_probe_test_support::{
    docker::{ImageRoot, find_program},
    pages::block,
    podman::Podman,
    process::{Run, example_agent, probe_binary, run_within, wait_until, workspace_root},
};
use serde_json::Value;

/// Longer than anything here takes on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(60);

/// The image that the manifests of `examples/kubernetes` name.
pub const TRANSLATOR: &str = "registry.example.com/translator:1.0";

/// The probe, and the example agent with its libraries.
pub fn agent_root() -> ImageRoot {
    ImageRoot::new()
        .file(&probe_binary(), "/ready-probe")
        .program(&example_agent(), "/rust-agent")
}

/// The same with a shell.
pub fn agent_root_with_shell() -> ImageRoot {
    agent_root().program(&find_program("sh"), "/bin/sh")
}

/// Starts a container of `image` with options of `podman run`, and waits until the agent in it is ready.
#[track_caller]
pub fn run_agent(podman: &Podman, name: &str, image: &str, options: &[&str]) {
    let run = ["run", "--detach", "--network=none", "--name", name];
    podman.podman(run.iter().chain(options).chain([&image]));
    wait_until(LIMIT, "the agent to be ready", || {
        let asked = podman.try_podman(["exec", name, "/ready-probe"]);
        (asked.code() == 0).then_some(())
    });
}

/// Runs the health check of a container, as systemd's timer does.
pub fn check(podman: &Podman, container: &str) -> Run {
    podman.try_podman(["healthcheck", "run", container])
}

/// The status of a container's health, and what the last check printed.
#[track_caller]
pub fn health(podman: &Podman, container: &str) -> (String, String) {
    let health = podman.inspect(container)["State"]["Health"].clone();
    let log = health["Log"].as_array().cloned().unwrap_or_default();
    let output = log
        .last()
        .map_or(Value::Null, |last| last["Output"].clone());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&health["Status"]), text(&output))
}

/// Asks what a container's health check asks, through `podman exec`.
pub fn ask(podman: &Podman, container: &str, targets: &[&str]) -> Run {
    podman.try_podman(["exec", container, "/ready-probe"].iter().chain(targets))
}

/// Sends the agent at port 5555 of a pod a command line, and returns its answer.
#[track_caller]
pub fn tell(podman: &Podman, ip: &str, line: &str) -> String {
    const CLIENT: &str = "import socket, sys\n\
        with socket.create_connection((sys.argv[1], 5555), timeout=60) as agent:\n    \
        agent.sendall(sys.argv[2].encode() + b'\\n')\n    \
        print(agent.makefile().readline(), end='')";
    let mut client = podman.in_network("python3");
    let run = run_within(client.args(["-c", CLIENT, ip, line]), LIMIT);
    assert_eq!(run.code(), 0, "{}", run.stderr);
    run.stdout.trim_end().to_owned()
}

/// A manifest of `examples/kubernetes`.
pub fn manifest(name: &str) -> PathBuf {
    workspace_root().join("examples/kubernetes").join(name)
}

/// The YAML of docs/kubernetes.md, below this heading, in a pod.
pub fn pod_of_the_page(heading: &str) -> String {
    const BEGINNING: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: page}\nspec:\n";
    const CONTAINER: &str =
        "  containers:\n    - name: page\n      image: registry.example.com/page:1.0\n";
    let yaml = block("docs/kubernetes.md", heading, "yaml", 0).text;
    let (around, indent) = if yaml.starts_with("initContainers:\n") {
        ("", "  ")
    } else {
        (CONTAINER, "      ")
    };
    let yaml = yaml.lines().map(|line| format!("{indent}{line}\n"));
    format!("{BEGINNING}{around}{}", yaml.collect::<String>())
}
