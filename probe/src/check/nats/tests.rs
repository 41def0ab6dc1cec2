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

#[test]
fn truth_table() {
    let heard = |error: Option<&str>, answer: Option<(Option<u16>, &str)>| {
        let replies = answer.into_iter().map(|(status, payload)| Reply {
            status,
            payload: payload.as_bytes().to_vec(),
            ..Reply::default()
        });
        Exchanged {
            replies: vec![replies.collect()],
            error: error.map(str::to_owned),
        }
    };
    let with_jetstream = Info {
        jetstream: true,
        ..Info::default()
    };
    let without = Info::default();
    let no_responders = Some((Some(503), ""));
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
            "nats://h#bucket=b&not",
            &with_jetstream,
            heard(None, Some((None, &no_stream))),
            "pass bucket b does not exist",
        ),
        (
            "nats://h#bucket=b&not",
            &with_jetstream,
            heard(None, Some((None, "{}"))),
            "fail bucket b exists, and must not",
        ),
        (
            "nats://h#bucket=b&not",
            &without,
            heard(None, no_responders),
            "unknown JetStream is not enabled",
        ),
        (
            "nats://h#bucket=b&not",
            &with_jetstream,
            heard(None, Some((None, &not_for_account))),
            "unknown JetStream is not enabled for this account",
        ),
        (
            "nats://h#bucket=b&not",
            &with_jetstream,
            heard(None, Some((None, &busy))),
            "unknown d",
        ),
        (
            "nats://h#bucket=b&not",
            &with_jetstream,
            heard(Some("gone"), None),
            "unknown gone",
        ),
        (
            "nats://h#jetstream&not",
            &without,
            heard(None, no_responders),
            "pass JetStream is not enabled",
        ),
        (
            "nats://h#jetstream&not",
            &with_jetstream,
            heard(None, Some((None, "{}"))),
            "fail JetStream is enabled, and must not be",
        ),
        (
            "nats://h#bucket=b&jetstream&not",
            &with_jetstream,
            heard(None, Some((None, &no_stream))),
            "fail JetStream is enabled, and must not be",
        ),
        (
            "nats://h#bucket=b&jetstream&not",
            &with_jetstream,
            heard(None, Some((None, &not_for_account))),
            "pass JetStream is not enabled for this account",
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
