//! Does a process match, as `pgrep -f` finds it? A regular expression over whole command lines; never this program, what
//! started it, or what has ended.

use std::collections::HashSet;

use ready_probe::check::process::find;
use ready_probe::outcome::Outcome;
use ready_probe_sdk::host;
use regex_lite::Regex;

const FOUND: &str = "process ";

/// Looks for one.
pub fn ask(pattern: &str) -> Outcome {
    let regex = match Regex::new(pattern) {
        Ok(regex) => regex,
        Err(e) => return Outcome::unknown(format!("no regular expression: {e}")),
    };
    // A kernel thread has no arguments, and would match a pattern that matches nothing.
    let found = find(&ancestors(std::process::id()), |pid, argv| {
        !argv.is_empty() && regex.is_match(&argv.join(" ")) && lives(pid)
    });
    match found {
        Ok(found) => match (found.pids.first(), found.hidden) {
            (Some(pid), _) => Outcome::Pass(format!("{FOUND}{pid}")),
            (None, true) => Outcome::unknown("no process matches, and others can't be looked at"),
            (None, false) => Outcome::fail("no process matches"),
        },
        Err(cause) => Outcome::Unknown(cause),
    }
}

/// The process of such an answer, with its start.
pub fn found(text: &str) -> Option<(u32, u64)> {
    let pid = text.strip_prefix(FOUND)?.parse().ok()?;
    Some((pid, host::stat_of(pid)?.start))
}

fn lives(pid: u32) -> bool {
    host::stat_of(pid).is_some_and(|stat| !stat.has_ended())
}

/// This process and all that started it: a shell of cron's may have the pattern on its command line.
fn ancestors(pid: u32) -> HashSet<u32> {
    let mut ancestors = HashSet::from([pid]);
    let mut next = host::stat_of(pid);
    while let Some(stat) = next {
        // Process 1 may be the service's own: a container's only other program.
        if stat.ppid <= 1 || !ancestors.insert(stat.ppid) {
            break;
        }
        next = host::stat_of(stat.ppid);
    }
    ancestors
}
