//! The codec, without a server.

use super::*;

fn messages(wire: &[u8]) -> Result<Vec<Message>, String> {
    let mut received = Received::of(wire);
    let mut messages = Vec::new();
    while let Some(message) = next_message(&mut received)? {
        messages.push(message);
    }
    Ok(messages)
}

#[test]
fn messages_are_taken_whole_or_not_at_all() {
    let wire = b"+OK\r\nPONG\r\nPING\r\nINFO {}\r\n-ERR 'No luck'\r\nMSG s 1 r 2\r\nhi\r\nHMSG s 1 r 12 14\r\nNATS/1.0 503ok\r\n";
    let all = messages(wire).unwrap();
    assert_eq!(all.len(), 7);
    assert_eq!(all.get(4), Some(&Message::Error("No luck".into())));
    let answer = |head: &str, payload: &[u8]| {
        Message::Delivered(Delivered {
            subject: "s".to_owned(),
            head: head.to_owned(),
            payload: payload.to_vec(),
        })
    };
    assert_eq!(all.get(5), Some(&answer("", b"hi")));
    assert_eq!(all.last(), Some(&answer("NATS/1.0 503", b"ok")));
    for end in 0..wire.len() {
        let part = messages(wire.get(..end).unwrap()).unwrap();
        assert!(all.starts_with(&part), "cut at {end}");
    }
}

#[test]
fn garbage_is_said_to_be_garbage() {
    for wire in [
        "HTTP/1.1 400\r\n",
        "MSG\r\n",
        "MSG s 1 x\r\n",
        "MSG s 2 2\r\nhi\r\n",
        "MSG s 1 99999999\r\n",
        "HMSG s 1 9 3\r\nabc\r\n",
        "\r\n",
    ] {
        assert!(messages(wire.as_bytes()).is_err(), "{wire:?}");
    }
}

#[test]
fn a_status_and_headers_are_told_apart() {
    let of = |head: &str| {
        reply(Delivered {
            subject: String::new(),
            head: head.to_owned(),
            payload: Vec::new(),
        })
    };
    let none = of("NATS/1.0 503 No Responders\r\n\r\n");
    assert_eq!(
        (none.status, none.description.as_str()),
        (Some(503), "No Responders")
    );
    assert_eq!(of("NATS/1.0 204\r\n\r\n").status, Some(204));
    let record = of("NATS/1.0\r\nNats-TTL: 60s\r\nNats-Subject:$KV.a\r\n\r\n");
    assert_eq!(record.status, None);
    assert_eq!(record.header("nats-ttl"), Some("60s"));
    assert_eq!(record.header("Nats-Subject"), Some("$KV.a"));
    assert_eq!(of("").status, None);
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_codec_panic(wire in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
        let _ = messages(&wire);
    }

    #[test]
    fn no_sizes_make_the_codec_panic(kind in "MSG|HMSG", a in 0_u64..100_000, b in 0_u64..100_000, rest in "[ -~\r\n]{0,80}") {
        let _ = messages(format!("{kind} s 1 {a} {b}\r\n{rest}").as_bytes());
    }
}
