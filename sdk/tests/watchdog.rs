//! The promise of progress: a stall is said when it begins and taken back when it ends, and a pause
//! of the whole process is no stall.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::thread;
use std::time::Duration;

use common::program::Program;
use common::{TempFolder, throughout, until, within};
use ready_probe_sdk::{Agent, ErrorKind, State, clock};
use rustix::process::Signal;

const LIMIT: Duration = Duration::from_millis(300);
/// What a busy machine may add to a moment.
const SLACK_MS: u64 = 4_000;

/// With beats that are minutes apart, so that what is seen sooner was not a beat.
fn watched(folder: &TempFolder, name: &str) -> Agent {
    Agent::builder(name)
        .folder(folder.signals())
        .ttl(Duration::from_secs(3_600))
        .watchdog(LIMIT)
        .register()
        .unwrap()
}

#[test]
fn a_stall_is_said_at_the_watchdog_s_expiry_and_not_at_the_next_beat() {
    let folder = TempFolder::new();
    let agent = watched(&folder, "stalls");
    let begin = clock::mono_ms();
    agent.mark_ready(()).unwrap();
    until("it is stalled", || {
        (agent.state() == State::NotReady).then_some(())
    });
    let took = clock::mono_ms() - begin;
    assert!((300..300 + SLACK_MS).contains(&took), "{took}ms");
    folder.until_says("stalls", "not_ready: stalled: no progress for 3");
    let reason = folder.record("stalls").reason.unwrap();
    assert!(reason.ends_with("ms (limit 300ms)"), "{reason}");
}

#[test]
fn the_first_tick_after_a_stall_publishes_ready_before_it_returns() {
    let folder = TempFolder::new();
    let agent = watched(&folder, "resumes");
    agent.mark_ready(serde_json::json!({ "port": 1 })).unwrap();
    folder.until_says("resumes", "not_ready: stalled");
    let says = within(LIMIT, || {
        agent.tick().unwrap();
        folder.says("resumes")
    });
    assert_eq!(says, ["ready"]);
    assert_eq!(folder.record("resumes").details["port"], 1);
}

#[test]
fn a_second_stall_is_noticed_as_soon_as_the_first() {
    let folder = TempFolder::new();
    let agent = watched(&folder, "twice");
    agent.mark_ready(()).unwrap();
    for _ in 0..3 {
        folder.until_says("twice", "not_ready: stalled");
        let begin = clock::mono_ms();
        agent.tick().unwrap();
        until("it is stalled", || {
            (agent.state() == State::NotReady).then_some(())
        });
        let took = clock::mono_ms() - begin;
        assert!((300..300 + SLACK_MS).contains(&took), "{took}ms");
    }
}

#[test]
fn an_agent_that_ticks_is_never_stalled() {
    let folder = TempFolder::new();
    let agent = Agent::builder("ticks")
        .folder(folder.signals())
        .watchdog(LIMIT)
        .register()
        .unwrap();
    agent.mark_ready(()).unwrap();
    let mut ticks = 0;
    throughout(10 * LIMIT, || {
        let says = within(LIMIT, || {
            agent.tick().unwrap();
            ticks += 1;
            folder.says("ticks")
        });
        assert_eq!(says, ["ready"]);
    });
    let seq = folder.record("ticks").seq;
    assert!(seq < ticks / 3, "a tick writes nothing: {seq}, {ticks}");
}

#[test]
fn it_is_armed_only_while_the_agent_is_ready() {
    let folder = TempFolder::new();
    let hour = Duration::from_secs(3_600);
    let builder = Agent::builder("armed").folder(folder.signals()).ttl(hour);
    let agent = builder.watchdog(LIMIT).register().unwrap();
    throughout(3 * LIMIT, || assert_eq!(folder.says("armed"), ["starting"]));
    // The first beat comes at any time.
    let seq = folder.record("armed").seq;
    assert!(seq <= 2, "nothing else was published in between: {seq}");
    let says = within(LIMIT, || {
        agent.mark_ready(()).unwrap();
        folder.says("armed")
    });
    assert_eq!(says, ["ready"], "time before ready does not count");
    agent.mark_not_ready("reloading").unwrap();
    throughout(3 * LIMIT, || {
        assert_eq!(folder.says("armed"), ["not_ready: reloading"]);
    });
    agent.tick().unwrap();
    assert_eq!(
        folder.says("armed"),
        ["not_ready: reloading"],
        "a tick is not a word"
    );
    let _draining = agent.close("deploy").unwrap();
    throughout(2 * LIMIT, || {
        assert_eq!(folder.says("armed"), ["stopping: deploy"]);
    });
}

