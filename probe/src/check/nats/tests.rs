use super::*;
use crate::target::options::Options;
use crate::target::{Kind, Target};

fn target(text: &str) -> NatsTarget {
    let mut secrets = Secrets::default();
    match Target::parse(text, Options::default(), &mut secrets)
        .unwrap()
        .kind
    {
        Kind::Nats(nats) => nats,
        _ => panic!("not nats"),
    }
}

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
    assert_eq!(all.get(5), Some(&Message::Answer(None, b"hi".to_vec())));
    assert_eq!(
        all.last(),
        Some(&Message::Answer(
            Some("NATS/1.0 503".into()),
            b"ok".to_vec()
        ))
    );
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
fn truth_table() {
    let heard = |error: Option<&str>, answer: Option<(Option<&str>, &str)>| Heard {
        pong: error.is_none(),
        error: error.map(str::to_owned),
        answer: answer.map(|(s, p)| (s.map(str::to_owned), p.as_bytes().to_vec())),
        proof: Vec::new(),
    };
    let with_jetstream = Info {
        jetstream: true,
        ..Info::default()
    };
    let without = Info::default();
    let no_responders = Some((Some("NATS/1.0 503"), ""));
    let api =
        |code: u32| format!(r#"{{"error":{{"code":503,"err_code":{code},"description":"d"}}}}"#);
    let (not_for_account, not_enabled, no_stream, busy) =
        (api(10_039), api(10_076), api(10_059), api(10_008));
    let table = [
        ("nats://h", &without, heard(None, None), "pass "),
        (
            "nats://u:hunter2@h",
            &without,
            heard(Some("Authorization Violation"), None),
            "unknown Authorization Violation",
        ),
        (
            "nats://h#jetstream",
            &without,
            heard(None, no_responders),
            "fail JetStream is not enabled",
        ),
        (
            "nats://h#jetstream",
            &with_jetstream,
            heard(None, no_responders),
            "unknown JetStream does not answer",
        ),
        (
            "nats://h#jetstream",
            &with_jetstream,
            heard(None, Some((None, "{}"))),
            "pass ",
        ),
        (
            "nats://h#jetstream",
            &with_jetstream,
            heard(None, Some((None, &not_for_account))),
            "fail JetStream is not enabled for this account",
        ),
        (
            "nats://h#jetstream",
            &with_jetstream,
            heard(None, Some((None, &not_enabled))),
            "fail JetStream is not enabled",
        ),
        (
            "nats://h#bucket=b",
            &with_jetstream,
            heard(None, Some((None, &no_stream))),
            "fail bucket b does not exist",
        ),
        (
            "nats://h#bucket=b",
            &with_jetstream,
            heard(None, Some((None, &busy))),
            "unknown d",
        ),
        (
            "nats://h#bucket=b",
            &with_jetstream,
            heard(None, Some((None, "x"))),
            "unknown it does not speak JetStream's protocol",
        ),
        (
            "tls://h#insecure",
            &without,
            heard(None, None),
            "pass certificate not verified",
        ),
    ];
    for (text, info, heard, want) in table {
        let outcome = judge(&target(text), info, &heard, &Secrets::default());
        assert_eq!(
            format!("{} {}", outcome.word(), outcome.text()),
            want,
            "{text}"
        );
    }
}

#[test]
fn a_credentials_file_is_read_by_its_sections() {
    let creds = "-----BEGIN NATS USER JWT-----\nabc.def\n------END NATS USER JWT------\n\n\
                 ************************* IMPORTANT *************************\n\
                 -----BEGIN USER NKEY SEED-----\nSUAxyz\n------END USER NKEY SEED------\n";
    assert_eq!(creds_section(creds, "JWT"), Some("abc.def"));
    assert_eq!(creds_section(creds, "SEED"), Some("SUAxyz"));
    assert_eq!(creds_section("nothing", "SEED"), None);
}

#[test]
fn an_invalid_seed_is_not_quoted() {
    let error = key_pair("SUASECRETSECRET").err().unwrap();
    assert!(!error.contains("SECRET"), "{error}");
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
