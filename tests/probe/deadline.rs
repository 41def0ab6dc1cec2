//! The process is gone within 50 ms of its deadline, whatever the other side does.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use ready_probe_test_support::dns::{SilentNameServer, with_resolv_conf};
use ready_probe_test_support::hostile::{Behaviour, Hostile};
use ready_probe_test_support::process::{run, wait_until};
use ready_probe_test_support::proxy::{Fault, Proxy};
use ready_probe_test_support::servers::{Nats, NatsVersion, Redis};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with};

use crate::container::{Container, assert_mentions};
use crate::hostile_targets::{
    TIMEOUT, greeting, http_server, in_time, in_time_besides, never_passes, probe, targets,
};

#[test]
fn silence_ends_at_the_deadline() {
    let container = Container::new();
    let server = Hostile::tcp(Behaviour::Silent);
    for target in targets(server.port()) {
        let run = in_time(&target, || probe(&container, &target));
        assert_mentions(&run, 1, &["no answer within 300ms"]);
        // Checks end a twentieth before the deadline.
        let earliest = TIMEOUT - TIMEOUT / 20;
        assert!(run.elapsed >= earliest, "it gave up early: {run:?}");
    }
}

#[test]
fn silence_after_the_greeting_ends_at_the_deadline() {
    let container = Container::new();
    for target in targets(0) {
        let server = Hostile::tcp(Behaviour::Garbage(greeting(&target).to_vec()));
        let port = if target.starts_with("http:") {
            let bytes = greeting(&target);
            http_server(move |mut client| {
                client.write_all(bytes).unwrap();
                // Until the probe has gone.
                let _ = client.read(&mut [0]);
            })
        } else {
            server.port()
        };
        let target = target.replace(":0", &format!(":{port}"));
        let run = in_time(&target, || probe(&container, &target));
        assert_mentions(&run, 1, &["no answer within 300ms"]);
    }
}

#[test]
fn a_drip_ends_at_the_deadline() {
    let container = Container::new();
    let every = Duration::from_millis(20);
    for target in targets(0) {
        let bytes = match greeting(&target) {
            b"" => b"\x16\x03\x03\x40\x00".to_vec(),
            greeting => greeting.to_vec(),
        };
        let server = Hostile::tcp(Behaviour::Drip { bytes, every });
        let target = target.replace(":0", &format!(":{}", server.port()));
        let run = in_time(&target, || probe(&container, &target));
        never_passes(&run, &target);
    }
    // The head of an answer in drops, and a body in drops.
    for answer in [
        &b"HTTP/1.1 200 OK\r\nX-Header: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"[..],
        b"xxxxxxxx",
    ] {
        let port = http_server(move |mut client| {
            if answer.starts_with(b"x") {
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            }
            for byte in answer.iter().cycle() {
                if client.write_all(&[*byte]).is_err() {
                    return;
                }
                std::thread::sleep(every);
            }
        });
        let target = format!("http://127.0.0.1:{port}/#contains=y");
        let run = in_time(&target, || probe(&container, &target));
        assert_mentions(&run, 1, &["no answer within 300ms"]);
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
            let tls = is_tls.then_some(&"TLS: ");
            let mut texts = said.iter().chain(tls);
            let told = texts.any(|text| run.first_line().contains(text));
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
    for behaviour in [Behaviour::Silent, Behaviour::Endless(b"x".to_vec())] {
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
    let confined = |command: &Command| with_resolv_conf(command, &name_server.resolv_conf(), None);
    for scheme in ["redis", "nats", "http", "https", "tcp"] {
        let target = format!("{scheme}://some.host:1234");
        let overhead = || run(&mut confined(&Command::new("true"))).elapsed;
        let run = in_time_besides(&target, overhead, || confined(&probe(&container, &target)));
        assert_mentions(&run, 1, &["unhealthy: ", "no answer within 300ms"]);
    }
    let asked = name_server.queries();
    assert!(asked.contains(&"some.host".to_owned()), "{asked:?}");
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
