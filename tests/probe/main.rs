//! End-to-end tests of the `ready-probe` binary: the real program against real servers.
//!
//! `make probe` builds it. A topic a file; what all of them use is in `container`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and measures time"
)]

mod agent;
mod agent_records;
mod container;
mod deadline;
mod docs;
mod exec;
mod grace;
mod http;
mod https;
mod invalid_settings;
mod limits;
mod local;
mod mark;
mod memory;
mod nats;
mod nats_auth;
mod output;
mod readme;
mod records;
mod redis;
mod redis_tls;
mod secrets;
mod settings;
mod target_options;
mod wait;
