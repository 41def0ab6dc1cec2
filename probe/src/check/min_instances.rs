//! How many instances of an agent must be ready (`#min=`): what their records say together.

use ready_probe_sdk::freshness::NotReady;

use crate::outcome::Outcome;

/// How many instances are named in a report.
const MAX_NAMED: usize = 3;

/// Why one record does not count.
pub(super) struct NotReadyRecord {
    pub(super) reason: String,
    pub(super) starting: bool,
    pub(super) earlier: bool,
    /// It is dead, or hangs.
    pub(super) broken: bool,
    /// Nobody can tell.
    pub(super) unknown: bool,
}

/// The sum of an agent's records: of one that counts, why others can't see that, if they can't.
pub(super) fn judge(
    records: impl Iterator<Item = Result<Option<String>, NotReadyRecord>>,
    ignored: &[String],
    min: usize,
) -> Outcome {
    let mut ready = 0_usize;
    let mut others = Vec::new();
    let mut earlier = 0_usize;
    let mut unknown = 0_usize;
    let mut unannounced = None;
    for record in records {
        match record {
            Ok(not_announced) => {
                ready += 1;
                unannounced = unannounced.or(not_announced);
            }
            Err(NotReadyRecord { earlier: true, .. }) => earlier += 1,
            Err(not_ready) => {
                unknown += usize::from(not_ready.unknown);
                others.push(not_ready);
            }
        }
    }
    let ignored = match ignored {
        [] => String::new(),
        [one] => format!(" ({one})"),
        [first, rest @ ..] => format!(" ({first}, and {} more)", rest.len()),
    };
    // What matters most is named first.
    let (mut others, not_broken): (Vec<_>, Vec<_>) =
        others.into_iter().partition(|other| other.broken);
    others.extend(not_broken);
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
