//! `--long-poll`: several agents, agents that nobody named, processes that die, and many of them.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use ready_probe_test_support::process::{Guard, Signal, example_agent, wait_until};

use crate::container::{Container, assert_mentions, assert_starts};
use crate::long_poll::{Caller, SOON, agent, publish, ready, tell};
use crate::records;

/// The example agent, published by a process of its own, once it is ready.
fn example(container: &Container, name: &str, settings: &[(&str, &str)]) -> Guard {
    let mut command = Command::new(example_agent());
    command
        .env_clear()
        .env("READY_DIR", container.ready_dir())
        .env("AGENT_PORT", "0")
        .env("AGENT_NAME", name)
        .envs(settings.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let guard = Guard::spawn(&mut command);
    wait_until(SOON, "an agent", || {
        let run = container.ask(format!("agent:{name}"));
        (run.code() == 0).then_some(())
    });
    guard
}

#[test]
fn a_process_that_is_killed_is_news() {
    let container = Container::new();
    let _other = ready(&container, "agents-lives");
    for discovered in [true, false] {
        let mut victim = example(&container, "killed", &[]);
        let targets: &[&str] = if discovered { &[] } else { &["agent:killed"] };
        let hold = Caller::new(&container, targets).hold();
        let pid = victim.pid();
        victim.signal(Signal::KILL);
        let zombie = format!("unhealthy: agent killed: process {pid} ");
        assert_starts(&hold.ends(), 1, &zombie);
        victim.wait_within(SOON);
    }
}

#[test]
fn an_agent_whose_beats_end_expires() {
    let container = Container::new();
    let settings = [("AGENT_TTL", "1s"), ("AGENT_HEARTBEAT", "100ms")];
    let mut paused = example(&container, "paused", &settings);
    let mut hold = Caller::new(&container, &["agent:paused"]).hold();
    // Its life is a second, and has been prolonged all the time.
    hold.goes_on(Duration::from_secs(2));
    paused.signal(Signal::STOP);
    assert_starts(
        &hold.ends(),
        1,
        "unhealthy: agent paused: expired: last beat ",
    );
    paused.signal(Signal::CONT);
}

#[test]
fn an_agent_that_stalls_is_news() {
    let container = Container::new();
    let agent = agent(&container, "agents-stalled")
        .watchdog(Duration::from_secs(4))
        .register()
        .unwrap();
    agent.mark_ready(()).unwrap();
    let caller = Caller::new(&container, &[]);
    let mut hold = caller.hold();
    for _ in 0..20 {
        agent.tick().unwrap();
        hold.goes_on(Duration::from_millis(50));
    }
    let run = hold.ends();
    assert_mentions(&run, 1, &["unhealthy: agent agents-stalled: ", "stalled"]);
}

#[test]
fn an_agent_that_leaves_is_news() {
    let container = Container::new();
    let one = ready(&container, "agents-stays");
    for how in ["close", "drop", "exit"] {
        let name = format!("agents-{how}");
        let target = format!("agent:{name}");
        let mut process = (how == "exit").then(|| example(&container, &name, &[]));
        let leaves = (how != "exit").then(|| ready(&container, &name));
        let hold = Caller::new(&container, &[&target]).hold();
        let _draining = match (how, leaves) {
            ("close", Some(agent)) => Some(agent.close("deploy").unwrap()),
            _ => None,
        };
        if let Some(process) = &mut process {
            process.signal(Signal::TERM);
        }
        assert_starts(&hold.ends(), 1, &format!("unhealthy: agent {name}: "));
    }
    drop(one);
}

#[test]
fn an_agent_that_nobody_asks_for_is_no_news() {
    let container = Container::new();
    for name in ["a", "b"] {
        tell(&container, name, "ready");
    }
    let caller = Caller::new(&container, &[]).env("READY_AGENT", "a,b");
    let mut hold = caller.hold();
    for state in ["starting", "not_ready", "ready"] {
        tell(&container, "c", state);
        hold.goes_on(Duration::from_millis(300));
    }
    fs::remove_dir_all(container.ready_dir().join("c")).unwrap();
    hold.goes_on(Duration::from_millis(300));
    tell(&container, "b", "not_ready");
    assert_starts(&hold.ends(), 1, "unhealthy: agent b");
}

#[test]
fn an_agent_that_appears_is_asked_if_nobody_is_named() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let caller = Caller::new(&container, &[]);
    let mut hold = caller.hold();
    tell(&container, "b", "ready");
    hold.goes_on(Duration::from_millis(500));
    // Its folder is watched, too.
    tell(&container, "b", "not_ready");
    assert_starts(&hold.ends(), 1, "unhealthy: agent b");

    tell(&container, "b", "ready");
    let hold = caller.hold();
    tell(&container, "c", "not_ready");
    assert_starts(&hold.ends(), 1, "unhealthy: agent c");
}

