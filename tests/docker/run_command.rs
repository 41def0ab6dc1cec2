//! `ready-probe run` as process 1: real programs, orphans, users and read-only containers.

use std::path::Path;
use std::time::Duration;

use ready_probe_test_support::{
    docker::{Engine, ImageRoot, RunOptions},
    process::{probe_binary, wait_until, workspace_root},
};

use crate::fixture::{LIMIT, Probes, debian_image, says};

/// docs/run.md's image of Redis, on the server that is installed here.
fn redis_image() -> &'static str {
    let engine = Engine::shared();
    engine.server_image("redis:7");
    let tag = "ready-probe-test/run-redis";
    let context = tempfile::tempdir().unwrap();
    std::fs::copy(probe_binary(), context.path().join("ready-probe")).unwrap();
    let dockerfile = context.path().join("Dockerfile");
    let page = std::fs::read_to_string(workspace_root().join("docs/run.md")).unwrap();
    let (_, rest) = page.split_once("```dockerfile\n").unwrap();
    let (block, _) = rest.split_once("```").unwrap();
    let mut text = block.to_owned();
    for (written, here) in [
        ("COPY --from=ready-probe /ready-probe", "COPY ready-probe"),
        (
            "--interval=10s --timeout=10s --start-period=1m",
            "--interval=500ms --timeout=20s --retries=1 --start-period=1m",
        ),
    ] {
        assert!(text.contains(written), "{written:?} in {text}");
        text = text.replace(written, here);
    }
    std::fs::write(&dockerfile, &text).unwrap();
    engine.build(tag, context.path(), &dockerfile, &[]);
    tag
}

#[test]
fn redis_is_healthy_once_it_answers_and_stops_on_docker_stop() {
    let image = redis_image();
    // Another user, nothing but its data to write to, and no capability.
    let container = Engine::shared().run(
        RunOptions::image(image)
            .name("run-redis")
            .user("999:999")
            .read_only()
            .cap_drop("ALL")
            .tmpfs("/data"),
    );
    container.wait_health("healthy", LIMIT);
    let pong = container.exec(&["/ready-probe", "redis://127.0.0.1:6379"]);
    assert_eq!(pong.code(), 0, "{pong:?}");
    container.stop();
    // It was asked to, and ends well: not by a kill after the timeout of `docker stop`.
    assert_eq!(container.wait_exit(LIMIT), 0, "{}", container.logs());
}

#[test]
fn as_process_1_it_reaps_orphans() {
    let script = "i=0; while [ $i -lt 20 ]; do sh -c 'sleep 0.1 & exit 0'; i=$((i+1)); done; \
                  echo spawned; exec sleep 1000";
    let run = [
        "/ready-probe",
        "run",
        "worker",
        "--ready-line=spawned",
        "--",
        "sh",
        "-c",
        script,
    ];
    let container = Engine::shared().run(
        RunOptions::image(debian_image())
            .name("run-orphans")
            .command(run),
    );
    let mut probes = Probes::of(&container);
    probes.wait_healthy();
    wait_until(LIMIT, "every orphan to be reaped", || {
        let states = container.pids().into_iter().map(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit_once(") ")
                .map(|(_, rest)| rest.starts_with('Z'))
        });
        let states: Vec<_> = states.collect();
        // What is left are `run` and the program that the shell has become.
        (states.len() == 2 && !states.contains(&Some(true))).then_some(())
    });
    container.kill("TERM");
    assert_eq!(container.wait_exit(LIMIT), 143, "{}", container.logs());
}

#[test]
fn a_crash_is_named_while_the_container_lives_on() {
    let script = "/ready-probe run worker -- sh -c 'exit 3'; exec sleep 1000";
    let container = Engine::shared().run(
        RunOptions::image(debian_image())
            .name("run-crash")
            .command(["sh", "-c", script]),
    );
    let mut probes = Probes::of(&container);
    let crashed = |output: &str| output.contains(" is gone: exited with 3");
    probes.wait(
        "the crash to be seen",
        |probe| says(probe, "starting: "),
        |probe| says(probe, "unhealthy: agent worker: process ") && crashed(&probe.output),
    );
    probes.wait_each(2, "it to be remembered", |probe| crashed(&probe.output));
}

#[test]
fn a_scratch_image_without_shell_or_folders_needs_nothing_else() {
    let nats = Path::new("/usr/sbin/nats-server");
    assert!(
        nats.exists(),
        "nats-server is missing: `apt-get install nats-server`"
    );
    let root = ImageRoot::new()
        .file(&probe_binary(), "/ready-probe")
        .program(nats, "/nats-server");
    let tag = "ready-probe-test/run-nats";
    Engine::shared().build_scratch(
        tag,
        &root,
        "HEALTHCHECK --interval=500ms --timeout=20s --retries=1 CMD [\"/ready-probe\"]\n\
         ENTRYPOINT [\"/ready-probe\", \"run\", \"broker\", \"--when\", \"nats://127.0.0.1:4222\", \"--\", \"/nats-server\"]",
    );
    let container = Engine::shared().run(
        RunOptions::image(tag)
            .name("run-nats")
            .user("65534:65534")
            .read_only()
            .health_start_period(Duration::from_secs(60)),
    );
    container.wait_health("healthy", LIMIT);
    container.kill("TERM");
    container.wait_exit(LIMIT);
}
