//! Children that run commands: started in a process group and with pipes of their own, so that they
//! can't keep the health check's output open, and can be ended with their children.
//!
//! What left the group (`setsid`) comes back to us, since we are its subreaper, and is ended by
//! [`descendants`].

pub mod descendants;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::SIGCHLD;
use tokio::net::unix::pipe;

use crate::role;

/// How often a child that has closed its output is asked whether it has ended. Most end at once.
const POLL_FIRST: Duration = Duration::from_micros(200);
const POLL_LAST: Duration = Duration::from_millis(10);
/// In its children's environment: which probe started them.
const MARK: &str = "READY_PROBE_EXEC";

/// A child whose whole process group ends with this.
pub struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(group) = pid_of(self.0.id()) {
            // It is gone already, or it may not be killed: both are told by the final reaping.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.0.try_wait();
    }
}

impl Running {
    /// Its id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        let mut pause = POLL_FIRST;
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(POLL_LAST);
        }
    }
}

/// Has children that end wait for us. Whoever started us may ignore the ends of its children, and that is
/// inherited: the kernel would reap ours before we see how they ended, see sigaction(2). Signal-hook's own
/// handler stays when ours is taken back.
pub fn keep_ended() -> io::Result<()> {
    let handler = signal_hook::flag::register(SIGCHLD, Arc::default())?;
    signal_hook::low_level::unregister(handler);
    Ok(())
}

/// Starts a command; what it says comes out of the pipe.
pub fn start(argv: &[String]) -> io::Result<(Running, pipe::Receiver)> {
    let (program, args) = argv
        .split_first()
        .ok_or_else(|| io::Error::other("no command"))?;
    let myself = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(myself))?;
    keep_ended()?;
    let (read_end, write_end) = io::pipe()?;
    let child = Command::new(program)
        .args(args)
        .env(MARK, myself.as_raw_nonzero().to_string())
        // A probe among them is nobody's child that asks or relays.
        .env_remove(role::VARIABLE)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(write_end.try_clone()?)
        .stderr(write_end)
        .spawn()?;
    let running = Running(child);
    let receiver = pipe::Receiver::from_owned_fd(OwnedFd::from(read_end))?;
    Ok((running, receiver))
}

/// A process id as the kernel's calls take it.
pub fn pid_of(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}
