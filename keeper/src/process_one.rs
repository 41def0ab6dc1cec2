//! Process 1 of this container: whether a TERM ends it, and with it the container; and sending one.

use std::fs;
use std::time::Duration;

use ready_probe::check::process::INIT_WRAPPERS;
use ready_probe::child::descendants::children;
use ready_probe::child::pid_of;
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
        // Not everybody may know.
        let waits_in = fs::read_to_string("/proc/1/wchan").unwrap_or_default();
        judge(&namespace.to_string_lossy(), &status, &waits_in)?;
    }
    test_kill_process(Pid::INIT)
        .map_err(|e| format!("process 1 belongs to another user, who alone may end it: {e}"))
}

/// The kernel drops a signal that the process 1 of a namespace has no handler for, unless it is blocked and fetched: see
/// pid_namespaces(7). An init that waits for signals in sigtimedwait(2), as tini does, has them unblocked for as long, and
/// loses none.
fn judge(namespace: &str, status: &str, waits_in: &str) -> Result<(), String> {
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
    let name = status.lines().find_map(|line| line.strip_prefix("Name:"));
    let is_init = name.is_some_and(|name| INIT_WRAPPERS.contains(&name.trim()));
    if is_init || waits_in.contains("sigtimedwait") || has_term("SigCgt:") || has_term("SigBlk:") {
        return Ok(());
    }
    Err("process 1 has no handler for TERM, and the kernel drops it: docker run --init has one, and so has ready-probe run"
        .to_owned())
}

/// Asks it to end, which it [can](can_be_ended). An init passes that on, and waits for its child: one that was stopped has to go on to hear it.
pub fn end() -> Result<(), String> {
    kill_process(Pid::INIT, Signal::TERM).map_err(|e| format!("process 1 can't be ended: {e}"))?;
    let stopped = children(1);
    for one in std::iter::once(Pid::INIT).chain(stopped.into_iter().filter_map(pid_of)) {
        // It has ended already, or is another user's.
        let _ = kill_process(one, Signal::CONT);
    }
    Ok(())
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
            ("pid:[4026531836]", status(none, term), "0", false),
            ("pid:[4026532198]", status(none, term), "0", true),
            ("pid:[4026532198]", status(term, none), "0", true),
            ("pid:[4026532198]", status(none, none), "0", false),
            (
                "pid:[4026532198]",
                status(none, "fffffffffffbfff"),
                "0",
                false,
            ),
            ("pid:[4026532198]", String::new(), "", false),
            // As tini stands there, whatever it is called, and where nobody may know what it waits for.
            (
                "pid:[4026532198]",
                status(none, none),
                "do_sigtimedwait.isra.0",
                true,
            ),
            (
                "pid:[4026531836]",
                status(none, none),
                "do_sigtimedwait.isra.0",
                false,
            ),
            (
                "pid:[4026532198]",
                status(none, none).replace("\tx", "\tdocker-init"),
                "0",
                true,
            ),
        ];
        for (namespace, status, waits_in, want) in table {
            assert_eq!(
                judge(namespace, &status, waits_in).is_ok(),
                want,
                "{namespace} {status} {waits_in}"
            );
        }
    }
}
