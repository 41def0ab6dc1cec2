//! This process, and the agents that it publishes: one table, and the one place where an agent's
//! publisher, its announcer and the heartbeat are put together.
//!
//! A forked child starts with an empty table of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::{ArcSwap, ArcSwapOption};

use crate::announce::Announcer;
use crate::connect::place::Place;
use crate::folder::{Folder, Publication};
use crate::heartbeat::Heartbeat;
use crate::host;
use crate::outbox::Outbox;
use crate::per_process::PerProcess;
use crate::publisher::{Identity, Pace, Publisher, Wake};
use crate::signal::Name;
use crate::store::Published;
use crate::store::predecessor::Successor;
use crate::{Error, ErrorKind, Result};

static CURRENT: PerProcess<Agents> = PerProcess::new();

/// A process's agents.
#[derive(Debug)]
pub(crate) struct Agents {
    identity: Arc<Identity>,
    /// Where it publishes, instead of `READY_DIR` and the defaults.
    folder: ArcSwapOption<Folder>,
    table: Mutex<Table>,
    /// The names in `table`, readable without a lock by a forked child.
    names: ArcSwap<BTreeSet<Name>>,
    /// Names that only the process publishes from which this one was forked.
    inherited: BTreeSet<Name>,
    heartbeat: Heartbeat,
}

#[derive(Debug, Default)]
struct Table {
    all: BTreeMap<Name, Weak<Member>>,
    /// What [`mark_agent_ready`](crate::mark_agent_ready) registered: nobody else holds it.
    held: BTreeMap<Name, Arc<Member>>,
}

/// How an agent is registered.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) name: Name,
    pub(crate) pace: Pace,
    /// Where in the container to publish, instead of where the process does.
    pub(crate) folder: Option<Folder>,
    pub(crate) place: Option<Place>,
}

/// An agent of this process.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) publisher: Arc<Publisher>,
    announced: Option<(Arc<Announcer>, Arc<Outbox>)>,
    agents: &'static Agents,
}

