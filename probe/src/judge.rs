//! What the answers of a round mean in the light of those before. Pure: [`crate::probe`] reads and
//! writes the memory.

use std::time::Duration;

use ready_probe_sdk::freshness::Span;

use crate::answer::Answer;
use crate::confirm;
use crate::fleet::Fleet;
use crate::grace::Grace;
use crate::memory::{Answered, Memory, News, Past, Roster};
use crate::outcome::Outcome;
use crate::plan::{Plan, Question};
use crate::report::{Row, Subject};
use crate::target::Kind;
use crate::verdict::{Scope, Tolerance};

/// When an answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// In this round.
    Now,
    /// In an earlier one, at this time by `CLOCK_MONOTONIC` in milliseconds. It is remembered already, and
    /// whether it is tolerated is judged as of then: nothing is over before it has been asked again.
    Before(u64),
}

impl Came {
    /// As of when it is judged.
    fn as_of_ms(self, now_ms: u64) -> u64 {
        match self {
            Self::Now => now_ms,
            Self::Before(at_ms) => at_ms,
        }
    }
}

/// A round, and what it adds to what was remembered.
pub struct Learned {
    /// What was asked.
    pub plan: Plan,
    /// In the light of what was answered before.
    pub answers: Vec<Answer>,
    before: Memory,
    after: Memory,
    /// Worth writing.
    pub has_changed: bool,
    /// When the answers came, by number; now unless said.
    came: Vec<Came>,
}

impl Learned {
    /// What to remember of it.
    pub fn news(&self) -> News<'_> {
        news(&self.plan, &self.answers, &self.came)
    }

    /// The new answers.
    pub fn fresh_answers(&self) -> impl Iterator<Item = &Answer> {
        let numbered = self.answers.iter().enumerate();
        numbered
            .filter(|(number, _)| came(&self.came, *number) == Came::Now)
            .map(|(_, answer)| answer)
    }
}

/// Adds a round to what was remembered. Decides nothing else, and reads nothing. `came` may be empty if all
/// answers are new.
pub fn learn(
    before: Memory,
    plan: Plan,
    mut answers: Vec<Answer>,
    came: Vec<Came>,
    now_ms: u64,
) -> Learned {
    for (number, (question, answer)) in plan.questions.iter().zip(&mut answers).enumerate() {
        let as_of_ms = self::came(&came, number).as_of_ms(now_ms);
        let (past, roster) = (before.past(&question.key), before.roster(&question.key));
        let outcome = answer.outcome.clone();
        answer.outcome = in_the_light_of(past, roster, outcome, &answer.fleets, as_of_ms);
    }
    let mut after = before.clone();
    let has_changed = after.learn(&news(&plan, &answers, &came), now_ms);
    Learned {
        plan,
        answers,
        before,
        after,
        has_changed,
        came,
    }
}

/// If too few are ready, but enough were at the last answer, the store may have lost the others. If
/// nobody remembers who they were, as after an older probe, that is assumed only while nobody is
/// there.
fn in_the_light_of(
    past: Option<&Past>,
    roster: Option<&Roster>,
    outcome: Outcome,
    fleets: &[Fleet],
    now_ms: u64,
) -> Outcome {
    let passed_last = past.is_some_and(|past| past.definite == Some(Answered::Pass));
    match outcome {
        Outcome::Fail(failure) if passed_last => {
            let may_be_back = match roster {
                Some(roster) => roster.may_be_enough(fleets, now_ms),
                None => failure.absent,
            };
            match (may_be_back, failure.absent) {
                (true, true) => Outcome::Unknown(failure.reason),
                (true, false) => {
                    let reason = failure.reason;
                    Outcome::Unknown(format!("{reason}; others that were ready are missing"))
                }
                (false, _) => Outcome::Fail(failure),
            }
        }
        outcome @ (Outcome::Pass(_)
        | Outcome::Blemished(_)
        | Outcome::Fail(_)
        | Outcome::Unknown(_)) => outcome,
    }
}

