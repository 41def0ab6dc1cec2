//! Where there is hardly anything to be had: threads, descriptors, memory, somebody who reads.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read, Write, pipe};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ready_probe_test_support::hostile::{Behaviour, Hostile, refused_port};
use ready_probe_test_support::process::{Guard, copy_program, probe_binary, run};
use ready_probe_test_support::servers::Redis;

use crate::container::{Container, assert_mentions, assert_said, open_to_all, through};
use crate::records::publish;
use crate::starved::in_time;

const HEALTHY: &str = "healthy: 1 check passes";
const MAX_BINARY_BYTES: u64 = 4_000_000;
const MAX_LOCAL_RSS_KIB: u64 = 5_000_000 / 1_024;

/// As a user of its own, who may have no more than this many processes and threads.
fn with_processes(count: u32, command: &Command) -> Command {
    let limit = format!("--nproc={count}");
    // The number belongs to nobody, and to no other test.
    let user = [
        "--reuid=54321",
        "--regid=54321",
        "--clear-groups",
        "prlimit",
        &limit,
    ];
    through("setpriv", &user, command)
}

#[test]
fn the_binary_is_small() {
    let bytes = fs::metadata(probe_binary()).unwrap().len();
    assert!(bytes <= MAX_BINARY_BYTES, "{bytes} bytes");
}

#[test]
fn a_local_probe_takes_little_memory() {
    let container = Container::new();
    let process = Guard::spawn(Command::new("sleep").arg("1000"));
    publish(&container, "a", process.pid(), |_| {});
    for args in [&["agent:a"][..], &[]] {
        let run = container.run(args);
        assert_mentions(&run, 0, &[HEALTHY]);
        assert!(run.peak_rss_kib < MAX_LOCAL_RSS_KIB, "{run:?}");
    }
}

#[test]
fn without_a_thread_a_name_is_not_resolved_and_nothing_else_suffers() {
    let redis = Redis::start();
    let container = Container::new();
    fs::create_dir(container.ready_dir()).unwrap();
    open_to_all(&container.ready_dir());
    let process = Guard::spawn(Command::new("sleep").arg("1000"));
    publish(&container, "a", process.pid(), |_| {});
    let ask = |targets: &[&str]| run(&mut with_processes(1, &container.probe(targets)));
    assert_said(
        &ask(&["agent:a", &redis.url()]),
        0,
        "healthy: 2 checks pass",
    );
    for target in [
        "redis://some.host",
        "tcp://some.host:1",
        "process:x",
        "file:/x",
        "pid:/x",
    ] {
        let run = ask(&["agent:a", target]);
        assert_mentions(&run, 1, &["unhealthy: ", "no thread available: "]);
        assert!(run.stdout.contains("\n pass     agent:a "), "{run:?}");
    }
    let run = ask(&["exec:true"]);
    assert_mentions(&run, 1, &["it can't be started: "]);
}

#[test]
fn with_few_descriptors_it_says_so_and_does_not_crash() {
    let redis = Redis::start();
    let container = Container::new();
    let mut healthy = 0;
    for count in 3..16 {
        let limit = format!("--nofile={count}");
        for target in [redis.url(), "exec:true".to_owned(), "agent:x".to_owned()] {
            let probe = container.probe([&target]);
            let run = run(&mut through("prlimit", &[&limit], &probe));
            assert!(matches!(run.code(), 0 | 1), "{count} {run:?}");
            assert!(run.first_line().contains(": "), "{count} {run:?}");
            assert!(run.stderr.is_empty(), "{count} {run:?}");
            healthy += usize::from(run.code() == 0);
        }
    }
    assert!(healthy > 0, "none of these limits was enough");
}

#[test]
fn with_little_address_space_it_works() {
    let redis = Redis::start();
    let container = Container::new();
    let probe = container.probe([redis.url()]);
    let run = run(&mut through("prlimit", &["--as=16777216"], &probe));
    assert_said(&run, 0, HEALTHY);
}

#[test]
fn closed_standard_streams_change_no_exit_status() {
    let container = Container::new();
    let redis = Redis::start();
    for (target, code) in [
        ("exec:true", 0),
        ("exec:false", 1),
        (&redis.url(), 0),
        ("what", 64),
    ] {
        for closed in [
            "<&-",
            ">&-",
            "2>&-",
            "<&- >&- 2>&-",
            ">/dev/full",
            ">/dev/full 2>&1",
        ] {
            let script = format!("exec \"$0\" \"$@\" {closed}");
            let probe = container.probe([target]);
            let run = run(&mut through("sh", &["-c", &script], &probe));
            assert_eq!(run.code(), code, "{target} {closed}: {run:?}");
        }
    }
}

#[test]
fn a_reader_that_has_gone_changes_no_exit_status() {
    let container = Container::new();
    for (target, code) in [("exec:true", 0), ("exec:false", 1)] {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let mut probe = container.probe([target]);
        let mut guard = Guard::spawn(probe.stdout(writer).stderr(Stdio::null()));
        assert_eq!(guard.wait_within(Duration::from_secs(5)).code(), Some(code));
    }
}

