//! A folder with a file of services, a keeper's memory, and the services themselves: real processes, that end with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ready_probe_test_support::process::{Guard, Run, keeper_binary, run_within, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A server in Python: answers on a port with the status that a file holds, so that a test can make it say no.
const SERVER: &str = r#"
import http.server, os, pathlib, signal, sys
port, folder = int(sys.argv[1]), pathlib.Path(sys.argv[2])
if (folder / "deaf").exists():
    signal.signal(signal.SIGTERM, lambda *_: None)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            status = int((folder / "status").read_text())
        except FileNotFoundError:
            status = 200
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *args):
        pass
http.server.HTTPServer.allow_reuse_address = True
server = http.server.HTTPServer(("127.0.0.1", port), Handler)
(folder / f"pid.{port}").write_text(str(os.getpid()))
with open(folder / f"starts.{port}", "a") as starts:
    starts.write("x")
server.serve_forever()
"#;

/// What a keeper looks after.
pub struct Host {
    dir: TempDir,
}

impl Host {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("server.py"), SERVER).unwrap();
        fs::create_dir(dir.path().join("stopped")).unwrap();
        Self { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// The command that starts the server, as people write it: in the background, with its output somewhere. It ends
    /// once the server listens, however long that takes here, or the test is over.
    pub fn server(&self, port: u16) -> String {
        let dir = self.dir.path().display();
        let pid = self.path(&format!("pid.{port}")).display().to_string();
        let foreground = self.foreground(port);
        format!(
            "rm -f {pid}; {foreground} & until [ -s {pid} ] || [ ! -d {dir} ]; do sleep 0.02; done"
        )
    }

    /// The same in the foreground.
    pub fn foreground(&self, port: u16) -> String {
        let log = self.path("server.log").display().to_string();
        format!("{} >> {log} 2>&1", self.program(port))
    }

    /// The server's program, for whoever starts it without a shell.
    pub fn program(&self, port: u16) -> String {
        let dir = self.dir.path().display();
        format!("python3 {dir}/server.py {port} {dir}")
    }

    /// How often the server has been started.
    pub fn starts(&self, port: u16) -> usize {
        self.read(&format!("starts.{port}")).len()
    }

    pub fn pid(&self, port: u16) -> Option<Pid> {
        self.read(&format!("pid.{port}"))
            .parse()
            .ok()
            .and_then(Pid::from_raw)
    }

    pub fn signal(&self, port: u16, signal: Signal) {
        kill_process(self.pid(port).expect("a server that runs"), signal).unwrap();
    }

    /// Writes the file of services, all of them enabled and asked with a short time limit.
    pub fn services(&self, services: &[(&str, Value)]) {
        let mut all = serde_json::Map::new();
        for (name, fields) in services {
            let mut service = json!({"enabled": true, "type": "daemon", "container": "services", "startup_delay_seconds": 0});
            for (key, value) in fields.as_object().unwrap() {
                service[key] = value.clone();
            }
            all.insert((*name).to_owned(), service);
        }
        self.write("services.json", &json!({"services": all}).to_string());
    }

    pub fn command(&self) -> Command {
        self.keep("once")
    }

    /// `once` or `run`.
    pub fn keep(&self, command: &str) -> Command {
        self.keep_file(command, "services.json")
    }

    /// The same over another file of services.
    pub fn keep_file(&self, command: &str, file: &str) -> Command {
        let mut command = self.keeper(&[command]);
        command
            .arg("--config")
            .arg(self.path(file))
            .arg("--manual-stop")
            .arg(self.path("stopped"));
        command
    }

    /// Any command with this keeper's state, and signals of its own.
    pub fn keeper(&self, args: &[&str]) -> Command {
        let mut command = Command::new(keeper_binary());
        command
            .args(args)
            .arg("--state")
            .arg(self.path("state"))
            .env_clear()
            .env("READY_DIR", self.path("signals"))
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command
    }

    /// A message to every channel.
    pub fn alert_test(&self) -> Command {
        self.alert_test_of("services.json")
    }

    /// The same over another file of services.
    pub fn alert_test_of(&self, file: &str) -> Command {
        let mut command = Command::new(keeper_binary());
        command
            .args(["alert", "--test", "--config"])
            .arg(self.path(file))
            .env_clear();
        command
    }

    /// What a person orders or asks.
    pub fn order(&self, args: &[&str]) -> Run {
        run_within(&mut self.keeper(args), Duration::from_secs(60))
    }

    /// A keeper in a loop, which writes its log to a file of that name.
    pub fn loop_with(&self, log: &str, args: &[&str]) -> Guard {
        let mut command = self.keep("run");
        command.args(args);
        self.logged(log, command)
    }

    /// A program that writes its log to a file of that name.
    pub fn logged(&self, log: &str, mut command: Command) -> Guard {
        let file = fs::File::create(self.path(log)).unwrap();
        command.stdout(file.try_clone().unwrap()).stderr(file);
        Guard::spawn(&mut command)
    }

    /// Waits until a log says it.
    pub fn wait_for(&self, log: &str, text: &str) {
        wait_until(
            Duration::from_secs(40),
            &format!("{text:?} in {log}"),
            || self.read(log).contains(text).then_some(()),
        );
    }

    /// Where a service stands, as `status` tells it.
    pub fn status(&self, service: &str) -> Value {
        let run = self.order(&["status", service, "--format", "json"]);
        serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("{e}: {run:?}"))
    }

    /// One pass.
    pub fn once(&self) -> Run {
        run_within(&mut self.command(), Duration::from_secs(60))
    }

    /// Makes what the keeper remembers older, as if its passes lay further apart.
    pub fn age(&self, by_ms: u64) {
        let path = self.path("state/state.json");
        let mut kept: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        for state in kept["services"].as_object_mut().unwrap().values_mut() {
            for key in [
                "not_before_ms",
                "suspected_ms",
                "restarted_ms",
                "heard_ms",
                "bad_ms",
            ] {
                if let Some(ms) = state[key].as_u64() {
                    state[key] = json!(ms.saturating_sub(by_ms));
                }
            }
        }
        fs::write(path, kept.to_string()).unwrap();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let files = fs::read_dir(self.dir.path()).unwrap().flatten();
        for file in files.filter(|file| file.file_name().to_string_lossy().starts_with("pid.")) {
            let pid = fs::read_to_string(file.path()).unwrap_or_default();
            if let Some(pid) = pid.trim().parse().ok().and_then(Pid::from_raw)
                && is_ours(pid, self.dir.path())
            {
                // It has ended already.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

/// Whether the number still is that of a process with this folder on its command line.
fn is_ours(pid: Pid, folder: &Path) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).contains(&folder.display().to_string())
}

/// The check of the server.
pub fn http(port: u16) -> Value {
    json!({"type": "http", "endpoint": format!("http://localhost:{port}/health"), "interval_seconds": 60, "timeout_seconds": 2})
}

pub fn assert_says(run: &Run, text: &str) {
    assert!(run.stdout.contains(text), "{text:?} is missing: {run:?}");
}
