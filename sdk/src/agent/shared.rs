//! What the heartbeat thread, the registry and the [`Agent`](crate::Agent) share: the agent's word,
//! and the one place that writes it.
//!
//! Invariant: nothing is logged while a lock is held. A subscriber may call back into this crate,
//! block, or panic.
//!
//! Invariant: a forked child takes none of these locks and frees none of this memory; another
//! thread of the parent may have been in the middle of it.

mod announcing;

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use serde_json::{Map, Value};

use super::announcement::Announcement;
use super::note::Note;
use super::watchdog::{Gap, Watchdog};
use crate::announce::Announcer;
use crate::freshness::Span;
use crate::registry::{self, Process};
use crate::signal::{self, Instance, Name, Signal, State, VERSION};
use crate::store::local::Publication;
use crate::{Error, ErrorKind, Result, clock};

/// The shortest and the longest pause before a failed beat is tried again.
const BACKOFF_MS: (u64, u64) = (100, 5_000);

#[derive(Debug)]
pub(crate) struct Shared {
    process: Arc<Process>,
    pub(crate) name: Name,
    instance: Instance,
    announcement: Option<Announcement>,
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
    outage: Option<Outage>,
}

/// What the agent says of itself.
#[derive(Debug, Clone)]
struct Word {
    state: State,
    reason: Option<String>,
    details: Map<String, Value>,
    /// Since when the published state holds.
    since: String,
}

/// The local store has refused beats since then.
#[derive(Debug)]
struct Outage {
    since_ms: u64,
    failures: u32,
}

impl Shared {
    pub(crate) fn new(
        process: &Arc<Process>,
        publication: Publication,
        (ttl_ms, beat_ms): (u64, u64),
        watchdog_ms: Option<u64>,
        announcer: Option<Arc<Announcer>>,
    ) -> Self {
        let now_ms = clock::mono_ms();
        let instance = Instance::of_process(&process.host, process.pid, process.pid_start);
        Self {
            process: Arc::clone(process),
            name: publication.agent().clone(),
            // Elsewhere, host name and process id are not enough to tell one from another.
            instance: match &announcer {
                Some(_) => instance.with_nonce(&process.nonce),
                None => instance,
            },
            announcement: announcer.map(Announcement::new),
            ttl_ms,
            beat_ms,
            watchdog: watchdog_ms.map(|limit_ms| Watchdog::new(limit_ms, now_ms)),
            word: ArcSwap::from_pointee(Word {
                state: State::Starting,
                reason: None,
                details: Map::new(),
                since: clock::wall_rfc3339(),
            }),
            closed: AtomicBool::new(false),
            inner: Mutex::new(Inner {
                publication,
                seq: 0,
                version: 0,
                next_beat_ms: now_ms + beat_ms,
                outage: None,
            }),
        }
    }

