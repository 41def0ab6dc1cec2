//! Reading records that anybody may have written.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{self, AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{LocalStore, MAX_ENTRIES, open_agent, open_dir};
use crate::host::Process;
use crate::signal::{DecodeError, MAX_RECORD_BYTES, Name, Signal};

/// A writer that rewrites a record in place needs microseconds; this many readings outlast it.
const TORN_RETRIES: usize = 3;

/// What the local store holds of one agent.
#[derive(Debug, Default)]
pub struct Found {
    /// One entry a process: its newest believed record.
    pub believed: Vec<Believed>,
    /// Why other files were passed over, for people.
    pub ignored: Vec<String>,
}

/// A record that is believed to be written by whom it names.
#[derive(Debug)]
pub struct Believed {
    /// The record, or why it is none.
    pub signal: Result<Signal, DecodeError>,
    /// Its process, looked up after the record was read.
    pub process: Process,
    /// The process id in the file's name.
    pub pid: u32,
}

impl LocalStore {
    /// The names of all agents that have ever published here, sorted.
    ///
    /// # Errors
    /// When a folder exists and can't be listed, or holds more than is reasonable.
    pub fn agents(&self) -> io::Result<Vec<Name>> {
        let mut names = Vec::new();
        for dir in &self.dirs {
            let entries = match open_dir(CWD, &dir.path, dir.chosen) {
                Ok(fd) => list(fd)?,
                Err(e) if is_absent(e) => continue,
                Err(e) => return Err(named(&dir.path, e)),
            };
            names.extend(entries.iter().filter_map(|entry| Name::new(entry).ok()));
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// What is there of one agent.
    ///
    /// # Errors
    /// When a folder exists and can't be read, or holds more than is reasonable.
    pub fn read(&self, agent: &Name) -> io::Result<Found> {
        let mut files = BTreeMap::new();
        let mut found = Found::default();
        for dir in &self.dirs {
            let path = dir.path.join(agent.as_str());
            let fd = match open_agent(dir, agent) {
                Ok(fd) => fd,
                Err(e) if is_absent(e) => continue,
                Err(e) => return Err(named(&path, e)),
            };
            let names = list(open_dir(&fd, Path::new("."), false)?)?;
            for name in names {
                let Some(id) = process_of_file(&name) else {
                    continue;
                };
                match read_file(&fd, &name) {
                    Ok(Some(file)) => files.entry(id).or_insert_with(Vec::new).push(file),
                    Ok(None) => {}
                    Err(why) => found
                        .ignored
                        .push(format!("{}/{name}: {why}", path.display())),
                }
            }
        }
        for ((pid, _), candidates) in files {
            found.choose(agent, pid, candidates);
        }
        Ok(found)
    }
}

impl Found {
    /// Of the files that name one process, the newest that may be believed.
    fn choose(&mut self, agent: &Name, pid: u32, candidates: Vec<RecordFile>) {
        let process = Process::of(pid);
        let mut best: Option<(u64, Result<Signal, DecodeError>)> = None;
        for file in candidates {
            if let Err(why) = may_believe(file.owner, process) {
                self.ignored
                    .push(format!("a record of agent {agent}, process {pid}: {why}"));
                continue;
            }
            let signal = file.signal.and_then(|signal| match signal.pid {
                _ if &signal.agent != agent => Err(DecodeError::Malformed(format!(
                    "it names agent {}, its folder {agent}",
                    signal.agent
                ))),
                Some(inside) if inside != pid => Err(DecodeError::Malformed(format!(
                    "it names process {inside}, its file {pid}"
                ))),
                Some(_) | None => Ok(signal),
            });
            let age = signal.as_ref().ok().and_then(|s| s.mono_ms).unwrap_or(0);
            if best.as_ref().is_none_or(|(newest, _)| age >= *newest) {
                best = Some((age, signal));
            }
        }
        if let Some((_, signal)) = best {
            self.believed.push(Believed {
                signal,
                process,
                pid,
            });
        }
    }
}

/// A record counts when its file is owned by root or by the effective user of its process. Of a
/// process that has ended or can't be seen, only the record is left to go by.
fn may_believe(owner: u32, process: Process) -> Result<(), String> {
    match process {
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

struct RecordFile {
    owner: u32,
    signal: Result<Signal, DecodeError>,
}

/// A folder that is not there holds no signal; so does a name that is not a folder.
fn is_absent(e: Errno) -> bool {
    matches!(e, Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
}

fn named(path: &Path, e: Errno) -> io::Error {
    let e = io::Error::from(e);
    io::Error::new(e.kind(), format!("{}: {e}", path.display()))
}

/// The entries of a folder, without those that start with a dot.
fn list(fd: rustix::fd::OwnedFd) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in Dir::new(fd)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else {
            continue;
        };
        if name.starts_with('.') {
            continue;
        }
        if names.len() == MAX_ENTRIES {
            return Err(io::Error::other(format!(
                "more than {MAX_ENTRIES} entries; remove what does not belong there"
            )));
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

/// `PID-PIDSTART.json`, `PID-PIDSTART.USER.json` or, where the start can't be read, `PID-x.json`.
fn process_of_file(name: &str) -> Option<(u32, Option<u64>)> {
    let stem = name.strip_suffix(".json")?;
    let stem = stem.split_once('.').map_or(stem, |(stem, _)| stem);
    let (pid, start) = stem.split_once('-')?;
    Some((pid.parse().ok()?, start.parse().ok()))
}

/// Reads one file; `None` when it vanished meanwhile.
fn read_file(dir: &rustix::fd::OwnedFd, name: &str) -> Result<Option<RecordFile>, String> {
    let mut last = None;
    for _ in 0..TORN_RETRIES {
        let Some(file) = read_once(dir, name)? else {
            return Ok(None);
        };
        let torn = matches!(file.signal, Err(DecodeError::Malformed(_)));
        last = Some(file);
        if !torn {
            break;
        }
        std::thread::yield_now();
    }
    Ok(last)
}

fn read_once(dir: &rustix::fd::OwnedFd, name: &str) -> Result<Option<RecordFile>, String> {
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
    Ok(Some(RecordFile {
        owner: stat.st_uid,
        signal: Signal::decode(&bytes),
    }))
}

/// A record that exists and can't be read still says that its process published: it must not be
/// passed over as if the agent had never come up.
fn unreadable(
    dir: &rustix::fd::OwnedFd,
    name: &str,
    e: Errno,
) -> Result<Option<RecordFile>, String> {
    match fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
            Ok(Some(RecordFile {
                owner: stat.st_uid,
                signal: Err(DecodeError::Malformed(format!("unreadable: {e}"))),
            }))
        }
        Ok(_) | Err(_) => Err(format!("ignored, {e}")),
    }
}
