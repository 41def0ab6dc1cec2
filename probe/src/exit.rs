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
    /// Prints what is to be said, and maps the end to an exit status.
    pub fn print(self) -> ExitCode {
        let (text, code, to_stderr) = match self {
            Self::Done(text) => (text, 0, false),
            Self::Failed(text) => (text, 1, false),
            Self::Usage(text) => (text, 64, true),
            Self::Config(text) => (text, 78, true),
            Self::Signal(number) => (String::new(), 128 + u8::try_from(number).unwrap_or(0), true),
        };
        // One write: Docker's buffer holds stdout and stderr in the order in which they come.
        // Nobody is left to be told when it fails.
        let _ = if to_stderr {
            std::io::stderr().write_all(text.as_bytes())
        } else {
            std::io::stdout().write_all(text.as_bytes())
        };
        ExitCode::from(code)
    }

    /// A failure in one line.
    pub fn failed(why: impl Display) -> Self {
        Self::Failed(format!("ready-probe: {why}\n"))
    }
}
