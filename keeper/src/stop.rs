//! Ending a service before it is started anew: a signal, a pause, KILL; by process id and start, so that none is ended that
//! has the number of another.

use std::io::{self, Write};
use std::time::Duration;

use ready_probe::check::file;
use ready_probe::outcome::Outcome;
use ready_probe_sdk::clock;
use ready_probe_sdk::host::Process;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::processes::{Pattern, Running};
use crate::recovery::{Stop, Whose};

/// How long what was killed may take to be gone: the kernel frees its memory.
const AFTER_KILL: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(20);
/// The signals that ask a process to end.
const SIGNALS: [(&str, Signal); 7] = [
    ("TERM", Signal::TERM),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("HUP", Signal::HUP),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("KILL", Signal::KILL),
];

/// The number of a signal by its name, with `SIG` in front or without.
pub fn signal(name: &str) -> Result<i32, String> {
    let bare = name.strip_prefix("SIG").unwrap_or(name);
    let found = SIGNALS.iter().find(|(known, _)| *known == bare);
    let names: Vec<&str> = SIGNALS.iter().map(|(known, _)| *known).collect();
    found
        .map(|(_, signal)| signal.as_raw())
        .ok_or_else(|| format!("it is one of {}", names.join(", ")))
}

/// The name of a signal by its number.
pub fn name_of(number: i32) -> &'static str {
    let found = SIGNALS.iter().find(|(_, signal)| signal.as_raw() == number);
    found.map_or("TERM", |(name, _)| *name)
}

/// Nobody may read it, or its disk may be full: that keeps nothing from being ended.
fn tell(text: &str) {
    let _ = writeln!(io::stdout(), "ready-keeper: {text}");
}

/// Ends the processes. The error says which could not be ended: then nothing may be started beside them.
pub fn run(stop: &Stop) -> Result<(), String> {
    let mut left = found(&stop.of)?;
    let first = Signal::from_named_raw(stop.signal).unwrap_or(Signal::TERM);
    for &one in &left {
        tell(&format!("process {} is asked to end", one.0));
        send(one, first)?;
        // A stopped one can't hear it.
        send(one, Signal::CONT)?;
    }
    wait(&mut left, Duration::from_millis(stop.wait_ms));
    for &one in &left {
        tell(&format!("process {} is killed", one.0));
        send(one, Signal::KILL)?;
    }
    wait(&mut left, AFTER_KILL);
    match left.first() {
        None => Ok(()),
        Some((pid, _)) => Err(format!(
            "process {pid} does not end, even after KILL: nothing is started beside it"
        )),
    }
}

fn found(of: &Whose) -> Result<Vec<(u32, u64)>, String> {
    let running = Running::look()?;
    let found: Vec<(u32, u64)> = match of {
        Whose::Pattern(part) => {
            let matching = running.matching(&Pattern::Part(part.clone()), None);
            if matching.is_empty() && running.are_others_hidden() {
                return Err(
                    "stop: no process matches, and others can't be looked at: nothing is started beside them"
                        .to_owned(),
                );
            }
            matching.iter().map(|one| (one.pid, one.start)).collect()
        }
        Whose::Pidfile(path) => match file::process_of(path) {
            Ok(one) => vec![one],
            Err(Outcome::Unknown(why)) => {
                return Err(format!(
                    "stop: {}: {why}: nothing is started beside it",
                    path.display()
                ));
            }
            Err(Outcome::Fail(_) | Outcome::Pass(_) | Outcome::Blemished(_)) => Vec::new(),
        },
    };
    match found
        .iter()
        .find(|(pid, _)| *pid == 1 || running.started_us(*pid))
    {
        Some((pid, _)) => Err(format!(
            "stop: process {pid} started ready-keeper or is process 1, and is not ended"
        )),
        None => Ok(found),
    }
}

/// Sends it, unless the process has ended.
fn send((pid, start): (u32, u64), signal: Signal) -> Result<(), String> {
    let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Ok(());
    };
    // Once it is held, nobody else can have its number.
    let sent = pidfd_open(number, PidfdFlags::empty()).and_then(|held| {
        if Process::lives(pid, start) {
            pidfd_send_signal(held, signal)
        } else {
            Ok(())
        }
    });
    match sent {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(e) => Err(format!("process {pid} can't be ended: {e}")),
    }
}

/// Waits until all have ended, or time is up. Keeps those that live.
fn wait(left: &mut Vec<(u32, u64)>, limit: Duration) {
    let until = clock::instant() + limit;
    loop {
        left.retain(|&(pid, start)| Process::lives(pid, start));
        if left.is_empty() || clock::instant() >= until {
            return;
        }
        std::thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_known_by_name() {
        assert_eq!(signal("TERM"), signal("SIGTERM"));
        assert_eq!(signal("QUIT"), Ok(3));
        assert_eq!((name_of(3), name_of(9)), ("QUIT", "KILL"));
        assert!(signal("STOP").unwrap_err().contains("TERM, INT"));
    }

    #[test]
    fn what_can_not_be_told_is_not_taken_for_none() {
        let of = |path: &str| found(&Whose::Pidfile(path.into()));
        assert_eq!(of("/nosuch/pid"), Ok(Vec::new()));
        let why = of("/tmp").unwrap_err();
        assert!(why.starts_with("stop: /tmp: "), "{why}");
    }

    #[test]
    fn none_is_ended_that_has_the_number_of_another() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let start = Process::of(child.id()).start().unwrap();
        send((child.id(), start + 1), Signal::KILL).unwrap();
        assert!(child.try_wait().unwrap().is_none());
        send((child.id(), start), Signal::KILL).unwrap();
        assert!(!child.wait().unwrap().success());
    }
}
