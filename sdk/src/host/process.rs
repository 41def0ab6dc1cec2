//! The life of processes: alive, zombie, gone, or a pid that is used again.

use std::fs;
use std::io;
use std::path::Path;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use super::read_small;

/// A process as `/proc` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// It runs (or sleeps, or is stopped).
    Alive {
        /// Field 22 of `/proc/PID/stat`.
        start: u64,
        /// Its effective user, where readable.
        euid: Option<u32>,
    },
    /// It has ended and waits to be reaped.
    Zombie {
        /// Field 22 of `/proc/PID/stat`.
        start: u64,
    },
    /// There is no such process.
    Gone,
    /// It exists, or may exist, and `/proc` does not show it (hidepid, no `/proc`).
    Unreadable,
}

impl Process {
    /// Looks a process up.
    #[must_use]
    pub fn of(pid: u32) -> Self {
        let dir = Path::new("/proc").join(pid.to_string());
        match read_small(&dir.join("stat")) {
            Ok(stat) => match parse_stat(&stat) {
                Some(stat) if stat.has_ended() => Self::Zombie { start: stat.start },
                Some(Stat { start, .. }) => Self::Alive {
                    start,
                    euid: euid(&dir),
                },
                None => Self::Unreadable,
            },
            Err(e) if vanished(&e) => exists_unseen(pid),
            Err(_) => Self::Unreadable,
        }
    }

    /// Whether the process with that id is alive and started then. One that has ended does not live, also if
    /// nobody has reaped it.
    #[must_use]
    pub fn lives(pid: u32, started: u64) -> bool {
        matches!(Self::of(pid), Self::Alive { start, .. } if start == started)
    }

    /// Looks up a process of the caller's own PID namespace. `/proc` may show another one (if it
    /// was bind-mounted, or after `unshare --pid` without `--mount-proc`): then a living process is
    /// missing there, or its number belongs to another. It is the right one if the caller finds
    /// itself there under its own number.
    #[must_use]
    pub fn in_own_namespace(pid: u32) -> Self {
        let (own_pid, own_start) = myself();
        if own_start.is_none() || Self::of(own_pid).start() != own_start {
            return Self::Unreadable;
        }
        Self::of(pid)
    }

    /// When it started, if that can be read.
    #[must_use]
    pub fn start(self) -> Option<u64> {
        match self {
            Self::Alive { start, .. } | Self::Zombie { start } => Some(start),
            Self::Gone | Self::Unreadable => None,
        }
    }
}

/// The parts of `/proc/PID/stat` that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Field 3: the state's letter.
    pub state: char,
    /// Field 4: the parent's pid, 0 when it is outside of the namespace.
    pub ppid: u32,
    /// Field 20: how many threads it has.
    pub threads: u64,
    /// Field 22: start time in clock ticks since boot.
    pub start: u64,
}

impl Stat {
    /// Whether it has ended and waits to be reaped. A process whose main thread has ended while
    /// others go on also shows as a zombie; `X` and `x` are about to vanish, see proc_pid_stat(5).
    #[must_use]
    pub fn has_ended(&self) -> bool {
        match self.state {
            'X' | 'x' => true,
            'Z' => self.threads <= 1,
            _ => false,
        }
    }
}

/// Parses `/proc/PID/stat`. The command in field 2 may hold spaces and parentheses, so fields are
/// counted from the last `)`, see proc_pid_stat(5).
#[must_use]
pub fn parse_stat(stat: &str) -> Option<Stat> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let ppid = fields.next()?.parse().ok()?;
    // Field 5 is next; field 20 is 15 further, and field 22 the one after the next.
    let threads = fields.nth(15)?.parse().ok()?;
    let start = fields.nth(1)?.parse().ok()?;
    Some(Stat {
        state,
        ppid,
        threads,
        start,
    })
}

/// Reads `/proc/PID/stat` of a process, if it is there and readable.
#[must_use]
pub fn stat_of(pid: u32) -> Option<Stat> {
    parse_stat(&read_small(&Path::new("/proc").join(pid.to_string()).join("stat")).ok()?)
}

/// The ids of the processes that `/proc` shows.
///
/// # Errors
/// When `/proc` can't be listed.
pub fn pids() -> io::Result<Vec<u32>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        // A process may vanish while the directory is read; that is not an error.
        if let Ok(entry) = entry
            && let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
        {
            pids.push(pid);
        }
    }
    Ok(pids)
}

/// The calling process: its id and start time.
#[must_use]
pub fn myself() -> (u32, Option<u64>) {
    let pid = std::process::id();
    let stat = read_small(Path::new("/proc/self/stat")).ok();
    (pid, stat.and_then(|s| parse_stat(&s)).map(|s| s.start))
}

/// With hidepid=2 another user's process has no directory at all; kill(2) still finds it.
fn exists_unseen(pid: u32) -> Process {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Process::Gone;
    };
    match test_kill_process(pid) {
        Err(Errno::SRCH) => Process::Gone,
        _ => Process::Unreadable,
    }
}

/// Reading `/proc/PID/stat` fails with ESRCH if the process ends between open and read.
fn vanished(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(Errno::SRCH.raw_os_error())
}

/// `status` is readable for everybody, whereas the owner of `/proc/PID` is root for a process that
/// dropped its privileges, see proc_pid_status(5).
fn euid(dir: &Path) -> Option<u32> {
    let status = read_small(&dir.join("status")).ok()?;
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    uids.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let stat = "17 (a) b (c)) S 1 17 17 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 339809 1 2 3";
        let parsed = parse_stat(stat).unwrap();
        assert_eq!((parsed.state, parsed.ppid, parsed.start), ('S', 1, 339_809));
        assert_eq!(parsed.threads, 3);
    }

    #[test]
    fn a_process_has_ended_when_its_last_thread_has() {
        for (state, threads, ended) in [
            ('R', 1, false),
            ('D', 4, false),
            ('Z', 1, true),
            ('Z', 0, true),
            ('Z', 2, false),
            ('X', 2, true),
        ] {
            let stat = Stat {
                state,
                ppid: 1,
                threads,
                start: 1,
            };
            assert_eq!(stat.has_ended(), ended, "{state} {threads}");
        }
    }

    #[test]
    fn a_short_stat_is_not_parsed() {
        assert_eq!(parse_stat("17 (a) S 1"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn this_process_is_alive_and_started_when_it_says() {
        let (pid, start) = myself();
        assert_eq!(Process::of(pid).start(), start);
        assert!(matches!(
            Process::of(pid),
            Process::Alive { euid: Some(euid), .. } if euid == super::super::my_euid()
        ));
    }

    #[test]
    fn a_killed_child_is_a_zombie_until_it_is_reaped_and_then_gone() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pid = child.id();
        assert!(matches!(Process::of(pid), Process::Alive { .. }));
        child.kill().unwrap();
        while !matches!(Process::of(pid), Process::Zombie { .. }) {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert_eq!(Process::of(pid), Process::Gone);
    }
}
