//! What a check does to the server it asks: a body is taken to its end, as far as that costs nothing.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ready_probe_test_support::process::{Run, run};
use serde_json::Value;

use crate::container::{Container, assert_said};

const HEALTHY: &str = "healthy: 1 check passes";
const PIECE: [u8; 4096] = [b'x'; 4096];
const PIECES: usize = 50;
/// How long a probe reads on at most.
const AT_MOST: Duration = Duration::from_millis(300);
/// For starting the probe on a machine that has other things to do.
const SLACK: Duration = Duration::from_millis(200);

/// A server that says a head, then a body in pieces, and notes how each conversation ended for it.
struct Writer {
    port: u16,
    ended: Arc<Mutex<Vec<io::Result<()>>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    fn start(
        head: &'static str,
        body: impl Fn(&mut TcpStream, &AtomicBool) -> io::Result<()> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (ended, stop): (Arc<Mutex<Vec<_>>>, Arc<AtomicBool>) = Default::default();
        let thread = {
            let (ended, stop) = (Arc::clone(&ended), Arc::clone(&stop));
            thread::spawn(move || {
                for client in listener.incoming() {
                    if stop.load(Ordering::Acquire) {
                        return;
                    }
                    let mut client = client.unwrap();
                    let result = answer(&mut client, head, |client| body(client, &stop));
                    ended.lock().unwrap().push(result);
                }
            })
        };
        Self {
            port,
            ended,
            stop,
            thread: Some(thread),
        }
    }

    /// Sends a piece every few milliseconds for as long as it is taken.
    fn endless(head: &'static str) -> Self {
        Self::start(head, |client, stop| {
            while !stop.load(Ordering::Acquire) {
                client.write_all(b"data: x\n\n")?;
                thread::sleep(Duration::from_millis(5));
            }
            Ok(())
        })
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// How the conversations so far ended.
    fn ends(&self, how_many: usize) -> Vec<String> {
        ready_probe_test_support::process::wait_until(
            Duration::from_secs(10),
            "the server's conversations to end",
            || {
                let ended = self.ended.lock().unwrap();
                (ended.len() >= how_many).then(|| ended.iter().map(|e| format!("{e:?}")).collect())
            },
        )
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A client that hangs up on what it was sent resets the connection, which the last read tells.
fn answer(
    client: &mut TcpStream,
    head: &str,
    body: impl Fn(&mut TcpStream) -> io::Result<()>,
) -> io::Result<()> {
    let mut lines = BufReader::new(client.try_clone()?).lines();
    while lines
        .next()
        .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
    {}
    client.write_all(head.as_bytes())?;
    body(client)?;
    client.shutdown(Shutdown::Write)?;
    client.read(&mut [0]).map(|_| ())
}

/// The only check of a JSON report: its outcome and how long it took.
fn checked(report: &Value) -> (&str, Duration) {
    let check = &report["checks"][0];
    let elapsed = check["elapsed_ms"].as_f64().unwrap();
    (
        check["outcome"].as_str().unwrap(),
        Duration::from_secs_f64(elapsed / 1000.0),
    )
}

/// The fastest of a few runs, on a machine that has other things to do.
fn fastest(mut run: impl FnMut() -> Run) -> Run {
    let mut runs: Vec<Run> = (0..5).map(|_| run()).collect();
    runs.sort_by_key(|run| run.elapsed);
    runs.swap_remove(0)
}

#[test]
fn a_server_can_say_all_that_it_has_to_say() {
    let plain = |client: &mut TcpStream, _: &AtomicBool| {
        (0..PIECES).try_for_each(|_| client.write_all(&PIECE))
    };
    let chunked = |client: &mut TcpStream, _: &AtomicBool| {
        for _ in 0..PIECES {
            client.write_all(b"1000\r\n")?;
            client.write_all(&PIECE)?;
            client.write_all(b"\r\n")?;
        }
        client.write_all(b"0\r\n\r\n")
    };
    let servers = [
        Writer::start("HTTP/1.1 200 OK\r\nContent-Length: 204800\r\n\r\n", plain),
        Writer::start(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            chunked,
        ),
        Writer::start("HTTP/1.0 200 OK\r\n\r\n", plain),
        Writer::start("HTTP/1.1 503 Down\r\nContent-Length: 204800\r\n\r\n", plain),
    ];
    for (server, options) in servers.iter().zip(["", "", "#contains=xxx", "#status=503"]) {
        let container = Container::new();
        for _ in 0..10 {
            let run = container.ask(server.url() + options);
            assert_said(&run, 0, HEALTHY);
        }
        let ends = server.ends(10);
        assert!(ends.iter().all(|end| end == "Ok(())"), "{ends:?}");
    }
    // It is read on also when the answer is no.
    let run = Container::new().ask(servers[3].url());
    assert_eq!(run.code(), 1, "{run:?}");
    let ends = servers[3].ends(11);
    assert!(ends.iter().all(|end| end == "Ok(())"), "{ends:?}");
}

#[test]
fn a_body_without_end_costs_a_moment_and_is_not_counted() {
    let server = Writer::endless("HTTP/1.1 200 OK\r\n\r\n");
    let container = Container::new();
    let report = fastest(|| run(container.probe([server.url()]).env("READY_FORMAT", "json")));
    assert!(report.elapsed < AT_MOST + SLACK, "{report:?}");
    let json = crate::container::parsed(&report);
    let (outcome, elapsed) = checked(&json);
    assert_eq!(outcome, "pass", "{report:?}");
    assert!(elapsed < AT_MOST, "{report:?}");
}

#[test]
fn nothing_is_read_of_what_is_too_long_or_a_stream_of_events() {
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Length: 262145\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\n\r\n",
    ] {
        let server = Writer::endless(head);
        let container = Container::new();
        let run = fastest(|| container.ask(server.url()));
        assert_said(&run, 0, HEALTHY);
        assert!(run.elapsed < AT_MOST / 2, "{head}: {run:?}");
    }
}

#[test]
fn nothing_is_read_past_the_deadline() {
    let server = Writer::endless("HTTP/1.1 200 OK\r\n\r\n");
    let container = Container::new();
    let run = fastest(|| container.run(["--timeout", "150ms", &server.url()]));
    assert_said(&run, 0, HEALTHY);
    assert!(run.elapsed < Duration::from_millis(200), "{run:?}");
}

#[test]
fn reading_on_takes_no_time_beside_a_slower_check() {
    let server = Writer::endless("HTTP/1.1 200 OK\r\n\r\n");
    let container = Container::new();
    let slow = Duration::from_millis(600);
    let run = fastest(|| container.run([&server.url(), "exec:sleep 0.6"]));
    assert_said(&run, 0, "healthy: 2 checks pass");
    assert!(run.elapsed < slow + SLACK, "{run:?}");
}

#[test]
fn reading_on_does_not_use_up_the_time_of_what_asks() {
    let server = Writer::endless("HTTP/1.1 200 OK\r\n\r\n");
    let container = Container::new();
    let url = server.url();
    for check in [format!("any = [\"{url}\"]"), format!("target = \"{url}\"")] {
        let toml = format!("agent = []\n[[check]]\n{check}\ntimeout = \"200ms\"\n");
        let file = container.file("probe.toml", toml);
        let run = fastest(|| run(container.probe([""; 0]).env("READY_CONFIG", &file)));
        assert_said(&run, 0, HEALTHY);
    }
}
