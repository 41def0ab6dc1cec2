//! The agents of this container: published through the SDK, by processes that live and die.

use std::process::{Command, Stdio};
use std::time::Duration;

use ready_probe_sdk::folder::Folder;
use ready_probe_sdk::{Agent, AgentBuilder};
use ready_probe_test_support::process::{Guard, Signal, example_agent, run, wait_until};

use crate::container::{Container, assert_mentions, assert_said, assert_starts, row};

/// A process registers a name once, and all tests are one process: each has names of its own.
fn agent(container: &Container, name: &str) -> AgentBuilder {
    Agent::builder(name).folder(Folder::at(&container.ready_dir()).unwrap())
}

const DISCOVERED: &str = "healthy: 1 check passes; 1 agent discovered; READY_AGENT not set";

/// The example agent, published by a process of its own.
fn example(container: &Container, settings: &[(&str, &str)]) -> Guard {
    let mut command = Command::new(example_agent());
    command
        .env_clear()
        .env("READY_DIR", container.ready_dir())
        .env("AGENT_PORT", "0")
        .envs(settings.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Guard::spawn(&mut command)
}

#[track_caller]
fn wait_for(container: &Container, first_line: &str) {
    wait_until(Duration::from_secs(5), first_line, || {
        (container.run([""; 0]).first_line() == first_line).then_some(())
    });
}

#[test]
fn an_agent_goes_through_its_life() {
    let container = Container::new();
    let probe = || container.run([""; 0]);
    assert_said(&probe(), 1, "starting: no agent has published a signal");
    let agent = agent(&container, "life").register().unwrap();
    assert_said(&probe(), 1, "starting: agent life: starting");
    agent
        .mark_ready(serde_json::json!({ "port": 5555 }))
        .unwrap();
    let run = probe();
    assert_said(&run, 0, DISCOVERED);
    assert_eq!(row(&run, "agent:life").0, "pass");
    agent.mark_not_ready("reloading the model").unwrap();
    assert_said(
        &probe(),
        1,
        "unhealthy: agent life: not_ready: reloading the model",
    );
    agent.mark_ready(()).unwrap();
    assert_said(&probe(), 0, DISCOVERED);
    let draining = agent.close("deploy").unwrap();
    assert_said(&probe(), 1, "unhealthy: agent life: stopping: deploy");
    drop(draining);
    assert_said(&probe(), 1, "unhealthy: no agent has published a signal");
}

#[test]
fn an_agent_that_is_still_loading_is_starting_whatever_a_dependency_does() {
    let container = Container::new();
    let _agent = agent(&container, "loading").register().unwrap();
    let dead = ready_probe_test_support::hostile::refused_port();
    let mut probe = container.probe([""; 0]);
    probe.env("REDIS_URL", format!("redis://127.0.0.1:{}", dead.port()));
    assert_said(&run(&mut probe), 1, "starting: agent loading: starting");
}

#[test]
fn an_agent_that_starts_again_after_it_was_ready_is_unhealthy() {
    let container = Container::new();
    let mut first = example(&container, &[("AGENT_NAME", "again")]);
    wait_for(&container, DISCOVERED);
    first.signal(Signal::KILL);
    first.wait_within(Duration::from_secs(5));
    let _second = example(&container, &[("AGENT_NAME", "again"), ("AGENT_LOAD", "1h")]);
    wait_for(&container, "unhealthy: agent again: starting");
}

#[test]
fn a_killed_agent_is_seen_at_the_next_probe() {
    let container = Container::new();
    let mut agent = example(&container, &[("AGENT_NAME", "killed")]);
    wait_for(&container, DISCOVERED);
    let pid = agent.pid();
    agent.signal(Signal::KILL);
    wait_for(
        &container,
        &format!("unhealthy: agent killed: process {pid} has died and is a zombie"),
    );
    agent.wait_within(Duration::from_secs(5));
    let gone = format!("unhealthy: agent killed: process {pid} is gone, last beat ");
    assert_starts(&container.run([""; 0]), 1, &gone);
}

#[test]
fn an_agent_that_stopped_beating_expires() {
    let container = Container::new();
    let settings = [
        ("AGENT_NAME", "paused"),
        ("AGENT_TTL", "1s"),
        ("AGENT_HEARTBEAT", "100ms"),
    ];
    let mut agent = example(&container, &settings);
    wait_for(&container, DISCOVERED);
    agent.signal(Signal::STOP);
    let run = wait_until(Duration::from_secs(5), "its end", || {
        let run = container.run([""; 0]);
        (run.code() != 0).then_some(run)
    });
    assert_starts(
        &run,
        1,
        "unhealthy: agent paused: expired: last beat 1s ago (TTL 1s)",
    );
    agent.signal(Signal::CONT);
    wait_for(&container, DISCOVERED);
}

#[test]
fn named_agents_are_missed_when_they_never_came_up() {
    let container = Container::new();
    let agent = agent(&container, "present").register().unwrap();
    agent.mark_ready(()).unwrap();
    let ask = |names: &str| {
        let mut probe = container.probe([""; 0]);
        run(probe.env("READY_AGENT", names))
    };
    assert_said(&ask("present"), 0, "healthy: 1 check passes");
    assert_said(
        &ask("present,absent"),
        1,
        "starting: agent absent: no signal published; others have: present",
    );
    agent.mark_not_ready("no").unwrap();
    assert_said(
        &ask("absent,present"),
        1,
        "unhealthy: agent present: not_ready: no",
    );
    assert_said(
        &container.run(["--agent", "absent"]),
        1,
        "starting: agent absent: no signal published; others have: present",
    );
    assert_said(
        &container.run(["agent:absent"]),
        1,
        "starting: agent absent: no signal published; others have: present",
    );
}

#[test]
fn whoever_looks_for_a_misspelt_name_is_told_who_is_there() {
    let container = Container::new();
    let said = |others: &str| {
        let reason = "starting: agent translater: no signal published";
        assert_said(
            &container.ask("agent:translater"),
            1,
            &format!("{reason}{others}"),
        );
    };
    said("");
    let mut agents = Vec::new();
    for (name, others) in [
        ("translator", "; others have: translator"),
        ("asr", "; others have: asr, translator"),
        ("tts", "; others have: asr, translator, tts"),
        ("vad", "; others have: asr, translator, tts and more"),
        ("mt", "; others have: asr, mt, translator and more"),
    ] {
        agents.push(agent(&container, name).register().unwrap());
        said(others);
    }
    // Whoever has left is no help.
    drop(agents);
    said("");
}

#[test]
fn an_agent_that_was_there_and_has_gone_is_not_starting() {
    let container = Container::new();
    let agent = agent(&container, "left").register().unwrap();
    agent.mark_ready(()).unwrap();
    assert_said(&container.ask("agent:left"), 0, "healthy: 1 check passes");
    drop(agent);
    assert_said(
        &container.ask("agent:left"),
        1,
        "unhealthy: agent left: no signal published",
    );
}

#[test]
fn every_agent_that_has_published_must_be_ready() {
    let container = Container::new();
    let names = ["many-a", "many-b", "many-c"];
    let agents = names.map(|name| agent(&container, name).register().unwrap());
    for agent in &agents {
        agent.mark_ready(()).unwrap();
    }
    let run = container.run([""; 0]);
    assert_said(
        &run,
        0,
        "healthy: 3 checks pass; 3 agents discovered; READY_AGENT not set",
    );
    agents[1].mark_not_ready("out of memory").unwrap();
    let run = container.run([""; 0]);
    assert_said(&run, 1, "unhealthy: agent many-b: not_ready: out of memory");
    assert_eq!(row(&run, "agent:many-a").0, "pass");
}

#[test]
fn an_agent_without_progress_is_stalled() {
    let container = Container::new();
    let limit = Duration::from_millis(200);
    let agent = agent(&container, "stalled")
        .watchdog(limit)
        .register()
        .unwrap();
    agent.mark_ready(()).unwrap();
    let run = wait_until(Duration::from_secs(5), "the watchdog", || {
        let run = container.run([""; 0]);
        (run.code() != 0).then_some(run)
    });
    assert_starts(
        &run,
        1,
        "unhealthy: agent stalled: not_ready: stalled: no progress for ",
    );
    // Each tick is good for one limit only, and the machine is busy.
    wait_until(Duration::from_secs(5), "recovery", || {
        agent.tick().unwrap();
        (container.run([""; 0]).code() == 0).then_some(())
    });
}

#[test]
fn what_an_agent_says_is_one_line_without_our_secrets() {
    let container = Container::new();
    let agent = agent(&container, "talker").register().unwrap();
    agent
        .mark_not_ready("lost\nredis://u:hUnTeR2@h/0\u{1b}[31m and s3cr3t")
        .unwrap();
    let mut probe = container.probe([""; 0]);
    let run = run(probe.env("REDIS_URL", "redis://:s3cr3t@127.0.0.1:1"));
    assert_mentions(
        &run,
        1,
        &["agent talker: not_ready: lost redis://***@h/0 [31m and ***"],
    );
    assert!(
        !run.stdout.contains("hUnTeR2") && !run.stdout.contains("s3cr3t"),
        "{run:?}"
    );
}
