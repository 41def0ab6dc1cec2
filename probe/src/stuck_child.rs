//! A child of a probe that is stuck: it waits for a file system that does not answer, and ends once that does.
//!
//! What a command leaves behind is ended by [`crate::child::descendants`].

use ready_probe_sdk::host::Process;
use serde::{Deserialize, Serialize};

/// A child that was killed while it waited for a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StuckChild {
    /// Its process.
    pub pid: u32,
    /// When that started: field 22 of `/proc/PID/stat`.
    pub start: u64,
    /// When it was left: `CLOCK_MONOTONIC` in milliseconds.
    pub since_ms: u64,
}

impl StuckChild {
    /// Whether it still waits.
    pub fn lives(&self) -> bool {
        Process::lives(self.pid, self.start)
    }
}
