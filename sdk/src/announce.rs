//! Announcing: what this process publishes in its container, it also publishes in a store, for
//! everybody else.
//!
//! One task a store, on the heartbeat's thread. Agents never wait for it: it comes by, takes what is
//! due, and tells each agent what became of it. Everything that is due goes together, over one
//! connection, one request at a time: what a store was told last is what holds.

mod destination;

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;

pub(crate) use destination::Destination;

use crate::agent::{Shared, backoff_ms};
use crate::clock;
use crate::freshness::{self, NotReady, Span};
use crate::host::Epoch;
use crate::signal::{BEATS_PER_TTL, DEFAULT_TTL_MS, Name};
use crate::store::connected::{self, Connected};
use crate::store::{Failure, Published, Record, Seen, Store, Stored};

/// A store far away, or busy, has at least so long to answer, however short the beats are.
const MIN_LIMIT_MS: u64 = 1_000;
/// And at most so long: who waits for longer would not notice that the connection is dead.
const MAX_LIMIT_MS: u64 = 60_000;
/// Without an agent, as when one is taken back: half of what a beat is by default.
const IDLE_LIMIT_MS: u64 = DEFAULT_TTL_MS / BEATS_PER_TTL / 2;
/// After so many beats without an answer the connection is made anew.
const MAX_TIMEOUTS: u32 = 2;
/// How long a process that ends waits for its signals to be taken back.
const FAREWELL: Duration = Duration::from_secs(1);

/// What one process publishes in one store.
#[derive(Debug)]
pub(crate) struct Announcer {
    destination: Destination,
    epoch: Epoch,
    container: Option<String>,
    state: Mutex<State>,
    /// Something is due.
    wake: Notify,
    /// Something is done.
    done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    running: bool,
    agents: BTreeMap<Name, Entry>,
    /// Signals to be taken back, and until when they would live anyway.
    withdrawn: Vec<(Published, u64)>,
    /// Of agents that can say nothing more, because their thread panicked.
    last_words: Vec<Record>,
    outage: Option<Outage>,
}

#[derive(Debug)]
struct Entry {
    agent: Weak<Shared>,
    beat_ms: u64,
    /// It has something new to say.
    changed: bool,
    /// When its record is to be renewed.
    renew_ms: u64,
    /// Its predecessor's record has not been looked for.
    is_new: bool,
    /// The store answers, and does not take it.
    is_refused: bool,
}

/// Something has not been announced since then.
#[derive(Debug)]
struct Outage {
    since_ms: u64,
    /// The store takes nothing at all.
    is_away: bool,
}

/// What goes to the store in one turn.
#[derive(Debug, Default)]
struct Work {
    agents: Vec<(Arc<Shared>, u64)>,
    records: Vec<Record>,
    withdrawn: Vec<Published>,
    newcomers: Vec<Name>,
    /// The shortest interval of all agents, due or not: the next of them waits behind this turn.
    beat_ms: Option<u64>,
}

impl Work {
    /// How long the store may take for it.
    fn limit_ms(&self) -> u64 {
        let limit_ms = self.beat_ms.map_or(IDLE_LIMIT_MS, |beat_ms| beat_ms / 2);
        limit_ms.clamp(MIN_LIMIT_MS, MAX_LIMIT_MS)
    }
}

/// The connection, and how it goes.
#[derive(Debug, Default)]
struct Session {
    connection: Option<Connected>,
    timeouts: u32,
    failures: u32,
    retry_ms: u64,
}

impl Announcer {
    pub(crate) fn new(destination: Destination, epoch: Epoch, container: Option<String>) -> Self {
        Self {
            destination,
            epoch,
            container,
            state: Mutex::default(),
            wake: Notify::new(),
            done: Condvar::new(),
        }
    }

    pub(crate) fn destination(&self) -> &Destination {
        &self.destination
    }

    /// The store, for people.
    pub(crate) fn store(&self) -> &str {
        self.destination.address.redacted()
    }

    /// The container, as records tell it.
    pub(crate) fn container(&self) -> Option<&str> {
        self.container.as_deref()
    }

