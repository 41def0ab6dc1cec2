//! Asks all checks at once, and ends at the deadline.
//!
//! A function of (checks, what this container is, deadline); it can be called again in the same process.

use std::time::Instant;

use futures_util::stream::{FuturesUnordered, StreamExt};
use ready_probe_sdk::clock;
use ready_probe_sdk::connect::looked_up_once;

use super::after_answer::Rests;
use super::{Context, MAX_CAUSE_CHARS, Replied, agent, question};
use crate::answer::Answer;
use crate::child::descendants::Reaper;
use crate::link::kept::{Kept, KeptFor};
use crate::outcome::Outcome;
use crate::target::{Kind, Target};
use crate::time_limit::TimeLimit;

/// Asks every target; the answers are in the targets' order. Returns as [`ask_each`].
pub async fn ask_all(targets: &[&Target], context: Context<'_>, limit: TimeLimit) -> Vec<Answer> {
    let mut answers: Vec<Option<Answer>> = targets.iter().map(|_| None).collect();
    ask_each(targets, context, limit, |number, answer| {
        if let Some(place) = answers.get_mut(number) {
            *place = Some(answer);
        }
    })
    .await;
    answers.into_iter().flatten().collect()
}

/// Asks every target, and tells each answer as it comes, with the target's number. Returns by the
/// limit, give or take the reaping of what `exec:` left, and once no server is in the middle of an
/// answer, except for slow ones.
pub async fn ask_each(
    targets: &[&Target],
    context: Context<'_>,
    limit: TimeLimit,
    mut tell: impl FnMut(usize, Answer),
) {
    let commands = targets
        .iter()
        .any(|target| target.asks(|kind| matches!(kind, Kind::Exec(_))));
    // Dropped once the answers are there, or nobody waits for them any longer.
    let _reaper = commands.then(|| Reaper::begin(context.supervises, limit.at));
    let rests = Rests::default();
    let numbered = async |number, target: &Target| {
        let kept = context.kept.map(|kept| kept.of(&target.redacted));
        (number, ask(target, context, kept, limit, &rests).await)
    };
    let mut asked: FuturesUnordered<_> = targets
        .iter()
        .enumerate()
        .map(|(number, target)| numbered(number, *target))
        .collect();
    looked_up_once::share(async {
        while let Some((number, answer)) = asked.next().await {
            tell(number, answer);
        }
    })
    .await;
    drop(asked);
    rests.end(context.kept).await;
}

/// Asks a target that can be asked without waiting for anybody: no event loop is needed then.
pub fn ask_now(target: &Target, context: Context<'_>) -> Option<Answer> {
    let Kind::Agent { name, min } = &target.kind else {
        return None;
    };
    let started = clock::instant();
    let outcome = agent::ask(context.folder, context.epoch, context.secrets, name, *min);
    Some(finish(target, (outcome, Vec::new()), started))
}

/// `kept` are the connections of what was configured: of the whole `any`.
pub(super) async fn ask(
    target: &Target,
    context: Context<'_>,
    kept: Option<KeptFor<'_>>,
    limit: TimeLimit,
    rests: &Rests,
) -> Answer {
    let started = clock::instant();
    let TimeLimit { at, set } = match target.timeout {
        Some(own) if started + own < limit.at => TimeLimit {
            at: started + own,
            set: own,
        },
        Some(_) | None => limit,
    };
    let own = TimeLimit { at, set };
    let try_once = async || {
        let asked = async { Ok(question(target, context, kept, own, rests).await) };
        own.hold(asked).await.unwrap_or_else(|cause| {
            // It may quote what it was waiting for.
            let cause = context.secrets.quote(&cause, MAX_CAUSE_CHARS);
            (Outcome::Unknown(cause), Vec::new())
        })
    };
    let mut said = try_once().await;
    if !said.0.passes() && context.kept.is_some_and(Kept::make_room) {
        said = try_once().await;
    }
    finish(target, said, started)
}

pub(super) fn finish(target: &Target, (outcome, fleets): Replied, started: Instant) -> Answer {
    let elapsed = clock::instant().saturating_duration_since(started);
    tracing::debug!(target = %target.label(), outcome = outcome.word(), text = outcome.text(), ?elapsed);
    if target.not {
        // That somebody was ready is no reason to wait for anybody: it was the wrong answer.
        return Answer {
            outcome: outcome.inverted(),
            elapsed,
            fleets: Vec::new(),
        };
    }
    Answer {
        outcome,
        elapsed,
        fleets,
    }
}
