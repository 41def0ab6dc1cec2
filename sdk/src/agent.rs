//! An agent as its own process sees it: its state, its progress, and what it publishes.
//!
//! Files are written through [`Publication`]; beats come from the heartbeat thread. This module
//! owns what the next record says.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::freshness::Span;
use crate::registry::Process;
use crate::signal::{self, BEATS_PER_TTL, DEFAULT_TTL_MS, Instance, Name, Signal, State, VERSION};
use crate::store::local::{LocalStore, Publication};
use crate::{Error, ErrorKind, Result, clock, registry};

/// The shortest limit a watchdog may have.
const MIN_WATCHDOG: Duration = Duration::from_millis(100);
/// What wrote the record.
const SDK: &str = concat!("rust/", env!("CARGO_PKG_VERSION"));

/// How an agent is to be published; see [`Agent::builder`].
#[derive(Debug, Clone)]
pub struct AgentBuilder {
    name: String,
    ttl: Duration,
    heartbeat: Option<Duration>,
    watchdog: Option<Duration>,
    store: Option<LocalStore>,
}

impl AgentBuilder {
    /// How long the signal lives after a beat: 1 s to 1 h, 60 s by default.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// The interval of the beats: a sixth of the TTL by default, at most half of it.
    #[must_use]
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.heartbeat = Some(interval);
        self
    }

    /// Promises a [`tick`](Agent::tick) at least this often while the agent is ready. Without one
    /// the signal turns to `not_ready`, `stalled: …`, until the next tick. At least 100 ms.
    #[must_use]
    pub fn watchdog(mut self, limit: Duration) -> Self {
        self.watchdog = Some(limit);
        self
    }

    /// Where to publish, instead of where `READY_DIR` and the defaults say.
    #[must_use]
    pub fn store(mut self, store: LocalStore) -> Self {
        self.store = Some(store);
        self
    }

    /// Publishes the agent as `starting` and keeps its signal alive from now on.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidName`] and [`ErrorKind::InvalidArgument`] for what breaks a limit,
    /// [`ErrorKind::AlreadyRegistered`] when this process publishes that name already,
    /// [`ErrorKind::LocalStore`] when no folder can be written, [`ErrorKind::Thread`] when the
    /// heartbeat can't be started.
    pub fn register(self) -> Result<Agent> {
        let shared = self.publish(&registry::current())?;
        Ok(Agent { shared })
    }

    /// Registers with `process`, and publishes the first record.
    pub(crate) fn publish(self, process: &Arc<Process>) -> Result<Arc<Shared>> {
        let name = Name::new(&self.name)?;
        let ttl_ms = millis(self.ttl);
        signal::check_ttl_ms(ttl_ms)?;
        let beat_ms = match self.heartbeat {
            None => ttl_ms / BEATS_PER_TTL,
            Some(interval) => check_heartbeat(millis(interval), ttl_ms)?,
        };
        let watchdog_ms = self.watchdog.map(check_watchdog).transpose()?;
        let store = match self.store {
            Some(store) => store,
            None => process.store()?,
        };
        let publication = Publication::new(store, name.clone(), process.pid, process.pid_start);
        publication.remove_dead_predecessors(&process.epoch);
        let now_ms = clock::mono_ms();
        let shared = Arc::new(Shared {
            process: Arc::clone(process),
            name,
            ttl_ms,
            beat_ms,
            watchdog_ms,
            progress_ms: AtomicU64::new(0),
            stalled: AtomicBool::new(false),
            inner: Mutex::new(Inner {
                publication,
                word: Word::new(State::Starting, None, Map::new()),
                seq: 0,
                next_beat_ms: now_ms + fastrand::u64(0..=beat_ms),
                outage: None,
                closed: false,
            }),
        });
        process.add(&shared)?;
        if let Err(e) = shared.beat(now_ms) {
            process.forget(&shared.name);
            return Err(e);
        }
        Ok(shared)
    }
}

/// An agent of this process. Dropping it closes it.
///
/// ```
/// use std::time::Duration;
/// use ready_probe_sdk::Agent;
/// # let dir = tempfile::tempdir()?;
/// # ready_probe_sdk::use_dir(dir.path())?;
///
/// let agent = Agent::builder("translator")
///     .ttl(Duration::from_secs(30))
///     .watchdog(Duration::from_secs(10))
///     .register()?;
/// // … load the model …
/// agent.mark_ready(serde_json::json!({ "model": "large" }))?;
/// for _job in 0..3 {
///     // … work …
///     agent.tick()?;
/// }
/// let draining = agent.close("deploy")?;
/// // … finish what is in flight …
/// drop(draining);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Agent {
    shared: Arc<Shared>,
}

