//! `--long-poll`: where the kernel does not tell what happens, it is looked at every second, and a note says why.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use ready_probe_test_support::fuse::Fuse;
use ready_probe_test_support::process::{Guard, Run, Signal, run, wait_until};

use crate::container::{Container, assert_starts};
use crate::long_poll::{Caller, SOON, tell, unless_late};
use crate::long_poll_agents::instances;

const A_WHILE: Duration = Duration::from_millis(1_500);
const INSTANCES: &str = "max_inotify_instances";
const WATCHES: &str = "max_inotify_watches";

/// As a user who has no more of that: in a user namespace of its own, with limits of its own.
fn without<'a>(caller: Caller<'a>, what: &str) -> Caller<'a> {
    let script = format!("echo 0 >/proc/sys/user/{what} && exec \"$0\" \"$@\"");
    let user = ["--user", "--map-root-user", "sh", "-c", &script];
    caller.through("unshare", &user)
}

fn notes(run: &Run) -> Vec<&str> {
    let lines = run.stdout.lines().map(str::trim_start);
    let notes = lines.filter_map(|line| line.strip_prefix("note "));
    notes.map(str::trim_start).collect()
}

#[test]
fn without_inotify_the_folders_are_read_every_second() {
    let container = Container::new();
    let no_instance = "no inotify: Too many open files";
    let no_watch = "this user has as many inotify watches as fs.inotify.max_user_watches allows";
    for (what, why) in [(INSTANCES, no_instance), (WATCHES, no_watch)] {
        for targets in [&["agent:a"][..], &[]] {
            unless_late(|| {
                tell(&container, "a", "ready");
                let mut hold = without(Caller::new(&container, targets), what).hold();
                hold.goes_on(A_WHILE);
                tell(&container, "a", "not_ready");
                let since = Instant::now();
                let run = hold.ends();
                let lasted = since.elapsed();
                assert_starts(&run, 1, "unhealthy: agent a: not_ready: told so");
                let said = format!("signals are looked at every second: {why}");
                let is_said = notes(&run).iter().any(|note| note.starts_with(&said));
                assert!(is_said, "{said}: {run:?}");
                (lasted < Duration::from_secs(2))
                    .then_some(())
                    .ok_or_else(|| format!("after {lasted:?}: {run:?}"))
            });
        }
    }
}

#[test]
fn what_could_not_be_had_is_tried_again() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let mut hold = without(Caller::new(&container, &["agent:a"]), INSTANCES).hold();
    let pid = hold.probe.pid().to_string();
    let script = format!("echo 9 >/proc/sys/user/{INSTANCES}");
    let allowed = run(Command::new("nsenter")
        .args(["--user", "--preserve-credentials", "--target", &pid])
        .args(["sh", "-c", &script]));
    assert_eq!(allowed.code(), 0, "{allowed:?}");
    let has_inotify = || {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        let mut links = files.filter_map(|file| fs::read_link(file.unwrap().path()).ok());
        links.any(|link| link.to_str() == Some("anon_inode:inotify"))
    };
    wait_until(SOON, "an inotify", || {
        hold.goes_on(Duration::from_millis(1));
        has_inotify().then_some(())
    });
    hold.goes_on(A_WHILE);
    tell(&container, "a", "not_ready");
    let run = hold.ends();
    assert_starts(&run, 1, "unhealthy: agent a: not_ready: told so");
    assert_eq!(notes(&run), [""; 0], "{run:?}");
}

#[test]
fn processes_that_no_descriptor_is_left_for_are_looked_at_every_second() {
    let container = Container::new();
    let mut instances = instances(&container, 20);
    // A quarter of them may be pidfds.
    let caller = Caller::new(&container, &["agent:many#min=20"]);
    let caller = caller.through("prlimit", &["--nofile=64"]);
    for victim in [0, 19] {
        let mut hold = caller.hold();
        hold.goes_on(A_WHILE);
        instances[victim].signal(Signal::KILL);
        instances[victim].wait_within(SOON);
        let run = hold.ends();
        assert_starts(&run, 1, "unhealthy: agent many");
        let said = "processes are looked at every second: they are more than 16";
        assert_eq!(notes(&run), [said], "{run:?}");
        instances[victim] = Guard::spawn(Command::new("sleep").arg("1000"));
        crate::long_poll::publish(&container, "many", instances[victim].pid(), |_| {});
    }
}

#[test]
fn nothing_is_held_about_a_folder_that_may_hang() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let far = container.path("far");
    fs::create_dir(&far).unwrap();
    let fuse = Fuse::mount(&container.ready_dir(), &far);
    let caller = Caller::new(&container, &["agent:a"]);
    let caller = caller.env("READY_DIR", far.to_str().unwrap());
    for _ in 0..3 {
        let run = caller.at_once();
        assert_starts(&run, 0, "healthy");
        let said = format!("not held: {} may hang", far.display());
        assert!(notes(&run).contains(&said.as_str()), "{run:?}");
    }
    drop(fuse);
}
