//! The shell recipes of `docs/recipes.md`, run as they stand.

use std::fs;
use std::process::Command;
use std::time::Duration;

use ready_probe_test_support::process::{self, Run};

/// The `sh` blocks of the page.
fn recipes() -> Vec<String> {
    let page = fs::read_to_string(process::workspace_root().join("docs/recipes.md")).unwrap();
    let blocks = page.split("```sh\n").skip(1);
    blocks
        .map(|block| block.split("```").next().unwrap().to_owned())
        .collect()
}

fn run(recipe: &str) -> Run {
    let dir = tempfile::tempdir().unwrap();
    let probe = process::probe_binary();
    let path = format!("{}:/usr/bin:/bin", probe.parent().unwrap().display());
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-euc", recipe])
        .env_clear()
        .env("PATH", path)
        .env("READY_DIR", dir.path())
        .env("READY_TIMEOUT", "2s");
    process::run_within(&mut shell, Duration::from_secs(20))
}

/// What the n-th recipe prints, which must succeed.
fn output_of(part: &str) -> String {
    let recipes = recipes();
    let recipe = recipes
        .iter()
        .find(|recipe| recipe.contains(part))
        .unwrap_or_else(|| panic!("no recipe with {part:?} in docs/recipes.md"));
    let run = run(recipe);
    assert_eq!(run.code(), 0, "{recipe}\n{}{}", run.stdout, run.stderr);
    assert_eq!(run.stderr, "", "{recipe}");
    run.stdout
}

#[test]
fn every_recipe_is_run_by_a_test_here() {
    let tested = [
        "json=/status=ok",
        "mark nightly-job",
        "ready-probe list",
        "wait --for",
        "config",
    ];
    for recipe in recipes() {
        assert!(
            tested.iter().any(|part| recipe.contains(part)),
            "untested recipe: {recipe}"
        );
    }
}

#[test]
fn dependencies_are_all_reported() {
    let output = output_of("json=/status=ok");
    assert!(output.starts_with("unhealthy: http://localhost:8080/health#json=/status=ok: "));
    assert!(output.contains("unknown  redis://redis:6379 "));
    assert!(output.ends_with("exit status 1\n"), "{output}");
}

#[test]
fn signals_are_listed() {
    let output = output_of("ready-probe list");
    assert!(output.contains("\n1 agent: 1 ready\n"), "{output}");
    assert!(output.contains("\nAGENT        STATE  FOR "), "{output}");
    assert!(output.contains("\nnightly-job  ready  "), "{output}");
}

#[test]
fn a_signal_from_a_shell_is_believed_and_replaced() {
    let output = output_of("--not-ready");
    let lines: Vec<&str> = output.lines().collect();
    assert!(lines[0].starts_with("nightly-job: ready, bound to process "));
    assert_eq!(lines[1], "healthy: 1 check passes");
    assert!(
        output.contains("\nunhealthy: agent nightly-job: not_ready: disk is full\n"),
        "{output}"
    );
    assert!(output.ends_with("exit status 1\n"));
}

#[test]
fn waiting_becomes_the_command() {
    assert_eq!(output_of("wait --for"), "the command starts\n");
}

#[test]
fn the_configuration_names_its_origins() {
    let output = output_of("ready-probe config");
    assert!(output.contains("agent:translator"));
    assert!(output.contains("READY_AGENT (environment)"));
    assert!(output.contains("READY_CHECKS (environment)"));
}
