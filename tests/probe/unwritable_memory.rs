//! Where the past of checks can't be written, nothing is tolerated: grace that is counted anew by every
//! probe would never end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ready_probe_test_support::process::{Run, copy_program, probe_binary, run, wait_until};
use ready_probe_test_support::servers::Redis;
use rustix::mount::{UnmountFlags, unmount};

use crate::container::{Container, assert_mentions, assert_said, row};

const HEALTHY: &str = "healthy: 1 check passes";
const NO_GRACE: &str = "; no grace: this can't be remembered";

/// A small file system of its own, unmounted on drop.
struct Disk(PathBuf);

impl Disk {
    fn on(path: &Path) -> Self {
        fs::create_dir_all(path).unwrap();
        mount(&["-t", "tmpfs", "-o", "size=64k,mode=1777", "small"], path);
        Self(path.to_owned())
    }

    fn fill(&self) {
        let filled = fs::write(self.0.join("ballast"), vec![0; 128 << 10]);
        assert_eq!(filled.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

fn mount(options: &[&str], path: &Path) {
    let mounted = Command::new("mount").args(options).arg(path).status();
    assert!(mounted.unwrap().success(), "this test mounts, as root");
}

/// A probe of Redis by the settings of the attack: a second of grace.
fn ask(container: &Container, url: &str) -> Run {
    run(container.probe([url]).env("READY_GRACE", "1s"))
}

/// Redis has passed once, and is gone.
fn gone_after_a_pass(container: &Container) -> String {
    let mut redis = Redis::start();
    assert_said(&ask(container, &redis.url()), 0, HEALTHY);
    redis.kill();
    redis.url()
}

#[test]
fn on_a_full_disk_grace_is_counted_and_ends() {
    let container = Container::new();
    let disk = Disk::on(&container.ready_dir());
    let url = gone_after_a_pass(&container);
    disk.fill();
    // What is there is rewritten in place.
    assert_mentions(&ask(&container, &url), 0, &["degraded: ", " of 1s grace"]);
    wait_until(
        Duration::from_secs(5),
        "the end of a second of grace",
        || (ask(&container, &url).code() == 1).then_some(()),
    );
    for _ in 0..20 {
        let run = ask(&container, &url);
        assert_mentions(&run, 1, &["unhealthy: ", ", beyond its grace of 1s"]);
    }
}

#[test]
fn a_first_memory_that_finds_no_room_is_no_grace() {
    let container = Container::new();
    let disk = Disk::on(&container.ready_dir());
    disk.fill();
    let url = gone_without_memory(&container);
    for _ in 0..5 {
        assert_mentions(&ask(&container, &url), 1, &["unhealthy: ", NO_GRACE]);
    }
}

/// As [`gone_after_a_pass`], where the pass could not be remembered.
fn gone_without_memory(container: &Container) -> String {
    let mut redis = Redis::start();
    let run = ask(container, &redis.url());
    assert_mentions(
        &run,
        0,
        &["healthy: 1 check passes; grace can't be counted: "],
    );
    redis.kill();
    redis.url()
}

#[test]
fn a_disk_that_has_become_read_only_is_no_grace() {
    let container = Container::new();
    let _disk = Disk::on(&container.ready_dir());
    let url = gone_after_a_pass(&container);
    // One unknown is remembered, and the next ones are not.
    assert_mentions(&ask(&container, &url), 0, &["degraded: "]);
    mount(&["-o", "remount,ro"], &container.ready_dir());
    for _ in 0..5 {
        let run = ask(&container, &url);
        assert_mentions(&run, 1, &["unhealthy: ", NO_GRACE]);
        assert!(run.stdout.contains("Read-only file system"), "{run:?}");
    }
    mount(&["-o", "remount,rw"], &container.ready_dir());
    let run = run(container.probe([url.as_str()]).env("READY_GRACE", "1m"));
    assert_mentions(&run, 0, &["degraded: ", " of 1m grace"]);
}

/// Holds a lock until it is dropped.
fn hold(path: &Path) -> fs::File {
    let lock = fs::File::open(path).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    lock
}

#[test]
fn a_lock_that_is_held_is_no_grace() {
    let container = Container::new();
    let url = gone_after_a_pass(&container);
    let lock = hold(&container.memory().with_extension("lock"));
    for _ in 0..5 {
        let run = ask(&container, &url);
        assert_mentions(&run, 1, &["unhealthy: ", NO_GRACE]);
        assert!(
            run.stdout.contains("another probe holds the lock"),
            "{run:?}"
        );
    }
    drop(lock);
    assert_mentions(&ask(&container, &url), 0, &["degraded: ", " of 1s grace"]);
}

#[test]
fn probes_at_the_same_moment_wait_for_each_other() {
    let container = Container::new();
    let url = gone_after_a_pass(&container);
    let long = |_| run(container.probe([url.as_str()]).env("READY_GRACE", "1m"));
    let at_once = || -> Vec<Run> {
        std::thread::scope(|scope| {
            let probes: Vec<_> = (0..8).map(|n| scope.spawn(move || long(n))).collect();
            probes.into_iter().map(|p| p.join().unwrap()).collect()
        })
    };
    // They wait for 40 ms, in which a busy machine may not get round to all of them.
    let is_late = |run: &Run| run.stdout.contains("another probe holds the lock");
    let mut runs = at_once();
    for _ in 0..4 {
        if runs.iter().any(is_late) {
            runs = at_once();
        }
    }
    for run in runs {
        assert_mentions(&run, 0, &["degraded: ", " of 1m grace"]);
    }
}

/// A root folder as `FROM scratch` makes it: the probe, `/proc`, `/dev/shm`, and no `/tmp`.
struct Scratch {
    container: Container,
    shm: Disk,
}

impl Scratch {
    fn new() -> Self {
        let container = Container::new();
        copy_program(&probe_binary(), &container.path("ready-probe"));
        fs::create_dir(container.path("proc")).unwrap();
        mount(&["--bind", "/proc"], &container.path("proc"));
        let shm = Disk::on(&container.path("dev/shm"));
        Self { container, shm }
    }

    /// The lock of the memory in its first folder.
    fn lock(&self) -> PathBuf {
        let files = fs::read_dir(self.shm.0.join("ready-probe/.probe")).unwrap();
        let mut paths = files.map(|file| file.unwrap().path());
        let is_lock = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "lock");
        paths.find(is_lock).unwrap()
    }

    fn ask(&self, url: &str) -> Run {
        let mut probe = Command::new("/usr/sbin/chroot");
        probe
            .arg(self.container.path(""))
            .args(["/ready-probe", url]);
        run(probe.env_clear().env("READY_GRACE", "1s"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = unmount(self.container.path("proc"), UnmountFlags::DETACH);
    }
}

#[test]
fn a_note_says_of_each_folder_what_is_wrong_with_it() {
    let scratch = Scratch::new();
    let mut redis = Redis::start();
    scratch.shm.fill();
    let run = scratch.ask(&redis.url());
    assert_mentions(
        &run,
        0,
        &[
            "healthy: ",
            "grace can't be counted: /dev/shm/ready-probe/.probe: No space left on device",
            "/tmp/ready-probe/.probe: No such file or directory",
        ],
    );
    redis.kill();
    for _ in 0..12 {
        assert_mentions(&scratch.ask(&redis.url()), 1, &["unhealthy: ", NO_GRACE]);
    }
}

#[test]
fn a_full_shared_memory_is_counted_in() {
    let scratch = Scratch::new();
    let mut redis = Redis::start();
    assert_said(&scratch.ask(&redis.url()), 0, HEALTHY);
    scratch.shm.fill();
    redis.kill();
    let first = scratch.ask(&redis.url());
    assert_eq!(row(&first, &redis.url()).0, "unknown", "{first:?}");
    assert_mentions(&first, 0, &["degraded: ", " of 1s grace"]);
    wait_until(
        Duration::from_secs(5),
        "the end of a second of grace",
        || (scratch.ask(&redis.url()).code() == 1).then_some(()),
    );
}

#[test]
fn grace_goes_on_in_the_next_folder_where_the_first_one_becomes_read_only() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.container.path("tmp")).unwrap();
    let mut redis = Redis::start();
    assert_said(&scratch.ask(&redis.url()), 0, HEALTHY);
    mount(&["-o", "remount,ro"], &scratch.shm.0);
    redis.kill();
    let first = Instant::now();
    for _ in 0..3 {
        let run = scratch.ask(&redis.url());
        if first.elapsed() < Duration::from_millis(900) {
            assert_mentions(&run, 0, &["degraded: ", " of 1s grace"]);
        }
    }
    wait_until(
        Duration::from_secs(5),
        "the end of a second of grace",
        || (scratch.ask(&redis.url()).code() == 1).then_some(()),
    );
}

#[test]
fn a_no_that_was_written_to_the_next_folder_leaves_no_grace_in_the_first() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.container.path("tmp")).unwrap();
    let mut redis = Redis::start();
    let target = format!("{}#key=k", redis.url());
    redis.command(&["SET", "k", "v"]);
    assert_said(&scratch.ask(&target), 0, HEALTHY);
    redis.command(&["DEL", "k"]);
    {
        let _held = hold(&scratch.lock());
        assert_mentions(&scratch.ask(&target), 1, &["unhealthy: "]);
    }
    redis.kill();
    for _ in 0..3 {
        assert_mentions(&scratch.ask(&target), 1, &["unhealthy: "]);
    }
}
