//! Does a command exit with 0?
//!
//! The child gets a process group and pipes of its own: it can't keep the health check's output
//! open, and it can be killed with its children. What left the group (`setsid`) comes back to us,
//! since we are its subreaper, and is ended by [`reap_everything`].

use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use ready_probe_sdk::host;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, kill_process_group};
use tokio::net::unix::pipe;

use crate::outcome::Outcome;
use crate::redact::Secrets;

/// How much of a command's output is kept, to be quoted.
const MAX_OUTPUT_BYTES: usize = 4 * 1024;
/// How much of it is quoted.
const MAX_QUOTE_CHARS: usize = 200;
/// How often a child that has closed its output is asked whether it has ended. Most end at once.
const POLL_FIRST: Duration = Duration::from_micros(200);
const POLL_LAST: Duration = Duration::from_millis(10);
/// In its children's environment: which probe started them.
const MARK: &str = "READY_PROBE_EXEC";

/// Runs a command to its end.
pub async fn ask(argv: &[String], secrets: &Secrets) -> Outcome {
    let (mut running, output) = match start(argv) {
        Ok(started) => started,
        Err(e) => {
            return Outcome::unknown(format!(
                "it can't be started: {}",
                super::connect::plain(&e)
            ));
        }
    };
    let mut said = Vec::new();
    // A grandchild may keep the pipe open for longer than the command lives: its end decides.
    let status = tokio::select! {
        status = running.ended() => status,
        never = read(&output, &mut said) => match never {},
    };
    drain(&output, &mut said);
    match status {
        Ok(status) => judge(status, &said, secrets),
        Err(e) => Outcome::unknown(format!("its end can't be told: {e}")),
    }
}

fn judge(status: ExitStatus, output: &[u8], secrets: &Secrets) -> Outcome {
    if status.success() {
        return Outcome::pass();
    }
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "no exit status".to_owned(),
    };
    let said = secrets.quote(&String::from_utf8_lossy(output), MAX_QUOTE_CHARS);
    if said.is_empty() {
        return Outcome::fail(how);
    }
    Outcome::fail(format!("{how}: {said}"))
}

/// A child whose whole process group ends with this.
struct Running(Child);

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
    async fn ended(&mut self) -> io::Result<ExitStatus> {
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

fn start(argv: &[String]) -> io::Result<(Running, pipe::Receiver)> {
    let (program, args) = argv
        .split_first()
        .ok_or_else(|| io::Error::other("no command"))?;
    let myself = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(myself))?;
    let (read_end, write_end) = io::pipe()?;
    let child = Command::new(program)
        .args(args)
        .env(MARK, myself.as_raw_nonzero().to_string())
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(write_end.try_clone()?)
        .stderr(write_end)
        .spawn()?;
    let running = Running(child);
    let receiver = pipe::Receiver::from_owned_fd(OwnedFd::from(read_end))?;
    Ok((running, receiver))
}

/// Reads output as it comes, so that its writer never waits for us; what is beyond the bound is
/// thrown away.
async fn read(output: &pipe::Receiver, kept: &mut Vec<u8>) -> Infallible {
    while output.readable().await.is_ok() && drain(output, kept) {}
    std::future::pending().await
}

/// Takes what is in the pipe now; says whether more may come.
fn drain(output: &pipe::Receiver, kept: &mut Vec<u8>) -> bool {
    let mut chunk = [0; 4_096];
    // A writer that is faster than we are must not keep us here: a pipe holds 16 of these.
    for _ in 0..16 {
        match output.try_read(&mut chunk) {
            Ok(0) => return false,
            Ok(n) => keep(kept, chunk.get(..n).unwrap_or_default()),
            Err(e) => return e.kind() == io::ErrorKind::WouldBlock,
        }
    }
    true
}

fn keep(kept: &mut Vec<u8>, chunk: &[u8]) {
    let room = MAX_OUTPUT_BYTES.saturating_sub(kept.len());
    kept.extend(chunk.iter().take(room));
}

/// Ends and reaps every process that our commands have left, for as long as `now_ms() < until_ms`.
/// Says how many could not be ended.
///
/// Children of a child that dies come to us as its subreaper, so each round finds what the last
/// one orphaned. As process 1 we also inherit what `docker exec` left; that is told apart by the
/// mark in its environment.
pub fn reap_everything(now_ms: impl Fn() -> u64, until_ms: u64) -> usize {
    let me = std::process::id();
    loop {
        reap_zombies();
        let left = children(me);
        if left.is_empty() {
            return 0;
        }
        for pid in &left {
            if let Some(pid) = pid_of(*pid) {
                // It ends by itself meanwhile, or belongs to another user: counted below.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        if now_ms() >= until_ms {
            return left.len();
        }
        std::thread::yield_now();
    }
}

fn reap_zombies() {
    while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
}

fn children(me: u32) -> Vec<u32> {
    let marked = |pid: u32| {
        let mark = format!("{MARK}={me}");
        std::fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|env| env.split(|b| *b == 0).any(|var| var == mark.as_bytes()))
    };
    let is_ours = |pid: &u32| {
        host::stat_of(*pid).is_some_and(|stat| stat.ppid == me && stat.state != 'Z')
            && (me != 1 || marked(*pid))
    };
    host::pids()
        .unwrap_or_default()
        .into_iter()
        .filter(is_ours)
        .collect()
}

fn pid_of(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth_table() {
        let judge = |raw: i32, output: &str| {
            let outcome = judge(
                ExitStatus::from_raw(raw),
                output.as_bytes(),
                &Secrets::default(),
            );
            format!("{} {}", outcome.word(), outcome.text())
        };
        assert_eq!(judge(0, "noise"), "pass ");
        assert_eq!(judge(3 << 8, ""), "fail exit status 3");
        assert_eq!(judge(1 << 8, "no\nluck"), "fail exit status 1: no luck");
        assert_eq!(judge(9, ""), "fail killed by signal 9");
    }
}