impl Agent {
    /// Starts describing an agent.
    #[must_use]
    pub fn builder(name: &str) -> AgentBuilder {
        AgentBuilder {
            name: name.to_owned(),
            ttl: Duration::from_millis(DEFAULT_TTL_MS),
            heartbeat: None,
            watchdog: None,
            store: None,
        }
    }

    /// Says that the agent does its work. `details` is anything that serialises to a JSON object,
    /// or `()`. Returns once the local signal is written.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] and [`ErrorKind::TooLarge`] for details that can't be
    /// published, [`ErrorKind::LocalStore`] when the signal can't be written (it is tried again
    /// with every beat), [`ErrorKind::Forked`] and [`ErrorKind::Closed`].
    pub fn mark_ready(&self, details: impl Serialize) -> Result<()> {
        self.shared.mark_ready(&details)
    }

    /// Says that the agent can't do its work now, and why.
    ///
    /// # Errors
    /// As [`Agent::mark_ready`].
    pub fn mark_not_ready(&self, reason: &str) -> Result<()> {
        self.shared.mark_not_ready(reason)
    }

    /// Proves progress to the watchdog. Cheap: call it in the innermost loop.
    ///
    /// # Errors
    /// [`ErrorKind::Forked`], [`ErrorKind::Closed`], and after a stall what
    /// [`Agent::mark_ready`] may say.
    pub fn tick(&self) -> Result<()> {
        self.shared.tick()
    }

    /// What the signal says now: [`State::NotReady`] also while the agent is stalled.
    #[must_use]
    pub fn state(&self) -> State {
        self.shared.lock().word.state_with(self.shared.is_stalled())
    }

    /// The agent's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.shared.name.as_str()
    }

    /// Publishes `stopping` with the reason. The signal is removed when the returned guard is
    /// dropped, so hold it while you drain.
    ///
    /// # Errors
    /// As [`Agent::mark_ready`].
    pub fn close(self, reason: &str) -> Result<Draining> {
        let shared = Arc::clone(&self.shared);
        shared.stop(reason)?;
        Ok(Draining { shared })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let stopping = self.shared.lock().word.state == State::Stopping;
        if stopping || !self.shared.is_own() {
            return;
        }
        // An agent that is dropped because its thread panics must not vanish as if it had ended
        // well: its record stays, and fails.
        let panicking = std::thread::panicking();
        let reason = if panicking { "panicked" } else { "closed" };
        if self.shared.stop(reason).is_ok() && !panicking {
            self.shared.remove();
        }
    }
}

/// An agent that says `stopping` until this is dropped; then its signal is removed.
#[derive(Debug)]
#[must_use = "the signal is removed as soon as this is dropped: hold it while you drain"]
pub struct Draining {
    shared: Arc<Shared>,
}

impl Drop for Draining {
    fn drop(&mut self) {
        if self.shared.is_own() {
            self.shared.remove();
        }
    }
}

/// What the heartbeat thread, the registry and the [`Agent`] share.
#[derive(Debug)]
pub(crate) struct Shared {
    process: Arc<Process>,
    pub(crate) name: Name,
    ttl_ms: u64,
    beat_ms: u64,
    watchdog_ms: Option<u64>,
    /// The last tick, in the process's running time (see [`Process::running_ms`]).
    progress_ms: AtomicU64,
    stalled: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    publication: Publication,
    word: Word,
    seq: u64,
    next_beat_ms: u64,
    outage: Option<Outage>,
    closed: bool,
}

/// What the agent says of itself.
#[derive(Debug, Clone)]
struct Word {
    state: State,
    reason: Option<String>,
    details: Map<String, Value>,
    since: String,
}

/// The local store has refused beats since then.
#[derive(Debug)]
struct Outage {
    since_ms: u64,
    failures: u32,
}

impl Word {
    fn new(state: State, reason: Option<&str>, details: Map<String, Value>) -> Self {
        Self {
            state,
            reason: reason.map(signal::clean_reason),
            details,
            since: clock::wall_rfc3339(),
        }
    }

    fn state_with(&self, stalled: bool) -> State {
        match self.state {
            State::Ready if stalled => State::NotReady,
            state => state,
        }
    }
}

