//! Addresses, credentials and TLS of the servers that signals and checks go to.
//!
//! Owns what an address means, the same for the probe's checks and for the stores. Only `open`
//! opens a connection.

pub mod address;
pub mod env_or_file;
pub mod failover;
pub mod file;
#[cfg(feature = "open")]
pub mod looked_up_once;
pub mod nats;
#[cfg(feature = "open")]
pub mod open;
pub mod place;
#[cfg(feature = "stores")]
pub mod read_limit;
pub mod redact;
pub mod redis;
#[cfg(feature = "open")]
mod resolve;
#[cfg(feature = "open")]
mod secured;
#[cfg(any(feature = "open", feature = "stores"))]
#[cfg_attr(
    not(feature = "open"),
    expect(dead_code, reason = "the steps of connecting")
)]
pub mod stage;
pub mod store;
pub mod tls;

use std::fmt;
use std::path::{Path, PathBuf};

/// A text that is never printed: a password, a token.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the wire.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A host name or address (IPv6 without brackets), and a port.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// A unix socket.
    Unix(PathBuf),
}

impl Endpoint {
    /// Its socket in the file system, if it has one.
    #[must_use]
    pub fn socket(&self) -> Option<&Path> {
        match self {
            Self::Unix(path) => Some(path),
            Self::Tcp { .. } => None,
        }
    }

    /// Whether its name has to be resolved before anybody can connect to it.
    #[must_use]
    pub fn needs_resolver(&self) -> bool {
        match self {
            Self::Unix(_) => false,
            Self::Tcp { host, .. } => {
                !is_localhost(host) && host.parse::<std::net::IpAddr>().is_err()
            }
        }
    }

    /// Whether its address alone says that it is on this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp { host, .. } => {
                is_localhost(host)
                    || host
                        .parse::<std::net::IpAddr>()
                        .is_ok_and(|ip| ip.to_canonical().is_loopback())
            }
        }
    }
}

/// A name of this machine, whatever a resolver says: `localhost` and all names under it, with or
/// without the dot of the root (RFC 6761, 6.3).
fn is_localhost(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let last = host.rsplit('.').next().unwrap_or_default();
    last.eq_ignore_ascii_case("localhost")
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}
