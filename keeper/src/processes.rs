//! Does a process match, as `pgrep -f` finds it? A regular expression over whole command lines; never this program, what
//! started it, or what has ended.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};

use ready_probe::outcome::Outcome;
use ready_probe_sdk::host;
use regex_lite::Regex;

/// Of a longer command line, only so much is compared.
const MAX_CMDLINE_BYTES: u64 = 64 * 1024;

/// Looks for one.
pub fn ask(pattern: &str) -> Outcome {
    let regex = match Regex::new(pattern) {
        Ok(regex) => regex,
        Err(e) => return Outcome::unknown(format!("no regular expression: {e}")),
    };
    let pids = match host::pids() {
        Ok(pids) => pids,
        Err(e) => return Outcome::unknown(format!("/proc can't be read: {e}")),
    };
    let myself = std::process::id();
    if !pids.contains(&myself) {
        return Outcome::unknown("/proc does not show the processes of this container");
    }
    let ancestors = ancestors(myself);
    let mut hidden = !pids.contains(&1);
    for pid in pids.into_iter().filter(|pid| !ancestors.contains(pid)) {
        match command_line(pid) {
            Ok(line) if regex.is_match(&line) && lives(pid) => {
                return Outcome::Pass(format!("process {pid}"));
            }
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => hidden = true,
            // It ended while we looked.
            Err(_) => {}
        }
    }
    if hidden {
        return Outcome::unknown("no process matches, and others can't be looked at");
    }
    Outcome::fail("no process matches")
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

/// Its arguments, with blanks between them: empty for a kernel thread.
fn command_line(pid: u32) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(format!("/proc/{pid}/cmdline"))?
        .take(MAX_CMDLINE_BYTES)
        .read_to_end(&mut bytes)?;
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    for byte in &mut bytes {
        if *byte == 0 {
            *byte = b' ';
        }
    }
    // A kernel thread has none, and would match a pattern that matches nothing.
    if bytes.is_empty() {
        return Err(io::Error::from(io::ErrorKind::NotFound));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
