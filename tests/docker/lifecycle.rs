//! Health follows what an agent says, does, and dies of.

use std::time::Duration;

use ready_probe_test_support::docker::Engine;

use crate::fixture::{LIMIT, Probes, agent, kill_agent, says, tell};

#[test]
fn loading_agent_is_starting_until_it_is_ready() {
    let container = Engine::shared().run(
        agent("loading")
            .env("AGENT_LOAD", "3s")
            .health_start_period(LIMIT),
    );
    let mut probes = Probes::of(&container);
    let first = probes.wait("the first probe", |_| false, |_| true);
    assert_eq!(first.exit_code, 1, "{first:?}");
    assert_eq!(
        first.output.lines().next(),
        Some("starting: agent translator: starting"),
    );
    assert_eq!(container.health().status, "starting");

    let healthy = probes.wait_healthy();
    assert!(healthy.output.contains("1 agent discovered"), "{healthy:?}");
    assert_eq!(container.wait_health("healthy", LIMIT).failing_streak, 0);
}

#[test]
fn named_agent_that_never_comes_is_missed() {
    let container = Engine::shared().run(
        agent("missing")
            .env("READY_AGENT", "translator,tts")
            .health_start_period(LIMIT),
    );
    let mut probes = Probes::of(&container);
    probes.wait_each(3, "tts to be missed", |probe| {
        says(probe, "starting: agent tts: no signal published")
            || says(probe, "starting: agent translator")
    });
    assert!(
        probes
            .all()
            .last()
            .unwrap()
            .output
            .contains("pass     agent:translator")
    );
}

#[test]
fn killed_agent_fails_the_next_probe_under_a_live_supervisor() {
    let container =
        Engine::shared().run(agent("killed").command(["/rust-agent", "supervise", "translator"]));
    container.wait_health("healthy", LIMIT);
    let pid = kill_agent(&container, "translator");
    let probe = container.wait_next_probe(LIMIT);
    let gone = format!("unhealthy: agent translator: process {pid} is gone");
    assert!(says(&probe, &gone), "{probe:?}");
    container.wait_health("unhealthy", LIMIT);
    assert_eq!(container.status(), "running");
}

#[test]
fn one_dead_agent_of_two_keeps_the_container_unhealthy() {
    let container =
        Engine::shared().run(agent("two").command(["/rust-agent", "supervise", "asr", "tts"]));
    let mut probes = Probes::of(&container);
    probes.wait(
        "both agents",
        |_| true,
        |probe| says(probe, "healthy: ") && probe.output.contains("2 agents discovered"),
    );
    let pid = kill_agent(&container, "tts");
    let gone = format!("unhealthy: agent tts: process {pid} is gone");
    probes.wait(
        "the death to be seen",
        |probe| says(probe, "healthy: "),
        |probe| says(probe, &gone),
    );
    probes.wait_each(6, "the dead agent to be remembered", |probe| {
        says(probe, &gone) && probe.output.contains("pass     agent:asr")
    });
    assert_eq!(container.health().status, "unhealthy");
}

#[test]
fn reason_of_a_reload_is_seen_in_docker_inspect() {
    let container = Engine::shared().run(agent("reload"));
    let mut probes = Probes::of(&container);
    probes.wait_healthy();
    assert_eq!(tell(&container, "reload swapping the model"), "not_ready");
    let probe = container.wait_next_probe(LIMIT);
    assert!(
        says(
            &probe,
            "unhealthy: agent translator: not_ready: swapping the model"
        ),
        "{probe:?}"
    );
    let health = container.wait_health("unhealthy", LIMIT);
    let shown = container.inspect()["State"]["Health"]["Log"].to_string();
    assert!(
        shown.contains("not_ready: swapping the model"),
        "{shown} {health:?}"
    );

    assert_eq!(tell(&container, "resume"), "ready");
    assert!(says(&container.wait_next_probe(LIMIT), "healthy: "));
    container.wait_health("healthy", LIMIT);
}

#[test]
fn hanging_agent_is_stalled_until_it_works_again() {
    let container = Engine::shared().run(agent("hang").env("AGENT_WATCHDOG", "1s"));
    let mut probes = Probes::of(&container);
    probes.wait_healthy();
    assert_eq!(tell(&container, "hang 6s"), "hanging for 6s");
    let stalled = "unhealthy: agent translator: not_ready: stalled: no progress for ";
    probes.wait(
        "the stall",
        |probe| says(probe, "healthy: "),
        |probe| says(probe, stalled),
    );
    probes.wait(
        "the end of the stall",
        |probe| says(probe, stalled),
        |probe| says(probe, "healthy: "),
    );
    container.wait_health("healthy", LIMIT);
}

#[test]
fn agent_that_quits_is_not_healthy_any_more() {
    let container = Engine::shared().run(agent("quit").command([
        "/rust-agent",
        "supervise",
        "translator=5555",
    ]));
    let mut probes = Probes::of(&container);
    probes.wait_healthy();
    assert_eq!(tell(&container, "quit"), "bye");
    // It has taken its signal with it: nobody is there, which is not how a container begins.
    let probe = container.wait_next_probe(LIMIT);
    assert!(says(&probe, "unhealthy: "), "{probe:?}");
    container.wait_health("unhealthy", LIMIT);
}

#[test]
fn pause_longer_than_the_ttl_is_not_held_against_the_agent() {
    let ttl = Duration::from_secs(2);
    let container = Engine::shared().run(
        agent("paused")
            .env("AGENT_TTL", "2s")
            .env("AGENT_WATCHDOG", "1s")
            .health_interval(Duration::from_secs(1)),
    );
    let mut probes = Probes::of(&container);
    probes.wait_healthy();
    container.pause();
    // The engine probes no paused container, so there is nothing to wait for but the clock.
    std::thread::sleep(ttl * 2);
    container.unpause();
    let probe = container.wait_next_probe(LIMIT);
    assert!(says(&probe, "healthy: "), "{probe:?}");
    probes.wait_each(3, "every probe to be healthy", |probe| {
        says(probe, "healthy: ")
    });

    assert_eq!(tell(&container, "reload after the pause"), "not_ready");
    let probe = container.wait_next_probe(LIMIT);
    assert!(
        says(&probe, "unhealthy: agent translator: not_ready: after"),
        "{probe:?}"
    );
}
