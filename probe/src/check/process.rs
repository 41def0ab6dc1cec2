//! Does a process match? `/proc` is scanned for a part of a command line.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};

use ready_probe_sdk::host::{self, Stat};

use crate::outcome::Outcome;

/// Of a longer command line, only so much is compared.
const MAX_CMDLINE_BYTES: u64 = 64 * 1024;
/// They carry their child's command line in their own.
pub const INIT_WRAPPERS: &[&str] = &[
    "tini",
    "tini-static",
    "docker-init",
    "dumb-init",
    "catatonit",
    "podman-init",
    "pid1",
    "s6-svscan",
    "s6-supervise",
];
const OURSELVES: &str = "ready-probe";

/// Counts the processes whose command line contains `pattern`.
pub fn ask(pattern: &str, min: usize) -> Outcome {
    match matching(pattern) {
        Ok(found) => judge(found.pids.len(), found.hidden, min),
        Err(cause) => Outcome::Unknown(cause),
    }
}

/// The processes whose command line contains `pattern`. The error says why none can be looked at.
pub fn matching(pattern: &str) -> Result<Matching, String> {
    let us = our_name();
    // The shell of a shell-form HEALTHCHECK has the pattern on its command line.
    find(&ancestors(std::process::id()), |pid, argv| {
        matches(argv, &us, pattern) && is_another(pid)
    })
}

/// What a look at all processes has found.
#[derive(Debug, PartialEq, Eq)]
pub struct Matching {
    /// Those that match.
    pub pids: Vec<u32>,
    /// Others can't be looked at.
    pub hidden: bool,
}

/// Looks for processes by their arguments; a kernel thread has none. Those in `left_out` are passed over.
///
/// The error says why no process can be looked at.
pub fn find(
    left_out: &HashSet<u32>,
    matches: impl Fn(u32, &[String]) -> bool,
) -> Result<Matching, String> {
    let (all, mut hidden) = all()?;
    let mut pids = Vec::new();
    for pid in all.into_iter().filter(|pid| !left_out.contains(pid)) {
        match command_line(pid) {
            Ok(argv) if matches(pid, &argv) => pids.push(pid),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => hidden = true,
            // It ended while we looked.
            Err(_) => {}
        }
    }
    Ok(Matching { pids, hidden })
}

/// The processes that `/proc` shows, and whether there are others.
pub fn all() -> Result<(Vec<u32>, bool), String> {
    let all = host::pids().map_err(|e| format!("/proc can't be read: {e}"))?;
    if !all.contains(&std::process::id()) {
        return Err("/proc does not show the processes of this container".to_owned());
    }
    // With hidepid=2, see proc(5), other users' processes are not even listed. Process 1 is there
    // as long as anybody is.
    let hidden = !all.contains(&1);
    Ok((all, hidden))
}

/// What it means that so many match.
pub fn judge(matching: usize, hidden: bool, min: usize) -> Outcome {
    if matching >= min {
        return Outcome::pass();
    }
    if hidden {
        return Outcome::unknown(format!(
            "{matching} of {min} processes match, and others can't be looked at"
        ));
    }
    match (matching, min) {
        (0, 1) => Outcome::fail("no process matches"),
        _ => Outcome::fail(format!("{matching} processes match, {min} needed")),
    }
}

/// Whether these arguments are what the user means: never an init wrapper, which repeats them, nor
/// another probe, which has the pattern on its own command line.
fn matches(argv: &[String], us: &str, pattern: &str) -> bool {
    let Some(program) = argv.first() else {
        // A kernel thread, or a process that is about to end.
        return false;
    };
    let program = base_name(program);
    let is_probe = program == OURSELVES || program == us;
    !INIT_WRAPPERS.contains(&program) && !is_probe && argv.join(" ").contains(pattern)
}

/// What this program is called here: images may rename it.
fn our_name() -> String {
    let first = std::env::args_os().next().unwrap_or_default();
    base_name(&first.to_string_lossy()).to_owned()
}

fn base_name(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

/// Whether a process is this program, which an interpreter may run: by one of these names among its arguments.
pub fn is_called(pid: u32, names: &[&str]) -> bool {
    let is_named = |argument: &String| names.contains(&base_name(argument));
    command_line(pid).is_ok_and(|argv| argv.iter().any(is_named))
}

fn command_line(pid: u32) -> io::Result<Vec<String>> {
    let argv = arguments(&format!("/proc/{pid}/cmdline"))?;
    let has_lost_main_thread =
        || host::stat_of(pid).is_some_and(|stat| stat.state == 'Z' && !stat.has_ended());
    if !argv.is_empty() || !has_lost_main_thread() {
        return Ok(argv);
    }
    // The main thread has lost the memory that holds them; the others still have it.
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let argv = arguments(&format!("{}/cmdline", thread?.path().display()));
        if let Ok(argv) = argv
            && !argv.is_empty()
        {
            return Ok(argv);
        }
    }
    Ok(Vec::new())
}

/// The texts of a file, each of which ends in NUL.
fn arguments(path: &str) -> io::Result<Vec<String>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_CMDLINE_BYTES)
        .read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim_end_matches('\0');
    if text.is_empty() {
        return Ok(Vec::new());
    }
    Ok(text.split('\0').map(str::to_owned).collect())
}

/// Whether it is alive, and no command of our own `exec:` checks, which may hold the pattern.
fn is_another(pid: u32) -> bool {
    let is_alive = host::stat_of(pid).is_some_and(|stat| !stat.has_ended());
    is_alive && !ancestors(pid).contains(&std::process::id())
}

/// A process and its ancestors, process 1 among them where it led to it.
pub fn ancestors(pid: u32) -> HashSet<u32> {
    let mut ancestors = HashSet::from([pid]);
    let mut next = host::stat_of(pid);
    while let Some(Stat { ppid, .. }) = next {
        // The parent of what `docker exec` starts is outside of the namespace: 0.
        if ppid == 0 || !ancestors.insert(ppid) {
            break;
        }
        next = host::stat_of(ppid);
    }
    ancestors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn wrappers_and_probes_never_match() {
        assert!(matches(&argv("python agent.py"), "hc", "agent.py"));
        assert!(matches(&argv("python agent.py"), "hc", "python agent"));
        assert!(!matches(
            &argv("/sbin/docker-init -- python agent.py"),
            "hc",
            "agent.py"
        ));
        assert!(!matches(&argv("tini -- python agent.py"), "hc", "agent.py"));
        assert!(!matches(
            &argv("/ready-probe process:agent.py"),
            "hc",
            "agent.py"
        ));
        assert!(!matches(
            &argv("/bin/hc process:agent.py"),
            "hc",
            "agent.py"
        ));
        assert!(!matches(&[], "hc", ""));
    }

    #[test]
    fn truth_table() {
        assert_eq!(judge(1, false, 1), Outcome::pass());
        assert_eq!(judge(1, true, 1), Outcome::pass());
        assert_eq!(judge(0, false, 1).word(), "fail");
        assert_eq!(judge(1, false, 2).word(), "fail");
        assert_eq!(judge(0, true, 1).word(), "unknown");
        assert_eq!(judge(1, true, 2).word(), "unknown");
    }
}
