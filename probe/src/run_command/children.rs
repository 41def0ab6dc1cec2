//! The processes beneath this one: reaping those that end, and ending those that are left over.

use std::time::Duration;

use ready_probe::child::descendants::{children, has_ended};
use ready_probe::child::pid_of;
use ready_probe_sdk::clock;
use rustix::process::{Signal, WaitOptions, kill_process, wait, waitpid};

use super::end::End;

/// How long what is left over may take to end, before it is killed, and then.
const TERM_MS: u64 = 2_000;
const KILL_MS: u64 = 500;
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Those children of this process that it has started, or that came to it.
#[derive(Debug)]
pub struct ProcessesBeneath {
    /// What a shell has started before it became this program.
    before: Vec<u32>,
}

impl ProcessesBeneath {
    /// To be made before the first one is started.
    pub fn begin() -> Self {
        Self {
            before: children(std::process::id()),
        }
    }

    /// Reaps what has ended, and says how `wanted` have ended. While others wait for children of theirs,
    /// only those are reaped.
    pub fn reap(&self, wanted: &[u32], only_wanted: bool) -> Vec<(u32, End)> {
        let mut ended = Vec::new();
        let mut note = |pid: u32, status| {
            if let Some(end) = End::of(status).filter(|_| wanted.contains(&pid)) {
                ended.push((pid, end));
            }
        };
        if only_wanted {
            for pid in wanted.iter().copied() {
                if let Some(number) = pid_of(pid)
                    && let Ok(Some((_, status))) = waitpid(Some(number), WaitOptions::NOHANG)
                {
                    note(pid, status);
                }
            }
        } else {
            while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
                note(
                    u32::try_from(pid.as_raw_nonzero().get()).unwrap_or(0),
                    status,
                );
            }
        }
        ended
    }

    /// Ends those that are left over: they have two seconds, then they are killed. Returns how many there
    /// were, and how many may not be ended.
    pub async fn end_left_over(&self) -> (usize, usize) {
        let mut told: Vec<u32> = Vec::new();
        let mut refused = 0;
        let began_ms = clock::mono_ms();
        loop {
            self.reap(&[], false);
            let left = self.left();
            let passed_ms = clock::mono_ms().saturating_sub(began_ms);
            if left.is_empty() || passed_ms > TERM_MS + KILL_MS {
                return (told.len(), refused);
            }
            for pid in left.iter().copied() {
                let Some(number) = pid_of(pid) else { continue };
                let is_new = !told.contains(&pid);
                if is_new {
                    told.push(pid);
                }
                let sent = if passed_ms >= TERM_MS {
                    kill_process(number, Signal::KILL)
                } else if is_new {
                    kill_process(number, Signal::TERM)
                } else {
                    Ok(())
                };
                if sent == Err(rustix::io::Errno::PERM) && is_new {
                    refused += 1;
                }
            }
            if refused == left.len() {
                return (told.len(), refused);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Whose parents end comes to us, so that each look finds more.
    fn left(&self) -> Vec<u32> {
        let mut left = children(std::process::id());
        left.retain(|pid| !self.before.contains(pid) && !has_ended(*pid));
        left
    }
}
