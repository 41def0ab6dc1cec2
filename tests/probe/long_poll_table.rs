//! `--long-poll`: what a caller has heard, what is so now, and whether the next answer waits for news.

use std::fs;
use std::time::Duration;

use crate::container::{Container, assert_mentions, assert_said, assert_starts};
use crate::long_poll::{
    Caller, LONG, agent, publish, ready, tell, unless_late, was_at_once, was_held,
};

const A_WHILE: Duration = Duration::from_millis(1_500);

#[test]
fn a_first_call_answers_at_once_whatever_is_so() {
    let container = Container::new();
    let caller = Caller::new(&container, &["agent:a"]);
    assert_starts(&caller.at_once(), 1, "starting: agent a: no signal");
    for (state, code, start) in [
        ("starting", 1, "starting: agent a"),
        ("ready", 0, "healthy"),
        ("not_ready", 1, "unhealthy: agent a: not_ready: told so"),
    ] {
        let container = Container::new();
        tell(&container, "a", state);
        let caller = Caller::new(&container, &["agent:a"]);
        assert_starts(&caller.at_once(), code, start);
    }
}

#[test]
fn who_is_healthy_is_held_until_an_agent_says_no() {
    let container = Container::new();
    let agent = ready(&container, "table-no");
    for targets in [&[][..], &["agent:table-no"]] {
        let caller = Caller::new(&container, targets);
        let mut hold = caller.hold();
        hold.goes_on(A_WHILE);
        agent.mark_not_ready("reloading").unwrap();
        assert_said(
            &hold.ends(),
            1,
            "unhealthy: agent table-no: not_ready: reloading",
        );
        agent.mark_ready(()).unwrap();
        assert_starts(&caller.at_once(), 0, "healthy");
    }
}

#[test]
fn who_is_healthy_hears_at_once_that_an_agent_is_still_starting() {
    let container = Container::new();
    let _one = ready(&container, "table-one");
    let hold = Caller::new(&container, &[]).hold();
    let _other = agent(&container, "table-other").register().unwrap();
    assert_starts(&hold.ends(), 1, "starting: agent table-other");
}

#[test]
fn when_time_is_up_it_is_still_healthy() {
    let container = Container::new();
    let _agent = ready(&container, "table-up");
    let caller = Caller::with(&container, &["--long-poll", "1500ms"], &[]);
    unless_late(|| {
        caller.at_once();
        let run = caller.at_once();
        assert_starts(&run, 0, "healthy: 1 check passes");
        (run.elapsed >= Duration::from_millis(1_490))
            .then_some(())
            .ok_or_else(|| format!("it did not hold: {run:?}"))
    });
}

#[test]
fn degraded_is_healthy_here() {
    let container = Container::new();
    let agent = ready(&container, "table-degraded");
    let flag = container.file("flag", "");
    let optional = format!("file:{}#optional&recheck=100ms", flag.display());
    let caller = Caller::new(&container, &["agent:table-degraded", &optional]);
    let mut hold = caller.hold();
    fs::remove_file(&flag).unwrap();
    hold.goes_on(A_WHILE);
    // What it knows now, it knows by itself: nobody wakes it for this.
    assert_starts(
        &hold.cut(rustix::process::Signal::TERM),
        0,
        "degraded: file:",
    );

    let mut hold = caller.hold();
    fs::write(&flag, "").unwrap();
    hold.goes_on(A_WHILE);
    agent.mark_not_ready("no").unwrap();
    assert_starts(&hold.ends(), 1, "unhealthy: agent table-degraded");
}

#[test]
fn what_it_prints_is_the_last_round() {
    let container = Container::new();
    let agent = ready(&container, "table-last");
    let flag = container.file("flag", "");
    let target = format!("file:{}#optional&recheck=100ms&name=flag", flag.display());
    let caller = Caller::with(
        &container,
        &["--long-poll", LONG, "--format", "json"],
        &["agent:table-last", &target],
    );
    let mut hold = caller.hold();
    fs::remove_file(&flag).unwrap();
    hold.goes_on(A_WHILE);
    agent.mark_not_ready("no").unwrap();
    let run = hold.ends();
    let report = crate::container::parsed(&run);
    assert_eq!(report["verdict"], "unhealthy", "{run:?}");
    assert_eq!(report["checks"][1]["outcome"], "fail", "{run:?}");
}

#[test]
fn who_has_changed_what_it_tells_and_is_ready_is_no_news() {
    let container = Container::new();
    let agent = ready(&container, "table-details");
    let mut hold = Caller::new(&container, &[]).hold();
    for port in 0..20 {
        agent
            .mark_ready(serde_json::json!({ "port": port }))
            .unwrap();
        hold.goes_on(Duration::from_millis(60));
    }
    agent.mark_not_ready("no").unwrap();
    assert_starts(&hold.ends(), 1, "unhealthy: agent table-details");
}

#[test]
fn who_is_starting_is_held_for_a_short_while() {
    unless_late(|| {
        let container = Container::new();
        tell(&container, "slow", "starting");
        let caller = Caller::new(&container, &["agent:slow"]);
        let start = "starting: agent slow";
        was_at_once(&caller.at_once(), 1, start)?;
        was_held(&caller.at_once(), 1, start)?;
        was_held(&caller.at_once(), 1, start)
    });
}

