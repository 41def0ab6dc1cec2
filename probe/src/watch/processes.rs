//! The ends of processes, as pidfd_open(2) tells of them.

use std::collections::BTreeMap;
use std::io;

use ready_probe_sdk::host::Process;
use rustix::event::epoll;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Resource, getrlimit, pidfd_open};

/// At most so many processes have a descriptor; and a quarter of those that we may have, since checks need some.
const MOST: usize = 256;

/// A process that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EndedProcess {
    pid: u32,
    start: u64,
}

impl EndedProcess {
    /// What the names of its records begin with.
    pub(super) fn stem(self) -> String {
        format!("{}-{}.", self.pid, self.start)
    }
}

/// How its end is noticed.
#[derive(Debug)]
enum Followed {
    /// By the queue, as long as the descriptor is open.
    Told {
        _pidfd: OwnedFd,
    },
    LookedAt,
    /// It is news no more.
    HasEnded,
}

#[derive(Debug)]
pub(super) struct Processes {
    /// By id and start.
    followed: BTreeMap<(u32, u64), Followed>,
    most: usize,
    /// Whether `/proc` shows the processes that we may open. Looked up once.
    sees_own: Option<bool>,
    trouble: Option<String>,
}

impl Processes {
    pub(super) fn new() -> Self {
        let may_have = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) / 4;
        Self {
            followed: BTreeMap::new(),
            most: usize::try_from(may_have).map_or(MOST, |may_have| may_have.min(MOST)),
            sees_own: None,
            trouble: None,
        }
    }

    /// Follows these and no others; returns those that have ended, unless that was known.
    pub(super) fn follow(
        &mut self,
        processes: &[(u32, u64)],
        queue: Option<&OwnedFd>,
    ) -> Vec<EndedProcess> {
        self.followed.retain(|id, _| processes.contains(id));
        self.trouble = None;
        let mut ended = Vec::new();
        for &(pid, start) in processes {
            let known = self.followed.remove(&(pid, start));
            let followed = match known {
                Some(followed @ (Followed::Told { .. } | Followed::HasEnded)) => followed,
                // A descriptor may be had by now.
                Some(Followed::LookedAt) | None => {
                    let followed = self.begin(pid, start, queue);
                    if matches!(followed, Followed::HasEnded) {
                        ended.push(EndedProcess { pid, start });
                    }
                    followed
                }
            };
            self.followed.insert((pid, start), followed);
        }
        ended
    }

    /// Those of this id of which the queue tells.
    pub(super) fn ended(&mut self, pid: u64) -> Option<EndedProcess> {
        let pid = u32::try_from(pid).ok()?;
        let mut of_this_id = self.followed.range_mut((pid, 0)..=(pid, u64::MAX));
        let (&(pid, start), followed) =
            of_this_id.find(|(_, followed)| matches!(followed, Followed::Told { .. }))?;
        *followed = Followed::HasEnded;
        Some(EndedProcess { pid, start })
    }

    /// Whether some have to be looked at.
    pub(super) fn are_looked_at(&self) -> bool {
        let mut followed = self.followed.values();
        followed.any(|followed| matches!(followed, Followed::LookedAt))
    }

    /// Looks at these, and returns those that have ended.
    pub(super) fn look(&mut self) -> Vec<EndedProcess> {
        let mut ended = Vec::new();
        for (&(pid, start), followed) in &mut self.followed {
            if matches!(followed, Followed::LookedAt) && has_ended(pid, start) {
                *followed = Followed::HasEnded;
                ended.push(EndedProcess { pid, start });
            }
        }
        ended
    }

    /// Why some have to be looked at.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref().filter(|_| self.are_looked_at())
    }

    fn begin(&mut self, pid: u32, start: u64, queue: Option<&OwnedFd>) -> Followed {
        let descriptor = self.open(pid, queue);
        // After that: it is the process that we have a descriptor of, or its id belongs to another by now.
        if has_ended(pid, start) {
            return Followed::HasEnded;
        }
        match descriptor {
            Ok(_pidfd) => Followed::Told { _pidfd },
            Err(why) => {
                self.trouble.get_or_insert(why);
                Followed::LookedAt
            }
        }
    }

    fn open(&mut self, pid: u32, queue: Option<&OwnedFd>) -> Result<OwnedFd, String> {
        let told = |followed: &&Followed| matches!(followed, Followed::Told { .. });
        if self.followed.values().filter(told).count() >= self.most {
            return Err(format!("they are more than {}", self.most));
        }
        let sees_own = self.sees_own.get_or_insert_with(|| {
            Process::in_own_namespace(std::process::id()) != Process::Unreadable
        });
        if !*sees_own {
            return Err("/proc is not that of this PID namespace".to_owned());
        }
        let opened = || {
            let queue = queue.ok_or(Errno::BADF)?;
            let id = i32::try_from(pid).ok().and_then(Pid::from_raw);
            let descriptor = pidfd_open(id.ok_or(Errno::SRCH)?, PidfdFlags::empty())?;
            let key = epoll::EventData::new_u64(pid.into());
            epoll::add(queue, &descriptor, key, epoll::EventFlags::IN)?;
            Ok(descriptor)
        };
        opened().map_err(|e: Errno| format!("no pidfd: {}", io::Error::from(e)))
    }
}

/// Whether it is certain that it has: who can't be seen may be alive.
fn has_ended(pid: u32, start: u64) -> bool {
    match Process::of(pid) {
        Process::Alive { start: now, .. } => now != start,
        Process::Zombie { .. } | Process::Gone => true,
        Process::Unreadable => false,
    }
}

#[cfg(test)]
impl Processes {
    pub(super) fn limit(&mut self, most: usize) {
        self.most = most;
    }
}
