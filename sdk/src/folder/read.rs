//! Reading records that anybody may have written.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{self, AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{Folder, MAX_ENTRIES, MAX_LISTED, open_agent, open_dir};
use crate::host::Process;
use crate::signal::{self, DecodeError, MAX_RECORD_BYTES, Name, Signal};

/// A writer that rewrites a record in place needs microseconds; a pause lets it run on a busy host.
const TORN_PAUSE: Duration = Duration::from_millis(1);
/// How often an agent's records are read again: enough for two writers caught in the act, not for a
/// folder of rubbish that would use up the probe's time.
const TORN_READINGS: usize = 4;
/// How often they are looked for again when some of them have vanished meanwhile.
const VANISHED_READINGS: usize = 4;
/// What stands in the name of a file behind the process, if not that process wrote it, but who started it.
pub(super) const STARTER: &str = "run";
/// Names of files come from anybody.
const MAX_SHOWN_CHARS: usize = 200;

/// What the folder holds of one agent.
#[derive(Debug, Default)]
pub struct Found {
    /// One entry a process: its newest believed record.
    pub believed: Vec<Believed>,
    /// Why other files were passed over, for people.
    pub ignored: Vec<String>,
}

/// A record that was written by the process it names, as far as we believe.
#[derive(Debug)]
pub struct Believed {
    /// The record, or why it can't be read.
    pub signal: Result<Signal, DecodeError>,
    /// Its process, looked up after the record was read.
    pub process: Process,
    /// The process id in the file's name.
    pub pid: u32,
}

