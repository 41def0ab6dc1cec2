//! Who sends without end is read up to a bound, and held in little memory until then.

use std::io::Write;

use ready_probe_test_support::hostile::{Behaviour, Hostile};

use crate::container::{Container, assert_mentions};
use crate::hostile_targets::{greeting, http_server, in_time, never_passes, probe, targets};

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
fn an_endless_answer_of_http_ends_in_time_and_takes_no_memory() {
    let container = Container::new();
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let floods = [
        (
            "HTTP/1.1 200 OK\r\n",
            "",
            "X: yyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n",
        ),
        (
            "HTTP/1.1 200 OK\r\nX: ",
            "",
            "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
        ),
        ("HTTP/1.1 200 OK\r\n\r\n", "", "a body without end "),
        ("", "", "HTTP/1.1 100 Continue\r\n\r\n"),
        ("", "", "x"),
        (chunked, "", "400\r\nno end of this line"),
        (chunked, "", "1\r\nx\r\n"),
        (chunked, "4000000\r\n", "x"),
        (chunked, "0\r\n", "Trailer: x\r\n"),
        (chunked, "1;", "extension"),
    ];
    for (head, first, then) in floods {
        let port = http_server(move |mut client| {
            let _ = client.write_all(format!("{head}{first}").as_bytes());
            let piece = then.repeat(1 + 64 * 1024 / then.len());
            while client.write_all(piece.as_bytes()).is_ok() {}
        });
        for expected in ["contains=never%20sent", "json=/a=1"] {
            let target = format!("http://127.0.0.1:{port}/#{expected}");
            let what = format!("{target} and {head:?} {first:?} {then:?}");
            let run = in_time(&what, || probe(&container, &target));
            assert_mentions(&run, 1, &["unhealthy: http://"]);
        }
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
fn a_store_full_of_instances_takes_no_memory() {
    let container = Container::new();
    let member = |n: usize| format!("$7\r\nh-{n:05}\r\n");
    let set = |count: usize, members: usize| -> Vec<u8> {
        let members: String = (0..members).map(member).collect();
        format!("*{count}\r\n{members}").into_bytes()
    };
    for (first, then, why) in [
        (
            set(60_000, 60_000),
            "x",
            "its reply has more than 16384 parts",
        ),
        (
            set(16_000, 16_000),
            ":1\r\n",
            "agent b has 16000 live instances, more than 1024",
        ),
        // Each instance that is named has a record, and none of them is one.
        (
            set(1_000, 1_000),
            "$1\r\nx\r\n:1\r\n",
            "0 of 1000 instances ready",
        ),
        (
            set(1_000, 1_000),
            &format!("$4000\r\n{}\r\n:1\r\n", "x".repeat(4_000)),
            "it sent more than 1024 KiB",
        ),
    ] {
        let server = Hostile::tcp(Behaviour::EndlessAfter {
            first,
            then: then.into(),
        });
        let run = in_time(why, || {
            let mut probe = probe(&container, "peer:b");
            probe.env(
                "READY_STORE",
                format!("redis://127.0.0.1:{}", server.port()),
            );
            probe
        });
        assert_mentions(&run, 1, &["peer:b: ", why]);
    }
}
