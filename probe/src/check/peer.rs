//! Is an agent ready, wherever it runs? The answer of `READY_STORE`.

mod look;

use ready_probe_sdk::connect::place::Place;
use ready_probe_sdk::signal::Name;
use ready_probe_sdk::store::{Expiry, Seen};

use crate::fleet::{Fleet, Id};
use crate::link::kept::KeptFor;
use crate::link::store;
use crate::newest::newest;
use crate::outcome::Outcome;
use crate::redact::Secrets;
use crate::time_limit::TimeLimit;
use look::Looks;

/// How much of what others say is quoted.
const MAX_QUOTE_CHARS: usize = 400;
/// How many instances are named in a report.
const MAX_NAMED: usize = 3;

/// Asks the store. Whom it has seen is returned only with an answer.
pub async fn ask(
    place: &Place,
    kept: Option<KeptFor<'_>>,
    limit: TimeLimit,
    secrets: &Secrets,
    name: &Name,
    min: usize,
) -> (Outcome, Option<Fleet>) {
    let judge = |looks: &Looks| judge(&newest(&looks.seen), &looks.failures, min);
    let enough = |looks: &Looks| judge(looks).decides();
    let looks = look::look(place, kept, limit, secrets, (name, min), enough).await;
    let quote = |text: &str| secrets.quote(text, MAX_QUOTE_CHARS);
    let outcome = match judge(&looks) {
        Judged::Ready(note) => Outcome::Pass(quote(&note)),
        Judged::No(reason) => Outcome::fail(quote(&reason)),
        Judged::Absent(reason) => Outcome::absent(quote(&reason)),
        Judged::Doubtful(cause) => Outcome::Unknown(quote(&cause)),
        Judged::Away(cause) => {
            let store = place.store.redacted();
            // A server may repeat our login, which may come from a file.
            let cause = store::quote(place, &cause, secrets, MAX_QUOTE_CHARS);
            Outcome::Unknown(format!("{store}: {cause}"))
        }
    };
    let fleet = match outcome {
        Outcome::Unknown(_) => None,
        Outcome::Pass(_) | Outcome::Blemished(_) | Outcome::Fail(_) => {
            Some(fleet(name, min, &newest(&looks.seen)))
        }
    };
    (outcome, fleet)
}

/// What the instances in a store say together.
#[derive(Debug, PartialEq, Eq)]
enum Judged {
    /// Enough of them are ready; with a note about the others.
    Ready(String),
    /// Too few, as some of them say.
    No(String),
    /// Too few are there.
    Absent(String),
    /// There would be enough if all records could be believed, but the store does not end some in
    /// time.
    Doubtful(String),
    /// Too few are there, and some servers could not be asked.
    Away(String),
}

impl Judged {
    /// Whether it holds, whatever other servers lack or do not answer.
    fn decides(&self) -> bool {
        match self {
            Self::Ready(_) | Self::No(_) => true,
            Self::Absent(_) | Self::Doubtful(_) | Self::Away(_) => false,
        }
    }
}

/// What one instance says.
enum InstanceWord {
    Ready,
    No(String),
    Doubtful(String),
}

/// The store ends the life of records: those that are there are alive, unless it does not. One
/// server's "no" counts although another is away; an absence does not.
fn judge(seen: &[&Seen], failures: &[String], min: usize) -> Judged {
    let (mut ready, mut doubtful) = (0_usize, Vec::new());
    let mut others = Vec::new();
    for word in seen.iter().map(|seen| word(seen)) {
        match word {
            InstanceWord::Ready => ready += 1,
            InstanceWord::No(why) => others.push(why),
            InstanceWord::Doubtful(why) => doubtful.push(why),
        }
    }
    let is_doubtful = ready + doubtful.len() >= min;
    let says_no = !others.is_empty();
    // The most important is named first.
    if is_doubtful {
        others.splice(0..0, doubtful);
    } else {
        others.append(&mut doubtful);
    }
    if ready >= min {
        return Judged::Ready(match others.len() {
            0 => String::new(),
            _ => format!(
                "{ready} of {} instances ready; {}",
                seen.len(),
                named(&others)
            ),
        });
    }
    let reason = match (ready, others.len()) {
        (0, 0) => "no signal in the store".to_owned(),
        (_, 0) => format!("{ready} of {ready} instances ready, {min} needed"),
        (0, 1) if min == 1 => named(&others),
        (..) => format!(
            "{ready} of {} instances ready, {min} needed; {}",
            seen.len(),
            named(&others)
        ),
    };
    match (is_doubtful, says_no, failures) {
        (true, ..) => Judged::Doubtful(reason),
        (false, true, _) => Judged::No(reason),
        // The others may be back with the next beat, if the store has lost them.
        (false, false, []) => Judged::Absent(reason),
        (false, false, failures) if ready == 0 => Judged::Away(failures.join("; ")),
        (false, false, failures) => Judged::Away(format!("{reason}; {}", failures.join("; "))),
    }
}

fn word(seen: &Seen) -> InstanceWord {
    if seen.is_ready() {
        return InstanceWord::Ready;
    }
    let instance = &seen.instance;
    let signal = match &seen.signal {
        Ok(signal) => signal,
        Err(e) => return InstanceWord::No(format!("{e} (instance {instance})")),
    };
    match seen.expiry {
        Expiry::Timely => {}
        Expiry::Never => {
            return InstanceWord::No(format!(
                "its record has no TTL, so it says nothing about its life (instance {instance})"
            ));
        }
        Expiry::Late { .. } | Expiry::Overdue { .. } => {
            return InstanceWord::Doubtful(format!("{} (instance {instance})", seen.expiry));
        }
    }
    InstanceWord::No(
        match (signal.state, signal.reason.as_deref().map(str::trim)) {
            (state, Some(reason)) if !reason.is_empty() => format!("{state}: {reason}"),
            (state, _) => state.to_string(),
        },
    )
}

fn fleet(name: &Name, min: usize, seen: &[&Seen]) -> Fleet {
    let (ready, others): (Vec<&Seen>, Vec<&Seen>) = seen.iter().partition(|seen| seen.is_ready());
    let id = |seen: &Seen| Id::of(&seen.instance);
    let ttl_ms = |seen: &Seen| seen.signal.as_ref().ok().and_then(|signal| signal.ttl_ms);
    Fleet {
        agent: name.clone(),
        min,
        ready: ready
            .into_iter()
            .filter_map(|seen| Some((id(seen), ttl_ms(seen)?)))
            .collect(),
        others: others.into_iter().map(id).collect(),
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
mod tests;
