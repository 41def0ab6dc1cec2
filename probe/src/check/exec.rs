//! Does a command exit with 0?
//!
//! The child gets a process group and pipes of its own: it can't keep the health check's output
//! open, and it can be killed with its children. What left the group (`setsid`) comes back to us,
//! since we are its subreaper, and is ended by the [`Reaper`].

use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ready_probe_sdk::{clock, host};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, kill_process_group};
use signal_hook::consts::SIGCHLD;
use tokio::net::unix::pipe;

use crate::far;
use crate::outcome::Outcome;
use crate::redact::Secrets;
use crate::target::shell;

/// How long what our commands have left may take to end, after the deadline.
const REAP_MS: u64 = 20;
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
    let outcome = run(argv, secrets).await;
    match shell::unread(argv) {
        None => outcome,
        Some(word) => outcome.with_text(|text| {
            let hint = format!("no shell reads the {word} in it: write exec:sh -c '…'");
            if text.is_empty() {
                hint
            } else {
                format!("{text}; {hint}")
            }
        }),
    }
}

async fn run(argv: &[String], secrets: &Secrets) -> Outcome {
    let (mut running, output) = match start(argv) {
        Ok(started) => started,
        Err(e) => {
            return Outcome::unknown(format!(
                "it can't be started: {}",
                crate::link::connect::plain(&e)
            ));
        }
    };
    let mut said = Said::default();
    // A grandchild may keep the pipe open for longer than the command lives: its end decides.
    let status = tokio::select! {
        status = running.ended() => status,
        never = read(&output, &mut said) => match never {},
    };
    read_rest(&output, &mut said);
    match status {
        Ok(status) => judge(status, &said, secrets),
        Err(e) => Outcome::unknown(format!("its end can't be told: {e}")),
    }
}

/// What a command has said, as far as it is kept.
#[derive(Debug, Default)]
struct Said {
    bytes: Vec<u8>,
    /// There was more of it.
    cut: bool,
}

impl Said {
    fn keep(&mut self, chunk: &[u8]) {
        let room = MAX_OUTPUT_BYTES.saturating_sub(self.bytes.len());
        self.bytes.extend(chunk.iter().take(room));
        self.cut |= chunk.len() > room;
    }

    /// As text, which says by its last character that it was cut: it may end in half a secret.
    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        if self.cut {
            return format!("{text}…");
        }
        text.into_owned()
    }
}

fn judge(status: ExitStatus, output: &Said, secrets: &Secrets) -> Outcome {
    if status.success() {
        return Outcome::pass();
    }
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "no exit status".to_owned(),
    };
    let said = secrets.quote(&output.text(), MAX_QUOTE_CHARS);
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
    // Whoever started us may ignore the ends of its children, and that is inherited: the kernel would
    // reap ours before we see how they ended, see sigaction(2). Signal-hook's own handler
    // stays when ours is taken back.
    let handler = signal_hook::flag::register(SIGCHLD, Arc::default())?;
    signal_hook::low_level::unregister(handler);
    let (read_end, write_end) = io::pipe()?;
    let child = Command::new(program)
        .args(args)
        .env(MARK, myself.as_raw_nonzero().to_string())
        // A probe among them is nobody's child that asks or relays.
        .env_remove(far::VARIABLE)
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
async fn read(output: &pipe::Receiver, kept: &mut Said) -> Infallible {
    while output.readable().await.is_ok() && drain(output, kept) {}
    std::future::pending().await
}

/// Takes what is in the pipe now; says whether more may come.
fn drain(output: &pipe::Receiver, kept: &mut Said) -> bool {
    let mut chunk = [0; 4_096];
    // A writer that is faster than we are must not keep us here: a pipe holds 16 of these.
    for _ in 0..16 {
        match output.try_read(&mut chunk) {
            Ok(0) => return false,
            Ok(n) => kept.keep(chunk.get(..n).unwrap_or_default()),
            Err(e) => return e.kind() == io::ErrorKind::WouldBlock,
        }
    }
    true
}