/// How a round is judged.
#[derive(Debug, Clone, Copy)]
pub struct Judging {
    /// The grace of a dependency that has none of its own.
    pub grace: Grace,
    /// Whether there is any grace.
    pub tolerant: bool,
    /// Whether no agent is there to say that the container is still starting.
    pub without_agents: bool,
    /// Whether the next probe will find what was learned.
    pub is_kept: bool,
    /// Whether a check has to have failed for a while before that counts: an answer is held that was
    /// "healthy", and nobody counts retries meanwhile.
    pub confirms: bool,
}

impl Judging {
    /// One row a check.
    pub fn rows(&self, learned: Learned, now_ms: u64) -> Vec<Row> {
        let Learned {
            plan,
            answers,
            before,
            after,
            came: when,
            ..
        } = learned;
        let asked = plan.questions.into_iter().zip(answers).enumerate();
        asked
            .map(|(number, (question, answer))| {
                let passed_before = before.past(&question.key).is_some_and(|past| past.passed);
                let came = came(&when, number);
                self.row(question, answer, &after, passed_before, (came, now_ms))
            })
            .collect()
    }

    fn row(
        &self,
        question: Question,
        answer: Answer,
        after: &Memory,
        passed_before: bool,
        (came, now_ms): (Came, u64),
    ) -> Row {
        let as_of_ms = came.as_of_ms(now_ms);
        let target = question.target;
        let grace = target.grace.unwrap_or(match target.scope {
            Scope::Own => Grace::For(Duration::ZERO),
            Scope::Dependency => self.grace,
        });
        let grace = after.grace(&question.key, &answer.fleets, grace, now_ms);
        let past = after.past(&question.key);
        let within = match past {
            Some(past) if self.tolerant => past.tolerance(grace, as_of_ms),
            Some(_) | None => Tolerance::Exhausted,
        };
        // It may have passed before, at a time when that could not be remembered either.
        let never = |past: &Past| past.definite.is_none() && grace != Grace::For(Duration::ZERO);
        let is_within = matches!(within, Tolerance::Tolerated { .. });
        let might = is_within || past.is_some_and(never);
        let is_lost = might && self.tolerant && !self.is_kept;
        let tolerance = if is_lost {
            Tolerance::Exhausted
        } else {
            within
        };
        let unconfirmed = match (tolerance, past) {
            (Tolerance::Exhausted, Some(past))
                if self.confirms && self.is_kept && !answer.outcome.passes() =>
            {
                confirm::tolerance(&target, past, as_of_ms, now_ms)
            }
            (Tolerance::Exhausted | Tolerance::Tolerated { .. }, _) => Tolerance::Exhausted,
        };
        let outcome = match (answer.outcome, past) {
            (Outcome::Unknown(cause), Some(past)) if self.tolerant => {
                let said = if is_lost {
                    format!("{cause}; no grace: this can't be remembered")
                } else {
                    with_grace(&cause, past, grace, tolerance, now_ms)
                };
                Outcome::Unknown(said)
            }
            // A second time beside one that the reason tells would seem to contradict it.
            (Outcome::Fail(failure), Some(past))
                if past.lasted_ms(now_ms) >= 1_000 && !tells_time(&failure.reason) =>
            {
                Outcome::Fail(failure)
                    .with_text(|reason| format!("{reason}, for {}", Span(past.lasted_ms(now_ms))))
            }
            (
                outcome @ (Outcome::Pass(_)
                | Outcome::Blemished(_)
                | Outcome::Fail(_)
                | Outcome::Unknown(_)),
                _,
            ) => outcome,
        };
        let (outcome, tolerance) = match unconfirmed {
            Tolerance::Tolerated { .. } => {
                let said = |text: String| confirm::said(&text, &target);
                (outcome.with_text(said), unconfirmed)
            }
            Tolerance::Exhausted => (outcome, tolerance),
        };
        Row {
            subject: match (&target.kind, &target.name) {
                (Kind::Agents, _) => Subject::Agents,
                (Kind::Agent { .. }, None) => Subject::Agent,
                (_, None | Some(_)) => Subject::Other,
            },
            label: target.label().to_owned(),
            target: target.redacted,
            scope: target.scope,
            required: !target.optional,
            passed_before,
            without_agents: self.without_agents,
            tolerance,
            outcome,
            elapsed: answer.elapsed,
        }
    }
}

