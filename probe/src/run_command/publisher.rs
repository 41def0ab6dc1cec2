//! Publishes the word for a program that does not do so itself: in this container, and for the store.

use std::hash::{DefaultHasher, Hash, Hasher};

use ready_probe_sdk::clock;
use ready_probe_sdk::folder::{Folder, Publication};
use ready_probe_sdk::host::{self, Epoch, Process};
use ready_probe_sdk::signal::{
    self, Announced, BEATS_PER_TTL, Instance, Name, Signal, State, VERSION,
};
use ready_probe_sdk::store::{Published, Record};
use serde_json::{Map, Value};
use tokio::sync::watch;

use super::announce::{Due, ToHold};
use super::readiness::Word;

/// What wrote the record.
const WRITER: &str = concat!("ready-probe/", env!("CARGO_PKG_VERSION"));

/// The process that a signal is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// Its id.
    pub pid: u32,
    /// When it started, if that can be read.
    pub start: Option<u64>,
}

impl Owner {
    /// The process of this id, now.
    pub fn of(pid: u32) -> Self {
        Self {
            pid,
            start: Process::of(pid).start(),
        }
    }

    /// Whether it lives.
    pub fn lives(self) -> bool {
        match Process::of(self.pid) {
            Process::Alive { start, .. } => self.start.is_none_or(|own| own == start),
            Process::Unreadable => true,
            Process::Gone | Process::Zombie { .. } => false,
        }
    }
}

/// One program's signal.
#[derive(Debug)]
pub struct Publisher {
    name: Name,
    folder: Folder,
    epoch: Epoch,
    host: String,
    container: Option<String>,
    ttl_ms: u64,
    seq: u64,
    /// The same for all processes that the signal is bound to, one after another: what a store holds of it
    /// is replaced and never beside another one.
    instance: Instance,
    owner: Owner,
    publication: Publication,
    word: Option<Word>,
    since: String,
    announced: Option<Announced>,
    /// The owner speaks for itself.
    silent: bool,
    due: watch::Sender<Due>,
}

impl Publisher {
    /// A publisher that has not said anything yet.
    pub fn new(
        name: Name,
        folder: Folder,
        ttl_ms: u64,
        owner: Owner,
        due: watch::Sender<Due>,
    ) -> Self {
        let epoch = Epoch::current();
        let host = host::name();
        let publication = publication(&folder, &name, owner).succeeding(epoch.clone());
        Self {
            instance: instance(&host, &epoch),
            name,
            folder,
            epoch,
            host,
            container: host::container_id(),
            ttl_ms,
            seq: 0,
            owner,
            publication,
            word: None,
            since: clock::wall_rfc3339(),
            announced: None,
            silent: false,
            due,
        }
    }

