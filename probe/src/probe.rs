//! One probe: plan → ask → recall → judge.

use std::hash::{DefaultHasher, Hash, Hasher};

use ready_probe_sdk::clock;
use ready_probe_sdk::freshness::Span;
use ready_probe_sdk::host::Epoch;

use crate::check::{self, Answer, Context};
use crate::duration::Grace;
use crate::fleet::Fleet;
use crate::last_pass::{Answered, Fleets, Keeper, Memory, Past, Roster};
use crate::link::store::Remote;
use crate::outcome::Outcome;
use crate::report::{Report, Row};
use crate::settings::Settings;
use crate::target::Target;
use crate::time_limit::TimeLimit;
use crate::verdict::{self, Scope, Tolerance};

/// The longest target that is a key of [`Memory`] as it is.
const MAX_KEY_BYTES: usize = 200;

/// What this container's probes keep from one to the next.
pub struct Probe<'a> {
    settings: &'a Settings,
    epoch: Epoch,
    keeper: Keeper,
    tolerant: bool,
}

/// What is asked in one round.
pub struct Plan {
    questions: Vec<Question>,
}

/// One check of a round, and its answer where nobody needs to be asked.
struct Question {
    target: Target,
    /// The check's identity from one probe to the next.
    key: String,
    settled: Option<Outcome>,
}

impl<'a> Probe<'a> {
    /// A probe of this container.
    pub fn new(settings: &'a Settings) -> Self {
        let epoch = Epoch::current();
        let keeper = Keeper::new(&settings.store.value, &epoch);
        Self {
            settings,
            epoch,
            keeper,
            tolerant: true,
        }
    }

    /// The same probe, for which only an answer is an answer: who waits for a server does not want
    /// to be told that it was there before.
    pub fn without_grace(self) -> Self {
        Self {
            tolerant: false,
            ..self
        }
    }

    /// Lists what is to be asked: what is configured, and the agents that are there.
    pub fn plan(&self) -> Plan {
        let mut plan = Plan {
            questions: Vec::new(),
        };
        if self.settings.discover {
            self.plan_discovered(&mut plan);
        }
        for check in &self.settings.checks {
            plan.add(check.value.clone(), None);
        }
        plan.tell_stores_apart(self.settings.remote.as_ref().map(|remote| &remote.value));
        plan
    }

    /// Asks without an event loop, if nothing in the plan needs one.
    pub fn ask_now(&self, plan: &Plan) -> Option<Vec<Answer>> {
        plan.questions
            .iter()
            .map(|question| match &question.settled {
                Some(outcome) => Some(settled(outcome)),
                None => check::ask_now(&question.target, self.context()),
            })
            .collect()
    }

    /// Asks everything at once; returns by the limit.
    pub async fn ask(&self, plan: &Plan, limit: TimeLimit) -> Vec<Answer> {
        let open: Vec<&Target> = plan
            .questions
            .iter()
            .filter(|question| question.settled.is_none())
            .map(|question| &question.target)
            .collect();
        let mut asked = check::ask_all(&open, self.context(), limit)
            .await
            .into_iter();
        plan.questions
            .iter()
            .filter_map(|question| match &question.settled {
                Some(outcome) => Some(settled(outcome)),
                None => asked.next(),
            })
            .collect()
    }

    /// What to say when nothing can be asked: no event loop can be had.
    pub fn unasked(plan: &Plan, cause: &str) -> Vec<Answer> {
        plan.questions
            .iter()
            .map(|question| {
                let outcome = question.settled.clone();
                settled(&outcome.unwrap_or_else(|| Outcome::unknown(cause)))
            })
            .collect()
    }

    /// Folds the answers into a report, in the light of what was answered before.
    pub fn judge(&self, plan: Plan, mut answers: Vec<Answer>) -> Report {
        let now_ms = clock::mono_ms();
        let recalled = self.keeper.recall();
        let before = recalled.memory;
        for (question, answer) in plan.questions.iter().zip(&mut answers) {
            let (past, roster) = (before.past(&question.key), before.roster(&question.key));
            let outcome = answer.outcome.clone();
            answer.outcome = in_the_light_of(past, roster, outcome, &answer.fleets, now_ms);
        }
        let mut notes: Vec<String> = Vec::new();
        notes.extend(recalled.problem.map(|why| format!("no grace: {why}")));
        let mut memory = before.clone();
        let asked = plan.questions.iter().zip(&answers);
        let learned: Vec<(&str, &Outcome)> = asked
            .map(|(question, answer)| (question.key.as_str(), &answer.outcome))
            .collect();
        let fleets: &Fleets<'_> = &fleets_of(&plan.questions, &answers);
        let mut changed = memory.add(&learned, now_ms);
        changed |= memory.add_fleets(fleets, now_ms);
        if changed && let Err(why) = self.keeper.remember(&learned, fleets, now_ms) {
            notes.push(format!("grace can't be counted: {why}"));
        }
        let rows: Vec<Row> = plan
            .questions
            .into_iter()
            .zip(answers)
            .map(|(question, answer)| self.row(question, answer, &before, &memory, now_ms))
            .collect();
        Report {
            verdict: verdict::fold(rows.iter().map(Row::ballot)),
            rows,
            notes,
            epoch: self.epoch.file_stem(),
        }
    }