    /// Announces an agent from now on.
    pub(crate) fn add(&self, agent: &Arc<Shared>, beat_ms: u64) {
        let entry = Entry {
            agent: Arc::downgrade(agent),
            beat_ms,
            changed: true,
            renew_ms: u64::MAX,
            is_new: true,
            is_refused: false,
        };
        self.lock().agents.insert(agent.name.clone(), entry);
        self.wake.notify_one();
    }

    /// An agent has something new to say.
    pub(crate) fn changed(&self, name: &Name) {
        if let Some(entry) = self.lock().agents.get_mut(name) {
            entry.changed = true;
        }
        self.wake.notify_one();
    }

    /// Takes a signal back, which would live for so long.
    pub(crate) fn withdraw(&self, published: Published, ttl_ms: u64) {
        let mut state = self.lock();
        state.agents.remove(&published.agent);
        let until_ms = clock::mono_ms().saturating_add(ttl_ms);
        state.withdrawn.push((published, until_ms));
        drop(state);
        self.wake.notify_one();
    }

    /// Announces the last record of an agent that is gone.
    pub(crate) fn say_last(&self, record: Record) {
        let mut state = self.lock();
        state.agents.remove(&record.published.agent);
        state.last_words.push(record);
        drop(state);
        self.wake.notify_one();
    }

    /// Waits until what was taken back is gone: for a moment only, and not at all while the store
    /// does not answer. The end of a process waits for nobody.
    pub(crate) fn wait_withdrawn(&self) {
        let state = self.lock();
        // Nothing can be done when it takes longer: the TTL is what remains.
        drop(self.done.wait_timeout_while(state, FAREWELL, |state| {
            let pending = !state.withdrawn.is_empty() || !state.last_words.is_empty();
            pending && state.running && !state.is_away()
        }));
    }

    /// Whether a task is to be started for it; it counts as started then.
    pub(crate) fn start(&self) -> bool {
        let mut state = self.lock();
        let starts = !state.running && !state.is_idle();
        state.running |= starts;
        starts
    }

