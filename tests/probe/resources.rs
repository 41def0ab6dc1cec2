//! What runs out: room on a disk, descriptors, process ids, and processes that nobody reaps. On real ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ready_probe_test_support::process::{Guard, Run, run, wait_until};

use crate::container::{Container, assert_mentions, assert_said, row, through};

const LIMIT: Duration = Duration::from_secs(20);

/// What a report says about its only check.
#[track_caller]
fn said(run: &Run, target: &str) -> String {
    let label = target.replace("&optional=false", "");
    let label = label.strip_suffix("#optional=false").unwrap_or(&label);
    let (word, text) = row(run, label);
    format!("{word} {}", text.trim_start_matches("(optional) "))
}

/// Probes beside a file system of 1 MiB and 100 inodes, in namespaces of its own.
fn beside_a_small_disk(container: &Container, script: &str, args: &[&str]) -> Run {
    let disk = container.path("disk");
    fs::create_dir_all(&disk).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=1m,nr_inodes=100 none {0} && cd {0} && {script}",
        disk.display()
    );
    let probe = container.probe(args);
    run(&mut through(
        "unshare",
        &["--mount", "sh", "-c", &script],
        &probe,
    ))
}

#[test]
fn a_disk_has_room_or_not() {
    let container = Container::new();
    let disk = container.path("disk").display().to_string();
    // 224 of 256 pages are full: 128 KiB are left, an eighth.
    let full = "head -c 917504 /dev/zero >full && exec \"$0\" \"$@\"";
    for (options, outcome, text) in [
        ("", "pass", "128.0KiB free (12%), 98 inodes (98%)"),
        ("free=12%", "pass", "128.0KiB free (12%), 98 inodes (98%)"),
        (
            "free=128KiB&inodes=98",
            "pass",
            "128.0KiB free (12%), 98 inodes (98%)",
        ),
        ("free=13%", "fail", "128.0KiB free (12%), 13% needed"),
        (
            "free=129KiB",
            "fail",
            "128.0KiB free (12%), 129.0KiB needed",
        ),
        (
            "inodes=99%",
            "fail",
            "128.0KiB free (12%), 98 inodes (98%), 99% needed",
        ),
        (
            "free=1TiB&not",
            "pass",
            "128.0KiB free (12%), 1.0TiB needed",
        ),
    ] {
        let target = format!("disk:{disk}/full#{options}");
        let run = beside_a_small_disk(&container, full, &[&target]);
        let label = target.trim_end_matches('#');
        assert_eq!(said(&run, label), format!("{outcome} {text}"));
        // It only says so.
        let verdict = if outcome == "pass" {
            "healthy: "
        } else {
            "degraded: "
        };
        assert_mentions(&run, 0, &[verdict]);
    }
    let target = format!("disk:{disk}#free=13%&optional=false");
    let run = beside_a_small_disk(&container, full, &[&target]);
    assert_mentions(&run, 1, &["unhealthy: ", "128.0KiB free (12%), 13% needed"]);
}

#[test]
fn a_disk_without_inodes_left_is_full() {
    let container = Container::new();
    let script = "for i in $(seq 95); do : >$i; done && exec \"$0\" \"$@\"";
    let target = format!("disk:{}#inodes=5%", container.path("disk").display());
    let run = beside_a_small_disk(&container, script, &[&target]);
    assert_eq!(
        said(&run, &target),
        "fail 1.0MiB free (100%), 4 inodes (4%), 5% needed"
    );
}

#[test]
fn a_disk_that_is_not_there_is_unknown() {
    let run = Container::new().ask("disk:/no/such#free=5%");
    assert_mentions(&run, 0, &["degraded: ", "No such file or directory"]);
    assert_eq!(row(&run, "disk:/no/such#free=5%").0, "unknown");
}

#[test]
fn wait_waits_for_room() {
    let container = Container::new();
    let script =
        "head -c 917504 /dev/zero >full && { { sleep 0.7; rm full; } & } && exec \"$0\" \"$@\"";
    let target = format!(
        "disk:{}#free=50%&optional=false",
        container.path("disk").display()
    );
    let run = beside_a_small_disk(&container, script, &["wait", "--for", "20s", &target]);
    assert_said(&run, 0, "healthy: 1 check passes");
    assert!(run.elapsed > Duration::from_millis(500), "{run:?}");
}

