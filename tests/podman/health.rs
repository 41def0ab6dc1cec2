//! What Podman makes of a health check. Its timers are systemd's, and there is none here: each check is run by
//! hand.

use ready_probe_test_support::podman::Podman;

use crate::fixture::{agent_root, agent_root_with_shell, check, health, run_agent};

const AGENT: &str = "localhost/agent:1";
const HEALTHY: &str = "healthy: 1 check passes; 1 agent discovered; READY_AGENT not set\n";
const INSTRUCTIONS: &str = "HEALTHCHECK CMD [\"/ready-probe\"]\nCMD [\"/rust-agent\"]";

#[test]
fn the_check_of_an_image_needs_no_shell_and_is_kept_by_the_docker_format_alone() {
    let podman = Podman::start();
    podman.build_as("docker", AGENT, &agent_root(), INSTRUCTIONS);
    run_agent(&podman, "kept", AGENT, &[]);
    let test = podman.inspect("kept")["Config"]["Healthcheck"]["Test"].clone();
    assert_eq!(test, serde_json::json!(["CMD", "/ready-probe"]));
    assert_eq!(check(&podman, "kept").code(), 0);
    let (status, output) = health(&podman, "kept");
    assert_eq!(status, "healthy");
    assert!(output.starts_with(HEALTHY), "{output}");

    podman.build_as("oci", "localhost/agent:oci", &agent_root(), INSTRUCTIONS);
    run_agent(&podman, "lost", "localhost/agent:oci", &[]);
    assert!(podman.inspect("lost")["Config"]["Healthcheck"].is_null());
    let checked = check(&podman, "lost");
    assert_ne!(checked.code(), 0);
    assert!(
        checked.stderr.contains("has no defined healthcheck"),
        "{}",
        checked.stderr
    );
}

#[test]
fn a_health_command_needs_a_shell_unless_it_begins_with_cmd() {
    let podman = Podman::start();
    podman.build(AGENT, &agent_root(), "CMD [\"/rust-agent\"]");
    let json = ["--health-cmd", "[\"/ready-probe\"]", "--health-retries=1"];
    run_agent(&podman, "json", AGENT, &json);
    let test = podman.inspect("json")["Config"]["Healthcheck"]["Test"].clone();
    assert_eq!(test, serde_json::json!(["CMD-SHELL", "/ready-probe"]));
    assert_eq!(check(&podman, "json").code(), 1);
    // The agent is ready, as `run_agent` has seen.
    let unhealthy = ("unhealthy".to_owned(), String::new());
    assert_eq!(health(&podman, "json"), unhealthy);

    run_agent(&podman, "cmd", AGENT, &["--health-cmd", "CMD /ready-probe"]);
    let test = podman.inspect("cmd")["Config"]["Healthcheck"]["Test"].clone();
    assert_eq!(test, serde_json::json!(["CMD", "/ready-probe"]));
    assert_eq!(check(&podman, "cmd").code(), 0);
    let (status, output) = health(&podman, "cmd");
    assert_eq!(status, "healthy");
    assert!(output.starts_with(HEALTHY), "{output}");

    // With a shell in the image the first one works as well.
    podman.build(
        "localhost/agent:sh",
        &agent_root_with_shell(),
        "CMD [\"/rust-agent\"]",
    );
    run_agent(&podman, "shell", "localhost/agent:sh", &json);
    assert_eq!(check(&podman, "shell").code(), 0);
    assert_eq!(health(&podman, "shell").0, "healthy");
}

#[test]
fn podman_keeps_500_characters_and_the_first_line_fits() {
    let podman = Podman::start();
    podman.build(AGENT, &agent_root(), INSTRUCTIONS);
    let checks: Vec<String> = (0..30)
        .map(|n| format!("file:/nowhere/to/be/found/{n}#optional"))
        .collect();
    let checks = format!("--env=READY_CHECKS={}", checks.join(" "));
    run_agent(&podman, "long", AGENT, &[&checks]);
    let whole = podman.podman(["exec", "long", "/ready-probe"]);
    assert!(whole.len() > 1_000, "{whole}");
    assert_eq!(check(&podman, "long").code(), 0);
    let (_, kept) = health(&podman, "long");
    assert_eq!(kept.chars().count(), 500, "{kept}");
    let first = "degraded: file:/nowhere/to/be/found/0: no such file";
    assert!(kept.starts_with(first), "{kept}");
    assert!(kept.contains('\n'), "{kept}");
}

#[test]
fn without_systemd_nobody_starts_the_check() {
    let podman = Podman::start();
    podman.build(AGENT, &agent_root(), INSTRUCTIONS);
    let run = podman.try_podman([
        "run",
        "--detach",
        "--network=none",
        "--health-interval=1s",
        "--name=alone",
        AGENT,
    ]);
    assert_eq!(run.code(), 0, "{}", run.stderr);
    assert!(
        run.stderr
            .contains("unable to get systemd connection to start healthchecks"),
        "{}",
        run.stderr
    );
    assert_eq!(
        health(&podman, "alone"),
        ("starting".to_owned(), String::new())
    );
}

#[test]
fn an_agent_that_is_process_1_ends_at_podman_stop() {
    let podman = Podman::start();
    podman.build(AGENT, &agent_root(), INSTRUCTIONS);
    run_agent(&podman, "ends", AGENT, &[]);
    podman.podman(["stop", "--time=60", "ends"]);
    let state = podman.inspect("ends")["State"].clone();
    assert_eq!(state["ExitCode"], 0, "137 is SIGKILL: {state}");
    assert!(
        podman
            .podman(["logs", "ends"])
            .contains("translator: stopping")
    );
}
