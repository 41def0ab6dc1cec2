//! Where signals live.
//!
//! [`local`] is the container's shared memory: written by every agent, read by the container's own
//! probe.

pub mod local;
