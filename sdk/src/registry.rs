//! The agents of this process: one table, one heartbeat thread, and the two one-line functions.
//!
//! A forked child starts with an empty table. The table is therefore swapped whole, never locked
//! on the way in: a lock that another thread held at the moment of the fork would stay locked in
//! the child for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::{ArcSwap, ArcSwapOption};
use once_cell::sync::Lazy;
use serde::Serialize;

use crate::agent::Shared;
use crate::heartbeat::Heartbeat;
use crate::host::{self, Epoch};
use crate::signal::Name;
use crate::store::local::LocalStore;
use crate::{Agent, Error, ErrorKind, Result};

static CURRENT: Lazy<ArcSwap<Process>> = Lazy::new(|| ArcSwap::from_pointee(Process::new(None)));

/// This process, and what it publishes.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) pid_start: Option<u64>,
    pub(crate) epoch: Epoch,
    pub(crate) host: String,
    store: ArcSwapOption<LocalStore>,
    agents: Mutex<Agents>,
    /// The names in `agents`, readable without a lock by a forked child.
    names: ArcSwap<BTreeSet<Name>>,
    /// Names that only the process this one was forked from publishes.
    inherited: BTreeSet<Name>,
    /// Time in which this process did not run although it wanted to: paused, suspended.
    gaps_ms: AtomicU64,
    heartbeat: Heartbeat,
}

#[derive(Debug, Default)]
struct Agents {
    /// Everything that beats.
    beating: BTreeMap<Name, Weak<Shared>>,
    /// What [`mark_agent_ready`] registered: nobody else holds it.
    held: BTreeMap<Name, Arc<Shared>>,
}

impl Process {
    fn new(parent: Option<&Self>) -> Self {
        let (pid, pid_start) = host::myself();
        Self {
            pid,
            pid_start,
            epoch: Epoch::current(),
            host: host::name(),
            store: ArcSwapOption::new(parent.and_then(|p| p.store.load_full())),
            agents: Mutex::default(),
            names: ArcSwap::default(),
            inherited: parent
                .map(|p| p.inherited.union(&p.names.load()).cloned().collect())
                .unwrap_or_default(),
            gaps_ms: AtomicU64::new(0),
            heartbeat: Heartbeat::default(),
        }
    }

    /// Where this process publishes when the agent does not say.
    pub(crate) fn store(&self) -> Result<LocalStore> {
        match &*self.store.load() {
            Some(store) => Ok(LocalStore::clone(store)),
            None => LocalStore::from_env(),
        }
    }

    /// Adds an agent, and starts the heartbeat if it does not run.
    pub(crate) fn add(self: &Arc<Self>, agent: &Arc<Shared>) -> Result<()> {
        let mut agents = self.lock();
        if agents
            .beating
            .get(&agent.name)
            .is_some_and(|old| old.strong_count() > 0)
        {
            return Err(Error::new(
                ErrorKind::AlreadyRegistered,
                format!(
                    "this process publishes agent {} already; one process is one instance",
                    agent.name
                ),
            ));
        }
        self.heartbeat.start(self)?;
        agents
            .beating
            .insert(agent.name.clone(), Arc::downgrade(agent));
        self.note_names(&agents);
        drop(agents);
        self.wake();
        Ok(())
    }

    pub(crate) fn forget(&self, name: &Name) {
        let mut agents = self.lock();
        agents.beating.remove(name);
        agents.held.remove(name);
        self.note_names(&agents);
    }

    /// The agents that beat. Those that were dropped are forgotten.
    pub(crate) fn agents(&self) -> Vec<Arc<Shared>> {
        self.lock()
            .beating
            .values()
            .filter_map(Weak::upgrade)
            .collect()
    }

    pub(crate) fn wake(&self) {
        self.heartbeat.wake();
    }

    /// The monotonic clock without the gaps in which this process did not run.
    pub(crate) fn running_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.gaps_ms.load(Ordering::Acquire))
    }

    /// Takes a gap in the heartbeat thread's schedule off every agent's account.
    pub(crate) fn forgive(&self, gap_ms: u64) {
        self.gaps_ms.fetch_add(gap_ms, Ordering::AcqRel);
    }

    fn note_names(&self, agents: &Agents) {
        let names = agents.beating.keys().cloned().collect();
        self.names.store(Arc::new(names));
    }

    /// A panic elsewhere leaves the table as it was: every change to it is one insertion.
    fn lock(&self) -> MutexGuard<'_, Agents> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The agent of that name, registered if need be.
    fn agent(self: &Arc<Self>, name: &str) -> Result<Arc<Shared>> {
        let key = Name::new(name)?;
        if let Some(agent) = self.find(&key) {
            return Ok(agent);
        }
        match Agent::builder(name).publish(self) {
            Ok(agent) => {
                self.lock().held.insert(key, Arc::clone(&agent));
                Ok(agent)
            }
            // Another thread was faster.
            Err(e) if e.kind() == ErrorKind::AlreadyRegistered => self.find(&key).ok_or(e),
            Err(e) => Err(e),
        }
    }

    fn find(&self, name: &Name) -> Option<Arc<Shared>> {
        self.lock().beating.get(name).and_then(Weak::upgrade)
    }
}

/// The table of the calling process; a fresh one in a forked child.
pub(crate) fn current() -> Arc<Process> {
    let process = CURRENT.load_full();
    if process.pid == std::process::id() {
        return process;
    }
    let fresh = Arc::new(Process::new(Some(&process)));
    // Two threads of the child may race; the first one's table stands for both.
    CURRENT.compare_and_swap(&process, fresh);
    CURRENT.load_full()
}

/// Says that agent `name` does its work: `details` is anything that serialises to a JSON object,
/// or `()`. The first call registers the agent, with a TTL of 60 s; its signal is kept alive from
/// then on. Returns once the local signal is written.
///
/// # Errors
/// As [`crate::AgentBuilder::register`] and [`Agent::mark_ready`].
pub fn mark_agent_ready(name: &str, details: impl Serialize) -> Result<()> {
    current().agent(name)?.mark_ready(&details)
}

/// Says that agent `name` can't do its work now, and why.
///
/// # Errors
/// As [`mark_agent_ready`]; and [`ErrorKind::Forked`] in a forked child for a name that only its
/// parent publishes.
pub fn mark_agent_not_ready(name: &str, reason: &str) -> Result<()> {
    let process = current();
    let key = Name::new(name)?;
    if process.find(&key).is_none() && process.inherited.contains(&key) {
        return Err(Error::new(
            ErrorKind::Forked,
            format!(
                "agent {name} belongs to the process this one was forked from: it can be marked \
                 there only"
            ),
        ));
    }
    process.agent(name)?.mark_not_ready(reason)
}

/// Publishes `stopping` for every agent of this process and removes their signals: what a process
/// does before it ends. An agent held in an [`Agent`] does so by itself when it is dropped.
pub fn close_all(reason: &str) {
    for agent in current().agents() {
        if let Err(e) = agent.stop(reason) {
            tracing::warn!(agent = %agent.name, "{e}");
        }
        agent.remove();
    }
}

/// Publishes what this process registers from now on in `dir`, instead of where `READY_DIR` and
/// the defaults say.
///
/// # Errors
/// [`ErrorKind::InvalidConfig`] when the path is not absolute.
pub fn use_dir(dir: &Path) -> Result<()> {
    current().store.store(Some(Arc::new(LocalStore::at(dir)?)));
    Ok(())
}
