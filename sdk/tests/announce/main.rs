//! Agents announce to real servers: what others see there, and that nothing of it holds an agent up.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking"
)]

#[path = "../common/mod.rs"]
mod common;

mod acl;
mod bucket;
mod chaos;
mod faults;
mod fixture;
mod fleet;
mod full;
mod hint;
mod late;
mod lives;
mod log;
mod names;
mod nats;
mod nats_auth;
mod nats_refused;
mod partition;
mod permissions;
mod quorum;
mod redis;
mod refused;
mod secrets;
mod servers;
mod settings;
mod successor;
mod tls;
mod wiped;

/// Not a test: what the tests start as another process.
#[test]
fn program() {
    common::program::main_if_asked();
}
