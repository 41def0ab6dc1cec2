//! A container without agents: somebody else's image, with checks of ours.

use ready_probe_test_support::hostile::{Behaviour, Hostile, refused_port};
use ready_probe_test_support::process::{Guard, run};
use std::process::Command;

use crate::container::{Container, assert_mentions, assert_said};
use crate::records::publish;

#[test]
fn its_own_checks_are_starting_until_they_have_passed() {
    let container = Container::new();
    let file = container.path("up");
    let target = format!("file:{}", file.display());
    let ask = |args: &[&str]| {
        let mut probe = container.probe(args);
        run(probe.env("READY_AGENT", "off").env("READY_CHECKS", &target))
    };
    let missing = format!("starting: {target}: no such file");
    assert_said(&ask(&[]), 1, &missing);
    // A bare probe by hand says what a health check with arguments says.
    assert_said(&ask(&[&target]), 1, &missing);
    std::fs::write(&file, "").unwrap();
    assert_said(&ask(&[]), 0, "healthy: 1 check passes");
    std::fs::remove_file(&file).unwrap();
    let gone = format!("unhealthy: {target}: no such file");
    assert_said(&ask(&[]), 1, &gone);
    assert_said(&ask(&[&target]), 1, &gone);
}

#[test]
fn what_does_not_answer_yet_is_starting_too_and_a_dependency_is_not() {
    let container = Container::new();
    let silent = Hostile::tcp(Behaviour::Silent);
    let dead = refused_port();
    let ask = |target: String| {
        let mut probe = container.probe([target]);
        run(probe.env("READY_AGENT", "off"))
    };
    let own = ask(format!("http://127.0.0.1:{}/#timeout=200ms", silent.port()));
    assert_mentions(&own, 1, &["starting: http://", "no answer within 200ms"]);
    let dependency = ask(format!("redis://127.0.0.1:{}", dead.port()));
    assert_mentions(&dependency, 1, &["unhealthy: dependency redis://"]);
}

#[test]
fn records_of_agents_are_not_looked_at() {
    let container = Container::new();
    let process = Guard::spawn(Command::new("sleep").arg("1000"));
    publish(&container, "a", process.pid(), |record| {
        record["state"] = "not_ready".into();
    });
    let checks = [("READY_CHECKS", "exec:true")];
    for off in [&["--agent", "off"][..], &[]] {
        let mut probe = container.probe(off);
        let said = run(probe.env("READY_AGENT", "off").envs(checks));
        assert_said(&said, 0, "healthy: 1 check passes");
    }
    let file = container.file("off.toml", "agent = \"off\"");
    let mut probe = container.probe(["--config".as_ref(), file.as_os_str()]);
    assert_said(&run(probe.envs(checks)), 0, "healthy: 1 check passes");
}

#[test]
fn with_nothing_else_to_check_it_is_refused() {
    let container = Container::new();
    let said = run(container.probe([""; 0]).env("READY_AGENT", "off"));
    assert_eq!(said.code(), 78, "{said:?}");
    assert!(
        said.stderr.contains("READY_AGENT (environment): "),
        "{said:?}"
    );
    // What was set is shown.
    let mut config = container.probe(["config"]);
    let said = run(config
        .env("READY_AGENT", "off")
        .env("READY_CHECKS", "exec:true"));
    let shown: Vec<&str> = said
        .stdout
        .lines()
        .find(|l| l.starts_with("agent "))
        .unwrap()
        .split_whitespace()
        .collect();
    assert_eq!(shown, ["agent", "off", "READY_AGENT", "(environment)"]);
}

#[test]
fn it_is_that_word_alone_and_no_name() {
    let container = Container::new();
    for value in ["off,a", "a,off", "a, off"] {
        let said = run(container.probe(["config"]).env("READY_AGENT", value));
        assert_eq!(said.code(), 78, "{value}: {said:?}");
        assert!(said.stderr.contains("READY_AGENT=off says"), "{said:?}");
    }
    // Other words for it are names.
    for value in ["OFF", "Off", "no", "false", "none"] {
        let said = run(container.probe([""; 0]).env("READY_AGENT", value));
        assert_mentions(&said, 1, &[&format!("starting: agent {value}: no signal")]);
    }
    for args in [
        &["agent:off"][..],
        &["peer:off", "--store", "redis://h"],
        &["mark", "off"],
    ] {
        let said = container.run(args);
        assert_eq!(said.code(), 64, "{args:?}: {said:?}");
        assert!(said.stderr.contains("READY_AGENT=off says"), "{said:?}");
    }
    let refused = ready_probe_sdk::Agent::builder("off")
        .register()
        .unwrap_err();
    assert_eq!(refused.kind(), ready_probe_sdk::ErrorKind::InvalidName);
    let refused = ready_probe_sdk::mark_agent_not_ready("off", "x").unwrap_err();
    assert_eq!(refused.kind(), ready_probe_sdk::ErrorKind::InvalidName);
}

#[test]
fn who_forgets_to_say_so_is_told() {
    let container = Container::new();
    let mut probe = container.probe([""; 0]);
    let said = run(probe.env("READY_CHECKS", "exec:true"));
    assert_said(
        &said,
        1,
        "starting: no agent has published a signal; if this container has none, set READY_AGENT=off",
    );
}
