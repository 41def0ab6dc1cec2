//! What is asked while an answer is held: each check when something that concerns it has happened, or when its
//! time has come.
//!
//! - `check`: how one check is asked, and how often.
//! - `report`: what all answers mean together.

mod check;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::mem;
use std::pin::Pin;

use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use ready_probe_sdk::clock;
use ready_probe_sdk::signal::Name;

use self::check::{Check, Way};
use super::standing::{Standing, agents_in};
use ready_probe::answer::Answer;
use ready_probe::plan::{Plan, Question};
use ready_probe::probe::Probe;
use ready_probe::report::Report;
use ready_probe::settings::Settings;
use ready_probe::stuck_child::StuckChild;
use ready_probe::time_limit::TimeLimit;
use ready_probe::watch::Woken;

/// All checks of a held answer, and what they have answered.
pub struct Round<'a> {
    probe: &'a Probe<'a>,
    settings: &'a Settings,
    /// What the memory knows its asker by.
    key: &'a str,
    /// Whether a "no" has to last before it counts.
    confirms: bool,
    checks: BTreeMap<String, Check>,
    /// Questions that are under way, those that start processes among them.
    asking: FuturesUnordered<Awaited<'a>>,
    /// These are asked one lot at a time, since what a command leaves is told from what was there before.
    is_starting: bool,
    /// Mounts that children were asked about since the last report.
    children: Children,
    /// What the answers about agents stand on.
    standing: BTreeMap<Name, Standing>,
    /// Agents whose records have changed.
    changed: BTreeSet<Name>,
    all_changed: bool,
    /// No look before.
    look_at_ms: u64,
    /// Several ask the same, as the last report has found.
    has_company: bool,
}

type Awaited<'a> = Pin<Box<dyn Future<Output = Lot> + 'a>>;
type Children = Vec<(String, Option<StuckChild>)>;

/// What was asked together, and has been answered.
struct Lot {
    answers: Vec<(String, Answer)>,
    children: Children,
    /// It has started processes.
    started: bool,
}

impl<'a> Round<'a> {
    /// Nothing is asked yet.
    pub fn new(probe: &'a Probe<'a>, settings: &'a Settings, key: &'a str, confirms: bool) -> Self {
        Self {
            probe,
            settings,
            key,
            confirms,
            checks: BTreeMap::new(),
            asking: FuturesUnordered::new(),
            is_starting: false,
            children: Vec::new(),
            standing: BTreeMap::new(),
            changed: BTreeSet::new(),
            all_changed: false,
            look_at_ms: 0,
            has_company: false,
        }
    }

    /// Asks everything, as a probe does that holds nothing.
    pub async fn ask_all(&mut self, limit: TimeLimit) -> Report {
        self.asking.clear();
        self.is_starting = false;
        self.standing.clear();
        self.changed.clear();
        self.all_changed = false;
        let mut plan = self.probe.plan();
        let answers = match self.probe.ask_now(&plan) {
            Some(answers) => answers,
            None => self.probe.ask(&mut plan, limit).await,
        };
        self.checks.clear();
        for (question, answer) in plan.questions.iter().zip(&answers) {
            let check = Check::new(question.clone(), answer.clone());
            self.checks.insert(question.key.clone(), check);
        }
        self.children = mem::take(&mut plan.children);
        self.report(plan, answers)
    }

    /// Whether something has happened that was not looked at yet.
    pub fn has_changed(&self) -> bool {
        self.all_changed || !self.changed.is_empty()
    }

    /// Whether several ask the same, as far as the last report knows.
    pub fn has_company(&self) -> bool {
        self.has_company
    }

    /// Notes what has happened.
    pub fn note(&mut self, woken: Woken) {
        self.changed.extend(woken.agents);
        self.all_changed |= woken.all;
    }

    /// Notes that connections have ended that answered these targets.
    pub fn note_ended(&mut self, targets: &BTreeSet<String>) {
        for check in self.checks.values_mut() {
            if targets.contains(&check.question.target.redacted) {
                check.ask_now();
            }
        }
    }

    /// When something is to be done although nothing happens, by `CLOCK_MONOTONIC` in milliseconds.
    pub fn due_ms(&self) -> Option<u64> {
        let look = self.has_changed().then_some(self.look_at_ms);
        let checks = self.checks.values().filter(|check| !check.is_asked);
        let due = checks.filter_map(|check| match check.way {
            Way::Process if self.is_starting => None,
            Way::Agent => check.due_ms.map(|due_ms| due_ms.max(self.look_at_ms)),
            Way::Here | Way::Process => check.due_ms,
        });
        due.chain(look).min()
    }

    /// Waits for the next answer; for ever where nobody is asked.
    pub async fn answered(&mut self) {
        match self.asking.next().await {
            Some(lot) => self.take(lot),
            None => return std::future::pending().await,
        }
        // Those that came together make one report.
        while let Some(Some(lot)) = self.asking.next().now_or_never() {
            self.take(lot);
        }
    }

    fn take(&mut self, lot: Lot) {
        self.is_starting &= !lot.started;
        self.children.extend(lot.children);
        for (key, answer) in lot.answers {
            if let Some(check) = self.checks.get_mut(&key) {
                check.answered(answer);
            }
        }
    }

    /// The processes that the answers stand on: their ids, and when they started.
    pub fn processes(&self) -> Vec<(u32, u64)> {
        let standing = self.standing.values();
        let all: BTreeSet<_> = standing.flat_map(|one| &one.processes).collect();
        all.into_iter().copied().collect()
    }

    /// Does what is to be done now: looks at agents, and begins to ask others. What has been answered by then
    /// makes the report; nothing new, no report.
    pub fn look(&mut self) -> Option<Report> {
        let now_ms = clock::mono_ms();
        let checks = self.checks.values();
        let due = checks.filter(|check| self.all_changed || check.is_due(now_ms));
        let mut agents: BTreeSet<Name> = due
            .flat_map(|check| agents_in(&check.question.target))
            .collect();
        agents.extend(self.changed.iter().cloned());
        let may_look = now_ms >= self.look_at_ms;
        let report = if may_look && (self.all_changed || !agents.is_empty()) {
            self.changed.clear();
            self.all_changed = false;
            Some(self.report_again(&agents))
        } else if self.checks.values().any(|check| check.is_fresh) {
            Some(self.judge_again())
        } else {
            None
        };
        self.begin_due(now_ms);
        report
    }

    /// Begins to ask what is due and is no agent.
    fn begin_due(&mut self, now_ms: u64) {
        let (mut here, mut starting) = (Vec::new(), Vec::new());
        for check in self.checks.values_mut() {
            let asked = match check.way {
                Way::Here => &mut here,
                Way::Process if !self.is_starting => &mut starting,
                Way::Agent | Way::Process => continue,
            };
            if !check.is_asked && check.is_due(now_ms) {
                check.is_asked = true;
                asked.push(check.question.clone());
            }
        }
        for question in here {
            self.begin(vec![question], false);
        }
        if !starting.is_empty() {
            self.is_starting = true;
            self.begin(starting, true);
        }
    }

    fn begin(&mut self, questions: Vec<Question>, started: bool) {
        let probe = self.probe;
        let limit = TimeLimit::from(clock::instant(), self.settings.timeout.value);
        let mut plan = Plan {
            questions,
            children: Vec::new(),
        };
        self.asking.push(Box::pin(async move {
            let answers = probe.ask(&mut plan, limit).await;
            let keys = plan.questions.into_iter().map(|question| question.key);
            Lot {
                answers: keys.zip(answers).collect(),
                children: plan.children,
                started,
            }
        }));
    }
}
