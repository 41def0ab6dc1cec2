//! A child that waits for a file system that does not answer.

use ready_probe_sdk::host::Process;
use serde::{Deserialize, Serialize};

/// A child that was left waiting for a file system that does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftBehind {
    /// Its process.
    pub pid: u32,
    /// When that started: field 22 of `/proc/PID/stat`.
    pub start: u64,
    /// When it was left: `CLOCK_MONOTONIC` in milliseconds.
    pub since_ms: u64,
}

impl LeftBehind {
    /// Whether it still waits.
    pub fn lives(&self) -> bool {
        matches!(Process::of(self.pid), Process::Alive { start, .. } if start == self.start)
    }
}