impl Shared {
    pub(crate) fn mark_ready(&self, details: &impl Serialize) -> Result<()> {
        let details = object(details)?;
        self.change(|this, inner| {
            this.prove_progress();
            this.stalled.store(false, Ordering::Release);
            inner.word = Word::new(State::Ready, None, details);
        })
    }

    pub(crate) fn mark_not_ready(&self, reason: &str) -> Result<()> {
        self.change(|this, inner| {
            this.stalled.store(false, Ordering::Release);
            let details = std::mem::take(&mut inner.word.details);
            inner.word = Word::new(State::NotReady, Some(reason), details);
        })
    }

    pub(crate) fn stop(&self, reason: &str) -> Result<()> {
        self.change(|_, inner| {
            let details = std::mem::take(&mut inner.word.details);
            inner.word = Word::new(State::Stopping, Some(reason), details);
        })
    }

    /// Removes the signal, and ends its beats.
    pub(crate) fn remove(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        if let Err(e) = inner.publication.remove() {
            tracing::warn!(agent = %self.name, "{e}");
        }
        drop(inner);
        self.process.forget(&self.name);
    }

    fn tick(&self) -> Result<()> {
        if !self.is_own() {
            return Err(self.forked());
        }
        self.prove_progress();
        if !self.stalled.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        tracing::info!(agent = %self.name, "agent makes progress again");
        self.beat(clock::mono_ms())
    }

    /// Publishes the next record now. What fails is tried again by the heartbeat.
    pub(crate) fn beat(&self, now_ms: u64) -> Result<()> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(self.is_closed());
        }
        self.write(&mut inner, now_ms)
    }

    /// What the heartbeat thread does when it passes: notices a stall, and beats when it is time.
    /// Returns when it wants to be passed again.
    pub(crate) fn attend(&self, now_ms: u64) -> u64 {
        let mut inner = self.lock();
        if inner.closed {
            return u64::MAX;
        }
        let watched = inner.word.state == State::Ready;
        let newly_stalled = watched && self.notice_stall(now_ms);
        if newly_stalled || inner.next_beat_ms <= now_ms {
            // Said in the log when the outage began; the next attempt is scheduled.
            let _ = self.write(&mut inner, now_ms);
        }
        match self.watchdog_ms {
            Some(limit_ms) if watched && !self.is_stalled() => inner
                .next_beat_ms
                .min(now_ms + self.watch_step_ms(now_ms, limit_ms)),
            Some(_) | None => inner.next_beat_ms,
        }
    }

    /// How soon the watchdog looks again: at its expiry, and often enough before that a gap in the
    /// thread's own schedule can be told from a stall.
    fn watch_step_ms(&self, now_ms: u64, limit_ms: u64) -> u64 {
        let left_ms = (limit_ms + 1).saturating_sub(self.idle_ms(now_ms));
        left_ms.clamp(1, (limit_ms / 4).clamp(10, 1_000))
    }

    fn notice_stall(&self, now_ms: u64) -> bool {
        let Some(limit_ms) = self.watchdog_ms else {
            return false;
        };
        if self.idle_ms(now_ms) <= limit_ms || self.stalled.swap(true, Ordering::AcqRel) {
            return false;
        }
        tracing::warn!(agent = %self.name, limit_ms, "agent stalled");
        true
    }

    /// Time without a tick, in which this process was running.
    fn idle_ms(&self, now_ms: u64) -> u64 {
        self.process
            .running_ms(now_ms)
            .saturating_sub(self.progress_ms.load(Ordering::Acquire))
    }

    fn prove_progress(&self) {
        let now_ms = self.process.running_ms(clock::mono_ms());
        self.progress_ms.store(now_ms, Ordering::Release);
    }

    fn change(&self, apply: impl FnOnce(&Self, &mut Inner)) -> Result<()> {
        if !self.is_own() {
            return Err(self.forked());
        }
        let mut inner = self.lock();
        if inner.closed {
            return Err(self.is_closed());
        }
        let before = inner.word.clone();
        apply(self, &mut inner);
        if inner.word.state == before.state && inner.word.reason == before.reason {
            inner.word.since.clone_from(&before.since);
        }
        let result = self.write(&mut inner, clock::mono_ms());
        if let Err(e) = &result
            && e.kind() == ErrorKind::TooLarge
        {
            // It can never be published: the agent's last word stands.
            inner.word = before;
        }
        drop(inner);
        self.process.wake();
        result
    }

    fn write(&self, inner: &mut Inner, now_ms: u64) -> Result<()> {
        let record = self.record(inner, now_ms).encode()?;
        inner.seq += 1;
        let result = inner.publication.write(&record);
        match &result {
            Ok(()) => {
                // A fleet that was started together must not beat in step: ±20 %.
                let fifth = self.beat_ms / 5;
                inner.next_beat_ms = now_ms + self.beat_ms - fifth + fastrand::u64(0..=2 * fifth);
                if let Some(outage) = inner.outage.take() {
                    let lasted = Span(now_ms.saturating_sub(outage.since_ms));
                    tracing::info!(agent = %self.name, "the local signal is written again after {lasted}");
                }
            }
            Err(e) => {
                if inner.outage.is_none() {
                    tracing::error!(agent = %self.name, "{e}");
                }
                let outage = inner.outage.get_or_insert(Outage {
                    since_ms: now_ms,
                    failures: 0,
                });
                inner.next_beat_ms = now_ms + backoff_ms(outage.failures);
                outage.failures = outage.failures.saturating_add(1);
            }
        }
        result
    }

    fn record(&self, inner: &Inner, now_ms: u64) -> Signal {
        let word = &inner.word;
        let stalled = self.is_stalled();
        let state = word.state_with(stalled);
        let reason = match self.watchdog_ms {
            Some(limit_ms) if stalled && word.state == State::Ready => Some(format!(
                "stalled: no progress for {} (limit {})",
                Span(self.idle_ms(now_ms)),
                Span(limit_ms)
            )),
            Some(_) | None => word.reason.clone(),
        };
        let process = &self.process;
        Signal {
            v: VERSION,
            agent: self.name.clone(),
            instance: Instance::of_process(&process.host, process.pid, process.pid_start),
            state,
            reason,
            details: word.details.clone(),
            ttl_ms: Some(self.ttl_ms),
            beat_ms: Some(self.beat_ms),
            seq: inner.seq,
            host: Some(process.host.clone()),
            pid: Some(process.pid),
            pid_start: process.pid_start,
            boot_id: process.epoch.boot_id.clone(),
            pid_ns: process.epoch.pid_ns,
            init_start: process.epoch.init_start,
            mono_ms: Some(now_ms),
            since: Some(word.since.clone()),
            sdk: Some(SDK.to_owned()),
            announced: None,
        }
    }

    fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Acquire)
    }

    pub(crate) fn is_own(&self) -> bool {
        self.process.pid == std::process::id()
    }

    /// A panic elsewhere leaves the word as it was: every change to it is a single assignment.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forked(&self) -> Error {
        Error::new(
            ErrorKind::Forked,
            format!(
                "agent {} belongs to process {}, which this one was forked from: register or mark \
                 it anew in this process",
                self.name, self.process.pid
            ),
        )
    }

    fn is_closed(&self) -> Error {
        Error::new(ErrorKind::Closed, format!("agent {} was closed", self.name))
    }
}

