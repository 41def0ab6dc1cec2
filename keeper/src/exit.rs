//! Exit statuses, what a command prints, and why one is not carried out.

use std::io::{self, ErrorKind, Write};

/// As it should be.
pub const OK: u8 = 0;
/// A service does not work.
pub const NOT_WORKING: u8 = 1;
/// What was typed can't be meant.
pub const USAGE: u8 = 64;
/// What was to be printed can't be.
pub const UNPRINTED: u8 = 74;
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

/// Prints what somebody has asked for. Whoever has stopped reading wants no more of it.
pub fn print(text: &str) -> Result<(), Refusal> {
    let mut stdout = io::stdout();
    let printed = stdout.write_all(text.as_bytes());
    match printed.and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(Refusal {
            status: UNPRINTED,
            why: format!("standard output can't be written: {e}"),
        }),
        Err(_) | Ok(()) => Ok(()),
    }
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