#[test]
fn a_stalled_agent_that_says_why_it_is_not_ready_is_believed() {
    let folder = TempFolder::new();
    let agent = watched(&folder, "says");
    agent.mark_ready(()).unwrap();
    folder.until_says("says", "not_ready: stalled");
    agent.mark_not_ready("deadlock found").unwrap();
    assert_eq!(folder.says("says"), ["not_ready: deadlock found"]);
    let says = within(LIMIT, || {
        agent.mark_ready(()).unwrap();
        folder.says("says")
    });
    assert_eq!(says, ["ready"]);
}

#[test]
fn since_tells_when_the_stall_began_and_when_it_ended() {
    let folder = TempFolder::new();
    let limit = Duration::from_millis(1_100); // `since` counts whole seconds
    let agent = Agent::builder("since")
        .folder(folder.signals())
        .watchdog(limit)
        .register()
        .unwrap();
    agent.mark_ready(()).unwrap();
    let ready = folder.record("since").since;
    folder.until_says("since", "not_ready: stalled");
    let stalled = folder.record("since").since;
    assert!(stalled > ready, "{stalled:?}, {ready:?}");
    thread::sleep(limit);
    agent.tick().unwrap();
    assert!(folder.record("since").since > stalled);
}

/// Stops the program until its signal has expired, and lets it run again.
fn pause(program: &Program, folder: &TempFolder, span: Duration) {
    program.signal(Signal::STOP);
    throughout(span, || ());
    folder.until_says("a", "expired: last beat ");
    program.signal(Signal::CONT);
}

#[test]
fn a_paused_process_is_ready_again_after_at_most_a_beat_and_was_not_stalled() {
    let folder = TempFolder::new();
    let mut program = Program::start(&folder.path());
    // TTL 1 s, a beat every 300 ms, a watchdog of 1 s.
    program.tell("register a 1000 300 1000");
    program.tell("ready");
    program.tell("tick_every 400");
    for i in 0..4_u32 {
        // Each time in another phase of the watchdog's own schedule.
        throughout(
            Duration::from_millis(200) + Duration::from_millis(17) * i,
            || (),
        );
        pause(&program, &folder, Duration::from_millis(2_500));
        let begin = clock::mono_ms();
        until("it is ready again", || {
            let says = folder.says("a");
            assert!(!says[0].starts_with("not_ready"), "{says:?}");
            (says == ["ready"]).then_some(())
        });
        let took = clock::mono_ms() - begin;
        assert!(took < 360 + SLACK_MS / 2, "{took}ms");
        throughout(Duration::from_millis(600), || {
            assert_eq!(folder.says("a"), ["ready"]);
        });
    }
}

#[test]
fn a_stall_right_after_a_pause_is_noticed_as_soon_as_any() {
    let folder = TempFolder::new();
    let mut program = Program::start(&folder.path());
    program.tell("register a 1000 300 1000");
    program.tell("ready");
    program.tell("tick_every 100");
    for _ in 0..3 {
        pause(&program, &folder, Duration::from_millis(3_000));
        folder.until_says("a", "ready");
        let begin = clock::mono_ms();
        program.tell("stop_ticking");
        folder.until_says("a", "not_ready: stalled");
        let took = clock::mono_ms() - begin;
        assert!((800..1_000 + SLACK_MS).contains(&took), "{took}ms");
        program.tell("tick_every 100");
    }
}

#[test]
fn a_pause_does_not_excuse_the_stall_before_it() {
    let folder = TempFolder::new();
    let mut program = Program::start(&folder.path());
    program.tell("register a 1000 300 1000");
    program.tell("ready");
    folder.until_says("a", "not_ready: stalled");
    pause(&program, &folder, Duration::from_millis(1_500));
    folder.until_says("a", "not_ready: stalled");
    throughout(Duration::from_millis(500), || {
        assert!(folder.says("a")[0].starts_with("not_ready: stalled"));
    });
}

#[test]
fn program() {
    common::program::main_if_asked();
}

