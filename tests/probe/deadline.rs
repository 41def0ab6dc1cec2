//! The process is gone within 50 ms of its deadline, whatever the other side does, and small.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use ready_probe_test_support::dns::{SilentNameServer, with_resolv_conf};
use ready_probe_test_support::hostile::{Behaviour, Hostile};
use ready_probe_test_support::process::{Run, run, wait_until};
use ready_probe_test_support::proxy::{Fault, Proxy};
use ready_probe_test_support::servers::{Nats, NatsVersion, Redis};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with};

use crate::container::{Container, assert_mentions};

const TIMEOUT: Duration = Duration::from_millis(300);
const SLACK: Duration = Duration::from_millis(50);
const MAX_RSS_KIB: u64 = 8 * 1024;

/// Runs a probe until it keeps to its deadline, three times at most: on a machine with two cores and
/// tests on both, the scheduler alone may keep a process waiting for longer than the slack. A probe that
/// is late by itself is late each time.
#[track_caller]
fn in_time(what: &str, mut command: impl FnMut() -> Command) -> Run {
    let mut late = Vec::new();
    for _ in 0..3 {
        let run = run(&mut command());
        assert!(
            run.peak_rss_kib < MAX_RSS_KIB,
            "{what} took {} KiB: {run:?}",
            run.peak_rss_kib
        );
        if run.elapsed <= TIMEOUT + SLACK {
            return run;
        }
        late.push(run.elapsed);
    }
    panic!("{what}: {late:?}, and its deadline is {TIMEOUT:?}");
}

fn probe(container: &Container, target: &str) -> Command {
    let mut probe = container.probe([target]);
    probe.env("READY_TIMEOUT", format!("{}ms", TIMEOUT.as_millis()));
    probe
}

/// A target of every protocol at this port. For `tcp`, whoever accepts has passed.
fn targets(port: u16) -> Vec<String> {
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
fn greeting(target: &str) -> &'static [u8] {
    match target.split(':').next() {
        Some("nats") => b"INFO {\"server_id\":\"x\",\"version\":\"2.10.0\",\"max_payload\":1}\r\n",
        Some("tls") => b"INFO {\"tls_required\":true}\r\n",
        Some("http") => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        Some("redis") => b"+PONG\r\n:1\r\n",
        _ => b"",
    }
}

#[track_caller]
fn never_passes(run: &Run, target: &str) {
    assert_mentions(run, 1, &["unhealthy: ", "it has never passed"]);
    let (scheme, _) = target.split_once(':').unwrap();
    assert!(
        run.first_line().contains(&format!(" {scheme}://")),
        "{run:?}"
    );
}

#[test]
fn silence_ends_at_the_deadline() {
    let container = Container::new();
    let server = Hostile::tcp(Behaviour::Silent);
    for target in targets(server.port()) {
        let run = in_time(&target, || probe(&container, &target));
        assert_mentions(&run, 1, &["no answer within 300ms"]);
        assert!(run.elapsed >= TIMEOUT, "it gave up early: {run:?}");
    }
}

#[test]
fn silence_after_the_greeting_ends_at_the_deadline() {
    let container = Container::new();
    for target in targets(0) {
        let server = Hostile::tcp(Behaviour::Garbage(greeting(&target).to_vec()));
        let target = target.replace(":0", &format!(":{}", server.port()));
        let run = in_time(&target, || probe(&container, &target));
        assert_mentions(&run, 1, &["no answer within 300ms"]);
    }
}

#[test]
fn a_drip_ends_at_the_deadline() {
    let container = Container::new();
    for target in targets(0) {
        let bytes = match greeting(&target) {
            b"" => b"\x16\x03\x03\x40\x00".to_vec(),
            greeting => greeting.to_vec(),
        };
        let server = Hostile::tcp(Behaviour::Drip {
            bytes,
            every: Duration::from_millis(20),
        });
        let target = target.replace(":0", &format!(":{}", server.port()));
        let run = in_time(&target, || probe(&container, &target));
        never_passes(&run, &target);
    }
}

#[test]
fn a_flood_ends_at_its_bound_or_the_deadline_and_takes_no_memory() {
    let container = Container::new();
    let patterns: &[&[u8]] = &[
        b"x",
        b"\r\n",
        b"$536870912\r\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        b"*1000000\r\n*1000000\r\n",
        b"PING\r\n",
        b"INFO {}\r\n",
        b"MSG _INBOX.ready-probe 1 65000\r\nxxxxxxxxxxxxxxxxxxxxxxxxxx",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"\x16\x03\x03\x40\x00xxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        b"\0",
    ];
    for pattern in patterns {
        let server = Hostile::tcp(Behaviour::Endless(pattern.to_vec()));
        for target in targets(server.port()) {
            let what = format!("{target} and {:?}", String::from_utf8_lossy(pattern));
            let run = in_time(&what, || probe(&container, &target));
            never_passes(&run, &target);
        }
    }
}

