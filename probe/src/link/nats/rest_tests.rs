//! What a server may say to a connection that rests.

use std::task::Waker;

use tokio::io::{AsyncReadExt, DuplexStream};

use super::*;

fn link() -> (NatsLink, DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(1024 * 1024);
    let link = NatsLink {
        stream: Box::new(ours),
        received: Received::default(),
        info: Info::default(),
        greeting: None,
        inbox: inbox(),
        subscribed: true,
        sent: 0,
        owed: &[],
        max_bytes: MAX_REPLY_BYTES,
        proof: Vec::new(),
    };
    (link, theirs)
}

/// Whether the connection has ended after each of these, and what the server was answered.
fn hear(said: &[&str]) -> (Vec<bool>, String) {
    let (mut link, mut server) = link();
    let event_loop = crate::event_loop::start().unwrap();
    event_loop.block_on(async {
        let context = &mut Context::from_waker(Waker::noop());
        assert_eq!(link.poll_settled(context), Poll::Ready(true));
        let mut ended = Vec::new();
        for said in said {
            server.write_all(said.as_bytes()).await.unwrap();
            ended.push(link.poll_ended(context).is_ready());
        }
        drop(link);
        let mut answered = String::new();
        server.read_to_string(&mut answered).await.unwrap();
        (ended, answered)
    })
}

#[test]
fn what_a_server_tells_of_itself_is_no_news() {
    for said in [
        "INFO {\"server_id\":\"x\"}\r\n",
        "INFO {\"server_id\"",
        "+OK\r\n",
        "MSG _INBOX.1.0 1 2\r\nhi\r\n",
    ] {
        assert_eq!(hear(&[said]), (vec![false], String::new()), "{said}");
    }
    for said in ["-ERR 'Stale Connection'\r\n", "PONG\r\n", "hello\r\n"] {
        assert_eq!(hear(&[said]), (vec![true], String::new()), "{said}");
    }
    let parts = ["INFO {}", "\r\nPI", "NG\r\n-E", "RR 'x'\r\n"];
    let ended = vec![false, false, false, true];
    assert_eq!(hear(&parts), (ended, "PONG\r\n".to_owned()));
}

#[test]
fn a_server_that_asks_is_answered_each_time() {
    let (ended, answered) = hear(&["PING\r\n", "PING\r\nPING\r\n"]);
    assert_eq!(ended, [false, false]);
    assert_eq!(answered, "PONG\r\nPONG\r\n");
}

#[test]
fn a_server_that_talks_without_end_is_left() {
    let line = format!("INFO {}\r\n", "x".repeat(1_000));
    let (ended, _) = hear(&[&line.repeat(60), &line.repeat(10)]);
    assert_eq!(ended, [false, true]);
    // Each answer is granted as much again.
    let (mut link, _server) = link();
    let context = &mut Context::from_waker(Waker::noop());
    for _ in 0..2 {
        assert_eq!(link.poll_settled(context), Poll::Ready(true));
        assert!(link.poll_ended(context).is_pending());
    }
}

#[test]
fn a_connection_with_an_answer_too_many_does_not_rest() {
    let context = &mut Context::from_waker(Waker::noop());
    for (left, rests) in [("", true), ("INFO {}\r\n", true), ("PONG\r\n", false)] {
        let (mut link, _server) = link();
        link.received = Received::of(left.as_bytes());
        assert_eq!(link.poll_settled(context), Poll::Ready(rests), "{left:?}");
    }
}