    /// Publishes the first record. The next beat comes at a random phase of the interval: agents
    /// that were started together must not beat in step.
    pub(crate) fn first_beat(&self) -> Result<()> {
        let mut inner = self.lock();
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

    /// Publishes `stopping`, the last word. Said twice, the first reason stands.
    pub(crate) fn stop(&self, reason: &str) -> Result<()> {
        self.check_own()?;
        if self.said() == State::Stopping && !self.is_removed() {
            return Ok(());
        }
        self.change(State::Stopping, Some(reason), None)
    }

    /// Removes the signal, and ends its beats. Once: by then the name may be published anew.
    pub(crate) fn remove(&self) {
        let mut inner = self.lock();
        if self.closed.swap(true, SeqCst) {
            return;
        }
        let result = inner.publication.remove();
        drop(inner);
        self.withdraw();
        self.process.forget(&self.name);
        if let Err(e) = result {
            tracing::warn!(agent = %self.name, "{e}");
        }
    }

    pub(crate) fn is_removed(&self) -> bool {
        self.closed.load(SeqCst)
    }

    pub(crate) fn tick(&self) -> Result<()> {
        self.check_own()?;
        // What is in flight ends well, and nobody watches it any more.
        if self.said() == State::Stopping {
            return if self.is_removed() {
                Err(self.is_closed())
            } else {
                Ok(())
            };
        }
        match &self.watchdog {
            Some(watchdog) if watchdog.tick(clock::mono_ms()) => self.resume(),
            Some(_) | None => Ok(()),
        }
    }

    pub(crate) fn arm(&self) -> Result<()> {
        // The time before is not the agent's: it is progress first, and watched then.
        self.tick()?;
        if let Some(watchdog) = &self.watchdog {
            watchdog.arm();
        }
        Ok(())
    }

    pub(crate) fn disarm(&self) -> Result<()> {
        if let Some(watchdog) = &self.watchdog {
            watchdog.disarm();
        }
        self.tick()
    }

    /// A stall has ended: says so at once.
    fn resume(&self) -> Result<()> {
        let mut inner = self.lock();
        if self.is_removed() {
            return Err(self.is_closed());
        }
        self.note_since();
        inner.version += 1;
        let (result, note) = self.write(&mut inner);
        drop(inner);
        self.announce_change();
        self.process.wake();
        Note::log(note, &self.name);
        Note::log(Some(Note::Resumed), &self.name);
        result
    }

    /// What the heartbeat thread does when it passes: notices a stall, and beats when it is time.
    /// Returns when it wants to be passed again.
    pub(crate) fn attend(&self, now_ms: u64, gap: Option<Gap>) -> u64 {
        let mut inner = self.lock();
        if self.is_removed() {
            return u64::MAX;
        }
        let armed = self
            .watchdog
            .as_ref()
            .filter(|watchdog| self.said() == State::Ready && watchdog.is_armed());
        let stalled = armed
            .filter(|watchdog| watchdog.look(now_ms, gap))
            .map(|watchdog| {
                self.note_since();
                Note::Stalled {
                    idle_ms: watchdog.idle_ms(now_ms),
                    limit_ms: watchdog.limit_ms(),
                }
            });
        let mut note = None;
        inner.version += u64::from(stalled.is_some());
        if stalled.is_some() || inner.next_beat_ms <= now_ms {
            // A failure is noted, and the next attempt scheduled.
            (_, note) = self.write(&mut inner);
        }
        let next_look_ms = self.watchdog.as_ref().map(|w| w.next_look_ms(now_ms));
        let next_ms = inner.next_beat_ms.min(next_look_ms.unwrap_or(u64::MAX));
        drop(inner);
        if stalled.is_some() {
            self.announce_change();
        }
        Note::log(stalled, &self.name);
        Note::log(note, &self.name);
        next_ms
    }

    /// What the signal says now. Takes no lock.
    pub(crate) fn state(&self) -> State {
        self.word.load().state_with(self.is_stalled())
    }

    pub(crate) fn is_own(&self) -> bool {
        self.process.pid == std::process::id()
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
        // Whatever an agent says of itself is progress.
        let resumed = self
            .watchdog
            .as_ref()
            .is_some_and(|w| w.tick(clock::mono_ms()));
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
        self.announce_change();
        self.process.wake();
        Note::log(note, &self.name);
        result
    }

    fn write(&self, inner: &mut Inner) -> (Result<()>, Option<Note>) {
        let now_ms = clock::mono_ms();
        inner.seq += 1;
        let result = self
            .encode(inner.seq, now_ms)
            .and_then(|record| inner.publication.write(&record));
        match result {
            Ok(()) => {
                let fifth = self.beat_ms / 5;
                inner.next_beat_ms = now_ms + self.beat_ms - fifth + fastrand::u64(0..=2 * fifth);
                let outage = inner.outage.take();
                let note = outage.map(|outage| Note::StoreTakes {
                    outage_ms: now_ms.saturating_sub(outage.since_ms),
                });
                (Ok(()), note)
            }
            Err(e) => {
                let note = inner
                    .outage
                    .is_none()
                    .then(|| Note::StoreRefuses(e.clone()));
                let outage = inner.outage.get_or_insert(Outage {
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

    /// What the agent says matters more than its details: those are left out where both do not
    /// fit, as with a long reason for not being ready.
    fn encode(&self, seq: u64, now_ms: u64) -> Result<Vec<u8>> {
        let mut record = self.record(&self.word.load(), seq, now_ms);
        record.encode().or_else(|_| {
            record.details = Map::new();
            record.encode()
        })
    }

    /// Details are refused when they come, not when the sequence number has grown a digit.
    fn check_size(&self, details: &Map<String, Value>) -> Result<()> {
        let word = Word {
            state: State::Ready,
            reason: None,
            details: details.clone(),
            since: clock::wall_rfc3339(),
        };
        let mut record = self.record(&word, u64::MAX, u64::MAX);
        // The same record has to fit elsewhere, too.
        if let Some(announcement) = &self.announcement {
            record.container = announcement.announcer.container().map(ToOwned::to_owned);
        }
        record.encode().map(drop)
    }

    fn record(&self, word: &Word, seq: u64, now_ms: u64) -> Signal {
        let stalled = self.watchdog.as_ref().filter(|w| w.is_stalled());
        let reason = match stalled {
            Some(watchdog) if word.state == State::Ready => Some(format!(
                "stalled: no progress for {} (limit {})",
                Span(watchdog.idle_ms(now_ms)),
                Span(watchdog.limit_ms())
            )),
            Some(_) | None => word.reason.clone(),
        };
        let process = &self.process;
        Signal {
            v: VERSION,
            agent: self.name.clone(),
            instance: self.instance.clone(),
            state: word.state_with(stalled.is_some()),
            reason,
            details: word.details.clone(),
            ttl_ms: Some(self.ttl_ms),
            beat_ms: Some(self.beat_ms),
            seq,
            host: Some(process.host.clone()),
            pid: Some(process.pid),
            pid_start: process.pid_start,
            boot_id: process.epoch.boot_id.clone(),
            pid_ns: process.epoch.pid_ns,
            init_start: process.epoch.init_start,
            time_ns: process.epoch.time_ns,
            container: None,
            mono_ms: Some(now_ms),
            since: Some(word.since.clone()),
            sdk: Some(registry::sdk().to_owned()),
            announced: self.announcement_outcome(),
        }
    }

    /// A stall begins or ends: the published state holds since now.
    fn note_since(&self) {
        let mut word = Word::clone(&self.word.load());
        word.since = clock::wall_rfc3339();
        self.word.store(Arc::new(word));
    }

    /// What the agent itself said last; see [`Shared::state`] for what is published.
    fn said(&self) -> State {
        self.word.load().state
    }

    fn is_stalled(&self) -> bool {
        self.watchdog.as_ref().is_some_and(Watchdog::is_stalled)
    }

    /// A panic elsewhere leaves the word as it was: every change to it is a single assignment.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_own(&self) -> Result<()> {
        if self.is_own() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Forked,
            format!(
                "agent {} belongs to process {}, which this one was forked from: register or mark \
                 it anew in this process",
                self.name, self.process.pid
            ),
        ))
    }

    fn is_stopping(&self, reason: Option<&str>) -> Error {
        let why = reason.map_or(String::new(), |reason| format!(" ({reason})"));
        Error::new(
            ErrorKind::Closed,
            format!(
                "agent {} is stopping{why}: register or mark it anew once its signal is removed",
                self.name
            ),
        )
    }

    fn is_closed(&self) -> Error {
        Error::new(
            ErrorKind::Closed,
            format!(
                "agent {} was closed: register or mark it anew once its signal is removed",
                self.name
            ),
        )
    }
}

impl Word {
    fn state_with(&self, stalled: bool) -> State {
        if stalled && self.state == State::Ready {
            return State::NotReady;
        }
        self.state
    }
}

/// Doubles from 100 ms to 5 s, jittered, so that many agents do not retry in step.
pub(crate) fn backoff_ms(failures: u32) -> u64 {
    let (least_ms, most_ms) = BACKOFF_MS;
    let ceiling_ms = (least_ms << failures.min(6)).min(most_ms);
    fastrand::u64(ceiling_ms / 2..=ceiling_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_from_100ms_to_5s_with_jitter() {
        for (failures, ceiling_ms) in [
            (0, 100),
            (1, 200),
            (5, 3_200),
            (6, 5_000),
            (u32::MAX, 5_000),
        ] {
            for _ in 0..100 {
                let pause_ms = backoff_ms(failures);
                assert!(
                    (ceiling_ms / 2..=ceiling_ms).contains(&pause_ms),
                    "{failures}: {pause_ms}"
                );
            }
        }
    }
}
