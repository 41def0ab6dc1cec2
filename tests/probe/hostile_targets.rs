//! Targets that point at somebody hostile, and the two promises that hold all the same: an answer in time,
//! in little memory.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

use ready_probe_test_support::process::{Run, run};

use crate::container::{Container, assert_mentions};
use crate::starved::is_starved;

pub const TIMEOUT: Duration = Duration::from_millis(300);
const SLACK: Duration = Duration::from_millis(50);
/// A machine that is busy makes some late, and hardly ever so many.
const MAX_LATE: usize = 20;
const PAUSE: Duration = Duration::from_millis(50);
const MAX_RSS_KIB: u64 = 8 * 1024;

/// Runs a probe three times, of which two must keep to its deadline: on a machine with two cores and
/// tests on both, the scheduler alone may keep a process waiting for longer than the slack. A probe that
/// is late by itself is late more often. Returns the last one that was in time.
#[track_caller]
pub fn in_time(what: &str, command: impl FnMut() -> Command) -> Run {
    in_time_besides(what, || Duration::ZERO, command)
}

/// As [`in_time`], where the command takes a while before it becomes the probe.
#[track_caller]
pub fn in_time_besides(
    what: &str,
    overhead: impl Fn() -> Duration,
    mut command: impl FnMut() -> Command,
) -> Run {
    let mut late = Vec::new();
    let mut punctual = 0;
    while late.len() < MAX_LATE {
        let overhead = overhead();
        let run = run(&mut command());
        assert!(
            run.peak_rss_kib < MAX_RSS_KIB,
            "{what} took {} KiB: {run:?}",
            run.peak_rss_kib
        );
        let starved = is_starved(&run);
        if run.elapsed > TIMEOUT + SLACK + overhead || starved {
            late.push((run.elapsed, starved));
            thread::sleep(PAUSE);
            continue;
        }
        punctual += 1;
        if punctual == 2 {
            return run;
        }
    }
    panic!("{what}: {late:?}, and its deadline is {TIMEOUT:?}");
}

pub fn probe(container: &Container, target: &str) -> Command {
    let mut probe = container.probe([target]);
    probe.env("READY_TIMEOUT", format!("{}ms", TIMEOUT.as_millis()));
    probe
}

/// A target of every protocol at this port. For `tcp`, whoever accepts has passed.
pub fn targets(port: u16) -> Vec<String> {
    let options = |scheme: &str| match scheme {
        "redis" => "#key=k&value=v&role=master",
        "rediss" | "https" => "#insecure",
        "nats" => "#bucket=b",
        "tls" => "#insecure&jetstream",
        // Otherwise nothing behind the headers is read.
        "http" => "/#contains=never%20sent&status=100-599",
        _ => unreachable!("{scheme}"),
    };
    let schemes = ["redis", "rediss", "nats", "tls", "http", "https"];
    schemes
        .map(|scheme| format!("{scheme}://127.0.0.1:{port}{}", options(scheme)))
        .to_vec()
}

/// What each protocol's server says first, if it does.
pub fn greeting(target: &str) -> &'static [u8] {
    match target.split(':').next() {
        Some("nats") => b"INFO {\"server_id\":\"x\",\"version\":\"2.10.0\",\"max_payload\":1}\r\n",
        Some("tls") => b"INFO {\"tls_required\":true}\r\n",
        Some("http") => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        Some("redis") => b"+PONG\r\n:1\r\n",
        _ => b"",
    }
}

#[track_caller]
pub fn never_passes(run: &Run, target: &str) {
    assert_mentions(run, 1, &["unhealthy: ", "it has never passed"]);
    let (scheme, _) = target.split_once(':').unwrap();
    assert!(
        run.first_line().contains(&format!(" {scheme}://")),
        "{run:?}"
    );
}

/// An HTTP server that hears a request out, and sends then what `send` sends. It ends with the process.
pub fn http_server(send: impl Fn(TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            let mut lines = BufReader::new(client.try_clone().unwrap()).lines();
            while lines
                .next()
                .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
            {}
            send(client);
        }
    });
    port
}
