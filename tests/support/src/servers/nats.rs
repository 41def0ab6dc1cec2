//! nats-server.

mod cluster;
mod request;

use std::{
    fmt::Write as _,
    fs,
    io::{self, BufRead, BufReader, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use super::{
    daemon::{Daemon, PortTaken, on_a_free_port},
    installed, newer_nats,
};
use crate::{
    process::{Signal, free_port, wait_until},
    tls::ServerIdentity,
};
pub use cluster::NatsCluster;
use request::Answer;

/// For it to reload.
const PATIENCE: Duration = Duration::from_secs(20);
/// What it logs then.
const RELOADED: &str = "Reloaded server configuration";

/// Which nats-server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NatsVersion {
    /// As Debian 12 has it: before 2.11, so it ignores the TTL of a message.
    V2_9,
    /// From PyPI.
    V2_15,
}

/// A running nats-server on 127.0.0.1.
#[derive(Debug)]
pub struct Nats {
    builder: NatsBuilder,
    port: u16,
    // Before the directory: fields are dropped in order, and the server writes there.
    daemon: Daemon,
    dir: TempDir,
}

impl Nats {
    /// A server with nothing set: no JetStream, no credentials.
    pub fn start(version: NatsVersion) -> Self {
        Self::builder(version).start()
    }

    /// To choose more.
    pub fn builder(version: NatsVersion) -> NatsBuilder {
        NatsBuilder {
            version,
            port: None,
            args: Vec::new(),
            config: String::new(),
            jetstream: false,
            tls: None,
            client_certificates: false,
        }
    }

    /// The port for clients, with TLS if it was started so.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `nats://127.0.0.1:PORT`, or `tls://localhost:PORT`; without credentials.
    pub fn url(&self) -> String {
        match self.builder.tls {
            None => format!("nats://127.0.0.1:{}", self.port),
            Some(_) => format!("tls://localhost:{}", self.port),
        }
    }

    /// Its process id.
    ///
    /// # Panics
    /// When it is stopped.
    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    /// Asks it something, with headers. `None` when it does not answer.
    ///
    /// # Panics
    /// When it can't be talked to.
    pub fn request(&self, subject: &str, headers: &[(&str, &str)], body: &str) -> Option<Answer> {
        match request::request(self.port, subject, headers, body) {
            Ok(answer) => Some(answer),
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
                ) =>
            {
                None
            }
            Err(e) => panic!("{} does not answer {subject}: {e}", self.url()),
        }
    }

    /// Asks JetStream's API, as in `STREAM.INFO.KV_ready`. `None` when it does not answer.
    ///
    /// # Panics
    /// When it can't be talked to.
    pub fn api(&self, what: &str, body: &Value) -> Option<Value> {
        let (_, body) = self.request(&format!("$JS.API.{what}"), &[], &body.to_string())?;
        Some(serde_json::from_str(&body).unwrap_or_default())
    }

    /// What it has logged since it was last started.
    pub fn log(&self) -> String {
        self.daemon.log_text()
    }

    /// Ends it in good order. Its port refuses from then on.
    pub fn stop(&mut self) {
        self.daemon.stop(self.port);
    }

    /// Ends it without warning. Its port refuses from then on.
    pub fn kill(&mut self) {
        self.daemon.kill(self.port);
    }

    /// Starts it again, on the same port with the same settings and without its streams and buckets;
    /// stops it first if it runs.
    pub fn restart(&mut self) {
        self.stop_if_running();
        let store = self.dir.path().join("jetstream");
        if store.exists() {
            fs::remove_dir_all(store).expect("the store directory is ours");
        }
        self.start_again();
    }

    /// [`restart`](Self::restart) with the streams and buckets of before.
    pub fn restart_keeping_data(&mut self) {
        self.stop_if_running();
        self.start_again();
    }

    fn stop_if_running(&mut self) {
        if self.daemon.is_running() {
            self.stop();
        }
    }

    fn start_again(&mut self) {
        let started = self.launch();
        started.unwrap_or_else(|PortTaken| {
            panic!("port {} was taken while NATS was stopped", self.port)
        });
    }

    /// Has it read its configuration anew, with this in place of what [`NatsBuilder::config`] added.
    ///
    /// # Panics
    /// When it refuses; with its log.
    pub fn reload(&mut self, config: &str) {
        self.builder.config = format!("{config}\n");
        let before = self.daemon.log_text().matches(RELOADED).count();
        self.builder.write_config(self.dir.path(), self.port);
        self.daemon.signal(Signal::HUP);
        wait_until(PATIENCE, "the server to reload", || {
            let log = self.daemon.log_text();
            assert!(
                !log.contains("Failed to reload"),
                "NATS can't reload:\n{log}"
            );
            (log.matches(RELOADED).count() > before).then_some(())
        });
    }

    /// Stops it in its tracks. Connecting still succeeds, as the kernel does that.
    pub fn pause(&mut self) {
        self.daemon.pause();
    }

    /// Lets a paused one go on.
    pub fn resume(&mut self) {
        self.daemon.resume();
    }

    fn launch(&mut self) -> Result<(), PortTaken> {
        let dir = self.dir.path();
        let mut command = self.builder.command(dir, self.port);
        let (port, greets) = (self.port, !self.builder.config.contains("handshake_first"));
        self.daemon.start(&mut command, |pid| {
            // Written when it is ready for connections, by itself: a stranger on the port can't pass for it.
            dir.join(format!("nats-server_{pid}.ports")).exists()
                && (!greets || answers(port).unwrap_or(false))
        })
    }
}

