//! What people order: `pause`, `resume`, `restart`, `reset`.

use std::fs;
use std::time::Duration;

use ready_probe_test_support::process::{Guard, Signal, free_port, run_within, wait_until};
use serde_json::json;

use crate::host::{Host, assert_says, http};

const SOON: Duration = Duration::from_secs(40);
const LOG: &str = "log";

/// A service that works, and a loop that keeps it.
fn kept() -> (Host, u16, Guard) {
    let (host, port) = (Host::new(), free_port());
    let mut check = http(port);
    check["interval_seconds"] = json!(1);
    let (tries, pid) = (host.path("tries"), host.path(&format!("pid.{port}")));
    let restart = format!(
        "echo x >> {}; kill -9 $(cat {}); {}",
        tries.display(),
        pid.display(),
        host.server(port)
    );
    host.services(&[(
        "svc",
        json!({"health_check": check, "restart_cmd": restart}),
    )]);
    let run = host.once();
    assert_eq!((run.code(), host.starts(port)), (0, 1), "{run:?}");
    let keeper = host.loop_with(LOG, &[]);
    host.wait_for(LOG, "Health check passed for svc");
    (host, port, keeper)
}

#[test]
fn a_paused_service_is_left_alone_until_it_is_resumed() {
    let (host, port, _keeper) = kept();
    let pause = host.order(&["pause", "svc", "--reason", "disk is replaced"]);
    assert_eq!(
        (pause.code(), pause.stdout.as_str()),
        (0, "svc is paused\n"),
        "{pause:?}"
    );
    // It has been taken: whatever comes after that is left alone.
    assert_eq!(host.status("svc")["services"][0]["state"], "paused");
    host.signal(port, Signal::KILL);
    let status = host.order(&["status"]);
    assert_says(&status, "paused disk is replaced");
    wait_until(SOON, "the keeper to look several times", || {
        assert_eq!(host.starts(port), 1);
        (host.read(LOG).contains("svc manually stopped")).then_some(())
    });
    let refused = host.order(&["restart", "svc"]);
    assert_eq!(refused.code(), 1, "{refused:?}");
    assert!(
        refused
            .stderr
            .contains("svc is paused: ready-keeper resume svc"),
        "{refused:?}"
    );
    assert_eq!(host.starts(port), 1);
    let resume = host.order(&["resume", "svc"]);
    assert_eq!(
        (resume.code(), resume.stdout.as_str()),
        (0, "svc is looked after again\n"),
        "{resume:?}"
    );
    host.wait_for(LOG, "Successfully recovered svc");
    assert_eq!(host.starts(port), 2);
}

#[test]
fn a_pause_ends_by_itself() {
    let (host, port, _keeper) = kept();
    let pause = host.order(&["pause", "svc", "--for", "6s"]);
    assert_eq!(pause.code(), 0, "{pause:?}");
    assert_says(&pause, "svc is paused until 2");
    host.signal(port, Signal::KILL);
    host.wait_for(LOG, "Successfully recovered svc");
    assert_eq!(host.starts(port), 2);
}

#[test]
fn a_pause_without_a_keeper_holds_for_the_next_one() {
    let (host, port, mut keeper) = kept();
    keeper.signal(Signal::TERM);
    keeper.wait_within(SOON);
    host.signal(port, Signal::KILL);
    let pause = host.order(&["pause", "svc"]);
    assert_eq!(pause.code(), 0, "{pause:?}");
    assert_says(
        &pause,
        "svc is paused: written for the next ready-keeper, since none is at work now",
    );
    let run = host.once();
    assert_eq!((run.code(), host.starts(port)), (0, 1), "{run:?}");
    assert_eq!(host.order(&["resume", "svc"]).code(), 0);
    let run = host.once();
    assert_eq!((run.code(), host.starts(port)), (0, 2), "{run:?}");
}

/// What a person stops in mid-restart stays stopped: the command would start it.
#[test]
fn a_pause_ends_the_restart_that_is_under_way() {
    let (host, port) = (Host::new(), free_port());
    let restart = format!(
        "echo x >> {}; sleep 5; {}",
        host.path("tries").display(),
        host.server(port)
    );
    let mut check = http(port);
    check["interval_seconds"] = json!(1);
    host.services(&[(
        "svc",
        json!({"health_check": check, "restart_cmd": restart}),
    )]);
    let _keeper = host.loop_with(LOG, &[]);
    wait_until(SOON, "the restart to begin", || {
        (!host.read("tries").is_empty()).then_some(())
    });
    assert_eq!(host.order(&["pause", "svc"]).code(), 0);
    host.wait_for(
        LOG,
        "svc: its restart command is ended, since a person has stopped the service",
    );
    let until = std::time::Instant::now() + Duration::from_secs(7);
    while std::time::Instant::now() < until {
        assert_eq!(host.starts(port), 0);
        std::thread::yield_now();
        let _ = run_within(&mut host.keeper(&["status"]), SOON);
    }
}

