//! The service as its container runs it, and what the probe says of it meanwhile. Needs `make probe`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::TcpStream;
use std::process::{ChildStdout, Command, Stdio};
use std::time::Duration;

use ready_probe_test_support::process::{self, Guard, wait_until};
use rustix::process::Signal;
use tempfile::TempDir;

/// Longer than anything here takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
const STALLED: &str = "unhealthy: agent translator: not_ready: stalled: no progress for ";
const STOPPING: &str = "unhealthy: agent translator: stopping: told to stop";

struct Service {
    process: Guard,
    /// What it prints.
    lines: Lines<BufReader<ChildStdout>>,
    port: u16,
    dir: TempDir,
}

impl Service {
    /// Returns once it serves.
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut process = Guard::spawn(command(&dir).stdout(Stdio::piped()));
        let mut lines = BufReader::new(process.child().stdout.take().unwrap()).lines();
        let line = lines.next().unwrap().unwrap();
        let port = line.strip_prefix("serving on port ").unwrap();
        let port = port.parse().unwrap();
        Self {
            process,
            lines,
            port,
            dir,
        }
    }

    /// Asks, and leaves the answer to [`answer`].
    fn ask(&self, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        stream
    }

    /// Asks for what takes so long, and returns once the service works for it.
    fn occupy(&mut self, ms: u32) -> TcpStream {
        let in_flight = self.ask(&format!("/slow/{ms}"));
        let line = self.lines.next().unwrap().unwrap();
        assert_eq!(line, format!("working for {ms} ms"));
        in_flight
    }

    fn until_health(&self, start: &str) {
        until_health(&self.dir, start);
    }

    /// Waits until the probe says so; false if what was asked for was answered before.
    fn has_health_before(&self, answer: &TcpStream, start: &str) -> bool {
        answer.set_nonblocking(true).unwrap();
        let is_seen = wait_until(LIMIT, &format!("health {start:?}, or an answer"), || {
            let is_answered = answer.peek(&mut [0]).is_ok();
            let is_seen = health(&self.dir).starts_with(start);
            (is_seen || is_answered).then_some(is_seen)
        });
        answer.set_nonblocking(false).unwrap();
        is_seen
    }
}

/// Tries with what takes so many milliseconds, and with what takes longer where the machine was late for that.
fn in_time(attempt: impl FnMut(u32) -> bool) {
    let in_time = [12_000, 36_000].into_iter().any(attempt);
    assert!(in_time, "it was answered before the probe was");
}

fn command(dir: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_axum-agent"));
    command
        .env_clear()
        .env("ADDRESS", "127.0.0.1:0")
        .env("READY_DIR", dir.path())
        // With several a blocked one is no blocked runtime.
        .env("TOKIO_WORKER_THREADS", "1")
        .stdin(Stdio::null());
    command
}

/// The first line of the probe's report.
fn health(dir: &TempDir) -> String {
    let mut probe = process::probe();
    probe.arg("agent:translator").env("READY_DIR", dir.path());
    let report = process::run(&mut probe).stdout;
    report.lines().next().unwrap_or_default().to_owned()
}

fn until_health(dir: &TempDir, start: &str) {
    wait_until(LIMIT, &format!("health {start:?}"), || {
        health(dir).starts_with(start).then_some(())
    });
}

/// The signals that its agent has left.
fn signals(dir: &TempDir) -> usize {
    dir.path().join("translator").read_dir().unwrap().count()
}

fn answer(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn it_is_ready_when_it_serves() {
    let service = Service::start();
    assert_eq!(health(&service.dir), "healthy: 1 check passes");
    let answer = answer(service.ask("/translate/tag"));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\nGAT"), "{answer}");
}

#[test]
fn it_says_starting_while_it_loads_and_ends_at_sigterm() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Guard::spawn(command(&dir).env("LOAD_SECONDS", "3600"));
    until_health(&dir, "starting: agent translator: starting");
    process.signal(Signal::TERM);
    assert_eq!(process.wait_within(LIMIT).code(), Some(0));
    assert_eq!(signals(&dir), 0, "the signal is removed");
}

#[test]
fn it_says_stopping_from_sigterm_on_and_answers_what_is_in_flight() {
    in_time(|ms| {
        let mut service = Service::start();
        let in_flight = service.occupy(ms);
        service.process.signal(Signal::TERM);
        let mut is_seen = service.has_health_before(&in_flight, STOPPING);
        wait_until(LIMIT, "new connections to be refused", || {
            TcpStream::connect(("127.0.0.1", service.port)).err()
        });
        is_seen &= service.process.ended().is_none();
        assert!(answer(in_flight).ends_with("\r\n\r\ndone\n"));
        assert_eq!(service.process.wait_within(LIMIT).code(), Some(0));
        assert_eq!(signals(&service.dir), 0, "the signal is removed");
        is_seen
    });
}

#[test]
fn it_is_stalled_while_its_runtime_is_blocked_and_healthy_again_after() {
    let service = Service::start();
    in_time(|ms| {
        let blocked = service.ask(&format!("/block/{ms}"));
        let is_seen = service.has_health_before(&blocked, STALLED);
        assert!(answer(blocked).ends_with("\r\n\r\ndone\n"));
        service.until_health("healthy: 1 check passes");
        is_seen
    });
}

#[test]
fn it_says_stopping_also_while_its_runtime_is_blocked() {
    in_time(|ms| {
        let mut service = Service::start();
        let blocked = service.ask(&format!("/block/{ms}"));
        let mut is_seen = service.has_health_before(&blocked, STALLED);
        service.process.signal(Signal::TERM);
        is_seen &= service.has_health_before(&blocked, STOPPING);
        assert!(answer(blocked).ends_with("\r\n\r\ndone\n"));
        assert_eq!(service.process.wait_within(LIMIT).code(), Some(0));
        is_seen
    });
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut service = Service::start();
    let _in_flight = service.occupy(3_600_000);
    service.process.signal(Signal::INT);
    service.until_health(STOPPING);
    service.process.signal(Signal::TERM);
    assert_eq!(service.process.wait_within(LIMIT).code(), Some(143));
}
