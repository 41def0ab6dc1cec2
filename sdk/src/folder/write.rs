//! Writing one process's record of one agent.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{self, AtFlags, CWD, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::read::{ProcessId, STARTER, has_ttl, list, process_of_file};
use super::{Dir, Folder, open_agent, open_dir};
use crate::host::{self, Epoch};
use crate::kept_descriptor::KeptDescriptor;
use crate::signal::{MAX_RECORD_BYTES, MAX_TTL_MS, Name};
use crate::{Error, ErrorKind, Result, clock, freshness};

/// World-writable and sticky, as `/tmp`: agents may run as different users.
const DIR_MODE: Mode = Mode::from_raw_mode(0o1777);
/// The folders above one that somebody chose.
const PARENT_MODE: Mode = Mode::from_raw_mode(0o755);
/// Readable by everybody: the probe may run as another user than the agent.
const FILE_MODE: Mode = Mode::from_raw_mode(0o644);

/// Where one process publishes one agent.
///
/// Folders are opened anew for every record, by their paths as a reader does: in one that was
/// removed, moved away or mounted over meanwhile, nobody would read the records.
#[derive(Debug)]
pub struct Publication {
    folder: Folder,
    agent: Name,
    /// `PID-PIDSTART`, and who else than that process publishes.
    stem: String,
    /// The record as it was last written under its plain name.
    written: Option<KeptDescriptor<OwnedFd>>,
    /// Until the first record is there: the life in which dead predecessors are looked for.
    succeeds_in: Option<Epoch>,
}

impl Publication {
    /// A publication of `agent` by the process `pid`. Touches nothing yet.
    #[must_use]
    pub fn new(folder: Folder, agent: Name, pid: u32, pid_start: Option<u64>) -> Self {
        let start = pid_start.map_or_else(|| "x".to_owned(), |start| start.to_string());
        Self {
            folder,
            agent,
            stem: format!("{pid}-{start}"),
            written: None,
            succeeds_in: None,
        }
    }

    /// The same, which removes what dead predecessors in this life of the container have left once its own
    /// first record is there: in between, a reader must not find neither.
    #[must_use]
    pub fn succeeding(self, epoch: Epoch) -> Self {
        Self {
            succeeds_in: Some(epoch),
            ..self
        }
    }

    /// The same for whoever has started that process, and speaks in its place. What the process publishes
    /// itself counts before it.
    #[must_use]
    pub fn by_starter(self) -> Self {
        Self {
            stem: format!("{}.{STARTER}", self.stem),
            ..self
        }
    }

    /// The agent it publishes.
    #[must_use]
    pub fn agent(&self) -> &Name {
        &self.agent
    }

    /// Writes the record, replacing the one before as a whole.
    ///
    /// # Errors
    /// [`ErrorKind::Folder`] when no folder can be written, with the folders that were tried.
    pub fn write(&mut self, record: &[u8]) -> Result<()> {
        let written = self.put(record);
        let Some(epoch) = self.succeeds_in.take() else {
            return written;
        };
        self.remove_dead_predecessors(&epoch);
        // What they have left may be what fills the folder.
        written.or_else(|_| self.put(record))
    }

    fn put(&mut self, record: &[u8]) -> Result<()> {
        let mut tried = Vec::new();
        for dir in &self.folder.dirs {
            let attempt = make_dir_in(dir, self.agent.as_str())
                .and_then(KeptDescriptor::new)
                .and_then(|folder| self.write_in(folder.get().ok_or(Errno::BADF)?, record));
            match attempt {
                Ok(Some(plain)) => {
                    self.written = Some(plain);
                    return Ok(());
                }
                Ok(None) => return Ok(()),
                Err(e) => tried.push(format!("{}: {}", dir.path.display(), io::Error::from(e))),
            }
        }
        Err(Error::new(
            ErrorKind::Folder,
            format!(
                "the signal of agent {} can't be written ({}); make one of these folders writable \
                 or set READY_DIR to one that is",
                self.agent,
                tried.join("; ")
            ),
        ))
    }

