//! A server process: started until it answers, stopped, paused.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::process::{Guard, Signal, wait_until};

/// For a server to answer, or to end. Far above what either takes, for machines that are busy.
const PATIENCE: Duration = Duration::from_secs(20);

/// What every server says, in these words, when it can't have its port (strerror of EADDRINUSE, in C
/// as in Go).
const PORT_TAKEN: &str = "address already in use";

/// How often another port is tried.
const ATTEMPTS: usize = 5;

/// A server's process and its log.
#[derive(Debug)]
pub(super) struct Daemon {
    name: &'static str,
    log: PathBuf,
    child: Option<Guard>,
}

/// The port belongs to somebody else.
#[derive(Debug)]
pub(super) struct PortTaken;

impl Daemon {
    pub(super) fn new(name: &'static str, dir: &Path) -> Self {
        Self {
            name,
            log: dir.join("log"),
            child: None,
        }
    }

    /// Starts the server and waits until `answers`, which is given its pid.
    ///
    /// # Panics
    /// When it ends, for another reason than its port, or does not answer in time; with its log.
    pub(super) fn start(
        &mut self,
        command: &mut Command,
        mut answers: impl FnMut(u32) -> bool,
    ) -> Result<(), PortTaken> {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let log = File::create(&self.log).expect("the server's directory is ours");
        command
            .stdin(Stdio::null())
            .stderr(log.try_clone().expect("a second handle of the log"))
            .stdout(log);
        let mut child = Guard::spawn(command);
        let start = Instant::now();
        loop {
            if let Some(status) = child.ended() {
                let log = self.log_text();
                if log.to_lowercase().contains(PORT_TAKEN) {
                    return Err(PortTaken);
                }
                panic!(
                    "{} ended with {status} instead of starting: {command:?}\n{log}",
                    self.name
                );
            }
            if answers(child.pid()) {
                break;
            }
            if start.elapsed() > PATIENCE {
                panic!(
                    "{} does not answer after {PATIENCE:?}: {command:?}\n{}",
                    self.name,
                    self.log_text()
                );
            }
            thread::sleep(Duration::from_millis(2));
        }
        self.child = Some(child);
        Ok(())
    }

    pub(super) fn pid(&self) -> u32 {
        self.child
            .as_ref()
            .unwrap_or_else(|| panic!("{} is stopped", self.name))
            .pid()
    }

    pub(super) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    pub(super) fn log_text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    pub(super) fn signal(&mut self, signal: Signal) {
        let name = self.name;
        self.child
            .as_mut()
            .unwrap_or_else(|| panic!("{name} is stopped"))
            .signal(signal);
    }

    /// Asks it to end and waits until it has, and until nobody answers on `port`.
    pub(super) fn stop(&mut self, port: u16) {
        self.signal(Signal::TERM);
        // A paused process sees TERM only when it goes on.
        self.signal(Signal::CONT);
        self.reap(port);
    }

    /// Kills it, as the kernel does when memory is short.
    pub(super) fn kill(&mut self, port: u16) {
        self.signal(Signal::KILL);
        self.reap(port);
    }

    fn reap(&mut self, port: u16) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        child.wait_within(PATIENCE);
        wait_until(PATIENCE, "the port of a stopped server to refuse", || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).err()
        });
    }

    /// Stops all its threads where they are. Its sockets stay open: the kernel goes on accepting.
    pub(super) fn pause(&mut self) {
        self.signal(Signal::STOP);
        self.wait_for_threads("to pause", |state| state == 'T');
    }

    pub(super) fn resume(&mut self) {
        self.signal(Signal::CONT);
        self.wait_for_threads("to resume", |state| state != 'T');
    }

    /// A signal is on its way when kill(2) returns, not obeyed.
    fn wait_for_threads(&self, what: &str, wanted: impl Fn(char) -> bool) {
        let tasks = format!("/proc/{}/task", self.pid());
        wait_until(PATIENCE, &format!("{} {what}", self.name), || {
            let tasks = fs::read_dir(&tasks).expect("the server is not reaped yet");
            // A thread that ends while we look counts as having obeyed.
            tasks
                .flatten()
                .all(|task| thread_state(&task.path()).is_none_or(&wanted))
                .then_some(())
        });
    }
}

/// The letter of proc_pid_stat(5), which follows the name in parentheses.
fn thread_state(task: &Path) -> Option<char> {
    let stat = fs::read_to_string(task.join("stat")).ok()?;
    stat.rsplit(')').next()?.trim_start().chars().next()
}

/// Tries ports until one is not taken by somebody else between our looking and the server's binding it.
pub(super) fn on_a_free_port<T>(mut start: impl FnMut() -> Result<T, PortTaken>) -> T {
    for _ in 0..ATTEMPTS {
        if let Ok(started) = start() {
            return started;
        }
    }
    panic!("{ATTEMPTS} ports in a row were taken by others before a server could bind them");
}
