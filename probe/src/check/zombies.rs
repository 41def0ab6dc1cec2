//! How many processes have ended and were not reaped? Their parent has to; each takes a process id until it does.

use std::path::Path;

use ready_probe_sdk::host::{self, Process};
use ready_probe_sdk::signal::clean;

use super::file;
use super::process;
use crate::outcome::Outcome;

/// The kernel keeps 15 of a process's name, see proc_pid_comm(5).
const MAX_NAME_CHARS: usize = 15;

/// `zombies:`
pub fn ask(max: Option<u64>) -> Outcome {
    match count() {
        Ok(found) => judge(&found, max, name_of),
        Err(cause) => Outcome::Unknown(cause),
    }
}

/// What a look at all processes has found.
#[derive(Default)]
struct Zombies {
    /// How many each parent has left. Parents are few.
    by_parent: Vec<(u32, u64)>,
    /// Others can't be looked at.
    hidden: bool,
}

impl Zombies {
    fn add(&mut self, parent: u32) {
        match self
            .by_parent
            .iter_mut()
            .find(|(known, _)| *known == parent)
        {
            Some((_, left)) => *left += 1,
            None => self.by_parent.push((parent, 1)),
        }
    }
}

fn count() -> Result<Zombies, String> {
    let (all, hidden) = process::all()?;
    let mut found = Zombies {
        hidden,
        ..Zombies::default()
    };
    for pid in all {
        match host::stat_of(pid) {
            Some(stat) if stat.has_ended() => found.add(stat.ppid),
            Some(_) => {}
            None => found.hidden |= Process::of(pid) == Process::Unreadable,
        }
    }
    Ok(found)
}

fn judge(found: &Zombies, max: Option<u64>, name_of: impl Fn(u32) -> String) -> Outcome {
    let all: u64 = found.by_parent.iter().map(|(_, left)| left).sum();
    // A parent outside of the namespace is process 0.
    let known = found.by_parent.iter().filter(|(parent, _)| *parent > 0);
    let left_by = match known.max_by_key(|(_, left)| *left) {
        Some((parent, left)) => format!(", {left} left by process {parent}{}", name_of(*parent)),
        None => String::new(),
    };
    match max {
        Some(max) if all > max => Outcome::fail(format!("{all} zombies (limit {max}){left_by}")),
        Some(_) | None if found.hidden => Outcome::unknown(format!(
            "{all} zombies, and other processes can't be looked at"
        )),
        Some(_) | None => Outcome::Pass(format!("{all} zombies{left_by}")),
    }
}

/// ` (python)`
fn name_of(pid: u32) -> String {
    let path = format!("/proc/{pid}/comm");
    match file::read_text(Path::new(&path), MAX_NAME_CHARS as u64 + 1) {
        Ok(name) => format!(" ({})", clean(name.trim_end(), MAX_NAME_CHARS)),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth_table() {
        let judge = |by_parent: &[(u32, u64)], hidden, max| {
            let found = Zombies {
                by_parent: by_parent.to_vec(),
                hidden,
            };
            let outcome = judge(&found, max, |pid| format!(" (p{pid})"));
            format!("{} {}", outcome.word(), outcome.text())
        };
        for (by_parent, hidden, max, want) in [
            (&[][..], false, Some(0), "pass 0 zombies"),
            (
                &[(1, 3), (17, 48)],
                false,
                Some(51),
                "pass 51 zombies, 48 left by process 17 (p17)",
            ),
            (
                &[(1, 3), (17, 48)],
                false,
                None,
                "pass 51 zombies, 48 left by process 17 (p17)",
            ),
            (
                &[(1, 3), (17, 48)],
                false,
                Some(50),
                "fail 51 zombies (limit 50), 48 left by process 17 (p17)",
            ),
            (&[(0, 2)], true, Some(1), "fail 2 zombies (limit 1)"),
            (
                &[(0, 2)],
                true,
                Some(2),
                "unknown 2 zombies, and other processes can't be looked at",
            ),
            (
                &[],
                true,
                None,
                "unknown 0 zombies, and other processes can't be looked at",
            ),
        ] {
            assert_eq!(judge(by_parent, hidden, max), want);
        }
    }
}
