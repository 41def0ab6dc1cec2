//! `--long-poll`: a hold that somebody ends, and an engine whose timeout is shorter than the hold, which
//! ends each of them.

use std::fs;
use std::time::Duration;

use ready_probe_test_support::process::{Signal, wait_until};
use ready_probe_test_support::servers::Redis;

use crate::container::{Container, assert_starts};
use crate::long_poll::{Caller, SOON, tell, unless_late};
use crate::speaker::lives;

/// Ends a hold when it has lasted for that long.
fn cut_after(caller: &Caller<'_>, time: Duration) {
    let mut hold = caller.hold();
    let rest = time.saturating_sub(hold.began.elapsed());
    hold.goes_on(rest);
    assert_starts(&hold.cut(Signal::TERM), 0, "healthy");
    assert_starts(&caller.at_once(), 0, "healthy");
}

#[test]
fn one_cut_shortens_nothing() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let caller = Caller::new(&container, &["agent:a"]);
    cut_after(&caller, Duration::from_secs(1));
    caller.hold().goes_on(Duration::from_secs(4));
}

#[test]
fn two_cuts_of_one_length_shorten_nothing() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let caller = Caller::new(&container, &["agent:a"]);
    cut_after(&caller, Duration::from_secs(1));
    cut_after(&caller, Duration::from_secs(1));
    caller.hold().goes_on(Duration::from_secs(3));
}

#[test]
fn cuts_of_different_length_shorten_nothing() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let caller = Caller::new(&container, &["agent:a"]);
    cut_after(&caller, Duration::from_secs(1));
    cut_after(&caller, Duration::from_secs(4));
    caller.hold().goes_on(Duration::from_secs(5));
}

#[test]
fn three_cuts_of_the_same_length_are_the_engines_timeout() {
    unless_late(|| {
        let container = Container::new();
        tell(&container, "a", "ready");
        let caller = Caller::new(&container, &["agent:a"]);
        for _ in 0..3 {
            cut_after(&caller, Duration::from_secs(2));
        }
        let mut hold = caller.begin();
        while hold.began.elapsed() < Duration::from_secs(5) {
            if hold.probe.ended().is_some() {
                let run = hold.ends();
                assert_starts(&run, 0, "healthy");
                let is_note = |line: &str| line.trim_start().starts_with("note ");
                assert!(run.stdout.lines().any(is_note), "no note: {run:?}");
                let held = run.elapsed > Duration::from_millis(500);
                // And so do those after it.
                let again = caller.at_once();
                return (held && again.elapsed > Duration::from_millis(500))
                    .then_some(())
                    .ok_or_else(|| format!("not held at all: {run:?} {again:?}"));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Err("it still holds".to_owned())
    });
}

#[test]
fn a_cut_in_the_middle_of_a_command_leaves_nothing_of_it() {
    for signal in [Signal::TERM, Signal::INT] {
        let container = Container::new();
        tell(&container, "a", "ready");
        let flag = container.file("flag", "");
        let pid = container.path("pid");
        let target = format!(
            "exec:sh -c 'test -e {} || {{ echo $$ >{}; exec sleep 1000; }}'#recheck=200ms",
            flag.display(),
            pid.display()
        );
        let targets = ["--timeout", "1h", "agent:a", &target];
        let mut hold = Caller::new(&container, &targets).hold();
        fs::remove_file(&flag).unwrap();
        let pid = wait_until(SOON, "the command", || {
            hold.goes_on(Duration::from_millis(1));
            let text = fs::read_to_string(&pid).ok()?;
            text.trim().parse::<u32>().ok()
        });
        assert_starts(&hold.cut(signal), 0, "");
        // It was killed. On a busy machine the kernel may take longer to end it than the probe waits.
        wait_until(SOON, "the end of the command", || {
            (!lives(pid)).then_some(())
        });
    }
}

#[test]
fn the_deadline_is_for_asking_and_the_hold_is_added_to_it() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let redis = Redis::start();
    let mut holds: Vec<_> = [None, Some(redis.url())]
        .into_iter()
        .map(|target| {
            let mut targets = vec!["--timeout", "300ms", "agent:a"];
            targets.extend(target.as_deref());
            Caller::new(&container, &targets).hold()
        })
        .collect();
    for _ in 0..60 {
        for hold in &mut holds {
            hold.goes_on(Duration::from_millis(50));
        }
    }
    tell(&container, "a", "not_ready");
    for hold in holds {
        assert_starts(&hold.ends(), 1, "unhealthy: agent a");
    }
}
