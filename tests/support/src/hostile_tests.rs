use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv6Addr, Shutdown, TcpStream},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use super::{Behaviour, Hostile, refused_port};
use crate::process::wait_until;

const SOON: Duration = Duration::from_secs(5);

fn connect(hostile: &Hostile) -> TcpStream {
    let stream = TcpStream::connect(hostile.addr()).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

/// Whether a read finds neither bytes nor an end for a while.
fn quiet(mut stream: &TcpStream) -> bool {
    stream
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    stream
        .read(&mut [0])
        .is_err_and(|e| e.kind() == ErrorKind::WouldBlock)
}

fn take(mut stream: &TcpStream, n: usize) -> Vec<u8> {
    let mut bytes = vec![0; n];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn silent_takes_in_everything_and_answers_nothing() {
    let hostile = Hostile::tcp(Behaviour::Silent);
    let mut stream = connect(&hostile);
    stream.write_all(b"anybody?").unwrap();
    wait_until(SOON, "the bytes", || {
        (hostile.received() == b"anybody?").then_some(())
    });
    assert!(quiet(&stream));
    assert_eq!((hostile.connections(), hostile.sent()), (1, 0));
}

#[test]
fn what_is_kept_of_a_talkative_client_is_bounded() {
    let hostile = Hostile::tcp(Behaviour::Silent);
    connect(&hostile).write_all(&vec![7; 3 << 20]).unwrap();
    wait_until(SOON, "a megabyte", || {
        (hostile.received().len() == 1 << 20).then_some(())
    });
}

#[test]
fn drip_sends_single_bytes_at_its_pace_over_and_over() {
    let hostile = Hostile::tcp(Behaviour::Drip {
        bytes: b"abc".into(),
        every: Duration::from_millis(20),
    });
    let stream = connect(&hostile);
    let start = Instant::now();
    assert_eq!(take(&stream, 7), b"abcabca");
    assert!(
        start.elapsed() >= Duration::from_millis(100),
        "{:?}",
        start.elapsed()
    );
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn endless_keeps_the_pattern_whole_and_is_fast() {
    let hostile = Hostile::tcp(Behaviour::Endless(b"0123456".into()));
    let stream = connect(&hostile);
    let start = Instant::now();
    let bytes = take(&stream, 64 << 20);
    let elapsed = start.elapsed();
    assert!(elapsed < SOON, "{elapsed:?}");
    assert!(bytes.chunks_exact(7).all(|chunk| chunk == b"0123456"));
    wait_until(SOON, "the count", || {
        (hostile.sent() >= 64 << 20).then_some(())
    });
}

#[test]
fn endless_after_says_the_first_thing_once() {
    let hostile = Hostile::tcp(Behaviour::EndlessAfter {
        first: b"INFO\r\n".into(),
        then: b"x".into(),
    });
    assert_eq!(take(&connect(&hostile), 10), b"INFO\r\nxxxx");
}

#[test]
fn reset_is_a_reset() {
    let hostile = Hostile::tcp(Behaviour::Reset);
    let mut stream = connect(&hostile);
    let error = stream.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn reset_after_delivers_its_bytes_first() {
    let hostile = Hostile::tcp(Behaviour::ResetAfter(b"+PO".into()));
    let mut stream = connect(&hostile);
    assert_eq!(take(&stream, 3), b"+PO");
    assert_eq!(
        stream.read(&mut [0]).unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
}

#[test]
fn half_close_ends_its_side_and_listens_on() {
    let hostile = Hostile::tcp(Behaviour::HalfClose);
    let mut stream = connect(&hostile);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    stream.write_all(b"still there?").unwrap();
    wait_until(SOON, "the bytes", || {
        (hostile.received() == b"still there?").then_some(())
    });
}

#[test]
fn garbage_comes_once_and_the_connection_stays() {
    let hostile = Hostile::tcp(Behaviour::Garbage(b"\xff\x00\xfe".into()));
    let stream = connect(&hostile);
    assert_eq!(take(&stream, 3), b"\xff\x00\xfe");
    assert!(quiet(&stream));
}

#[test]
fn a_client_that_ends_its_side_still_gets_its_bytes() {
    let hostile = Hostile::tcp(Behaviour::Drip {
        bytes: b"ab".into(),
        every: Duration::from_millis(20),
    });
    let stream = connect(&hostile);
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(take(&stream, 3), b"aba");
}

#[test]
fn script_answers_each_thing_once() {
    let hostile = Hostile::tcp(Behaviour::Script(vec![b"one".into(), b"two".into()]));
    let mut stream = connect(&hostile);
    stream.write_all(b"a").unwrap();
    assert_eq!(take(&stream, 3), b"one");
    stream.write_all(b"b").unwrap();
    assert_eq!(take(&stream, 3), b"two");
    stream.write_all(b"c").unwrap();
    assert!(quiet(&stream));
}

#[test]
fn close_after_is_an_end_and_no_reset_whatever_the_client_sent() {
    let hostile = Hostile::tcp(Behaviour::CloseAfter(b"-ERR\r\n".into()));
    for _ in 0..20 {
        let mut stream = connect(&hostile);
        stream.write_all(b"PING\r\n").unwrap();
        assert_eq!(take(&stream, 6), b"-ERR\r\n");
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
    assert_eq!(hostile.connections(), 20);
}

#[test]
fn unix_sockets_misbehave_alike() {
    let hostile = Hostile::unix(Behaviour::Garbage(b"hello".into()));
    let mut bytes = [0; 5];
    UnixStream::connect(hostile.path())
        .unwrap()
        .read_exact(&mut bytes)
        .unwrap();
    assert_eq!(&bytes, b"hello");
    let hostile = Hostile::unix(Behaviour::Reset);
    let end = UnixStream::connect(hostile.path())
        .unwrap()
        .read(&mut bytes);
    assert!(matches!(end, Ok(0)), "{end:?}");
}

#[test]
fn ipv6_can_be_had() {
    let hostile = Hostile::tcp_on(Ipv6Addr::LOCALHOST.into(), Behaviour::Garbage(b"6".into()));
    assert!(hostile.addr().is_ipv6());
    assert_eq!(take(&connect(&hostile), 1), b"6");
}

#[test]
fn drop_ends_connections_and_frees_the_port() {
    for behaviour in [Behaviour::Silent, Behaviour::Endless(b"x".into())] {
        let hostile = Hostile::tcp(behaviour);
        let (addr, mut stream) = (hostile.addr(), connect(&hostile));
        wait_until(SOON, "the connection", || {
            (hostile.connections() == 1).then_some(())
        });
        drop(hostile);
        assert!(TcpStream::connect(addr).is_err());
        let _ = stream.read_to_end(&mut Vec::new());
    }
}

#[test]
fn a_refused_port_refuses_and_cannot_be_taken() {
    let refused = refused_port();
    for _ in 0..3 {
        assert_eq!(
            TcpStream::connect(refused.addr()).unwrap_err().kind(),
            ErrorKind::ConnectionRefused
        );
        assert!(std::net::TcpListener::bind(refused.addr()).is_err());
    }
}
