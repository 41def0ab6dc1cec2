//! One probe: plan → ask → recall → judge.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::{join, join_all};

use ready_probe_sdk::clock;
use ready_probe_sdk::host::{Epoch, Mounts};
use ready_probe_sdk::signal::Name;

use crate::answer::Answer;
use crate::check::{self, Context};
use crate::hold::Class;
use crate::hung_mount;
use crate::hung_mount::answer::AnswerLine;
use crate::hung_mount::ask::{Asking, Hearings};
use crate::judge::{self, Came, Judging, Learned};
use crate::link::kept::Kept;
use crate::memory::{Begun, Ending, Holder, Keeper, Recalled, SHORT_PATIENCE};
use crate::outcome::Outcome;
use crate::plan::{Plan, Question};
use crate::report::{Report, Row};
use crate::settings::Settings;
use crate::target::Target;
use crate::time_limit::TimeLimit;
use crate::verdict;

/// How long a probe waits for others that write the memory if its own Unknown has to be in it:
/// without that, there is no grace.
const LONG_PATIENCE: Duration = Duration::from_millis(40);

/// What this container's probes remember.
pub struct Probe<'a> {
    settings: &'a Settings,
    mounts: Option<&'a Mounts>,
    /// The mount that this process asks for its parent.
    asks: Option<PathBuf>,
    epoch: Epoch,
    keeper: Keeper,
    tolerant: bool,
    supervises: bool,
    kept: Option<&'a Kept>,
}

impl<'a> Probe<'a> {
    /// A probe of this container.
    pub fn new(settings: &'a Settings, mounts: Option<&'a Mounts>) -> Self {
        let epoch = Epoch::current();
        let keeper = Keeper::new(&settings.folder.value, mounts, &epoch);
        Self {
            settings,
            mounts,
            asks: None,
            epoch,
            keeper,
            tolerant: true,
            supervises: false,
            kept: None,
        }
    }

    /// The same probe without grace: whoever waits for a server does not want to hear that it was
    /// there before.
    pub fn without_grace(self) -> Self {
        Self {
            tolerant: false,
            ..self
        }
    }

    /// The same probe, in a process that has other children, too, and reaps what ends.
    pub fn supervising(self) -> Self {
        Self {
            supervises: true,
            ..self
        }
    }