impl Agents {
    /// The calling process.
    pub(crate) fn current() -> &'static Self {
        CURRENT.get(Self::new)
    }

    fn new(parent: Option<&Self>) -> Self {
        Self {
            identity: Arc::new(Identity::current()),
            folder: ArcSwapOption::new(parent.and_then(|p| p.folder.load_full())),
            table: Mutex::default(),
            names: ArcSwap::default(),
            inherited: parent
                .map(|p| p.inherited.union(&p.names.load()).cloned().collect())
                .unwrap_or_default(),
            heartbeat: Heartbeat::default(),
        }
    }

    /// Publishes in this folder from now on.
    pub(crate) fn use_folder(&self, folder: Folder) {
        self.folder.store(Some(Arc::new(folder)));
    }

    /// Where this process publishes when the agent does not say.
    fn folder(&self) -> Result<Folder> {
        match &*self.folder.load() {
            Some(folder) => Ok(Folder::clone(folder)),
            None => Folder::from_env(),
        }
    }

    /// Whether only the process publishes that name from which this one was forked.
    pub(crate) fn has_inherited(&self, name: &Name) -> bool {
        self.find(name).is_none() && self.inherited.contains(name)
    }

    /// Registers an agent, and publishes its first record.
    pub(crate) fn register(&'static self, registration: Registration) -> Result<Arc<Member>> {
        let Registration {
            name,
            pace,
            folder,
            place,
        } = registration;
        let folder = match folder {
            Some(folder) => folder,
            None => self.folder()?,
        };
        let announced = place.map(|place| self.announced(place, &name, pace));
        let (pid, pid_start) = (self.identity.pid, self.identity.pid_start);
        let publication =
            Publication::new(folder, name, pid, pid_start).succeeding(self.identity.epoch.clone());
        let publisher = Publisher::new(
            &self.identity,
            publication,
            pace,
            announced.as_ref().map(|(_, outbox)| Arc::clone(outbox)),
            Wake(Box::new(|| self.heartbeat.wake())),
        );
        let member = Arc::new(Member {
            publisher: Arc::new(publisher),
            announced,
            agents: self,
        });
        self.add(&member)?;
        if let Err(e) = member.publisher.first_beat() {
            member.remove();
            return Err(e);
        }
        if let Some((announcer, outbox)) = &member.announced {
            announcer.add(outbox);
        }
        self.heartbeat.wake();
        Ok(member)
    }

    /// The agent of that name; if there is none, it is registered as described, and held from then
    /// on.
    pub(crate) fn find_or_hold(
        &'static self,
        name: &Name,
        describe: impl FnOnce() -> Result<Registration>,
    ) -> Result<Arc<Member>> {
        if let Some(member) = self.find(name) {
            return Ok(member);
        }
        match self.register(describe()?) {
            Ok(member) => {
                self.lock().held.insert(name.clone(), Arc::clone(&member));
                Ok(member)
            }
            // Another thread was faster.
            Err(e) if e.kind() == ErrorKind::AlreadyRegistered => self.find(name).ok_or(e),
            Err(e) => Err(e),
        }
    }

    /// All agents of this process.
    pub(crate) fn members(&self) -> Vec<Arc<Member>> {
        self.lock().all.values().filter_map(Weak::upgrade).collect()
    }

    /// Waits, for a moment, until the removed signals are gone from all stores.
    pub(crate) fn wait_withdrawn(&self) {
        for announcer in self.heartbeat.announcers() {
            announcer.wait_withdrawn();
        }
    }

    /// The agent of that name, if this process publishes it.
    pub(crate) fn find(&self, name: &Name) -> Option<Arc<Member>> {
        self.lock().all.get(name).and_then(Weak::upgrade)
    }

    fn announced(&self, place: Place, name: &Name, pace: Pace) -> (Arc<Announcer>, Arc<Outbox>) {
        let announcer = self.heartbeat.announcer(place, || Successor {
            epoch: self.identity.epoch.clone(),
            container: host::container_id(),
            instance: None,
        });
        let published = Published {
            agent: name.clone(),
            instance: self.identity.announced_instance(),
        };
        let (store, container) = (announcer.store(), announcer.container());
        let outbox = Outbox::new(published, pace.beat_ms, store, container);
        (announcer, Arc::new(outbox))
    }

    /// Adds an agent, and starts the heartbeat if it does not run.
    fn add(&'static self, member: &Arc<Member>) -> Result<()> {
        let name = &member.publisher.name;
        let mut agents = self.lock();
        let known = agents.all.get(name);
        if known.is_some_and(|known| known.strong_count() > 0) {
            return Err(Error::new(
                ErrorKind::AlreadyRegistered,
                format!(
                    "this process publishes agent {name} already, and one process is one instance of a \
                     name: close that one first, take another name, or get it with find_agent or \
                     mark_agent_ready"
                ),
            ));
        }
        self.heartbeat.start()?;
        self.heartbeat.join(&member.publisher);
        agents.all.insert(name.clone(), Arc::downgrade(member));
        self.note_names(&agents);
        Ok(())
    }

    /// Forgets an agent. Called once for each: while an agent is known, its name is taken.
    fn forget(&self, name: &Name) {
        let mut agents = self.lock();
        self.heartbeat.leave(name);
        agents.all.remove(name);
        agents.held.remove(name);
        self.note_names(&agents);
    }

    fn note_names(&self, agents: &Table) {
        let names = agents.all.keys().cloned().collect();
        self.names.store(Arc::new(names));
    }

    /// A panic elsewhere leaves the table as it was: every change to it is one insertion.
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Member {
    /// Removes the signal everywhere, and ends its beats. Only once: after that, the name may be
    /// published anew.
    pub(crate) fn remove(&self) {
        let Some(removed) = self.publisher.remove() else {
            return;
        };
        if let Some((announcer, outbox)) = &self.announced {
            announcer.withdraw(outbox.published.clone());
            self.agents.heartbeat.wake();
        }
        let name = &self.publisher.name;
        self.agents.forget(name);
        if let Err(e) = removed {
            tracing::warn!(agent = %name, "{e}");
        }
    }

    /// The agent goes, but its last record stays for its TTL.
    pub(crate) fn announce_last(&self) {
        let Some((announcer, outbox)) = &self.announced else {
            return;
        };
        if let Some((record, _)) = outbox.take() {
            announcer.say_last(record);
            self.agents.heartbeat.wake();
            announcer.wait_withdrawn();
        }
    }

    /// Waits, for a moment, until the signal is gone from the store, too.
    pub(crate) fn wait_withdrawn(&self) {
        if let Some((announcer, _)) = &self.announced {
            announcer.wait_withdrawn();
        }
    }
}