impl Folder {
    /// The names of all agents that have ever published here, sorted.
    ///
    /// # Errors
    /// When a folder exists and can't be listed, or holds more than is reasonable.
    pub fn agents(&self) -> io::Result<Vec<Name>> {
        let mut names = Vec::new();
        for dir in &self.dirs {
            let entries = match open_dir(CWD, &dir.path, dir.chosen) {
                Ok(fd) => list(&fd).map_err(|e| named(&dir.path, e))?,
                Err(e) if is_absent(e) => continue,
                Err(e) => return Err(named(&dir.path, e)),
            };
            names.extend(entries.iter().filter_map(|entry| Name::new(entry).ok()));
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// What the folder holds of one agent.
    ///
    /// # Errors
    /// When a folder exists and can't be read, or holds more than is reasonable.
    pub fn read(&self, agent: &Name) -> io::Result<Found> {
        let mut torn = TORN_READINGS;
        let mut seen = self.look(agent, &mut torn)?;
        // A successor publishes, and then removes what its predecessor has left: whoever has listed only that
        // finds neither.
        for _ in 0..VANISHED_READINGS {
            if seen.is_whole && !seen.files.is_empty() {
                break;
            }
            let again = self.look(agent, &mut torn)?;
            let is_same = again.names == seen.names;
            seen = again;
            if is_same {
                break;
            }
        }
        let mut found = seen.found;
        for (id, candidates) in seen.files {
            found.choose(agent, id, candidates);
        }
        Ok(found)
    }

    /// Lists the files of one agent, and reads each of them.
    fn look(&self, agent: &Name, torn: &mut usize) -> io::Result<Look> {
        let mut seen = Look::default();
        for dir in &self.dirs {
            let path = dir.path.join(agent.as_str());
            let fd = match open_agent(dir, agent) {
                Ok(fd) => fd,
                Err(e) if is_absent(e) => continue,
                Err(e) => return Err(named(&path, e)),
            };
            for name in list(&fd).map_err(|e| named(&path, e))? {
                let Some(id) = process_of_file(&name) else {
                    continue;
                };
                match read_file(&fd, &name, torn) {
                    Ok(Some(file)) => seen.files.entry(id).or_default().push(file),
                    Ok(None) => seen.is_whole = false,
                    Err(why) => {
                        let shown = format!("{}/{name}: {why}", path.display());
                        seen.found.ignore(&shown);
                    }
                }
                seen.names.push(name);
            }
        }
        Ok(seen)
    }
}

/// What one look at the files of an agent has seen.
struct Look {
    /// Of all files that could be a record's.
    names: Vec<String>,
    files: BTreeMap<ProcessId, Vec<RecordFile>>,
    found: Found,
    /// Each of them was still there, and held something, when it was read.
    is_whole: bool,
}

impl Default for Look {
    fn default() -> Self {
        Self {
            names: Vec::new(),
            files: BTreeMap::new(),
            found: Found::default(),
            is_whole: true,
        }
    }
}

impl Found {
    /// Of the files that name one process, the newest that may be believed; what the process says itself
    /// counts before what its starter says of it.
    fn choose(&mut self, agent: &Name, id: ProcessId, candidates: Vec<RecordFile>) {
        let process = Process::of(id.pid);
        let mut best: Option<((bool, u64, u64), _)> = None;
        for file in candidates {
            if let Err(why) = may_believe(file.owner, id, process) {
                let pid = id.pid;
                self.ignore(&format!("a record of agent {agent}, process {pid}: {why}"));
                continue;
            }
            let signal = file.signal.and_then(|signal| checked(signal, agent, id));
            let (mono_ms, seq) = signal
                .as_ref()
                .map_or((0, 0), |s| (s.mono_ms.unwrap_or(0), s.seq));
            let rank = (!file.by_starter, mono_ms, seq);
            if best.as_ref().is_none_or(|(highest, _)| rank >= *highest) {
                best = Some((rank, signal));
            }
        }
        if let Some((_, signal)) = best {
            self.believed.push(Believed {
                signal,
                process,
                pid: id.pid,
            });
        }
    }

    fn ignore(&mut self, what: &str) {
        self.ignored.push(signal::clean(what, MAX_SHOWN_CHARS));
    }
}

/// A record must match its place: the rule about owners goes by the place.
fn checked(signal: Signal, agent: &Name, id: ProcessId) -> Result<Signal, DecodeError> {
    let wrong = |what| Err(DecodeError::Malformed(what));
    if &signal.agent != agent {
        return wrong(format!(
            "it names agent {}, but lies in the folder of {agent}",
            signal.agent
        ));
    }
    match (signal.pid, signal.pid_start, id.start) {
        (Some(inside), _, _) if inside != id.pid => wrong(format!(
            "it names process {inside}, but its file names {}",
            id.pid
        )),
        (_, Some(inside), Some(outside)) if inside != outside => wrong(format!(
            "it names a process started at {inside}, but its file names one started at {outside}"
        )),
        _ => Ok(signal),
    }
}

/// A record counts if its file belongs to root or to the effective user of its process. If the
/// process has ended or can't be seen, there is only the record to go by.
fn may_believe(owner: u32, id: ProcessId, process: Process) -> Result<(), String> {
    match process {
        // Its process has ended, and its id now belongs to a younger one, whose user proves
        // nothing.
        Process::Alive { start, .. } if id.start.is_some_and(|named| named != start) => Ok(()),
        Process::Alive {
            euid: Some(euid), ..
        } if owner != 0 && owner != euid => Err(format!(
            "ignored, its file belongs to user {owner}, the process to user {euid}"
        )),
        Process::Alive { .. } | Process::Zombie { .. } | Process::Gone | Process::Unreadable => {
            Ok(())
        }
    }
}

/// The process that a file's name names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ProcessId {
    pub(super) pid: u32,
    pub(super) start: Option<u64>,
}

struct RecordFile {
    owner: u32,
    by_starter: bool,
    signal: Result<Signal, DecodeError>,
}

/// A folder that is not there holds no signal; so does a name that is not a folder.
fn is_absent(e: Errno) -> bool {
    matches!(e, Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
}

fn named(path: &Path, e: impl Into<io::Error>) -> io::Error {
    let e = e.into();
    io::Error::new(e.kind(), format!("{}: {e}", path.display()))
}

/// The entries of a folder, without those that start with a dot.
pub(super) fn list(dir: impl AsFd) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    let too_many = |most| {
        io::Error::other(format!(
            "more than {most} entries; remove what does not belong there"
        ))
    };
    for (listed, entry) in Dir::read_from(dir)?.enumerate() {
        if listed == MAX_LISTED {
            return Err(too_many(MAX_LISTED));
        }
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else {
            continue;
        };
        if name.starts_with('.') {
            continue;
        }
        if names.len() == MAX_ENTRIES {
            return Err(too_many(MAX_ENTRIES));
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

/// `PID-PIDSTART.run.json` or `PID-PIDSTART.run.USER.json`.
fn is_by_starter(name: &str) -> bool {
    name.split('.').nth(1) == Some(STARTER)
}

/// `PID-PIDSTART.json`, `PID-PIDSTART.USER.json` or, where the start can't be read, `PID-x.json`.
pub(super) fn process_of_file(name: &str) -> Option<ProcessId> {
    let stem = name.strip_suffix(".json")?;
    let stem = stem.split_once('.').map_or(stem, |(stem, _)| stem);
    let (pid, start) = stem.split_once('-')?;
    Some(ProcessId {
        pid: pid.parse().ok()?,
        start: start.parse().ok(),
    })
}

/// Reads one file; `None` when it vanished meanwhile, or was withdrawn.
fn read_file(dir: &OwnedFd, name: &str, again: &mut usize) -> Result<Option<RecordFile>, String> {
    loop {
        let file = read_once(dir, name)?;
        let torn = file
            .as_ref()
            .is_some_and(|file| matches!(file.signal, Err(DecodeError::Malformed(_))));
        if !torn || *again == 0 {
            return Ok(file);
        }
        *again -= 1;
        std::thread::sleep(TORN_PAUSE);
    }
}

fn read_once(dir: &OwnedFd, name: &str) -> Result<Option<RecordFile>, String> {
    // Without NONBLOCK, opening a FIFO that somebody put here would hang.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let fd = match fs::openat(dir, name, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP) => return Err("ignored, a symbolic link".to_owned()),
        Err(e) => return unreadable(dir, name, e),
    };
    let stat = fs::fstat(&fd).map_err(|e| format!("ignored, {e}"))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err("ignored, not a regular file".to_owned());
    }
    let mut bytes = Vec::with_capacity(1_024);
    File::from(fd)
        .take(MAX_RECORD_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| format!("ignored, {e}"))?;
    // A process that has dropped its privileges empties what it can't remove any more.
    if bytes.is_empty() {
        return Ok(None);
    }
    Ok(Some(RecordFile {
        owner: stat.st_uid,
        by_starter: is_by_starter(name),
        signal: Signal::decode(&bytes),
    }))
}

/// Whether a file holds a record with a TTL: one that is bound to a process stays alive without
/// being written.
pub(super) fn has_ttl(dir: &OwnedFd, name: &str) -> bool {
    match read_once(dir, name) {
        Ok(Some(file)) => file.signal.is_ok_and(|signal| signal.ttl_ms.is_some()),
        Ok(None) | Err(_) => false,
    }
}

/// An unreadable record still shows that its process has published: it must not be passed over as
/// if the agent had never come up.
fn unreadable(dir: &OwnedFd, name: &str, e: Errno) -> Result<Option<RecordFile>, String> {
    match fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
            Ok(Some(RecordFile {
                owner: stat.st_uid,
                by_starter: is_by_starter(name),
                signal: Err(DecodeError::Malformed(format!("unreadable: {e}"))),
            }))
        }
        Ok(_) | Err(_) => Err(format!("ignored, {e}")),
    }
}
