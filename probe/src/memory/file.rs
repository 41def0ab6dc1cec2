//! The file that keeps [`Memory`] from one probe to the next.
//!
//! `DIR/.probe/EPOCH-UID.json`, mode 0600, believed only if the reader owns it, written by rename
//! under a lock, which is waited for as long as the caller says, and rewritten in place if the
//! folder is full. Anybody in the container may write into the folder, so nothing here follows a
//! link.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use ready_probe_sdk::clock;
use ready_probe_sdk::folder::{Folder, rewrite};
use ready_probe_sdk::host::{self, Epoch, Mounts};
use rustix::fd::OwnedFd;
use rustix::fs::{self, AtFlags, Dir, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::{Memory, News};

/// The largest memory is smaller: of hundreds of checks, with thousands of instances.
const MAX_FILE_BYTES: u64 = 512 * 1024;
/// A probe that rewrites the file in place needs microseconds; a pause lets it run on a busy host.
const TORN_PAUSE: Duration = Duration::from_millis(1);
/// How often a file that makes no sense is read again.
const TORN_READINGS: usize = 2;
/// A volume outlives many containers; what they left is removed if it has not been written for so
/// long. A memory in use is written more often, see [`super::REWRITE_MS`].
const STALE: Duration = Duration::from_secs(7 * 24 * 3_600);
/// How long a probe waits for others that write the memory, if nothing depends on its own answer
/// being in it.
pub const SHORT_PATIENCE: Duration = Duration::from_millis(10);
const FILE_MODE: Mode = Mode::from_raw_mode(0o600);

/// Where memory is kept between probes.
#[derive(Debug)]
pub struct Keeper {
    folder: Folder,
    file: String,
}

/// What it held.
#[derive(Debug, Default)]
pub struct Recalled {
    /// What is remembered; empty when there was nothing to believe.
    pub memory: Memory,
    /// Why it can't be believed, if it can't.
    pub problem: Option<String>,
}

impl Keeper {
    /// The memory of this user's probes in this epoch: beside the signals, or in a default folder
    /// where these are on a file system that may hang.
    pub fn new(folder: &Folder, mounts: Option<&Mounts>, epoch: &Epoch) -> Self {
        let is_near = |dir: &Path| mounts.is_none_or(|mounts| mounts.hanging_around(dir).is_none());
        let beside = folder.only(is_near);
        let has_folder = beside.dirs().next().is_some();
        Self {
            folder: if has_folder {
                beside
            } else {
                Folder::default().only(is_near)
            },
            file: format!("{}-{}.json", epoch.file_stem(), host::my_euid()),
        }
    }

    /// Reads the memory: of several folders, the one that was written last. A full folder can't be
    /// written any longer, and would be believed for ever.
    pub fn recall(&self) -> Recalled {
        let mut recalled = Recalled::default();
        let mut found = false;
        for (path, dir) in self.folder.probe_dirs(false) {
            match dir.and_then(|dir| read_whole(&dir, &self.file)) {
                Ok(Some(memory)) if !found || memory.written_ms > recalled.memory.written_ms => {
                    recalled.memory = memory;
                    found = true;
                }
                Ok(_) => {}
                Err(e) if is_absent(&e) => {}
                Err(e) => {
                    recalled.problem = Some(format!("{}/{}: {e}", path.display(), self.file));
                }
            }
        }
        if found {
            recalled.problem = None;
        }
        recalled
    }

    /// Adds what was learned now, to what other probes have learned meanwhile. The lock is waited
    /// for no longer than `patience`. The error says what is wrong with each folder.
    pub fn remember(&self, news: &News<'_>, now_ms: u64, patience: Duration) -> Result<(), String> {
        self.change(patience, |memory| {
            memory.learn(news, now_ms);
        })
    }

    /// Changes the memory as it is now. The lock is waited for no longer than `patience`. The error says what
    /// is wrong with each folder.
    pub fn change<T>(
        &self,
        patience: Duration,
        mut change: impl FnMut(&mut Memory) -> T,
    ) -> Result<T, String> {
        let mut problems = Vec::new();
        for (path, dir) in self.folder.probe_dirs(true) {
            match dir.and_then(|dir| self.change_in(&dir, patience, &mut change)) {
                Ok(changed) => return Ok(changed),
                Err(e) => problems.push(format!("{}: {e}", path.display())),
            }
        }
        if problems.is_empty() {
            return Err("every folder for it is on a file system that may hang".to_owned());
        }
        Err(problems.join("; "))
    }

    fn change_in<T>(
        &self,
        dir: &OwnedFd,
        patience: Duration,
        change: &mut impl FnMut(&mut Memory) -> T,
    ) -> io::Result<T> {
        let stem = self.file.trim_end_matches(".json");
        let _lock = lock(dir, &format!("{stem}.lock"), patience)?;
        let is_new = !matches!(read(dir, &self.file), Ok(Some(_)));
        // From all folders: the last probe may not have been able to write into this one. What
        // can't be believed is replaced.
        let mut memory = self.recall().memory;
        let changed = change(&mut memory);
        replace(dir, &self.file, &format!("{stem}.tmp"), &memory)?;
        if is_new {
            // Best effort: a few hundred bytes more or less decide nothing.
            let _ = remove_stale(dir);
        }
        Ok(changed)
    }
}

/// Not through a link, and not waiting as a FIFO's reader does.
const SAFELY: OFlags = OFlags::NOFOLLOW
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

fn replace(dir: &OwnedFd, name: &str, temp: &str, memory: &Memory) -> io::Result<()> {
    let text = serde_json::to_vec(memory)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | SAFELY;
    let renamed = fs::openat(dir, temp, flags, FILE_MODE)
        .map_err(io::Error::from)
        .and_then(|fd| File::from(fd).write_all(&text))
        .and_then(|()| Ok(fs::renameat(dir, temp, dir, name)?));
    match renamed {
        // A full folder refuses new files, but lets an old one be rewritten: one that was believed,
        // or there would be nothing to add to.
        Err(e) if is_full(&e) => {
            // What did not fit only takes up room.
            let _ = fs::unlinkat(dir, temp, AtFlags::empty());
            if !matches!(read(dir, name), Ok(Some(_))) {
                return Err(e);
            }
            rewrite(
                dir,
                name,
                &text,
                usize::try_from(MAX_FILE_BYTES).unwrap_or(0),
            )
            .map(drop)
            .map_err(|_| e)
        }
        renamed => renamed,
    }
}

fn is_full(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Reads what another probe may just be rewriting in place.
fn read_whole(dir: &OwnedFd, name: &str) -> io::Result<Option<Memory>> {
    for _ in 0..TORN_READINGS {
        match read(dir, name) {
            Err(e) if e.kind() == io::ErrorKind::InvalidData => std::thread::sleep(TORN_PAUSE),
            read => return read,
        }
    }
    read(dir, name)
}

fn read(dir: &OwnedFd, name: &str) -> io::Result<Option<Memory>> {
    let file = match fs::openat(dir, name, OFlags::RDONLY | SAFELY, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let stat = fs::fstat(&file)?;
    if stat.st_uid != host::my_euid() {
        return Err(io::Error::other("it belongs to another user"));
    }
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if !is_file || stat.st_mode & 0o022 != 0 {
        return Err(io::Error::other("others may write it"));
    }
    let mut bytes = Vec::with_capacity(4_096);
    File::from(file)
        .take(MAX_FILE_BYTES)
        .read_to_end(&mut bytes)?;
    match serde_json::from_slice::<Memory>(&bytes) {
        Ok(memory) if memory.is_of_this_version() => Ok(Some(memory)),
        Ok(_) => Err(io::Error::other("it is of another version")),
        Err(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "it is corrupt")),
    }
}

fn is_absent(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Another probe holds the lock for as long as a rename takes.
fn lock(dir: &OwnedFd, name: &str, patience: Duration) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | SAFELY;
    let file = fs::openat(dir, name, flags, FILE_MODE)?;
    let until = clock::instant() + patience;
    loop {
        match fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK) if clock::instant() < until => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(Errno::WOULDBLOCK) => return Err(io::Error::other("another probe holds the lock")),
            Err(e) => return Err(e.into()),
        }
    }
}

/// Removes what our user's probes left in lives of the container long past: only files with our
/// names, only in this very folder.
fn remove_stale(dir: &OwnedFd) -> io::Result<()> {
    let me = host::my_euid();
    let now = clock::wall()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_str().unwrap_or_default();
        let Some((stem, kind @ ("json" | "lock" | "tmp"))) = name.rsplit_once('.') else {
            continue;
        };
        // A lock is never written; it is as old as its memory.
        let memory = format!("{stem}.json");
        let is_locking = kind == "lock" && fs::statat(dir, &memory, AtFlags::empty()).is_ok();
        if is_locking || !stem.ends_with(&format!("-{me}")) {
            continue;
        }
        let stat = fs::statat(dir, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
        let modified = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(0));
        if stat.st_uid == me && now.saturating_sub(modified) > STALE {
            fs::unlinkat(dir, entry.file_name(), AtFlags::empty())?;
        }
    }
    Ok(())
}
