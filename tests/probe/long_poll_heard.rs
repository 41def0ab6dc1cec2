//! `--long-poll`: a hold stands on what the engine has certainly heard. Whatever makes that doubtful makes
//! the next answer come at once.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ready_probe_test_support::process::{Guard, Run, Signal, run, wait_until};
use rustix::mount::{UnmountFlags, unmount};

use crate::container::{Container, assert_starts};
use crate::long_poll::{Caller, LONG, SOON, ready, tell, unless_late, was_at_once};

/// A user whom nothing belongs to.
const NOBODY: u32 = 65_534;

#[test]
fn an_answer_of_long_ago_may_have_been_followed_by_others() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let caller = Caller::new(&container, &[]);
    assert_starts(&caller.at_once(), 0, "healthy");
    let since = Instant::now();
    wait_until(SOON, "more than five seconds", || {
        (since.elapsed() > Duration::from_millis(5_500)).then_some(())
    });
    assert_starts(&caller.at_once(), 0, "healthy");
    // And that was news for the next one.
    drop(caller.hold());
}

#[test]
fn what_one_command_has_said_another_has_not() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let here = container.path("");
    let here = format!("file:{}", here.display());
    let callers = [
        Caller::new(&container, &[]),
        Caller::new(&container, &["agent:a"]),
        Caller::new(&container, &["agent:a", &here]),
        Caller::with(&container, &["--long-poll", "9m"], &[]),
        Caller::with(&container, &["--long-poll", LONG, "--retries", "7"], &[]),
        Caller::with(&container, &["--long-poll", LONG, "--grace", "1h"], &[]),
    ];
    let mut first = callers[0].hold();
    for caller in &callers[1..] {
        assert_starts(&caller.at_once(), 0, "healthy");
    }
    // Nor does it disturb whoever holds.
    first.goes_on(Duration::from_millis(500));
    let holds: Vec<_> = callers[1..].iter().map(Caller::hold).collect();
    first.goes_on(Duration::from_millis(500));
    tell(&container, "a", "not_ready");
    for hold in holds {
        assert_starts(&hold.ends(), 1, "unhealthy");
    }
    assert_starts(&first.ends(), 1, "unhealthy");
}

#[test]
fn a_hold_that_was_killed_has_said_nothing() {
    let container = Container::new();
    let _agent = ready(&container, "heard-killed");
    let caller = Caller::new(&container, &[]);
    caller.hold().kill();
    assert_starts(&caller.at_once(), 0, "healthy");
    drop(caller.hold());
}

#[test]
fn a_hold_that_was_cut_answers_and_the_next_one_does_so_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let container = Container::new();
        tell(&container, "a", "ready");
        let caller = Caller::new(&container, &[]);
        assert_starts(&caller.hold().cut(signal), 0, "healthy: 1 check passes");
        assert_starts(&caller.at_once(), 0, "healthy");
        drop(caller.hold());
    }
}

#[test]
fn who_is_not_healthy_says_so_when_it_is_cut() {
    unless_late(|| {
        let container = Container::new();
        tell(&container, "a", "not_ready");
        let caller = Caller::retrying(&container, "1", &["agent:a"]);
        was_at_once(&caller.at_once(), 1, "unhealthy")?;
        let mut hold = caller.begin();
        hold.goes_on(Duration::from_millis(700));
        was_at_once(&hold.cut(Signal::TERM), 1, "unhealthy: agent a")?;
        was_at_once(&caller.at_once(), 1, "unhealthy: agent a")
    });
}

/// A run whose standard output is this.
fn into(caller: &Caller<'_>, stdout: impl Into<Stdio>) {
    let mut command = caller.command();
    command.stdin(Stdio::null()).stderr(Stdio::null());
    let mut probe = Guard::spawn(command.stdout(stdout));
    probe.wait_within(SOON);
}

#[test]
fn an_answer_that_nobody_could_read_was_not_heard() {
    let container = Container::new();
    let _agent = ready(&container, "heard-lost");
    let caller = Caller::new(&container, &[]);
    for _ in 0..2 {
        into(
            &caller,
            File::options().write(true).open("/dev/full").unwrap(),
        );
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        into(&caller, writer);
    }
    assert_starts(&caller.at_once(), 0, "healthy");
    drop(caller.hold());
}

