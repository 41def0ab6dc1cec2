//! How a run ends: what it prints, and its exit status. Knows nothing of why.

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

/// How a run ends: what it prints where, and its status. Docker reserves 2; 64 and 78 are
/// `EX_USAGE` and `EX_CONFIG` of sysexits(3).
#[derive(Debug, PartialEq, Eq)]
pub enum Exit {
    /// It did what it should; this is what it says.
    Done(String),
    /// Not healthy, or not done; this is why.
    Failed(String),
    /// The command line can't be used.
    Usage(String),
    /// The environment or the configuration file can't be used.
    Config(String),
    /// A signal ended it: its number.
    Signal(i32),
}

impl Exit {
    /// The exit status.
    pub fn status(&self) -> u8 {
        match self {
            Self::Done(_) => 0,
            Self::Failed(_) => 1,
            Self::Usage(_) => 64,
            Self::Config(_) => 78,
            Self::Signal(number) => 128 + u8::try_from(*number).unwrap_or(0),
        }
    }

    /// Prints what is to be said.
    pub fn print(self) -> ExitCode {
        let status = self.status();
        // One write: Docker's buffer holds stdout and stderr in the order in which they come.
        // Nobody is left to be told when it fails.
        let _ = match self {
            Self::Done(text) | Self::Failed(text) => std::io::stdout().write_all(text.as_bytes()),
            Self::Usage(text) | Self::Config(text) => std::io::stderr().write_all(text.as_bytes()),
            Self::Signal(_) => Ok(()),
        };
        ExitCode::from(status)
    }

    /// A failure in one line.
    pub fn failed(why: impl Display) -> Self {
        Self::Failed(format!("ready-probe: {why}\n"))
    }
}
