//! What publishing tells the log. Noted under a lock, logged without one.

use crate::Error;
use crate::freshness::Span;
use crate::signal::Name;

/// What is to be logged once no lock is held.
#[derive(Debug)]
pub(super) enum Note {
    /// An outage of the folder begins.
    FolderRefuses(Error),
    /// An outage ends.
    FolderTakes { outage_ms: u64 },
    /// The agent makes no progress.
    Stalled { idle_ms: u64, limit_ms: u64 },
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
            Some(Self::Stalled { idle_ms, limit_ms }) => {
                let (idle, limit) = (Span(idle_ms), Span(limit_ms));
                tracing::warn!(%agent, "agent stalled: no progress for {idle} (limit {limit})");
            }
            Some(Self::Resumed) => tracing::info!(%agent, "agent makes progress again"),
        }
    }
}
