//! Writing one process's record of one agent.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::fs::{self, AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use super::{Dir, LocalStore, open_agent, open_dir};
use crate::host::{self, Epoch};
use crate::signal::{MAX_RECORD_BYTES, Name};
use crate::{Error, ErrorKind, Result, freshness};

/// World-writable and sticky, as `/tmp`: agents may run as different users.
const DIR_MODE: Mode = Mode::from_raw_mode(0o1777);
/// Readable by everybody: the probe may run as another user than the agent.
const FILE_MODE: Mode = Mode::from_raw_mode(0o644);

/// Where one process publishes one agent.
#[derive(Debug)]
pub struct Publication {
    store: LocalStore,
    agent: Name,
    /// `PID-PIDSTART`.
    stem: String,
    opened: Option<OwnedFd>,
}

impl Publication {
    /// A publication of `agent` by the process `pid`. Touches nothing yet.
    #[must_use]
    pub fn new(store: LocalStore, agent: Name, pid: u32, pid_start: Option<u64>) -> Self {
        let start = pid_start.map_or_else(|| "x".to_owned(), |start| start.to_string());
        Self {
            store,
            agent,
            stem: format!("{pid}-{start}"),
            opened: None,
        }
    }

    /// Writes the record; what was there before is replaced whole.
    ///
    /// # Errors
    /// [`ErrorKind::LocalStore`] when no folder can be written, with the folders that were tried.
    pub fn write(&mut self, record: &[u8]) -> Result<()> {
        if let Some(dir) = &self.opened {
            match self.write_in(dir, record) {
                Ok(()) => return Ok(()),
                // The folder was removed or replaced under us, or its disk is gone: start anew.
                Err(_) => self.opened = None,
            }
        }
        let mut tried = Vec::new();
        for dir in &self.store.dirs {
            let attempt = open_agent_dir(dir, &self.agent)
                .and_then(|fd| self.write_in(&fd, record).map(|()| fd));
            match attempt {
                Ok(fd) => {
                    self.opened = Some(fd);
                    return Ok(());
                }
                Err(e) => tried.push(format!("{}: {}", dir.path.display(), io::Error::from(e))),
            }
        }
        Err(Error::new(
            ErrorKind::LocalStore,
            format!(
                "the signal of agent {} can't be written ({}); make one of these folders writable \
                 or set READY_DIR to one that is",
                self.agent,
                tried.join("; ")
            ),
        ))
    }

