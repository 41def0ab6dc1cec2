//! The recipes of the documents that need no engine, run as they stand.

use std::fs;
use std::process::Command;
use std::time::Duration;

use ready_probe_test_support::pages::block;
use ready_probe_test_support::process::{self, Run, workspace_root};
use ready_probe_test_support::servers::Redis;

use crate::container::Container;

/// Runs a script in a container: the probe is in the `PATH`, and nothing else of ours.
fn shell(container: &Container, script: &str) -> Run {
    let probe = process::probe_binary();
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-euc", script])
        .current_dir(container.path(""))
        .env_clear()
        .env(
            "PATH",
            format!("{}:/usr/bin:/bin", probe.parent().unwrap().display()),
        )
        .env("READY_DIR", container.ready_dir())
        .env("READY_TIMEOUT", "2s");
    process::run_within(&mut shell, Duration::from_secs(60))
}

/// Runs the one script below a heading of docs/configuration.md, `before` first.
#[track_caller]
fn configured(heading: &str, before: &str, replaced: &[(&str, &str)]) -> String {
    let script = block("docs/configuration.md", heading, "sh", 0).with(replaced);
    let run = shell(&Container::new(), &format!("{before}\n{script}"));
    assert_eq!(run.code(), 0, "{script}{run:?}");
    run.stdout
}

#[test]
fn the_commands_of_the_page_of_settings_do_what_it_says() {
    let said = configured("Configuration", "", &[]);
    assert!(said.contains("READY_TIMEOUT (environment)"), "{said}");
    let said = configured("A probe that waits", "", &[]);
    assert!(said.starts_with("healthy: "), "{said}");
    assert_eq!(configured("wait", "", &[]), "the command starts\n");
    let said = configured("mark", "", &[]);
    assert!(said.contains("\nhealthy: 1 check passes\n"), "{said}");
    let agents = ["translator", "gateway", "memory-system"];
    let marks = agents.map(|name| format!("ready-probe mark {name} --pid $$ >/dev/null\n"));
    let said = configured("list", &marks.concat(), &[]);
    assert_eq!(said.matches("3 agents: 3 ready\n").count(), 4, "{said}");
    let json: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!(json["signals"].as_array().unwrap().len(), 3, "{said}");
    let said = configured("install", "", &[("/shared", "shared")]);
    assert!(said.starts_with("installed shared/ready-probe ("), "{said}");
    let said = configured("Options of every command", "", &[]);
    assert!(said.starts_with("{\"verdict\":\"healthy\""), "{said}");
    for shown in [
        "agent:summarizer",
        "tcp://localhost:80",
        "READY_TIMEOUT (environment)",
    ] {
        assert!(said.contains(shown), "{said}");
    }
    let said = configured("The store", "", &[]);
    assert!(said.contains("READY_STORE (environment)"), "{said}");
    assert!(said.contains("staging"), "{said}");
}

#[test]
fn the_files_of_the_pages_can_be_used() {
    for (page, heading) in [
        ("docs/configuration.md", "The file"),
        ("docs/targets.md", "any"),
    ] {
        let container = Container::new();
        let file = container.file("probe.toml", block(page, heading, "toml", 0).text);
        let config = shell(
            &container,
            &format!("ready-probe config --config {}", file.display()),
        );
        assert_eq!(config.code(), 0, "{page}: {config:?}");
        let origin = format!("{} ", file.display());
        assert!(
            config.stdout.contains(origin.trim_end()),
            "{page}: {config:?}"
        );
    }
}

#[test]
fn the_commands_of_the_page_of_targets_do_what_it_says() {
    let container = Container::new();
    let asked = shell(
        &container,
        &block("docs/targets.md", "Targets", "sh", 0).text,
    );
    assert_eq!(asked.code(), 0, "{asked:?}");
    assert!(asked.stdout.ends_with("exit status 1\n"), "{asked:?}");
    let config = shell(
        &container,
        &block("docs/targets.md", "Variables", "sh", 0).text,
    );
    assert_eq!(config.code(), 0, "{config:?}");
    assert!(config.stdout.contains("tcp://localhost:5432"), "{config:?}");

    let redis = Redis::start();
    let script = block("docs/targets.md", "redis", "sh", 0);
    let cli = format!("redis-cli -p {} ", redis.port());
    let made = shell(&container, &script.with(&[("redis-cli ", &cli)]));
    assert_eq!((made.code(), made.stdout.as_str()), (0, "OK\n"), "{made:?}");
    let target = format!("redis://probe:PASSWORD@127.0.0.1:{}", redis.port());
    let asked = container.run([&target]);
    assert_eq!(asked.code(), 0, "{asked:?}");
    // It may do no more than that.
    let more = container.run([format!("{target}#key=x")]);
    assert!(more.stdout.contains("NOPERM"), "{more:?}");
}

#[test]
fn the_record_of_the_page_has_the_keys_that_it_tells_of() {
    let record = block("docs/signal.md", "The record", "json", 0).text;
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    let page = fs::read_to_string(workspace_root().join("docs/signal.md")).unwrap();
    for key in record.as_object().unwrap().keys() {
        assert!(page.contains(&format!("\n| `{key}` | ")), "{key}");
    }
}

#[test]
fn the_python_of_the_page_publishes_a_signal_that_is_believed() {
    let container = Container::new();
    let program = block(
        "docs/signal.md",
        "In Python, with nothing but its library",
        "python",
        0,
    );
    let asks = "\nimport subprocess\nsubprocess.run([\"ready-probe\", \"agent:translator\"], check=True)\n";
    container.file("agent.py", program.text + asks);
    let said = shell(&container, "python3 agent.py");
    assert_eq!(said.code(), 0, "{said:?}");
    assert_eq!(said.first_line(), "healthy: 1 check passes", "{said:?}");
}

#[test]
fn the_marks_of_the_page_of_signals_are_believed() {
    let container = Container::new();
    let marks = block("docs/signal.md", "In a shell", "sh", 0).text;
    let asked = "ready-probe agent:nightly-job || echo \"exit status $?\"\n";
    let said = shell(&container, &(marks + asked));
    assert_eq!(said.code(), 0, "{said:?}");
    assert!(
        said.stdout
            .contains("\nunhealthy: agent nightly-job: not_ready: disk is full\n"),
        "{said:?}"
    );
}
