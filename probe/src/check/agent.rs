//! Is an agent of this container ready?

use std::io::Error;

use ready_probe_sdk::clock;
use ready_probe_sdk::folder::{Believed, Folder, Found};
use ready_probe_sdk::freshness::{self, NotReady, Observed};
use ready_probe_sdk::host::Epoch;
use ready_probe_sdk::signal::{DecodeError, Name, clean};

use crate::outcome::Outcome;
use crate::redact::Secrets;

/// How much is said of an agent, what it says itself included.
const MAX_TEXT_CHARS: usize = 400;
/// How many instances are named in a report.
const MAX_NAMED: usize = 3;

/// Asks the folder of signals.
pub fn ask(folder: &Folder, epoch: &Epoch, secrets: &Secrets, name: &Name, min: usize) -> Outcome {
    match folder.read(name) {
        Ok(found) => judge_found(&found, epoch, secrets, min),
        Err(e) => unreadable(&e),
    }
}

/// The same of one instance, for an agent that nobody has named. Nothing where it has not published in
/// this life of the container.
pub fn ask_discovered(
    folder: &Folder,
    epoch: &Epoch,
    secrets: &Secrets,
    name: &Name,
) -> Option<Outcome> {
    match folder.read(name) {
        Ok(found) if found.believed.iter().all(|r| is_other_epoch(r, epoch)) => None,
        Ok(found) => Some(judge_found(&found, epoch, secrets, 1)),
        Err(e) => Some(unreadable(&e)),
    }
}

fn unreadable(e: &Error) -> Outcome {
    Outcome::unknown(format!("the folder of signals can't be read: {e}"))
}

fn judge_found(found: &Found, epoch: &Epoch, secrets: &Secrets, min: usize) -> Outcome {
    // The clock is read after the records: no believed beat can lie in its future.
    let judged = judge(found, epoch, secrets, clock::mono_ms(), min);
    judged.with_text(|text| clean(&text, MAX_TEXT_CHARS))
}

fn is_other_epoch(record: &Believed, epoch: &Epoch) -> bool {
    record
        .signal
        .as_ref()
        .is_ok_and(|signal| freshness::same_epoch(signal, epoch) == Err(NotReady::OtherEpoch))
}

fn judge(found: &Found, epoch: &Epoch, secrets: &Secrets, now_ms: u64, min: usize) -> Outcome {
    let mut ready = 0_usize;
    let mut others = Vec::new();
    let mut earlier = 0_usize;
    let mut unknown = 0_usize;
    let mut unannounced = None;
    for record in &found.believed {
        match judge_record(record, epoch, secrets, now_ms) {
            Ok(()) => {
                ready += 1;
                unannounced = unannounced.or_else(|| not_announced(record));
            }
            Err(NotReadyRecord { earlier: true, .. }) => earlier += 1,
            Err(not_ready) => {
                unknown += usize::from(not_ready.unknown);
                others.push(not_ready);
            }
        }
    }
    let ignored = match found.ignored.as_slice() {
        [] => String::new(),
        [one] => format!(" ({one})"),
        [first, rest @ ..] => format!(" ({first}, and {} more)", rest.len()),
    };
    // What matters most is named first.
    others.sort_by_key(|other| !other.broken);
    let count = ready + others.len();
    if ready >= min {
        let note = if others.is_empty() {
            String::new()
        } else {
            format!("{ready} of {count} instances ready; {}", named(&others))
        };
        let note = format!("{note}{ignored}").trim_start().to_owned();
        let is_broken = others.iter().any(|other| other.broken);
        return match unannounced {
            Some(why) if note.is_empty() => Outcome::Blemished(why),
            Some(why) => Outcome::Blemished(format!("{why}; {note}")),
            None if is_broken => Outcome::Blemished(note),
            None => Outcome::Pass(note),
        };
    }
    let reason = match (ready, others.len(), earlier) {
        (0, 0, 0) => "no signal published".to_owned(),
        (0, 0, _) => NotReady::OtherEpoch.to_string(),
        (0, 1, _) if min == 1 => named(&others),
        (_, 0, _) => format!("{ready} of {count} instances ready, {min} needed"),
        (..) => format!(
            "{ready} of {count} instances ready, {min} needed; {}",
            named(&others)
        ),
    };
    let reason = format!("{reason}{ignored}");
    // They may be ready as well.
    if ready + unknown >= min {
        return Outcome::Unknown(reason);
    }
    if others.iter().all(|not_ready| not_ready.starting) {
        return Outcome::starting(reason);
    }
    Outcome::fail(reason)
}

/// Why others can't see that this agent is ready.
fn not_announced(record: &Believed) -> Option<String> {
    let announced = record.signal.as_ref().ok()?.announced.as_ref()?;
    if announced.ok {
        return None;
    }
    let reason = announced.reason.as_deref().unwrap_or("no reason given");
    Some(format!("not announced to {}: {reason}", announced.store))
}

/// Why one record does not count.
struct NotReadyRecord {
    reason: String,
    starting: bool,
    earlier: bool,
    /// It is dead, or hangs.
    broken: bool,
    /// Nobody can tell.
    unknown: bool,
}

fn judge_record(
    record: &Believed,
    epoch: &Epoch,
    secrets: &Secrets,
    now_ms: u64,
) -> Result<(), NotReadyRecord> {
    let quote = |text: &str| secrets.quote(text, MAX_TEXT_CHARS);
    let signal = match &record.signal {
        Ok(signal) => signal,
        Err(e) => {
            let why = match e {
                DecodeError::Malformed(what) => DecodeError::Malformed(quote(what)),
                own_words => own_words.clone(),
            };
            return Err(NotReadyRecord {
                reason: format!("{why} (process {})", record.pid),
                starting: false,
                earlier: false,
                broken: false,
                unknown: false,
            });
        }
    };
    let observed = Observed {
        epoch,
        process: record.process,
        now_ms,
    };
    let judged = freshness::judge(signal, &observed);
    judged.map(drop).map_err(|why| {
        let (earlier, starting) = (why == NotReady::OtherEpoch, why.is_starting());
        let broken = why.is_broken();
        let unknown = matches!(why, NotReady::OtherTimeNamespace { .. });
        let why = match why {
            NotReady::Says { state, reason } => NotReady::Says {
                state,
                reason: reason.as_deref().map(quote),
            },
            NotReady::ProcessGone {
                pid,
                last_beat_ms,
                reason,
            } => NotReady::ProcessGone {
                pid,
                last_beat_ms,
                reason: reason.as_deref().map(quote),
            },
            own_words => own_words,
        };
        NotReadyRecord {
            reason: why.to_string(),
            starting,
            earlier,
            broken,
            unknown,
        }
    })
}

fn named(others: &[NotReadyRecord]) -> String {
    let mut text: Vec<&str> = others
        .iter()
        .take(MAX_NAMED)
        .map(|other| other.reason.as_str())
        .collect();
    let more;
    if others.len() > MAX_NAMED {
        more = format!("{} more", others.len() - MAX_NAMED);
        text.push(&more);
    }
    text.join("; ")
}
