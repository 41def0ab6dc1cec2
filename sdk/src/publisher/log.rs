//! What publishing logs. Noted under a lock, logged without one.

use crate::Error;
use crate::freshness::Span;
use crate::signal::Name;
use crate::watchdog::Stall;

/// What to log once no lock is held.
#[derive(Debug)]
pub(super) enum Note {
    /// An outage of the folder begins.
    FolderRefuses(Error),
    /// An outage ends.
    FolderTakes { outage_ms: u64 },
    /// The agent makes no progress.
    Stalled(Stall),
    /// The agent makes progress again.
    Resumed,
}

impl Note {
    pub(super) fn log(note: Option<Self>, agent: &Name) {
        match note {
            None => {}
            Some(Self::FolderRefuses(e)) => tracing::error!(%agent, "{e}"),
            Some(Self::FolderTakes { outage_ms }) => {
                let lasted = Span(outage_ms);
                tracing::info!(%agent, "the local signal is written again after {lasted}");
            }
            Some(Self::Stalled(stall)) => tracing::warn!(%agent, "agent {stall}"),
            Some(Self::Resumed) => tracing::info!(%agent, "agent makes progress again"),
        }
    }
}
