//! Running programs, and waiting for things with a deadline.
//!
//! Owns child processes from start to reaping. Knows nothing of what the programs do.

mod run;

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    sync::{
        OnceLock,
        atomic::{AtomicU16, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, kill_process};
use wait4::{ResUse, Wait4};

pub use self::run::{Run, run, run_with_input, run_within};
pub use rustix::process::Signal;

/// How often a condition is looked at.
const POLL_EVERY: Duration = Duration::from_millis(2);

/// Looks every few milliseconds until `look` finds something.
///
/// # Panics
/// At the limit, with `what` in the message: name what was awaited, as in `"the key to expire"`.
pub fn wait_until<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        // Asked before looking: whoever was descheduled for longer than the limit still gets one look.
        let late = start.elapsed() > limit;
        if let Some(found) = look() {
            return found;
        }
        assert!(!late, "waited {limit:?} in vain for {what}");
        thread::sleep(POLL_EVERY);
    }
}

/// A TCP port of 127.0.0.1 that nobody listens on now.
///
/// Below the range that the kernel takes for outgoing connections, and never the same twice in a
/// process: a server can stop and come back on its port without finding somebody else there.
pub fn free_port() -> u16 {
    const PORTS: std::ops::Range<u16> = 12_000..32_000;
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    let next = NEXT.get_or_init(|| {
        // Test binaries run side by side; they should not walk the same ports in step.
        let seed =
            std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), std::process::id());
        AtomicU16::new((seed % u64::from(PORTS.end - PORTS.start)) as u16)
    });
    for _ in PORTS {
        let step = next.fetch_add(1, Ordering::Relaxed) % (PORTS.end - PORTS.start);
        let port = PORTS.start + step;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            // A child between fork and exec may have the socket, too: listening must end before it does.
            let _ = rustix::net::shutdown(&listener, rustix::net::Shutdown::Read);
            return port;
        }
    }
    panic!("every port of 127.0.0.1 in {PORTS:?} is taken");
}

/// A child process that is killed and reaped on drop, by its own pid.
///
/// A fixture in a `static` is never dropped, so its child outlives the test.
#[derive(Debug)]
pub struct Guard(Child);

impl Guard {
    /// Starts a program.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn spawn(command: &mut Command) -> Self {
        match command.spawn() {
            Ok(child) => Self(child),
            Err(e) => panic!(
                "{} could not be started: {e}",
                command.get_program().display()
            ),
        }
    }

    /// Its process id; nobody else can have it, since only we reap the child.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// The child, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Sends a signal; one that comes after the end is lost.
    pub fn signal(&mut self, signal: Signal) {
        // Reaped children have no pid of their own any more.
        if self.ended().is_none() {
            kill_process(self.rustix_pid(), signal).expect("a signal to our own child");
        }
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().expect("our own child can be waited for")
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// At the limit.
    pub fn wait_within(&mut self, limit: Duration) -> ExitStatus {
        wait_until(limit, &format!("process {} to end", self.pid()), || {
            self.ended()
        })
    }

    /// Takes the child's exit status and what it used.
    fn reap(mut self) -> ResUse {
        let usage = self.0.wait4().expect("our own child can be waited for");
        // The pid is free for somebody else now, which `Child` has not seen: it must not kill it. Its
        // pipes have been taken, so nothing leaks.
        assert!(self.0.stdin.is_none() && self.0.stdout.is_none() && self.0.stderr.is_none());
        std::mem::forget(self);
        usage
    }

    fn rustix_pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }
}

impl From<Child> for Guard {
    fn from(child: Child) -> Self {
        Self(child)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Both fail only when the child has been reaped.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The directory of the workspace's `Cargo.toml`.
pub fn workspace_root() -> PathBuf {
    fs::canonicalize(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .expect("the workspace was built here")
}

/// The static probe: `$READY_PROBE_BIN`, else `dist/ready-probe`.
///
/// # Panics
/// When it is missing.
pub fn probe_binary() -> PathBuf {
    built("ready-probe", "READY_PROBE_BIN", "make probe")
}

/// The static keeper: `$READY_KEEPER_BIN`, else `dist/ready-keeper`.
///
/// # Panics
/// When it is missing.
pub fn keeper_binary() -> PathBuf {
    built("ready-keeper", "READY_KEEPER_BIN", "make keeper")
}

fn built(name: &str, variable: &str, command: &str) -> PathBuf {
    let path = std::env::var_os(variable)
        .filter(|set| !set.is_empty())
        .map_or_else(|| workspace_root().join("dist").join(name), PathBuf::from);
    assert!(
        path.is_file(),
        "{} is missing: `{command}` builds it; {variable} names another",
        path.display()
    );
    path
}

/// The example agent as cargo has built it beside this test, without what only a debugger reads: images of it
/// are made again and again.
///
/// # Panics
/// When it is missing.
pub fn example_agent() -> PathBuf {
    static STRIPPED: OnceLock<PathBuf> = OnceLock::new();
    let strip = || {
        let test = std::env::current_exe().expect("/proc");
        let built = test
            .parent()
            .and_then(Path::parent)
            .expect("a folder of cargo's");
        let agent = built.join("rust-agent");
        assert!(
            agent.is_file(),
            "{} is missing: `cargo build -p rust-agent` builds it",
            agent.display()
        );
        // Several programs of tests may be at it: whose is renamed last does not matter.
        let mine = built.join(format!("rust-agent.{}", std::process::id()));
        let stripped = built.join("rust-agent.stripped");
        let run = run(Command::new("strip").arg("-o").args([&mine, &agent]));
        assert!(run.code() == 0, "`strip` failed: {run:?}");
        fs::rename(mine, &stripped).expect("the same folder");
        stripped
    };
    STRIPPED.get_or_init(strip).clone()
}

/// The probe with no environment but `PATH`, so that a developer's `READY_…` settings decide nothing.
pub fn probe() -> Command {
    let mut command = Command::new(probe_binary());
    command
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command
}

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;
