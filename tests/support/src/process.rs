//! Running programs, and waiting for things with a deadline.
//!
//! Owns child processes from start to reaping, and where the programs lie that were built here. Knows nothing of
//! what they do.

mod programs;
mod run;

use std::{
    net::TcpListener,
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

pub use self::{
    programs::{
        copy_program, example_agent, keeper_binary, probe, probe_binary, reachable, workspace_root,
    },
    run::{Run, run, run_with_input, run_within},
};
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

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;
