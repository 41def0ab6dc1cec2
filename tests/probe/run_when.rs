//! `ready-probe run --when`: what it asks of servers, and how soon it hears that they are gone.

use ready_probe_test_support::process::wait_until;
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
