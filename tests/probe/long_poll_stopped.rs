//! `--long-poll`: a probe that stood still, and settings that have changed under it.

use std::fs;
use std::time::{Duration, Instant};

use ready_probe_test_support::process::{Signal, wait_until};
use ready_probe_test_support::servers::Redis;

use crate::container::{Container, assert_mentions, assert_starts, row};
use crate::long_poll::{Caller, Hold, SOON, tell};

/// Nothing wakes a hold for a file: it is looked at now and then.
const SEEN: Duration = Duration::from_secs(60);

/// Stops it for longer than anybody may have heard nothing, and lets it go on.
fn stand_still(hold: &mut Hold, meanwhile: impl FnOnce()) {
    hold.probe.signal(Signal::STOP);
    let since = Instant::now();
    meanwhile();
    wait_until(SOON, "seven seconds", || {
        (since.elapsed() > Duration::from_secs(7)).then_some(())
    });
    hold.probe.signal(Signal::CONT);
}

#[test]
fn who_stood_still_when_something_was_due_answers_at_once_and_so_does_the_next_one() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let here = format!("file:{}", container.path("").display());
    let caller = Caller::new(&container, &["agent:a", &here]);
    let mut hold = caller.hold();
    stand_still(&mut hold, || {});
    assert_starts(&hold.ends(), 0, "healthy");
    assert_starts(&caller.at_once(), 0, "healthy");
    drop(caller.hold());
}

#[test]
fn what_an_agent_has_said_meanwhile_is_told() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let caller = Caller::new(&container, &["agent:a"]);
    let mut hold = caller.hold();
    stand_still(&mut hold, || {
        for state in ["not_ready", "ready", "not_ready"] {
            tell(&container, "a", state);
        }
    });
    assert_starts(&hold.ends(), 1, "unhealthy: agent a");
}

#[test]
fn who_stood_still_asks_before_it_answers() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let mut redis = Redis::start();
    redis.command(&["SET", "k", "v"]);
    let target = format!("{}#key=k&recheck=1s&confirm=1s", redis.url());
    let caller = Caller::new(&container, &["agent:a", &target]);
    // What was so before it stood still, and not afterwards.
    let mut hold = caller.hold();
    stand_still(&mut hold, || {
        redis.command(&["DEL", "k"]);
    });
    // Whether that has lasted is a matter of opinion: nobody looked.
    let run = hold.ends();
    let row = row(&run, &target.replace("&recheck=1s&confirm=1s", ""));
    assert_eq!(row.0, "fail", "{run:?}");
    assert_mentions(&caller.at_once(), 1, &["unhealthy: ", "does not exist"]);
    redis.command(&["SET", "k", "v"]);
    // What was not so for a while only, in which nobody looked.
    let mut hold = caller.hold();
    stand_still(&mut hold, || {
        redis.command(&["DEL", "k"]);
        redis.kill();
        tell(&container, "a", "not_ready");
        redis.restart();
        redis.command(&["SET", "k", "v"]);
        tell(&container, "a", "ready");
    });
    assert_starts(&hold.ends(), 0, "healthy");
}

#[test]
fn an_agent_whose_beats_came_meanwhile_has_not_expired() {
    let container = Container::new();
    let agent = crate::long_poll::agent(&container, "stopped-beats")
        .ttl(Duration::from_secs(5))
        .heartbeat(Duration::from_millis(200))
        .register()
        .unwrap();
    agent.mark_ready(()).unwrap();
    let caller = Caller::new(&container, &[]);
    let mut hold = caller.hold();
    stand_still(&mut hold, || {});
    // It may go on or answer: but not that nothing was beating.
    for _ in 0..500 {
        if hold.probe.ended().is_some() {
            assert_starts(&hold.ends(), 0, "healthy");
            hold = caller.begin();
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    agent.mark_not_ready("no").unwrap();
    assert_starts(&hold.ends(), 1, "unhealthy: agent stopped-beats");
}

#[test]
fn who_stood_still_for_a_moment_goes_on() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let mut hold = Caller::new(&container, &["agent:a"]).hold();
    for _ in 0..5 {
        hold.probe.signal(Signal::STOP);
        let status = format!("/proc/{}/status", hold.probe.pid());
        wait_until(SOON, "it to stop", || {
            let status = fs::read_to_string(&status).unwrap();
            status.contains("State:\tT").then_some(())
        });
        hold.probe.signal(Signal::CONT);
        hold.goes_on(Duration::from_millis(200));
    }
    tell(&container, "a", "not_ready");
    assert_starts(&hold.ends(), 1, "unhealthy: agent a");
}

#[test]
fn a_configuration_that_changes_ends_the_hold() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let text = "agent = ['a']\n";
    let file = container.file("probe.toml", text);
    let path = file.to_str().unwrap();
    // Written in place.
    let mut hold = Caller::new(&container, &["--config", path]).hold();
    hold.goes_on(Duration::from_secs(1));
    fs::write(&file, format!("{text}timeout = '4s'\n")).unwrap();
    assert_starts(&hold.ends_within(SEEN), 0, "healthy");
    // Replaced by another, as a configuration map is.
    let caller = Caller::new(&container, &[]).env("READY_CONFIG", path);
    let mut hold = caller.hold();
    hold.goes_on(Duration::from_secs(1));
    let beside = container.file("beside.toml", "agent = ['nobody']\n");
    fs::rename(beside, &file).unwrap();
    assert_starts(&hold.ends_within(SEEN), 0, "healthy");
    assert_starts(&caller.at_once(), 1, "starting: agent nobody");
}

#[test]
fn an_address_in_a_file_that_changes_ends_the_hold() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let (one, other) = (Redis::start(), Redis::start());
    let file = container.file("url", one.url());
    let caller = Caller::new(&container, &[]).env("REDIS_URL_FILE", file.to_str().unwrap());
    let mut hold = caller.hold();
    hold.goes_on(Duration::from_secs(1));
    fs::write(&file, other.url()).unwrap();
    assert_starts(&hold.ends_within(SEEN), 0, "healthy");
    let run = caller.at_once();
    assert_starts(&run, 0, "healthy");
    assert!(run.stdout.contains(&other.url()), "{run:?}");
}
