//! What is said when time runs out: how far the talk had come, and with whom.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use ready_probe_test_support::dns::{SilentNameServer, with_resolv_conf};
use ready_probe_test_support::hostile::{Behaviour, Hostile};
use ready_probe_test_support::process::{Run, run};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with};

use crate::container::{Container, assert_mentions};
use crate::hostile_targets::http_server;
use crate::starved::unless_starved;

/// Long enough for a probe to get stuck where it should, on a busy machine, too.
const TIMEOUT: &str = "3s";
const INFO: &[u8] = b"INFO {\"server_id\":\"x\",\"headers\":true,\"jetstream\":true}\r\n";

/// Asks all of these in one run, and compares what is said of where each got stuck.
fn get_stuck(cases: &[(String, String)]) {
    let targets = cases.iter().map(|(target, _)| target.as_str());
    let args: Vec<&str> = ["--timeout", TIMEOUT].into_iter().chain(targets).collect();
    let run = unless_starved(|| run(&mut Container::new().probe(&args)));
    assert_eq!(run.code(), 1, "{run:?}");
    let rows: Vec<&str> = run.stdout.lines().skip(1).collect();
    assert_eq!(rows.len(), cases.len(), "{run:?}");
    for ((target, stage), row) in cases.iter().zip(rows) {
        let said = format!("no answer within {TIMEOUT} ({stage})");
        assert!(row.contains(&said), "{target}: {stage}\n{run:?}");
    }
}

#[test]
fn a_silent_server_is_told_by_its_address_and_what_it_did_not_send() {
    let server = Hostile::tcp(Behaviour::Silent);
    let at = server.addr().to_string();
    let cases = [
        ("redis://ADDRESS", "connected to ADDRESS, no PONG"),
        (
            "redis://:secret@ADDRESS",
            "connected to ADDRESS, no reply to AUTH",
        ),
        (
            "redis://ADDRESS/3",
            "connected to ADDRESS, no reply to SELECT",
        ),
        ("nats://ADDRESS", "connected to ADDRESS, no INFO"),
        ("tls://ADDRESS", "connected to ADDRESS, no INFO"),
        (
            "http://ADDRESS/",
            "connected to ADDRESS, no response headers",
        ),
        ("https://ADDRESS/", "TLS handshake with ADDRESS"),
        ("rediss://ADDRESS", "TLS handshake with ADDRESS"),
    ];
    get_stuck(&cases.map(|case| with_address(case, &at)));
}

fn with_address((target, stage): (&str, &str), address: &str) -> (String, String) {
    let with = |text: &str| text.replace("ADDRESS", address);
    (with(target), with(stage))
}

#[test]
fn a_server_that_stops_in_the_middle_is_told_by_what_is_missing() {
    let greets = Hostile::tcp(Behaviour::Garbage(INFO.to_vec()));
    let pings = Hostile::tcp(Behaviour::Garbage([INFO, b"PONG\r\n"].concat()));
    let redis = Hostile::tcp(Behaviour::Script(vec![b"+PONG\r\n:1\r\n".to_vec()]));
    let http = http_server(|mut client| {
        let half = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf";
        client.write_all(half).unwrap();
        // Until the probe has gone.
        let _ = client.read(&mut [0]);
    });
    let http = SocketAddr::from(([127, 0, 0, 1], http));
    let cases = [
        (
            ("nats://ADDRESS", "connected to ADDRESS, no PONG"),
            greets.addr(),
        ),
        (
            (
                "nats://ADDRESS#jetstream",
                "connected to ADDRESS, no answer from JetStream",
            ),
            pings.addr(),
        ),
        (
            (
                "redis://ADDRESS#key=k&value=v",
                "connected to ADDRESS, no reply to GETRANGE",
            ),
            redis.addr(),
        ),
        (
            (
                "http://ADDRESS/#contains=whole",
                "connected to ADDRESS, no end of the response body",
            ),
            http,
        ),
    ];
    get_stuck(&cases.map(|(case, address)| with_address(case, &address.to_string())));
}

