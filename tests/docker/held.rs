//! Health checks that are held, seen from the host: the engine only knows that they have not ended.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use ready_probe_test_support::{
    docker::Container,
    process::{Signal, wait_until},
};
use rustix::process::{Pid, kill_process};

use crate::fixture::LIMIT;

/// Who does nothing for so long is held: no round of questions takes a tenth of it.
const QUIET: Duration = Duration::from_secs(1);

const POLL: Duration = Duration::from_millis(20);

/// Waits until a run with `--long-poll` is held in a container.
#[track_caller]
pub fn wait_held(container: &Container) -> Process {
    let space = pid_space(container);
    let mut since: Option<(Stat, Instant)> = None;
    wait_until(LIMIT, "a health check to be held", || {
        thread::sleep(POLL);
        let polls = pids_in(&space).into_iter().filter(|pid| is_long_poll(*pid));
        let now = polls.filter_map(stat).find(|stat| stat.state == 'S');
        match (now, &since) {
            (Some(now), Some((before, at))) if now == *before => {
                (at.elapsed() >= QUIET).then_some(now.process)
            }
            (now, _) => {
                since = now.map(|now| (now, Instant::now()));
                None
            }
        }
    })
}

/// All that run in a container now.
#[track_caller]
pub fn processes_of(container: &Container) -> Vec<Process> {
    let pids = pids_in(&pid_space(container)).into_iter();
    pids.filter_map(|pid| Some(stat(pid)?.process)).collect()
}

/// A process of a container, until its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    pid: u32,
    /// In ticks since the boot: nobody else with this pid has it.
    started: u64,
}

impl Process {
    /// Whether it has not ended.
    pub fn lives(self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.process == self && stat.state != 'Z')
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn signal(self, signal: Signal) {
        assert!(self.lives(), "{self:?} has ended");
        let pid = Pid::from_raw(i32::try_from(self.pid).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits until it stands still, after [`Signal::STOP`].
    #[track_caller]
    pub fn wait_stopped(self) {
        wait_until(LIMIT, "it to be stopped", || {
            (stat(self.pid)?.state == 'T').then_some(())
        });
    }
}

/// What tells the processes of a container from all others of the host, while it runs.
#[track_caller]
fn pid_space(container: &Container) -> PathBuf {
    fs::read_link(format!("/proc/{}/ns/pid", container.host_pid())).unwrap()
}

fn pids_in(space: &Path) -> Vec<u32> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|its| its == space))
        .collect()
}

fn is_long_poll(pid: u32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline"))
        .is_ok_and(|line| line.starts_with(b"/ready-probe\0--long-poll\0"))
}

/// What `/proc/PID/stat` says, as far as it is asked for here.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stat {
    process: Process,
    state: char,
    cpu_ticks: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything. proc_pid_stat(5) counts from 1, and the state is the third.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let number = |nth: usize| fields.get(nth - 3)?.parse::<u64>().ok();
    Some(Stat {
        process: Process {
            pid,
            started: number(22)?,
        },
        state: fields.first()?.chars().next()?,
        cpu_ticks: number(14)? + number(15)?,
    })
}
