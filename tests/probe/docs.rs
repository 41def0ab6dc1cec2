//! `--help` and the documents say the same as the program.

use std::collections::BTreeSet;
use std::fs;

use ready_probe_test_support::process;

fn doc(name: &str) -> String {
    fs::read_to_string(process::workspace_root().join(name)).unwrap()
}

fn output(args: &[&str]) -> String {
    let run = process::run(process::probe().args(args));
    run.stdout + &run.stderr
}

/// Everything in `text` that begins with `start` and goes on with letters of a name.
fn names<'a>(text: &'a str, start: &'a str) -> BTreeSet<&'a str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    text.match_indices(start)
        .filter(|(at, _)| !text[..*at].ends_with(is_name))
        .map(|(at, _)| {
            let rest = &text[at..];
            let end = rest[start.len()..].find(|c| !is_name(c));
            end.map_or(rest, |end| &rest[..start.len() + end])
        })
        .filter(|name| name.len() > start.len())
        .collect()
}

#[test]
fn every_flag_of_help_is_documented_and_no_other() {
    let helps: String = [
        &["--help"][..],
        &["wait", "--help"],
        &["run", "--help"],
        &["mark", "--help"],
        &["list", "--help"],
        &["config", "--help"],
        &["install", "--help"],
    ]
    .map(output)
    .concat();
    let documented = doc("docs/configuration.md");
    // HEALTHCHECK's own options are spoken of too.
    let foreign = [
        "--interval",
        "--start-period",
        "--start-interval",
        "--retries",
    ];
    let flags = |text: &str| -> BTreeSet<String> {
        names(text, "--")
            .into_iter()
            .filter(|flag| !foreign.contains(flag))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(flags(&helps), flags(&documented));
}

#[test]
fn every_variable_of_help_is_documented_and_no_other() {
    let variables = |text: &str| -> BTreeSet<String> {
        names(text, "READY_")
            .into_iter()
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(
        variables(&output(&["--help"])),
        variables(&doc("docs/configuration.md"))
    );
    for variable in ["REDIS_URL_FILE", "NATS_URL_FILE", "REDIS_URL", "NATS_URL"] {
        assert!(
            doc("docs/configuration.md").contains(variable),
            "{variable}"
        );
        assert!(output(&["--help"]).contains(variable), "{variable}");
    }
}

/// What stands in `(there are: …)` of the answer to a wrong target.
fn there_are(target: &str) -> Vec<String> {
    let error = output(&[target]);
    let (_, list) = error
        .split_once("(there are: ")
        .unwrap_or_else(|| panic!("{error}"));
    let list = list.split(')').next().unwrap();
    list.split(", ").map(str::to_owned).collect()
}

#[test]
fn every_kind_of_target_is_in_help_and_documented() {
    for scheme in there_are("nonsense:x") {
        let written = format!("{scheme}:");
        assert!(output(&["--help"]).contains(&written), "{scheme} in --help");
        assert!(
            doc("docs/targets.md").contains(&written),
            "{scheme} in docs/targets.md"
        );
    }
}

#[test]
fn every_option_of_every_target_is_documented() {
    let document = doc("docs/targets.md");
    for target in [
        "agent:a#nonsense",
        "redis://h#nonsense",
        "nats://h#nonsense",
        "http://h#nonsense",
        "tcp://h:1#nonsense",
        "unix:///s#nonsense",
    ] {
        for option in there_are(target) {
            let quoted = [format!("`{option}`"), format!("`{option}=")];
            assert!(
                quoted.iter().any(|quoted| document.contains(quoted)),
                "{option} of {target} is not in docs/targets.md"
            );
        }
    }
    // The bodies of these may hold a `#`, so that what is no option is no error.
    for option in ["`min=", "`max_age=", "`contains="] {
        assert!(document.contains(option), "{option}");
    }
}

#[test]
fn every_exit_status_is_in_help_and_documented() {
    for status in ["0", "1", "64", "78", "130, 143"] {
        let help = output(&["--help"]);
        assert!(help.contains(&format!("\n  {status:<3} ")), "{help}");
        assert!(
            doc("docs/configuration.md").contains(&format!("| {status} |")),
            "{status}"
        );
    }
}
