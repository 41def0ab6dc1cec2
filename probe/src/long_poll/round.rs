//! What is asked while an answer is held: each check when something that concerns it has happened, or when its
//! time has come; and what all answers mean together then.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use ready_probe_sdk::clock::{self, millis};
use ready_probe_sdk::signal::Name;

use super::standing::{Standing, agents_in, words};
use ready_probe::answer::Answer;
use ready_probe::judge::Came;
use ready_probe::left_behind::LeftBehind;
use ready_probe::plan::{Plan, Question};
use ready_probe::probe::Probe;
use ready_probe::report::Report;
use ready_probe::settings::Settings;
use ready_probe::target::{Kind, Target};
use ready_probe::time_limit::TimeLimit;
use ready_probe::verdict::Tolerance;
use ready_probe::watch::Woken;

/// An agent that changes its word all the time must not keep a processor busy: a look follows the last one
/// after this at least, and after some times what that has taken.
const PAUSE_LEAST_MS: u64 = 20;
const PAUSE_MOST_MS: u64 = 200;
const PAUSE_TIMES: u32 = 4;

/// All checks of a held answer, and what they have answered.
pub struct Round<'a> {
    probe: &'a Probe<'a>,
    settings: &'a Settings,
    /// Whether a "no" has to last before it counts.
    confirms: bool,
    checks: BTreeMap<String, Check>,
    /// Questions to servers and the like, each for itself.
    asking: FuturesUnordered<Awaited<'a>>,
    /// Questions that start processes: one lot at a time, since what a command leaves is told from what was there
    /// before.
    starting: Option<Starting<'a>>,
    /// Mounts that children were asked about since the last report.
    children: Children,
    /// What the answers about agents stand on.
    standing: BTreeMap<Name, Standing>,
    /// Agents whose records have changed.
    changed: BTreeSet<Name>,
    all_changed: bool,
    /// No look before.
    look_at_ms: u64,
}

type Awaited<'a> = Pin<Box<dyn Future<Output = (String, Option<Answer>)> + 'a>>;
type Starting<'a> = Pin<Box<dyn Future<Output = (Vec<(String, Answer)>, Children)> + 'a>>;
type Children = Vec<(String, Option<LeftBehind>)>;

/// One check.
struct Check {
    target: Target,
    /// As it came.
    answer: Answer,
    /// When it came, by `CLOCK_MONOTONIC` in milliseconds.
    came_ms: u64,
    /// It has come since the last report.
    is_fresh: bool,
    /// It is being asked.
    is_asked: bool,
    /// Something has happened since that was begun.
    asks_again: bool,
    /// When it is to be asked again, by `CLOCK_MONOTONIC` in milliseconds.
    due_ms: Option<u64>,
    way: Way,
    /// What the agents within it have said: only if that changes, they are a reason to ask the others.
    within: Vec<&'static str>,
}

/// How a check is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Its records are read at once.
    Agent,
    /// It needs no process.
    Here,
    /// It starts one.
    Process,
}

impl<'a> Round<'a> {
    /// Nothing is asked yet.
    pub fn new(probe: &'a Probe<'a>, settings: &'a Settings, confirms: bool) -> Self {
        Self {
            probe,
            settings,
            confirms,
            checks: BTreeMap::new(),
            asking: FuturesUnordered::new(),
            starting: None,
            children: Vec::new(),
            standing: BTreeMap::new(),
            changed: BTreeSet::new(),
            all_changed: false,
            look_at_ms: 0,
        }
    }

    /// Asks everything, as a probe does that holds nothing.
    pub async fn ask_all(&mut self, limit: TimeLimit) -> Report {
        self.asking.clear();
        self.starting = None;
        self.standing.clear();
        self.changed.clear();
        self.all_changed = false;
        let mut plan = self.probe.plan();
        self.children.clear();
        let answers = match self.probe.ask_now(&plan) {
            Some(answers) => answers,
            None => self.probe.ask(&mut plan, limit).await,
        };
        self.checks.clear();
        for (question, answer) in plan.questions.iter().zip(&answers) {
            let check = Check::new(question, answer.clone());
            self.checks.insert(question.key.clone(), check);
        }
        self.children = std::mem::take(&mut plan.children);
        self.report(plan, answers)
    }

    /// Whether something has happened that was not looked at yet.
    pub fn has_changed(&self) -> bool {
        self.all_changed || !self.changed.is_empty()
    }

    /// Notes what has happened.
    pub fn note(&mut self, woken: Woken) {
        self.changed.extend(woken.agents);
        self.all_changed |= woken.all;
    }

