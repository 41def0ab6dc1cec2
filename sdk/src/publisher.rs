//! One agent's word, and the one place that writes it: into the container's folder, and into the
//! [`Outbox`] for whoever announces it.
//!
//! Invariant: nothing is logged while a lock is held. A subscriber may call back into this crate,
//! block, or panic.
//!
//! Invariant: a forked child takes none of these locks and frees none of this memory; another
//! thread of the parent may have been in the middle of it.

mod identity;
mod log;
mod progress;
mod refused;
mod word;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::{Map, Value};

pub(crate) use identity::Identity;
pub use identity::use_sdk;

use crate::backoff::{BACKOFF_MS, backoff_ms};
use crate::folder::Publication;
use crate::outbox::Outbox;
use crate::signal::{self, Announced, Instance, Name, Signal, State};
use crate::watchdog::{Gap, Watchdog};
use crate::{Result, clock};
use log::Note;
use word::Word;

#[derive(Debug)]
pub(crate) struct Publisher {
    identity: Arc<Identity>,
    pub(crate) name: Name,
    instance: Instance,
    outbox: Option<Arc<Outbox>>,
    /// Wakes the heartbeat.
    wake: Wake,
    ttl_ms: u64,
    beat_ms: u64,
    watchdog: Option<Watchdog>,
    /// Changed only while `inner` is locked; read without it.
    word: ArcSwap<Word>,
    /// The same holds.
    closed: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    publication: Publication,
    seq: u64,
    /// Counts what the agent has said.
    version: u64,
    next_beat_ms: u64,
    outage: Option<FolderOutage>,
}

/// Since when the folder has refused beats.
#[derive(Debug)]
struct FolderOutage {
    since_ms: u64,
    failures: u32,
}

pub(crate) struct Wake(pub(crate) Box<dyn Fn() + Send + Sync>);

impl fmt::Debug for Wake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wake")
    }
}

/// How often an agent beats, and how long each beat counts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) ttl_ms: u64,
    pub(crate) beat_ms: u64,
    /// The longest time without progress.
    pub(crate) watchdog_ms: Option<u64>,
}

impl Publisher {
    pub(crate) fn new(
        identity: &Arc<Identity>,
        publication: Publication,
        pace: Pace,
        outbox: Option<Arc<Outbox>>,
        wake: Wake,
    ) -> Self {
        let now_ms = clock::mono_ms();
        Self {
            identity: Arc::clone(identity),
            name: publication.agent().clone(),
            instance: match &outbox {
                Some(outbox) => outbox.published.instance.clone(),
                None => identity.instance(),
            },
            outbox,
            wake,
            ttl_ms: pace.ttl_ms,
            beat_ms: pace.beat_ms,
            watchdog: pace
                .watchdog_ms
                .map(|limit_ms| Watchdog::new(limit_ms, now_ms)),
            word: ArcSwap::from_pointee(Word::first()),
            closed: AtomicBool::new(false),
            inner: Mutex::new(Inner {
                publication,
                seq: 0,
                version: 0,
                next_beat_ms: now_ms + pace.beat_ms,
                outage: None,
            }),
        }
    }

    /// Publishes the first record. The next beat comes at a random phase of the interval: agents
    /// that start together must not beat in step.
    pub(crate) fn first_beat(&self) -> Result<()> {
        let mut inner = self.lock();
        if self.is_removed() {
            return Err(self.is_closed());
        }
        let (result, note) = self.write(&mut inner);
        if result.is_ok() {
            inner.next_beat_ms = clock::mono_ms() + fastrand::u64(0..=self.beat_ms);
        }
        drop(inner);
        Note::log(note, &self.name);
        result
    }

    pub(crate) fn mark_ready(&self, details: Map<String, Value>) -> Result<()> {
        self.change(State::Ready, None, Some(details))
    }

    pub(crate) fn mark_not_ready(&self, reason: &str) -> Result<()> {
        self.change(State::NotReady, Some(reason), None)
    }

    /// Publishes `stopping`, the last word. If repeated, the first reason stays.
    pub(crate) fn stop(&self, reason: &str) -> Result<()> {
        self.check_own()?;
        if self.said() == State::Stopping && !self.is_removed() {
            return Ok(());
        }
        self.change(State::Stopping, Some(reason), None)
    }

    /// Removes the signal from the folder, and ends its beats. `None` if that was done before; the
    /// result has to be logged once the agent is forgotten.
    pub(crate) fn remove(&self) -> Option<Result<()>> {
        let mut inner = self.lock();
        if self.closed.swap(true, SeqCst) {
            return None;
        }
        let result = inner.publication.remove();
        if let Some(outbox) = &self.outbox {
            outbox.close();
        }
        Some(result)
    }

    /// Ends its beats, and leaves the signal as it is: another agent of that name takes its place.
    pub(crate) fn cede(&self) {
        let _inner = self.lock();
        self.closed.store(true, SeqCst);
    }

    pub(crate) fn is_removed(&self) -> bool {
        self.closed.load(SeqCst)
    }

