//! The one place where the SDK's errors become Python's exceptions.
//!
//! These are classes of `ready_probe._errors`: the stable interface of Python 3.10 can't make
//! classes that derive from two.

use pyo3::prelude::*;
use ready_probe_sdk::{Error, ErrorKind};

/// The exception for an error of the SDK, with its text.
pub(crate) fn to_py(py: Python<'_>, e: &Error) -> PyErr {
    let class = match e.kind() {
        ErrorKind::InvalidName => "InvalidName",
        ErrorKind::InvalidArgument
        | ErrorKind::InvalidConfig
        | ErrorKind::TooLarge
        | ErrorKind::AlreadyRegistered => "ConfigError",
        ErrorKind::StoreUnavailable => "StoreUnavailable",
        ErrorKind::Forked => "ForkedProcessError",
        ErrorKind::Closed => "ClosedError",
        ErrorKind::Folder | ErrorKind::Thread => "ReadyProbeError",
        // The kinds are non-exhaustive; a new one has no class of its own yet.
        _ => "ReadyProbeError",
    };
    exception(py, class, &e.to_string())
}

/// An argument, a setting or details that can't be used.
pub(crate) fn config(py: Python<'_>, message: &str) -> PyErr {
    exception(py, "ConfigError", message)
}

/// A closed agent.
pub(crate) fn closed(py: Python<'_>, agent: &str) -> PyErr {
    exception(
        py,
        "ClosedError",
        &format!("agent {agent} was closed: make a new Agent"),
    )
}

/// An agent of the parent process.
pub(crate) fn forked(py: Python<'_>, agent: &str, parent: u32) -> PyErr {
    exception(
        py,
        "ForkedProcessError",
        &format!(
            "agent {agent} belongs to process {parent}, which this one was forked from: make a new \
             Agent in this process, or call mark_agent_ready"
        ),
    )
}

/// The store has not taken a signal in time.
pub(crate) fn unavailable(py: Python<'_>, message: &str) -> PyErr {
    exception(py, "StoreUnavailable", message)
}

fn exception(py: Python<'_>, class: &str, message: &str) -> PyErr {
    let made = py
        .import("ready_probe._errors")
        .and_then(|errors| errors.getattr(class))
        .and_then(|class| class.call1((message,)));
    match made {
        Ok(exception) => PyErr::from_value(exception),
        Err(e) => e,
    }
}
