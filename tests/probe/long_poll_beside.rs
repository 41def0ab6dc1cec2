//! `--long-poll`: plain probes beside a hold, by hand or by another health check, and what they share.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ready_probe_test_support::http::{HttpServer, Response};
use ready_probe_test_support::process::{Signal, wait_until};
use ready_probe_test_support::servers::Redis;

use crate::container::{Container, assert_mentions, assert_starts};
use crate::long_poll::{Caller, SOON, tell, unless_late};

#[test]
fn a_plain_probe_answers_at_once_and_disturbs_nobody() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let caller = Caller::new(&container, &["agent:a"]);
    let mut hold = caller.hold();
    for _ in 0..10 {
        assert_starts(&container.ask("agent:a"), 0, "healthy");
        assert_starts(&container.run([""; 0]), 0, "healthy");
        assert_starts(&container.ask("agent:nobody"), 1, "starting");
        hold.goes_on(Duration::from_millis(50));
    }
    tell(&container, "a", "not_ready");
    assert_starts(&container.ask("agent:a"), 1, "unhealthy: agent a");
    assert_starts(&hold.ends(), 1, "unhealthy: agent a");
}

#[test]
fn plain_probes_between_two_answers_change_nothing_about_what_was_heard() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let caller = Caller::new(&container, &["agent:a"]);
    unless_late(|| {
        caller.at_once();
        assert_starts(&container.ask("agent:a"), 0, "healthy");
        tell(&container, "a", "not_ready");
        // A person has heard of it; the engine has not.
        assert_starts(&container.ask("agent:a"), 1, "unhealthy");
        tell(&container, "a", "ready");
        let mut hold = caller.begin();
        for _ in 0..300 {
            std::thread::sleep(Duration::from_millis(2));
            if hold.probe.ended().is_some() {
                return Err(format!("it did not hold: {:?}", hold.ends()));
            }
        }
        Ok(())
    });
}

#[test]
fn both_remember_what_the_other_has_learned() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let (mut held, mut asked) = (Redis::start(), Redis::start());
    let target = format!("{}#recheck=100ms", held.url());
    let caller = Caller::new(&container, &["agent:a", &target]);
    let mut hold = caller.hold();
    // A check of its own, remembered while the other one holds and after it has ended.
    assert_starts(&container.ask(asked.url()), 0, "healthy");
    hold.goes_on(Duration::from_millis(500));
    assert_starts(&hold.cut(Signal::TERM), 0, "healthy");
    asked.kill();
    held.kill();
    for url in [asked.url(), held.url()] {
        let run = container.ask(&url);
        assert_mentions(&run, 0, &["degraded: ", "of 3m grace"]);
    }
}

#[test]
fn a_hold_that_is_killed_has_told_since_when_a_dependency_is_away() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let mut redis = Redis::start();
    let target = format!("{}#recheck=100ms", redis.url());
    let mut hold = Caller::new(&container, &["agent:a", &target]).hold();
    redis.kill();
    hold.goes_on(Duration::from_secs(3));
    hold.kill();
    let run = container.ask(&target);
    assert_mentions(&run, 0, &["degraded: ", " of 3m grace"]);
    assert!(!run.first_line().contains("for 0ms of"), "{run:?}");
}

#[test]
fn a_plain_probe_has_its_own_mind_about_what_a_hold_forgives() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let flag = container.file("flag", "");
    let target = format!("file:{}#confirm=1h&recheck=100ms", flag.display());
    let mut hold = Caller::new(&container, &["agent:a", &target]).hold();
    fs::remove_file(&flag).unwrap();
    hold.goes_on(Duration::from_millis(700));
    for _ in 0..3 {
        assert_starts(&container.run(["agent:a", &target]), 1, "unhealthy: file:");
    }
    hold.goes_on(Duration::from_millis(700));
    assert_starts(&hold.cut(Signal::TERM), 0, "degraded: file:");
}

#[test]
fn a_probe_that_is_slow_holds_up_no_news() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let delay = Arc::new(AtomicU64::new(0));
    let delays = Arc::clone(&delay);
    let server = HttpServer::start(move |_| {
        Response::new(200).delay(Duration::from_secs(delays.load(Ordering::SeqCst)))
    });
    let target = format!("{}#recheck=100ms&timeout=1h", server.url("/"));
    let targets = ["--timeout", "1h", "agent:a", &target];
    let hold = Caller::new(&container, &targets).hold();
    delay.store(600, Ordering::SeqCst);
    let asked = server.requests().len();
    wait_until(SOON, "a question", || {
        (server.requests().len() > asked).then_some(())
    });
    tell(&container, "a", "not_ready");
    // It does not wait for an answer that takes ten minutes.
    assert_starts(&hold.ends(), 1, "unhealthy: agent a");
}

#[test]
fn a_memory_that_is_lost_under_a_hold_costs_one_answer_at_once() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let caller = Caller::new(&container, &["agent:a"]);
    let mut hold = caller.hold();
    fs::remove_file(container.memory()).unwrap();
    hold.goes_on(Duration::from_millis(500));
    tell(&container, "a", "not_ready");
    assert_starts(&hold.ends(), 1, "unhealthy: agent a");
    tell(&container, "a", "ready");
    assert_starts(&caller.at_once(), 0, "healthy");
    fs::remove_file(container.memory()).unwrap();
    assert_starts(&caller.at_once(), 0, "healthy");
    drop(caller.hold());
}
