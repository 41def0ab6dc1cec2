//! Whose records a process may remove from a store: those of its agents' predecessors.
//!
//! Processes of other hosts can't be looked at, so a record is removed only with proof that nobody
//! will ever renew it. Host names prove nothing: containers share them. Without proof, the record
//! ends with its TTL.

pub mod looks;

use super::{Failure, Published, Seen, Store};
use crate::freshness::{self, NotReady};
use crate::host::{self, Epoch, Process};
use crate::signal::{Instance, Name, Signal};

/// What a process has to know about itself to recognize its predecessors.
#[derive(Debug, Clone, Default)]
pub struct Successor {
    /// The life of the container that it runs in.
    pub epoch: Epoch,
    /// The container, if that is known.
    pub container: Option<String>,
    /// What it publishes, if its signals name another process: one that does not publish itself.
    pub instance: Option<Instance>,
}

impl Successor {
    /// The calling process.
    #[must_use]
    pub fn current() -> Self {
        Self {
            epoch: Epoch::current(),
            container: host::container_id(),
            instance: None,
        }
    }

    /// Whether provably nobody will renew a signal: this very container published it in another
    /// life, or a process of this PID namespace did, and is dead.
    fn succeeds(&self, signal: &Signal, look_up: impl Fn(u32) -> Process) -> bool {
        self.has_other_life(signal)
            || self.shares_processes_with(signal) && is_dead(signal, look_up)
    }

    fn has_other_life(&self, signal: &Signal) -> bool {
        let is_ours = signal.container.is_some() && signal.container == self.container;
        is_ours && freshness::same_epoch(signal, &self.epoch) == Err(NotReady::OtherEpoch)
    }

    /// Whether a process id means the same to both. That takes all three parts: Docker uses the
    /// number of a PID namespace again, and every host counts from the same number.
    fn shares_processes_with(&self, signal: &Signal) -> bool {
        self.knows_its_epoch() && freshness::same_epoch(signal, &self.epoch).is_ok()
    }

    fn knows_its_epoch(&self) -> bool {
        let Epoch {
            boot_id,
            pid_ns,
            init_start,
            // Not every kernel has one.
            time_ns: _,
        } = &self.epoch;
        boot_id.is_some() && pid_ns.is_some() && init_start.is_some()
    }

    /// Which of these records are predecessors'.
    fn predecessors(&self, seen: &[Seen], look_up: impl Fn(u32) -> Process) -> Vec<Published> {
        let signals = seen.iter().filter_map(|seen| seen.signal.as_ref().ok());
        let dead = signals.filter(|signal| self.succeeds(signal, &look_up));
        let dead = dead.map(|signal| Published {
            agent: signal.agent.clone(),
            instance: signal.instance.clone(),
        });
        dead.collect()
    }

    /// Removes what predecessors of these agents have left in a store, and tidies up after others.
    /// Returns the agents that another process of this PID namespace publishes as well, as far as
    /// it seems to live: it may be about to die.
    ///
    /// # Errors
    /// [`Failure`]: why the store could not be asked.
    pub async fn succeed(
        &self,
        store: &mut impl Store,
        agents: &[Name],
    ) -> Result<Vec<Name>, Failure> {
        let removed = self.remove_predecessors(store, agents).await;
        match &removed {
            Err(failure) if failure.reconnect => {}
            // A user that may not read, or that removes nothing, can still tidy up.
            Ok(_) | Err(_) => store.tidy(agents).await?,
        }
        removed
    }

    async fn remove_predecessors(
        &self,
        store: &mut impl Store,
        agents: &[Name],
    ) -> Result<Vec<Name>, Failure> {
        if self.container.is_none() && !self.knows_its_epoch() {
            return Ok(Vec::new());
        }
        let seen = store.read(agents).await?;
        let dead = self.predecessors(&seen, Process::in_own_namespace);
        store.remove(&dead).await?;
        let signals = seen.iter().filter_map(|seen| seen.signal.as_ref().ok());
        let siblings = signals.filter(|signal| {
            let is_dead = dead.iter().any(|dead| dead.instance == signal.instance);
            let is_own = signal.pid == Some(std::process::id())
                || self.instance.as_ref() == Some(&signal.instance);
            self.shares_processes_with(signal) && !is_dead && !is_own
        });
        Ok(siblings.map(|signal| signal.agent.clone()).collect())
    }
}

/// Whether the process that published a signal has ended. One that can't be looked at may be alive.
fn is_dead(signal: &Signal, look_up: impl Fn(u32) -> Process) -> bool {
    let (Some(pid), Some(pid_start)) = (signal.pid, signal.pid_start) else {
        return false;
    };
    match look_up(pid) {
        Process::Gone | Process::Zombie { .. } => true,
        // Its id belongs to another process by now.
        Process::Alive { start, .. } => start != pid_start,
        Process::Unreadable => false,
    }
}

#[cfg(test)]
mod tests;
