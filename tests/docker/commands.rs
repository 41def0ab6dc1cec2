//! `mark` by `docker exec`, `wait` as process 1, and what `process:` and `exec:` do in a container.

use std::time::Duration;

use ready_probe_test_support::{
    docker::{Container, Engine, Network, RunOptions},
    process::wait_until,
};

use crate::fixture::{LIMIT, Probes, agent, debian_image, says};

#[test]
fn mark_by_docker_exec_lives_as_long_as_process_1() {
    let forever = ["/ready-probe", "wait", "--for=1h", "file:/never"];
    let container = Engine::shared().run(agent("mark").command(forever));
    let mark = container.exec(&["/ready-probe", "mark", "job", "--detail", "port=80"]);
    assert_eq!(mark.stdout, "job: ready, bound to process 1\n", "{mark:?}");
    container.wait_health("healthy", LIMIT);

    container.restart();
    let mut probes = Probes::of(&container);
    let second_life = container.started();
    probes.wait(
        "a probe in the second life",
        |probe| probe.start < second_life,
        |probe| {
            probe.start >= second_life && says(probe, "starting: no agent has published a signal")
        },
    );
}

#[test]
fn wait_as_process_1_can_be_stopped() {
    for (signal, status) in [("TERM", 143), ("INT", 130)] {
        let forever = ["/ready-probe", "wait", "--for=1h", "tcp://localhost:1"];
        let container = Engine::shared().run(agent("wait").no_healthcheck().command(forever));
        wait_until(LIMIT, "it to wait", || {
            container.logs().contains("waiting: ").then_some(())
        });
        container.kill(signal);
        assert_eq!(container.wait_exit(LIMIT), status, "{}", container.logs());
    }
}

#[test]
fn wait_becomes_the_agent_once_its_dependency_is_there() {
    let engine = Engine::shared();
    engine.server_image("redis:7");
    let network = Network::create(engine, "wait");
    let wait = ["/ready-probe", "wait", "--for=60s", "--", "/rust-agent"];
    let agent = engine.run(
        agent("waits")
            .network(&network, "agent")
            .env("REDIS_URL", "redis://redis:6379")
            .command(wait),
    );
    wait_until(LIMIT, "it to wait for Redis", || {
        agent
            .logs()
            .contains("waiting: unhealthy: dependency redis://redis:6379: ")
            .then_some(())
    });
    assert!(
        !agent.logs().contains("translator: ready"),
        "{}",
        agent.logs()
    );
    let pid = agent.host_pid();

    let redis = RunOptions::image("redis:7")
        .network(&network, "redis")
        .command(["--save", ""]);
    let _redis = engine.run(redis);
    agent.wait_health("healthy", LIMIT);
    assert_eq!(agent.host_pid(), pid);
    assert_eq!(program_of(pid), "/rust-agent");
}

/// The first word of a process's command line.
fn program_of(pid: u32) -> String {
    let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    line.split('\0').next().unwrap_or_default().to_owned()
}

#[test]
fn init_is_not_the_process_that_is_looked_for() {
    let container = Engine::shared().run(agent("init").init().no_healthcheck().command([
        "/rust-agent",
        "supervise",
        "translator",
    ]));
    assert!(program_of(container.host_pid()).ends_with("docker-init"));
    let probe = |target: &str| container.exec(&["/ready-probe", target]);
    wait_until(LIMIT, "the supervisor", || {
        (probe("process:rust-agent supervise").code() == 0).then_some(())
    });
    let two = probe("process:rust-agent supervise#min=2");
    assert!(
        two.stdout.contains("1 processes match, 2 needed"),
        "{two:?}"
    );
    assert_eq!(probe("process:docker-init").code(), 1);
}

/// A command that leaves children in sessions of their own, and does not end.
const MESSY: &str =
    "exec:sh -c 'setsid sleep 1000 & setsid sh -c \"sleep 1000 & sleep 1000\" & sleep 1000'";

/// The processes of a container besides process 1, which never reaps.
fn others(container: &Container) -> Vec<u32> {
    let first = container.host_pid();
    container
        .pids()
        .into_iter()
        .filter(|pid| *pid != first)
        .collect()
}

#[test]
fn health_check_that_times_out_leaves_no_process() {
    let check = format!(
        "exec /ready-probe --timeout 1s '{}'",
        MESSY.replace('\'', "'\\''")
    );
    let container = Engine::shared().run(
        RunOptions::image(debian_image())
            .name("messy")
            .health_shell(&check)
            .health_interval(Duration::from_secs(1)),
    );
    let mut probes = Probes::of(&container);
    probes.wait_each(2, "the command to time out", |probe| {
        says(probe, "unhealthy: exec:sh …: no answer within ")
            && probe.elapsed() < Duration::from_secs(10)
    });
    // Between two probes nobody is left. What was left would sleep on.
    wait_until(LIMIT, "the container to be tidy", || {
        others(&container).is_empty().then_some(())
    });
}

#[test]
fn probe_by_hand_that_times_out_leaves_no_process() {
    let options = RunOptions::image(debian_image())
        .name("by-hand")
        .no_healthcheck();
    let container = Engine::shared().run(options);
    let probe = container.exec(&["/ready-probe", "--timeout=1s", MESSY]);
    let late = "unhealthy: exec:sh …: no answer within ";
    assert!(probe.stdout.starts_with(late), "{probe:?}");
    assert_eq!(others(&container), [0_u32; 0]);
}
