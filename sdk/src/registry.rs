//! The agents of this process: one table, one heartbeat thread, and the two one-line functions.
//!
//! A forked child starts with an empty table. The table is therefore swapped whole, never locked
//! on the way in: a lock that another thread held at the moment of the fork would stay locked in
//! the child for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::{ArcSwap, ArcSwapOption};
use serde::Serialize;

use crate::agent::Shared;
use crate::announce::{Announcer, Destination};
use crate::heartbeat::Heartbeat;
use crate::host::{self, Epoch};
use crate::signal::Name;
use crate::store::local::LocalStore;
use crate::store::predecessor::Successor;
use crate::{Agent, AgentBuilder, Error, ErrorKind, Result};

/// Not initialised lazily: a fork during the initialisation would leave it unfinished for ever.
static CURRENT: ArcSwapOption<Process> = ArcSwapOption::const_empty();

/// What [`use_sdk`] said, in this process or in one that it was forked from.
static SDK: ArcSwapOption<&'static str> = ArcSwapOption::const_empty();
const RUST_SDK: &str = concat!("rust/", env!("CARGO_PKG_VERSION"));
/// A record has to hold the agent's own words, too.
const MAX_SDK_LEN: usize = 64;

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
    /// Tells this process from any other with its host name and id.
    pub(crate) nonce: String,
    announcers: Mutex<Vec<Arc<Announcer>>>,
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
            nonce: format!("{:08x}", fastrand::u32(..)),
            announcers: Mutex::default(),
            heartbeat: Heartbeat::default(),
        }
    }

    /// What announces to that destination: one for all agents that go there.
    pub(crate) fn announcer(&self, destination: Destination) -> Arc<Announcer> {
        let mut announcers = self.lock_announcers();
        let known = announcers.iter().find(|a| *a.destination() == destination);
        if let Some(known) = known {
            return Arc::clone(known);
        }
        let fresh = Arc::new(Announcer::new(
            destination,
            Successor {
                epoch: self.epoch.clone(),
                container: host::container_id(),
            },
        ));
        announcers.push(Arc::clone(&fresh));
        fresh
    }

    pub(crate) fn announcers(&self) -> Vec<Arc<Announcer>> {
        self.lock_announcers().clone()
    }

    fn lock_announcers(&self) -> MutexGuard<'_, Vec<Arc<Announcer>>> {
        self.announcers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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
        Ok(())
    }

    /// Forgets an agent. Called once for each: while it is known, its name can't be taken.
    pub(crate) fn forget(&self, name: &Name) {
        let mut agents = self.lock();
        agents.beating.remove(name);
        agents.held.remove(name);
        self.note_names(&agents);
    }

    /// The agents that beat.
    pub(crate) fn agents(&self) -> Vec<Arc<Shared>> {
        self.lock()
            .beating
            .values()
            .filter_map(Weak::upgrade)
            .collect()
    }

    /// Has the heartbeat look at all of them now.
    pub(crate) fn wake(self: &Arc<Self>) {
        self.heartbeat.wake(self);
    }

    pub(crate) fn heartbeat(&self) -> &Heartbeat {
        &self.heartbeat
    }

    fn note_names(&self, agents: &Agents) {
        let names = agents.beating.keys().cloned().collect();
        self.names.store(Arc::new(names));
    }

    /// A panic elsewhere leaves the table as it was: every change to it is one insertion.
    fn lock(&self) -> MutexGuard<'_, Agents> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The agent of that name, registered as described if need be.
    pub(crate) fn agent(self: &Arc<Self>, described: AgentBuilder) -> Result<Arc<Shared>> {
        let key = Name::of_agent(described.name())?;
        if let Some(agent) = self.find(&key) {
            return Ok(agent);
        }
        match described.publish(self) {
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
    loop {
        let known = CURRENT.load_full();
        match &known {
            Some(process) if process.pid == std::process::id() => return Arc::clone(process),
            // The parent's table is never freed in a child: another thread of the parent may have
            // been changing it at the moment of the fork.
            Some(process) => mem::forget(Arc::clone(process)),
            None => {}
        }
        let fresh = Arc::new(Process::new(known.as_deref()));
        // Two threads may race; the first one's table stands for both.
        CURRENT.compare_and_swap(&known, Some(fresh));
    }
}

/// Says that agent `name` does its work: `details` is anything that serialises to a JSON object,
/// or `()`. The first call registers the agent, with a TTL of 60 s; its signal is kept alive from
/// then on. Returns once the local signal is written.
///
/// Call [`close_all`] before the process ends: a process that just ends has, to its container's
/// health check, died.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # ready_probe_sdk::use_dir(dir.path())?;
/// use ready_probe_sdk::{close_all, mark_agent_ready};
///
/// mark_agent_ready("translator", serde_json::json!({ "port": 5555 }))?;
/// mark_agent_ready("reader", ())?;
/// // … work …
/// close_all("deploy");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`crate::AgentBuilder::register`] and [`Agent::mark_ready`].
pub fn mark_agent_ready(name: &str, details: impl Serialize) -> Result<()> {
    Agent::builder(name).mark_ready(details)
}

/// Says that agent `name` can't do its work now, and why. The first call registers the agent, as
/// [`mark_agent_ready`] does.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # ready_probe_sdk::use_dir(dir.path())?;
/// use ready_probe_sdk::{ErrorKind, mark_agent_not_ready};
///
/// mark_agent_not_ready("translator", "reloading the model")?;
/// let refused = mark_agent_not_ready("../translator", "reloading").unwrap_err();
/// assert_eq!(refused.kind(), ErrorKind::InvalidName);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`crate::AgentBuilder::register`] and [`Agent::mark_not_ready`]; and [`ErrorKind::Forked`]
/// in a forked child for a name that only its parent publishes.
pub fn mark_agent_not_ready(name: &str, reason: &str) -> Result<()> {
    let process = current();
    let key = Name::of_agent(name)?;
    if process.find(&key).is_none() && process.inherited.contains(&key) {
        return Err(Error::new(
            ErrorKind::Forked,
            format!(
                "agent {name} belongs to the process this one was forked from: mark it there, or \
                 publish this process's own with mark_agent_ready"
            ),
        ));
    }
    process.agent(Agent::builder(name))?.mark_not_ready(reason)
}

/// Publishes `stopping` for every agent of this process and removes their signals: what a process
/// does before it ends. An agent held in an [`Agent`] does so by itself when it is dropped.
///
/// ```
/// ready_probe_sdk::close_all("deploy");
/// ```
pub fn close_all(reason: &str) {
    for agent in current().agents() {
        // What can't be written was logged when it began to fail; the signal is removed even so.
        let _ = agent.stop(reason);
        agent.remove();
    }
    for announcer in current().announcers() {
        announcer.wait_withdrawn();
    }
}

/// Publishes what this process registers from now on in `dir`, instead of where `READY_DIR` and
/// the defaults say. The folder is made when the first agent registers.
///
/// ```
/// use std::path::Path;
/// use ready_probe_sdk::{ErrorKind, use_dir};
///
/// let refused = use_dir(Path::new("signals")).unwrap_err();
/// assert_eq!(refused.kind(), ErrorKind::InvalidConfig);
/// ```
///
/// # Errors
/// [`ErrorKind::InvalidConfig`] when the path is not absolute.
pub fn use_dir(dir: &Path) -> Result<()> {
    current().store.store(Some(Arc::new(LocalStore::at(dir)?)));
    Ok(())
}

/// Has records say from now on that `sdk` wrote them, instead of `rust/VERSION`: for SDKs of other
/// languages, which are built on this one. Only people read it.
///
/// ```
/// ready_probe_sdk::use_sdk("python/0.1.0")?;
/// # Ok::<(), ready_probe_sdk::Error>(())
/// ```
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] unless it has 1 to 64 printable letters of ASCII.
pub fn use_sdk(sdk: &'static str) -> Result<()> {
    let printable = sdk.bytes().all(|byte| byte.is_ascii_graphic());
    if sdk.is_empty() || sdk.len() > MAX_SDK_LEN || !printable {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            format!(
                "an SDK is LANGUAGE/VERSION, of at most {MAX_SDK_LEN} printable letters of ASCII"
            ),
        ));
    }
    SDK.store(Some(Arc::new(sdk)));
    Ok(())
}

/// What writes the records of this process.
pub(crate) fn sdk() -> &'static str {
    SDK.load().as_deref().copied().unwrap_or(RUST_SDK)
}