/// Whether it greets with INFO and, as far as one may without credentials or TLS, answers a PING.
fn answers(port: u16) -> io::Result<bool> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut lines = BufReader::new(&stream).lines();
    let greeting = lines.next().ok_or(io::ErrorKind::UnexpectedEof)??;
    let Some(info) = greeting.strip_prefix("INFO ") else {
        return Ok(false);
    };
    let info: Value = serde_json::from_str(info)?;
    if ["auth_required", "tls_required"]
        .iter()
        .any(|&required| info[required] == true)
    {
        return Ok(true);
    }
    (&stream).write_all(b"CONNECT {\"verbose\":false}\r\nPING\r\n")?;
    Ok(lines.next().ok_or(io::ErrorKind::UnexpectedEof)?? == "PONG")
}

/// What a [`Nats`] is started with.
#[derive(Debug, Clone)]
#[must_use]
pub struct NatsBuilder {
    version: NatsVersion,
    port: Option<u16>,
    args: Vec<String>,
    config: String,
    jetstream: bool,
    tls: Option<ServerIdentity>,
    client_certificates: bool,
}

impl NatsBuilder {
    /// The port to try first; another if it is taken.
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// More arguments; they win over everything else.
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|&arg| arg.to_owned()));
        self
    }

    /// More text for the configuration file, such as `authorization { token: x }`.
    pub fn config(mut self, text: &str) -> Self {
        self.config.push_str(text);
        self.config.push('\n');
        self
    }

    /// With JetStream, in a directory of its own.
    pub fn jetstream(mut self) -> Self {
        self.jetstream = true;
        self
    }

    /// With TLS, which is then required, and this certificate.
    pub fn tls(mut self, identity: &ServerIdentity) -> Self {
        self.tls = Some(identity.clone());
        self
    }

    /// With TLS, only for clients with a certificate of the same authority.
    pub fn require_client_certificate(mut self) -> Self {
        self.client_certificates = true;
        self
    }

    /// Starts it and waits until it answers.
    ///
    /// # Panics
    /// When the program is missing, or does not start; with its log.
    pub fn start(self) -> Nats {
        let mut first = self.port;
        on_a_free_port(|| {
            let dir = TempDir::with_prefix("rp-nats-").expect("a temporary directory");
            let mut nats = Nats {
                builder: self.clone(),
                port: first.take().unwrap_or_else(free_port),
                daemon: Daemon::new("nats-server", dir.path()),
                dir,
            };
            nats.launch().map(|()| nats)
        })
    }

    fn command(&self, dir: &Path, port: u16) -> Command {
        let mut command = Command::new(self.program());
        let config = self.write_config(dir, port);
        command
            .arg("--config")
            .arg(config)
            .arg("--ports_file_dir")
            .arg(dir)
            .args(&self.args);
        command
    }

    fn write_config(&self, dir: &Path, port: u16) -> PathBuf {
        let config = dir.join("nats.conf");
        fs::write(&config, self.config_text(dir, port)).expect("the server's directory is ours");
        config
    }

    fn program(&self) -> PathBuf {
        match self.version {
            NatsVersion::V2_9 => installed("nats-server", "nats-server"),
            NatsVersion::V2_15 => newer_nats(),
        }
    }

    fn config_text(&self, dir: &Path, port: u16) -> String {
        let mut text = format!("host: 127.0.0.1\nport: {port}\n");
        if self.jetstream {
            let _ = writeln!(
                text,
                "jetstream {{ store_dir: \"{}\" }}",
                dir.join("jetstream").display()
            );
        }
        if let Some(tls) = &self.tls {
            let (cert, key, ca) = (tls.cert.display(), tls.key.display(), tls.ca.display());
            let verify = self.client_certificates;
            let _ = writeln!(
                text,
                "tls {{ cert_file: \"{cert}\", key_file: \"{key}\", ca_file: \"{ca}\", verify: {verify} }}"
            );
        }
        text + &self.config
    }
}

#[cfg(test)]
#[path = "nats_tests.rs"]
mod tests;
