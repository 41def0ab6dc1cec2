//! What every record of this process says about it.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use crate::host::{self, Epoch};
use crate::signal::Instance;
use crate::{Error, ErrorKind, Result};

/// What [`use_sdk`] set, in this process or in one that it was forked from.
static SDK: ArcSwapOption<&'static str> = ArcSwapOption::const_empty();
const RUST_SDK: &str = concat!("rust/", env!("CARGO_PKG_VERSION"));
/// A record has to have room for the agent's own words, too.
const MAX_SDK_LEN: usize = 64;

/// A process that publishes.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) pid: u32,
    pub(crate) pid_start: Option<u64>,
    pub(crate) epoch: Epoch,
    pub(crate) host: String,
    /// Distinguishes this process from any other with its host name and id.
    nonce: String,
}

impl Identity {
    /// The calling process.
    pub(crate) fn current() -> Self {
        let (pid, pid_start) = host::myself();
        Self {
            pid,
            pid_start,
            epoch: Epoch::current(),
            host: host::name(),
            nonce: format!("{:08x}", fastrand::u32(..)),
        }
    }

    /// Whether it is the calling process, and not the one that this was forked from.
    pub(crate) fn is_current(&self) -> bool {
        self.pid == std::process::id()
    }

    /// The process as an instance of its agents, in its container.
    pub(crate) fn instance(&self) -> Instance {
        Instance::of_process(&self.host, self.pid, self.pid_start)
    }

    /// The same for readers elsewhere, where host name and process id are not enough to tell
    /// instances apart.
    pub(crate) fn announced_instance(&self) -> Instance {
        self.instance().with_nonce(&self.nonce)
    }
}

/// Makes records say from now on that `sdk` wrote them, instead of `rust/VERSION`: for SDKs of
/// other languages that are built on this one. Only people read it.
///
/// ```
/// ready_probe_sdk::use_sdk("python/0.1.0")?;
/// # Ok::<(), ready_probe_sdk::Error>(())
/// ```
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] unless it has 1 to 64 printable letters of ASCII.
pub fn use_sdk(sdk: &'static str) -> Result<()> {
    let printable = sdk.bytes().all(|byte| byte.is_ascii_graphic());
    if sdk.is_empty() || sdk.len() > MAX_SDK_LEN || !printable {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            format!(
                "the name of an SDK is LANGUAGE/VERSION, at most {MAX_SDK_LEN} printable ASCII characters"
            ),
        ));
    }
    SDK.store(Some(Arc::new(sdk)));
    Ok(())
}

/// The writer of this process's records.
pub(crate) fn sdk() -> &'static str {
    SDK.load().as_deref().copied().unwrap_or(RUST_SDK)
}
