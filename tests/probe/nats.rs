//! NATS: what it answers, and what a probe makes of it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use ready_probe_test_support::hostile::{Behaviour, Hostile, refused_port};
use ready_probe_test_support::servers::{Nats, NatsVersion};

use crate::container::{Container, assert_mentions, assert_said, assert_variable_passes, row};

const HEALTHY: &str = "healthy: 1 check passes";
const VERSIONS: [NatsVersion; 2] = [NatsVersion::V2_9, NatsVersion::V2_15];

#[track_caller]
fn assert_passes(target: &str) {
    assert_said(&Container::new().ask(target), 0, HEALTHY);
}

#[track_caller]
fn assert_fails(target: &str, reason: &str) {
    assert_said(
        &Container::new().ask(target),
        1,
        &format!("unhealthy: dependency {target}: {reason}"),
    );
}

#[track_caller]
fn assert_unknown(target: &str, cause: &str) {
    assert_fails(target, &format!("{cause}; it has never passed"));
}

/// Makes a key-value bucket as ADR-8 describes it.
fn make_bucket(nats: &Nats, bucket: &str) {
    let mut stream = TcpStream::connect(("127.0.0.1", nats.port())).unwrap();
    let config = format!(
        "{{\"name\":\"KV_{bucket}\",\"subjects\":[\"$KV.{bucket}.>\"],\"max_msgs_per_subject\":1}}"
    );
    let request = format!(
        "CONNECT {{\"verbose\":false}}\r\nSUB answer 1\r\n\
         PUB $JS.API.STREAM.CREATE.KV_{bucket} answer {}\r\n{config}\r\n",
        config.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut lines = BufReader::new(stream).lines();
    let answer = lines
        .find(|line| line.as_ref().unwrap().starts_with('{'))
        .unwrap()
        .unwrap();
    assert!(!answer.contains("\"error\""), "{answer}");
}

#[test]
fn a_server_that_answers_passes() {
    for version in VERSIONS {
        let nats = Nats::start(version);
        assert_passes(&nats.url());
        assert_passes(&format!("nats://localhost:{}", nats.port()));
        let dead = refused_port().port();
        assert_passes(&format!(
            "nats://127.0.0.1:{dead},127.0.0.1:{}",
            nats.port()
        ));
    }
}

#[test]
fn the_applications_variable_is_understood_as_its_clients_understand_it() {
    let nats = Nats::builder(NatsVersion::V2_15)
        .config("authorization { user: app, password: hUnTeR2 }")
        .start();
    let port = nats.port();
    let dead = refused_port().port();
    let container = Container::new();
    for url in [
        format!("nats://app:hUnTeR2@127.0.0.1:{port}"),
        format!("app:hUnTeR2@127.0.0.1:{port}"),
        format!("nats://app:hUnTeR2@127.0.0.1:{dead},nats://127.0.0.1:{port}"),
        format!("nats://app:hUnTeR2@127.0.0.1:{dead}, nats://app:hUnTeR2@127.0.0.1:{port}"),
    ] {
        assert_variable_passes(&container, "NATS_URL", &url, "hUnTeR2");
    }
}

#[test]
fn jetstream_is_there_or_not() {
    for version in VERSIONS {
        let with = Nats::builder(version).jetstream().start();
        assert_passes(&format!("{}#jetstream", with.url()));
        let without = Nats::start(version);
        let target = format!("{}#jetstream", without.url());
        assert_fails(&target, "JetStream is not enabled");
        let target = format!("{}#bucket=ready", without.url());
        assert_fails(&target, "JetStream is not enabled");
        // Nobody there knows buckets, so nobody can say that there is none.
        let run = Container::new().ask(target + "&not");
        let unknown = "JetStream is not enabled; it has never passed";
        assert_mentions(&run, 1, &["unhealthy: ", unknown]);
    }
}

#[test]
fn an_account_has_jetstream_or_not() {
    for version in VERSIONS {
        let nats = Nats::builder(version)
            .jetstream()
            .config(
                "accounts {\n\
                   RICH: { jetstream: enabled, users: [{ user: rich, password: p1 }] }\n\
                   POOR: { users: [{ user: poor, password: p2 }] }\n\
                 }",
            )
            .start();
        assert_passes(&format!(
            "nats://rich:p1@127.0.0.1:{}#jetstream",
            nats.port()
        ));
        for option in ["jetstream", "bucket=ready"] {
            let target = format!("nats://poor:p2@127.0.0.1:{}#{option}", nats.port());
            let run = Container::new().ask(target);
            assert_mentions(
                &run,
                1,
                &["unhealthy: ", "JetStream is not enabled for this account"],
            );
            assert_eq!(
                run.stdout
                    .lines()
                    .filter(|l| l.starts_with(" fail"))
                    .count(),
                1,
                "{run:?}"
            );
        }
    }
}

#[test]
fn a_bucket_exists_or_not() {
    for version in VERSIONS {
        let nats = Nats::builder(version).jetstream().start();
        make_bucket(&nats, "ready");
        assert_passes(&format!("{}#bucket=ready", nats.url()));
        assert_passes(&format!("{}#bucket=ready&jetstream", nats.url()));
        assert_fails(
            &format!("{}#bucket=other", nats.url()),
            "bucket other does not exist",
        );
    }
}

#[test]
fn a_question_that_is_not_allowed_is_not_answered() {
    for version in VERSIONS {
        let nats = Nats::builder(version)
            .jetstream()
            .config(
                "authorization { users: [{ user: u, password: p,\n\
                   permissions: { publish: { deny: \"$JS.API.>\" } } }] }",
            )
            .start();
        let url = format!("nats://u:p@127.0.0.1:{}", nats.port());
        assert_passes(&url);
        for option in ["jetstream", "bucket=b"] {
            let run = Container::new().ask(format!("{url}#{option}"));
            assert_mentions(
                &run,
                1,
                &["Permissions Violation for Publish to", "never passed"],
            );
        }
    }
}

#[test]
fn a_server_with_too_many_clients_is_not_an_answer() {
    let nats = Nats::builder(NatsVersion::V2_15)
        .config("max_connections: 1")
        .start();
    let taken = ready_probe_test_support::process::wait_until(
        std::time::Duration::from_secs(5),
        "the only place",
        || {
            let mut stream = TcpStream::connect(("127.0.0.1", nats.port())).unwrap();
            stream
                .write_all(b"CONNECT {\"verbose\":false}\r\nPING\r\n")
                .ok()?;
            let mut lines = BufReader::new(&stream).lines();
            lines.next()?.ok()?;
            let pong = lines.next()?.ok()? == "PONG";
            drop(lines);
            pong.then_some(stream)
        },
    );
    let run = Container::new().ask(nats.url());
    assert_mentions(
        &run,
        1,
        &["maximum connections exceeded; it has never passed"],
    );
    drop(taken);
}

#[test]
fn what_is_no_nats_is_told() {
    let container = Container::new();
    let garbage = "it does not speak the NATS protocol";
    let table = [
        ("+PONG\r\n", garbage),
        ("INFO\r\n", garbage),
        ("INFO {\r\n", garbage),
        ("INFO {}\r\nwhat\r\n", garbage),
        ("INFO {}\r\nMSG x\r\n", garbage),
        ("INFO {}\r\n-ERR 'Stale Connection'\r\n", "Stale Connection"),
        ("INFO {}\r\n", "connection closed"),
        ("", "connection closed"),
    ];
    for (bytes, cause) in table {
        let server = Hostile::tcp(Behaviour::CloseAfter(bytes.into()));
        let target = format!("nats://127.0.0.1:{}", server.port());
        let run = container.ask(&target);
        assert_said(
            &run,
            1,
            &format!("unhealthy: dependency {target}: {cause}; it has never passed"),
        );
    }
}

#[test]
fn a_server_may_say_more_before_it_answers() {
    let said = "INFO {\"server_id\":\"x\"}\r\n+OK\r\nPING\r\nINFO {\"cluster\":\"c\"}\r\nPONG\r\n";
    let server = Hostile::tcp(Behaviour::Garbage(said.into()));
    assert_passes(&format!("nats://127.0.0.1:{}", server.port()));
}

#[test]
fn nobody_there_is_told() {
    let dead = refused_port();
    let target = format!("nats://127.0.0.1:{}", dead.port());
    assert_unknown(&target, "connection refused");
    let list = format!("{target},127.0.0.1:{}", refused_port().port());
    let run = Container::new().ask(&list);
    assert_mentions(&run, 1, &["127.0.0.1:", "connection refused; 127.0.0.1:"]);
    assert_eq!(row(&run, &list).0, "unknown");
}