    /// Removes the record. What is not there is not an error.
    ///
    /// # Errors
    /// [`ErrorKind::LocalStore`] when it is there and can't be removed.
    pub fn remove(&mut self) -> Result<()> {
        let mut failed = Vec::new();
        for dir in &self.store.dirs {
            let Ok(fd) = open_agent(dir, &self.agent) else {
                continue;
            };
            // A record written before privileges were dropped may stay: it belongs to somebody
            // else now. The one that counts, the newest, is ours.
            let own = fs::unlinkat(&fd, self.own_name(), AtFlags::empty());
            let plain = fs::unlinkat(&fd, self.plain_name(), AtFlags::empty());
            for result in [own, plain] {
                match result {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(e) => failed.push(format!("{}: {}", dir.path.display(), e)),
                }
            }
        }
        if failed.is_empty() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::LocalStore,
            format!(
                "the signal of agent {} can't be removed ({})",
                self.agent,
                failed.join("; ")
            ),
        ))
    }

    /// Removes the records of dead predecessors: same agent, same epoch, dead process. Nothing
    /// else is ever tidied away: another agent's death must stay visible, and in a folder that
    /// containers share a foreign record may belong to the living.
    pub fn remove_dead_predecessors(&self, epoch: &Epoch) {
        let Ok(found) = self.store.read(&self.agent) else {
            return;
        };
        for record in found.believed {
            let Ok(signal) = &record.signal else { continue };
            if freshness::same_epoch(signal, epoch).is_err() {
                continue;
            }
            let dead = match record.process {
                host::Process::Gone | host::Process::Zombie { .. } => true,
                host::Process::Alive { start, .. } => {
                    signal.pid_start.is_some_and(|theirs| theirs != start)
                }
                host::Process::Unreadable => false,
            };
            if dead {
                let mut dead = Self::new(
                    self.store.clone(),
                    self.agent.clone(),
                    record.pid,
                    signal.pid_start,
                );
                // What can't be removed stays, and fails until this agent's folder is mended.
                let _ = dead.remove();
            }
        }
    }

    fn plain_name(&self) -> String {
        format!("{}.json", self.stem)
    }

    fn own_name(&self) -> String {
        format!("{}.{}.json", self.stem, host::my_euid())
    }

    fn write_in(&self, dir: &OwnedFd, record: &[u8]) -> Result<(), Errno> {
        match self.replace(dir, &self.plain_name(), record) {
            // In a sticky folder a process that has dropped its privileges may not replace what it
            // wrote before: it publishes a fresh file, and the newest record counts.
            Err(Errno::PERM | Errno::ACCESS) => self.replace(dir, &self.own_name(), record),
            result => result,
        }
    }

    fn replace(&self, dir: &OwnedFd, name: &str, record: &[u8]) -> Result<(), Errno> {
        match self.write_and_rename(dir, name, record) {
            // A full folder refuses new files and still lets an old one be rewritten.
            Err(e @ (Errno::NOSPC | Errno::DQUOT)) => rewrite(dir, name, record).map_err(|_| e),
            result => result,
        }
    }

    fn write_and_rename(&self, dir: &OwnedFd, name: &str, record: &[u8]) -> Result<(), Errno> {
        let temp = format!(".{}.{}.tmp", self.stem, crate::clock::mono_ms());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let fd = match fs::openat(dir, &temp, flags, FILE_MODE) {
            // Left by a predecessor in the same millisecond of another boot.
            Err(Errno::EXIST) => {
                fs::unlinkat(dir, &temp, AtFlags::empty())?;
                fs::openat(dir, &temp, flags, FILE_MODE)?
            }
            result => result?,
        };
        let written = write_all(&fd, record)
            // The umask may have taken the readers' bits away.
            .and_then(|()| fs::fchmod(&fd, FILE_MODE))
            .and_then(|()| fs::renameat(dir, &temp, dir, name));
        if written.is_err() {
            // Best effort: the error that matters is the first one.
            let _ = fs::unlinkat(dir, &temp, AtFlags::empty());
        }
        written
    }
}

/// Rewrites a record in place with a single write, padded with spaces to the length it had: no
/// reader sees half of it, and nothing new is allocated.
fn rewrite(dir: &OwnedFd, name: &str, record: &[u8]) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let fd = fs::openat(dir, name, flags, Mode::empty())?;
    let old = usize::try_from(fs::fstat(&fd)?.st_size).unwrap_or(0);
    let mut padded = record.to_vec();
    padded.resize(record.len().max(old).min(MAX_RECORD_BYTES), b' ');
    let written = rustix::io::pwrite(&fd, &padded, 0)?;
    if written < padded.len() {
        return Err(Errno::NOSPC);
    }
    fs::ftruncate(&fd, padded.len() as u64)
}

fn write_all(fd: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let n = rustix::io::retry_on_intr(|| rustix::io::write(fd, bytes))?;
        bytes = bytes.get(n..).unwrap_or_default();
    }
    Ok(())
}

fn open_agent_dir(dir: &Dir, agent: &Name) -> Result<OwnedFd, Errno> {
    let parent = make_dir(CWD, &dir.path, dir.chosen)?;
    make_dir(parent, &PathBuf::from(agent.as_str()), false)
}

/// Opens a folder, making it if it is not there. A folder somebody chose is made with its parents.
fn make_dir(parent: impl rustix::fd::AsFd, path: &Path, chosen: bool) -> Result<OwnedFd, Errno> {
    match open_dir(&parent, path, chosen) {
        Err(Errno::NOENT) => {}
        result => return result,
    }
    if chosen
        && let Some(above) = path.parent()
        && let Err(e) = std::fs::create_dir_all(above)
    {
        return Err(Errno::from_io_error(&e).unwrap_or(Errno::IO));
    }
    match fs::mkdirat(&parent, path, DIR_MODE) {
        Ok(()) => {
            let fd = open_dir(&parent, path, chosen)?;
            // The umask may have taken bits away; only the maker may set them.
            fs::fchmod(&fd, DIR_MODE)?;
            Ok(fd)
        }
        Err(Errno::EXIST) => open_dir(&parent, path, chosen),
        Err(e) => Err(e),
    }
}