#[test]
fn a_flood_after_the_greeting_ends_in_time_and_takes_no_memory() {
    let container = Container::new();
    let floods: &[(&str, &[u8], &[u8])] = &[
        ("nats", b"", b"PING\r\n"),
        ("nats", b"PONG\r\n", b"MSG other 1 10\r\n0123456789\r\n"),
        (
            "nats",
            b"PONG\r\nMSG _INBOX.ready-probe 1 99999999999999999999\r\n",
            b"x",
        ),
        ("http", b"", b"400\r\nno end of this line"),
        ("http", b"400000\r\n", b"a body without end "),
        ("http", b"0\r\nTrailer: x\r\n", b"Trailer: x\r\n"),
        ("redis", b"*3\r\n", b"$6\r\nmaster\r\n"),
        ("redis", b"$99999999\r\n", b"x"),
    ];
    for (scheme, first, then) in floods {
        let all = targets(0);
        let target = all
            .iter()
            .find(|t| t.starts_with(&format!("{scheme}:")))
            .unwrap();
        let first = [greeting(target), first].concat();
        let server = Hostile::tcp(Behaviour::EndlessAfter {
            first,
            then: then.to_vec(),
        });
        let target = target.replace(":0", &format!(":{}", server.port()));
        let what = format!("{target} and {:?}", String::from_utf8_lossy(then));
        let run = in_time(&what, || probe(&container, &target));
        never_passes(&run, &target);
        assert!(server.connections() > 0);
    }
}

#[test]
fn an_endless_header_takes_no_memory() {
    let container = Container::new();
    for first in ["HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nX: "] {
        let server = Hostile::tcp(Behaviour::EndlessAfter {
            first: first.into(),
            then: b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n".to_vec(),
        });
        let target = format!("http://127.0.0.1:{}", server.port());
        let run = in_time(first, || probe(&container, &target));
        never_passes(&run, &target);
    }
}

#[test]
fn who_resets_closes_or_lies_is_told_at_once() {
    let container = Container::new();
    let closed: &[&str] = &["connection "];
    // A server that speaks before it is asked may be heard before or after the question.
    let lies = &["speak", "unexpected message"];
    let behaviours = [
        (Behaviour::Reset, closed),
        (Behaviour::HalfClose, closed),
        (Behaviour::CloseAfter(Vec::new()), closed),
        (Behaviour::Garbage(b"220 smtp.example.com\r\n".into()), lies),
        (
            Behaviour::Garbage(b"\0\x01\x02\xff\xfe\r\n\r\n".into()),
            lies,
        ),
    ];
    for (behaviour, said) in behaviours {
        let server = Hostile::tcp(behaviour);
        for target in targets(server.port()) {
            let run = in_time(&target, || probe(&container, &target));
            never_passes(&run, &target);
            let is_tls = ["rediss", "https"].iter().any(|s| target.starts_with(s));
            // What TLS finds wrong with bytes that are not its own is told in rustls's words.
            let said = if is_tls { &["TLS: "] } else { said };
            let told = said.iter().any(|text| run.first_line().contains(text));
            assert!(told, "{said:?} for {target}: {run:?}");
            assert!(run.elapsed < TIMEOUT, "it waited for nothing: {run:?}");
        }
    }
}

#[test]
fn an_address_that_answers_no_packet_ends_at_the_deadline() {
    // With its backlog full, Linux drops what else knocks.
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
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
        waiting.push(stream);
    }
    let container = Container::new();
    for target in targets(address.port())
        .iter()
        .chain(&[format!("tcp://{address}")])
    {
        let run = in_time(target, || probe(&container, target));
        assert_mentions(&run, 1, &["no answer within 300ms"]);
    }
}

#[test]
fn a_reset_in_the_middle_is_told_at_once() {
    let container = Container::new();
    for target in targets(0) {
        let server = Hostile::tcp(Behaviour::ResetAfter(greeting(&target).to_vec()));
        let target = target.replace(":0", &format!(":{}", server.port()));
        let run = in_time(&target, || probe(&container, &target));
        never_passes(&run, &target);
        assert!(run.elapsed < TIMEOUT, "it waited for nothing: {run:?}");
    }
}

#[test]
fn an_accepting_port_passes_whatever_it_says_then() {
    let container = Container::new();
    for behaviour in [
        Behaviour::Silent,
        Behaviour::Reset,
        Behaviour::Endless(b"x".to_vec()),
    ] {
        let server = Hostile::tcp(behaviour.clone());
        let target = format!("tcp://127.0.0.1:{}", server.port());
        let run = in_time(&target, || probe(&container, &target));
        assert_mentions(&run, 0, &["healthy: 1 check passes"]);
        let server = Hostile::unix(behaviour);
        let target = format!("unix://{}", server.path().display());
        let run = in_time(&target, || probe(&container, &target));
        assert_mentions(&run, 0, &["healthy: 1 check passes"]);
    }
}

