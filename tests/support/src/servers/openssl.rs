//! OpenSSL's own server, for the certificates and versions of TLS that other servers would not start with.

use std::{net::TcpStream, process::Command};

use tempfile::TempDir;

use super::{
    daemon::{Daemon, on_a_free_port},
    installed,
};
use crate::{process::free_port, tls::ServerIdentity};

/// `openssl s_server -www` on 127.0.0.1: it answers every GET with a page about the connection.
#[derive(Debug)]
pub struct OpensslServer {
    port: u16,
    // Before the directory: fields are dropped in order, and the log lies in it.
    _daemon: Daemon,
    _dir: TempDir,
}

impl OpensslServer {
    /// Shows this certificate. Arguments as `["-tls1_2"]`; keys of any size are allowed.
    ///
    /// # Panics
    /// When the program is missing, or does not start; with its log.
    pub fn start(identity: &ServerIdentity, args: &[&str]) -> Self {
        on_a_free_port(|| {
            let dir = TempDir::with_prefix("rp-openssl-").expect("a temporary directory");
            let port = free_port();
            let mut daemon = Daemon::new("openssl s_server", dir.path());
            let mut command = openssl();
            command
                .args(["s_server", "-www", "-cipher", "DEFAULT@SECLEVEL=0"])
                .args(["-accept", &format!("127.0.0.1:{port}"), "-cert"])
                .arg(&identity.cert)
                .arg("-key")
                .arg(&identity.key)
                .args(args);
            daemon.start(&mut command, |_| {
                TcpStream::connect(("127.0.0.1", port)).is_ok()
            })?;
            Ok(Self {
                port,
                _daemon: daemon,
                _dir: dir,
            })
        })
    }

    /// `https://localhost:PORT/`.
    pub fn url(&self) -> String {
        format!("https://localhost:{}/", self.port)
    }
}

/// The program.
pub(crate) fn openssl() -> Command {
    Command::new(installed("openssl", "openssl"))
}
