//! `ready-probe` under a real Docker engine: its health monitor, its restarts, its networks, its
//! limits. Needs `make probe example-agent`.
//!
//! | module | asks |
//! |---|---|
//! | [`lifecycle`] | does health follow what an agent says, does, and dies of? |
//! | [`restart`] | is a signal of an earlier life ever believed? |
//! | [`grace`] | does a Redis that restarts take healthy agents down? |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and waits with a deadline"
)]

mod fixture;
mod grace;
mod lifecycle;
mod restart;
