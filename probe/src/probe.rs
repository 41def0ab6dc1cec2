//! One probe: plan → ask → recall → judge.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::{join, join_all};

use ready_probe_sdk::clock;
use ready_probe_sdk::freshness::Span;
use ready_probe_sdk::host::{Epoch, Mounts};

use crate::check::{self, Answer, Context};
use crate::duration::Grace;
use crate::far;
use crate::far::asked::Line;
use crate::far::child::{Asking, Hearings};
use crate::fleet::Fleet;
use crate::last_pass::{Answered, Keeper, Memory, News, Past, Roster, SHORT_PATIENCE};
use crate::outcome::Outcome;
use crate::plan::{Plan, Question};
use crate::report::{Report, Row};
use crate::settings::Settings;
use crate::target::Target;
use crate::time_limit::TimeLimit;
use crate::verdict::{self, Scope, Tolerance};

/// How long a probe waits for others that write the memory where an Unknown has to be in it: without
/// that, there is no grace.
const LONG_PATIENCE: Duration = Duration::from_millis(40);

/// What this container's probes keep from one to the next.
pub struct Probe<'a> {
    settings: &'a Settings,
    mounts: Option<&'a Mounts>,
    /// The mount that this process asks for its parent.
    asks: Option<PathBuf>,
    epoch: Epoch,
    keeper: Keeper,
    tolerant: bool,
}

/// What is remembered of all checks: without the answers of this round, and with them.
struct Pasts<'a> {
    before: &'a Memory,
    after: &'a Memory,
    /// The next probe will find it.
    is_kept: bool,
}

