//! Announcing: what this process publishes in its container, it also publishes in a store, for
//! everybody else.
//!
//! One task a store, on the heartbeat's thread. Agents never wait for it: it takes what is due from
//! their outboxes, and puts in the result. Everything that is due goes together, over one
//! connection, one request at a time, so the store holds what it was told last on it. An earlier
//! connection may still deliver something; telling everything again puts that right, see
//! `store/retelling.rs`.

mod schedule;
mod session;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use crate::clock;
use crate::connect::place::Place;
use crate::connect::redact::Secrets;
use crate::connect::stage;
use crate::freshness::Span;
use crate::outbox::Outbox;
use crate::signal::{BEATS_PER_TTL, DEFAULT_TTL_MS, Name};
use crate::store::predecessor::Successor;
use crate::store::{Failure, MAX_CAUSE_CHARS, Published, Record, Store, Stored};
use schedule::{Due, Farewell, Schedule};
use session::Session;

/// A distant or busy store has at least so long to answer, however short the beats are.
const MIN_LIMIT_MS: u64 = 1_000;
/// And at most so long: waiting longer would not show that the connection is dead.
const MAX_LIMIT_MS: u64 = 60_000;
/// Without an agent, as when its signal is removed: half of a default beat.
const IDLE_LIMIT_MS: u64 = DEFAULT_TTL_MS / BEATS_PER_TTL / 2;
/// So many agents that come at once have their predecessors looked for together.
const TIDIED_AT_ONCE: usize = 64;
/// How long an ending process waits for its signals to be removed.
const FAREWELL: Duration = Duration::from_secs(1);

/// What one process publishes in one store.
#[derive(Debug)]
pub(crate) struct Announcer {
    place: Place,
    successor: Successor,
    schedule: Mutex<Schedule>,
    /// Something is due. Notified on the heartbeat's thread alone: from another thread, that would
    /// write to a descriptor. Each task has its own, since an abandoned one waits for ever.
    wake: ArcSwap<Notify>,
    /// Something is done.
    done: Condvar,
}

/// What goes to the store in one turn.
#[derive(Debug, Default)]
struct Work {
    taken_ms: u64,
    agents: Vec<(Arc<Outbox>, u64)>,
    /// Theirs, followed by the last ones of agents that are gone.
    records: Vec<Record>,
    farewells: Vec<Farewell>,
    newcomers: Vec<Name>,
    /// The shortest interval of all agents, due or not: the next one waits behind this turn.
    beat_ms: Option<u64>,
}

impl Work {
    /// How long the store may take for it.
    fn limit_ms(&self) -> u64 {
        let limit_ms = self.beat_ms.map_or(IDLE_LIMIT_MS, |beat_ms| beat_ms / 2);
        limit_ms.clamp(MIN_LIMIT_MS, MAX_LIMIT_MS)
    }
}

