//! `ready-probe run --when`: what it asks of servers, and how soon it hears that they are gone.

use ready_probe_test_support::process::{Signal, wait_until};
use ready_probe_test_support::servers::Redis;

use crate::speaker::{LIMIT, Speaker, wait_for};

const READY: &str = "healthy: 1 check passes";

/// The numbers that a server has given those who came over TCP.
fn clients(redis: &Redis) -> Vec<String> {
    let list = redis.command(&["CLIENT", "LIST"]);
    let over_tcp = list.lines().filter(|line| line.contains(" addr=127.0.0.1"));
    let number = |line: &str| line.split(' ').next().unwrap().to_owned();
    over_tcp.map(number).collect()
}

/// How often a server was asked whether it is there.
fn pings(redis: &Redis) -> u64 {
    let stats = redis.command(&["INFO", "commandstats"]);
    let of_ping = stats.split_once("cmdstat_ping:calls=");
    let calls = of_ping.and_then(|(_, rest)| rest.split(',').next());
    calls.map_or(0, |calls| calls.parse().unwrap())
}

#[test]
fn a_server_is_asked_again_and_again_over_one_connection() {
    let redis = Redis::start();
    let when = format!("--when={}", redis.url());
    let program = Speaker::start(&[&when, "--recheck=50ms", "--timeout=1m"]);
    wait_for(&program.container, READY);
    let first = clients(&redis);
    assert_eq!(first.len(), 1, "{first:?}");
    let before = pings(&redis);
    wait_until(LIMIT, "it to be asked again", || {
        (pings(&redis) >= before + 5).then_some(())
    });
    assert_eq!(clients(&redis), first);
}

#[test]
fn a_server_that_ends_is_missed_before_it_is_due() {
    let mut redis = Redis::start();
    let when = format!("--when={}", redis.url());
    let program = Speaker::start(&[&when, "--recheck=10m", "--timeout=1s"]);
    wait_for(&program.container, READY);
    redis.kill();
    wait_until(LIMIT, "it to be missed", || {
        let said = program.ask();
        said.first_line()
            .contains("worker: not_ready: ")
            .then_some(())
    });
    redis.restart();
    wait_for(&program.container, READY);
}

#[test]
fn what_may_have_changed_with_sigquit_is_asked_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let flag = dir.path().join("flag");
    std::fs::write(&flag, "").unwrap();
    let when = format!("--when=file:{}", flag.display());
    let mut program = Speaker::start(&[&when, "--recheck=10m"]);
    program.does("signal.signal(signal.SIGQUIT, lambda *_: tell('quit'))");
    program.does("tell('heeds it')");
    assert_eq!(program.line(), "heeds it");
    program.wait_ready();
    // As a server closes its port when it is told to drain.
    std::fs::remove_file(&flag).unwrap();
    program.guard.signal(Signal::QUIT);
    assert_eq!(program.line(), "quit");
    let missing = format!(
        "unhealthy: agent worker: not_ready: file:{}: no such file",
        flag.display()
    );
    program.wait_for(&missing);
}
