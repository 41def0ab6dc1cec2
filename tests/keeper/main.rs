//! End-to-end tests of the `ready-keeper` binary: the real program, on real services.
//!
//! `make keeper` builds it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and measures time"
)]

mod alerts;
mod around;
mod bad_input;
mod bad_settings;
mod channels;
mod config;
mod engine;
mod failure_modes;
mod host;
mod metrics;
mod orders;
mod proof;
mod reload;
mod restart_command;
mod scenarios;
mod scrapes;
mod settings;
mod status;
mod supervised;
mod told;
mod under_way;
