use ready_probe_sdk::signal::{DecodeError, Signal};

use super::*;

fn seen(instance: &str, state: &str, reason: Option<&str>) -> Seen {
    let record = serde_json::json!({
        "v": 1, "agent": "a", "instance": instance, "state": state, "reason": reason, "ttl_ms": 60_000,
    });
    Seen {
        agent: Name::new("a").unwrap(),
        instance: instance.to_owned(),
        signal: Signal::decode(record.to_string().as_bytes()),
        expiry: Expiry::Timely,
        age_ms: None,
    }
}

fn ready(instance: &str) -> Seen {
    seen(instance, "ready", None)
}

fn no(instance: &str) -> Seen {
    seen(instance, "not_ready", Some("reloading"))
}

fn late(seen: Seen) -> Seen {
    Seen {
        expiry: Expiry::Late {
            left_ms: 3_600_000,
            ttl_ms: 60_000,
        },
        ..seen
    }
}

fn overdue(seen: Seen) -> Seen {
    Seen {
        expiry: Expiry::Overdue { by_ms: 9_000 },
        ..seen
    }
}

fn immortal(seen: Seen) -> Seen {
    Seen {
        expiry: Expiry::Never,
        ..seen
    }
}

fn malformed(seen: Seen) -> Seen {
    Seen {
        signal: Err(DecodeError::TooLarge),
        ..seen
    }
}

const AWAY: &str = "h:1: connection refused";

#[test]
fn truth_table() {
    let quiet = &[][..];
    let away = &[AWAY][..];
    let ready_text = Judged::Ready(String::new());
    let is_no = |text: &str| Judged::No(text.to_owned());
    let is_absent = |text: &str| Judged::Absent(text.to_owned());
    let is_doubtful = |text: &str| Judged::Doubtful(text.to_owned());
    let is_away = |text: &str| Judged::Away(text.to_owned());
    let kept = "the store would keep its record for 1h; its TTL is 1m (instance x)";
    let over = "the store still has its record, which should have expired 9s ago (instance x)";
    let for_ever = "its record has no TTL, so it says nothing about its life (instance x)";
    let table: Vec<(Vec<Seen>, &[&str], usize, Judged)> = vec![
        (vec![ready("x")], quiet, 1, ready_text),
        (vec![ready("x")], away, 1, Judged::Ready(String::new())),
        (
            vec![ready("x"), ready("y")],
            quiet,
            2,
            Judged::Ready(String::new()),
        ),
        (
            vec![ready("x"), no("y")],
            quiet,
            1,
            Judged::Ready("1 of 2 instances ready; not_ready: reloading".to_owned()),
        ),
        (
            vec![ready("y"), late(ready("x"))],
            quiet,
            1,
            Judged::Ready(format!("1 of 2 instances ready; {kept}")),
        ),
        // A no, also while another server is away.
        (vec![no("x")], quiet, 1, is_no("not_ready: reloading")),
        (vec![no("x")], away, 1, is_no("not_ready: reloading")),
        (
            vec![seen("x", "starting", None)],
            quiet,
            1,
            is_no("starting"),
        ),
        (
            vec![seen("x", "stopping", Some("deploy"))],
            quiet,
            1,
            is_no("stopping: deploy"),
        ),
        (
            vec![ready("x"), no("y")],
            quiet,
            2,
            is_no("1 of 2 instances ready, 2 needed; not_ready: reloading"),
        ),
        (vec![immortal(ready("x"))], quiet, 1, is_no(for_ever)),
        (
            vec![malformed(ready("x"))],
            quiet,
            1,
            is_no("record larger than 4096 bytes (instance x)"),
        ),
        (
            vec![no("a"), no("b"), no("c"), no("d")],
            quiet,
            1,
            is_no(
                "0 of 4 instances ready, 1 needed; not_ready: reloading; not_ready: reloading; \
                 not_ready: reloading; 1 more",
            ),
        ),
        // Nobody, or too few.
        (vec![], quiet, 1, is_absent("no signal in the store")),
        (
            vec![ready("x")],
            quiet,
            2,
            is_absent("1 of 1 instances ready, 2 needed"),
        ),
        (vec![], away, 1, is_away(AWAY)),
        (
            vec![ready("x")],
            away,
            2,
            is_away(&format!("1 of 1 instances ready, 2 needed; {AWAY}")),
        ),
        // What the store does not end is neither, whatever it says.
        (vec![late(ready("x"))], quiet, 1, is_doubtful(kept)),
        (vec![late(ready("x"))], away, 1, is_doubtful(kept)),
        (vec![late(no("x"))], quiet, 1, is_doubtful(kept)),
        (vec![overdue(ready("x"))], quiet, 1, is_doubtful(over)),
        (
            vec![no("y"), overdue(ready("x"))],
            quiet,
            1,
            is_doubtful(&format!(
                "0 of 2 instances ready, 1 needed; {over}; not_ready: reloading"
            )),
        ),
        // Nor could it make up for the others' no.
        (
            vec![no("y"), late(ready("x"))],
            quiet,
            2,
            is_no(&format!(
                "0 of 2 instances ready, 2 needed; not_ready: reloading; {kept}"
            )),
        ),
    ];
    for (seen, failures, min, want) in table {
        let failures: Vec<String> = failures.iter().map(ToString::to_string).collect();
        let refs: Vec<&Seen> = seen.iter().collect();
        assert_eq!(judge(&refs, &failures, min), want, "{seen:?} {failures:?}");
    }
}