impl<'a> Probe<'a> {
    /// A probe of this container.
    pub fn new(settings: &'a Settings, mounts: Option<&'a Mounts>) -> Self {
        let epoch = Epoch::current();
        let keeper = Keeper::new(&settings.store.value, mounts, &epoch);
        Self {
            settings,
            mounts,
            asks: None,
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

    /// The same probe, in a child that asks what concerns a mount.
    pub fn asking(self, mount: PathBuf) -> Self {
        Self {
            asks: Some(mount),
            ..self
        }
    }

    /// Lists what is to be asked: what is configured, and the agents that are there.
    pub fn plan(&self) -> Plan {
        let mut plan = Plan::default();
        if self.settings.discover {
            let mount = self
                .mounts
                .and_then(|mounts| far::place::of_store(mounts, &self.settings.store.value));
            match (&mount, &self.asks) {
                (None, _) => self.plan_discovered(&mut plan),
                (Some(point), Some(asked)) if point == asked => self.plan_discovered(&mut plan),
                // What is there is the child's to find out.
                (Some(_), None) => plan.add(Target::agents(), None, false),
                (Some(_), Some(_)) => {}
            }
            for question in &mut plan.questions {
                question.mount.clone_from(&mount);
            }
        }
        for check in &self.settings.checks {
            plan.add(check.value.clone(), None, false);
        }
        plan.tell_stores_apart(self.settings.remote.as_ref().map(|remote| &remote.value));
        if let Some(mounts) = self.mounts {
            let unplaced = plan.questions.iter_mut().filter(|q| q.mount.is_none());
            for question in unplaced {
                question.mount = far::place::of_target(mounts, &question.target, self.context());
            }
        }
        plan
    }

    /// Asks without an event loop, if nothing in the plan needs one.
    pub fn ask_now(&self, plan: &Plan) -> Option<Vec<Answer>> {
        plan.questions
            .iter()
            .map(|question| match (&question.settled, &question.mount) {
                (Some(outcome), None) => Some(settled(outcome)),
                (None, None) => check::ask_now(&question.target, self.context()),
                (_, Some(_)) => None,
            })
            .collect()
    }

    /// Asks everything at once; returns by the limit. What is found on the way is added to the plan.
    pub async fn ask(&self, plan: &mut Plan, limit: TimeLimit) -> Vec<Answer> {
        // The children first: what the commands of `exec:` leave is told from what was there before.
        let children = self.start_children(plan);
        let open: Vec<&Target> = plan
            .questions
            .iter()
            .filter(|question| question.settled.is_none() && question.mount.is_none())
            .map(|question| &question.target)
            .collect();
        let (asked, heard) = join(
            check::ask_all(&open, self.context(), limit),
            join_all(
                children
                    .into_iter()
                    .map(|(child, questions)| child.hear(questions, limit)),
            ),
        )
        .await;
        let mut asked = asked.into_iter();
        let mut heard = Hearings::new(heard);
        plan.children = heard.children();
        let mut answers: Vec<Answer> = plan
            .questions
            .iter()
            .filter_map(|question| match (&question.settled, &question.mount) {
                (Some(outcome), _) => Some(settled(outcome)),
                (None, Some(point)) => Some(heard.answer(point, &question.key)),
                (None, None) => asked.next(),
            })
            .collect();
        for (name, answer) in heard.discovered() {
            plan.add(Target::agent(name), None, true);
            answers.push(answer);
        }
        answers
    }

    /// Asks what concerns this child's mount, and prints each answer as it comes.
    pub async fn answer_parent(&self, plan: &Plan, limit: TimeLimit) {
        let is_ours =
            |question: &&Question| question.mount.is_some() && question.mount == self.asks;
        let ours: Vec<&Question> = plan.questions.iter().filter(is_ours).collect();
        let (known, open): (Vec<_>, Vec<_>) = ours
            .into_iter()
            .partition(|question| question.settled.is_some());
        let targets: Vec<&Target> = open.iter().map(|question| &question.target).collect();
        check::ask_each(&targets, self.context(), limit, |place, answer| {
            if let Some(question) = open.get(place) {
                Line::new(&question.key, &answer, question.discovered).print();
            }
        })
        .await;
        // That these were all the agents is said when all of them have been.
        for question in known {
            if let Some(outcome) = &question.settled {
                Line::new(&question.key, &settled(outcome), false).print();
            }
        }
    }

    /// One child for each mount that may hang, and how many questions it has to answer.
    fn start_children(&self, plan: &Plan) -> Vec<(Asking, usize)> {
        let mut counts: BTreeMap<&Path, usize> = BTreeMap::new();
        for question in plan.questions.iter().filter(|q| q.settled.is_none()) {
            if let Some(point) = &question.mount {
                *counts.entry(point).or_default() += 1;
            }
        }
        if counts.is_empty() {
            return Vec::new();
        }
        let memory = self.keeper.recall().memory;
        counts
            .into_iter()
            .map(|(point, count)| {
                let before = memory.stuck(&point.display().to_string());
                (Asking::start(point, before), count)
            })
            .collect()
    }

    /// What to say when nothing can be asked: no event loop can be started.
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
        let news = News {
            answers: &learned,
            fleets: &fleets_of(&plan.questions, &answers),
            children: &plan.children,
        };
        let has_changed = memory.learn(&news, now_ms);
        let remembered = self.remember(&news, has_changed, now_ms);
        if let Err(why) = &remembered {
            notes.push(format!("grace can't be counted: {why}"));
        }
        let past = Pasts {
            before: &before,
            after: &memory,
            is_kept: remembered.is_ok(),
        };
        let rows: Vec<Row> = plan
            .questions
            .into_iter()
            .zip(answers)
            .map(|(question, answer)| self.row(question, answer, &past, now_ms))
            .collect();
        Report {
            verdict: verdict::fold(rows.iter().map(Row::ballot)),
            rows,
            notes,
            epoch: self.epoch.file_stem(),
        }
    }

    /// Writes what was answered, if that is news. An Unknown is written each time: only where it can
    /// be is it tolerated, or every probe would see the first one anew.
    fn remember(&self, news: &News<'_>, has_changed: bool, now_ms: u64) -> Result<(), String> {
        let is_unknown = |(_, outcome): &(&str, &Outcome)| matches!(outcome, Outcome::Unknown(_));
        let has_unknown = self.tolerant && news.answers.iter().any(is_unknown);
        if !has_changed && !has_unknown {
            return Ok(());
        }
        let patience = if has_unknown {
            // Within what the deadline leaves for saying what was answered.
            (self.settings.timeout.value / 40).clamp(SHORT_PATIENCE, LONG_PATIENCE)
        } else {
            SHORT_PATIENCE
        };
        self.keeper.remember(news, now_ms, patience)
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
                let nobody = "no agent has published a signal";
                // Somebody else's image, in which none ever will.
                let hint = if self.settings.checks.is_empty() {
                    ""
                } else {
                    "; if this container has none, set READY_AGENT=off"
                };
                let nobody = Outcome::starting(format!("{nobody}{hint}"));
                plan.add(Target::agents(), Some(nobody), false);
            }
            Ok(names) => {
                let agents = if names.len() == 1 { "agent" } else { "agents" };
                let note = format!("{} {agents} discovered; READY_AGENT not set", names.len());
                // Remembered, so that a container whose agents are gone is not "starting".
                plan.add(Target::agents(), Some(Outcome::Pass(note)), false);
                for name in names {
                    plan.add(Target::agent(name), None, true);
                }
            }
            Err(e) => {
                let cause = format!("the local store can't be read: {e}");
                plan.add(Target::agents(), Some(Outcome::Unknown(cause)), false);
            }
        }
    }

    fn row(&self, question: Question, answer: Answer, pasts: &Pasts<'_>, now_ms: u64) -> Row {
        let target = question.target;
        let grace = target.grace.unwrap_or(match target.scope {
            Scope::Own => Grace::For(Duration::ZERO),
            Scope::Dependency => self.settings.grace.value,
        });
        let grace = pasts
            .after
            .grace(&question.key, &answer.fleets, grace, now_ms);
        let past = pasts.after.past(&question.key);
        let within = match past {
            Some(past) if self.tolerant => past.tolerance(grace, now_ms),
            Some(_) | None => Tolerance::Exhausted,
        };
        // It may have passed before, when that could not be remembered either.
        let never = |past: &Past| past.definite.is_none() && grace != Grace::For(Duration::ZERO);
        let might = within == Tolerance::Tolerated || past.is_some_and(never);
        let is_lost = might && self.tolerant && !pasts.is_kept;
        let tolerance = if is_lost {
            Tolerance::Exhausted
        } else {
            within
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
            passed_before: pasts
                .before
                .past(&question.key)
                .is_some_and(|past| past.passed),
            without_agents: self.settings.without_agents.is_some(),
            tolerance,
            outcome,
            elapsed: answer.elapsed,
        }
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

fn settled(outcome: &Outcome) -> Answer {
    Answer {
        outcome: outcome.clone(),
        elapsed: Duration::ZERO,
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
        (Tolerance::Exhausted, true) if grace == Grace::For(Duration::ZERO) => {
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
