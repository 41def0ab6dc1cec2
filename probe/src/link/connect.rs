//! Getting a connection: the SDK's, with the static binary's own way to resolve names.

use ready_probe_sdk::connect::{Endpoint, open as sdk};

use super::nss;

pub use sdk::{NoConnection, Stream, plain, secure, tls_config};

/// Connects to an endpoint, whichever of its addresses answers first.
pub async fn open(endpoint: &Endpoint) -> Result<Stream, NoConnection> {
    if endpoint.needs_resolver() {
        nss::use_built_in_services();
    }
    sdk::open(endpoint).await
}
