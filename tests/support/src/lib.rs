//! What ready-probe's tests stand on: real servers, servers that misbehave, and a way to run the
//! probe and see what it cost.
//!
//! | module | owns |
//! |---|---|
//! | [`process`] | running a program to its end, waiting with a deadline, ports, the probe's path |
//! | [`servers`] | Redis, Valkey, nats-server, OpenSSL's, supervisord and Prometheus, each with its own port and directory |
//! | [`operator`] | an operator of NATS and the credentials of a user |
//! | [`tls`] | a certificate authority and what it signs; certificates that sign themselves |
//! | [`hostile`] | listeners that are silent, drip, flood, reset or refuse |
//! | [`http`] | an HTTP/1.1 server whose answers a closure decides |
//! | [`ntfy`] | an ntfy server that enforces what its documentation says |
//! | [`proxy`] | a TCP proxy that injects faults into connections already open |
//! | [`dns`] | name servers, and a private `/etc/resolv.conf` to point at them |
//! | [`docker`] | a Docker engine |
//! | [`podman`] | Podman, in namespaces of its own |
//! | [`pages`] | the blocks of code in documents |
//! | [`fuse`] | a file system that hangs on command |
//! | [`odd_process`] | processes that /proc shows as if they were others |
//!
//! Everything is synchronous and on threads, so that a fixture works the same under any runtime and
//! keeps running while a runtime under test is blocked. Every fixture stops on drop. One that cannot
//! be set up panics, and says which command installs what it needs: a test that is skipped looks
//! exactly like one that passed.
//!
//! Deliberately absent: the SDK and the probe. A test that checks bytes with the code that wrote them
//! proves nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "fixtures fail tests by panicking"
)]
#![warn(missing_docs)]

pub mod dns;
pub mod docker;
pub mod fuse;
pub mod hostile;
pub mod http;
mod listener;
pub mod ntfy;
pub mod odd_process;
pub mod operator;
pub mod pages;
pub mod podman;
pub mod process;
pub mod proxy;
pub mod servers;
pub mod tls;
#[cfg(test)]
mod tls_client;
