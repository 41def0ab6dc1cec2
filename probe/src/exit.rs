//! How a run ends: what it prints, and its exit status. Knows nothing of why.

use std::ffi::OsStr;
use std::fmt::Display;
use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ready_probe_sdk::clock;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// A pipe that takes anything takes so many bytes without blocking, see pipe(7).
const PIPE_BUF: usize = 4_096;

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
    /// Everything has been said already: only the status is left.
    Said(u8),
    /// A child has run the command: what that has said, and how it ended.
    Passed {
        /// Its status.
        status: u8,
        /// What it said on stdout.
        stdout: Vec<u8>,
        /// What it said on stderr.
        stderr: Vec<u8>,
    },
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
            Self::Said(status) | Self::Passed { status, .. } => *status,
        }
    }

    /// Prints it, as far as somebody reads it within `patience`.
    pub fn print(self, patience: Duration) -> ExitCode {
        let status = self.status();
        self.say(patience);
        ExitCode::from(status)
    }

    /// The same; tells whether somebody has taken all of it.
    pub fn say(self, patience: Duration) -> bool {
        let until = clock::instant() + patience;
        match self {
            Self::Done(text) | Self::Failed(text) => write(io::stdout(), text.as_bytes(), until),
            Self::Usage(text) | Self::Config(text) => write(io::stderr(), text.as_bytes(), until),
            Self::Signal(_) | Self::Said(_) => true,
            Self::Passed { stdout, stderr, .. } => {
                let said = write(io::stdout(), &stdout, until);
                write(io::stderr(), &stderr, until) && said
            }
        }
    }

    /// A command that can't be run, as a shell says so: 127 if it is not there, 126 otherwise.
    pub fn not_run(program: &OsStr, error: &io::Error) -> Self {
        let status = match error.kind() {
            io::ErrorKind::NotFound => 127,
            _ => 126,
        };
        let program = program.display();
        let what = format!("ready-probe: the command {program} can't be run: {error}\n");
        Self::Passed {
            status,
            stdout: Vec::new(),
            stderr: what.into_bytes(),
        }
    }

    /// A failure in one line.
    pub fn failed(why: impl Display) -> Self {
        Self::Failed(format!("ready-probe: {why}\n"))
    }
}

/// Writes what somebody takes by then; tells whether that was all. A reader that does not read can't keep this
/// process waiting.
fn write(output: impl AsFd, text: &[u8], until: Instant) -> bool {
    let mut rest = text;
    while !rest.is_empty() {
        let left = until.saturating_duration_since(clock::instant());
        let Ok(left) = Timespec::try_from(left) else {
            return false;
        };
        let mut waited = [PollFd::new(&output, PollFlags::OUT)];
        match poll(&mut waited, Some(&left)) {
            Ok(0) => return false,
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return false,
        }
        let [waited] = &waited;
        if waited.revents().is_empty() {
            continue;
        }
        let piece = rest.get(..rest.len().min(PIPE_BUF)).unwrap_or_default();
        match rustix::io::write(&output, piece) {
            Ok(n) => rest = rest.get(n..).unwrap_or_default(),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => return false,
        }
    }
    true
}
