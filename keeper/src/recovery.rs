//! How a service is brought back: what is ended first and which command is run, or which container is restarted.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What it takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recovery {
    /// A command, run here.
    Command(Script),
    /// Its engine restarts the container.
    Container(Contained),
}

impl Recovery {
    /// The command, if that is what it takes.
    pub fn script(&self) -> Option<&Script> {
        match self {
            Self::Command(script) => Some(script),
            Self::Container(_) => None,
        }
    }
}

/// A container, and who runs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contained {
    /// Where the engine is.
    pub engine: String,
    /// Its name, or its id.
    pub name: String,
    /// It is started where it has ended, or was never started.
    pub restart_exited: bool,
}

/// A command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// What is ended before the command is run.
    pub stop: Option<Stop>,
    /// The text that a shell reads.
    pub command: String,
    /// Which shell.
    pub shell: Shell,
}

/// Who reads a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shell {
    /// `/bin/sh`.
    Sh,
    /// bash where there is one, else `/bin/sh`.
    Bash,
}

/// What is ended, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// Which processes.
    pub of: Whose,
    /// The signal's number that asks them to end.
    pub signal: i32,
    /// How long they have until they are killed.
    pub wait_ms: u64,
}

/// Whose processes are meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Whose {
    /// All those with this in their command lines, as the target `process:` finds them.
    Pattern(String),
    /// The one whose number is in this file, as the target `pid:` finds it.
    Pidfile(PathBuf),
}
