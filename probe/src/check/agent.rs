//! Is an agent of this container ready?

use std::io::Error;

use ready_probe_sdk::clock;
use ready_probe_sdk::folder::{Believed, Folder, Found};
use ready_probe_sdk::freshness::{self, NotReady, Observed};
use ready_probe_sdk::host::Epoch;
use ready_probe_sdk::signal::{DecodeError, Name, clean};

use super::min_instances::{NotReadyRecord, judge};
use crate::outcome::Outcome;
use crate::redact::Secrets;

/// How much is said of an agent, what it says itself included.
const MAX_TEXT_CHARS: usize = 400;
/// How many agents are named instead of the one that is missing.
const MAX_OTHERS: usize = 3;

/// Asks the folder of signals for the agent of that name.
pub fn ask(folder: &Folder, epoch: &Epoch, secrets: &Secrets, name: &Name, min: usize) -> Outcome {
    match folder.read(name) {
        Ok(found) if found.believed.is_empty() => judge_found(&found, epoch, secrets, min)
            .with_text(|text| text + &others(folder, epoch, name)),
        Ok(found) => judge_found(&found, epoch, secrets, min),
        Err(e) => unreadable(&e),
    }
}

/// Who has published in this life of the container, for whoever looks for a name that has not: it may be misspelt.
fn others(folder: &Folder, epoch: &Epoch, missing: &Name) -> String {
    let names = folder.agents().unwrap_or_default();
    let has_published = |name: &&Name| {
        let found = folder.read(name).unwrap_or_default();
        *name != missing && !found.believed.iter().all(|r| is_other_epoch(r, epoch))
    };
    // One more than is named, to know that there are more.
    let published: Vec<&str> = names
        .iter()
        .filter(has_published)
        .take(MAX_OTHERS + 1)
        .map(Name::as_str)
        .collect();
    match published.split_at_checked(MAX_OTHERS) {
        Some((named, [_, ..])) => format!("; others have: {} and more", named.join(", ")),
        _ if published.is_empty() => String::new(),
        _ => format!("; others have: {}", published.join(", ")),
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
    let now_ms = clock::mono_ms();
    let records = found.believed.iter().map(|record| {
        let judged = judge_record(record, epoch, secrets, now_ms);
        judged.map(|()| not_announced(record, secrets))
    });
    let judged = judge(records, &found.ignored, min);
    judged.with_text(|text| clean(&text, MAX_TEXT_CHARS))
}

fn is_other_epoch(record: &Believed, epoch: &Epoch) -> bool {
    record
        .signal
        .as_ref()
        .is_ok_and(|signal| freshness::same_epoch(signal, epoch) == Err(NotReady::OtherEpoch))
}

/// Why others can't see that this agent is ready.
fn not_announced(record: &Believed, secrets: &Secrets) -> Option<String> {
    let announced = record.signal.as_ref().ok()?.announced.as_ref()?;
    if announced.ok {
        return None;
    }
    let reason = announced.reason.as_deref().unwrap_or("no reason given");
    let text = format!("not announced to {}: {reason}", announced.store);
    Some(secrets.quote(&text, MAX_TEXT_CHARS))
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