    /// Notes that connections have ended that answered these targets.
    pub fn note_ended(&mut self, targets: &BTreeSet<String>) {
        let now_ms = clock::mono_ms();
        for check in self.checks.values_mut() {
            if targets.contains(&check.target.redacted) {
                check.due_ms = Some(now_ms);
                check.asks_again = check.is_asked;
            }
        }
    }

    /// When something is to be done although nothing happens, by `CLOCK_MONOTONIC` in milliseconds.
    pub fn due_ms(&self) -> Option<u64> {
        let look = self.has_changed().then_some(self.look_at_ms);
        let checks = self.checks.values().filter(|check| !check.is_asked);
        let due = checks.filter_map(|check| match check.way {
            Way::Process if self.starting.is_some() => None,
            Way::Agent => check.due_ms.map(|due_ms| due_ms.max(self.look_at_ms)),
            Way::Here | Way::Process => check.due_ms,
        });
        due.chain(look).min()
    }

    /// Waits for the next answer; for ever where nobody is asked.
    pub async fn answered(&mut self) {
        let (key, answer) = match (&mut self.starting, self.asking.is_empty()) {
            (None, true) => return std::future::pending().await,
            (Some(starting), is_idle) => {
                tokio::select! {
                    (answers, children) = starting => {
                        self.starting = None;
                        self.children = children;
                        for (key, answer) in answers {
                            self.take(&key, Some(answer));
                        }
                        return;
                    }
                    answered = self.asking.next(), if !is_idle => match answered {
                        Some(answered) => answered,
                        None => return,
                    },
                }
            }
            (None, false) => match self.asking.next().await {
                Some(answered) => answered,
                None => return,
            },
        };
        self.take(&key, answer);
        // Those that came together make one report.
        while let Some(Some((key, answer))) = self.asking.next().now_or_never() {
            self.take(&key, answer);
        }
    }

    fn take(&mut self, key: &str, answer: Option<Answer>) {
        if let Some(check) = self.checks.get_mut(key) {
            check.is_asked = false;
            if let Some(answer) = answer {
                check.renew(answer);
            }
            check.due_ms = match std::mem::take(&mut check.asks_again) {
                true => Some(clock::mono_ms()),
                false => check.next_ms(),
            };
        }
    }

    /// The processes that the answers stand on: their ids, and when they started.
    pub fn processes(&self) -> Vec<(u32, u64)> {
        let mut all = Vec::new();
        for process in self
            .standing
            .values()
            .flat_map(|standing| &standing.processes)
        {
            if !all.contains(process) {
                all.push(*process);
            }
        }
        all
    }

    /// Does what is to be done now: looks at agents, and begins to ask others. What has been answered by then
    /// makes the report; nothing new, no report.
    pub fn look(&mut self) -> Option<Report> {
        let now_ms = clock::mono_ms();
        let may_look = now_ms >= self.look_at_ms;
        let due = |check: &Check| check.due_ms.is_some_and(|due_ms| due_ms <= now_ms);
        let agents_due: BTreeSet<Name> = self
            .checks
            .values()
            .filter(|check| due(check) || self.all_changed)
            .flat_map(|check| agents_in(&check.target))
            .collect();
        let looks = may_look && (self.has_changed() || !agents_due.is_empty());
        let is_fresh = self.checks.values().any(|check| check.is_fresh);
        if !looks {
            self.begin_due(now_ms);
            return is_fresh.then(|| self.report_again(&BTreeSet::new()));
        }
        let mut agents = std::mem::take(&mut self.changed);
        agents.extend(agents_due);
        if std::mem::take(&mut self.all_changed) {
            agents.extend(
                self.checks
                    .values()
                    .flat_map(|check| agents_in(&check.target)),
            );
        }
        let report = self.report_again(&agents);
        self.begin_due(now_ms);
        Some(report)
    }

    /// Judges everything anew, with the agents as they are now.
    pub fn report_now(&mut self) -> Report {
        let checks = self.checks.values();
        let agents = checks.flat_map(|check| agents_in(&check.target)).collect();
        self.report_again(&agents)
    }