fn came(came: &[Came], number: usize) -> Came {
    came.get(number).copied().unwrap_or(Came::Now)
}

fn news<'a>(plan: &'a Plan, answers: &'a [Answer], when: &'a [Came]) -> News<'a> {
    let asked = plan.questions.iter().zip(answers).enumerate();
    let asked = asked.filter(move |(number, _)| came(when, *number) == Came::Now);
    let asked = asked.map(|(_, (question, answer))| (question.key.as_str(), answer));
    let seen = asked
        .clone()
        .filter(|(_, answer)| !answer.fleets.is_empty());
    News {
        fleets: seen
            .map(|(key, answer)| (key, answer.fleets.as_slice()))
            .collect(),
        answers: asked.map(|(key, answer)| (key, &answer.outcome)).collect(),
        children: &plan.children,
    }
}

/// Whether a text tells a span of time: `12s`, `3m10s`, `850ms`.
fn tells_time(text: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric())
        .any(is_span)
}

/// Numbers with their units, one after another.
fn is_span(word: &str) -> bool {
    let mut rest = word;
    while let Some(unit) = rest.strip_prefix(|c: char| c.is_ascii_digit()) {
        let unit = unit.trim_start_matches(|c: char| c.is_ascii_digit());
        let known = ["ms", "s", "m", "h"];
        let Some(left) = known.iter().find_map(|known| unit.strip_prefix(known)) else {
            return false;
        };
        rest = left;
    }
    rest.is_empty() && !word.is_empty()
}

/// What an `Unknown` says about its grace.
fn with_grace(cause: &str, past: &Past, grace: Grace, tolerance: Tolerance, now_ms: u64) -> String {
    let lasted = Span(past.lasted_ms(now_ms));
    let told = tells_time(cause);
    match (tolerance, past.passed) {
        (Tolerance::Tolerated { .. }, _) if told => {
            format!("{cause}; unanswered for {lasted} of {grace} grace")
        }
        (Tolerance::Tolerated { .. }, _) => format!("{cause} for {lasted} of {grace} grace"),
        (Tolerance::Exhausted, false) => format!("{cause}; it has never passed"),
        (Tolerance::Exhausted, true) if past.definite == Some(Answered::Fail) => {
            format!("{cause}; its last answer was no")
        }
        (Tolerance::Exhausted, true) if grace == Grace::For(Duration::ZERO) => {
            match past.lasted_ms(now_ms) {
                ..1_000 => format!("{cause}; it has no grace"),
                _ if told => format!("{cause}; unanswered for {lasted}, and it has no grace"),
                _ => format!("{cause} for {lasted}; it has no grace"),
            }
        }
        (Tolerance::Exhausted, true) if told => {
            format!("{cause}; unanswered for {lasted}, beyond its grace of {grace}")
        }
        (Tolerance::Exhausted, true) => {
            format!("{cause} for {lasted}, beyond its grace of {grace}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_of_time_is_found_wherever_a_reason_tells_one() {
        for text in [
            "process 17 is gone, last beat 2s ago",
            "not_ready: stalled: no progress for 1m2s (limit 10s)",
            "expired: last beat 2h5m ago (TTL 1m)",
            "last modified 850ms ago",
        ] {
            assert!(tells_time(text), "{text}");
        }
        for text in [
            "",
            "connection refused",
            "process 17 is gone, another one has its id",
            "1 of 2 instances ready, 2 needed",
            "http://h2s2.example:80 m s 5xx v2h",
        ] {
            assert!(!tells_time(text), "{text}");
        }
    }
}