    /// A pass of the heartbeat thread: notices a stall, and beats when it is time. Returns when to
    /// pass again.
    pub(crate) fn attend(&self, now_ms: u64, gap: Option<Gap>) -> u64 {
        let mut inner = self.lock();
        if self.is_removed() {
            return u64::MAX;
        }
        let watched = (self.watchdog.as_ref()).filter(|_| self.said() == State::Ready);
        let stalled = watched
            .filter(|watchdog| watchdog.look(now_ms, gap))
            .and_then(|watchdog| watchdog.stall(now_ms));
        if stalled.is_some() {
            self.note_since();
            inner.version += 1;
        }
        // The record holds the store's answer.
        let has_news = self.outbox.as_ref().is_some_and(|o| o.take_news());
        let mut note = None;
        if stalled.is_some() || has_news || inner.next_beat_ms <= now_ms {
            // A failure is noted, and the next attempt scheduled.
            (_, note) = self.write(&mut inner);
        }
        let next_look_ms = self.watchdog.as_ref().map(|w| w.next_look_ms(now_ms));
        let next_ms = inner.next_beat_ms.min(next_look_ms.unwrap_or(u64::MAX));
        drop(inner);
        Note::log(stalled.map(Note::Stalled), &self.name);
        Note::log(note, &self.name);
        next_ms
    }

    /// What the signal says now. Takes no lock.
    pub(crate) fn state(&self) -> State {
        self.word.load().state_with(self.is_stalled())
    }

    /// Whether the calling process publishes it, and not the one that this was forked from.
    pub(crate) fn is_own(&self) -> bool {
        self.identity.is_current()
    }

    /// The store's last answer.
    pub(crate) fn announced(&self) -> Option<Announced> {
        self.outbox.as_ref()?.announced()
    }

    /// Waits until the store has what the agent says now.
    pub(crate) fn wait_announced(&self, timeout: Duration) -> Result<()> {
        let (outbox, version) = self.to_wait_for()?;
        outbox
            .wait(version, timeout)
            .map_err(|why| self.is_not_announced(&outbox.store, timeout, why))
    }

    /// The same for callers that can't block, without a limit.
    pub(crate) async fn until_announced(&self) -> Result<()> {
        let (outbox, version) = self.to_wait_for()?;
        outbox.until_announced(version).await;
        Ok(())
    }

    fn to_wait_for(&self) -> Result<(&Outbox, u64)> {
        self.check_own()?;
        let outbox = self.outbox.as_ref().ok_or_else(|| self.has_no_store())?;
        Ok((outbox, self.lock().version))
    }

    fn change(
        &self,
        state: State,
        reason: Option<&str>,
        details: Option<Map<String, Value>>,
    ) -> Result<()> {
        self.check_own()?;
        if let Some(details) = &details {
            self.check_size(details)?;
        }
        let mut inner = self.lock();
        let before = self.word.load_full();
        if self.is_removed() {
            return Err(self.is_closed());
        }
        if before.state == State::Stopping {
            return Err(self.is_stopping(before.reason.as_deref()));
        }
        let resumed = self.watchdog.as_ref().is_some_and(|watchdog| {
            let now_ms = clock::mono_ms();
            // While it was not ready, nothing was watched; everything begins anew.
            if before.state == State::Ready && state == State::Ready {
                watchdog.mark(now_ms)
            } else {
                watchdog.begin_anew(now_ms)
            }
        });
        let reason = reason
            .map(signal::clean_reason)
            .filter(|r| !r.trim().is_empty());
        let as_before = before.state == state && before.reason == reason && !resumed;
        self.word.store(Arc::new(Word {
            state,
            reason,
            details: details.unwrap_or_else(|| before.details.clone()),
            since: if as_before {
                before.since.clone()
            } else {
                clock::wall_rfc3339()
            },
        }));
        inner.version += 1;
        let (result, note) = self.write(&mut inner);
        drop(inner);
        (self.wake.0)();
        Note::log(note, &self.name);
        result
    }

    fn write(&self, inner: &mut Inner) -> (Result<()>, Option<Note>) {
        let now_ms = clock::mono_ms();
        inner.seq += 1;
        let signal = self.signal(&self.word.load(), inner.seq, now_ms);
        let written = signal
            .fitting(Signal::encode)
            .and_then(|record| inner.publication.write(&record));
        // A record that the folder refuses can be announced all the same.
        if let Some(outbox) = &self.outbox {
            outbox.put(signal, inner.version);
        }
        match written {
            Ok(()) => {
                let fifth = self.beat_ms / 5;
                inner.next_beat_ms = now_ms + self.beat_ms - fifth + fastrand::u64(0..=2 * fifth);
                let outage = inner.outage.take();
                let note = outage.map(|outage| Note::FolderTakes {
                    outage_ms: now_ms.saturating_sub(outage.since_ms),
                });
                (Ok(()), note)
            }
            Err(e) => {
                let note = inner
                    .outage
                    .is_none()
                    .then(|| Note::FolderRefuses(e.clone()));
                let outage = inner.outage.get_or_insert(FolderOutage {
                    since_ms: now_ms,
                    failures: 0,
                });
                // A short TTL leaves no time for the longest backoff.
                let pause_ms = backoff_ms(outage.failures).min(self.beat_ms.max(BACKOFF_MS.0));
                outage.failures = outage.failures.saturating_add(1);
                inner.next_beat_ms = now_ms + pause_ms;
                (Err(e), note)
            }
        }
    }

    /// A stall begins or ends: the published state holds since now.
    fn note_since(&self) {
        let mut word = Word::clone(&self.word.load());
        word.since = clock::wall_rfc3339();
        self.word.store(Arc::new(word));
    }

    /// The agent's own last word; see [`Publisher::state`] for what is published.
    fn said(&self) -> State {
        self.word.load().state
    }

    pub(crate) fn is_stalled(&self) -> bool {
        self.watchdog.as_ref().is_some_and(Watchdog::is_stalled)
    }

    fn check_own(&self) -> Result<()> {
        if self.is_own() {
            return Ok(());
        }
        Err(self.is_forked())
    }

    /// A panic elsewhere leaves the word as it was: every change to it is a single assignment.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