    /// Removes the record. A missing one is no error.
    ///
    /// # Errors
    /// [`ErrorKind::Folder`] when it is there and can't be removed.
    pub fn remove(&mut self) -> Result<()> {
        let mut failed = Vec::new();
        let mut is_withdrawn = false;
        for dir in &self.folder.dirs {
            let Ok(fd) = open_agent(dir, &self.agent) else {
                continue;
            };
            // The older one first: by itself it would be taken for the present one.
            for name in [self.plain_name(), self.own_name()] {
                match fs::unlinkat(&fd, &name, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(_) if self.withdraw(&fd, &name) => is_withdrawn = true,
                    Err(e) => failed.push(format!(
                        "{}/{}/{name}: {}",
                        dir.path.display(),
                        self.agent,
                        io::Error::from(e)
                    )),
                }
            }
        }
        if is_withdrawn {
            // Who watches the folder is told when a writer closes a file.
            self.written = None;
        }
        if failed.is_empty() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Folder,
            format!(
                "the signal of agent {} can't be removed ({}); remove it, or it will say that its \
                 process is gone",
                self.agent,
                failed.join("; ")
            ),
        ))
    }

    /// Removes the records of dead predecessors: same agent, same epoch, dead process; and those of
    /// this agent that expired long ago, which a volume would keep for ever. Nothing else is ever
    /// tidied away: another agent's death must stay visible, and in a folder that containers share
    /// a foreign record may belong to the living.
    pub fn remove_dead_predecessors(&self, epoch: &Epoch) {
        self.remove_long_expired();
        // Without it, this container's processes can't be told from another's.
        if epoch.pid_ns.is_none() {
            return;
        }
        let Ok(found) = self.folder.read(&self.agent) else {
            return;
        };
        let own = process_of_file(&self.plain_name());
        for record in found.believed {
            let Ok(signal) = &record.signal else { continue };
            let process = ProcessId {
                pid: record.pid,
                start: signal.pid_start,
            };
            // That its own process has ended meanwhile must stay visible.
            if own == Some(process) {
                continue;
            }
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
                self.remove_files(process);
            }
        }
    }

    /// A beat rewrites its file, and no TTL is longer than an hour: a record with a TTL that has
    /// not been written for longer is dead in every life of every container.
    fn remove_long_expired(&self) {
        let long = Duration::from_millis(MAX_TTL_MS);
        for dir in &self.folder.dirs {
            let Ok(fd) = open_agent(dir, &self.agent) else {
                continue;
            };
            for name in list(&fd).unwrap_or_default() {
                let is_dead = last_written(&fd, &name).is_some_and(|age| age > long)
                    && process_of_file(&name).is_some()
                    && has_ttl(&fd, &name);
                if is_dead {
                    // Somebody else's file stays, and stays expired.
                    let _ = fs::unlinkat(&fd, &name, AtFlags::empty());
                }
            }
        }
    }

    /// Removes whatever a dead process published, under any user. A record that can't be removed
    /// stays, and fails until somebody who may removes it.
    fn remove_files(&self, dead: ProcessId) {
        for dir in &self.folder.dirs {
            let Ok(fd) = open_agent(dir, &self.agent) else {
                continue;
            };
            for name in list(&fd).unwrap_or_default() {
                if process_of_file(&name) == Some(dead) {
                    let _ = fs::unlinkat(&fd, &name, AtFlags::empty());
                }
            }
        }
    }

    fn plain_name(&self) -> String {
        format!("{}.json", self.stem)
    }

    fn own_name(&self) -> String {
        format!("{}.{}.json", self.stem, host::my_euid())
    }

    /// Empties a record of ours that we may not remove any more, having dropped the privileges it
    /// was written with: as it is, it would fail as soon as this process ends. To readers, an empty
    /// record is none.
    fn withdraw(&self, dir: &OwnedFd, name: &str) -> bool {
        let Ok(there) = fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) else {
            return false;
        };
        let is_ours = |written: &OwnedFd| {
            let ours = fs::fstat(written);
            ours.is_ok_and(|ours| (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino))
        };
        match self.written.as_ref().and_then(KeptDescriptor::get) {
            Some(written) => is_ours(written) && fs::ftruncate(written, 0).is_ok(),
            // It was withdrawn before.
            None => there.st_size == 0,
        }
    }

    /// Writes the record; the file is returned when it has the plain name.
    fn write_in(
        &self,
        dir: &OwnedFd,
        record: &[u8],
    ) -> Result<Option<KeptDescriptor<OwnedFd>>, Errno> {
        match self.replace(dir, &self.plain_name(), record) {
            Ok(file) => Ok(Some(file)),
            // In a sticky folder, a process that has dropped its privileges may not replace its
            // earlier record: it publishes a fresh file, and the newest record counts.
            Err(Errno::PERM | Errno::ACCESS) => {
                self.replace(dir, &self.own_name(), record).map(|_| None)
            }
            Err(e) => Err(e),
        }
    }

    fn replace(
        &self,
        dir: &OwnedFd,
        name: &str,
        record: &[u8],
    ) -> Result<KeptDescriptor<OwnedFd>, Errno> {
        match self.write_and_rename(dir, name, record) {
            // A full folder refuses new files, but lets an old one be rewritten.
            Err(e @ (Errno::NOSPC | Errno::DQUOT)) => {
                let rewritten =
                    rewrite(dir, name, record, MAX_RECORD_BYTES).and_then(KeptDescriptor::new);
                rewritten.map_err(|_| e)
            }
            result => result,
        }
    }

    fn write_and_rename(
        &self,
        dir: &OwnedFd,
        name: &str,
        record: &[u8],
    ) -> Result<KeptDescriptor<OwnedFd>, Errno> {
        let temp = temp_name(&self.stem);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let fd = match fs::openat(dir, &temp, flags, FILE_MODE) {
            // Left by a predecessor in the same millisecond of another boot.
            Err(Errno::EXIST) => {
                fs::unlinkat(dir, &temp, AtFlags::empty())?;
                fs::openat(dir, &temp, flags, FILE_MODE)?
            }
            result => result?,
        };
        let file = KeptDescriptor::new(fd)?;
        let fd = file.get().ok_or(Errno::BADF)?;
        let written = write_all(fd, record)
            // The umask may have taken the readers' bits away.
            .and_then(|()| fs::fchmod(fd, FILE_MODE))
            .and_then(|()| fs::renameat(dir, &temp, dir, name));
        if written.is_err() {
            // Best effort: the error that matters is the first one.
            let _ = fs::unlinkat(dir, &temp, AtFlags::empty());
        }
        written.map(|()| file)
    }
}