    /// The process that the signal is bound to.
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// How often the signal has to be renewed, in milliseconds; varied, so that a fleet does not beat in
    /// step.
    pub fn beat_ms(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.instance.as_str(), self.seq).hash(&mut hasher);
        let beat_ms = self.ttl_ms / BEATS_PER_TTL;
        beat_ms * (80 + hasher.finish() % 41) / 100
    }

    /// Says this from now on. The error says why this container can't be told; it is tried again with the
    /// next beat.
    pub fn say(&mut self, word: &Word) -> Result<(), String> {
        if self.word.as_ref().map(|word| word.state) != Some(word.state) {
            self.since = clock::wall_rfc3339();
        }
        self.word = Some(word.clone());
        self.beat()
    }

    /// Says the same again.
    pub fn beat(&mut self) -> Result<(), String> {
        let Some(signal) = self.next_signal() else {
            return Ok(());
        };
        self.announce(&signal);
        self.write(&signal)
    }

    /// Says in this container what has become of announcing it.
    pub fn note(&mut self, announced: Option<Announced>) -> Result<(), String> {
        if self.announced == announced {
            return Ok(());
        }
        self.announced = announced;
        match self.next_signal() {
            Some(signal) => self.write(&signal),
            None => Ok(()),
        }
    }

    /// Binds the signal to another process.
    pub fn move_to(&mut self, owner: Owner) -> Result<(), String> {
        if owner == self.owner {
            return Ok(());
        }
        let mut before = std::mem::replace(
            &mut self.publication,
            publication(&self.folder, &self.name, owner),
        );
        (self.owner, self.silent) = (owner, false);
        let moved = self.beat();
        moved.and(before.remove().map_err(|e| e.to_string()))
    }

    /// Looks whether the process publishes this agent itself by now; then its word counts, and ours is
    /// withdrawn for good. Says whether that is news. The error says why nobody believes ours.
    pub fn give_way(&mut self) -> Result<bool, String> {
        let Ok(found) = self.folder.read(&self.name) else {
            return Ok(false);
        };
        let ours = found.believed.iter().find(|b| b.pid == self.owner.pid);
        let Some(believed) = ours else {
            let process = format!("process {}: ", self.owner.pid);
            let ignored = found.ignored.into_iter().find(|why| why.contains(&process));
            return ignored.map_or(Ok(false), Err);
        };
        let is_ours = |signal: &Signal| signal.instance == self.instance;
        if self.silent || believed.signal.as_ref().is_ok_and(is_ours) {
            return Ok(false);
        }
        self.silent = true;
        self.remove().map(|()| true)
    }

    /// Leaves this behind as the last word of a process that has ended.
    pub fn leave(&mut self, reason: String) -> Result<(), String> {
        let status = self.word.as_ref().and_then(|word| word.status.clone());
        self.say(&Word {
            state: State::Stopping,
            reason: Some(reason),
            status,
            reloading: false,
        })
    }

    /// Takes the signal back.
    pub fn remove(&mut self) -> Result<(), String> {
        let published = Published {
            agent: self.name.clone(),
            instance: self.instance.clone(),
        };
        self.due.send_modify(|due| {
            due.version += 1;
            due.held = Some(ToHold::Nothing(published));
        });
        self.publication.remove().map_err(|e| e.to_string())
    }

    /// Nothing comes any more; returns what the store must have been told by then.
    pub fn end(&self) -> u64 {
        self.due.send_modify(|due| due.last = true);
        self.due.borrow().version
    }

    fn announce(&self, signal: &Signal) {
        let elsewhere = Signal {
            container: self.container.clone(),
            announced: None,
            ..signal.clone()
        };
        // It fits: the one in this container does.
        if let Ok(record) = Record::of(&elsewhere) {
            self.due.send_modify(|due| {
                due.version += 1;
                due.held = Some(ToHold::Record(record));
            });
        }
    }

    fn write(&mut self, signal: &Signal) -> Result<(), String> {
        let record = signal.encode().map_err(|e| e.to_string())?;
        self.publication.write(&record).map_err(|e| e.to_string())
    }

    fn next_signal(&mut self) -> Option<Signal> {
        if self.silent {
            return None;
        }
        let word = self.word.clone()?;
        self.seq += 1;
        let mut details = Map::new();
        if let Some(status) = &word.status {
            let status = signal::clean_reason(status);
            details.insert("status".to_owned(), Value::String(status));
        }
        Some(Signal {
            v: VERSION,
            agent: self.name.clone(),
            instance: self.instance.clone(),
            state: word.state,
            reason: word.reason.as_deref().map(signal::clean_reason),
            details,
            ttl_ms: Some(self.ttl_ms),
            beat_ms: Some(self.ttl_ms / BEATS_PER_TTL),
            seq: self.seq,
            host: Some(self.host.clone()),
            pid: Some(self.owner.pid),
            pid_start: self.owner.start,
            boot_id: self.epoch.boot_id.clone(),
            pid_ns: self.epoch.pid_ns,
            init_start: self.epoch.init_start,
            time_ns: self.epoch.time_ns,
            container: None,
            mono_ms: Some(clock::mono_ms()),
            since: Some(self.since.clone()),
            sdk: Some(WRITER.to_owned()),
            announced: self.announced.clone(),
        })
    }
}

fn publication(folder: &Folder, name: &Name, owner: Owner) -> Publication {
    Publication::new(folder.clone(), name.clone(), owner.pid, owner.start).by_starter()
}

/// This process's publication, told from any other of any host.
fn instance(host: &str, epoch: &Epoch) -> Instance {
    let (pid, start) = host::myself();
    let mut hasher = DefaultHasher::new();
    (&epoch.boot_id, epoch.pid_ns, epoch.init_start, start).hash(&mut hasher);
    let nonce = format!("{:08x}", hasher.finish() >> 32);
    Instance::of_process(host, pid, start).with_nonce(&nonce)
}