    /// The same probe, in a process that asks again and keeps its connections for that.
    pub fn keeping(self, kept: &'a Kept) -> Self {
        Self {
            kept: Some(kept),
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
        self.plan_again(&|_| None)
    }

    /// The same where some agents that nobody named need not be asked again.
    pub fn plan_again(&self, reused: &dyn Fn(&Name) -> Option<Answer>) -> Plan {
        let mut plan = Plan::default();
        if self.settings.discover {
            let mount = self.mounts.and_then(|mounts| {
                hung_mount::paths::of_folder(mounts, &self.settings.folder.value)
            });
            match (&mount, &self.asks) {
                (None, _) => self.plan_discovered(&mut plan, reused),
                (Some(point), Some(asked)) if point == asked => {
                    self.plan_discovered(&mut plan, reused);
                }
                // The child finds out what is there.
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
        plan.tell_stores_apart(self.settings.place.as_ref().map(|place| &place.value));
        if let Some(mounts) = self.mounts {
            let unplaced = plan.questions.iter_mut().filter(|q| q.mount.is_none());
            for question in unplaced {
                question.mount =
                    hung_mount::paths::of_target(mounts, &question.target, self.context());
            }
        }
        plan
    }

    /// Asks without an event loop, if nothing in the plan needs one.
    pub fn ask_now(&self, plan: &Plan) -> Option<Vec<Answer>> {
        plan.questions
            .iter()
            .map(|question| match (&question.settled, &question.mount) {
                (Some(answer), None) => Some(answer.clone()),
                (None, None) => check::ask_now(&question.target, self.context()),
                (_, Some(_)) => None,
            })
            .collect()
    }

    /// Asks everything at once; returns by the limit. What is found on the way is added to the plan.
    pub async fn ask(&self, plan: &mut Plan, limit: TimeLimit) -> Vec<Answer> {
        // The children first: they must not be taken for what the commands of `exec:` leave.
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
                (Some(answer), _) => Some(answer.clone()),
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
    ///
    /// At the limit the parent blames the mount, and kills this process. So a file that can't be read is left
    /// to it, while a server that does not answer is told before: the mount has nothing to do with that.
    pub async fn answer_parent(&self, plan: &Plan, limit: TimeLimit) {
        let is_ours =
            |question: &&Question| question.mount.is_some() && question.mount == self.asks;
        let ours: Vec<&Question> = plan.questions.iter().filter(is_ours).collect();
        let (settled, open): (Vec<_>, Vec<_>) = ours
            .into_iter()
            .partition(|question| question.settled.is_some());
        // First the agents that were found, then that these are all: nothing else is waited for.
        let found = settled.iter().filter(|question| question.discovered);
        let others = settled.iter().filter(|question| !question.discovered);
        for question in found.chain(others) {
            if let Some(answer) = &question.settled {
                AnswerLine::new(&question.key, answer, question.discovered).print();
            }
        }
        let (files, others): (Vec<&Question>, Vec<&Question>) = open
            .into_iter()
            .partition(|question| hung_mount::paths::is_read(&question.target));
        join(
            self.print_each(&files, limit.later()),
            self.print_each(&others, limit.sooner()),
        )
        .await;
    }

    async fn print_each(&self, questions: &[&Question], limit: TimeLimit) {
        let targets: Vec<&Target> = questions.iter().map(|question| &question.target).collect();
        check::ask_each(&targets, self.context(), limit, |number, answer| {
            if let Some(question) = questions.get(number) {
                AnswerLine::new(&question.key, &answer, question.discovered).print();
            }
        })
        .await;
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
        let memory = self.recall().memory;
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
                let answer = question.settled.clone();
                answer.unwrap_or_else(|| Answer::unasked(Outcome::unknown(cause)))
            })
            .collect()
    }

    /// Asks an agent of this container, if the target is one.
    pub fn ask_agent(&self, target: &Target) -> Option<Answer> {
        check::ask_now(target, self.context())
    }

    /// Folds the answers into a report, in the light of those before. Recalls these first, and
    /// remembers the new ones afterwards; reads and writes nothing else.
    pub fn judge(&self, plan: Plan, answers: Vec<Answer>) -> Report {
        self.judge_again(self.recall(), plan, answers, Vec::new(), false)
    }

    /// What is remembered now.
    pub fn recall(&self) -> Recalled {
        self.keeper.recall()
    }

    /// The same as [`Probe::judge`] of answers that are not all new; `came` says which are. `confirms` says that
    /// a "no" has to last before it counts.
    pub fn judge_again(
        &self,
        recalled: Recalled,
        plan: Plan,
        answers: Vec<Answer>,
        came: Vec<Came>,
        confirms: bool,
    ) -> Report {
        let now_ms = clock::mono_ms();
        let learned = judge::learn(recalled.memory, plan, answers, came, now_ms);
        let remembered = self.remember(&learned, now_ms);
        let mut notes: Vec<String> = Vec::new();
        notes.extend(recalled.problem.map(|why| format!("no grace: {why}")));
        if let Err(why) = &remembered {
            notes.push(format!("grace can't be counted: {why}"));
        }
        let judging = Judging {
            grace: self.settings.grace.value,
            tolerant: self.tolerant,
            without_agents: self.settings.without_agents.is_some(),
            is_kept: remembered.is_ok(),
            confirms,
        };
        let rows = judging.rows(learned, now_ms);
        Report {
            verdict: verdict::fold(rows.iter().map(Row::ballot)),
            rows,
            notes,
            epoch: self.epoch.file_stem(),
        }
    }

    /// Writes the answers, if they are news. An Unknown is written each time: it is tolerated only
    /// where it can be written, or every probe would take it for the first one.
    fn remember(&self, learned: &Learned, now_ms: u64) -> Result<(), String> {
        let is_unknown = |answer: &Answer| matches!(answer.outcome, Outcome::Unknown(_));
        let has_unknown = self.tolerant && learned.fresh_answers().any(is_unknown);
        if !learned.has_changed && !has_unknown {
            return Ok(());
        }
        let patience = if has_unknown {
            self.long_patience()
        } else {
            SHORT_PATIENCE
        };
        self.keeper.remember(&learned.news(), now_ms, patience)
    }

    /// Within the time that the deadline leaves for the report.
    fn long_patience(&self) -> Duration {
        (self.settings.timeout.value / 40).clamp(SHORT_PATIENCE, LONG_PATIENCE)
    }

    /// Notes that a run begins whose answer may be held, and tells what its asker has surely heard.
    pub fn begin(&self, key: &str, me: Holder) -> Result<Begun, String> {
        let now_ms = clock::mono_ms();
        self.keeper
            .change(self.long_patience(), |memory| memory.begin(key, me, now_ms))
    }

    /// Notes how it has ended. `beside` is whom it found when it began.
    pub fn end(
        &self,
        key: &str,
        me: Holder,
        beside: Option<Holder>,
        ended: (Class, Ending),
    ) -> Result<(), String> {
        let now_ms = clock::mono_ms();
        self.keeper.change(self.long_patience(), |memory| {
            memory.end(key, me, beside, ended, now_ms);
        })
    }

    fn context(&self) -> Context<'_> {
        Context {
            folder: &self.settings.folder.value,
            epoch: &self.epoch,
            place: self.settings.place.as_ref().map(|place| &place.value),
            secrets: &self.settings.secrets,
            supervises: self.supervises,
            kept: self.kept,
        }
    }

    fn plan_discovered(&self, plan: &mut Plan, reused: &dyn Fn(&Name) -> Option<Answer>) {
        match check::discover(self.context(), reused) {
            Ok(agents) if agents.is_empty() => {
                let nobody = "no agent has published a signal";
                // Somebody else's image, in which none ever will.
                let hint = if self.settings.checks.is_empty() {
                    ""
                } else {
                    "; if this container has none, set READY_AGENT=off"
                };
                let nobody = Outcome::starting(format!("{nobody}{hint}"));
                plan.add(Target::agents(), Some(Answer::unasked(nobody)), false);
            }
            Ok(agents) => {
                let count = agents.len();
                let word = if count == 1 { "agent" } else { "agents" };
                let note = format!("{count} {word} discovered; READY_AGENT not set");
                // Remembered, so that a container whose agents are gone is not "starting".
                let some = Answer::unasked(Outcome::Pass(note));
                plan.add(Target::agents(), Some(some), false);
                for (agent, answer) in agents {
                    plan.add(agent, Some(answer), true);
                }
            }
            Err(e) => {
                let cause = format!("the folder of signals can't be read: {e}");
                let unknown = Answer::unasked(Outcome::Unknown(cause));
                plan.add(Target::agents(), Some(unknown), false);
            }
        }
    }
}
