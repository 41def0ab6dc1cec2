//! The file that [`Memory`] is kept in from one probe to the next.
//!
//! `DIR/.probe/EPOCH-UID.json`, mode 0600, believed only if the reader owns it, written by rename
//! under a lock that is not waited for longer than [`LOCK_MS`]. Anybody in the container may write
//! into the folder, so nothing here follows a link.

use std::fs::File;
use std::io::{self, Read, Write};
use std::time::Duration;

use ready_probe_sdk::clock;
use ready_probe_sdk::host::{self, Epoch};
use ready_probe_sdk::store::local::LocalStore;
use rustix::fd::OwnedFd;
use rustix::fs::{self, AtFlags, Dir, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::{Answers, Fleets, Memory};

/// The largest memory is smaller: of hundreds of checks, with thousands of instances.
const MAX_FILE_BYTES: u64 = 512 * 1024;
/// How long the lock is waited for: another probe holds it for as long as a rename takes.
const LOCK_MS: u64 = 10;
/// A volume outlives many containers; what they left is removed when it was not written for so
/// long. A memory that is in use is written more often, see [`super::REWRITE_MS`].
const STALE: Duration = Duration::from_secs(7 * 24 * 3_600);
const FILE_MODE: Mode = Mode::from_raw_mode(0o600);

/// Where memory is kept between probes.
#[derive(Debug)]
pub struct Keeper {
    store: LocalStore,
    file: String,
}

/// What was found there.
#[derive(Debug, Default)]
pub struct Recalled {
    /// What is remembered; empty when there was nothing to believe.
    pub memory: Memory,
    /// Why there was something that can't be believed.
    pub problem: Option<String>,
}

impl Keeper {
    /// The memory of this user's probes in this epoch.
    pub fn new(store: &LocalStore, epoch: &Epoch) -> Self {
        Self {
            store: store.clone(),
            file: format!("{}-{}.json", epoch.file_stem(), host::my_euid()),
        }
    }

    /// Reads what is remembered: of several folders the one that was written last. One that is
    /// full can't be written any longer, and would be believed for ever.
    pub fn recall(&self) -> Recalled {
        let mut recalled = Recalled::default();
        let mut found = false;
        for (path, dir) in self.store.probe_dirs(false) {
            match dir.and_then(|dir| read(&dir, &self.file)) {
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

    /// Adds what these checks answered now, and whom they have seen. Answers of probes that ran meanwhile
    /// are kept.
    pub fn remember(
        &self,
        answers: &Answers<'_>,
        fleets: &Fleets<'_>,
        now_ms: u64,
    ) -> Result<(), String> {
        let mut problem = "no folder".to_owned();
        for (path, dir) in self.store.probe_dirs(true) {
            match dir.and_then(|dir| self.remember_in(&dir, answers, fleets, now_ms)) {
                Ok(()) => return Ok(()),
                Err(e) => problem = format!("{}: {e}", path.display()),
            }
        }
        Err(problem)
    }

    fn remember_in(
        &self,
        dir: &OwnedFd,
        answers: &Answers<'_>,
        fleets: &Fleets<'_>,
        now_ms: u64,
    ) -> io::Result<()> {
        let stem = self.file.trim_end_matches(".json");
        let _lock = lock(dir, &format!("{stem}.lock"))?;
        // What can't be believed is replaced.
        let known = read(dir, &self.file).unwrap_or_default();
        let is_new = known.is_none();
        let mut memory = known.unwrap_or_default();
        memory.add(answers, now_ms);
        memory.add_fleets(fleets, now_ms);
        let temp = format!("{stem}.tmp");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | SAFELY;
        let mut file = File::from(fs::openat(dir, &temp, flags, FILE_MODE)?);
        file.write_all(&serde_json::to_vec(&memory)?)?;
        fs::renameat(dir, &temp, dir, &self.file)?;
        if is_new {
            // Best effort: a few hundred bytes more or less decide nothing.
            let _ = remove_stale(dir);
        }
        Ok(())
    }
}

/// Not through a link, and not waiting as a FIFO's reader does.
const SAFELY: OFlags = OFlags::NOFOLLOW
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

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
        Err(_) => Err(io::Error::other("it is corrupt")),
    }
}

fn is_absent(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn lock(dir: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | SAFELY;
    let file = fs::openat(dir, name, flags, FILE_MODE)?;
    let until_ms = clock::mono_ms() + LOCK_MS;
    loop {
        match fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK) if clock::mono_ms() < until_ms => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(Errno::WOULDBLOCK) => return Err(io::Error::other("another probe holds the lock")),
            Err(e) => return Err(e.into()),
        }
    }
}

/// Removes what our user's probes left in lives of the container long past: files of our names
/// only, in this very folder.
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