/// A name that readers pass over and no other thread or process uses at the same time.
fn temp_name(stem: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!(".{stem}.{}-{count}.tmp", clock::mono_ms())
}

/// Rewrites a JSON text in place with a single write, padded with spaces to its former length, but
/// to `max` bytes at most. So nothing is allocated, and no reader sees the end of the old text
/// after the new one: even a full file system allows that.
///
/// # Errors
/// When there is no such file, it may not be written, or there is no room for what it lacks.
pub fn rewrite(dir: impl AsFd, name: &str, text: &[u8], max: usize) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let fd = fs::openat(&dir, name, flags, Mode::empty())?;
    let old = usize::try_from(fs::fstat(&fd)?.st_size).unwrap_or(0);
    let mut padded = text.to_vec();
    padded.resize(text.len().max(old.min(max)), b' ');
    let written = rustix::io::pwrite(&fd, &padded, 0)?;
    if written < padded.len() {
        return Err(Errno::NOSPC);
    }
    fs::ftruncate(&fd, padded.len() as u64)?;
    // Who watches the folder is told when a writer closes a file, not of each write to one that has no name yet.
    drop(fs::openat(dir, name, flags, Mode::empty()));
    Ok(fd)
}

fn write_all(fd: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let n = rustix::io::retry_on_intr(|| rustix::io::write(fd, bytes))?;
        bytes = bytes.get(n..).unwrap_or_default();
    }
    Ok(())
}

pub(super) fn make_dir_in(dir: &Dir, name: &str) -> Result<OwnedFd, Errno> {
    let parent = make_dir(CWD, &dir.path, dir.chosen)?;
    make_dir(parent, Path::new(name), false)
}

/// Opens a folder, making it if it is not there. A folder somebody chose is made with its parents.
fn make_dir(parent: impl AsFd, path: &Path, chosen: bool) -> Result<OwnedFd, Errno> {
    match open_dir(&parent, path, chosen) {
        Err(Errno::NOENT) => {}
        result => return result,
    }
    if chosen {
        make_parents(path)?;
    }
    // The umask takes bits away that are set only afterwards: an agent of another user that starts
    // at the same moment must not find a folder that it may not use. So the folder is made
    // elsewhere and moved there.
    let temp = path.with_file_name(temp_name(&std::process::id().to_string()));
    fs::mkdirat(&parent, &temp, DIR_MODE)?;
    let made = open_dir(&parent, &temp, false).and_then(|fd| {
        fs::fchmod(&fd, DIR_MODE)?;
        fs::renameat_with(&parent, &temp, &parent, path, RenameFlags::NOREPLACE)?;
        Ok(fd)
    });
    match made {
        Ok(fd) => return Ok(fd),
        Err(_) => fs::unlinkat(&parent, &temp, AtFlags::REMOVEDIR)?,
    }
    // Somebody was faster, or this file system knows no such rename, see rename(2).
    match fs::mkdirat(&parent, path, DIR_MODE) {
        Ok(()) => {
            let fd = open_dir(&parent, path, chosen)?;
            fs::fchmod(&fd, DIR_MODE)?;
            Ok(fd)
        }
        Err(Errno::EXIST) => open_dir(&parent, path, chosen),
        Err(e) => Err(e),
    }
}

/// Makes the folders above `path`, passable for the probe whatever the umask.
fn make_parents(path: &Path) -> Result<(), Errno> {
    let Some(above) = path.parent() else {
        return Ok(());
    };
    let mut made = fs::mkdir(above, PARENT_MODE);
    if made == Err(Errno::NOENT) {
        make_parents(above)?;
        made = fs::mkdir(above, PARENT_MODE);
    }
    match made {
        Ok(()) => fs::chmod(above, PARENT_MODE),
        // A folder that can't be made may be there all the same, as on a read-only file system.
        Err(_) => Ok(()),
    }
}

/// How long ago a regular file was written.
fn last_written(dir: &OwnedFd, name: &str) -> Option<Duration> {
    let stat = fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return None;
    }
    let written = Duration::from_secs(u64::try_from(stat.st_mtime).ok()?);
    let now = clock::wall().duration_since(UNIX_EPOCH).ok()?;
    now.checked_sub(written)
}
