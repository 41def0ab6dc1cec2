//! Getting a connection: addresses, unix sockets, TLS. Without a time limit: the caller has one.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use rustix::fd::AsFd;
use rustix::io::Errno;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::Endpoint;
use super::redact::Secrets;
use super::resolve::resolve;
use super::secured::Secured;
use super::stage;
use super::tls::{CertificateName, TlsOptions, explain};
use crate::kept_descriptor::KeptDescriptor;

/// Anything bytes go through.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A connection, whatever it goes through.
pub type Stream = Box<dyn Io>;

/// An address that does not answer keeps the next one waiting no longer than this (RFC 8305, 5).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// How much of TLS's words is quoted: they may hold names that the server chose.
const MAX_TLS_CHARS: usize = 200;

/// How soon a unix socket with a full backlog is tried again.
const BACKLOG_PAUSE: Duration = Duration::from_millis(5);

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoConnection {
    /// Nobody listens there: every address said so.
    Refused(String),
    /// Anything else.
    Other(String),
}

impl NoConnection {
    /// For people.
    #[must_use]
    pub fn text(self) -> String {
        match self {
            Self::Refused(text) | Self::Other(text) => text,
        }
    }

    /// Refusal is no answer while somebody may listen on an address that is not known yet.
    fn unless_left_out(self, family: Option<&str>) -> Self {
        match (self, family) {
            (Self::Refused(text), Some(family)) => {
                Self::Other(format!("{text}; DNS has not answered for {family}"))
            }
            (e, _) => e,
        }
    }
}

/// What one address says instead of accepting.
#[derive(Debug, Clone, PartialEq, Eq)]
enum NotThere {
    /// Nobody listens.
    Refused(String),
    /// This machine has no such address, or no way to it: as if the name did not have it.
    Unusable(String),
    /// Anything else.
    Other(String),
}

impl From<NotThere> for NoConnection {
    fn from(e: NotThere) -> Self {
        match e {
            NotThere::Refused(text) => Self::Refused(text),
            NotThere::Unusable(text) | NotThere::Other(text) => Self::Other(text),
        }
    }
}

/// Connects to an endpoint, whichever of its addresses answers first. To be called within a tokio
/// runtime that has I/O and time.
///
/// # Errors
/// Why none of the addresses answers, or the name has none.
pub async fn open(endpoint: &Endpoint) -> Result<Stream, NoConnection> {
    match endpoint {
        Endpoint::Unix(path) => loop {
            stage::connecting(&[path.display()]);
            match UnixStream::connect(path).await {
                Ok(stream) => {
                    stage::connected(|| path.display().to_string());
                    return kept(stream);
                }
                // Its backlog is full, see connect(2): it listens, and is busy.
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    tokio::time::sleep(BACKLOG_PAUSE).await;
                }
                Err(e) => return Err(classify(&e).into()),
            }
        },
        Endpoint::Tcp { host, port } => {
            let addresses = resolve(host, *port).await.map_err(NoConnection::Other)?;
            let stream = race(&addresses.all).await;
            let stream = stream.map_err(|e| e.unless_left_out(addresses.left_out))?;
            stage::connected(|| match stream.peer_addr() {
                Ok(address) => address.to_string(),
                Err(_) => endpoint.to_string(),
            });
            // We send little, and seldom; none of it should wait for more.
            let _ = stream.set_nodelay(true);
            kept(stream)
        }
    }
}

/// Agents' connections are open for as long as their process, which may close all descriptors.
fn kept(
    stream: impl AsyncRead + AsyncWrite + AsFd + Unpin + Send + 'static,
) -> Result<Stream, NoConnection> {
    let kept = KeptDescriptor::new(stream);
    let kept = kept.map_err(|e| NoConnection::Other(plain(&e.into())))?;
    Ok(Box::new(kept))
}

/// What TLS needs of a client.
#[derive(Debug, Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    name: CertificateName,
}

/// Reads what TLS needs. To be called before a connection is opened: a missing file should be named
/// even if nobody answers.
///
/// # Errors
/// Which file can't be used, and why.
pub fn tls_config(tls: &TlsOptions) -> Result<Tls, String> {
    let config = tls.client_config().map_err(|e| format!("TLS: {e}"))?;
    Ok(Tls {
        config,
        name: tls.name.clone(),
    })
}

/// Speaks TLS on a connection.
///
/// # Errors
/// Why the two can't agree, for people.
pub async fn secure(
    stream: Stream,
    endpoint: &Endpoint,
    tls: Tls,
    secrets: &Secrets,
) -> Result<Stream, String> {
    let name = match tls.name {
        CertificateName::Given(name) => name,
        CertificateName::OfAddress | CertificateName::Any => asked_for(endpoint)?,
    };
    let shows = tls.config.client_auth_cert_resolver.has_certs();
    stage::shaking_hands();
    match TlsConnector::from(tls.config).connect(name, stream).await {
        Ok(stream) => Ok(Box::new(Secured::new(stream, shows))),
        Err(e) => {
            let said = explain(&e, shows).unwrap_or_else(|| format!("TLS: {}", plain(&e)));
            Err(secrets.quote(&said, MAX_TLS_CHARS))
        }
    }
}

/// The name of the server in its address.
fn asked_for(endpoint: &Endpoint) -> Result<ServerName<'static>, String> {
    let host = match endpoint {
        Endpoint::Tcp { host, .. } => host.clone(),
        Endpoint::Unix(_) => "localhost".to_owned(),
    };
    ServerName::try_from(host)
        .map_err(|_| "TLS: the host is not a name: set server_name=".to_owned())
}

