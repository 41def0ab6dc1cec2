//! The kinds of targets: what each of them asks, and what it expects.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ready_probe_sdk::connect::nats::NatsAddress;
use ready_probe_sdk::connect::redis::RedisAddress;
use ready_probe_sdk::connect::tls::TlsOptions;
use ready_probe_sdk::connect::{Endpoint, Secret};
use ready_probe_sdk::signal::Name;

use super::Target;
use super::amount::Amount;

/// What can be asked.
#[derive(Debug, Clone)]
pub enum Kind {
    /// Which agents are in this container? Answered by looking, in the plan.
    Agents,
    /// Is this agent ready in this container?
    Agent {
        /// The agent.
        name: Name,
        /// How many instances must be.
        min: usize,
    },
    /// Is this agent ready, wherever it runs?
    Peer {
        /// The agent.
        name: Name,
        /// How many instances must be.
        min: usize,
    },
    /// Does Redis answer, and as expected?
    Redis(RedisTarget),
    /// Does NATS answer, and as expected?
    Nats(NatsTarget),
    /// Does an HTTP endpoint answer, and as expected?
    Http(HttpTarget),
    /// Does somebody accept connections?
    Connect(Endpoint),
    /// Does a process match?
    Process {
        /// A part of its command line.
        pattern: String,
        /// How many must match.
        min: usize,
    },
    /// Is the process of a pid file alive?
    Pid(PathBuf),
    /// Does a command exit with 0?
    Exec(Vec<String>),
    /// Is a file there, and as expected?
    File(FileTarget),
    /// Is enough left of something that runs out?
    Resource(Resource),
    /// Does supervisord's program run?
    Supervisor(SupervisorTarget),
    /// Does a container run, and is it healthy?
    Container(ContainerTarget),
    /// Does one of these pass?
    Any(Vec<Target>),
}

/// A Redis server and what is expected of it.
#[derive(Debug, Clone)]
pub struct RedisTarget {
    /// Where it is, and who we are.
    pub address: RedisAddress,
    /// How to speak TLS, if the address says so.
    pub tls: TlsOptions,
    /// This key exists.
    pub key: Option<String>,
    /// That key holds this value.
    pub value: Option<String>,
    /// It has this role.
    pub role: Option<RedisRole>,
    /// None of this may be so.
    pub not: bool,
}

/// A role of a Redis server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedisRole {
    /// It takes writes.
    Master,
    /// It follows a master.
    Replica,
}

/// A NATS server and what is expected of it.
#[derive(Debug, Clone)]
pub struct NatsTarget {
    /// Where it is, and who we are.
    pub address: NatsAddress,
    /// How to speak TLS.
    pub tls: TlsOptions,
    /// The account has JetStream.
    pub jetstream: bool,
    /// This key-value bucket exists.
    pub bucket: Option<String>,
    /// None of this may be so.
    pub not: bool,
}

/// An HTTP endpoint and what is expected of it.
#[derive(Debug, Clone)]
pub struct HttpTarget {
    /// Where to connect to.
    pub endpoint: Endpoint,
    /// How to speak TLS, for `https`.
    pub tls: Option<TlsOptions>,
    /// The `Host` header.
    pub host: String,
    /// Path and query.
    pub path: String,
    /// The method.
    pub method: hyper::Method,
    /// What to send.
    pub body: Body,
    /// Headers to send.
    pub headers: hyper::HeaderMap,
    /// The expected status codes.
    pub status: Vec<RangeInclusive<u16>>,
    /// The body contains all of these.
    pub contains: Vec<String>,
    /// At these JSON pointers the body holds these values.
    pub json: Vec<(String, String)>,
    /// What must not be so.
    pub not: Option<HttpNot>,
}

/// What is sent to an HTTP endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Nothing.
    None,
    /// This text.
    Text(String),
    /// The content of this file at the time.
    File(PathBuf),
}

/// What `not` inverts of the expectations of an HTTP endpoint: those that the user wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpNot {
    /// The status must be none of those in the target.
    pub status: bool,
}

/// A file and what is expected of it.
#[derive(Debug, Clone)]
pub struct FileTarget {
    /// The file.
    pub path: PathBuf,
    /// It was modified within this time.
    pub max_age: Option<Duration>,
    /// It contains all of these.
    pub contains: Vec<String>,
    /// None of this may be so.
    pub not: bool,
}

/// Something that runs out, and how much of it is to be left. Without a limit it is only told.
#[derive(Debug, Clone)]
pub enum Resource {
    /// The file system that holds a path.
    Disk {
        /// Any path on it.
        path: PathBuf,
        /// So much of it is free, for users that are not root.
        free: Option<Amount>,
        /// So many inodes are, for them.
        inodes: Option<Amount>,
    },
    /// Open files.
    Descriptors {
        /// Whose.
        of: Opener,
        /// So many percent may be used.
        used: Option<u8>,
    },
    /// Processes and threads of this container.
    Pids {
        /// So many percent may be used.
        used: Option<u8>,
    },
    /// Processes that have ended, and that nobody has reaped.
    Zombies {
        /// So many may be there.
        max: Option<u64>,
    },
}

impl Resource {
    /// Whether it may be used up too far.
    pub fn has_limit(&self) -> bool {
        match self {
            Self::Disk { free, inodes, .. } => free.is_some() || inodes.is_some(),
            Self::Descriptors { used, .. } | Self::Pids { used } => used.is_some(),
            Self::Zombies { max } => max.is_some(),
        }
    }

    /// The path that is looked at, where one was named.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Disk { path, .. } => Some(path),
            Self::Descriptors { .. } | Self::Pids { .. } | Self::Zombies { .. } => None,
        }
    }
}

/// Who opens files.
#[derive(Debug, Clone)]
pub enum Opener {
    /// Everybody on this machine.
    System,
    /// Each process with this part in its command line.
    Processes(String),
}

/// A program of supervisord.
#[derive(Debug, Clone)]
pub struct SupervisorTarget {
    /// `NAME`, or `GROUP:NAME`.
    pub program: String,
    /// Where supervisord listens.
    pub at: Endpoint,
    /// The value of the header Authorization, if it wants one.
    pub authorization: Option<Secret>,
}

/// A container of an engine that has Docker's API.
#[derive(Debug, Clone)]
pub struct ContainerTarget {
    /// Its name or id.
    pub name: String,
    /// Where the engine listens.
    pub at: Endpoint,
}