#[test]
fn a_silent_unix_socket_ends_at_the_deadline() {
    let container = Container::new();
    let server = Hostile::unix(Behaviour::Silent);
    let path = server.path().display().to_string();
    for target in [
        format!("redis+unix://{path}"),
        format!("http+unix://{}/", path.replace('/', "%2F")),
    ] {
        let run = in_time(&target, || probe(&container, &target));
        assert_mentions(&run, 1, &["no answer within 300ms"]);
    }
}

#[test]
fn a_cut_network_ends_at_the_deadline() {
    let (redis, nats) = (Redis::start(), Nats::start(NatsVersion::V2_15));
    let container = Container::new();
    let upstreams = [("redis", redis.port()), ("nats", nats.port())];
    for (scheme, port) in upstreams {
        let proxy = Proxy::start(SocketAddr::from(([127, 0, 0, 1], port)));
        let target = format!("{scheme}://127.0.0.1:{}", proxy.port());
        let run = in_time(&target, || probe(&container, &target));
        assert_mentions(&run, 0, &["healthy"]);
        for fault in [
            Fault::Blackhole,
            Fault::SwallowReplies,
            Fault::Delay(Duration::from_secs(1)),
        ] {
            proxy.set(fault);
            let run = in_time(&target, || probe(&container, &target));
            assert_mentions(&run, 0, &["degraded: ", "no answer within 300ms"]);
        }
    }
}

#[test]
fn a_stopped_server_ends_at_the_deadline() {
    let mut redis = Redis::start();
    let mut nats = Nats::start(NatsVersion::V2_9);
    redis.pause();
    nats.pause();
    let container = Container::new();
    for target in [redis.url(), nats.url()] {
        let run = in_time(&target, || probe(&container, &target));
        assert_mentions(&run, 1, &["no answer within 300ms"]);
    }
}

#[test]
fn a_dead_name_server_ends_at_the_deadline() {
    let name_server = SilentNameServer::start();
    let container = Container::new();
    for scheme in ["redis", "nats", "http", "https", "tcp"] {
        let target = format!("{scheme}://some.host:1234");
        let run = in_time(&target, || {
            let probe = probe(&container, &target);
            with_resolv_conf(&probe, &name_server.resolv_conf(), None)
        });
        assert_mentions(&run, 1, &["unhealthy: ", "no answer within 300ms"]);
    }
    assert!(name_server.queries().contains(&"some.host".to_owned()));
}

#[test]
fn a_command_that_ignores_every_signal_ends_at_the_deadline() {
    let container = Container::new();
    for script in [
        "trap '' TERM INT HUP; sleep 100",
        "trap '' TERM; while :; do :; done",
        "sleep 100 & sleep 100 & wait",
        "setsid sleep 100 & sleep 100",
        "(trap '' TERM HUP; setsid sh -c 'sleep 100 & sleep 100' &) ; sleep 100",
        "while :; do echo flood; done",
        "yes",
        "exec <&- >&- 2>&-; sleep 100",
    ] {
        let target = format!("exec:sh -c {}", quoted(script));
        let run = in_time(script, || probe(&container, &target));
        assert_mentions(&run, 1, &["unhealthy: exec:sh …: no answer within 300ms"]);
    }
}

fn quoted(script: &str) -> String {
    format!("'{}'", script.replace('\'', r"'\''"))
}

#[test]
fn a_fifo_in_place_of_a_file_ends_at_once() {
    let container = Container::new();
    let fifo = container.path("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    let fifo = fifo.display();
    for target in [format!("pid:{fifo}"), format!("file:{fifo}#contains=x")] {
        let run = in_time(&target, || probe(&container, &target));
        assert_mentions(&run, 1, &["not a regular file"]);
    }
}

#[test]
fn everything_hostile_at_once_is_over_at_the_deadline_in_little_memory() {
    let container = Container::new();
    let silent = Hostile::tcp(Behaviour::Silent);
    let flood = Hostile::tcp(Behaviour::Endless(b"+PONG\r\n".to_vec()));
    let all = || {
        let mut probe = probe(&container, "exec:yes");
        for port in [silent.port(), flood.port()] {
            probe.args(targets(port));
        }
        probe
    };
    let run = in_time("all", all);
    assert_mentions(&run, 1, &["unhealthy: "]);
}

#[test]
fn each_target_may_have_less_time_than_the_probe() {
    let server = Hostile::tcp(Behaviour::Silent);
    let container = Container::new();
    let target = format!("redis://127.0.0.1:{}#timeout=50ms", server.port());
    let run = run(container.probe([&target]).env("READY_TIMEOUT", "20s"));
    assert_mentions(&run, 1, &["no answer within 50ms"]);
    assert!(run.elapsed < Duration::from_secs(5), "{run:?}");
    wait_until(Duration::from_secs(5), "the connection", || {
        (server.connections() == 1).then_some(())
    });
}
