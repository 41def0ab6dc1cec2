//! What a hardened or starved container leaves to work with.

use ready_probe_test_support::{
    docker::{Engine, RunOptions},
    fuse::Fuse,
    process::wait_until,
};

use crate::fixture::{LIMIT, Probes, agent, debian_image, kill_agent, says};

#[test]
fn nothing_but_shared_memory_is_needed() {
    assert_works(
        agent("hardened")
            .read_only()
            .user("65532:65532")
            .cap_drop("ALL")
            .flag("--security-opt=no-new-privileges")
            .no_network(),
    );
}

#[test]
fn without_shared_memory_tmp_takes_its_place() {
    assert_works(
        agent("no-shm")
            .ipc("none")
            .tmpfs("/tmp")
            .read_only()
            .user("65532:65532")
            .cap_drop("ALL"),
    );
}

/// The agent is heard, and what probes remember from one to the next has its place, too.
#[track_caller]
fn assert_works(options: RunOptions) {
    let container = Engine::shared().run(options.env("AGENT_LOAD", "3s"));
    let mut probes = Probes::of(&container);
    probes.wait_each(1, "a starting probe", |probe| {
        says(probe, "starting: agent translator: starting")
    });
    let healthy = probes.wait_healthy();
    assert!(!healthy.output.contains("grace"), "{healthy:?}");
}

#[test]
fn agent_that_can_write_nowhere_says_where_it_tried() {
    let container = Engine::shared().run(agent("nowhere").ipc("none").read_only());
    assert_ne!(container.wait_exit(LIMIT), 0);
    let logs = container.logs();
    assert!(
        logs.contains("/dev/shm/ready-probe") && logs.contains("/tmp/ready-probe"),
        "{logs}"
    );
}

#[test]
fn probe_that_can_have_no_thread_says_so() {
    // The shell fills the limit, then becomes the probe.
    let script = "i=1; while [ $i -lt 8 ]; do sleep 100 & i=$((i+1)); done; \
                  exec /ready-probe file:/etc/passwd tcp://127.0.0.1:1 tcp://redis:6379";
    let options = RunOptions::image(debian_image())
        .name("threads")
        .no_healthcheck()
        .pids_limit(8);
    let probe = Engine::shared().run_to_end(options.command(["sh", "-c", script]));
    assert_eq!(probe.code(), 1, "{probe:?}");
    let unknown = probe
        .stdout
        .lines()
        .filter(|row| row.contains("no thread available"));
    assert_eq!(unknown.count(), 2, "file: and the host name: {probe:?}");
    assert!(
        probe.stdout.contains("fail     tcp://127.0.0.1:1 "),
        "the rest is asked: {probe:?}"
    );
}

#[test]
fn agent_is_asked_without_a_thread() {
    let script = "i=1; while [ $i -lt 8 ]; do sleep 100 & i=$((i+1)); done; exec /ready-probe agent:translator";
    let options = RunOptions::image(debian_image())
        .name("no-thread")
        .no_healthcheck()
        .pids_limit(8);
    let probe = Engine::shared().run_to_end(options.command(["sh", "-c", script]));
    assert_eq!(
        probe.first_line(),
        "starting: agent translator: no signal published",
        "{probe:?}"
    );
}

#[test]
fn process_1_may_be_hidden() {
    // An ordinary user sees its own processes only. (Group 0 would see all of them.)
    let user = "--user=1000:1000";
    let script = "mount -o remount,hidepid=2 /proc && \
                  exec setpriv --reuid=1000 --regid=1000 --clear-groups \
                  sh -c '/rust-agent supervise translator & wait'";
    let container = Engine::shared().run(
        RunOptions::image(debian_image())
            .name("hidepid")
            .no_healthcheck()
            .flag("--cap-add=SYS_ADMIN")
            .flag("--security-opt=apparmor=unconfined")
            .init()
            .command(["sh", "-c", script]),
    );
    let probe = || container.exec_with(&[user], &["/ready-probe"]);
    wait_until(LIMIT, "the agent", || (probe().code() == 0).then_some(()));
    let hidden = container.exec_with(&[user], &["cat", "/proc/1/stat"]);
    assert!(
        hidden.stderr.contains("No such file"),
        "process 1 is to be hidden: {hidden:?}"
    );

    let pid = kill_agent(&container, "translator");
    let gone = format!("unhealthy: agent translator: process {pid} is gone");
    let probe = probe();
    assert!(probe.stdout.starts_with(&gone), "{probe:?}");
}

#[test]
fn a_volume_that_hangs_is_told_and_leaves_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, point) = (dir.path().join("folder"), dir.path().join("point"));
    for path in [&folder, &point] {
        std::fs::create_dir(path).unwrap();
    }
    std::fs::write(folder.join("state"), "ready").unwrap();
    let fuse = Fuse::mount(&folder, &point);
    let container = Engine::shared().run(
        agent("hung-volume")
            .bind_read_only(&point, "/far")
            .env("READY_TIMEOUT", "1s")
            .env("READY_CHECKS", "file:/far/state"),
    );
    let mut probes = Probes::of(&container);
    probes.wait_healthy();
    let before = container.pids().len();
    fuse.hang();
    let hung = "unhealthy: file:/far/state: /far does not answer";
    probes.wait(
        "the volume to hang",
        |probe| says(probe, "healthy: "),
        |probe| says(probe, hung),
    );
    probes.wait_each(4, "the same again", |probe| says(probe, hung));
    let after = container.pids().len();
    fuse.go_on();
    assert!(after <= before + 1, "{before} processes, and then {after}");
    probes.wait(
        "the volume to go on",
        |probe| says(probe, hung),
        |probe| says(probe, "healthy: "),
    );
}
