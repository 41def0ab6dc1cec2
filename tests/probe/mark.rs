//! `ready-probe mark`: an agent's signal from a shell, bound to a process.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use ready_probe_test_support::process::{Guard, Run, Signal, probe_binary, run, wait_until};
use ready_probe_test_support::servers::{Nats, NatsVersion, Redis};
use serde_json::Value;

use crate::container::{Container, assert_mentions, assert_said, assert_starts, through};

const PASSES: &str = "healthy: 1 check passes";
const NOBODY: u32 = 65_534;

fn sleeper() -> Guard {
    Guard::spawn(Command::new("sleep").arg("1000"))
}

fn mark(container: &Container, name: &str, process: &Guard, more: &[&str]) -> Run {
    let pid = process.pid().to_string();
    container.run(["mark", name, "--pid", &pid].iter().chain(more))
}

/// The only record of an agent.
fn record(container: &Container, name: &str) -> Value {
    let files = fs::read_dir(container.ready_dir().join(name)).unwrap();
    let paths: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
    let [path] = paths.as_slice() else {
        panic!("one record, not {paths:?}")
    };
    assert_eq!(fs::metadata(path).unwrap().mode() & 0o7777, 0o644);
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn a_mark_lives_as_long_as_its_process() {
    let container = Container::new();
    let mut process = sleeper();
    let said = format!("worker: ready, bound to process {}", process.pid());
    assert_said(&mark(&container, "worker", &process, &[]), 0, &said);
    assert_said(&container.ask("agent:worker"), 0, PASSES);
    assert_eq!(record(&container, "worker")["ttl_ms"], Value::Null);
    process.signal(Signal::KILL);
    process.wait_within(Duration::from_secs(5));
    let gone = format!("unhealthy: agent worker: process {} is gone", process.pid());
    assert_starts(&container.ask("agent:worker"), 1, &gone);
}

#[test]
fn ready_and_not_ready_replace_each_other() {
    let container = Container::new();
    let process = sleeper();
    mark(&container, "worker", &process, &[]);
    let run = mark(
        &container,
        "worker",
        &process,
        &["--not-ready", "model\nreloads"],
    );
    assert_eq!(run.code(), 0);
    let said = "unhealthy: agent worker: not_ready: model reloads";
    assert_said(&container.ask("agent:worker"), 1, said);
    assert_eq!(record(&container, "worker")["state"], "not_ready");
    mark(&container, "worker", &process, &[]);
    assert_said(&container.ask("agent:worker"), 0, PASSES);
    assert_eq!(record(&container, "worker")["reason"], Value::Null);
}

#[test]
fn without_a_pid_it_is_bound_to_the_shell_that_calls_it() {
    let container = Container::new();
    let script = "\"$0\" mark worker && echo $$ && \"$0\" agent:worker";
    let mut shell = Command::new("sh");
    shell
        .args(["-c", script])
        .arg(probe_binary())
        .env("READY_DIR", container.ready_dir());
    let run = run(&mut shell);
    let lines: Vec<&str> = run.stdout.lines().collect();
    let pid = lines[1];
    assert_eq!(lines[0], format!("worker: ready, bound to process {pid}"));
    assert_eq!((lines[2], run.code()), (PASSES, 0), "{run:?}");
    let gone = format!("unhealthy: agent worker: process {pid} is gone");
    assert_starts(&container.ask("agent:worker"), 1, &gone);
}

#[test]
fn a_parent_outside_of_the_container_is_replaced_by_process_1() {
    let container = Container::new();
    let namespace = ["--pid", "--fork", "--kill-child", "--mount-proc"];
    let mut shell = Command::new("sh");
    shell.args(["-c", "echo up; read _"]);
    let mut init = through("unshare", &namespace, &shell);
    init.env("PATH", std::env::var("PATH").unwrap());
    init.stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    let mut init = Guard::spawn(&mut init);
    let mut up = [0; 3];
    std::io::Read::read_exact(init.child().stdout.as_mut().unwrap(), &mut up).unwrap();
    let children = format!("/proc/{0}/task/{0}/children", init.pid());
    let target = fs::read_to_string(children).unwrap();
    // What `docker exec` does.
    let enter = ["--pid", "--mount", "--target", target.trim()];
    let mark = container.probe(["mark", "worker"]);
    assert_said(
        &run(&mut through("nsenter", &enter, &mark)),
        0,
        "worker: ready, bound to process 1",
    );
    let probe = container.probe(["agent:worker"]);
    assert_said(&run(&mut through("nsenter", &enter, &probe)), 0, PASSES);
}

#[test]
fn with_a_ttl_it_expires() {
    let container = Container::new();
    let process = sleeper();
    mark(&container, "worker", &process, &["--ttl", "1s"]);
    assert_eq!(record(&container, "worker")["ttl_ms"], 1_000);
    assert_said(&container.ask("agent:worker"), 0, PASSES);
    let run = wait_until(Duration::from_secs(5), "its end", || {
        let run = container.ask("agent:worker");
        (run.code() != 0).then_some(run)
    });
    assert_starts(
        &run,
        1,
        "unhealthy: agent worker: expired: last beat 1s ago (TTL 1s)",
    );
}

#[test]
fn details_are_texts() {
    let container = Container::new();
    let process = sleeper();
    let details = [
        "--detail",
        "port=5555",
        "--detail",
        "model=a=b",
        "--detail",
        "empty=",
    ];
    assert_eq!(mark(&container, "worker", &process, &details).code(), 0);
    let want = serde_json::json!({ "port": "5555", "model": "a=b", "empty": "" });
    assert_eq!(record(&container, "worker")["details"], want);
    let long = format!("x={}", "y".repeat(5_000));
    let run = mark(&container, "worker", &process, &["--detail", &long]);
    assert_eq!((run.code(), run.stdout.as_str()), (64, ""), "{run:?}");
    assert!(run.stderr.contains("at most 4096 are allowed"), "{run:?}");
}

#[test]
fn a_process_that_is_not_there_cannot_be_marked() {
    let container = Container::new();
    let run = container.run(["mark", "worker", "--pid", "4194304"]);
    assert_said(
        &run,
        1,
        "ready-probe: there is no process 4194304; --pid names another one",
    );
    let mut zombie = sleeper();
    zombie.signal(Signal::KILL);
    let run = wait_until(Duration::from_secs(5), "a zombie", || {
        let run = mark(&container, "worker", &zombie, &[]);
        (run.code() != 0).then_some(run)
    });
    assert_mentions(&run, 1, &["has ended; --pid names another one"]);
}

#[test]
fn another_users_process_cannot_be_marked_for_nobody_would_believe_it() {
    let container = Container::new();
    let process = sleeper();
    let pid = process.pid().to_string();
    let mut probe = container.probe(["mark", "worker", "--pid", &pid]);
    let run = run(probe
        .env("READY_DIR", "/tmp/rp-never-made")
        .uid(NOBODY)
        .gid(NOBODY));
    assert_mentions(
        &run,
        1,
        &["belongs to user 0", "run this command as user 0 or as root"],
    );
    assert!(!std::path::Path::new("/tmp/rp-never-made").exists());
}

#[test]
fn where_nothing_can_be_written_that_is_said() {
    let container = Container::new();
    fs::write(container.ready_dir(), "").unwrap();
    let run = mark(&container, "worker", &sleeper(), &[]);
    assert_mentions(
        &run,
        1,
        &["the signal of agent worker can't be written", "READY_DIR"],
    );
}

#[test]
fn quiet_says_nothing_and_marks() {
    let container = Container::new();
    let process = sleeper();
    let run = mark(&container, "worker", &process, &["--quiet"]);
    assert_eq!((run.code(), run.stdout.as_str()), (0, ""), "{run:?}");
    assert_said(&container.ask("agent:worker"), 0, PASSES);
}

#[test]
fn a_new_mark_removes_what_a_dead_process_of_that_name_left_and_nothing_else() {
    let container = Container::new();
    let (mut first, other, second) = (sleeper(), sleeper(), sleeper());
    mark(&container, "worker", &first, &[]);
    mark(&container, "bystander", &first, &[]);
    mark(&container, "worker", &other, &["--not-ready", "busy"]);
    first.signal(Signal::KILL);
    first.wait_within(Duration::from_secs(5));
    mark(&container, "worker", &second, &[]);
    let run = container.ask("agent:worker");
    assert!(
        run.stdout
            .contains("1 of 2 instances ready; not_ready: busy"),
        "{run:?}"
    );
    assert_mentions(&container.ask("agent:bystander"), 1, &["is gone"]);
}

#[test]
fn a_new_mark_removes_what_a_dead_process_of_that_name_left_in_the_store_and_nothing_else() {
    let redis = Redis::start();
    let nats = [NatsVersion::V2_9, NatsVersion::V2_15];
    let nats = nats.map(|version| Nats::builder(version).jetstream().start());
    let stores: Vec<String> = std::iter::once(redis.url())
        .chain(nats.iter().map(Nats::url))
        .collect();
    for store in &stores {
        let container = Container::new();
        let store = [("READY_STORE", store.as_str())];
        let (mut first, other, second) = (sleeper(), sleeper(), sleeper());
        let mark = |name: &str, process: &Guard| {
            let pid = process.pid().to_string();
            let mut mark = container.probe(["mark", name, "--pid", &pid]);
            assert_eq!(run(mark.envs(store)).code(), 0);
        };
        let left = |name: &str| -> Vec<u64> {
            let mut list = container.probe(["list", name, "--format", "json"]);
            let listed: Value = serde_json::from_str(&run(list.envs(store)).stdout).unwrap();
            let signals = listed["signals"].as_array().unwrap();
            let mut pids: Vec<u64> = signals.iter().map(|s| s["pid"].as_u64().unwrap()).collect();
            pids.sort_unstable();
            pids
        };
        let pids = |processes: &[&Guard]| {
            let mut pids: Vec<u64> = processes.iter().map(|p| p.pid().into()).collect();
            pids.sort_unstable();
            pids
        };
        mark("worker", &first);
        mark("bystander", &first);
        mark("worker", &other);
        assert_eq!(left("worker"), pids(&[&first, &other]));
        first.signal(Signal::KILL);
        first.wait_within(Duration::from_secs(5));
        mark("worker", &second);
        assert_eq!(left("worker"), pids(&[&other, &second]));
        assert_eq!(left("bystander"), pids(&[&first]));
    }
}

#[test]
fn a_mark_survives_what_a_beat_would_have_to_renew() {
    let container = Container::new();
    let process = sleeper();
    mark(&container, "worker", &process, &[]);
    let path = fs::read_dir(container.ready_dir().join("worker"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let mut json: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    json["mono_ms"] = 1.into();
    fs::write(&path, json.to_string()).unwrap();
    assert_said(&container.ask("agent:worker"), 0, PASSES);
}