    /// Announces for as long as there is something to announce. A panic ends it like anything else.
    pub(crate) async fn run(self: Arc<Self>) {
        let _running = Running(&self);
        let mut session = Session::default();
        loop {
            let now_ms = clock::mono_ms();
            let Some(due_ms) = self.due_ms() else { return };
            let at_ms = due_ms.max(session.retry_ms);
            if at_ms > now_ms {
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(at_ms - now_ms)) => {}
                    () = self.wake.notified() => {}
                }
                continue;
            }
            let work = self.take(now_ms);
            self.turn(&mut session, work).await;
        }
    }

    /// When something is due; nothing when there is nothing left to do. Then it is said to have
    /// ended: who comes later starts it again.
    fn due_ms(&self) -> Option<u64> {
        let mut state = self.lock();
        state
            .agents
            .retain(|_, entry| entry.agent.strong_count() > 0);
        let now_ms = clock::mono_ms();
        state.withdrawn.retain(|(_, until_ms)| *until_ms > now_ms);
        if state.is_idle() {
            state.running = false;
            return None;
        }
        if !state.withdrawn.is_empty() || !state.last_words.is_empty() {
            return Some(0);
        }
        let entries = state.agents.values();
        entries
            .map(|entry| if entry.changed { 0 } else { entry.renew_ms })
            .min()
    }

    /// Takes what is due.
    fn take(&self, now_ms: u64) -> Work {
        let mut state = self.lock();
        let due = state.due(now_ms);
        let last_words = state.last_words.clone();
        let withdrawn = state.withdrawn.iter().map(|(p, _)| p.clone()).collect();
        let beats_ms = state.agents.values().map(|entry| entry.beat_ms);
        let beat_ms = beats_ms.min();
        drop(state);
        // Without the lock: an agent that has something new to say must not wait for all of these.
        let mut work = Work {
            withdrawn,
            beat_ms,
            ..Work::default()
        };
        for Due { agent, is_new } in due {
            let Some((record, version)) = agent.announcement_record() else {
                continue;
            };
            if is_new {
                work.newcomers.push(agent.name.clone());
            }
            work.records.push(record);
            work.agents.push((agent, version));
        }
        work.records.extend(last_words);
        work
    }

    async fn turn(&self, session: &mut Session, work: Work) {
        let limit = Duration::from_millis(work.limit_ms());
        let delivered = tokio::time::timeout(limit, self.deliver(session, &work)).await;
        let now_ms = clock::mono_ms();
        match delivered {
            Ok(Ok(answers)) => {
                session.timeouts = 0;
                session.failures = 0;
                session.retry_ms = 0;
                self.settle(&work, &answers, now_ms);
                self.done.notify_all();
                self.tidy_up(session, &work, limit).await;
            }
            Ok(Err(failure)) => self.fail(session, &work, &failure),
            Err(_) => {
                session.timeouts += 1;
                let cause = format!("no answer within {}", Span(work.limit_ms()));
                let failure = if session.timeouts < MAX_TIMEOUTS {
                    Failure::answered(cause)
                } else {
                    Failure::lost(cause)
                };
                self.fail(session, &work, &failure);
            }
        }
        self.done.notify_all();
    }

    async fn deliver(&self, session: &mut Session, work: &Work) -> Result<Vec<Stored>, Failure> {
        let Destination { address, namespace } = &self.destination;
        let store = match &mut session.connection {
            Some(store) => store,
            none => none.insert(connected::connect(address, namespace).await?),
        };
        store.remove(&work.withdrawn).await?;
        store.put(&work.records).await
    }

    /// What an agent that comes finds of those before it. An extra, with a time of its own: an agent
    /// that may not read, or a store that is slow at it, is announced all the same.
    async fn tidy_up(&self, session: &mut Session, work: &Work, limit: Duration) {
        let Some(store) = &mut session.connection else {
            return;
        };
        if work.newcomers.is_empty() {
            return;
        }
        let tidied = tokio::time::timeout(limit, self.succeed(store, work)).await;
        let failure = match tidied {
            Ok(Ok(())) => return,
            Ok(Err(failure)) => failure,
            Err(_) => Failure::lost(format!("no answer within {}", Span(work.limit_ms()))),
        };
        if failure.reconnect {
            session.connection = None;
        }
        tracing::debug!(store = self.store(), "not tidied: {failure}");
    }

    /// Takes the place of whoever had the agents' names in an earlier life of this container.
    async fn succeed(&self, store: &mut Connected, work: &Work) -> Result<(), Failure> {
        if self.container.is_some() {
            let seen = store.read(&work.newcomers).await?;
            let dead = seen.iter().filter_map(|seen| self.predecessor(seen));
            let dead: Vec<Published> = dead.collect();
            store.remove(&dead).await?;
        }
        store.tidy(&work.newcomers).await
    }

    /// A record that was provably published by this very container, in another life of it. Host
    /// names prove nothing: containers share them. What can't be proven ends with its TTL.
    fn predecessor(&self, seen: &Seen) -> Option<Published> {
        let signal = seen.signal.as_ref().ok()?;
        let is_ours = signal.container.is_some() && signal.container == self.container;
        let is_past = freshness::same_epoch(signal, &self.epoch) == Err(NotReady::OtherEpoch);
        (is_ours && is_past).then(|| Published {
            agent: signal.agent.clone(),
            instance: signal.instance.clone(),
        })
    }

    /// The store has answered.
    fn settle(&self, work: &Work, answers: &[Stored], now_ms: u64) {
        let mut state = self.lock();
        // What has come meanwhile stands behind these: the same agent may have come and gone again.
        state.withdrawn.drain(..work.withdrawn.len());
        state
            .last_words
            .drain(..work.records.len() - work.agents.len());
        // One variation for all, so that they stay together; another one each time, so that
        // processes do not.
        let percent = fastrand::u64(80..=120);
        for ((agent, _), answer) in work.agents.iter().zip(answers) {
            let Some(entry) = state.agents.get_mut(&agent.name) else {
                continue;
            };
            let pause_ms = if entry.renew_ms == u64::MAX {
                fastrand::u64(0..=entry.beat_ms)
            } else {
                entry.beat_ms * percent / 100
            };
            entry.renew_ms = now_ms + pause_ms;
            entry.is_new = false;
            entry.is_refused = answer.is_err();
        }
        let is_refused = state.agents.values().any(|entry| entry.is_refused);
        if let Some(outage) = &mut state.outage {
            outage.is_away = false;
        }
        let cause = answers.iter().find_map(|answer| answer.as_ref().err());
        let (began, ended) = match cause {
            Some(_) => (state.begin_outage(false), None),
            None if is_refused => (false, None),
            None => (false, state.outage.take()),
        };
        drop(state);
        for ((agent, version), answer) in work.agents.iter().zip(answers) {
            agent.announced(*version, answer.clone());
        }
        if let (true, Some(cause)) = (began, cause) {
            self.say_outage(cause);
        }
        if let Some(outage) = ended {
            let lasted = Span(now_ms.saturating_sub(outage.since_ms));
            tracing::info!(
                store = self.store(),
                "agents are announced again after {lasted}"
            );
        }
    }

    /// It has not: everything is tried again.
    fn fail(&self, session: &mut Session, work: &Work, failure: &Failure) {
        if failure.reconnect {
            session.connection = None;
            session.timeouts = 0;
        }
        session.retry_ms = clock::mono_ms() + session.backoff_ms(work.beat_ms);
        session.failures = session.failures.saturating_add(1);
        let mut state = self.lock();
        let began = state.begin_outage(true);
        for (agent, _) in &work.agents {
            if let Some(entry) = state.agents.get_mut(&agent.name) {
                entry.changed = true;
            }
        }
        drop(state);
        for (agent, version) in &work.agents {
            agent.announced(*version, Err(failure.cause.clone()));
        }
        if began {
            self.say_outage(&failure.cause);
        }
    }

    fn say_outage(&self, cause: &str) {
        tracing::warn!(
            store = self.store(),
            "agents can't be announced: {cause}; they go on, and are announced when the store takes \
             them again"
        );
    }

    /// A panic elsewhere leaves the state usable: every change to it stands by itself.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An agent that is to be announced now.
