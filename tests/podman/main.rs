//! `ready-probe` under Podman, and the manifests of `examples/kubernetes`, which `podman kube play` runs as far
//! as it knows them. Needs `make setup probe example-agent`.
//!
//! | module | asks |
//! |---|---|
//! | [`health`] | what does Podman make of a health check? |
//! | [`kube`] | do the manifests come up, and follow what their agents say? |
//! | [`schema`] | are they what the API of Kubernetes takes, and does docs/kubernetes.md count as they do? |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and waits with a deadline"
)]

mod fixture;
mod health;
mod kube;
mod schema;