impl Announcer {
    pub(crate) fn new(place: Place, successor: Successor) -> Self {
        Self {
            place,
            successor,
            schedule: Mutex::default(),
            wake: ArcSwap::default(),
            done: Condvar::new(),
        }
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// The store, for people.
    pub(crate) fn store(&self) -> &str {
        self.place.store.redacted()
    }

    /// The container, as records tell it.
    pub(crate) fn container(&self) -> Option<&str> {
        self.successor.container.as_deref()
    }

    /// Announces an agent from now on. As after any change of what is due, the caller wakes the
    /// heartbeat.
    pub(crate) fn add(&self, agent: &Arc<Outbox>) {
        self.lock().add(agent);
    }

    /// Removes a signal.
    pub(crate) fn withdraw(&self, published: Published) {
        self.lock().part(published, None);
    }

    /// Announces the last record of an agent that is gone.
    pub(crate) fn say_last(&self, record: Record) {
        let published = record.published.clone();
        self.lock().part(published, Some(record));
    }

    /// Waits until the removed signals are gone: only for a moment, and not at all while the store
    /// does not answer. The end of a process waits for nobody.
    pub(crate) fn wait_withdrawn(&self) {
        let schedule = self.lock();
        // If it takes longer, nothing can be done: the TTL remains.
        drop(
            self.done
                .wait_timeout_while(schedule, FAREWELL, |schedule| {
                    schedule.has_farewells() && schedule.running && !schedule.is_away()
                }),
        );
    }

    /// Whether there is nothing to announce.
    pub(crate) fn is_idle(&self) -> bool {
        self.lock().is_idle()
    }

    /// Whether to start a task for it; it then counts as started. A running task looks for itself.
    pub(crate) fn start(&self) -> bool {
        let mut schedule = self.lock();
        let starts = !schedule.running && !schedule.is_idle();
        schedule.running |= starts;
        drop(schedule);
        self.wake.load().notify_one();
        starts
    }

    /// Its task, if there is one, will neither run again nor be dropped.
    pub(crate) fn abandon(&self) {
        self.wake.store(Arc::default());
        self.interrupt();
    }

    fn interrupt(&self) {
        let mut schedule = self.lock();
        if schedule.running {
            schedule.interrupted();
        }
        drop(schedule);
        self.done.notify_all();
    }

    /// Announces for as long as there is something to announce, and says when there are answers. A panic
    /// ends it like anything else.
    pub(crate) async fn run(self: Arc<Self>, answered: impl Fn()) {
        let _running = UntilEnd(&self);
        let wake = self.wake.load_full();
        let resume_ms = self.lock().resume_ms;
        let mut session = Session::new(&self.place, resume_ms);
        loop {
            let now_ms = clock::mono_ms();
            let Some(due_ms) = self.due_ms() else { return };
            let at_ms = due_ms.max(session.retry_ms);
            if at_ms > now_ms {
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(at_ms - now_ms)) => {}
                    () = wake.notified() => {}
                }
                continue;
            }
            let work = self.take(now_ms);
            self.turn(&mut session, work, &answered).await;
        }
    }

    /// When something is due. With nothing left to do, the task counts as ended: whoever comes
    /// later starts it again.
    fn due_ms(&self) -> Option<u64> {
        let mut schedule = self.lock();
        let due_ms = schedule.due_ms();
        if due_ms.is_none() {
            schedule.running = false;
        }
        due_ms
    }

    /// Takes what is due.
    fn take(&self, now_ms: u64) -> Work {
        let mut schedule = self.lock();
        let due = schedule.due(now_ms);
        let farewells = schedule.farewells(now_ms);
        let beats_ms = schedule.agents.values().map(|entry| entry.agent.beat_ms);
        let beat_ms = beats_ms.min();
        drop(schedule);
        // Without the lock: an agent that comes or goes must not wait for all of these.
        let mut work = Work {
            taken_ms: now_ms,
            beat_ms,
            ..Work::default()
        };
        for Due { agent, is_new } in due {
            let Some((record, version)) = agent.take() else {
                continue;
            };
            if is_new {
                work.newcomers.push(agent.published.agent.clone());
            }
            work.records.push(record);
            work.agents.push((agent, version));
        }
        let last = farewells
            .iter()
            .filter_map(|farewell| farewell.record.clone());
        work.records.extend(last);
        work.farewells = farewells;
        work
    }

    async fn turn(&self, session: &mut Session<'_>, work: Work, answered: &impl Fn()) {
        let limit = Duration::from_millis(work.limit_ms());
        let by = clock::instant() + limit;
        match stage::until(by, limit, deliver(session, &work, limit)).await {
            Ok(Ok(delivered)) => {
                session.succeeded();
                let secrets = session.secrets();
                if let Err(cause) = delivered.removed {
                    let why = quoted(secrets, &cause);
                    tracing::warn!(
                        store = self.store(),
                        "the signals of agents that are gone can't be removed: {why}; they end with their TTL"
                    );
                }
                let answers = all_quoted(secrets, delivered.answers);
                if self.settle(&work, &answers, clock::mono_ms()) {
                    answered();
                }
                self.done.notify_all();
                self.tidy_up(session, &work, limit).await;
            }
            Ok(Err(failure)) => {
                let cause = session.failed(&failure, work.beat_ms);
                if self.fail(&work, &quoted(session.secrets(), &cause)) {
                    answered();
                }
            }
            Err(cause) => {
                let cause = session.timed_out(&cause, work.beat_ms);
                if self.fail(&work, &quoted(session.secrets(), &cause)) {
                    answered();
                }
            }
        }
        self.done.notify_all();
    }

    /// Looks for the predecessors of new agents. An extra, with a time of its own: an agent that
    /// may not read, or whose store is slow, is announced all the same. Agents left over are looked
    /// at after their next beat.
    async fn tidy_up(&self, session: &mut Session<'_>, work: &Work, limit: Duration) {
        let start = clock::instant();
        for names in work.newcomers.chunks(TIDIED_AT_ONCE) {
            if start.elapsed() > limit {
                return;
            }
            let Some(store) = session.connection() else {
                return;
            };
            let tidied = self.successor.succeed(store, names);
            let failure = match stage::until(clock::instant() + limit, limit, tidied).await {
                Ok(Ok(siblings)) => {
                    self.lock().tidied(names, &siblings, clock::mono_ms());
                    continue;
                }
                Ok(Err(failure)) => failure,
                Err(cause) => Failure::lost(cause),
            };
            let why = quoted(session.secrets(), &failure.cause);
            tracing::debug!(store = self.store(), "not tidied: {why}");
            if failure.reconnect {
                // Their next beat tries again.
                session.leave();
                return;
            }
            self.lock().tidied(names, &[], clock::mono_ms());
        }
    }

    /// The store has answered; returns whether that is news.
    fn settle(&self, work: &Work, answers: &[Stored], now_ms: u64) -> bool {
        let mut schedule = self.lock();
        schedule.came_through(&work.farewells, work.taken_ms, now_ms);
        // The same variation for all, so that they stay together, but a new one each time, so that
        // processes do not.
        let percent = fastrand::u64(80..=120);
        for ((agent, _), answer) in work.agents.iter().zip(answers) {
            let Some(entry) = schedule.agents.get_mut(&agent.published.agent) else {
                continue;
            };
            let pause_ms = if entry.renew_ms == u64::MAX {
                fastrand::u64(0..=agent.beat_ms)
            } else {
                agent.beat_ms * percent / 100
            };
            entry.renew_ms = now_ms + pause_ms;
            entry.is_refused = answer.is_err();
        }
        let is_refused = schedule.agents.values().any(|entry| entry.is_refused);
        if let Some(outage) = &mut schedule.outage {
            outage.is_away = false;
        }
        let cause = answers.iter().find_map(|answer| answer.as_ref().err());
        let (began, ended) = match cause {
            Some(_) => (schedule.begin_outage(false), None),
            // A turn of farewells alone says nothing about the others.
            None if is_refused || work.agents.is_empty() => (false, None),
            None => (false, schedule.outage.take()),
        };
        drop(schedule);
        let mut is_news = false;
        for ((agent, version), answer) in work.agents.iter().zip(answers) {
            is_news |= agent.tell(*version, answer.clone());
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
        is_news
    }

    /// It has not: everything is tried again. Returns whether that is news.
    fn fail(&self, work: &Work, cause: &str) -> bool {
        let mut schedule = self.lock();
        let began = schedule.begin_outage(true);
        schedule.broke(work.agents.iter().map(|(agent, _)| &agent.published.agent));
        drop(schedule);
        let mut is_news = false;
        for (agent, version) in &work.agents {
            is_news |= agent.tell(*version, Err(cause.to_owned()));
        }
        if began {
            self.say_outage(cause);
        }
        is_news
    }

    fn say_outage(&self, cause: &str) {
        tracing::warn!(
            store = self.store(),
            "agents can't be announced: {cause}; they go on, and are announced when the store takes \
             them again"
        );
    }

    /// A panic elsewhere leaves the state usable: every change to it stands by itself.
    fn lock(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The store's answer to a turn.
struct Delivered {
    answers: Vec<Stored>,
    /// Why the signals of agents that are gone could not be removed. That keeps nobody from being
    /// announced.
    removed: Result<(), String>,
}

async fn deliver(
    session: &mut Session<'_>,
    work: &Work,
    limit: Duration,
) -> Result<Delivered, Failure> {
    let store = session.connect(limit).await?;
    let gone = work.farewells.iter().filter(|f| f.record.is_none());
    let gone: Vec<Published> = gone.map(|f| f.published.clone()).collect();
    let removed = match store.remove(&gone).await {
        Err(failure) if !failure.reconnect => Err(failure.cause),
        removed => Ok(removed?),
    };
    let answers = store.put(&work.records).await?;
    Ok(Delivered { answers, removed })
}

/// A server's message, which may repeat our login.
fn quoted(secrets: &Secrets, cause: &str) -> String {
    secrets.quote(cause, MAX_CAUSE_CHARS)
}

fn all_quoted(secrets: &Secrets, answers: Vec<Stored>) -> Vec<Stored> {
    let quote = |text: String| quoted(secrets, &text);
    let answers = answers.into_iter();
    answers
        .map(|answer| match answer {
            Ok(reservation) => Ok(reservation.map(quote)),
            Err(cause) => Err(quote(cause)),
        })
        .collect()
}

/// However the task ends, another one may be started.
struct UntilEnd<'a>(&'a Announcer);

impl Drop for UntilEnd<'_> {
    fn drop(&mut self) {
        self.0.interrupt();
    }
}