/// A process that may open so many more files than it has open; returns how many it has.
fn opener(mark: &str, more: usize) -> (Guard, usize) {
    let process = Guard::spawn(Command::new("sleep").arg(mark));
    let folder = format!("/proc/{}", process.pid());
    wait_until(LIMIT, "it to be started", || {
        let started = fs::read_to_string(format!("{folder}/cmdline")).unwrap();
        started.starts_with("sleep").then_some(())
    });
    let open = fs::read_dir(format!("{folder}/fd")).unwrap().count();
    let (pid, limit) = (process.pid().to_string(), (open + more).to_string());
    let limit = format!("--nofile={limit}:{limit}");
    let limited = run(Command::new("prlimit").args(["--pid", &pid, &limit]));
    assert_eq!(limited.code(), 0, "{limited:?}");
    (process, open)
}

#[test]
fn the_process_that_is_nearest_to_its_limit_counts() {
    let container = Container::new();
    // No other process sleeps for so long.
    let mark = "4700.1";
    let (_well, _) = opener(mark, 1_000);
    let (near, open) = opener(mark, 1);
    let most = open + 1;
    let percent = (open * 100).div_ceil(most);
    let has = format!(
        "process {} has {open} of {most} descriptors open ({percent}%)",
        near.pid()
    );
    let ask = |used: usize| {
        let target = format!("fds:sleep {mark}#used={used}%");
        said(&container.ask(&target), &target)
    };
    assert_eq!(ask(percent), format!("pass {has}"));
    let below = percent - 1;
    assert_eq!(ask(below), format!("fail {has}, limit {below}%"));
    drop(near);
    assert!(ask(below).starts_with("pass process "));
}

/// The process may be the one that is gone: that is for another check to say.
#[test]
fn no_process_has_no_descriptors_open() {
    let run = Container::new().ask("fds:rp-nobody-has-this#used=90%&optional=false");
    assert_said(
        &run,
        0,
        "degraded: fds:rp-nobody-has-this#used=90%: no process matches",
    );
}

#[test]
fn what_cannot_be_seen_is_unknown() {
    let container = Container::new();
    let as_nobody = "exec setpriv --reuid=65534 --regid=65534 --clear-groups \"$0\" \"$@\"";
    for (proc, target, text) in [
        (
            "mount -t proc -o hidepid=2 none /proc",
            "fds:rp-hidden",
            "its descriptors can't be looked at",
        ),
        (
            "mount -t proc -o hidepid=2 none /proc",
            "zombies:",
            "and other processes can't be looked at",
        ),
        (
            "mount -t proc -o hidepid=1 none /proc",
            "zombies:#max=100000",
            "and other processes can't be looked at",
        ),
        (
            "mount -t tmpfs none /proc",
            "zombies:",
            "/proc does not show the processes of this container",
        ),
        (
            "mount -t tmpfs none /proc",
            "pids:",
            "/proc/self/cgroup: No such file or directory",
        ),
        (
            "mount -t tmpfs none /proc",
            "fds:system",
            "/proc/sys/fs/file-nr: No such file or directory",
        ),
        (
            "umount -l /sys/fs/cgroup",
            "pids:",
            "its cgroup is not mounted here",
        ),
    ] {
        let script = format!("{proc} && {as_nobody}");
        let unshare = ["--mount", "sh", "-c", &script];
        let run = run(&mut through(
            "unshare",
            &unshare,
            &container.probe([target]),
        ));
        let (word, said) = row(&run, target);
        assert!(
            word == "unknown" && said.contains(text),
            "{proc} {target}: {run:?}"
        );
    }
}

#[test]
fn the_whole_machine_has_descriptors_left() {
    let container = Container::new();
    let run = container.ask("fds:system#used=99%");
    assert_said(&run, 0, "healthy: 1 check passes");
    assert!(
        row(&run, "fds:system#used=99%").1.ends_with("%)"),
        "{run:?}"
    );
    let run = container.ask("fds:system#used=0%");
    assert_mentions(&run, 0, &["degraded: ", "descriptors open (1%), limit 0%"]);
}

/// A cgroup of the test's own. Whoever is in it has to leave before it goes.
struct Cgroup(PathBuf);

impl Cgroup {
    /// Below the hierarchy that counts processes.
    fn new(name: &str, max: &str) -> Self {
        let version_1 = Path::new("/sys/fs/cgroup/pids");
        let all = if version_1.exists() {
            version_1
        } else {
            Path::new("/sys/fs/cgroup")
        };
        Self::at(all.join(format!("rp-{name}-{}", std::process::id())), max)
    }

    fn within(&self, name: &str, max: &str) -> Self {
        Self::at(self.0.join(name), max)
    }

    fn at(folder: PathBuf, max: &str) -> Self {
        fs::create_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        fs::write(folder.join("pids.max"), max).unwrap();
        Self(folder)
    }

