//! Is an agent ready, wherever it runs? What `READY_STORE` says of it.

use ready_probe_sdk::connect::Endpoint;
use ready_probe_sdk::signal::Name;
use ready_probe_sdk::store::{Seen, Store};

use crate::link::store::Remote;
use crate::outcome::Outcome;
use crate::redact::Secrets;

/// How much of what others say is quoted.
const MAX_QUOTE_CHARS: usize = 400;
/// How many instances are named in a report.
const MAX_NAMED: usize = 3;
/// A thousand instances of one agent take less, unless they tell a good deal.
const MAX_REPLY_BYTES: usize = 1024 * 1024;

/// Asks one of the store's servers.
pub async fn ask(
    remote: &Remote,
    endpoint: &Endpoint,
    secrets: &Secrets,
    name: &Name,
    min: usize,
) -> Outcome {
    let unknown = |cause: &str| {
        let store = remote.address.redacted();
        let cause = remote.quote(cause, secrets, MAX_QUOTE_CHARS);
        Outcome::unknown(format!("{store}: {cause}"))
    };
    let opened = remote.open(endpoint, MAX_REPLY_BYTES, secrets).await;
    let mut store = match opened {
        Ok(store) => store,
        Err(cause) => return unknown(&cause),
    };
    match store.find_ready(name, min).await {
        Ok(seen) => judge(&seen, min, secrets),
        Err(failure) => unknown(&failure.cause),
    }
}

/// What the instances in the store say together. Their life is the store's to end: what is there is
/// alive, unless nothing could ever remove it.
fn judge(seen: &[Seen], min: usize, secrets: &Secrets) -> Outcome {
    let mut ready = 0_usize;
    let mut others = Vec::new();
    for one in seen {
        match judge_one(one) {
            Ok(()) => ready += 1,
            Err(why) => others.push(secrets.quote(&why, MAX_QUOTE_CHARS)),
        }
    }
    let count = ready + others.len();
    if ready >= min {
        if others.is_empty() {
            return Outcome::pass();
        }
        return Outcome::Pass(format!("{ready} of {count} instances; {}", named(&others)));
    }
    match (ready, others.len()) {
        (0, 0) => Outcome::absent("no signal in the store"),
        // The others may be back with the next beat, if the store has lost them.
        (_, 0) => Outcome::absent(format!("{ready} of {count} instances ready, {min} needed")),
        (0, 1) if min == 1 => Outcome::fail(named(&others)),
        (..) => Outcome::fail(format!(
            "{ready} of {count} instances ready, {min} needed; {}",
            named(&others)
        )),
    }
}

fn judge_one(seen: &Seen) -> Result<(), String> {
    if seen.is_ready() {
        return Ok(());
    }
    let signal = match &seen.signal {
        Ok(signal) => signal,
        Err(e) => return Err(format!("{e} (instance {})", seen.instance)),
    };
    if seen.immortal {
        return Err(format!(
            "its record has no TTL, so it says nothing about its life (instance {})",
            seen.instance
        ));
    }
    match (signal.state, signal.reason.as_deref().map(str::trim)) {
        (state, Some(reason)) if !reason.is_empty() => Err(format!("{state}: {reason}")),
        (state, _) => Err(state.to_string()),
    }
}

fn named(others: &[String]) -> String {
    let mut text: Vec<&str> = others.iter().take(MAX_NAMED).map(String::as_str).collect();
    let more;
    if others.len() > MAX_NAMED {
        more = format!("{} more", others.len() - MAX_NAMED);
        text.push(&more);
    }
    text.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ready_probe_sdk::signal::{DecodeError, Signal};

    fn seen(state: &str, reason: Option<&str>) -> Seen {
        let record = serde_json::json!({
            "v": 1, "agent": "a", "instance": "h-1", "state": state, "reason": reason, "ttl_ms": 60_000,
        });
        Seen {
            agent: Name::new("a").unwrap(),
            instance: "h-1".to_owned(),
            signal: Signal::decode(record.to_string().as_bytes()),
            immortal: false,
        }
    }

    #[test]
    fn truth_table() {
        let ready = || seen("ready", None);
        let no = || seen("not_ready", Some("reloading"));
        let immortal = || Seen {
            immortal: true,
            ..ready()
        };
        let malformed = || Seen {
            signal: Err(DecodeError::TooLarge),
            ..ready()
        };
        let table: [(Vec<Seen>, usize, &str); 12] = [
            (vec![ready()], 1, "pass "),
            (vec![ready(), ready()], 2, "pass "),
            (vec![no()], 1, "fail not_ready: reloading"),
            (vec![seen("starting", None)], 1, "fail starting"),
            (
                vec![seen("stopping", Some("deploy"))],
                1,
                "fail stopping: deploy",
            ),
            (
                vec![ready(), no()],
                1,
                "pass 1 of 2 instances; not_ready: reloading",
            ),
            (
                vec![ready(), no()],
                2,
                "fail 1 of 2 instances ready, 2 needed; not_ready: reloading",
            ),
            (vec![], 1, "absent no signal in the store"),
            (vec![ready()], 2, "absent 1 of 1 instances ready, 2 needed"),
            (
                vec![immortal()],
                1,
                "fail its record has no TTL, so it says nothing about its life (instance h-1)",
            ),
            (
                vec![malformed()],
                1,
                "fail record larger than 4096 bytes (instance h-1)",
            ),
            (
                vec![no(), no(), no(), no()],
                1,
                "fail 0 of 4 instances ready, 1 needed; not_ready: reloading; not_ready: reloading; \
                 not_ready: reloading; 1 more",
            ),
        ];
        for (seen, min, want) in table {
            let outcome = judge(&seen, min, &Secrets::default());
            let word = match &outcome {
                Outcome::Fail(failure) if failure.absent => "absent",
                outcome => outcome.word(),
            };
            assert_eq!(format!("{word} {}", outcome.text()), want);
        }
    }
}
