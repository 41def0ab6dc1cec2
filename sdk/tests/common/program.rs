//! An agent in a process of its own, told line by line what to do.
//!
//! The test binary starts itself: a test file that wants this holds
//! `#[test] fn program() { common::program::main_if_asked() }`.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ready_probe_sdk::folder::Folder;
use ready_probe_sdk::host::Process;
use ready_probe_sdk::{Agent, Result, close_all, mark_agent_not_ready, mark_agent_ready};
use ready_probe_test_support::process::reachable;
use rustix::fs::Mode;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit, umask};

const ASKED: &str = "READY_PROBE_TEST_PROGRAM";
/// libtest writes to the same output.
const ANSWER: &str = "answer: ";

/// The other process, killed on drop.
pub struct Program {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Program {
    /// Starts it; it publishes in `dir`.
    pub fn start(dir: &Path) -> Self {
        Self::start_with(dir, Command::new(std::env::current_exe().unwrap()))
    }

    /// Starts it; it publishes in `dir`, and announces to `store`.
    pub fn announcing(dir: &Path, store: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env("READY_STORE", store);
        Self::start_with(dir, command)
    }

    /// Starts it by a command that ends in running this test binary with the arguments it is given.
    pub fn start_with(dir: &Path, mut command: Command) -> Self {
        let mut child = command
            .args(["program", "--exact", "--nocapture", "--test-threads=1"])
            .env(ASKED, "1")
            .env("READY_DIR", dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            stdin,
            stdout,
        }
    }

    /// Has it do something, and returns its answer: `ok`, or the error's kind and text.
    pub fn ask(&mut self, line: &str) -> String {
        writeln!(self.stdin, "{line}").unwrap();
        let mut said = String::new();
        loop {
            said.clear();
            assert_ne!(
                self.stdout.read_line(&mut said).unwrap(),
                0,
                "it ended at {line:?}"
            );
            // libtest's own words may stand before it on the line.
            if let Some((_, answer)) = said.split_once(ANSWER) {
                return answer.trim_end().to_owned();
            }
        }
    }

    pub fn tell(&mut self, line: &str) {
        assert_eq!(self.ask(line), "ok", "{line}");
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid().cast_signed()).unwrap(), signal).unwrap();
    }

    /// Kills it, and leaves it a zombie.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    pub fn reap(&mut self) {
        self.child.wait().unwrap();
    }

    /// Has it end in good order, without closing anything.
    pub fn end(&mut self) {
        let _ = writeln!(self.stdin, "exit");
        self.reap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Has a process of another user do one thing, and returns what it answers.
pub fn as_user(user: u32, line: &[&str]) -> String {
    let mut program = Program::start_with(Path::new("/"), run_by(user));
    program.ask(&line.join(" "))
}

/// The command that runs this test binary as another user.
pub fn run_by(user: u32) -> Command {
    let mut command = Command::new("setpriv");
    command
        .arg(format!("--reuid={user}"))
        .arg("--clear-groups")
        .arg(reachable(&std::env::current_exe().unwrap()));
    command
}

pub fn open_to_all(dir: &Path) {
    std::fs::set_permissions(dir, PermissionsExt::from_mode(0o755)).unwrap();
}

/// Is the program, when this process was started as one.
pub fn main_if_asked() {
    if std::env::var_os(ASKED).is_none() {
        return;
    }
    let mut agent = None;
    let mut draining = None;
    let ticking = Arc::new(AtomicBool::new(false));
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
        if verb == "says" {
            let (dir, agent) = rest.split_once(' ').unwrap();
            let store = Folder::at(Path::new(dir)).unwrap();
            let found = store.read(&super::name(agent)).unwrap();
            let says: Vec<_> = found.believed.iter().map(super::verdict).collect();
            println!("{ANSWER}{}", says.join("; "));
            continue;
        }
        if verb == "process" {
            let process = Process::in_own_namespace(rest.parse().unwrap());
            println!("{ANSWER}{process:?}");
            continue;
        }
        if verb == "exit" {
            std::process::exit(0);
        }
        if verb == "drained" {
            draining = None;
        }
        if verb == "close" {
            let agent: Option<Agent> = agent.take().and_then(Arc::into_inner);
            draining = Some(agent.unwrap().close(rest).unwrap());
        }
        let answer = match obey(&mut agent, &ticking, verb, rest) {
            Ok(()) => "ok".to_owned(),
            Err(e) => format!("{:?} {e}", e.kind()),
        };
        println!("{ANSWER}{answer}");
    }
    drop(draining);
}

fn obey(
    agent: &mut Option<Arc<Agent>>,
    ticking: &Arc<AtomicBool>,
    verb: &str,
    rest: &str,
) -> Result<()> {
    let held = || agent.as_ref().expect("register first");
    match verb {
        "register" => *agent = Some(Arc::new(register(rest)?)),
        // Beside the one that is held, for as long as the process lives.
        "also" => {
            let other = register(rest)?;
            other.mark_ready(())?;
            std::mem::forget(other);
        }
        "ready" => held().mark_ready(())?,
        "not_ready" => held().mark_not_ready(rest)?,
        "wait_announced" => held().wait_announced(super::PATIENCE)?,
        "drop" => *agent = None,
        "tick_every" => {
            let pause = Duration::from_millis(rest.parse().unwrap());
            let (agent, ticking) = (Arc::clone(held()), Arc::clone(ticking));
            ticking.store(true, Ordering::Release);
            thread::spawn(move || {
                while ticking.load(Ordering::Acquire) {
                    agent.tick().unwrap();
                    // A job in ten parts: after a pause of the process the rest of it takes time.
                    (0..10).for_each(|_| thread::sleep(pause / 10));
                }
            });
        }
        "stop_ticking" => ticking.store(false, Ordering::Release),
        "panic" => {
            let agent = agent.take();
            let _ = thread::spawn(move || {
                let _agent = agent;
                panic!("as it was told");
            })
            .join();
        }
        "mark_ready" => mark_agent_ready(rest, ())?,
        "mark_not_ready" => mark_agent_not_ready(rest, "as it was told")?,
        "no_more_threads" => {
            let tasks = std::fs::read_dir("/proc/self/task").unwrap().count();
            limit_threads(Some(tasks as u64));
        }
        "threads_again" => limit_threads(getrlimit(Resource::Nproc).maximum),
        "close_all" => close_all(rest),
        "close" | "drained" => {}
        "umask" => {
            umask(Mode::from_raw_mode(u32::from_str_radix(rest, 8).unwrap()));
        }
        _ => panic!("unknown: {verb}"),
    }
    Ok(())
}

fn limit_threads(current: Option<u64>) {
    let limit = Rlimit {
        current,
        ..getrlimit(Resource::Nproc)
    };
    setrlimit(Resource::Nproc, limit).unwrap();
}

/// `NAME TTL_MS HEARTBEAT_MS WATCHDOG_MS`; 0 is none, and what is left out is the default.
fn register(rest: &str) -> Result<Agent> {
    let mut words = rest.split(' ');
    let mut builder = Agent::builder(words.next().unwrap());
    let millis: Vec<u64> = words.map(|word| word.parse().unwrap()).collect();
    let given = |i: usize| {
        millis
            .get(i)
            .filter(|ms| **ms > 0)
            .map(|ms| Duration::from_millis(*ms))
    };
    if let Some(ttl) = given(0) {
        builder = builder.ttl(ttl);
    }
    if let Some(interval) = given(1) {
        builder = builder.heartbeat(interval);
    }
    if let Some(limit) = given(2) {
        builder = builder.watchdog(limit);
    }
    builder.register()
}