    fn fill(&self, processes: usize) -> Vec<Guard> {
        let start = |_| {
            let process = Guard::spawn(Command::new("sleep").arg("1000"));
            fs::write(self.0.join("cgroup.procs"), process.pid().to_string()).unwrap();
            process
        };
        (0..processes).map(start).collect()
    }

    /// Probes from inside.
    fn ask(&self, target: &str) -> Run {
        let script = format!(
            "echo $$ >{}/cgroup.procs && exec \"$0\" \"$@\"",
            self.0.display()
        );
        run(&mut through(
            "sh",
            &["-c", &script],
            &Container::new().probe([target]),
        ))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        wait_until(LIMIT, "the cgroup to be empty", || {
            fs::remove_dir(&self.0).ok()
        });
    }
}

#[test]
fn a_cgroup_has_process_ids_left_or_not() {
    let group = Cgroup::new("pids", "100");
    let processes = group.fill(50);
    // The probe and its threads are in there, too.
    let run = group.ask("pids:#used=50%");
    assert_mentions(
        &run,
        0,
        &[
            "degraded: ",
            " of 100 processes and threads (5",
            "%), limit 50%",
        ],
    );
    let run = group.ask("pids:#used=70%");
    assert_said(&run, 0, "healthy: 1 check passes");
    assert!(
        said(&run, "pids:#used=70%").starts_with("pass 5"),
        "{run:?}"
    );
    drop(processes);
}

#[test]
fn a_cgroup_around_it_that_is_full_counts() {
    let outer = Cgroup::new("outer", "100");
    let inner = outer.within("inner", "max");
    let processes = outer.fill(50);
    let run = inner.ask("pids:#used=50%");
    assert_mentions(&run, 0, &["degraded: ", " of 100 processes and threads (5"]);
    drop(processes);
    drop(inner);
}

#[test]
fn a_cgroup_without_a_limit_passes_and_says_so() {
    let group = Cgroup::new("free", "max");
    let run = group.ask("pids:#used=1%");
    assert_said(&run, 0, "healthy: 1 check passes");
    let said = row(&run, "pids:#used=1%").1.to_owned();
    assert!(
        said.ends_with("processes and threads, no limit is set"),
        "{said}"
    );
}

/// Probes in a PID namespace with three zombies of one parent and one of another.
fn beside_zombies(target: &str) -> Run {
    let script = "sh -c ': & : & : & exec sleep 1000' & sh -c ': & exec sleep 1000' & \
                  while [ $(grep -hs '^State:.Z' /proc/[0-9]*/status | wc -l) -lt 4 ]; do :; done; \
                  \"$0\" \"$@\"";
    let unshare = [
        "--pid",
        "--fork",
        "--mount-proc",
        "--kill-child",
        "sh",
        "-c",
        script,
    ];
    run(&mut through(
        "unshare",
        &unshare,
        &Container::new().probe([target]),
    ))
}

#[test]
fn zombies_are_counted_and_their_parent_is_named() {
    let by_parent = |text: &str| {
        let (said, parent) = text.split_once(" process ").unwrap();
        let (_, name) = parent.split_once(' ').unwrap();
        format!("{said} {name}")
    };
    let run = beside_zombies("zombies:#max=4");
    assert_said(&run, 0, "healthy: 1 check passes");
    assert_eq!(
        by_parent(
            row(&run, "zombies:#max=4")
                .1
                .trim_start_matches("(optional) ")
        ),
        "4 zombies, 3 left by (sleep)"
    );
    let run = beside_zombies("zombies:#max=3");
    assert_mentions(
        &run,
        0,
        &["degraded: zombies:#max=3: 4 zombies (limit 3), 3 left by process "],
    );
    let run = beside_zombies("zombies:#max=3&optional=false");
    assert_mentions(&run, 1, &["unhealthy: zombies:#max=3: 4 zombies"]);
}

#[test]
fn what_runs_out_is_refused_where_it_makes_no_sense() {
    for (target, why) in [
        ("disk:data", "absolute path"),
        ("disk:/data#fre=5%", "is no option of disk"),
        (
            "disk:/data#free=5",
            "the option free: it is written 5%, 1GiB or 500MiB",
        ),
        (
            "disk:/data#inodes=1GiB",
            "the option inodes: it is written 5% or 1000",
        ),
        ("disk:/data#not", "needs a limit beside it"),
        ("pids:x", "it is written pids:#used=…"),
        ("pids:#used=90", "the option used: it is written 90%"),
        ("zombies:#max=5%", "the option max: it must be a number"),
        ("fds:", "fds:nginx#used=90%"),
    ] {
        let run = Container::new().ask(target);
        assert!(
            run.code() == 64 && run.stderr.contains(why),
            "{target}: {run:?}"
        );
    }
}
