//! The newest word of each instance, if several servers of one store were asked.
//!
//! An agent announces to one of them at a time, and to another if that one fails: the first may
//! still hold what it said before.

use ready_probe_sdk::signal::Name;
use ready_probe_sdk::store::Seen;

/// One word of each instance, from whichever server; sorted by agent and instance.
pub fn newest(seen: &[Seen]) -> Vec<&Seen> {
    let mut newest: Vec<&Seen> = seen.iter().collect();
    newest.sort_by(|a, b| place(a).cmp(&place(b)).then(order(b).cmp(&order(a))));
    newest.dedup_by(|later, first| place(later) == place(first));
    newest
}

fn place(seen: &Seen) -> (&Name, &str) {
    (&seen.agent, &seen.instance)
}

/// Sorts the latest word of an instance to the top. Its writer counts its words; a record that
/// can't be read says nothing. If two can't be told apart, the one that is not ready counts.
fn order(seen: &Seen) -> (bool, u64, Option<u64>, bool) {
    match &seen.signal {
        Ok(signal) => (true, signal.seq, signal.mono_ms, !seen.is_ready()),
        Err(_) => (false, 0, None, true),
    }
}

#[cfg(test)]
mod tests {
    use ready_probe_sdk::signal::{DecodeError, Signal};
    use ready_probe_sdk::store::Expiry;

    use super::*;

    fn word(agent: &str, instance: &str, state: &str, (seq, mono_ms): (u64, u64)) -> Seen {
        let record = serde_json::json!({
            "v": 1, "agent": agent, "instance": instance, "state": state, "ttl_ms": 60_000,
            "seq": seq, "mono_ms": mono_ms,
        });
        Seen {
            agent: Name::new(agent).unwrap(),
            instance: instance.to_owned(),
            signal: Signal::decode(record.to_string().as_bytes()),
            expiry: Expiry::Timely,
            age_ms: None,
        }
    }

    fn ready(said: (u64, u64)) -> Seen {
        word("a", "x", "ready", said)
    }

    fn no(said: (u64, u64)) -> Seen {
        word("a", "x", "not_ready", said)
    }

    fn immortal(seen: Seen) -> Seen {
        Seen {
            expiry: Expiry::Never,
            ..seen
        }
    }

    fn malformed() -> Seen {
        Seen {
            signal: Err(DecodeError::TooLarge),
            ..ready((9, 9))
        }
    }

    #[test]
    fn the_word_that_was_said_last_counts_whichever_server_has_it() {
        let table = [
            (ready((1, 9)), no((2, 1)), no((2, 1))),
            (ready((3, 1)), no((2, 9)), ready((3, 1))),
            (ready((0, 1)), no((0, 2)), no((0, 2))),
            (ready((0, 3)), no((0, 2)), ready((0, 3))),
            // They can't be told apart.
            (ready((1, 1)), no((1, 1)), no((1, 1))),
            (
                immortal(ready((1, 1))),
                ready((1, 1)),
                immortal(ready((1, 1))),
            ),
            (immortal(ready((1, 1))), ready((2, 2)), ready((2, 2))),
            (malformed(), ready((0, 0)), ready((0, 0))),
            (malformed(), no((0, 0)), no((0, 0))),
        ];
        for (one, other, want) in table {
            for seen in [[one.clone(), other.clone()], [other, one]] {
                let [got] = newest(&seen).try_into().unwrap();
                assert_eq!((&got.signal, got.expiry), (&want.signal, want.expiry));
            }
        }
    }

    #[test]
    fn instances_and_agents_stand_beside_each_other() {
        let seen = [("b", "x"), ("a", "y"), ("a", "x"), ("a", "y")];
        let seen = seen.map(|(agent, instance)| word(agent, instance, "ready", (1, 1)));
        let places: Vec<(&str, &str)> = newest(&seen)
            .into_iter()
            .map(|seen| (seen.agent.as_str(), seen.instance.as_str()))
            .collect();
        assert_eq!(places, [("a", "x"), ("a", "y"), ("b", "x")]);
    }
}
