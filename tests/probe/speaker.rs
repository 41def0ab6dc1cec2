//! A program under `ready-probe run` that does what a test tells it, and what is seen of it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use ready_probe_test_support::process::{Guard, Run, Signal, wait_until, workspace_root};
use rustix::process::{Pid, kill_process};
use serde_json::Value;

use crate::container::{Container, through};

/// Longer than anything here takes on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Debian's own: starting it takes no detour.
pub const PYTHON: &str = "/usr/bin/python3";

/// A shell has what it starts in the background ignore these, and these tests may run there.
pub const HEED: &str = "--default-signal=INT,QUIT";

/// `ready-probe run worker OPTIONS -- python3 speaker.py`.
pub struct Speaker {
    pub container: Container,
    pub guard: Guard,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

/// The command line that starts one.
pub fn speaker() -> [String; 2] {
    let script = workspace_root().join("tests/probe/speaker.py");
    [PYTHON.to_owned(), script.display().to_string()]
}

/// `run` is killed when a test is over, and what it has started would live on.
impl Drop for Speaker {
    fn drop(&mut self) {
        for pid in beneath(self.guard.pid()) {
            signal(pid, Signal::KILL);
        }
    }
}

/// The processes that this one, or another one beneath it, is the parent of.
fn beneath(pid: u32) -> Vec<u32> {
    let parent = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, rest) = stat.rsplit_once(") ")?;
        rest.split(' ').nth(1)?.parse::<u32>().ok()
    };
    let names = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let pids = names.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parents: Vec<_> = pids.filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut found = vec![pid];
    let mut at = 0;
    while let Some(of) = found.get(at).copied() {
        found.extend(
            parents
                .iter()
                .filter(|(_, p)| *p == of)
                .map(|(pid, _)| *pid),
        );
        at += 1;
    }
    found.remove(0);
    found
}

impl Speaker {
    pub fn start(options: &[&str]) -> Self {
        Self::start_with(options, |_| {})
    }

    /// The same, with a command that is changed before it is run.
    pub fn start_with(options: &[&str], change: impl FnOnce(&mut Command)) -> Self {
        let container = Container::new();
        let stderr = fs::File::create(container.path("stderr")).unwrap();
        let mut command = container.probe(["run", "worker"]);
        command.args(options).arg("--").args(speaker());
        change(&mut command);
        let mut command = through("env", &[HEED], &command);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr);
        let mut guard = Guard::spawn(&mut command);
        let stdin = guard.child().stdin.take();
        let stdout = BufReader::new(guard.child().stdout.take().unwrap());
        Self {
            container,
            guard,
            stdin,
            stdout,
        }
    }

    /// Has it do something; comes back before it has.
    pub fn does(&mut self, code: &str) {
        writeln!(self.stdin.as_ref().unwrap(), "{code}").unwrap();
    }

    /// Has it do something, and returns the line that it prints.
    pub fn tells(&mut self, code: &str) -> String {
        self.does(code);
        self.line()
    }

    /// The next line that it prints.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Has it end with 0.
    pub fn ends(&mut self) {
        self.stdin = None;
    }

    /// Its exit status, or rather that of `run`.
    pub fn code(&mut self) -> Option<i32> {
        self.guard.wait_within(LIMIT).code()
    }

    /// What a probe says of it.
    pub fn ask(&self) -> Run {
        self.container.ask("agent:worker")
    }

    /// Waits until a probe's first line is this.
    #[track_caller]
    pub fn wait_for(&self, line: &str) -> Run {
        wait_for(&self.container, line)
    }

    #[track_caller]
    pub fn wait_ready(&self) {
        self.wait_for("healthy: 1 check passes");
    }

    /// What `run` itself has said.
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.container.path("stderr")).unwrap()
    }

    /// Waits until it has said this.
    #[track_caller]
    pub fn wait_said(&self, part: &str) {
        wait_until(LIMIT, &format!("run to say {part:?}"), || {
            self.stderr().contains(part).then_some(())
        });
    }

    /// The only record there is. The program may run before there is one, and while the signal moves to
    /// another process there are two.
    #[track_caller]
    pub fn record(&self) -> Value {
        wait_until(LIMIT, "a single record", || {
            let paths = records(&self.container);
            let [path] = paths.as_slice() else {
                return None;
            };
            let record = fs::read_to_string(path).ok()?;
            Some(serde_json::from_str(&record).unwrap())
        })
    }
}

/// The files of agent `worker`.
pub fn records(container: &Container) -> Vec<PathBuf> {
    let Ok(files) = fs::read_dir(container.ready_dir().join("worker")) else {
        return Vec::new();
    };
    let paths = files.map(|entry| entry.unwrap().path());
    let is_record = |path: &PathBuf| path.extension().is_some_and(|ext| ext == "json");
    paths.filter(is_record).collect()
}

/// Waits until a probe of agent `worker` says this in its first line.
#[track_caller]
pub fn wait_for(container: &Container, line: &str) -> Run {
    let mut last = None;
    let said = || {
        let run = container.ask("agent:worker");
        if run.first_line() == line {
            return Some(run);
        }
        last = Some(run);
        None
    };
    let deadline = std::time::Instant::now() + LIMIT;
    let mut said = said;
    loop {
        if let Some(run) = said() {
            return run;
        }
        if std::time::Instant::now() > deadline {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("waited {LIMIT:?} in vain for {line:?}: {last:?}");
}

/// Sends a process a signal, unless it has ended.
pub fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let _ = kill_process(pid, signal);
}

/// Whether a process lives.
pub fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}
