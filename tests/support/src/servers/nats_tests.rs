use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    time::Duration,
};

use super::{Nats, NatsVersion};
use crate::{
    tls::{Ca, ClientIdentity},
    tls_client::tls_client,
};

const VERSIONS: [NatsVersion; 2] = [NatsVersion::V2_9, NatsVersion::V2_15];

fn connect(nats: &Nats) -> io::Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect(("127.0.0.1", nats.port()))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    Ok(BufReader::new(stream))
}

fn line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

/// Sends a request and gives the reply's payload, or the reply's first line if it is no message.
fn request(nats: &Nats, subject: &str, payload: &str) -> String {
    let mut from = connect(nats).unwrap();
    line(&mut from).unwrap();
    let ask = format!(
        "CONNECT {{\"verbose\":false}}\r\nSUB in.box 1\r\nPUB {subject} in.box {}\r\n{payload}\r\n",
        payload.len()
    );
    from.get_mut().write_all(ask.as_bytes()).unwrap();
    let head = line(&mut from).unwrap();
    if head.starts_with("MSG") {
        line(&mut from).unwrap()
    } else {
        head
    }
}

fn tls_greeting(nats: &Nats, ca: &Ca, client: Option<&ClientIdentity>) -> io::Result<String> {
    let mut from = connect(nats)?;
    line(&mut from)?;
    let mut stream = tls_client(from.into_inner(), "localhost", ca.path(), client);
    stream.write_all(b"CONNECT {\"verbose\":false}\r\nPING\r\n")?;
    let mut reply = [0; 4];
    stream.read_exact(&mut reply)?;
    Ok(String::from_utf8_lossy(&reply).into_owned())
}

#[test]
fn both_versions_greet_with_their_own() {
    for (version, number) in VERSIONS.into_iter().zip(["2.9.", "2.15."]) {
        let nats = Nats::start(version);
        let info = line(&mut connect(&nats).unwrap()).unwrap();
        assert!(info.contains(&format!("\"version\":\"{number}")), "{info}");
        assert_eq!(nats.url(), format!("nats://127.0.0.1:{}", nats.port()));
    }
}

#[test]
fn jetstream_is_there_when_asked_for() {
    for version in VERSIONS {
        let nats = Nats::builder(version).jetstream().start();
        let account = request(&nats, "$JS.API.INFO", "");
        assert!(account.contains("\"streams\":0"), "{account}");
        let none = request(&Nats::start(version), "$JS.API.INFO", "");
        assert!(!none.contains("streams"), "{none}");
    }
}

#[test]
fn a_restart_empties_the_store_unless_told_to_keep_it() {
    for version in VERSIONS {
        let mut nats = Nats::builder(version).jetstream().start();
        let port = nats.port();
        let made = request(
            &nats,
            "$JS.API.STREAM.CREATE.S",
            r#"{"name":"S","subjects":["s"],"storage":"file"}"#,
        );
        assert!(made.contains("\"created\""), "{made}");
        nats.restart_keeping_data();
        assert!(request(&nats, "$JS.API.INFO", "").contains("\"streams\":1"));
        nats.restart();
        assert_eq!(nats.port(), port);
        assert!(request(&nats, "$JS.API.INFO", "").contains("\"streams\":0"));
    }
}

#[test]
fn stopped_it_refuses() {
    for version in VERSIONS {
        let mut nats = Nats::start(version);
        nats.stop();
        assert_eq!(
            connect(&nats).unwrap_err().kind(),
            io::ErrorKind::ConnectionRefused
        );
        nats.restart();
        nats.kill();
        assert!(connect(&nats).is_err());
        nats.restart();
        assert!(connect(&nats).is_ok());
    }
}

#[test]
fn paused_it_accepts_and_says_nothing_until_resumed() {
    for version in VERSIONS {
        let mut nats = Nats::start(version);
        nats.pause();
        let mut from = connect(&nats).unwrap();
        from.get_mut()
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        assert!(line(&mut from).is_err());
        nats.resume();
        from.get_mut()
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        assert!(line(&mut from).unwrap().starts_with("INFO"));
    }
}

#[test]
fn configuration_can_be_added() {
    for version in VERSIONS {
        let nats = Nats::builder(version)
            .config("authorization { user: a, password: b }")
            .start();
        let mut from = connect(&nats).unwrap();
        assert!(line(&mut from).unwrap().contains("\"auth_required\":true"));
        from.get_mut()
            .write_all(b"CONNECT {\"user\":\"a\",\"pass\":\"b\",\"verbose\":false}\r\nPING\r\n")
            .unwrap();
        assert_eq!(line(&mut from).unwrap(), "PONG");
    }
}

#[test]
fn tls_with_and_without_client_certificates() {
    let ca = Ca::new();
    let identity = ca.server(&["localhost", "127.0.0.1"]);
    for version in VERSIONS {
        let nats = Nats::builder(version).tls(&identity).start();
        assert_eq!(tls_greeting(&nats, &ca, None).unwrap(), "PONG");
        assert!(tls_greeting(&nats, &Ca::new(), None).is_err());
        assert!(nats.url().starts_with("tls://localhost:"));

        let nats = Nats::builder(version)
            .tls(&identity)
            .require_client_certificate()
            .start();
        assert_eq!(
            tls_greeting(&nats, &ca, Some(&ca.client("probe"))).unwrap(),
            "PONG"
        );
        assert!(tls_greeting(&nats, &ca, None).is_err());
    }
}

#[test]
fn tls_before_the_greeting_is_waited_for_as_well() {
    let ca = Ca::new();
    let identity = ca.server(&["localhost"]);
    let config = format!(
        "tls {{ cert_file: \"{}\", key_file: \"{}\", handshake_first: true }}",
        identity.cert.display(),
        identity.key.display()
    );
    let nats = Nats::builder(NatsVersion::V2_15).config(&config).start();
    let mut stream = tls_client(
        connect(&nats).unwrap().into_inner(),
        "localhost",
        ca.path(),
        None,
    );
    let mut greeting = [0; 5];
    stream.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"INFO ");
}

#[test]
fn a_port_that_is_taken_is_given_up_for_another() {
    for version in VERSIONS {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        assert_ne!(Nats::builder(version).port(port).start().port(), port);
    }
}

#[test]
fn drop_leaves_neither_process_nor_files() {
    let nats = Nats::builder(NatsVersion::V2_15).jetstream().start();
    let (pid, dir) = (nats.pid(), nats.dir.path().to_owned());
    drop(nats);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    assert!(!dir.exists());
}
