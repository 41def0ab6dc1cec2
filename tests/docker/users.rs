//! Several users in one container.

use std::time::Duration;

use ready_probe_test_support::{docker::Engine, process::Run};

use crate::fixture::{LIMIT, Probes, agent, says};

const ROOT: &[&str] = &["--user=0"];
const USER: &[&str] = &["--user=1000"];

#[test]
fn probe_by_hand_as_root_leaves_the_health_check_alone() {
    let container = Engine::shared().run(
        agent("root-first")
            .user("1000:1000")
            .health_interval(Duration::from_secs(3)),
    );
    // The first probe of all: what it makes belongs to root.
    let by_hand = container.exec_with(ROOT, &["/ready-probe", "file:/ready-probe"]);
    assert_eq!(by_hand.code(), 0, "{by_hand:?}");
    assert!(
        container.health().log.is_empty(),
        "root was to be the first"
    );

    let mut probes = Probes::of(&container);
    let healthy = |text: &str| {
        text.starts_with("healthy: 1 check passes; 1 agent discovered; READY_AGENT not set\n")
    };
    probes.wait_each(1, "the health check to pass", |probe| {
        healthy(&probe.output)
    });
    let by_hand = container.exec_with(ROOT, &["/ready-probe"]);
    assert!(healthy(&by_hand.stdout), "{by_hand:?}");
    probes.wait_each(1, "the health check to pass", |probe| {
        healthy(&probe.output)
    });
}

#[test]
fn users_replace_each_others_marks() {
    let container = Engine::shared().run(agent("marks").user("1000:1000").no_healthcheck());
    let mark = |user, extra: &[&str]| {
        let mark = container.exec_with(user, &[&["/ready-probe", "mark", "job"], extra].concat());
        assert_eq!(mark.code(), 0, "{mark:?}");
    };
    let probe = |user| container.exec_with(user, &["/ready-probe", "agent:job"]);
    let expect = |state: &str, probe: &Run| assert!(probe.stdout.starts_with(state), "{probe:?}");

    mark(ROOT, &[]);
    expect("healthy: ", &probe(USER));
    mark(USER, &["--not-ready", "draining"]);
    expect("unhealthy: agent job: not_ready: draining", &probe(USER));
    expect("unhealthy: agent job: not_ready: draining", &probe(ROOT));
    mark(ROOT, &["--not-ready", "closed"]);
    expect("unhealthy: agent job: not_ready: closed", &probe(USER));
    mark(USER, &[]);
    expect("healthy: ", &probe(ROOT));
}

#[test]
fn stranger_is_not_believed() {
    let container =
        Engine::shared().run(agent("stranger").user("1000:1000").env("AGENT_NAME", "asr"));
    let mut probes = Probes::of(&container);
    probes.wait_healthy();
    let stranger = container.exec_with(
        &["--user=2000"],
        &["/ready-probe", "mark", "asr", "--not-ready", "sabotage"],
    );
    assert_eq!(stranger.code(), 1, "{stranger:?}");
    assert!(
        stranger.stdout.contains("process 1 belongs to user 1000"),
        "{stranger:?}"
    );
    probes.wait_each(2, "the stranger to be ignored", |probe| {
        says(probe, "healthy: ")
    });
    container.wait_health("healthy", LIMIT);
}
