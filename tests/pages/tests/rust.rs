//! What `docs/rust.md` says of dependencies, of the example and of errors is true.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::Duration;

use ready_probe_test_support::process::{run_within, workspace_root};

fn page() -> String {
    fs::read_to_string(workspace_root().join("docs/rust.md")).unwrap()
}

/// The cells of each row of the table below this head.
fn table(head: &str) -> Vec<Vec<String>> {
    let page = page();
    let (_, below) = page
        .split_once(&format!("{head}\n"))
        .unwrap_or_else(|| panic!("no table {head:?}"));
    let rows = below
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'));
    let cells = |row: &str| {
        let row = row.trim_matches('|');
        row.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    rows.map(cells).collect()
}

/// The crates that are built for the SDK with these features, without itself.
fn crates_below(features: &str) -> usize {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut tree = Command::new(cargo);
    tree.current_dir(workspace_root()).args([
        "tree",
        "--locked",
        "--package=ready-probe-sdk",
        "--no-default-features",
        &format!("--features={features}"),
        "--edges=normal,build",
        "--prefix=none",
        "--format={p}",
    ]);
    let tree = run_within(&mut tree, Duration::from_secs(120));
    assert_eq!(tree.code(), 0, "{}", tree.stderr);
    let crates = tree.stdout.lines().map(|line| {
        let mut words = line.split(' ');
        (words.next().unwrap(), words.next().unwrap_or_default())
    });
    let crates: BTreeSet<_> = crates.filter(|(name, _)| !name.is_empty()).collect();
    crates.len() - 1
}

#[test]
fn each_set_of_features_brings_as_many_crates_as_the_page_says() {
    let rows = table("| features | what you get | crates below it |");
    assert_eq!(rows.len(), 5, "{rows:?}");
    for row in rows {
        let features = row[0].trim_matches('`');
        assert_eq!(row[2], crates_below(features).to_string(), "{features}");
    }
}

/// `make lint` has them compiled, one by one.
#[test]
fn each_set_of_features_on_the_page_is_one_that_lint_builds() {
    let makefile = fs::read_to_string(workspace_root().join("Makefile")).unwrap();
    let sets = makefile
        .lines()
        .find_map(|line| line.strip_prefix("SDK_FEATURES := "));
    let built: BTreeSet<&str> = sets.unwrap().split(' ').collect();
    let page = page();
    let rows = table("| features | what you get | crates below it |");
    let mut named: BTreeSet<String> = rows
        .iter()
        .map(|row| row[0].trim_matches('`').to_owned())
        .collect();
    for line in page
        .lines()
        .filter(|line| line.starts_with("ready-probe-sdk = "))
    {
        let (_, features) = line.split_once("features = [").unwrap();
        let (features, _) = features.split_once(']').unwrap();
        named.insert(features.replace(['"', ' '], ""));
    }
    let named: BTreeSet<&str> = named.iter().map(String::as_str).collect();
    assert_eq!(built, named);
}

#[test]
fn the_features_that_the_page_calls_the_default_are() {
    let manifest = fs::read_to_string(workspace_root().join("sdk/Cargo.toml")).unwrap();
    assert!(manifest.contains("\ndefault = [\"agent\", \"redis\", \"nats\"]\n"));
    assert!(page().contains("| `agent,redis,nats` | both; this is the default |"));
}

#[test]
fn the_program_on_the_page_is_the_example() {
    let example = workspace_root().join("examples/axum-agent/src/main.rs");
    let example = fs::read_to_string(example).unwrap();
    assert!(
        page().contains(&format!("```rust,no_run\n{example}```\n")),
        "the program in docs/rust.md is not examples/axum-agent/src/main.rs"
    );
}

#[test]
fn no_crate_of_the_workspace_enables_tokio_s_signal_or_process() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut tree = Command::new(cargo);
    tree.current_dir(workspace_root()).args([
        "tree",
        "--locked",
        "--workspace",
        "--all-features",
        "--prefix=none",
        "--format={p} {f}",
    ]);
    let tree = run_within(&mut tree, Duration::from_secs(120));
    assert_eq!(tree.code(), 0, "{}", tree.stderr);
    let tokio: Vec<&str> = tree
        .stdout
        .lines()
        .filter(|line| line.starts_with("tokio v"))
        .collect();
    assert!(!tokio.is_empty());
    for line in tokio {
        let features = line.split([' ', ',']);
        let signal: Vec<&str> = features
            .filter(|feature| matches!(*feature, "signal" | "process" | "full"))
            .collect();
        assert!(signal.is_empty(), "{line}: docs/rust.md says why not");
    }
}

#[test]
fn every_kind_of_error_is_on_the_page() {
    let code = fs::read_to_string(workspace_root().join("sdk/src/error.rs")).unwrap();
    let (_, kinds) = code.split_once("pub enum ErrorKind {\n").unwrap();
    let (kinds, _) = kinds.split_once("\n}").unwrap();
    let rows = table("| kind | when |");
    let said: String = rows.iter().map(|row| row[0].as_str()).collect();
    for kind in kinds.lines().map(str::trim) {
        if let Some(kind) = kind.strip_suffix(',') {
            assert!(
                said.contains(&format!("`{kind}`")),
                "{kind} is not in {said}"
            );
        }
    }
}