#[test]
fn a_disarmed_agent_may_wait_for_work_and_is_watched_again_while_it_works() {
    let folder = TempFolder::new();
    let agent = watched(&folder, "on_demand");
    agent.disarm().unwrap();
    agent.mark_ready(()).unwrap();
    throughout(2 * LIMIT, || assert_eq!(agent.state(), State::Ready));
    agent.arm().unwrap();
    assert_eq!(agent.state(), State::Ready, "the wait is not the work's");
    folder.until_says("on_demand", "not_ready: stalled: no progress for 3");
    agent.disarm().unwrap();
    assert_eq!(folder.says("on_demand"), ["ready"]);
    throughout(2 * LIMIT, || assert_eq!(agent.state(), State::Ready));
}

#[test]
fn an_agent_is_watched_while_any_of_its_threads_works() {
    let folder = TempFolder::new();
    let agent = watched(&folder, "workers");
    agent.disarm().unwrap();
    agent.mark_ready(()).unwrap();
    agent.arm().unwrap();
    agent.arm().unwrap();
    agent.disarm().unwrap();
    folder.until_says("workers", "not_ready: stalled: no progress for 3");
    agent.disarm().unwrap();
    throughout(2 * LIMIT, || assert_eq!(agent.state(), State::Ready));
}

#[test]
fn an_agent_is_idle_between_calls_and_stalled_while_any_of_them_is_late() {
    let folder = TempFolder::new();
    let agent = Agent::builder("calls")
        .folder(folder.signals())
        .watchdog(Duration::from_secs(1))
        .register()
        .unwrap();
    agent.mark_ready(()).unwrap();
    let hung: Vec<_> = (0..3).map(|_| agent.working().unwrap()).collect();
    let works = agent.working().unwrap();
    until("it is stalled", || {
        works.tick().unwrap();
        (agent.state() == State::NotReady).then_some(())
    });
    assert!(hung[0].is_stalled() && !works.is_stalled());
    let reason = folder.record("calls").reason.unwrap();
    assert!(reason.ends_with(" in 3 of 4 calls (limit 1s)"), "{reason}");
    for call in hung {
        assert_eq!(agent.state(), State::NotReady, "{call:?} hangs");
        drop(call);
    }
    assert_eq!(folder.says("calls"), ["ready"]);
    drop(works);
    throughout(Duration::from_secs(2), || {
        assert_eq!(agent.state(), State::Ready);
    });
}

#[test]
fn a_call_is_not_late_while_one_within_it_ticks_and_a_tick_alone_is_its_own() {
    let folder = TempFolder::new();
    let agent = Agent::builder("within")
        .folder(folder.signals())
        .watchdog(Duration::from_secs(1))
        .register()
        .unwrap();
    agent.mark_ready(()).unwrap();
    let job = agent.working().unwrap();
    let step = job.working().unwrap();
    throughout(Duration::from_secs(2), || {
        step.tick().unwrap();
        assert_eq!(agent.state(), State::Ready);
    });
    until("the job is late", || {
        step.tick_alone().unwrap();
        (agent.state() == State::NotReady).then_some(())
    });
    assert!(step.is_stalled(), "by the job around it");
    step.tick().unwrap();
    assert_eq!(folder.says("within"), ["ready"]);
}

#[test]
fn a_ready_agent_that_is_marked_again_proves_no_progress_of_work_under_way() {
    let folder = TempFolder::new();
    let agent = watched(&folder, "marked");
    agent.mark_ready(()).unwrap();
    let job = agent.working().unwrap();
    until("it is stalled", || {
        agent.mark_ready(()).unwrap();
        (agent.state() == State::NotReady).then_some(())
    });
    // While it says so itself nothing is watched, and all begins anew.
    agent.mark_not_ready("reloading").unwrap();
    agent.mark_ready(()).unwrap();
    assert_eq!(agent.state(), State::Ready);
    drop(job);
}

#[test]
fn a_call_that_outlives_its_agent_ends_well() {
    let folder = TempFolder::new();
    let agent = watched(&folder, "outlived");
    agent.mark_ready(()).unwrap();
    let job = agent.working().unwrap();
    let draining = agent.close("deploy").unwrap();
    job.tick().unwrap();
    let step = job.working().unwrap();
    drop(draining);
    assert_eq!(step.tick().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(job.working().unwrap_err().kind(), ErrorKind::Closed);
}