#[test]
fn a_reader_that_does_not_read_holds_nobody_beyond_the_deadline() {
    let container = Container::new();
    // What needs a while to be asked, and what is answered out of shared memory at once.
    for (target, folder, timeout_ms) in [
        ("exec:false", container.ready_dir().into_os_string(), 300),
        ("agent:never-there", OsString::new(), 1_000),
    ] {
        let (_reader, mut writer) = pipe().unwrap();
        fill(&mut writer);
        // A busy machine may be late by itself: see `deadline`.
        let mut late = Vec::new();
        while late.len() < 20 {
            let mut probe = container.probe([target]);
            probe.env("READY_DIR", &folder);
            probe.env("READY_TIMEOUT", format!("{timeout_ms}ms"));
            let start = Instant::now();
            let stdout = writer.try_clone().unwrap();
            let mut guard = Guard::spawn(probe.stdout(stdout).stderr(Stdio::null()));
            let status = guard.wait_within(Duration::from_secs(5));
            let elapsed = start.elapsed();
            assert_eq!(status.code(), Some(1));
            if elapsed <= Duration::from_millis(timeout_ms + 500) {
                break;
            }
            late.push(elapsed);
        }
        assert!(late.len() < 20, "{target}: {late:?}");
    }
}

#[test]
fn a_reader_that_does_not_read_costs_no_file() {
    let container = Container::new();
    let file = container.path("report");
    let (_reader, mut writer) = pipe().unwrap();
    fill(&mut writer);
    let mut probe = container.probe(["--output", file.to_str().unwrap(), "file:/"]);
    probe.env("READY_TIMEOUT", "500ms");
    let mut guard = Guard::spawn(probe.stdout(writer).stderr(Stdio::null()));
    assert_eq!(guard.wait_within(Duration::from_secs(5)).code(), Some(0));
    let report = fs::read_to_string(file).unwrap();
    assert!(report.starts_with(HEALTHY), "{report}");
}

/// Writes until nothing more fits.
fn fill(pipe: &mut (impl Write + AsFd)) {
    rustix::io::ioctl_fionbio(pipe.as_fd(), true).unwrap();
    while pipe.write(&[b'x'; 4_096]).is_ok() {}
    while pipe.write(b"x").is_ok() {}
    rustix::io::ioctl_fionbio(pipe.as_fd(), false).unwrap();
}

#[test]
fn a_full_disk_takes_the_grace_and_nothing_else() {
    let redis = Redis::start();
    let container = Container::new();
    fs::create_dir(container.ready_dir()).unwrap();
    let script = "mount -t tmpfs -o size=4k none \"$READY_DIR\" && mkdir \"$READY_DIR/.probe\" && \
                  head -c 8192 /dev/zero >\"$READY_DIR/full\" 2>/dev/null; exec \"$0\" \"$@\"";
    let probe = container.probe([redis.url()]);
    let run = run(&mut through(
        "unshare",
        &["--mount", "sh", "-c", script],
        &probe,
    ));
    let said = "healthy: 1 check passes; grace can't be counted: ";
    assert_mentions(&run, 0, &[said, "No space left on device"]);
}

#[test]
fn an_unwritable_home_or_directory_is_no_obstacle() {
    let container = Container::new();
    let redis = Redis::start();
    let mut probe = container.probe([redis.url()]);
    probe
        .env("HOME", "/no/such")
        .env("TMPDIR", "/no/such")
        .current_dir("/proc");
    assert_said(&run(&mut probe), 0, HEALTHY);
}

#[test]
fn nothing_is_read_from_standard_input() {
    let container = Container::new();
    let (reader, mut writer) = pipe().unwrap();
    writer.write_all(b"precious\n").unwrap();
    let mut probe = container.probe(["exec:cat", "exec:true"]);
    let mut rest = reader.try_clone().unwrap();
    probe
        .stdin(reader)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut guard = Guard::spawn(&mut probe);
    assert_eq!(guard.wait_within(Duration::from_secs(5)).code(), Some(0));
    drop((writer, probe));
    let mut left = String::new();
    rest.read_to_string(&mut left).unwrap();
    assert_eq!(left, "precious\n");
}

#[test]
fn many_checks_at_once_stay_small() {
    let container = Container::new();
    let silent = Hostile::tcp(Behaviour::Silent);
    let dead = refused_port();
    let targets = (0..100).map(|i| match i % 4 {
        0 => format!("redis://127.0.0.1:{}/{i}", silent.port()),
        1 => format!("tcp://127.0.0.1:{}#name={i}", dead.port()),
        2 => format!("file:/no/{i}"),
        _ => format!("http://127.0.0.1:{}/{i}", silent.port()),
    });
    let targets: Vec<String> = targets.collect();
    let mut probe = container.probe(&targets);
    probe.env("READY_TIMEOUT", "500ms");
    let run = in_time(Duration::from_secs(2), || run(&mut probe));
    assert_mentions(&run, 1, &["unhealthy: "]);
    assert!(run.peak_rss_kib < 8 * 1024, "{run:?}");
}

#[test]
fn the_binary_needs_nothing_but_itself() {
    let root = Container::new();
    copy_program(&probe_binary(), &root.path("probe"));
    let mut probe = Command::new("chroot");
    probe
        .arg(root.path(""))
        .args(["/probe", "agent:x"])
        .env_clear()
        .env("READY_DIR", "/signals");
    let run = run(probe.env("PATH", std::env::var("PATH").unwrap()));
    // No /proc either, and no signal: said, not crashed.
    assert_mentions(&run, 1, &["agent x: "]);
    assert!(File::open(root.path("probe")).is_ok());
}
