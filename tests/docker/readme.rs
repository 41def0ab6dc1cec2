//! The two containers at the top of the README: one agent that hangs, under two health checks.

use std::time::Duration;

use ready_probe_test_support::{
    docker::{Container, Engine, RunOptions},
    process::workspace_root,
};

use crate::fixture::{LIMIT, debian_image, tell};

fn hanging(name: &str, check: &str) -> Container {
    let container = Engine::shared().run(
        RunOptions::image(debian_image())
            .name(name)
            .env("AGENT_WATCHDOG", "1s")
            .health_interval(Duration::from_secs(1))
            .health_shell(check),
    );
    container.wait_health("healthy", LIMIT);
    tell(&container, "hang 600s");
    container
}

/// `Up 20 seconds (healthy)` → `(healthy)`
fn health(status: &str) -> &str {
    assert!(status.starts_with("Up "), "{status}");
    &status[status.find('(').unwrap()..]
}

#[test]
fn a_hung_agent_is_healthy_by_its_port_and_unhealthy_by_its_own_word() {
    let readme = std::fs::read_to_string(workspace_root().join("README.md")).unwrap();
    let (_, block) = readme.split_once("NAMES         STATUS\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let mut lines = block.lines();
    let mut documented = || lines.next().unwrap();

    let port = hanging(
        "port-check",
        "/ready-probe 'tcp://localhost:5555#scope=own'",
    );
    let ours = hanging("ready-probe", "/ready-probe");
    ours.wait_health("unhealthy", LIMIT);
    port.wait_next_probe(LIMIT);
    for (container, name) in [(&port, "port-check"), (&ours, "ready-probe")] {
        let filter = format!("id={}", container.id());
        let status =
            Engine::shared().docker(["ps", "--filter", &filter, "--format", "{{.Status}}"]);
        let (shown, documented) = documented().split_once("  ").unwrap();
        assert_eq!(shown, name);
        assert_eq!(health(status.trim()), health(documented.trim()));
    }

    assert!(documented().starts_with("$ docker inspect "));
    let said = ours.wait_next_probe(LIMIT).output;
    let without_times = |line: &str| -> String {
        line.split(' ')
            .filter(|word| !word.starts_with(|c: char| c.is_ascii_digit()))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let (said, documented) = (
        without_times(said.lines().next().unwrap()),
        without_times(documented()),
    );
    // How long it has been so may follow.
    assert!(said.starts_with(&documented), "{said}\n{documented}");
}
