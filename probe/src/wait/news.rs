//! Whether this container's agents have something new to say, for whoever waits for them.
//!
//! A beat that changes nothing is none: others are asked no more often because of it.

use std::mem::ManuallyDrop;
use std::time::{Duration, Instant};

use crate::long_poll::{Standing, agents_in, watch_agents, words as said};
use ready_probe::hung_mount;
use ready_probe::probe::Probe;
use ready_probe::settings::Settings;
use ready_probe::watch::Watch;
use ready_probe_sdk::clock;
use ready_probe_sdk::host::Mounts;

/// A look follows the last one after this at least, and after some times what that has taken: agents that talk all
/// the time must not keep a processor busy.
const PAUSE_LEAST: Duration = Duration::from_millis(20);
const PAUSE_TIMES: u32 = 4;

/// The agents that are waited for.
pub struct AgentNews<'a> {
    probe: &'a Probe<'a>,
    settings: &'a Settings,
    /// Left to the end of the process: closing an inotify takes the kernel some 10 ms, and whoever waits is late
    /// enough.
    watch: ManuallyDrop<Watch>,
    words: Words,
    no_look_before: Instant,
}

/// What the agents of each check say, and what it is called.
type Words = Vec<(String, Vec<&'static str>)>;

impl<'a> AgentNews<'a> {
    /// Of the agents that are asked about from now on. None where there are none, or where nothing can tell of them.
    pub fn of(
        settings: &'a Settings,
        mounts: Option<&Mounts>,
        probe: &'a Probe<'a>,
    ) -> Option<Self> {
        let folder = &settings.folder.value;
        let is_far =
            mounts.is_some_and(|mounts| hung_mount::paths::of_folder(mounts, folder).is_some());
        if is_far {
            return None;
        }
        let watch = watch_agents(settings, mounts)?;
        let mut news = Self {
            probe,
            settings,
            watch: ManuallyDrop::new(watch),
            words: Words::new(),
            no_look_before: clock::instant(),
        };
        news.words = news.look();
        Some(news)
    }

    /// They are going to be asked: what they say from now on is news.
    pub fn begin(&mut self) {
        self.words = self.look();
    }

    /// Waits until they say something else than when that began. May be given up.
    pub async fn next(&mut self) {
        loop {
            self.watch.next().await;
            tokio::time::sleep_until(self.no_look_before.into()).await;
            if self.look() != self.words {
                return;
            }
        }
    }

    fn look(&mut self) -> Words {
        let started = clock::instant();
        let plan = self.probe.plan();
        let mut words = Words::new();
        let mut processes = Vec::new();
        for question in &plan.questions {
            match &question.settled {
                Some(answer) => words.push((question.key.clone(), vec![answer.outcome.word()])),
                None => words.push((question.key.clone(), said(self.probe, &question.target))),
            }
            for name in agents_in(&question.target) {
                let standing = Standing::of(&self.settings.folder.value, &name);
                processes.extend(standing.processes);
            }
        }
        self.watch.follow(&processes);
        let now = clock::instant();
        let took = now.saturating_duration_since(started);
        self.no_look_before = now + PAUSE_LEAST.max(took * PAUSE_TIMES);
        words
    }
}
