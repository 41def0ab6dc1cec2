//! Exit statuses, and why a command is not carried out.

/// As it should be.
pub const OK: u8 = 0;
/// A service does not work.
pub const NOT_WORKING: u8 = 1;
/// What was typed can't be meant.
pub const USAGE: u8 = 64;
/// Somebody else is at it.
pub const LATER: u8 = 75;
/// What is configured can't be used.
pub const CONFIG: u8 = 78;
/// A restart command that could not be started, as shells say it.
pub const NOT_RUN: u8 = 126;

/// Why a command is not carried out.
#[derive(Debug)]
pub struct Refusal {
    /// The exit status.
    pub status: u8,
    /// What is wrong, and what to do.
    pub why: String,
}

impl Refusal {
    /// What was typed can't be meant.
    pub fn usage(why: impl Into<String>) -> Self {
        Self {
            status: USAGE,
            why: why.into(),
        }
    }
}

impl From<String> for Refusal {
    fn from(why: String) -> Self {
        Self {
            status: CONFIG,
            why,
        }
    }
}