#[test]
fn news_that_nobody_could_read_is_told_again() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let caller = Caller::new(&container, &["agent:a"]);
    drop(caller.hold());
    unless_late(|| {
        caller.at_once();
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut command = caller.command();
        command.stdin(Stdio::null()).stderr(Stdio::null());
        let mut probe = Guard::spawn(command.stdout(full));
        for _ in 0..300 {
            if probe.ended().is_some() {
                return Err("it did not hold".to_owned());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        tell(&container, "a", "not_ready");
        probe.wait_within(SOON);
        // As it was when somebody heard of it last: but nobody has heard what came between.
        tell(&container, "a", "ready");
        assert_starts(&caller.at_once(), 0, "healthy");
        Ok(())
    });
}

#[test]
fn a_reader_who_never_reads_has_not_heard() {
    let container = Container::new();
    let _agent = ready(&container, "heard-unread");
    let caller = Caller::new(&container, &[]);
    let (reader, writer) = std::io::pipe().unwrap();
    rustix::fs::fcntl_setfl(&writer, rustix::fs::OFlags::NONBLOCK).unwrap();
    while rustix::io::write(&writer, &[b'.'; 4096]).is_ok() {}
    rustix::fs::fcntl_setfl(&writer, rustix::fs::OFlags::empty()).unwrap();
    let mut command = caller.command();
    command.stdin(Stdio::null()).stderr(Stdio::null());
    let mut probe = Guard::spawn(command.stdout(writer));
    // It has the time of a probe, and is killed if it takes more; nobody says how it ends.
    let since = Instant::now();
    while probe.ended().is_none() && since.elapsed() < Duration::from_secs(8) {
        std::thread::sleep(Duration::from_millis(2));
    }
    probe.signal(Signal::KILL);
    probe.wait_within(SOON);
    drop(reader);
    assert_starts(&caller.at_once(), 0, "healthy");
    drop(caller.hold());
}

/// It answers at once each time, and a note says why.
#[track_caller]
fn assert_never_holds(mut ask: impl FnMut() -> Run) {
    for _ in 0..3 {
        let run = ask();
        assert_starts(&run, 0, "healthy");
        let is_note = |line: &str| line.trim_start().starts_with("note ");
        assert!(run.stdout.lines().any(is_note), "no note: {run:?}");
    }
}

#[test]
fn where_nothing_can_be_remembered_nothing_is_held() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let folder = container.ready_dir();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let caller = Caller::new(&container, &["agent:a"]);
    assert_never_holds(|| {
        let mut command = caller.command();
        command.uid(NOBODY).gid(NOBODY);
        ready_probe_test_support::process::run_within(&mut command, SOON)
    });
}

/// A small file system of its own, unmounted on drop.
struct Disk<'a>(&'a Container);

impl<'a> Disk<'a> {
    fn on(container: &'a Container) -> Self {
        fs::create_dir_all(container.ready_dir()).unwrap();
        let disk = Self(container);
        disk.mount(&["-t", "tmpfs", "-o", "size=64k,mode=1777", "small"]);
        disk
    }

    fn mount(&self, options: &[&str]) {
        let mut mount = Command::new("mount");
        let run = run(mount.args(options).arg(self.0.ready_dir()));
        assert_eq!(run.code(), 0, "this test mounts, as root: {run:?}");
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = unmount(self.0.ready_dir(), UnmountFlags::DETACH);
    }
}

#[test]
fn on_a_full_disk_nothing_is_held_unless_it_can_be_remembered() {
    let container = Container::new();
    let disk = Disk::on(&container);
    tell(&container, "a", "ready");
    let filled = fs::write(container.ready_dir().join("ballast"), vec![0; 128 << 10]);
    assert_eq!(filled.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    let caller = Caller::new(&container, &["agent:a"]);
    assert_never_holds(|| caller.at_once());
    fs::remove_file(container.ready_dir().join("ballast")).unwrap();
    drop(caller.hold());
    drop(disk);
}

#[test]
fn on_a_disk_that_has_become_read_only_nothing_is_held() {
    let container = Container::new();
    let disk = Disk::on(&container);
    tell(&container, "a", "ready");
    let caller = Caller::new(&container, &["agent:a"]);
    assert_starts(&caller.at_once(), 0, "healthy");
    disk.mount(&["-o", "remount,ro"]);
    assert_never_holds(|| caller.at_once());
    disk.mount(&["-o", "remount,rw"]);
    drop(caller.hold());
}

#[test]
fn a_second_caller_is_answered_at_once_and_then_both_are() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let caller = Caller::new(&container, &["agent:a"]);
    let mut hold = caller.hold();
    for _ in 0..3 {
        assert_starts(&caller.at_once(), 0, "healthy");
    }
    hold.goes_on(Duration::from_millis(700));
    tell(&container, "a", "not_ready");
    assert_starts(&hold.ends(), 1, "unhealthy");
    tell(&container, "a", "ready");
    // Nobody knows whose turn it is: nothing is held as long as the news is young.
    for _ in 0..4 {
        assert_starts(&caller.at_once(), 0, "healthy");
    }
}

#[test]
fn callers_at_the_same_moment_are_all_answered() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let caller = Caller::new(&container, &["agent:a"]);
    let mut holds: Vec<_> = (0..8).map(|_| caller.begin()).collect();
    wait_until(SOON, "all answers but that of one", || {
        let ended = holds.iter_mut().filter_map(|hold| hold.probe.ended());
        (ended.count() >= 7).then_some(())
    });
    tell(&container, "a", "not_ready");
    for hold in holds {
        let run = hold.ends();
        let line = run.first_line();
        assert!(
            line.starts_with("healthy") || line.starts_with("unhealthy"),
            "{run:?}"
        );
    }
}