#[test]
fn who_was_starting_hears_of_anything_else_at_once() {
    for (state, code, start) in [
        ("ready", 0, "healthy"),
        ("not_ready", 1, "unhealthy: agent slow: not_ready: told so"),
    ] {
        unless_late(|| {
            let container = Container::new();
            tell(&container, "slow", "starting");
            let caller = Caller::new(&container, &["agent:slow"]);
            caller.at_once();
            let hold = caller.begin();
            tell(&container, "slow", state);
            was_at_once(&hold.ends(), code, start)
        });
    }
}

#[test]
fn an_agent_that_nobody_expected_is_seen_when_it_comes() {
    unless_late(|| {
        let container = Container::new();
        let caller = Caller::new(&container, &[]);
        was_at_once(&caller.at_once(), 1, "starting: no agent")?;
        let mut hold = caller.begin();
        // There is not even a folder of signals, but for the memory.
        hold.goes_on(Duration::from_millis(700));
        tell(&container, "late", "ready");
        was_at_once(&hold.ends(), 0, "healthy")
    });
}

#[test]
fn failures_are_said_as_often_as_the_engine_counts_them() {
    let counted = |retries: Option<&str>, count| {
        unless_late(|| {
            let container = Container::new();
            tell(&container, "a", "ready");
            let caller = match retries {
                Some(retries) => Caller::retrying(&container, retries, &["agent:a"]),
                None => Caller::new(&container, &["agent:a"]),
            };
            let hold = caller.hold();
            tell(&container, "a", "not_ready");
            let start = "unhealthy: agent a: not_ready: told so";
            assert_starts(&hold.ends(), 1, start);
            for _ in 1..count {
                was_at_once(&caller.at_once(), 1, start)?;
            }
            was_held(&caller.at_once(), 1, start)?;
            was_held(&caller.at_once(), 1, start)?;
            let hold = caller.begin();
            tell(&container, "a", "ready");
            was_at_once(&hold.ends(), 0, "healthy")?;
            // What was counted before counts no more.
            tell(&container, "a", "not_ready");
            for _ in 0..count {
                was_at_once(&caller.at_once(), 1, start)?;
            }
            was_held(&caller.at_once(), 1, start)
        });
    };
    // Each of them waits most of the time.
    std::thread::scope(|scope| {
        scope.spawn(|| counted(Some("1"), 1));
        scope.spawn(|| counted(Some("3"), 3));
        counted(None, 3);
    });
}

#[test]
fn answers_that_say_starting_count_as_failures() {
    unless_late(|| {
        let container = Container::new();
        tell(&container, "a", "starting");
        let caller = Caller::retrying(&container, "3", &["agent:a"]);
        was_at_once(&caller.at_once(), 1, "starting")?;
        was_held(&caller.at_once(), 1, "starting")?;
        tell(&container, "a", "not_ready");
        // The third in a row, and of another class.
        was_at_once(&caller.at_once(), 1, "unhealthy")?;
        was_held(&caller.at_once(), 1, "unhealthy")?;
        // Not healthy, and said often enough.
        tell(&container, "a", "starting");
        was_held(&caller.at_once(), 1, "starting")
    });
}

#[test]
fn degraded_ends_a_row_of_failures() {
    unless_late(|| {
        let container = Container::new();
        let optional = format!("file:{}#optional", container.path("none").display());
        let caller = Caller::retrying(&container, "2", &["agent:a", &optional]);
        tell(&container, "a", "ready");
        was_at_once(&caller.at_once(), 0, "degraded")?;
        for _ in 0..2 {
            tell(&container, "a", "not_ready");
            was_at_once(&caller.at_once(), 1, "unhealthy")?;
            tell(&container, "a", "ready");
            was_at_once(&caller.at_once(), 0, "degraded")?;
        }
        tell(&container, "a", "not_ready");
        for _ in 0..2 {
            was_at_once(&caller.at_once(), 1, "unhealthy")?;
        }
        was_held(&caller.at_once(), 1, "unhealthy")
    });
}

#[test]
fn another_reason_is_no_news() {
    unless_late(|| {
        let container = Container::new();
        tell(&container, "a", "not_ready");
        let caller = Caller::retrying(&container, "1", &["agent:a"]);
        was_at_once(
            &caller.at_once(),
            1,
            "unhealthy: agent a: not_ready: told so",
        )?;
        let mut hold = caller.begin();
        hold.goes_on(Duration::from_millis(700));
        publish(&container, "a", std::process::id(), |record| {
            record["state"] = "not_ready".into();
            record["reason"] = "for another reason".into();
        });
        let run = hold.ends();
        assert_mentions(&run, 1, &["unhealthy: agent a: ", "for another reason"]);
        was_held(&run, 1, "unhealthy")
    });
}

#[test]
fn a_hold_that_is_shorter_than_five_seconds_is_so_for_every_class() {
    for (state, code, start) in [
        ("starting", 1, "starting"),
        ("not_ready", 1, "unhealthy"),
        ("ready", 0, "healthy"),
    ] {
        unless_late(|| {
            let container = Container::new();
            tell(&container, "a", state);
            let flags = ["--long-poll", "1s", "--retries", "1"];
            let caller = Caller::with(&container, &flags, &["agent:a"]);
            was_at_once(&caller.at_once(), code, start)?;
            let run = caller.at_once();
            was_at_once(&run, code, start)?;
            (run.elapsed >= Duration::from_millis(990))
                .then_some(())
                .ok_or_else(|| format!("it did not hold: {run:?}"))
        });
    }
}

#[test]
fn a_person_who_asks_is_answered_at_once() {
    let container = Container::new();
    let _agent = ready(&container, "table-person");
    for _ in 0..3 {
        assert_starts(&container.run([""; 0]), 0, "healthy");
    }
}
