//! What our commands have left: who they are, down to the last grandchild, their killing and their reaping.

use std::io;
use std::time::{Duration, Instant};

use ready_probe_sdk::{clock, host};
use rustix::io::Errno;
use rustix::process::{Signal, WaitOptions, kill_process};

use super::{MARK, POLL_FIRST, POLL_LAST, pid_of};

/// How long what our commands have left may take to end, after the deadline.
const REAP: Duration = Duration::from_millis(20);
/// And before it, if it has been killed: on a busy machine that takes effect late, and whoever we leave it to may
/// never reap it.
const REAP_EARLY: Duration = Duration::from_millis(500);
/// How many rounds it takes at least, however late it is: the first one may miss what starts meanwhile.
const MIN_ROUNDS: u32 = 3;

/// Ends and reaps, when it is dropped, every process that our commands have left. What was there
/// before is not ours: an entrypoint may start a server and then become `ready-probe wait`.
///
/// Children of a child that dies come to us as its subreaper, so each round finds what the last
/// one orphaned or did not see start. As process 1 we also inherit what `docker exec` left, and as the
/// supervisor of a program what that leaves; they are told apart by the mark in the environment.
pub struct Reaper {
    before: Vec<u32>,
    /// Somebody else in this process reaps what ends.
    supervised: bool,
    /// By when there is to be an answer.
    deadline: Instant,
}

impl Reaper {
    /// Notes which children are there before the first command is started.
    pub fn begin(supervised: bool, deadline: Instant) -> Self {
        Self {
            before: children(std::process::id()),
            supervised,
            deadline,
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
            let is_ours = match (self.supervised, me) {
                (true, _) => is_marked(pid, me),
                (false, 1) => has_ended(pid) || is_marked(pid, me),
                (false, _) => true,
            };
            if is_ours {
                found.extend(children(pid));
                left.push(pid);
            }
        }
        left
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        let now = clock::instant();
        let at_once = now + REAP;
        let in_time = at_once.max(self.deadline.min(now + REAP_EARLY));
        for round in 1_u32.. {
            if !self.supervised {
                reap_zombies(&self.before);
            }
            let left = self.left();
            if left.is_empty() {
                return;
            }
            let mut all_die = true;
            for pid in left.iter().copied().filter_map(pid_of) {
                // It ends by itself meanwhile, or belongs to another user: counted below.
                all_die &= kill_process(pid, Signal::KILL) != Err(Errno::PERM);
            }
            let now = clock::instant();
            if round >= MIN_ROUNDS && now >= if all_die { in_time } else { at_once } {
                tracing::warn!(left = left.len(), "processes of exec: could not be ended");
                return;
            }
            if now < at_once {
                std::thread::yield_now();
            } else {
                std::thread::sleep(POLL_FIRST);
            }
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

/// Whether it has ended and waits to be reaped.
pub fn has_ended(pid: u32) -> bool {
    host::stat_of(pid).is_some_and(|stat| stat.has_ended())
}

/// The children of a process, with those that have ended and are not reaped: the ones that the kernel
/// lists for its threads, see proc_tid_children(5), or where it does not, those of every process there
/// is.
pub fn children(parent: u32) -> Vec<u32> {
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

/// Ends the commands that `start` has started, and waits for that; `given_up` is dropped meanwhile.
pub async fn end_commands<T>(given_up: T) {
    const WITHIN: Duration = Duration::from_secs(1);
    let me = std::process::id();
    let marked = || children(me).into_iter().filter(|pid| is_marked(*pid, me));
    // One that is about to end has no environment any more.
    let mut commands: Vec<u32> = marked().collect();
    drop(given_up);
    let give_up_at = clock::instant() + WITHIN;
    while clock::instant() < give_up_at {
        commands.extend(marked());
        commands.retain(|pid| host::stat_of(*pid).is_some_and(|stat| !stat.has_ended()));
        if commands.is_empty() {
            return;
        }
        for pid in commands.iter().copied().filter_map(pid_of) {
            // It is gone already, or it may not be killed.
            let _ = kill_process(pid, Signal::KILL);
        }
        tokio::time::sleep(POLL_LAST).await;
    }
}

fn is_marked(pid: u32, me: u32) -> bool {
    let mark = format!("{MARK}={me}");
    std::fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|env| env.split(|b| *b == 0).any(|var| var == mark.as_bytes()))
}
