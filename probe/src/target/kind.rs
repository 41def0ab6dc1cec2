//! The kinds of targets: what each of them asks, and what it expects.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use ready_probe_sdk::connect::Endpoint;
use ready_probe_sdk::connect::nats::NatsAddress;
use ready_probe_sdk::connect::redis::RedisAddress;
use ready_probe_sdk::connect::tls::TlsOptions;
use ready_probe_sdk::signal::Name;

use super::Target;

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