#[test]
fn a_folder_that_is_removed_and_made_again_is_watched() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let caller = Caller::new(&container, &["agent:a"]);
    // With the folder of all signals its memory is lost, too: it may be starting then.
    for (folder, said) in [
        (container.ready_dir().join("a"), "unhealthy: agent a"),
        (container.ready_dir(), ""),
    ] {
        let hold = caller.hold();
        // Who holds may write its memory meanwhile.
        wait_until(SOON, "its end", || {
            let _ = fs::remove_dir_all(&folder);
            (!folder.exists()).then_some(())
        });
        assert_starts(&hold.ends(), 1, said);
        let hold = caller.begin();
        tell(&container, "a", "ready");
        hold.ends();
        let mut hold = caller.hold();
        hold.goes_on(Duration::from_millis(300));
        tell(&container, "a", "not_ready");
        assert_starts(&hold.ends(), 1, "unhealthy: agent a");
        tell(&container, "a", "ready");
    }
}

#[test]
fn rubbish_beside_the_records_is_no_news() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let mut hold = Caller::new(&container, &[]).hold();
    let folder = container.ready_dir().join("a");
    for name in [".1-2.tmp", "x", "1-2.json.swp", ".hidden"] {
        fs::write(folder.join(name), "rubbish").unwrap();
        fs::write(container.ready_dir().join(name), "rubbish").unwrap();
        hold.goes_on(Duration::from_millis(100));
        fs::remove_file(folder.join(name)).unwrap();
        hold.goes_on(Duration::from_millis(100));
    }
    tell(&container, "a", "not_ready");
    assert_starts(&hold.ends(), 1, "unhealthy: agent a");
}

/// As many processes as that, with a record each.
pub fn instances(container: &Container, count: usize) -> Vec<Guard> {
    let guards: Vec<Guard> = (0..count)
        .map(|_| Guard::spawn(Command::new("sleep").arg("1000").stdin(Stdio::null())))
        .collect();
    for guard in &guards {
        publish(container, "many", guard.pid(), |_| {});
    }
    guards
}

#[test]
fn three_hundred_instances_are_watched_and_cost_little() {
    let container = Container::new();
    let mut instances = instances(&container, 300);
    let caller = Caller::new(&container, &["agent:many#min=300"]);
    for victim in [0, 299] {
        let mut hold = caller.hold();
        let before = cpu_ms(hold.probe.pid());
        let steady = instances[150].pid();
        for seq in 2..22 {
            publish(&container, "many", steady, |record| {
                record["seq"] = seq.into();
            });
            hold.goes_on(Duration::from_millis(100));
        }
        let used = cpu_ms(hold.probe.pid()) - before;
        assert!(used < 700, "{used} ms of two seconds");
        instances[victim].signal(Signal::KILL);
        instances[victim].wait_within(SOON);
        assert_starts(&hold.ends(), 1, "unhealthy: agent many");
        let mut next = Command::new("sleep");
        instances[victim] = Guard::spawn(next.arg("1000").stdin(Stdio::null()));
        publish(&container, "many", instances[victim].pid(), |_| {});
        assert_starts(&caller.at_once(), 0, "");
    }
}

/// What a process has used of the processors, in milliseconds.
pub fn cpu_ms(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(')').unwrap();
    let field = |n: usize| -> u64 { rest.split_whitespace().nth(n).unwrap().parse().unwrap() };
    // utime and stime, in ticks of 10 ms.
    (field(11) + field(12)) * 10
}

#[test]
fn an_instance_more_or_less_is_no_news_as_long_as_there_are_enough() {
    let container = Container::new();
    let mut instances = instances(&container, 3);
    let mut hold = Caller::new(&container, &["agent:many#min=2"]).hold();
    let victim = &mut instances[0];
    let path = records::path(&container, "many", victim.pid());
    victim.signal(Signal::KILL);
    victim.wait_within(SOON);
    hold.goes_on(Duration::from_millis(500));
    fs::remove_file(path).unwrap();
    hold.goes_on(Duration::from_millis(500));
    instances[1].signal(Signal::KILL);
    instances[1].wait_within(SOON);
    assert_starts(&hold.ends(), 1, "unhealthy: agent many");
}
