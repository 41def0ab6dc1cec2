//! Getting a connection: names, addresses, unix sockets, TLS.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use ready_probe_sdk::connect::Endpoint;
use ready_probe_sdk::connect::tls::TlsOptions;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::thread;

/// Anything bytes go through.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A connection, whatever it goes through.
pub type Stream = Box<dyn Io>;

/// An address that does not answer keeps the next one waiting no longer than this (RFC 8305, 5).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

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
    pub fn text(self) -> String {
        match self {
            Self::Refused(text) | Self::Other(text) => text,
        }
    }
}

/// Connects to an endpoint, whichever of its addresses answers first.
pub async fn open(endpoint: &Endpoint) -> Result<Stream, NoConnection> {
    match endpoint {
        Endpoint::Unix(path) => match UnixStream::connect(path).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(e) => Err(classify(&e)),
        },
        Endpoint::Tcp { host, port } => {
            let addresses = resolve(host, *port).await.map_err(NoConnection::Other)?;
            let stream = race(&addresses).await?;
            // A probe sends few and small packets; none of them is to wait for another.
            let _ = stream.set_nodelay(true);
            Ok(Box::new(stream))
        }
    }
}

/// Speaks TLS on a connection.
pub async fn secure(
    stream: Stream,
    endpoint: &Endpoint,
    tls: &TlsOptions,
) -> Result<Stream, String> {
    let host = match endpoint {
        Endpoint::Tcp { host, .. } => host.clone(),
        Endpoint::Unix(_) => "localhost".to_owned(),
    };
    let name = ServerName::try_from(host).map_err(|_| "TLS: the host is no name".to_owned())?;
    let config = tls.client_config().map_err(|e| format!("TLS: {e}"))?;
    match TlsConnector::from(config).connect(name, stream).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(e) => Err(format!("TLS: {e}")),
    }
}

/// Every address of a host. `localhost` is both loopback addresses, whatever the resolver says
/// (RFC 6761, 6.3): a server may listen on one of them only.
async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(vec![
            (Ipv4Addr::LOCALHOST, port).into(),
            (Ipv6Addr::LOCALHOST, port).into(),
        ]);
    }
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![(ip, port).into()]);
    }
    let name = host.to_owned();
    let resolved = thread::run(move || (name.as_str(), port).to_socket_addrs()).await?;
    let addresses: Vec<SocketAddr> = match resolved {
        Ok(addresses) => addresses.collect(),
        Err(e) => return Err(format!("DNS: {}", strip_prefix(&e.to_string()))),
    };
    if addresses.is_empty() {
        return Err("DNS: the name has no address".to_owned());
    }
    Ok(addresses)
}

fn strip_prefix(message: &str) -> &str {
    message
        .strip_prefix("failed to lookup address information: ")
        .unwrap_or(message)
}

async fn race(addresses: &[SocketAddr]) -> Result<TcpStream, NoConnection> {
    let mut waiting = addresses.iter();
    let mut attempts = FuturesUnordered::new();
    let mut failure: Option<NoConnection> = None;
    loop {
        if attempts.is_empty() {
            match waiting.next() {
                Some(address) => attempts.push(TcpStream::connect(*address)),
                None => break,
            }
        }
        tokio::select! {
            Some(attempt) = attempts.next() => match attempt {
                Ok(stream) => return Ok(stream),
                Err(e) => failure = Some(worse(failure, classify(&e))),
            },
            () = tokio::time::sleep(NEXT_ADDRESS_AFTER), if waiting.len() > 0 => {
                if let Some(address) = waiting.next() {
                    attempts.push(TcpStream::connect(*address));
                }
            }
        }
    }
    Err(failure.unwrap_or_else(|| NoConnection::Other("no address".to_owned())))
}

/// Refused is an answer only if every address gave it.
fn worse(before: Option<NoConnection>, now: NoConnection) -> NoConnection {
    match before {
        Some(before @ NoConnection::Other(_)) => before,
        Some(NoConnection::Refused(_)) | None => now,
    }
}

/// A socket file that is not there, or that nobody listens on, is what a refused port is.
fn classify(e: &io::Error) -> NoConnection {
    match e.kind() {
        io::ErrorKind::ConnectionRefused => NoConnection::Refused("connection refused".to_owned()),
        io::ErrorKind::NotFound => NoConnection::Refused("no such socket".to_owned()),
        _ => NoConnection::Other(plain(e)),
    }
}

/// An I/O error without the number behind it.
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
    fn refused_needs_every_address_to_refuse() {
        let refused = NoConnection::Refused("r".into());
        let other = NoConnection::Other("o".into());
        assert_eq!(worse(None, refused.clone()), refused);
        assert_eq!(worse(Some(refused.clone()), other.clone()), other);
        assert_eq!(worse(Some(other.clone()), refused), other);
    }

    #[test]
    fn io_errors_are_classified() {
        let kind = |kind: io::ErrorKind| classify(&io::Error::from(kind));
        assert!(matches!(
            kind(io::ErrorKind::ConnectionRefused),
            NoConnection::Refused(_)
        ));
        assert!(matches!(
            kind(io::ErrorKind::NotFound),
            NoConnection::Refused(_)
        ));
        for other in [
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::TimedOut,
            io::ErrorKind::PermissionDenied,
            io::ErrorKind::HostUnreachable,
        ] {
            assert!(matches!(kind(other), NoConnection::Other(_)));
        }
    }
}