#[test]
fn one_that_works_is_restarted_if_a_person_wants_it() {
    let (host, port, _keeper) = kept();
    let run = host.order(&["restart", "svc"]);
    assert_eq!(run.code(), 0, "{run:?}");
    host.wait_for(LOG, "Successfully recovered svc");
    assert_eq!(
        (host.read("tries").as_str(), host.starts(port)),
        ("x\nx\n", 2)
    );
    let nowhere = host.order(&["restart", "nosuch"]);
    assert_eq!(nowhere.code(), 64, "{nowhere:?}");
    assert!(
        nowhere
            .stderr
            .contains("there is no service \"nosuch\"; there are: svc"),
        "{nowhere:?}"
    );
}

#[test]
fn a_restart_that_a_person_wants_and_that_can_not_begin_begins_later() {
    let (host, port, _keeper) = kept();
    // There is no place for what its command says.
    let output = host.path("state/svc.out");
    fs::remove_file(&output).unwrap();
    fs::create_dir(&output).unwrap();
    assert_eq!(host.order(&["restart", "svc"]).code(), 0);
    host.wait_for(LOG, "svc: its restart command is not run: ");
    fs::remove_dir(&output).unwrap();
    host.wait_for(LOG, "Successfully recovered svc");
    assert_eq!(
        (host.read("tries").as_str(), host.starts(port)),
        ("x\nx\n", 2)
    );
}

#[test]
fn an_order_is_done_once_however_long_nothing_can_be_remembered() {
    let (host, port, _keeper) = kept();
    let new = host.path("state/state.json.new");
    fs::create_dir(&new).unwrap();
    let mut order = Guard::spawn(&mut host.keeper(&["restart", "svc"]));
    let not_run = "svc: its restart command is not run: it could not be remembered";
    wait_until(SOON, "several tries", || {
        (host.read(LOG).matches(not_run).count() >= 3).then_some(())
    });
    fs::remove_dir(&new).unwrap();
    assert_eq!(order.wait_within(SOON).code(), Some(0));
    host.wait_for(LOG, "Successfully recovered svc");
    let log = host.read(LOG);
    assert_eq!(
        log.matches("a person wants it restarted").count(),
        1,
        "{log}"
    );
    assert_eq!(
        (host.read("tries").as_str(), host.starts(port)),
        ("x\nx\n", 2)
    );
}

#[test]
fn one_that_was_given_up_is_tried_again_after_a_reset() {
    let (host, port) = (Host::new(), free_port());
    let restart = format!("echo x >> {}", host.path("tries").display());
    host.services(&[(
        "svc",
        json!({"health_check": http(port), "restart_cmd": restart}),
    )]);
    for _ in 1..=3 {
        assert_eq!(host.once().code(), 1);
        host.age(400_000);
    }
    let given_up = host.once();
    assert_eq!(
        (given_up.code(), host.read("tries").len()),
        (1, 6),
        "{given_up:?}"
    );
    assert_eq!(host.status("svc")["services"][0]["state"], "failed");
    let reset = host.order(&["reset", "svc"]);
    assert_eq!(reset.code(), 0, "{reset:?}");
    let run = host.once();
    assert_eq!((run.code(), host.read("tries").len()), (1, 8), "{run:?}");
}

#[test]
fn a_marker_outlives_resume_and_is_named() {
    let (host, _port, _keeper) = kept();
    host.write("stopped/svc.stopped", "");
    host.wait_for(LOG, "svc manually stopped");
    let stopped = host.path("stopped").display().to_string();
    let resume = host.order(&["resume", "svc", "--manual-stop", &stopped]);
    assert_eq!(resume.code(), 1, "{resume:?}");
    assert_says(
        &resume,
        &format!("svc is still stopped by a person: rm {stopped}/svc.stopped"),
    );
}

#[test]
fn a_dry_run_obeys_no_order_and_nothing_of_it_counts() {
    let (host, port, mut keeper) = kept();
    keeper.signal(Signal::TERM);
    keeper.wait_within(SOON);
    let before = host.read("state/state.json");
    host.signal(port, Signal::KILL);
    let mut keeper = host.loop_with(LOG, &["--dry-run"]);
    host.wait_for(LOG, "This is a dry run, in which svc is not restarted");
    assert_eq!(host.status("svc")["services"][0]["state"], "held");
    let restart = host.order(&["restart", "svc"]);
    assert_eq!(restart.code(), 0, "{restart:?}");
    assert_says(
        &restart,
        "written for the next ready-keeper, since the one at work is a dry run",
    );
    // What it leaves alone, it knows.
    assert_eq!(host.order(&["pause", "svc"]).code(), 0);
    assert_eq!(host.status("svc")["services"][0]["state"], "paused");
    assert_eq!(host.order(&["resume", "svc"]).code(), 0);
    keeper.signal(Signal::TERM);
    keeper.wait_within(SOON);
    assert_eq!(
        (host.read("state/state.json"), host.starts(port)),
        (before, 1)
    );
    // Whoever acts heeds the order.
    let run = host.once();
    assert_eq!((run.code(), host.starts(port)), (0, 2), "{run:?}");
    assert_says(&run, "svc: a person wants it restarted");
}