/// Takes what is left in the pipe when its command has ended. The kernel is asked: the event loop
/// need not have heard yet that there is something.
fn read_rest(output: &pipe::Receiver, kept: &mut Said) {
    let mut chunk = [0; 4_096];
    // A child that lives on may go on writing; a pipe holds 16 of these.
    for _ in 0..16 {
        match rustix::io::read(output, &mut chunk) {
            Ok(n) if n > 0 => kept.keep(chunk.get(..n).unwrap_or_default()),
            Ok(_) | Err(_) => return,
        }
    }
}

/// Ends and reaps, when it is dropped, every process that our commands have left. What was there
/// before is not ours: an entrypoint may start a server and then become `ready-probe wait`.
///
/// Children of a child that dies come to us as its subreaper, so each round finds what the last
/// one orphaned or did not see start. As process 1 we also inherit what `docker exec` left; that is
/// told apart by the mark in its environment.
pub struct Reaper {
    before: Vec<u32>,
}

impl Reaper {
    /// Notes which children are there before the first command is started.
    pub fn new() -> Self {
        Self {
            before: children(std::process::id()),
        }
    }

    /// Who is not reaped yet, down to the last grandchild: on a busy machine there may be no time for
    /// a second round. One that has ended since the last round counts: what it leaves to us need not
    /// have been in the list.
    fn left(&self) -> Vec<u32> {
        let me = std::process::id();
        let mut left = Vec::new();
        let mut found = children(me);
        found.retain(|pid| !self.before.contains(pid));
        while let Some(pid) = found.pop() {
            if me != 1 || has_ended(pid) || is_marked(pid, me) {
                found.extend(children(pid));
                left.push(pid);
            }
        }
        left
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        let until_ms = clock::mono_ms() + REAP_MS;
        loop {
            reap_zombies(&self.before);
            let left = self.left();
            for pid in left.iter().copied().filter_map(pid_of) {
                // It ends by itself meanwhile, or belongs to another user: counted below.
                let _ = kill_process(pid, Signal::KILL);
            }
            if left.is_empty() {
                return;
            }
            if clock::mono_ms() >= until_ms {
                tracing::warn!(left = left.len(), "processes of exec: could not be ended");
                return;
            }
            std::thread::yield_now();
        }
    }
}

/// Reaps what has ended, but not what somebody else started before us and will wait for.
fn reap_zombies(before: &[u32]) {
    let me = std::process::id();
    let ended = children(me)
        .into_iter()
        .filter(|pid| !before.contains(pid) && has_ended(*pid));
    for pid in ended.filter_map(pid_of) {
        // It was reaped meanwhile: what we wanted.
        let _ = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG);
    }
}

fn has_ended(pid: u32) -> bool {
    host::stat_of(pid).is_some_and(|stat| stat.has_ended())
}

/// The children of a process, with those that have ended and are not reaped: the ones that the kernel
/// lists for its threads, see proc_tid_children(5), or where it does not, those of every process there
/// is.
fn children(parent: u32) -> Vec<u32> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{parent}/task")) else {
        // It has ended, and was reaped.
        return Vec::new();
    };
    let lists = threads
        .flatten()
        .map(|thread| std::fs::read_to_string(thread.path().join("children")));
    match lists.collect::<io::Result<Vec<String>>>() {
        Ok(lists) => lists
            .iter()
            .flat_map(|list| list.split_ascii_whitespace())
            .filter_map(|pid| pid.parse().ok())
            .collect(),
        Err(_) => {
            let mut pids = host::pids().unwrap_or_default();
            pids.retain(|pid| host::stat_of(*pid).is_some_and(|stat| stat.ppid == parent));
            pids
        }
    }
}

fn is_marked(pid: u32, me: u32) -> bool {
    let mark = format!("{MARK}={me}");
    std::fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|env| env.split(|b| *b == 0).any(|var| var == mark.as_bytes()))
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
            let mut said = Said::default();
            said.keep(output.as_bytes());
            let outcome = judge(ExitStatus::from_raw(raw), &said, &Secrets::default());
            format!("{} {}", outcome.word(), outcome.text())
        };
        assert_eq!(judge(0, "noise"), "pass ");
        assert_eq!(judge(3 << 8, ""), "fail exit status 3");
        assert_eq!(judge(1 << 8, "no\nluck"), "fail exit status 1: no luck");
        assert_eq!(judge(9, ""), "fail killed by signal 9");
    }
}
