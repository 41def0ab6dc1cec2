//! Say that an agent is ready, and mean it.
//!
//! An agent publishes a *signal*: its name, its state, and a heartbeat with a TTL. The container's
//! health check, the `ready-probe` binary, reads it. The signal dies with the process, with the
//! container, and with the agent's progress, so that a container is never healthy by mistake.
//!
//! ```
//! use ready_probe_sdk::{mark_agent_not_ready, mark_agent_ready};
//! # let dir = tempfile::tempdir()?;
//! # ready_probe_sdk::use_dir(dir.path())?;
//!
//! // … load the model, connect, warm up …
//! mark_agent_ready("translator", serde_json::json!({ "port": 5555 }))?;
//! // … work …
//! mark_agent_not_ready("translator", "reloading the model")?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! An [`Agent`] gives more control: a TTL, and a watchdog that ties the signal to progress.
//!
//! | you have | take |
//! |---|---|
//! | code with nowhere to hold an object | [`mark_agent_ready`], and [`close_all`] at the end |
//! | a program of your own | [`Agent`], behind an `Arc` where threads share it |
//! | work that may hang | [`AgentBuilder::watchdog`], [`Agent::tick`], [`Agent::working`] |
//! | a service on tokio | `TokioAgent`, with the feature `tokio`: it is stalled while the runtime is blocked |
//!
//! `docs/rust.md` in the repository has the features, a whole service with its SIGTERM, and how to
//! test one.
//!
//! # Layout, in order of dependence
//!
//! | module | owns |
//! |---|---|
//! | [`host`], [`clock`], [`trimmed_variable`] | the only readers of `/proc`, of clocks and of the environment |
//! | [`signal`] | the record: names, limits, encode and decode |
//! | [`freshness`] | signal + now + this host → ready and until when, or why not |
//! | [`folder`] | this container's signals |
//! | [`connect`] | addresses, credentials, TLS of Redis and NATS; [`connect::place`]: `READY_STORE` |
//! | [`store`] | where signals are announced |
//! | `publisher`, `outbox`, `watchdog` | one agent's word, and the one place that writes it |
//! | `announce` | takes what is due to a store |
//! | `heartbeat`, `agents` | the one thread, the one table |
//! | `agent`, `mark` | the public face |
//!
//! `scripts/layers.py` holds them to it.

#![forbid(unsafe_code)]

#[cfg(feature = "agent")]
mod agent;
#[cfg(feature = "agent")]
mod agents;
#[cfg(feature = "agent")]
mod announce;
#[cfg(feature = "stores")]
pub mod backoff;
pub mod clock;
#[cfg(feature = "connect")]
pub mod connect;
pub mod duration;
mod error;
pub mod folder;
pub mod freshness;
#[cfg(feature = "agent")]
mod heartbeat;
pub mod host;
mod kept_descriptor;
#[cfg(feature = "agent")]
mod mark;
#[cfg(feature = "agent")]
mod outbox;
#[cfg(feature = "agent")]
pub mod per_process;
#[cfg(feature = "agent")]
mod publisher;
pub mod signal;
#[cfg(any(feature = "stores", feature = "contract"))]
pub mod store;
#[cfg(any(feature = "agent", feature = "open"))]
pub mod thread;
pub mod trimmed_variable;
#[cfg(feature = "agent")]
mod watchdog;

#[cfg(feature = "tokio")]
pub use agent::TokioAgent;
#[cfg(feature = "agent")]
pub use agent::{Agent, AgentBuilder, Draining, Working};
pub use error::{Error, ErrorKind};
#[cfg(feature = "agent")]
pub use mark::{close_all, find_agent, mark_agent_not_ready, mark_agent_ready, use_dir};
#[cfg(feature = "agent")]
pub use publisher::use_sdk;
pub use signal::{Announced, State};

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The documents' examples compile as they stand.
#[cfg(all(doctest, feature = "agent"))]
#[doc = include_str!("../../README.md")]
#[doc = include_str!("../../docs/recipes.md")]
pub struct DocumentedExamples;
