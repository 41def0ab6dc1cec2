//! `--long-poll` under the engine's health monitor: what ends a hold, and that no news is lost, whoever cuts it.

use std::{
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use ready_probe_test_support::{
    docker::{Container, Engine, HealthLog, RunOptions, Volume},
    process::{Run, Signal, run_within, wait_until},
};

use crate::events::Events;
use crate::fixture::{LIMIT, Probes, agent_root, kill_agent, says, tell};
use crate::held::{processes_of, wait_held};

/// A process 1 that publishes nothing.
const FOREVER: [&str; 4] = ["/ready-probe", "wait", "--for=1h", "file:/never"];

/// What is held for as long as this was ended by its news, and not by its time: five minutes are more than any test
/// waits.
const LONG_POLL: [&str; 5] = ["/ready-probe", "--long-poll", "5m", "--retries", "1"];

/// What a bad answer that was said often enough is held for is 5 s; less where a clock was looked at late. None is held
/// for an engine that asks later than usual.
const SHORT_HOLD: Duration = Duration::from_secs(4);

/// A container whose health check is [`LONG_POLL`], of one failure or of three.
fn agent(name: &str, retries: u32) -> RunOptions {
    static IMAGES: [OnceLock<()>; 2] = [OnceLock::new(), OnceLock::new()];
    let tag = format!("ready-probe-test/long-poll-{retries}");
    IMAGES[usize::from(retries == 1)].get_or_init(|| {
        let command = LONG_POLL[..4].join("\", \"");
        let instructions = format!(
            "HEALTHCHECK --interval=1s --timeout=310s --retries={retries} \
             CMD [\"{command}\", \"{retries}\"]\nCMD [\"/rust-agent\"]"
        );
        Engine::shared().build_scratch(&tag, &agent_root(), &instructions);
    });
    RunOptions::image(tag).name(name)
}

/// The answer that Docker got first after `event`.
#[track_caller]
fn first_after(probes: &mut Probes, event: SystemTime) -> HealthLog {
    probes.wait(
        "an answer",
        |probe| probe.end < event,
        |probe| probe.end >= event,
    )
}

/// Waits for the answer `wanted` to what happened at `event`, during a hold of [`SHORT_HOLD`]. Its time may be up at that
/// very moment; a hold that goes on is one that has not seen it.
#[track_caller]
fn wait_answer_to(probes: &mut Probes, event: SystemTime, wanted: &str) {
    let in_time =
        |probe: &HealthLog| probe.start >= event || probe.end < event + Duration::from_secs(3);
    let bearable =
        |probe: &HealthLog| probe.exit_code == 1 && probe.start < event && in_time(probe);
    let told = probes.wait(wanted, bearable, |probe| says(probe, wanted));
    assert!(in_time(&told), "{told:?}");
}

#[test]
fn the_check_that_waits_tells_the_death_of_an_agent() {
    let supervise = ["/rust-agent", "supervise", "translator"];
    let container = Engine::shared().run(agent("death", 1).command(supervise));
    let mut probes = Probes::of(&container);
    wait_held(&container);
    assert_eq!(container.health().status, "healthy");
    let killed = SystemTime::now();
    let pid = kill_agent(&container, "translator");
    let told = first_after(&mut probes, killed);
    // It may be heard before or after the supervisor has reaped it.
    let dead = ["is gone", "has died and is a zombie"]
        .map(|how| format!("unhealthy: agent translator: process {pid} {how}"));
    assert!(dead.iter().any(|said| says(&told, said)), "{told:?}");
    assert!(told.start < killed, "it had not waited: {told:?}");
    container.wait_health("unhealthy", LIMIT);
}

#[test]
fn the_check_that_waits_tells_that_an_agent_is_not_ready_and_that_it_is_again() {
    let container = Engine::shared().run(agent("reload", 1));
    let mut probes = Probes::of(&container);
    wait_held(&container);
    let asked = SystemTime::now();
    assert_eq!(tell(&container, "reload new weights"), "not_ready");
    let told = first_after(&mut probes, asked);
    let said = "unhealthy: agent translator: not_ready: new weights";
    assert!(says(&told, said), "{told:?}");
    assert!(told.start < asked, "it had not waited: {told:?}");

    // It has been said once, and once is enough for `--retries 1`.
    wait_held(&container);
    let asked = SystemTime::now();
    assert_eq!(tell(&container, "resume"), "ready");
    wait_answer_to(&mut probes, asked, "healthy: ");
    container.wait_health("healthy", LIMIT);
}

#[test]
fn the_check_that_waits_tells_that_an_agent_hangs() {
    let container = Engine::shared().run(agent("hang", 1).env("AGENT_WATCHDOG", "1s"));
    let mut probes = Probes::of(&container);
    wait_held(&container);
    let asked = SystemTime::now();
    assert_eq!(tell(&container, "hang 1h"), "hanging for 1h");
    let told = first_after(&mut probes, asked);
    let stalled = "unhealthy: agent translator: not_ready: stalled: no progress for ";
    assert!(says(&told, stalled), "{told:?}");
    assert!(told.start < asked, "it had not waited: {told:?}");
}

#[test]
fn three_failures_are_told_at_once_and_the_fourth_is_held() {
    let container = Engine::shared().run(agent("three", 3));
    let mut probes = Probes::of(&container);
    let said = "unhealthy: agent translator: not_ready: new weights";
    // Again where the machine was late.
    let in_time = (0..6).any(|_| {
        wait_held(&container);
        let asked = SystemTime::now();
        assert_eq!(tell(&container, "reload new weights"), "not_ready");
        let first = first_after(&mut probes, asked);
        assert!(says(&first, said) && first.start < asked, "{first:?}");
        let mut next = || probes.wait("it to be said again", |_| false, |probe| says(probe, said));
        let at_once = [next(), next(), next(), next()].map(|told| told.elapsed() < SHORT_HOLD);
        let health = container.health();
        assert_eq!(health.status, "unhealthy");
        assert!(health.failing_streak >= 5, "{health:?}");
        assert_eq!(tell(&container, "resume"), "ready");
        probes.wait(
            "health",
            |probe| says(probe, said),
            |probe| says(probe, "healthy: "),
        );
        at_once == [true, true, false, false]
    });
    assert!(in_time, "{:#?}", probes.all());
}

#[test]
fn a_start_is_held_for_5_s_and_told_when_it_has_ended() {
    let options = agent("start", 1).env("READY_AGENT", "job").command(FOREVER);
    let container = Engine::shared().run(options.health_start_period(LIMIT * 2));
    let mut probes = Probes::of(&container);
    let starting = "starting: agent job: no signal published";
    let is_said = |probe: &HealthLog| says(probe, starting);
    probes.wait_each(1, "the first probe", is_said);
    for _ in 0..2 {
        probes.wait("the start to be held", is_said, |probe| {
            is_said(probe) && probe.elapsed() >= SHORT_HOLD
        });
    }
    assert_eq!(container.health().status, "starting");

    wait_held(&container);
    let marked = SystemTime::now();
    let mark = container.exec(&["/ready-probe", "mark", "job"]);
    assert_eq!(mark.code(), 0, "{mark:?}");
    wait_answer_to(&mut probes, marked, "healthy: ");
    container.wait_health("healthy", LIMIT);
}

#[test]
fn a_timeout_below_the_hold_never_makes_it_unhealthy_and_shortens_it() {
    let events = Events::record(Engine::shared());
    let options = agent("short", 3).health_timeout(Duration::from_secs(5));
    let container = Engine::shared().run(options);
    let mut probes = Probes::of(&container);
    let exceeded = |probe: &HealthLog| probe.output.starts_with("Health check exceeded timeout");
    for _ in 0..3 {
        // The answer after a hold that was cut is given at once: the streak never grows.
        probes.wait("a cut", |probe| says(probe, "healthy: "), exceeded);
        probes.wait(
            "the answer after it",
            |_| false,
            |probe| says(probe, "healthy: "),
        );
    }
    probes.wait(
        "a hold that ends before it is cut",
        |probe| exceeded(probe) || says(probe, "healthy: "),
        // Half of what was cut, at least; an answer that is given at once takes less.
        |probe| says(probe, "healthy: ") && probe.elapsed() >= Duration::from_secs(2),
    );
    probes.wait_each(4, "every later hold to end by itself", |probe| {
        says(probe, "healthy: ")
    });
    assert_eq!(container.health().status, "healthy");
    assert_eq!(events.health(container.id()), ["healthy"]);
}

#[test]
fn after_a_pause_the_status_is_told_at_once() {
    let container = Engine::shared().run(agent("pause", 1));
    let mut probes = Probes::of(&container);
    let held = wait_held(&container);
    container.pause();
    // By the engine itself, which asks nobody: a hold that believed it had been heard would leave it so.
    container.wait_health("unhealthy", LIMIT);
    let unpaused = SystemTime::now();
    container.unpause();
    let told = probes.wait(
        "an answer after the pause",
        |probe| probe.start < unpaused,
        |probe| probe.start >= unpaused,
    );
    assert!(says(&told, "healthy: "), "{told:?}");
    container.wait_health("healthy", LIMIT);
    wait_until(LIMIT, "the end of the hold from before the pause", || {
        (!held.lives()).then_some(())
    });
    let next = wait_held(&container);
    assert_ne!(next, held);
    let asked = SystemTime::now();
    assert_eq!(tell(&container, "reload after the pause"), "not_ready");
    let told = first_after(&mut probes, asked);
    let said = "unhealthy: agent translator: not_ready: after the pause";
    assert!(says(&told, said), "{told:?}");
}

/// Nobody asks in that second, so nobody is stopped: only that Docker comes later than usual can tell.
#[test]
fn after_a_pause_between_two_answers_the_status_is_told_at_once() {
    let container = Engine::shared().run(agent("pause-between", 1));
    let mut probes = Probes::of(&container);
    wait_held(&container);
    let asked = SystemTime::now();
    assert_eq!(tell(&container, "reload before the pause"), "not_ready");
    first_after(&mut probes, asked);
    let asked = SystemTime::now();
    assert_eq!(tell(&container, "resume"), "ready");
    let told = probes.wait(
        "that it is ready again",
        |probe| !says(probe, "healthy: ") || probe.end < asked,
        |probe| says(probe, "healthy: ") && probe.end >= asked,
    );
    container.pause();
    container.wait_health("unhealthy", LIMIT);
    // Long enough that the gap is not the usual one.
    let until = told.end + Duration::from_secs(1);
    wait_until(LIMIT, "the pause to be over", || {
        (SystemTime::now() >= until).then_some(())
    });
    let unpaused = SystemTime::now();
    container.unpause();
    probes.wait(
        "an answer after the pause",
        |probe| probe.start < unpaused,
        |probe| probe.start >= unpaused,
    );
    container.wait_health("healthy", LIMIT);
}

#[test]
fn stop_and_restart_during_a_hold_leave_no_process_and_no_belief() {
    let volume = Volume::create(Engine::shared(), "long-poll");
    // What was remembered is still there in the next life.
    let options = agent("stop", 1).volume(&volume, "/signals");
    let container = Engine::shared().run(options.env("READY_DIR", "/signals"));
    for life in 0..3 {
        let held = wait_held(&container);
        let processes = processes_of(&container);
        assert!(processes.contains(&held), "{processes:?} {held:?}");
        assert_eq!(container.health().status, "healthy");
        if life == 0 {
            container.stop();
        } else {
            container.restart();
        }
        wait_until(LIMIT, "all processes of this life to end", || {
            (!processes.iter().any(|process| process.lives())).then_some(())
        });
        if life == 0 {
            container.start();
        }
        let health = container.wait_health("healthy", LIMIT);
        assert_eq!(health.failing_streak, 0);
    }
}

/// A command by `docker exec`, which has to end long before a hold does.
#[track_caller]
fn exec(container: &Container, command: &[&str]) -> Run {
    let mut docker = Engine::shared().command("docker");
    docker.args(["exec", container.id()]).args(command);
    run_within(&mut docker, LIMIT)
}

#[test]
fn a_question_by_hand_is_answered_at_once_and_disturbs_no_hold() {
    let container = Engine::shared().run(agent("by-hand", 1));
    let mut probes = Probes::of(&container);
    let held = wait_held(&container);
    for _ in 0..3 {
        let asked = exec(&container, &["/ready-probe"]);
        assert_eq!(asked.code(), 0, "{asked:?}");
        assert!(asked.stdout.starts_with("healthy: "), "{asked:?}");
    }
    assert!(held.lives());
    let asked = SystemTime::now();
    assert_eq!(tell(&container, "reload by hand"), "not_ready");
    // Who asks before the hold says it does not take its news away.
    let by_hand = exec(&container, &["/ready-probe"]);
    assert_eq!(by_hand.code(), 1, "{by_hand:?}");
    let told = first_after(&mut probes, asked);
    let said = "unhealthy: agent translator: not_ready: by hand";
    assert!(says(&told, said), "{told:?}");
    assert!(told.start < asked, "{told:?}");
}

#[test]
fn of_two_callers_of_one_command_only_the_first_is_held() {
    let container = Engine::shared().run(agent("two", 1));
    let mut probes = Probes::of(&container);
    let held = wait_held(&container);
    for _ in 0..2 {
        let second = exec(&container, &LONG_POLL);
        assert_eq!(second.code(), 0, "{second:?}");
    }
    assert!(held.lives());
    let asked = SystemTime::now();
    assert_eq!(tell(&container, "reload for two"), "not_ready");
    let told = first_after(&mut probes, asked);
    let said = "unhealthy: agent translator: not_ready: for two";
    assert!(says(&told, said), "{told:?}");
    assert!(told.start < asked, "{told:?}");
    let second = exec(&container, &LONG_POLL);
    assert_eq!(second.code(), 1, "{second:?}");
    // From now on either has to hear it: nothing is held until a minute has passed without a change.
    let mut in_a_row = 0;
    while in_a_row < 3 {
        let told = probes.wait("answers at once", |_| false, |probe| says(probe, said));
        in_a_row = if told.elapsed() < SHORT_HOLD {
            in_a_row + 1
        } else {
            0
        };
        assert!(asked.elapsed().unwrap() < LIMIT, "{:#?}", probes.all());
    }
}

#[test]
fn a_hold_that_is_killed_loses_no_news() {
    let container = Engine::shared().run(agent("cut", 1));
    let mut probes = Probes::of(&container);
    // What it would have said is said by the next one.
    let held = wait_held(&container);
    held.signal(Signal::STOP);
    held.wait_stopped();
    assert_eq!(tell(&container, "reload during a cut"), "not_ready");
    let cut = SystemTime::now();
    held.signal(Signal::KILL);
    let killed = first_after(&mut probes, cut);
    assert_eq!(killed.exit_code, 137, "{killed:?}");
    let told = probes.wait("the next answer", |_| false, |_| true);
    let said = "unhealthy: agent translator: not_ready: during a cut";
    assert!(says(&told, said), "{told:?}");
    assert_eq!(tell(&container, "resume"), "ready");
    container.wait_health("healthy", LIMIT);

    // Without news Docker has heard a failure nevertheless: the next one must not wait to deny it.
    let held = wait_held(&container);
    held.signal(Signal::KILL);
    container.wait_health("unhealthy", LIMIT);
    container.wait_health("healthy", LIMIT);
}

#[test]
fn a_hold_that_is_told_to_end_answers_and_so_does_the_next() {
    let container = Engine::shared().run(agent("term", 1));
    let mut probes = Probes::of(&container);
    let held = wait_held(&container);
    let ended = SystemTime::now();
    held.signal(Signal::TERM);
    let told = first_after(&mut probes, ended);
    assert!(says(&told, "healthy: "), "{told:?}");
    assert!(told.start < ended, "{told:?}");
    probes.wait_each(1, "the next answer", |probe| says(probe, "healthy: "));
    assert_ne!(wait_held(&container), held);
    assert_eq!(container.health().status, "healthy");
}