/// Doubles from 100 ms to 5 s, jittered, so that many agents do not retry in step.
pub(crate) fn backoff_ms(failures: u32) -> u64 {
    let ceiling = (100_u64 << failures.min(6)).min(5_000);
    fastrand::u64(ceiling / 2..=ceiling)
}

fn object(details: &impl Serialize) -> Result<Map<String, Value>> {
    let wrong = |what: String| Error::new(ErrorKind::InvalidArgument, what);
    match serde_json::to_value(details) {
        Ok(Value::Null) => Ok(Map::new()),
        Ok(Value::Object(map)) => Ok(map),
        Ok(Value::Array(_)) => Err(wrong("details must be a JSON object, not an array".into())),
        Ok(Value::String(_) | Value::Number(_) | Value::Bool(_)) => Err(wrong(
            "details must be a JSON object, not a single value".into(),
        )),
        Err(e) => Err(wrong(format!("details can't be written as JSON: {e}"))),
    }
}

fn check_heartbeat(beat_ms: u64, ttl_ms: u64) -> Result<u64> {
    if (50..=ttl_ms / 2).contains(&beat_ms) {
        return Ok(beat_ms);
    }
    Err(Error::new(
        ErrorKind::InvalidArgument,
        format!(
            "a heartbeat every {} is out of range: at least 50ms, at most half the TTL of {}",
            Span(beat_ms),
            Span(ttl_ms)
        ),
    ))
}

fn check_watchdog(limit: Duration) -> Result<u64> {
    if limit >= MIN_WATCHDOG {
        return Ok(millis(limit));
    }
    Err(Error::new(
        ErrorKind::InvalidArgument,
        format!(
            "a watchdog of {}ms is too short: at least 100ms",
            limit.as_millis()
        ),
    ))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
