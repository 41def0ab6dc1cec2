//! Every store is held to one contract: memory, the container's shared memory, and real servers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a fixture fails its test by panicking"
)]

mod folder;
mod memory;
mod nats;
mod redis;
