//! The event loop, for whatever asks the network or a child.

use tokio::runtime::{Builder, Runtime};

/// Starts it, on this thread.
pub fn start() -> Result<Runtime, String> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("an event loop can't be started: {e}"))
}
