//! `--long-poll`: what a probe that waits costs.

use std::fs;
use std::time::Duration;

use ready_probe_test_support::http::{HttpServer, Response};
use ready_probe_test_support::process::Signal;
use ready_probe_test_support::servers::Redis;

use crate::container::{Container, assert_starts};
use crate::long_poll::{Caller, Hold, agent, tell};
use crate::long_poll_agents::cpu_ms;

/// A count that the kernel keeps in `/proc/PID/status` or of the entries of a folder there.
fn entries(hold: &Hold, folder: &str) -> usize {
    let path = format!("/proc/{}/{folder}", hold.probe.pid());
    fs::read_dir(path).unwrap().count()
}

fn children(hold: &Hold) -> String {
    let pid = hold.probe.pid();
    fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap()
}

fn status(hold: &Hold, field: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/status", hold.probe.pid())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let word = line.unwrap().split_whitespace().next().unwrap();
    word.parse().unwrap()
}

#[test]
fn who_waits_has_no_children_few_threads_and_little_memory() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let (redis, http) = (Redis::start(), HttpServer::start(|_| Response::new(200)));
    let file = format!("file:{}", container.path("").display());
    let (redis, http) = (redis.url(), http.url("/"));
    let local = ["agent:a"];
    let all = ["agent:a", &file, &redis, &http, "exec:true"];
    for (targets, threads) in [(&local[..], 2), (&all, 4)] {
        let mut hold = Caller::new(&container, targets).hold();
        hold.goes_on(Duration::from_secs(1));
        assert_eq!(children(&hold), "");
        let now = entries(&hold, "task");
        assert!(now <= threads, "{now} threads for {targets:?}");
        let memory = status(&hold, "RssAnon:");
        assert!(memory < 1_500, "{memory} kB of anonymous memory");
        let memory = status(&hold, "VmRSS:");
        assert!(memory < 6_000, "{memory} kB resident");
        assert_starts(&hold.cut(Signal::TERM), 0, "");
    }
}

#[test]
fn who_waits_uses_hardly_any_processor() {
    let container = Container::new();
    let beating = agent(&container, "cost-beats")
        .heartbeat(Duration::from_millis(100))
        .register()
        .unwrap();
    beating.mark_ready(()).unwrap();
    let mut hold = Caller::new(&container, &[]).hold();
    let before = cpu_ms(hold.probe.pid());
    hold.goes_on(Duration::from_secs(5));
    let used = cpu_ms(hold.probe.pid()) - before;
    // Fifty beats.
    assert!(used <= 250, "{used} ms in five seconds");
    beating.mark_not_ready("no").unwrap();
    assert_starts(&hold.ends(), 1, "unhealthy: agent cost-beats");
}

#[test]
fn who_has_nothing_to_do_does_not_wake() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let mut hold = Caller::new(&container, &["agent:a"]).hold();
    let switches = |hold: &Hold| {
        let tasks = fs::read_dir(format!("/proc/{}/task", hold.probe.pid())).unwrap();
        let count = |task: std::io::Result<fs::DirEntry>| -> u64 {
            let text = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            line.unwrap().trim().parse().unwrap()
        };
        tasks.map(count).sum::<u64>()
    };
    let before = switches(&hold);
    hold.goes_on(Duration::from_secs(10));
    let woken = switches(&hold) - before;
    assert!(woken <= 4, "{woken} times in ten seconds");
    tell(&container, "a", "not_ready");
    assert_starts(&hold.ends(), 1, "unhealthy: agent a");
}

#[test]
fn news_without_end_leaves_nothing_open() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let redis = Redis::start();
    let target = format!("{}#recheck=100ms", redis.url());
    let mut hold = Caller::new(&container, &["agent:a", &target]).hold();
    let before = (entries(&hold, "fd"), status(&hold, "RssAnon:"));
    for _ in 0..100 {
        tell(&container, "a", "ready");
        hold.goes_on(Duration::from_millis(20));
    }
    let after = (entries(&hold, "fd"), status(&hold, "RssAnon:"));
    // A question may be under way.
    assert!(after.0 <= before.0 + 3, "descriptors: {before:?} {after:?}");
    assert!(after.1 <= before.1 + 512, "memory: {before:?} {after:?}");
    assert_starts(&hold.cut(Signal::TERM), 0, "healthy");
}

#[test]
fn an_agent_that_changes_all_the_time_does_not_keep_it_busy() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let mut hold = Caller::new(&container, &["agent:a"]).hold();
    let before = cpu_ms(hold.probe.pid());
    let since = std::time::Instant::now();
    while since.elapsed() < Duration::from_secs(3) {
        tell(&container, "a", "ready");
        hold.goes_on(Duration::from_micros(1));
    }
    let used = cpu_ms(hold.probe.pid()) - before;
    assert!(used <= 1_200, "{used} ms in three seconds");
    tell(&container, "a", "not_ready");
    assert_starts(&hold.ends(), 1, "unhealthy: agent a");
}
