//! `--help` and the documents say the same as the program.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::Duration;

use ready_probe_test_support::process;

use crate::container::Container;

fn doc(name: &str) -> String {
    fs::read_to_string(process::workspace_root().join(name)).unwrap()
}

fn output(args: &[&str]) -> String {
    let run = process::run(process::probe().args(args));
    run.stdout + &run.stderr
}

/// The commands, and which options of every command mean something to them.
const COMMANDS: [(&str, &str); 7] = [
    (
        "",
        "timeout grace agent dir store namespace config format quiet verbose",
    ),
    (
        "wait",
        "timeout agent dir store namespace config format quiet verbose",
    ),
    ("mark", "timeout dir store namespace config quiet verbose"),
    ("run", "timeout dir store namespace config quiet verbose"),
    ("list", "timeout dir store namespace config format verbose"),
    (
        "config",
        "timeout grace agent dir store namespace config format quiet verbose",
    ),
    ("install", "timeout quiet"),
];

fn help(command: &str) -> String {
    match command {
        "" => output(&["--help"]),
        command => output(&[command, "--help"]),
    }
}

/// The long options that a help lists, without those of help and version.
fn options_of(help: &str) -> BTreeSet<&str> {
    let lines = help.lines().map(str::trim_start);
    let lines = lines.filter(|line| line.starts_with('-'));
    let options = lines.flat_map(|line| names(line.split("  ").next().unwrap(), "--"));
    options
        .map(|option| option.trim_start_matches('-'))
        .filter(|option| !matches!(*option, "help" | "version"))
        .collect()
}

#[test]
fn the_help_of_a_command_shows_the_options_that_mean_something_to_it() {
    let of_every = COMMANDS[0].1;
    for (command, counting) in COMMANDS {
        let help = help(command);
        let mut shown = options_of(&help);
        shown.retain(|option| of_every.split(' ').any(|of_every| of_every == *option));
        assert_eq!(shown, counting.split(' ').collect(), "{command}: {help}");
    }
}

/// A probe's deadline is that of a health check, and its report is what a verdict allows.
#[test]
fn the_help_of_a_command_says_what_an_option_means_there() {
    for command in ["wait", "mark", "run", "list", "install"] {
        let help = help(command);
        for probes_own in ["below HEALTHCHECK's", "when healthy or degraded"] {
            assert!(!help.contains(probes_own), "{command}: {help}");
        }
    }
    let install = help("install");
    assert!(
        !install.contains("READY_"),
        "it reads no variable: {install}"
    );
}

#[test]
fn every_option_that_a_help_shows_is_accepted_there_and_those_of_every_command_everywhere() {
    for (command, _) in COMMANDS {
        let help = help(command);
        let of_every = COMMANDS[0].1.split(' ');
        for option in options_of(&help).into_iter().chain(of_every) {
            // What is wrong comes behind it, or is that its value is missing.
            let option = format!("--{option}");
            let typed = [command, &option, "--nonsense"];
            let said = output(typed.split_at(usize::from(command.is_empty())).1);
            let is_known = said.contains("'--nonsense'")
                || said.contains(&format!("a value is required for '{option} "));
            assert!(is_known, "{command} {option}: {said}");
        }
    }
}

/// What is typed in the examples of a help: `ready-probe …`, also behind `docker exec CONTAINER`.
fn examples_of(help: &str) -> Vec<String> {
    let (_, examples) = help
        .split_once("\nExamples:\n")
        .unwrap_or_else(|| panic!("no examples: {help}"));
    let typed = examples.trim_end().lines().map(|line| {
        let line = line.trim();
        if let Some((_, list)) = line.split_once('[') {
            let words: Vec<String> = serde_json::from_str(&format!("[{list}")).unwrap();
            let quoted = words.iter().map(|word| format!("'{word}'"));
            return quoted
                .collect::<Vec<_>>()
                .join(" ")
                .replacen("/ready-probe", "ready-probe", 1);
        }
        let at = line.find("ready-probe").unwrap_or_else(|| panic!("{line}"));
        line[at..].to_owned()
    });
    typed.collect()
}

/// Nothing of what they name is there, so they fail; but not for what was typed.
#[test]
fn the_examples_of_each_help_can_be_typed() {
    for (command, _) in COMMANDS {
        let examples = examples_of(&help(command));
        assert!(!examples.is_empty());
        for example in examples {
            let example = example
                .replace("--for 60s ", "")
                .replace(" wait ", " wait --for 100ms ")
                .replace("'wait' ", "'wait' --for 100ms ")
                .replace("/shared", "shared")
                .replace("/tools", "tools");
            let container = Container::new();
            container.file("probe.toml", "");
            let probe = process::probe_binary();
            let mut shell = Command::new("/bin/sh");
            shell
                .args(["-uc", &example])
                .current_dir(container.path(""))
                .env_clear()
                // No command of theirs is found there.
                .env("PATH", probe.parent().unwrap())
                .env("READY_DIR", container.ready_dir())
                .env("READY_STORE", "redis://127.0.0.1:1")
                .env("READY_TIMEOUT", "100ms");
            let said = process::run_within(&mut shell, Duration::from_secs(60));
            let all = format!("{}{}", said.stdout, said.stderr);
            assert!(!matches!(said.code(), 64 | 78), "{example}: {all}");
            assert!(example.contains(command), "{example}");
        }
    }
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
    let helps = COMMANDS.map(|(command, _)| help(command)).concat();
    let documented = doc("docs/configuration.md");
    // HEALTHCHECK's own options are spoken of too, and those of `docker run`.
    let foreign = [
        "--rm",
        "--volume",
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
        "supervisor:a#nonsense",
        "container:a#nonsense",
        "disk:/#nonsense",
        "pids:#nonsense",
        "zombies:#nonsense",
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
    for status in ["0", "1", "64", "78", "126, 127", "130, 143"] {
        let help = output(&["--help"]);
        assert!(help.contains(&format!("\n  {status:<3} ")), "{help}");
        assert!(
            doc("docs/configuration.md").contains(&format!("| {status} |")),
            "{status}"
        );
    }
}