    fn context(&self) -> Context<'_> {
        Context {
            store: &self.settings.store.value,
            epoch: &self.epoch,
            remote: self.settings.remote.as_ref().map(|remote| &remote.value),
            secrets: &self.settings.secrets,
        }
    }

    fn plan_discovered(&self, plan: &mut Plan) {
        match check::discover(self.context()) {
            Ok(names) if names.is_empty() => {
                let nobody = Outcome::starting("no agent has published a signal");
                plan.add(Target::agents(), Some(nobody));
            }
            Ok(names) => {
                let agents = if names.len() == 1 { "agent" } else { "agents" };
                let note = format!("{} {agents} discovered; READY_AGENT not set", names.len());
                // Remembered, so that a container whose agents are gone is not "starting".
                plan.add(Target::agents(), Some(Outcome::Pass(note)));
                for name in names {
                    plan.add(Target::agent(name), None);
                }
            }
            Err(e) => {
                let cause = format!("the local store can't be read: {e}");
                plan.add(Target::agents(), Some(Outcome::Unknown(cause)));
            }
        }
    }

    fn row(
        &self,
        question: Question,
        answer: Answer,
        before: &Memory,
        after: &Memory,
        now_ms: u64,
    ) -> Row {
        let target = question.target;
        let grace = target.grace.unwrap_or(match target.scope {
            Scope::Own => Grace::For(std::time::Duration::ZERO),
            Scope::Dependency => self.settings.grace.value,
        });
        let grace = after.grace(&question.key, &answer.fleets, grace, now_ms);
        let past = after.past(&question.key);
        let tolerance = match past {
            Some(past) if self.tolerant => past.tolerance(grace, now_ms),
            Some(_) | None => Tolerance::Exhausted,
        };
        let outcome = match (answer.outcome, past) {
            (Outcome::Unknown(cause), Some(past)) if self.tolerant => {
                Outcome::Unknown(with_grace(&cause, past, grace, tolerance, now_ms))
            }
            (Outcome::Fail(failure), Some(past)) if past.lasted_ms(now_ms) >= 1_000 => {
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
        Row {
            label: target.label().to_owned(),
            target: target.redacted,
            scope: target.scope,
            required: !target.optional,
            passed_before: before.past(&question.key).is_some_and(|past| past.passed),
            tolerance,
            outcome,
            elapsed: answer.elapsed,
        }
    }
}

impl Plan {
    /// A peer of one store or namespace says nothing about its namesake in another.
    fn tell_stores_apart(&mut self, remote: Option<&Remote>) {
        let Some(Remote { address, namespace }) = remote else {
            return;
        };
        let place = format!(" in {namespace} of {}", address.redacted());
        let asking = self.questions.iter_mut().filter(|q| q.target.asks_store());
        for question in asking {
            question.key = short(&format!("{}{place}", question.key));
        }
    }

    fn add(&mut self, target: Target, settled: Option<Outcome>) {
        // Two checks may differ in a secret only: they must not share a memory.
        let same = self
            .questions
            .iter()
            .filter(|other| other.target.redacted == target.redacted)
            .count();
        let key = match same {
            0 => short(&target.redacted),
            n => format!("{} ({})", short(&target.redacted), n + 1),
        };
        self.questions.push(Question {
            target,
            key,
            settled,
        });
    }
}

/// What was not enough, where enough were ready at the last answer: whoever tells may have lost them. Where
/// it is not remembered who they were, as by older probes, that is taken for so as long as nobody is there.
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

/// Whom the checks have seen that have asked a store and had an answer.
fn fleets_of<'a>(questions: &'a [Question], answers: &'a [Answer]) -> Vec<(&'a str, &'a [Fleet])> {
    let asked = questions.iter().zip(answers);
    asked
        .filter(|(_, answer)| !answer.fleets.is_empty())
        .map(|(question, answer)| (question.key.as_str(), answer.fleets.as_slice()))
        .collect()
}

/// A target as a key of a file that must stay small.
fn short(target: &str) -> String {
    if target.len() <= MAX_KEY_BYTES {
        return target.to_owned();
    }
    let mut hasher = DefaultHasher::new();
    target.hash(&mut hasher);
    let start: String = target.chars().take(MAX_KEY_BYTES / 4).collect();
    format!("{start}…{:016x}", hasher.finish())
}

fn settled(outcome: &Outcome) -> Answer {
    Answer {
        outcome: outcome.clone(),
        elapsed: std::time::Duration::ZERO,
        fleets: Vec::new(),
    }
}

/// What an `Unknown` says of its grace.
fn with_grace(cause: &str, past: &Past, grace: Grace, tolerance: Tolerance, now_ms: u64) -> String {
    let lasted = Span(past.lasted_ms(now_ms));
    match (tolerance, past.passed) {
        (Tolerance::Tolerated, _) => format!("{cause} for {lasted} of {grace} grace"),
        (Tolerance::Exhausted, false) => format!("{cause}; it has never passed"),
        (Tolerance::Exhausted, true) if past.definite == Some(Answered::Fail) => {
            format!("{cause}; its last answer was no")
        }
        (Tolerance::Exhausted, true) if grace == Grace::For(std::time::Duration::ZERO) => {
            match past.lasted_ms(now_ms) {
                ..1_000 => format!("{cause}; it has no grace"),
                _ => format!("{cause} for {lasted}; it has no grace"),
            }
        }
        (Tolerance::Exhausted, true) => {
            format!("{cause} for {lasted}, beyond its grace of {grace}")
        }
    }
}