    /// Judges everything anew; of these agents the records are read again.
    fn report_again(&mut self, agents: &BTreeSet<Name>) -> Report {
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
            let answer = answer.unwrap_or_else(|| Probe::unasked_one("nobody has asked"));
            let check = Check::new(question, answer.clone());
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
            let within = words(self.probe, &check.target);
            if within != check.within {
                check.within = within;
                check.due_ms = Some(0);
            }
        }
        check.answer.clone()
    }

    /// Judges the answers, and notes what each of them stands on.
    fn report(&mut self, mut plan: Plan, answers: Vec<Answer>) -> Report {
        let keys: Vec<String> = plan.questions.iter().map(|q| q.key.clone()).collect();
        let came = |key: &String| match self.checks.get(key) {
            Some(check) if !check.is_fresh => Came::Before(check.came_ms),
            Some(_) | None => Came::Now,
        };
        let came = keys.iter().map(came).collect();
        plan.children = std::mem::take(&mut self.children);
        let report = self.probe.judge_again(plan, answers, came, self.confirms);
        let folder = &self.settings.folder.value;
        for (key, row) in keys.iter().zip(&report.rows) {
            let Some(check) = self.checks.get_mut(key) else {
                continue;
            };
            for name in agents_in(&check.target) {
                if !self.standing.contains_key(&name) {
                    // It was read before that is known: once more.
                    self.changed.insert(name.clone());
                    let standing = Standing::of(folder, &name);
                    self.standing.insert(name, standing);
                }
            }
            if check.within.is_empty() && check.way != Way::Agent {
                check.within = words(self.probe, &check.target);
            }
            check.is_fresh = false;
            let agents = agents_in(&check.target).into_iter();
            let standing = agents.filter_map(|name| self.standing.get(&name)?.until_ms);
            if check.way == Way::Agent {
                check.due_ms = standing.min();
            } else {
                check.due_ms = check.due_ms.into_iter().chain(standing).min();
            }
            // What ends then is asked once more before it is said.
            if let Tolerance::Tolerated {
                until_ms: Some(until_ms),
            } = row.tolerance
                && !row.outcome.passes()
            {
                check.due_ms = Some(check.due_ms.map_or(until_ms, |due_ms| due_ms.min(until_ms)));
            }
        }
        report
    }

    /// Begins to ask what is due and is no agent.
    fn begin_due(&mut self, now_ms: u64) {
        let timeout = self.settings.timeout.value;
        let limit = TimeLimit::from(clock::instant(), timeout);
        let probe = self.probe;
        let mut starting = Vec::new();
        for (key, check) in &mut self.checks {
            if check.is_asked || check.due_ms.is_none_or(|due_ms| due_ms > now_ms) {
                continue;
            }
            match check.way {
                Way::Agent => {}
                Way::Here => {
                    check.is_asked = true;
                    let (key, target) = (key.clone(), check.target.clone());
                    self.asking.push(Box::pin(async move {
                        let answer = probe.ask_one(&target, limit).await;
                        (key, answer)
                    }));
                }
                Way::Process if self.starting.is_none() => {
                    check.is_asked = true;
                    starting.push(key.clone());
                }
                Way::Process => {}
            }
        }
        if starting.is_empty() {
            return;
        }
        let mut plan = probe.plan();
        plan.questions
            .retain(|question| starting.contains(&question.key));
        self.starting = Some(Box::pin(async move {
            let keys: Vec<String> = plan.questions.iter().map(|q| q.key.clone()).collect();
            let answers = probe.ask(&mut plan, limit).await;
            (keys.into_iter().zip(answers).collect(), plan.children)
        }));
    }
}

impl Check {
    fn new(question: &Question, answer: Answer) -> Self {
        let target = question.target.clone();
        let way = match (&target.kind, &question.mount) {
            (Kind::Agent { .. } | Kind::Agents, None) => Way::Agent,
            (_, Some(_)) => Way::Process,
            (_, None) if target.asks(|kind| matches!(kind, Kind::Exec(_))) => Way::Process,
            (_, None) => Way::Here,
        };
        let mut check = Self {
            target,
            answer,
            came_ms: clock::mono_ms(),
            is_fresh: true,
            is_asked: false,
            asks_again: false,
            due_ms: None,
            way,
            within: Vec::new(),
        };
        check.due_ms = check.next_ms();
        check
    }

    fn renew(&mut self, answer: Answer) {
        self.answer = answer;
        self.came_ms = clock::mono_ms();
        self.is_fresh = true;
    }

    /// When it is to be asked again if nothing happens, once it has been asked now.
    fn next_ms(&self) -> Option<u64> {
        let recheck = self
            .target
            .recheck
            .or_else(|| default_recheck(&self.target))?;
        Some(clock::mono_ms().saturating_add(millis(recheck)))
    }
}

/// What is cheap to ask is asked every second. A command leaves lines in logs, or takes a fork; a server is asked
/// by every container of a fleet. Of an agent the folder tells.
fn default_recheck(target: &Target) -> Option<Duration> {
    let seconds = match &target.kind {
        Kind::Agents | Kind::Agent { .. } => return None,
        Kind::Connect(_) | Kind::Pid(_) | Kind::File(_) => 1,
        Kind::Redis(_)
        | Kind::Nats(_)
        | Kind::Http(_)
        | Kind::Peer { .. }
        | Kind::Process { .. } => 5,
        Kind::Exec(_) => 10,
        Kind::Any(targets) => return targets.iter().filter_map(default_recheck).max(),
    };
    Some(Duration::from_secs(seconds))
}
