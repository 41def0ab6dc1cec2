//! What became of announcing one agent, and waiting for it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::announce::Announcer;
use crate::clock;
use crate::signal::Announced;
use crate::store::Stored;

/// One agent's place in what its process announces.
#[derive(Debug)]
pub(crate) struct Announcement {
    pub(crate) announcer: Arc<Announcer>,
    told: Mutex<Told>,
    came: Condvar,
    came_async: Notify,
}

/// The last that was heard.
#[derive(Debug, Default)]
struct Told {
    outcome: Option<Announced>,
    /// Which of the agent's words it is about.
    version: u64,
}

impl Announcement {
    pub(super) fn new(announcer: Arc<Announcer>) -> Self {
        Self {
            announcer,
            told: Mutex::default(),
            came: Condvar::new(),
            came_async: Notify::new(),
        }
    }

    /// The last that was heard.
    pub(super) fn outcome(&self) -> Option<Announced> {
        self.lock().outcome.clone()
    }

    /// Notes what the store made of a word; says whether that is news.
    pub(super) fn tell(&self, version: u64, stored: Stored) -> bool {
        let outcome = Announced {
            store: self.announcer.store().to_owned(),
            ok: stored.is_ok(),
            reason: stored.unwrap_or_else(Some),
        };
        let mut told = self.lock();
        told.version = version;
        let is_news = told.outcome.as_ref() != Some(&outcome);
        told.outcome = Some(outcome);
        drop(told);
        self.came.notify_all();
        self.came_async.notify_waiters();
        is_news
    }

    /// Waits until the store has that word or a later one. The error is the last that was heard.
    pub(super) fn wait(&self, version: u64, timeout: Duration) -> Result<(), Option<String>> {
        // Longer than the clock counts is for ever.
        let until = clock::instant().checked_add(timeout);
        let mut told = self.lock();
        while !told.has(version) {
            let left = until.map_or(Duration::MAX, |until| {
                until.saturating_duration_since(clock::instant())
            });
            if left.is_zero() {
                return Err(told.outcome.as_ref().and_then(|o| o.reason.clone()));
            }
            (told, _) = self
                .came
                .wait_timeout(told, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    /// The same for callers that can't block.
    pub(super) async fn arrived(&self, version: u64) {
        loop {
            let came = self.came_async.notified();
            if self.lock().has(version) {
                return;
            }
            came.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    fn has(&self, version: u64) -> bool {
        self.version >= version && self.outcome.as_ref().is_some_and(|outcome| outcome.ok)
    }
}
