//! A proxy in front of an engine's socket, which lets through what it is told and nothing else.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use super::Engine;
use crate::http::{HttpServer, Request, Response};

/// A restart takes as long as the container's end.
const LIMIT: Duration = Duration::from_secs(120);

/// The proxy, on a port of 127.0.0.1. Stops on drop.
#[derive(Debug)]
pub struct SocketProxy {
    http: HttpServer,
    refused: Arc<Mutex<Vec<String>>>,
}

impl SocketProxy {
    /// Lets a request pass if `allows` its method and path, query included; everything else is 403.
    pub fn start(
        engine: &Engine,
        allows: impl Fn(&str, &str) -> bool + Send + Sync + 'static,
    ) -> Self {
        let (socket, refused) = (engine.socket(), Arc::default());
        let http = {
            let refused: Arc<Mutex<Vec<String>>> = Arc::clone(&refused);
            HttpServer::start(move |request| {
                if allows(&request.method, &request.path) {
                    return forward(&socket, request);
                }
                let asked = format!("{} {}", request.method, request.path);
                refused.lock().expect("nobody panics here").push(asked);
                Response::new(403).body("Forbidden")
            })
        };
        Self { http, refused }
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        self.http.addr().to_string()
    }

    /// What was asked, in order: `GET /_ping`.
    pub fn asked(&self) -> Vec<String> {
        let requests = self.http.requests();
        let line = |request: &Request| format!("{} {}", request.method, request.path);
        requests.iter().map(line).collect()
    }

    /// What was asked and is not allowed.
    pub fn refused(&self) -> Vec<String> {
        self.refused.lock().expect("nobody panics here").clone()
    }
}

impl Engine {
    /// The unix socket at which it listens.
    ///
    /// # Panics
    /// When it listens elsewhere.
    pub fn socket(&self) -> PathBuf {
        let of_client = || std::env::var("DOCKER_HOST").ok();
        let host = self.host().map(str::to_owned).or_else(of_client);
        let host = host.unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned());
        let path = host.strip_prefix("unix://");
        PathBuf::from(path.unwrap_or_else(|| panic!("{host} is no unix socket")))
    }
}

fn forward(socket: &Path, request: &Request) -> Response {
    converse(socket, request)
        .unwrap_or_else(|e| Response::new(502).body(format!("{}: {e}", socket.display())))
}

/// As HTTP/1.0, whose answers end with the connection.
fn converse(socket: &Path, request: &Request) -> std::io::Result<Response> {
    let mut engine = UnixStream::connect(socket)?;
    engine.set_read_timeout(Some(LIMIT))?;
    let Request { method, path, .. } = request;
    write!(
        engine,
        "{method} {path} HTTP/1.0\r\nHost: docker\r\nContent-Length: {}\r\n\r\n",
        request.body.len()
    )?;
    engine.write_all(&request.body)?;
    let mut answer = Vec::new();
    engine.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let head = String::from_utf8_lossy(&answer[..end]);
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let status = status.ok_or(std::io::ErrorKind::InvalidData)?;
    Ok(Response::new(status)
        .header("Content-Type", "application/json")
        .body(&answer[end + 4..]))
}
