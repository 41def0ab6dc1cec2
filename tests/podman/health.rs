//! What Podman makes of a health check. Its timers are systemd's, and there is none here: each check is run by
//! hand.

use std::{
    thread,
    time::{Duration, Instant},
};

use ready_probe_test_support::podman::Podman;

use crate::fixture::{LIMIT, agent_root, agent_root_with_shell, check, health, run_agent};

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

#[test]
fn a_check_that_waits_tells_what_happens_meanwhile() {
    let podman = Podman::start();
    // Only news ends it in time.
    let command = ["--long-poll", "5m", "--retries", "1"].join("\", \"");
    let waits = format!(
        "HEALTHCHECK --interval=1s --timeout=310s --retries=1 CMD [\"/ready-probe\", \"{command}\"]\n\
         CMD [\"/rust-agent\"]"
    );
    podman.build(AGENT, &agent_root(), &waits);
    run_agent(&podman, "waits", AGENT, &[]);
    let mark = |words: &[&str]| {
        podman.podman(
            ["exec", "waits", "/ready-probe", "mark", "job"]
                .iter()
                .chain(words),
        );
    };
    mark(&[]);
    // Each is started by hand, as the timers would: what was heard less than 5 s ago is held on.
    let held = in_time(|| {
        mark(&[]);
        assert_eq!(check(&podman, "waits").code(), 0);
        thread::scope(|scope| {
            let begun = Instant::now();
            let waiting = scope.spawn(|| check(&podman, "waits"));
            let quiet = Duration::from_secs(2);
            while begun.elapsed() < quiet && !waiting.is_finished() {
                thread::sleep(Duration::from_millis(20));
            }
            let held = !waiting.is_finished();
            mark(&["--not-ready", "out of work"]);
            let told = waiting.join().unwrap();
            held.then(|| (told, begun.elapsed()))
        })
    });
    let (told, after) = held;
    assert_eq!(told.code(), 1, "{}", told.stderr);
    assert!(
        after < LIMIT,
        "it was not told before its time was up: {after:?}"
    );
    let (status, output) = health(&podman, "waits");
    assert_eq!(status, "unhealthy");
    assert!(
        output.starts_with("unhealthy: agent job: not_ready: out of work"),
        "{output}"
    );
}

#[test]
fn podman_ends_no_check_at_its_timeout_and_calls_it_failed_afterwards() {
    let podman = Podman::start();
    let waits = "HEALTHCHECK --timeout=1s --retries=1 CMD [\"/ready-probe\", \"--long-poll\", \"3s\", \"--retries\", \"1\"]\n\
                 CMD [\"/rust-agent\"]";
    podman.build(AGENT, &agent_root(), waits);
    run_agent(&podman, "late", AGENT, &[]);
    let late = in_time(|| {
        check(&podman, "late");
        let late = check(&podman, "late");
        (late.elapsed >= Duration::from_secs(3)).then_some(late)
    });
    assert_ne!(late.code(), 0);
    let exceeded = "healthcheck command exceeded timeout of 1s";
    assert!(late.stderr.contains(exceeded), "{}", late.stderr);
    let (status, output) = health(&podman, "late");
    assert_eq!(status, "unhealthy");
    assert!(output.starts_with("healthy: "), "{output}");
}

/// Tries again where the machine was late.
fn in_time<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    (0..5)
        .find_map(|_| attempt())
        .expect("it is held once in five times")
}
