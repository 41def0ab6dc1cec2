//! What a NATS address means.

use std::path::{Path, PathBuf};

use super::address::{self, invalid};
use super::file::ReadText;
use super::redact::Secrets;
use super::tls::TlsOptions;
use super::{Endpoint, Secret};
use crate::Result;

/// The port of NATS.
pub const DEFAULT_PORT: u16 = 4222;

/// The schemes of an address; the second one demands TLS.
pub(super) const SCHEMES: [&str; 2] = ["nats", "tls"];

/// A NATS server, or several of which any will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsAddress {
    /// The servers.
    pub endpoints: Vec<Endpoint>,
    /// Whether TLS is demanded; a server may demand it on its own.
    pub tls: bool,
    /// How to authenticate.
    pub auth: NatsAuth,
}

/// How to authenticate with a NATS server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NatsAuth {
    /// Not at all.
    None,
    /// User and password.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A token.
    Token(Secret),
    /// A file that holds a token.
    TokenFile(PathBuf),
    /// A credentials file: a JWT and the seed it was issued for.
    Creds(PathBuf),
    /// A file that holds an nkey seed.
    Nkey(PathBuf),
}

impl NatsAuth {
    /// The file that holds it.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::TokenFile(path) | Self::Creds(path) | Self::Nkey(path) => Some(path),
            Self::None | Self::Password { .. } | Self::Token(_) => None,
        }
    }

    /// The secret that the address itself holds, which must never be printed.
    #[must_use]
    pub fn secret(&self) -> Option<&str> {
        match self {
            Self::Password { password, .. } => Some(password.reveal()),
            Self::Token(token) => Some(token.reveal()),
            Self::None | Self::TokenFile(_) | Self::Creds(_) | Self::Nkey(_) => None,
        }
    }

    /// Whether a file holds it.
    pub(crate) fn is_file(&self) -> bool {
        self.file().is_some()
    }

    /// Adds what the file holds, line by line. A file that can't be read holds nothing to hide.
    pub(super) fn add_file(&self, secrets: &mut Secrets, read: ReadText) {
        let Some(path) = self.file() else { return };
        let text = read(path).unwrap_or_default();
        for line in text.lines().map(str::trim) {
            // A credentials file has headings between dashes, and a warning in words.
            let is_heading = line.starts_with("---") || line.contains(' ');
            if matches!(self, Self::TokenFile(_)) || !is_heading {
                secrets.add(line);
            }
        }
    }
}

/// The seed in a file with an nkey. `nk -gen user -pubout` writes the public key below it.
#[must_use]
pub fn seed_in(text: &str) -> &str {
    let mut lines = text.lines().map(str::trim);
    // Seeds begin with an S, public keys never do (nats-io/nkeys, "Prefixes").
    let seed = lines.find(|line| line.starts_with('S'));
    seed.unwrap_or(text.trim())
}

impl NatsAddress {
    /// The files and sockets that connecting looks at.
    #[must_use]
    pub fn files(&self, tls: &TlsOptions) -> Vec<PathBuf> {
        let sockets = self.endpoints.iter().filter_map(Endpoint::socket);
        let mut files: Vec<PathBuf> = sockets.map(Path::to_owned).collect();
        // A server may demand TLS on its own.
        files.extend(tls.files());
        files.extend(self.auth.file().map(Path::to_owned));
        files
    }

    /// Parses `nats://` and `tls://` addresses. A user without a password is a token, as for
    /// every NATS client.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidConfig`]; the message never quotes the address.
    pub fn parse(text: &str) -> Result<Self> {
        let tls = match address::scheme(text).as_str() {
            "nats" => false,
            "tls" => true,
            _ => return Err(invalid("its scheme must be nats or tls")),
        };
        let address = address::parse(text, DEFAULT_PORT)?;
        if !address.path.is_empty() {
            return Err(invalid(
                "it has a path, and NATS has none; a / in a password is written %2F",
            ));
        }
        Ok(Self {
            endpoints: address.endpoints,
            tls,
            auth: match (address.user, address.password) {
                (None, None) => NatsAuth::None,
                (Some(token), None) => NatsAuth::Token(Secret::new(token)),
                (user, Some(password)) => NatsAuth::Password {
                    user: user.unwrap_or_default(),
                    password,
                },
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_alone_is_a_token() {
        let parsed = NatsAddress::parse("nats://s3cret@h").unwrap();
        assert_eq!(parsed.auth, NatsAuth::Token(Secret::new("s3cret")));
        assert_eq!(parsed.endpoints[0].to_string(), "h:4222");
        assert!(NatsAddress::parse("tls://h").unwrap().tls);
        assert!(NatsAddress::parse("redis://h").is_err());
        assert!(NatsAddress::parse("nats://user:12/secret@h").is_err());
    }
}
