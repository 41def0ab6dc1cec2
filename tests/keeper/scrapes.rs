//! Whoever asks for metrics is in nobody's way, however slow, many or greedy.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use ready_probe_test_support::process::{Guard, Signal, free_port, run_within, wait_until};
use ready_probe_test_support::servers::prometheus::http_get;
use serde_json::json;

use crate::host::{Host, assert_says, http};

const SOON: Duration = Duration::from_secs(60);
const LOG: &str = "log";
/// So many are spoken to at once.
const AT_ONCE: usize = 16;

fn keeper() -> (Host, u16, u16, Guard) {
    let (host, port, at) = (Host::new(), free_port(), free_port());
    let mut check = http(port);
    check["interval_seconds"] = json!(1);
    host.services(&[(
        "svc",
        json!({"health_check": check, "restart_cmd": host.server(port)}),
    )]);
    let keeper = host.loop_with(LOG, &["--metrics-listen", &format!("127.0.0.1:{at}")]);
    host.wait_for(LOG, "Successfully recovered svc");
    (host, port, at, keeper)
}

fn connect(at: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, at)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

/// What is said to a request, until the connection ends.
fn said(at: u16, request: &[u8]) -> String {
    let mut stream = connect(at);
    // It may have been refused already.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

#[test]
fn silent_dripping_and_greedy_clients_delay_no_restart_and_take_no_memory() {
    let (host, port, at, keeper) = keeper();
    let recovered = || host.read(LOG).matches("Successfully recovered svc").count();
    let (memory, open) = (resident_kib(keeper.pid()), descriptors(keeper.pid()));
    let silent: Vec<TcpStream> = (0..100).map(|_| connect(at)).collect();
    let mut dripping: Vec<TcpStream> = (0..20).map(|_| connect(at)).collect();
    let before = recovered();
    host.signal(port, Signal::KILL);
    let mut most = 0;
    wait_until(SOON, "the service to be recovered beside them", || {
        for stream in &mut dripping {
            // It may have had enough of it.
            let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nx: ");
        }
        most = most.max(descriptors(keeper.pid()));
        (recovered() > before).then_some(())
    });
    // Each question is a child with pipes, and their threads.
    assert!(
        most <= open + AT_ONCE + 12,
        "{open} descriptors, then {most}"
    );
    let grown = resident_kib(keeper.pid()).saturating_sub(memory);
    assert!(grown < 4 * 1024, "{grown} KiB more than {memory}");
    drop((silent, dripping));
    wait_until(SOON, "who asks as one should to be answered", || {
        http_get(at, "/metrics").filter(|(status, _)| *status == 200)
    });
}

#[test]
fn a_silent_client_is_left_after_five_seconds() {
    let (_host, _, at, _keeper) = keeper();
    let (began, mut stream) = (Instant::now(), connect(at));
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    assert!(
        began.elapsed() >= Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn what_is_no_question_has_an_answer_that_says_what_is_wrong() {
    let (_host, _, at, _keeper) = keeper();
    let long = format!("GET /metrics HTTP/1.1\r\nx: {}", "a".repeat(1024 * 1024));
    for (request, want) in [
        (
            "GET /metrics HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4",
        ),
        ("HEAD /metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n"),
        ("GET /readyz HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK\r\n"),
        ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 404 Not Found\r\n"),
        (
            "DELETE /metrics HTTP/1.1\r\n\r\n",
            "HTTP/1.1 405 Method Not Allowed\r\n",
        ),
        ("\u{16}\u{3}\u{1}\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n"),
        (&long, "HTTP/1.1 431 Request Header Fields Too Large\r\n"),
    ] {
        let answer = said(at, request.as_bytes());
        let start = request.get(..30).unwrap_or(request);
        // The rest of what is too long may be cut off with the connection, and the answer with it.
        let is_cut = answer.is_empty() && request.len() > 1024 * 1024;
        assert!(answer.starts_with(want) || is_cut, "{start}: {answer}");
        if request.starts_with("HEAD") {
            assert!(answer.ends_with("\r\n\r\n"), "{answer}");
        }
    }
}

#[test]
fn an_address_that_can_not_be_used_is_refused_and_one_for_all_is_warned_of() {
    let (host, _, at, _keeper) = keeper();
    let other = Host::new();
    other.services(&[(
        "svc",
        json!({"health_check": {"type": "custom", "command": "true"}}),
    )]);
    let typed = |args: &[&str]| run_within(other.keep("run").args(args), Duration::from_secs(60));
    let taken = at.to_string();
    for (args, status, want) in [
        (["--metrics-listen", &taken], 78, "Address already in use"),
        (
            ["--metrics-listen", "nowhere"],
            64,
            "a port, or an address with one",
        ),
        (
            ["--metrics-listen", "127.0.0.1"],
            64,
            "a port, or an address with one",
        ),
    ] {
        let run = typed(&args);
        assert_eq!(run.code(), status, "{run:?}");
        assert!(run.stderr.contains(want), "{run:?}");
    }
    let run = run_within(
        host.keep("once").args(["--metrics-listen", &taken]),
        Duration::from_secs(60),
    );
    assert_eq!(run.code(), 64, "{run:?}");
    let free = free_port();
    let _all = other.loop_with(LOG, &["--metrics-listen", &format!("0.0.0.0:{free}")]);
    other.wait_for(LOG, "whoever reaches this address can read the metrics");
    wait_until(SOON, "somebody to listen", || http_get(free, "/readyz"));
    assert_says(&host.order(&["status"]), "svc");
}
