//! Asks the targets of `--when`, again and again.

use std::cell::Cell;
use std::time::Duration;

use ready_probe_sdk::clock;
use ready_probe_sdk::host::Mounts;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

use super::readiness::WhenAnswer;
use ready_probe::answer::Answer;
use ready_probe::link::kept::Kept;
use ready_probe::outcome::Outcome;
use ready_probe::plan::Plan;
use ready_probe::probe::Probe;
use ready_probe::settings::Settings;
use ready_probe::time_limit::TimeLimit;

/// How often it is asked until it passes for the first time.
const EVERY_FIRST: Duration = Duration::from_millis(200);
/// How often at least while it does not pass any longer.
const EVERY_FAILING: Duration = Duration::from_secs(1);

/// How often is asked once it has passed, and whether it is being asked now.
#[derive(Debug)]
pub struct WhenChecks {
    /// While it passes.
    pub recheck: Duration,
    /// ProcessesBeneath of checks are under way, and nobody else may reap them.
    pub under_way: Cell<bool>,
    /// It does not pass, as far as that counts.
    pub failing: Cell<bool>,
    /// Something has happened that may change the answer.
    pub soon: Notify,
}

impl WhenChecks {
    /// Asks without end.
    pub async fn ask(
        &self,
        settings: &Settings,
        mounts: Option<&Mounts>,
        answers: UnboundedSender<WhenAnswer>,
    ) {
        if settings.checks.is_empty() {
            return std::future::pending().await;
        }
        let kept = Kept::new();
        let probe = Probe::new(settings, mounts)
            .without_grace()
            .supervising()
            .keeping(&kept);
        let set = settings.timeout.value;
        let mut has_passed = false;
        loop {
            let at = clock::instant() + set;
            self.under_way.set(true);
            let mut plan = probe.plan();
            let asked = probe.ask(&mut plan, TimeLimit { at, set }).await;
            let answer = fold(&plan, &asked);
            // A child that a file system holds back must be remembered.
            let _ = probe.judge(plan, asked);
            self.under_way.set(false);
            has_passed |= answer == WhenAnswer::Yes;
            if answers.send(answer).is_err() {
                return std::future::pending().await;
            }
            self.pause(has_passed, &kept).await;
        }
    }

    /// Whoever takes the answer says meanwhile whether it counts. A server that ends a connection ends the
    /// pause: it may be gone.
    async fn pause(&self, has_passed: bool, kept: &Kept) {
        let began = clock::instant();
        loop {
            let pause = match (has_passed, self.failing.get()) {
                (false, _) => EVERY_FIRST,
                (true, true) => self.recheck.min(EVERY_FAILING),
                (true, false) => self.recheck,
            };
            let passed = clock::instant().saturating_duration_since(began);
            let left = pause.saturating_sub(passed);
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = self.soon.notified() => return,
                _ = kept.ended() => return,
                () = tokio::time::sleep(left.min(EVERY_FAILING)) => {}
            }
        }
    }
}

/// One answer of all: a plain no before one that is missing. What is optional says nothing.
fn fold(plan: &Plan, answers: &[Answer]) -> WhenAnswer {
    let mut unknown = None;
    for (question, answer) in plan.questions.iter().zip(answers) {
        let why = || format!("{}: {}", question.target.label(), answer.outcome.text());
        match &answer.outcome {
            _ if question.target.optional => {}
            Outcome::Pass(_) | Outcome::Blemished(_) => {}
            Outcome::Fail(_) => return WhenAnswer::No(why()),
            Outcome::Unknown(_) => unknown = unknown.or_else(|| Some(why())),
        }
    }
    unknown.map_or(WhenAnswer::Yes, WhenAnswer::Unknown)
}
