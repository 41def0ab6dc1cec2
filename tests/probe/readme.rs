//! The README: its transcript is the demo's, its claims hold, its links lead somewhere. Likewise the links of all documents.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ready_probe_test_support::process::{
    self, example_agent, keeper_binary, probe_binary, workspace_root,
};
use ready_probe_test_support::servers::{Redis, RedisBinary};

/// Everything a reader may open: the documents in the root, in `docs/`, and beside the examples.
fn documents() -> Vec<PathBuf> {
    let root = workspace_root();
    let mut folders = vec![
        root.clone(),
        root.join("docs"),
        root.join("bindings-python"),
    ];
    let examples = fs::read_dir(root.join("examples")).unwrap();
    folders.extend(examples.map(|entry| entry.unwrap().path()));
    let mut found: Vec<PathBuf> = folders
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    found.sort();
    assert!(found.len() > 10, "{found:?}");
    found
}

/// A document without its code blocks, in which `](` and `#` mean something else.
fn prose(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let mut in_code = false;
    text.lines()
        .filter(|line| {
            let fence = line.trim_start().starts_with("```");
            in_code ^= fence;
            !in_code && !fence
        })
        .fold(String::new(), |text, line| text + line + "\n")
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(path: &Path) -> BTreeSet<String> {
    let headings = prose(path);
    let headings = headings.lines().filter_map(|line| {
        let title = line.trim_start_matches('#');
        (title.len() < line.len()).then(|| title.trim().to_lowercase())
    });
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    headings
        .map(|title| title.chars().filter(kept).collect::<String>())
        .map(|title| title.replace(' ', "-"))
        .collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_are_there() {
    let mut wrong = Vec::new();
    for document in documents() {
        let text = prose(&document);
        let links = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() {
                document.clone()
            } else {
                document.parent().unwrap().join(path)
            };
            let found = target.exists() && (anchor.is_empty() || anchors(&target).contains(anchor));
            if !found {
                wrong.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A line of the demo with what differs from run to run taken out.
fn without_numbers(line: &str) -> String {
    let mut words = Vec::new();
    for word in line.split_whitespace() {
        let measured = word.ends_with('s') && word.starts_with(|c: char| c.is_ascii_digit());
        let number = word.len() > 1 && word.chars().all(|c| c.is_ascii_digit());
        words.push(if measured || number { "N" } else { word });
    }
    words.join(" ")
}

#[test]
fn the_transcript_is_what_the_demo_prints() {
    let root = workspace_root();
    let mut demo = Command::new("python3");
    demo.arg(root.join("examples/demo.py")).args([
        probe_binary(),
        keeper_binary(),
        example_agent(),
    ]);
    let run = process::run_within(&mut demo, Duration::from_secs(90));
    assert_eq!(run.code(), 0, "{}{}", run.stdout, run.stderr);

    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let (_, transcript) = readme.split_once("```text\n").unwrap();
    let (transcript, _) = transcript.split_once("```").unwrap();
    let expected: Vec<String> = transcript.lines().map(without_numbers).collect();
    let printed: Vec<String> = run.stdout.lines().map(without_numbers).collect();
    assert_eq!(printed[..expected.len().min(printed.len())], expected);
}

#[test]
fn redis_cli_exits_0_when_redis_wants_a_password() {
    let server = Redis::builder()
        .binary(RedisBinary::Debian)
        .args(&["--requirepass", "hUnTeR2"])
        .start();
    let mut ping = Command::new("redis-cli");
    ping.args(["-p", &server.port().to_string(), "ping"]);
    let run = process::run_within(&mut ping, Duration::from_secs(30));
    let readme = fs::read_to_string(workspace_root().join("README.md")).unwrap();
    assert!(readme.contains(
        "`redis-cli ping` | It exits 0 when Redis answers `NOAUTH Authentication required`"
    ));
    assert_eq!(run.code(), 0, "{run:?}");
    assert!(
        run.stdout.contains("NOAUTH Authentication required"),
        "{run:?}"
    );
}

#[test]
fn it_fits_on_a_landing_page() {
    let readme = fs::read_to_string(workspace_root().join("README.md")).unwrap();
    assert!(readme.lines().count() < 150);
    // Plumbing that rustdoc hides, GitHub prints.
    assert!(
        !readme
            .lines()
            .any(|line| line.starts_with("# let ") || line.starts_with("# Ok"))
    );
}