/// A port whose backlog is full, so that Linux drops what else knocks; and what fills it.
fn deaf() -> (SocketAddr, impl Sized) {
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    );
    let socket = socket.unwrap();
    bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    listen(&socket, 0).unwrap();
    let address = SocketAddr::try_from(getsockname(&socket).unwrap()).unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(500)) {
        waiting.push(stream);
    }
    (address, (waiting, socket))
}

#[test]
fn an_address_that_answers_no_packet_is_told() {
    let (address, _deaf) = deaf();
    let schemes = ["redis", "nats", "http", "https", "tcp"];
    get_stuck(&schemes.map(|scheme| {
        let case = (format!("{scheme}://ADDRESS"), "connecting to ADDRESS");
        with_address((&case.0, case.1), &address.to_string())
    }));
}

#[test]
fn a_name_that_is_not_resolved_is_told() {
    let name_server = SilentNameServer::start();
    let container = Container::new();
    let probe: Command = container.probe(["--timeout", TIMEOUT, "redis://cache.test"]);
    let mut probe = with_resolv_conf(&probe, &name_server.resolv_conf(), None);
    let run = unless_starved(|| run(&mut probe));
    let said = format!("no answer within {TIMEOUT} (resolving cache.test)");
    assert_mentions(
        &run,
        1,
        &["unhealthy: dependency redis://cache.test", &said],
    );
}

#[test]
fn each_of_several_servers_is_told_for_itself() {
    let servers = [(); 2].map(|()| Hostile::tcp(Behaviour::Silent));
    let [a, b] = servers.each_ref().map(|server| server.addr().to_string());
    let target = format!("redis://{a},{b}");
    let run = unless_starved(|| run(&mut Container::new().probe(["--timeout", TIMEOUT, &target])));
    for at in [a, b] {
        let said = format!("{at}: no answer within {TIMEOUT} (connected to {at}, no PONG)");
        assert_mentions(&run, 1, &[&said]);
    }
}

fn ask_store(container: &Container, store: &str, args: &[&str]) -> Run {
    let mut probe = container.probe(["--timeout", TIMEOUT]);
    probe.args(args).env("READY_STORE", store);
    unless_starved(|| run(&mut probe))
}

#[test]
fn a_store_is_told_the_same_way() {
    for (scheme, lacks) in [("redis", "no reply to "), ("nats", "no INFO")] {
        let server = Hostile::tcp(Behaviour::Silent);
        let (at, container) = (server.addr().to_string(), Container::new());
        let store = format!("{scheme}://{at}");
        let said = format!("no answer within {TIMEOUT} (connected to {at}, {lacks}");
        let run = ask_store(&container, &store, &["peer:other"]);
        assert_mentions(&run, 1, &[&format!("{store}: {said}")]);
        let run = ask_store(&container, &store, &["list"]);
        assert_mentions(&run, 1, &[&format!("{at}: {said}")]);
        let pid = std::process::id().to_string();
        let run = ask_store(&container, &store, &["mark", "here", "--pid", &pid]);
        let said = format!(" (connected to {at}, {lacks}");
        assert!(run.stdout.contains(&said), "{run:?}");
    }
}

#[test]
fn a_command_that_does_not_end_is_told_with_what_it_has_said() {
    let container = Container::new();
    let probe =
        |target: &str| unless_starved(|| run(&mut container.probe(["--timeout", TIMEOUT, target])));
    let run = probe("exec:sh -c 'echo waiting for the database; sleep 100'");
    let [began, ended] = [
        "no answer within 3s (process ",
        " still runs: waiting for the database)",
    ];
    assert_mentions(&run, 1, &["unhealthy: exec:sh …: ", began, ended]);
    let run = probe("exec:sleep 100");
    assert_mentions(&run, 1, &[began, " still runs)"]);
}

#[test]
fn what_a_command_has_said_is_told_without_secrets() {
    let container = Container::new();
    let script = "exec:sh -c 'echo said: $REDIS_URL; sleep 100'";
    let mut probe = container.probe(["--timeout", TIMEOUT, script]);
    probe.env("REDIS_URL", "redis://:hunter2-hunter2@cache");
    let run = unless_starved(|| run(&mut probe));
    assert_mentions(&run, 1, &["no answer within 3s (process ", "said: "]);
    assert!(!run.stdout.contains("hunter2"), "{run:?}");
}
