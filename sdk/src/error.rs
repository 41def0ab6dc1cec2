//! The crate's error: what went wrong, where it was set, what to do.

use std::fmt;

/// What kind of thing went wrong, for callers who decide by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A name of an agent or namespace breaks the naming rule.
    InvalidName,
    /// Details, a reason, a TTL, an interval or another argument is out of its range.
    InvalidArgument,
    /// An environment variable or an address holds something that can't be used.
    InvalidConfig,
    /// A record is larger than [`crate::signal::MAX_RECORD_BYTES`].
    TooLarge,
    /// The folder of signals can't be written.
    Folder,
    /// This process already publishes an agent of this name.
    AlreadyRegistered,
    /// The object belongs to the process this one was forked from.
    Forked,
    /// The agent was closed.
    Closed,
    /// The heartbeat thread can't be started.
    Thread,
    /// The store that signals are announced to did not take one within the time given.
    StoreUnavailable,
}

/// An error of this crate. Its text is one line for people; [`Error::kind`] is for programs.
#[derive(Debug, Clone)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// What kind of error this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
