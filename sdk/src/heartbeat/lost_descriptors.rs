//! What the heartbeat's thread and the rest of the process know of each other.

use std::io::{self, PipeReader};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;

use crate::kept_descriptor::KeptDescriptor;

/// One thread of the heartbeat.
#[derive(Debug)]
pub(super) struct Life {
    /// Of its process: a forked child has no such thread, even if a logger forked in it.
    pid: u32,
    /// It took the place of one that has lost its descriptors.
    pub(super) succeeds: bool,
    /// Has it look at its agents. A runtime with I/O is woken by a write to a descriptor of its own:
    /// not to be notified once those are lost.
    pub(super) wake: Notify,
    /// Tell whether they are. A runtime does not say which its own are, so these are opened before
    /// and behind them: whoever closes all descriptors closes both.
    witnesses: ArcSwapOption<[KeptDescriptor<PipeReader>; 2]>,
}

impl Life {
    pub(super) fn new(succeeds: bool) -> Self {
        Self {
            pid: std::process::id(),
            succeeds,
            wake: Notify::new(),
            witnesses: ArcSwapOption::empty(),
        }
    }

    /// Builds a runtime with descriptors of its own.
    pub(super) fn with_descriptors<T>(
        &self,
        build: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let before = witness()?;
        let built = build()?;
        self.witnesses.store(Some(Arc::new([before, witness()?])));
        Ok(built)
    }

    /// Whether its process has closed them. Then it has done so for good.
    pub(super) fn has_lost_descriptors(&self) -> bool {
        let witnesses = self.witnesses.load();
        let mut witnesses = witnesses.iter().flat_map(|pair| pair.iter());
        witnesses.any(|witness| witness.get().is_none()) && self.pid == std::process::id()
    }
}

/// A pipe, since no other open file ever is the same one: all of epoll and eventfd share an inode.
fn witness() -> io::Result<KeptDescriptor<PipeReader>> {
    let (reader, _) = io::pipe()?;
    Ok(KeptDescriptor::new(reader)?)
}
