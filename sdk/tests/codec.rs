//! The record: what goes in comes out, and nothing else is ever a signal.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use ready_probe_sdk::ErrorKind;
use ready_probe_sdk::freshness::{Observed, judge};
use ready_probe_sdk::host::{Epoch, Process};
use ready_probe_sdk::signal::{
    Announced, DecodeError, Instance, MAX_REASON_CHARS, MAX_RECORD_BYTES, Name, Signal, State,
    clean, clean_reason,
};
use serde_json::{Map, Value, json};

const NOW: u64 = 1_000_000;

fn state() -> impl Strategy<Value = State> {
    prop_oneof![
        Just(State::Starting),
        Just(State::Ready),
        Just(State::NotReady),
        Just(State::Stopping)
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,10}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            btree_map(".{0,5}", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

prop_compose! {
    fn process()(
        host in option::of("[a-z]{1,20}"),
        pid in option::of(any::<u32>()),
        pid_start in option::of(any::<u64>()),
        boot_id in option::of("[0-9a-f-]{1,36}"),
        pid_ns in option::of(any::<u64>()),
        init_start in option::of(any::<u64>()),
        time_ns in option::of(any::<u64>()),
        mono_ms in option::of(any::<u64>()),
    ) -> (Option<String>, Option<u32>, Option<u64>, Option<String>, [Option<u64>; 4]) {
        (host, pid, pid_start, boot_id, [pid_ns, init_start, time_ns, mono_ms])
    }
}

prop_compose! {
    fn signal()(
        agent in "[A-Za-z0-9][A-Za-z0-9._-]{0,127}",
        state in state(),
        reason in option::of(".{0,100}"),
        details in btree_map(".{0,5}", value(), 0..4),
        ttl_ms in option::of(1_000..=3_600_000_u64),
        beat_ms in option::of(any::<u64>()),
        seq in any::<u64>(),
        (host, pid, pid_start, boot_id, [pid_ns, init_start, time_ns, mono_ms]) in process(),
        since in option::of(".{0,20}"),
        announced in option::of((".{0,20}", any::<bool>(), option::of(".{0,20}"))),
    ) -> Signal {
        Signal {
            v: 1,
            agent: Name::new(&agent).unwrap(),
            instance: Instance::of_process(host.as_deref().unwrap_or(""), 17, pid_start),
            state,
            reason: reason.map(|reason| clean_reason(&reason)),
            details: details.into_iter().collect(),
            ttl_ms,
            beat_ms,
            seq,
            host,
            pid,
            pid_start,
            boot_id,
            pid_ns,
            init_start,
            time_ns,
            container: None,
            mono_ms,
            since,
            sdk: None,
            announced: announced.map(|(store, ok, reason)| Announced { store, ok, reason }),
        }
    }
}

fn epoch() -> Epoch {
    Epoch {
        boot_id: Some("b".into()),
        pid_ns: Some(1),
        init_start: Some(2),
        time_ns: None,
    }
}

fn good() -> Value {
    json!({
        "v": 1, "agent": "translator", "instance": "h-17-5", "state": "ready", "reason": null,
        "details": {}, "ttl_ms": 60_000, "pid": 17, "pid_start": 5, "boot_id": "b", "pid_ns": 1,
        "init_start": 2, "mono_ms": NOW - 1_000,
    })
}

fn decode(value: &Value) -> Result<Signal, DecodeError> {
    Signal::decode(&serde_json::to_vec(value).unwrap())
}

fn is_ready(bytes: &[u8]) -> bool {
    let observed = Observed {
        epoch: &epoch(),
        process: Process::Alive {
            start: 5,
            euid: Some(0),
        },
        now_ms: NOW,
    };
    Signal::decode(bytes).is_ok_and(|signal| judge(&signal, &observed).is_ok())
}

proptest! {
    #[test]
    fn every_signal_that_fits_comes_back_as_it_was(signal in signal()) {
        match signal.encode() {
            Ok(bytes) => {
                prop_assert!(bytes.len() <= MAX_RECORD_BYTES);
                prop_assert_eq!(Signal::decode(&bytes), Ok(signal));
            }
            Err(e) => prop_assert_eq!(e.kind(), ErrorKind::TooLarge),
        }
    }

    #[test]
    fn arbitrary_bytes_are_never_ready(bytes in vec(any::<u8>(), 0..5_000)) {
        prop_assert!(!is_ready(&bytes));
    }

    #[test]
    fn arbitrary_json_is_never_ready(value in value()) {
        prop_assert!(!is_ready(&serde_json::to_vec(&value).unwrap()));
    }

    #[test]
    fn a_record_cut_short_is_malformed(len in 0..100_usize) {
        let bytes = serde_json::to_vec(&good()).unwrap();
        let cut = Signal::decode(&bytes[..len]);
        prop_assert!(matches!(cut, Err(DecodeError::Malformed(_))), "{cut:?}");
    }

    #[test]
    fn the_front_of_one_record_and_the_rest_of_another_never_mix_states(at in 0..400_usize) {
        // What a reader may see of a record that is rewritten in place.
        let old = serde_json::to_vec(&good()).unwrap();
        let mut not_ready = good();
        not_ready["state"] = json!("not_ready");
        let new = serde_json::to_vec(&not_ready).unwrap();
        let at = at.min(old.len());
        let torn = [&new[..at], &old[at..]].concat();
        if let Ok(signal) = Signal::decode(&torn) {
            let whole = [&old, &new].into_iter().any(|r| Signal::decode(r).as_ref() == Ok(&signal));
            prop_assert!(whole, "{}", String::from_utf8_lossy(&torn));
        }
    }

    #[test]
    fn a_changed_byte_never_makes_a_record_that_is_not_ready_ready(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        for state in ["starting", "not_ready", "stopping"] {
            let mut record = good();
            record["state"] = json!(state);
            let mut bytes = serde_json::to_vec(&record).unwrap();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            prop_assert!(!is_ready(&bytes), "{}", String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn cleaned_text_is_one_printable_line_of_at_most_so_many_characters(
        text in any::<String>(),
        max in 1..300_usize,
    ) {
        let cleaned = clean(&text, max);
        prop_assert!(cleaned.chars().count() <= max);
        prop_assert!(!cleaned.chars().any(char::is_control));
        prop_assert_eq!(clean(&cleaned, max), cleaned);
    }

    #[test]
    fn a_name_is_accepted_exactly_when_it_follows_the_rule(text in "[a.é _-]{0,4}|[b-]{120,135}") {
        let rule = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let follows = text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.len() <= 128
            && text.chars().all(rule);
        prop_assert_eq!(Name::new(&text).is_ok(), follows);
    }
}

#[test]
fn the_record_in_the_documentation_is_ready() {
    assert!(is_ready(&serde_json::to_vec(&good()).unwrap()));
}

#[test]
fn keys_this_version_does_not_know_are_ignored() {
    let mut record = good();
    record["colour"] = json!({ "deep": [1, 2, 3] });
    assert!(is_ready(&serde_json::to_vec(&record).unwrap()));
}

#[test]
fn a_plain_client_may_publish_the_required_fields_alone() {
    let record = json!({
        "v": 1, "agent": "a", "instance": "a-1", "state": "starting", "ttl_ms": 1_000,
    });
    assert_eq!(decode(&record).unwrap().details, Map::new());
}

#[test]
fn a_record_of_another_version_is_said_to_be_one() {
    let mut record = good();
    record["v"] = json!(2);
    assert_eq!(decode(&record), Err(DecodeError::UnknownVersion(2)));
    let e = decode(&json!({ "v": 3, "who": "knows" })).unwrap_err();
    assert_eq!(
        e.to_string(),
        "record of version 3; this reader knows version 1 only"
    );
}

#[test]
fn what_breaks_a_limit_is_malformed() {
    let table = [
        (
            "v",
            json!(0),
            "record of version 0; this reader knows version 1 only",
        ),
        (
            "agent",
            json!("a b"),
            "malformed record: invalid name \"a b\": a name is a letter",
        ),
        (
            "instance",
            json!("x".repeat(201)),
            "malformed record: invalid instance",
        ),
        ("instance", json!(""), "malformed record: invalid instance"),
        (
            "state",
            json!("fine"),
            "malformed record: unknown variant `fine`",
        ),
        (
            "reason",
            json!("x".repeat(257)),
            "malformed record: reason longer than 256 characters",
        ),
        (
            "details",
            json!([]),
            "malformed record: invalid type: sequence, expected a map",
        ),
        (
            "ttl_ms",
            json!(999),
            "malformed record: a TTL of 999ms is out of range",
        ),
        (
            "ttl_ms",
            json!(3_600_001),
            "malformed record: a TTL of 3600001ms is out of range",
        ),
        ("ttl_ms", json!(-1), "malformed record: invalid value"),
        ("pid", json!("17"), "malformed record: invalid type: string"),
        (
            "mono_ms",
            json!(1.5),
            "malformed record: invalid type: floating point",
        ),
    ];
    for (field, value, want) in table {
        let mut record = good();
        record[field] = value;
        let e = decode(&record).unwrap_err().to_string();
        assert!(e.starts_with(want), "{field}: {e}");
    }
}

#[test]
fn each_required_field_is_required() {
    for field in ["v", "agent", "instance", "state", "ttl_ms"] {
        let mut record = good();
        record.as_object_mut().unwrap().remove(field);
        let e = decode(&record).unwrap_err().to_string();
        assert!(
            e.starts_with(&format!("malformed record: missing field `{field}`")),
            "{e}"
        );
    }
}

#[test]
fn a_field_given_twice_is_malformed() {
    let text = serde_json::to_string(&good()).unwrap();
    let twice = text.replacen('{', "{\"state\":\"not_ready\",", 1);
    assert!(Signal::decode(twice.as_bytes()).is_err());
}

#[test]
fn the_largest_record_is_read_and_one_byte_more_is_not() {
    let mut bytes = serde_json::to_vec(&good()).unwrap();
    bytes.resize(MAX_RECORD_BYTES, b' ');
    assert!(is_ready(&bytes));
    bytes.push(b' ');
    assert_eq!(Signal::decode(&bytes), Err(DecodeError::TooLarge));
}

#[test]
fn details_that_do_not_fit_are_refused_with_what_to_do() {
    let mut signal = decode(&good()).unwrap();
    signal.details.insert("x".into(), json!("y".repeat(5_000)));
    let e = signal.encode().unwrap_err();
    assert_eq!(e.kind(), ErrorKind::TooLarge);
    let text = e.to_string();
    assert!(
        text.starts_with("the signal of agent translator would take 5"),
        "{text}"
    );
    assert!(
        text.ends_with("at most 4096 are allowed: shorten the details"),
        "{text}"
    );
}

#[test]
fn a_reason_of_another_writer_cannot_forge_a_line() {
    let mut record = good();
    record["reason"] = json!("a\nhealthy\u{202e}\u{7}");
    assert_eq!(decode(&record).unwrap().reason.unwrap(), "a healthy  ");
}

#[test]
fn a_long_reason_is_cut_and_shows_it() {
    let cut = clean_reason(&"é".repeat(300));
    assert_eq!(cut.chars().count(), MAX_REASON_CHARS);
    assert!(cut.ends_with("é…"));
}
