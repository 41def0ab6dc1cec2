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
//! # Layout, in order of dependence
//!
//! | module | owns |
//! |---|---|
//! | [`clock`], [`host`] | the only readers of clocks and of `/proc` |
//! | `kept` | descriptors that are kept for longer than a moment |
//! | [`variable`] | the one way to read the environment |
//! | [`signal`] | the record: names, limits, encode and decode |
//! | [`freshness`] | signal + now + this host → ready, or why not |
//! | [`store`] | where signals live; [`store::local`] is the container's shared memory |
//! | `agent`, `heartbeat`, `registry` | publishing: the agent, its beats, one table a process |
//! | `connect` | addresses, credentials, TLS of Redis and NATS |

#![forbid(unsafe_code)]

#[cfg(feature = "agent")]
mod agent;
#[cfg(feature = "agent")]
mod announce;
pub mod clock;
#[cfg(feature = "connect")]
pub mod connect;
mod error;
pub mod freshness;
#[cfg(feature = "agent")]
mod heartbeat;
pub mod host;
mod kept;
#[cfg(feature = "agent")]
mod registry;
pub mod signal;
pub mod store;
#[cfg(any(feature = "agent", feature = "open"))]
pub mod thread;
pub mod variable;

#[cfg(feature = "agent")]
pub use agent::{Agent, AgentBuilder, Draining};
pub use error::{Error, ErrorKind};
#[cfg(feature = "agent")]
pub use registry::{close_all, mark_agent_not_ready, mark_agent_ready, use_dir, use_sdk};
pub use signal::{Announced, State};

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The README's examples run as they stand.
#[cfg(all(doctest, feature = "agent"))]
#[doc = include_str!("../../README.md")]
pub struct ReadmeExamples;
