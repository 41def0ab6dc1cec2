//! Process 1 of this container: whether a TERM ends it, and with it the container; and sending one.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// The first PID namespace, that of the machine: `PROC_PID_INIT_INO` in the kernel's proc_ns.h.
const OF_THE_MACHINE: &str = "pid:[4026531836]";
const TERM_BIT: u64 = 1 << 14;
/// A shell that is process 1 blocks all signals for a moment while it starts a program, such as this one.
const LOOKS: u32 = 6;
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Why process 1 must not, or can't, be ended.
pub fn can_be_ended() -> Result<(), String> {
    let namespace = fs::read_link("/proc/self/ns/pid");
    let namespace = namespace.map_err(|e| format!("/proc/self/ns/pid: {e}"))?;
    for look in 0..LOOKS {
        if look > 0 {
            std::thread::sleep(BETWEEN_LOOKS);
        }
        let status = fs::read_to_string("/proc/1/status");
        let status = status.map_err(|e| format!("/proc/1/status: {e}"))?;
        judge(&namespace.to_string_lossy(), &status)?;
    }
    test_kill_process(Pid::INIT)
        .map_err(|e| format!("process 1 belongs to another user, who alone may end it: {e}"))
}

/// The kernel drops a signal that the process 1 of a namespace has no handler for, unless it is blocked and fetched: see
/// pid_namespaces(7).
fn judge(namespace: &str, status: &str) -> Result<(), String> {
    if namespace == OF_THE_MACHINE {
        return Err(
            "here process 1 is the whole machine's: only a container can be ended".to_owned(),
        );
    }
    let has_term = |name: &str| {
        let mask = status.lines().find_map(|line| line.strip_prefix(name));
        let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        mask.is_some_and(|mask| mask & TERM_BIT != 0)
    };
    if has_term("SigCgt:") || has_term("SigBlk:") {
        return Ok(());
    }
    Err("process 1 has no handler for TERM, and the kernel drops it: docker run --init has one, and so has ready-probe run"
        .to_owned())
}

/// Asks it to end.
pub fn end() -> Result<(), String> {
    can_be_ended()?;
    kill_process(Pid::INIT, Signal::TERM).map_err(|e| format!("process 1 can't be ended: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth_table() {
        let status = |blocked: &str, caught: &str| {
            format!("Name:\tx\nSigBlk:\t{blocked}\nSigIgn:\t0000000000004000\nSigCgt:\t{caught}\n")
        };
        let (none, term) = ("0000000000000000", "0000000000004000");
        let table = [
            ("pid:[4026531836]", status(none, term), false),
            ("pid:[4026532198]", status(none, term), true),
            ("pid:[4026532198]", status(term, none), true),
            ("pid:[4026532198]", status(none, none), false),
            ("pid:[4026532198]", status(none, "fffffffffffbfff"), false),
            ("pid:[4026532198]", String::new(), false),
        ];
        for (namespace, status, want) in table {
            assert_eq!(
                judge(namespace, &status).is_ok(),
                want,
                "{namespace} {status}"
            );
        }
    }
}
