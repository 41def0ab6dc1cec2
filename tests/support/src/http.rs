//! An HTTP/1.1 server whose answers a closure decides: over TCP, a Unix socket or TLS.
//!
//! Owns well-formed HTTP only; malformed answers come from [`hostile`](crate::hostile).

mod message;

use std::{
    fmt,
    io::{self, BufReader, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex},
};

use rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{NoClientAuth, WebPkiClientVerifier, danger::ClientCertVerifier},
};

use self::message::read_request;
pub use self::message::{Request, Response};
use crate::{
    listener::{Acceptor, Connection, Stop},
    tls::ServerIdentity,
};

/// The server. Stops on drop, which closes its connections.
pub struct HttpServer {
    acceptor: Acceptor,
    scheme: &'static str,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl HttpServer {
    /// Listens on a free port of 127.0.0.1.
    pub fn start(handler: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Self {
        Self::start_on(Ipv4Addr::LOCALHOST.into(), handler)
    }

    /// Listens on a free port of another local address, such as `::1`.
    pub fn start_on(
        ip: IpAddr,
        handler: impl Fn(&Request) -> Response + Send + Sync + 'static,
    ) -> Self {
        let requests = Arc::default();
        let serve = plain(handler, Arc::clone(&requests));
        Self {
            acceptor: Acceptor::tcp(ip, serve),
            scheme: "http",
            requests,
        }
    }

    /// Listens on a Unix socket in a directory of its own.
    pub fn unix(handler: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Self {
        let requests = Arc::default();
        let serve = plain(handler, Arc::clone(&requests));
        Self {
            acceptor: Acceptor::unix(serve),
            scheme: "http+unix",
            requests,
        }
    }

    /// Listens on a free port of 127.0.0.1, with TLS.
    pub fn tls(
        identity: &ServerIdentity,
        handler: impl Fn(&Request) -> Response + Send + Sync + 'static,
    ) -> Self {
        Self::encrypted(identity, Arc::new(NoClientAuth), handler)
    }

    /// [`tls`](Self::tls), only for clients with a certificate of the same authority.
    pub fn mutual_tls(
        identity: &ServerIdentity,
        handler: impl Fn(&Request) -> Response + Send + Sync + 'static,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        let authority =
            CertificateDer::from_pem_file(&identity.ca).expect("the authority's certificate");
        roots.add(authority).expect("the authority's certificate");
        let verifier = WebPkiClientVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::new(default_provider()),
        );
        Self::encrypted(identity, verifier.build().expect("a verifier"), handler)
    }

    fn encrypted(
        identity: &ServerIdentity,
        clients: Arc<dyn ClientCertVerifier>,
        handler: impl Fn(&Request) -> Response + Send + Sync + 'static,
    ) -> Self {
        let certificates =
            vec![CertificateDer::from_pem_file(&identity.cert).expect("the server's certificate")];
        let key = PrivateKeyDer::from_pem_file(&identity.key).expect("the server's key");
        // The provider is named, since another crate's features may add a second one to choose from.
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring knows them")
            .with_client_cert_verifier(clients)
            .with_single_cert(certificates, key)
            .expect("a certificate and its key");
        let config = Arc::new(config);
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let serve = {
            let requests = Arc::clone(&requests);
            move |connection: Connection, stop: &Stop| {
                let tls =
                    ServerConnection::new(Arc::clone(&config)).expect("the configuration is sound");
                let mut stream = StreamOwned::new(tls, connection);
                // Errors are the client's affair: it broke off, or didn't like our certificate.
                let _ = converse(&mut stream, stop, &handler, &requests);
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        };
        Self {
            acceptor: Acceptor::tcp(Ipv4Addr::LOCALHOST.into(), serve),
            scheme: "https",
            requests,
        }
    }

    /// Where it listens.
    ///
    /// # Panics
    /// On a Unix socket.
    pub fn addr(&self) -> SocketAddr {
        self.acceptor.address.socket()
    }

    /// The port it listens on.
    ///
    /// # Panics
    /// On a Unix socket.
    pub fn port(&self) -> u16 {
        self.addr().port()
    }

    /// The Unix socket it listens on.
    ///
    /// # Panics
    /// On a TCP socket.
    pub fn socket_path(&self) -> PathBuf {
        self.acceptor.address.path()
    }

    /// The URL of a path: `http://127.0.0.1:PORT/path`, `https://localhost:PORT/path` or
    /// `http+unix://%2Fthe%2Fsocket/path`.
    pub fn url(&self, path: &str) -> String {
        let authority = match self.scheme {
            "http" => self.addr().to_string(),
            "https" => format!("localhost:{}", self.port()),
            _ => self.socket_path().display().to_string().replace('/', "%2F"),
        };
        format!("{}://{authority}{path}", self.scheme)
    }

    /// What has been asked so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("nobody panics here").clone()
    }

    /// How many connections there have been, with a request or without.
    pub fn connections(&self) -> usize {
        self.acceptor.accepted()
    }
}

impl fmt::Debug for HttpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HttpServer").field(&self.url("/")).finish()
    }
}

fn plain(
    handler: impl Fn(&Request) -> Response + Send + Sync + 'static,
    requests: Arc<Mutex<Vec<Request>>>,
) -> impl Fn(Connection, &Stop) + Send + Sync + 'static {
    move |mut connection, stop| {
        // Errors are the client's affair: it broke off.
        let _ = converse(&mut connection, stop, &handler, &requests);
    }
}

/// Answers one request after the other until the client has had enough.
fn converse(
    stream: impl Read + Write,
    stop: &Stop,
    handler: &impl Fn(&Request) -> Response,
    requests: &Mutex<Vec<Request>>,
) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read_request(&mut stream)? {
        requests
            .lock()
            .expect("nobody panics here")
            .push(request.clone());
        let response = handler(&request);
        if !response.delay.is_zero() && stop.wait(response.delay) {
            return Ok(());
        }
        response.write(stream.get_mut(), request.method == "HEAD")?;
        stream.get_mut().flush()?;
        if request
            .header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
        {
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
