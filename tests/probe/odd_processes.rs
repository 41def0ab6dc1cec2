//! Processes that /proc shows in a way that is easily taken for another: without their main thread, or in
//! another time namespace.

use std::fs;
use std::process::Command;
use std::time::Duration;

use ready_probe_test_support::odd_process::without_main_thread;
use ready_probe_test_support::process::{Guard, run, wait_until};

use crate::container::{Container, assert_mentions, assert_said, row, through};
use crate::records::{publish, start_of};

#[test]
fn a_process_that_works_without_its_main_thread_is_alive() {
    let container = Container::new();
    let worker = without_main_thread("marked-worker");
    publish(&container, "a", worker.pid(), |_| {});
    let pid_file = container.file("worker.pid", worker.pid().to_string());
    let targets = [
        "agent:a".to_owned(),
        "process:marked-worker".to_owned(),
        format!("pid:{}", pid_file.display()),
    ];
    assert_said(&container.run(&targets), 0, "healthy: 3 checks pass");
    drop(worker);
    let run = container.run(&targets);
    for target in &targets {
        assert_eq!(row(&run, target).0, "fail", "{run:?}");
    }
}

#[test]
fn an_agent_in_another_time_namespace_is_unknown_and_of_no_earlier_life() {
    let container = Container::new();
    // It tells its namespace and its id, and lives on.
    let told = container.path("told");
    let tell = "echo $(readlink /proc/self/ns/time) $$ > \"$0.new\"; mv \"$0.new\" \"$0\"; exec sleep 1000";
    let mut unshare = Command::new("unshare");
    unshare
        .args(["--time", "--boottime", "1000", "--monotonic", "1000"])
        .args(["--fork", "--kill-child", "sh", "-c", tell])
        .arg(&told);
    let _agent = Guard::spawn(&mut unshare);
    let told = wait_until(Duration::from_secs(10), "the agent to tell", || {
        fs::read_to_string(&told).ok()
    });
    let (namespace, pid) = told.trim().split_once(' ').unwrap();
    let pid: u32 = pid.parse().unwrap();
    let theirs: u64 = namespace
        .trim_matches(|c: char| !c.is_ascii_digit())
        .parse()
        .unwrap();
    // As it sees its own start, that of process 1, and the time.
    let ticks = 100_000;
    publish(&container, "a", pid, |record| {
        record["time_ns"] = theirs.into();
        record["init_start"] = (start_of(1) + ticks).into();
        record["mono_ms"] = (record["mono_ms"].as_u64().unwrap() + 1_000_000).into();
    });
    let said = container.ask("agent:a");
    let why = format!("its clocks can't be compared: it runs in time namespace {theirs}");
    assert_mentions(&said, 1, &["unhealthy: agent a: ", &why]);
    assert_eq!(row(&said, "agent:a").0, "unknown");

    // From within its namespace all of it fits together.
    let file = fs::read_dir(container.ready_dir().join("a")).unwrap();
    let file = file.map(|entry| entry.unwrap().path()).next().unwrap();
    let text = fs::read_to_string(&file).unwrap();
    let mut record: serde_json::Value = serde_json::from_str(&text).unwrap();
    let start = start_of(pid) + ticks;
    record["pid_start"] = start.into();
    fs::remove_file(&file).unwrap();
    let file = file.with_file_name(format!("{pid}-{start}.json"));
    fs::write(file, record.to_string()).unwrap();
    let target = pid.to_string();
    let inside = ["--time", "--target", &target];
    let probe = container.probe(["agent:a"]);
    assert_said(
        &run(&mut through("nsenter", &inside, &probe)),
        0,
        "healthy: 1 check passes",
    );
}
