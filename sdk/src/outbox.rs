//! What one agent has to announce, and what became of it.
//!
//! The publisher puts in what the agent says; the announcer takes it out, and puts in the store's
//! answer. Neither knows the other.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock;
use crate::signal::{Announced, Signal};
use crate::store::{Published, Record, Stored};

/// One agent's place in what its process announces.
#[derive(Debug)]
pub(crate) struct Outbox {
    pub(crate) published: Published,
    /// The interval of the agent's beats.
    pub(crate) beat_ms: u64,
    /// The store, for people.
    pub(crate) store: String,
    /// The container, as records tell it.
    pub(crate) container: Option<String>,
    /// Something new is in it.
    changed: AtomicBool,
    /// `None` before the first word, and once the agent is closed.
    word: Mutex<Option<Announcement>>,
    answer: Mutex<LastAnswer>,
    /// The answer has changed.
    is_news: AtomicBool,
    came: Condvar,
    came_async: Notify,
}

#[derive(Debug)]
struct Announcement {
    signal: Signal,
    /// Counts what the agent has said.
    version: u64,
}

/// The store's last answer.
#[derive(Debug, Default)]
struct LastAnswer {
    announced: Option<Announced>,
    /// Which of the agent's words it is about.
    version: u64,
}

impl Outbox {
    pub(crate) fn new(
        published: Published,
        beat_ms: u64,
        store: &str,
        container: Option<&str>,
    ) -> Self {
        Self {
            published,
            beat_ms,
            store: store.to_owned(),
            container: container.map(ToOwned::to_owned),
            changed: AtomicBool::new(false),
            word: Mutex::default(),
            answer: Mutex::default(),
            is_news: AtomicBool::new(false),
            came: Condvar::new(),
            came_async: Notify::new(),
        }
    }

    /// What the agent says now; the version tells whether that is new.
    pub(crate) fn put(&self, signal: Signal, version: u64) {
        let word = Announcement { signal, version };
        let before = lock(&self.word).replace(word);
        if before.is_none_or(|before| before.version != version) {
            self.changed.store(true, SeqCst);
        }
    }

    /// The agent says nothing any more.
    pub(crate) fn close(&self) {
        *lock(&self.word) = None;
    }

    /// Whether there is something new to announce.
    pub(crate) fn has_changed(&self) -> bool {
        self.changed.load(SeqCst)
    }

    /// What to announce now, and which of the agent's words it is.
    pub(crate) fn take(&self) -> Option<(Record, u64)> {
        self.changed.store(false, SeqCst);
        let word = lock(&self.word);
        let Announcement { signal, version } = word.as_ref()?;
        let (mut signal, version) = (signal.clone(), *version);
        drop(word);
        signal.mono_ms = Some(clock::mono_ms());
        signal.announced = None;
        signal.container.clone_from(&self.container);
        Some((signal.fitting(Record::of).ok()?, version))
    }

    /// Notes the store's answer to a word; says whether that is news.
    pub(crate) fn tell(&self, version: u64, stored: Stored) -> bool {
        let announced = Announced {
            store: self.store.clone(),
            ok: stored.is_ok(),
            reason: stored.unwrap_or_else(Some),
        };
        let mut answer = lock(&self.answer);
        answer.version = version;
        let is_news = answer.announced.as_ref() != Some(&announced);
        answer.announced = Some(announced);
        drop(answer);
        if is_news {
            self.is_news.store(true, SeqCst);
        }
        self.came.notify_all();
        self.came_async.notify_waiters();
        is_news
    }

    /// Whether the answer has changed since the last call.
    pub(crate) fn take_news(&self) -> bool {
        self.is_news.swap(false, SeqCst)
    }

    /// The store's last answer.
    pub(crate) fn announced(&self) -> Option<Announced> {
        lock(&self.answer).announced.clone()
    }

    /// Waits until the store has that word or a later one. The error is the store's last answer.
    pub(crate) fn wait(&self, version: u64, timeout: Duration) -> Result<(), Option<String>> {
        // Longer than the clock can count means for ever.
        let until = clock::instant().checked_add(timeout);
        let mut answer = lock(&self.answer);
        while !answer.has(version) {
            let left = until.map_or(Duration::MAX, |until| {
                until.saturating_duration_since(clock::instant())
            });
            if left.is_zero() {
                return Err(answer.announced.as_ref().and_then(|a| a.reason.clone()));
            }
            (answer, _) = self
                .came
                .wait_timeout(answer, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    /// The same for callers that can't block.
    pub(crate) async fn until_announced(&self, version: u64) {
        loop {
            let came = self.came_async.notified();
            if lock(&self.answer).has(version) {
                return;
            }
            came.await;
        }
    }
}

impl LastAnswer {
    fn has(&self, version: u64) -> bool {
        self.version >= version && self.announced.as_ref().is_some_and(|a| a.ok)
    }
}

/// A panic elsewhere leaves what is locked as it was: every change to it is an assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