async fn race(addresses: &[SocketAddr]) -> Result<TcpStream, NoConnection> {
    let mut waiting = addresses.iter();
    let mut attempts = FuturesUnordered::new();
    // Those that are being tried.
    let mut open: Vec<SocketAddr> = Vec::new();
    let attempt = async |address: SocketAddr| (address, TcpStream::connect(address).await);
    let mut failure: Option<NotThere> = None;
    loop {
        if attempts.is_empty() {
            match waiting.next() {
                Some(address) => {
                    attempts.push(attempt(*address));
                    open.push(*address);
                }
                None => break,
            }
        }
        stage::connecting(&open);
        tokio::select! {
            Some((address, attempt)) = attempts.next() => {
                open.retain(|other| *other != address);
                match attempt {
                    Ok(stream) if is_to_itself(&stream) => {
                        let refused = NotThere::Refused("connection refused".to_owned());
                        failure = Some(worse(failure, refused));
                    }
                    Ok(stream) => return Ok(stream),
                    Err(e) => failure = Some(worse(failure, classify(&e))),
                }
            }
            () = tokio::time::sleep(NEXT_ADDRESS_AFTER), if waiting.len() > 0 => {
                if let Some(address) = waiting.next() {
                    attempts.push(attempt(*address));
                    open.push(*address);
                }
            }
        }
    }
    Err(failure.map_or_else(|| NoConnection::Other("no address".to_owned()), Into::into))
}

/// A port of our own ephemeral range on which nobody listens may be given to the very socket that
/// connects to it, and TCP lets that succeed (RFC 9293, 3.5, simultaneous open).
fn is_to_itself(stream: &TcpStream) -> bool {
    matches!((stream.local_addr(), stream.peer_addr()), (Ok(ours), Ok(theirs)) if ours == theirs)
}

/// Refusal is an answer only if every usable address refuses.
fn worse(before: Option<NotThere>, now: NotThere) -> NotThere {
    match (before, now) {
        (None | Some(NotThere::Unusable(_)), now) => now,
        (Some(before), NotThere::Unusable(_)) => before,
        (Some(before @ NotThere::Other(_)), _) => before,
        (Some(NotThere::Refused(_)), now) => now,
    }
}

/// A missing socket file, or one without a listener, is like a refused port.
fn classify(e: &io::Error) -> NotThere {
    let text = plain(e);
    match e.kind() {
        io::ErrorKind::ConnectionRefused => NotThere::Refused(text),
        io::ErrorKind::NotFound => NotThere::Refused("no such socket".to_owned()),
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::NetworkUnreachable => {
            NotThere::Unusable(text)
        }
        _ if e.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error()) => {
            NotThere::Unusable(text)
        }
        _ => NotThere::Other(text),
    }
}

/// An I/O error without the number behind it.
#[must_use]
pub fn plain(e: &io::Error) -> String {
    match e.kind() {
        io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::UnexpectedEof => "connection closed".to_owned(),
        io::ErrorKind::TimedOut => "connection timed out".to_owned(),
        io::ErrorKind::HostUnreachable => "host unreachable".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network unreachable".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => {
            let text = e.to_string();
            text.split(" (os error").next().unwrap_or(&text).to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_needs_every_usable_address_to_refuse() {
        let refused = NotThere::Refused("r".into());
        let unusable = NotThere::Unusable("u".into());
        let other = NotThere::Other("o".into());
        let of = |all: &[&NotThere]| {
            let all = all.iter().map(|e| (*e).clone());
            all.fold(None, |before, now| Some(worse(before, now)))
                .unwrap()
        };
        for (all, want) in [
            (vec![&refused], &refused),
            (vec![&refused, &unusable], &refused),
            (vec![&unusable, &refused], &refused),
            (vec![&refused, &other], &other),
            (vec![&other, &refused], &other),
            (vec![&other, &unusable], &other),
            (vec![&unusable, &other], &other),
            (vec![&unusable, &unusable], &unusable),
        ] {
            assert_eq!(of(&all), *want, "{all:?}");
        }
    }

    #[test]
    fn refused_needs_the_addresses_of_both_families() {
        let refused = || NoConnection::Refused("refused".to_owned());
        let other = |text: &str| NoConnection::Other(text.to_owned());
        assert_eq!(refused().unless_left_out(None), refused());
        assert_eq!(
            refused().unless_left_out(Some("IPv6")),
            other("refused; DNS has not answered for IPv6")
        );
        assert_eq!(other("reset").unless_left_out(Some("IPv6")), other("reset"));
    }

    #[test]
    fn io_errors_are_classified() {
        let kind = |kind: io::ErrorKind| classify(&io::Error::from(kind));
        for refused in [io::ErrorKind::ConnectionRefused, io::ErrorKind::NotFound] {
            assert!(matches!(kind(refused), NotThere::Refused(_)));
        }
        for unusable in [
            io::ErrorKind::AddrNotAvailable,
            io::ErrorKind::NetworkUnreachable,
        ] {
            assert!(matches!(kind(unusable), NotThere::Unusable(_)));
        }
        for other in [
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::TimedOut,
            io::ErrorKind::PermissionDenied,
            io::ErrorKind::HostUnreachable,
        ] {
            assert!(matches!(kind(other), NotThere::Other(_)));
        }
    }
}
