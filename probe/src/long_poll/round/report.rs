//! What the answers of a held answer's checks mean together, those of now and those of before.

use std::collections::BTreeSet;

use ready_probe_sdk::clock::{self, millis};
use ready_probe_sdk::signal::Name;

use super::super::standing::{Standing, agents_in, words};
use super::Round;
use super::check::{Check, Way};
use ready_probe::answer::Answer;
use ready_probe::judge::Came;
use ready_probe::outcome::Outcome;
use ready_probe::plan::{Plan, Question};
use ready_probe::report::Report;
use ready_probe::target::{Kind, Target};
use ready_probe::verdict::Tolerance;

/// An agent that changes its word all the time must not keep a processor busy: a look follows the last one
/// after this at least, and after some times what that has taken.
const PAUSE_LEAST_MS: u64 = 20;
const PAUSE_MOST_MS: u64 = 200;
const PAUSE_TIMES: u32 = 4;

impl Round<'_> {
    /// Judges everything anew, with the agents as they are now.
    pub fn report_now(&mut self) -> Report {
        let checks = self.checks.values();
        let agents = checks.flat_map(|check| agents_in(&check.question.target));
        self.report_again(&agents.collect())
    }

    /// Judges what has been answered anew, in the light of what others have told the memory since.
    pub fn judge_again(&mut self) -> Report {
        self.report_again(&BTreeSet::new())
    }

    /// Judges everything anew; of these agents the records are read again.
    pub(super) fn report_again(&mut self, agents: &BTreeSet<Name>) -> Report {
        let started = clock::instant();
        // Before they are read: what ends in between is found by whoever follows it.
        let folder = &self.settings.folder.value;
        for name in agents {
            self.standing
                .insert(name.clone(), Standing::of(folder, name));
        }
        let checks = &self.checks;
        let reused = |name: &Name| {
            let known = checks.get(&Target::agent(name.clone()).redacted)?;
            (!agents.contains(name)).then(|| known.answer.clone())
        };
        let plan = self.probe.plan_again(&reused);
        let mut answers = Vec::with_capacity(plan.questions.len());
        for question in &plan.questions {
            answers.push(self.answer(question, agents));
        }
        let is_asked = |key: &String| plan.questions.iter().any(|q| q.key == *key);
        self.checks.retain(|key, _| is_asked(key));
        let report = self.report(plan, answers);
        let took = clock::instant().saturating_duration_since(started);
        if !agents.is_empty() {
            let pause_ms = millis(took.saturating_mul(PAUSE_TIMES));
            self.look_at_ms = clock::mono_ms() + pause_ms.clamp(PAUSE_LEAST_MS, PAUSE_MOST_MS);
        }
        report
    }

    fn answer(&mut self, question: &Question, agents: &BTreeSet<Name>) -> Answer {
        let is_read = agents_in(&question.target)
            .iter()
            .any(|name| agents.contains(name));
        let Some(check) = self.checks.get_mut(&question.key) else {
            // An agent that nobody named, which has just published; it is settled.
            let answer = question.settled.clone();
            let answer = answer.or_else(|| self.probe.ask_agent(&question.target));
            let nobody = || Answer::unasked(Outcome::unknown("nobody has asked"));
            let answer = answer.unwrap_or_else(nobody);
            let check = Check::new(question.clone(), answer.clone());
            self.checks.insert(question.key.clone(), check);
            return answer;
        };
        let again = match (&question.settled, check.way) {
            (Some(settled), _) if matches!(question.target.kind, Kind::Agents) || is_read => {
                Some(settled.clone())
            }
            (None, Way::Agent) if is_read => self.probe.ask_agent(&question.target),
            (Some(_) | None, _) => None,
        };
        if let Some(again) = again {
            check.renew(again);
        } else if is_read && check.way != Way::Agent {
            // One of several: the others are asked only if the agent's own answer is another one.
            let within = words(self.probe, &question.target);
            if within != check.within {
                check.within = within;
                check.due_ms = Some(0);
            }
        }
        check.answer.clone()
    }

    /// Judges the answers, and notes what each of them stands on.
    pub(super) fn report(&mut self, mut plan: Plan, answers: Vec<Answer>) -> Report {
        let keys: Vec<String> = plan.questions.iter().map(|q| q.key.clone()).collect();
        let came = |key: &String| match self.checks.get(key) {
            Some(check) if !check.is_fresh => Came::Before(check.came_ms),
            Some(_) | None => Came::Now,
        };
        let came = keys.iter().map(came).collect();
        plan.children = std::mem::take(&mut self.children);
        let recalled = self.probe.recall();
        self.has_company = recalled.memory.is_asked_by_several(self.key);
        let (probe, confirms) = (self.probe, self.confirms);
        let report = probe.judge_again(recalled, plan, answers, came, confirms);
        for (key, row) in keys.iter().zip(&report.rows) {
            // What ends then is asked once more before it is said.
            let ends_ms = match row.tolerance {
                Tolerance::Tolerated { until_ms } if !row.outcome.passes() => until_ms,
                Tolerance::Tolerated { .. } | Tolerance::Exhausted => None,
            };
            self.note_standing(key, ends_ms);
        }
        report
    }

    /// Notes what the present answer of a check stands on, and that it is in a report.
    fn note_standing(&mut self, key: &str, ends_ms: Option<u64>) {
        let Some(check) = self.checks.get_mut(key) else {
            return;
        };
        check.is_fresh = false;
        // Of an agent nothing but what follows says when it is due.
        if check.way == Way::Agent {
            check.due_ms = None;
        }
        if let Some(ends_ms) = ends_ms {
            check.ask_by(ends_ms);
        }
        // It was read by a child, and whoever reads it here may never come back. Nothing of it is held.
        if check.question.mount.is_some() {
            return;
        }
        if check.within.is_empty() && check.way != Way::Agent {
            check.within = words(self.probe, &check.question.target);
        }
        for name in agents_in(&check.question.target) {
            let standing = self.standing.entry(name).or_insert_with_key(|name| {
                // It was read before that is known: once more.
                self.changed.insert(name.clone());
                Standing::of(&self.settings.folder.value, name)
            });
            if let Some(until_ms) = standing.until_ms {
                check.ask_by(until_ms);
            }
        }
    }
}
