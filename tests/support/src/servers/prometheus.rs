//! Prometheus, its checker, and node_exporter: Debian's.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::Path,
    process::Command,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use super::{
    daemon::{Daemon, on_a_free_port},
    installed,
};
use crate::process::{Run, free_port, run, run_with_input};

/// One answer. Far above what it takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// `prometheus`, with a configuration of its own and its data in a temporary directory.
#[derive(Debug)]
pub struct Prometheus {
    _daemon: Daemon,
    _dir: TempDir,
    port: u16,
}

impl Prometheus {
    /// Starts it with the text of a configuration, whose relative paths begin in `folder`.
    ///
    /// # Panics
    /// When the program is missing, or does not start; with its log.
    pub fn start(configuration: &str, folder: &Path) -> Self {
        let dir = TempDir::with_prefix("rp-prometheus-").expect("a temporary directory");
        let file = folder.join("prometheus-of-the-test.yml");
        fs::write(&file, configuration).expect("the folder is the test's");
        let (daemon, port) = on_a_free_port(|| {
            let port = free_port();
            let mut daemon = Daemon::new("prometheus", dir.path());
            let mut command = Command::new(installed("prometheus", "prometheus"));
            command
                .arg("--config.file")
                .arg(&file)
                .arg("--storage.tsdb.path")
                .arg(dir.path().join("data"))
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                .env_clear();
            daemon.start(&mut command, |_| {
                http_get(port, "/-/ready").is_some_and(|(status, _)| status == 200)
            })?;
            Ok((daemon, port))
        });
        Self {
            _daemon: daemon,
            _dir: dir,
            port,
        }
    }

    /// What a query gives now: its results.
    ///
    /// # Panics
    /// When it is no query.
    pub fn query(&self, query: &str) -> Vec<Value> {
        let answer = self.ask(&format!("/api/v1/query?query={}", encoded(query)));
        let found = answer["data"]["result"].as_array();
        found.unwrap_or_else(|| panic!("{query}: {answer}")).clone()
    }

    /// What its API says.
    ///
    /// # Panics
    /// When it does not answer with JSON.
    pub fn ask(&self, path: &str) -> Value {
        let (_, body) = http_get(self.port, path).expect("Prometheus answers");
        serde_json::from_str(&body).unwrap_or_else(|e| panic!("{path}: {e}: {body}"))
    }
}

/// `node_exporter` with nothing but its textfile collector.
#[derive(Debug)]
pub struct NodeExporter {
    _daemon: Daemon,
    _dir: TempDir,
    port: u16,
}

impl NodeExporter {
    /// Starts it for the files `*.prom` of a folder.
    ///
    /// # Panics
    /// When the program is missing, or does not start; with its log.
    pub fn start(folder: &Path) -> Self {
        let dir = TempDir::with_prefix("rp-node-exporter-").expect("a temporary directory");
        let (daemon, port) = on_a_free_port(|| {
            let port = free_port();
            let mut daemon = Daemon::new("node_exporter", dir.path());
            let program = installed("prometheus-node-exporter", "prometheus-node-exporter");
            let mut command = Command::new(program);
            command
                .args(["--collector.disable-defaults", "--collector.textfile"])
                .arg("--collector.textfile.directory")
                .arg(folder)
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                .env_clear();
            daemon.start(&mut command, |_| {
                http_get(port, "/").is_some_and(|(status, _)| status == 200)
            })?;
            Ok((daemon, port))
        });
        Self {
            _daemon: daemon,
            _dir: dir,
            port,
        }
    }

    /// Where it listens, at 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// Runs `promtool` in a folder.
pub fn promtool(folder: &Path, args: &[&str]) -> Run {
    let mut command = Command::new(installed("promtool", "prometheus"));
    run(command.args(args).current_dir(folder).env_clear())
}

/// Has `promtool` look at metrics, for what is wrong or unusual.
#[track_caller]
pub fn assert_lints(metrics: &str) {
    let mut command = Command::new(installed("promtool", "prometheus"));
    let command = command.args(["check", "metrics"]).env_clear();
    let said = run_with_input(command, metrics.as_bytes());
    let all = format!("{}{}", said.stdout, said.stderr);
    assert!(said.code() == 0 && all.is_empty(), "{said:?}\n{metrics}");
}

/// Gets a page of a server at 127.0.0.1: its status and body. None if nobody answers.
pub fn http_get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    // In HTTP/1.0 the end of the connection is that of the body.
    write!(
        stream,
        "GET {path} HTTP/1.0\r\nHost: localhost:{port}\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}