struct Due {
    agent: Arc<Shared>,
    is_new: bool,
}

impl Session {
    /// How long to wait before the next attempt. A short TTL leaves no time for the longest pause.
    fn backoff_ms(&self, beat_ms: Option<u64>) -> u64 {
        let pause_ms = backoff_ms(self.failures);
        let most_ms = beat_ms.unwrap_or(u64::MAX).max(backoff_ms(0));
        if pause_ms <= most_ms {
            return pause_ms;
        }
        fastrand::u64(most_ms / 2..=most_ms)
    }
}

impl State {
    /// What is due. Once something is renewed, everything is that soon would be: the agents of one
    /// process beat together.
    fn due(&mut self, now_ms: u64) -> Vec<Due> {
        let renewing = self.agents.values().any(|entry| entry.renew_ms <= now_ms);
        let mut due = Vec::new();
        for entry in self.agents.values_mut() {
            let soon_ms = now_ms.saturating_add(entry.beat_ms / 2);
            let is_due = entry.changed || (renewing && entry.renew_ms <= soon_ms);
            if !is_due {
                continue;
            }
            if let Some(agent) = entry.agent.upgrade() {
                entry.changed = false;
                due.push(Due {
                    agent,
                    is_new: entry.is_new,
                });
            }
        }
        due
    }

    /// An outage, unless there is one; says whether it begins now.
    fn begin_outage(&mut self, is_away: bool) -> bool {
        let begins = self.outage.is_none();
        let since_ms = clock::mono_ms();
        let outage = self.outage.get_or_insert(Outage { since_ms, is_away });
        outage.is_away = is_away;
        begins
    }

    fn is_away(&self) -> bool {
        self.outage.as_ref().is_some_and(|outage| outage.is_away)
    }

    fn is_idle(&self) -> bool {
        self.agents.is_empty() && self.withdrawn.is_empty() && self.last_words.is_empty()
    }
}

/// However the task ends, another one may be started.
struct Running<'a>(&'a Announcer);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.lock().running = false;
        self.0.done.notify_all();
    }
}

#[cfg(test)]
#[cfg(feature = "redis")]
mod tests;
