//! What a check answered before, in this life of the container: what grace is counted from.
//!
//! Kept in `DIR/.probe/EPOCH-UID.json`, mode 0600, believed only if the reader owns it, written by
//! rename under a lock that is not waited for longer than [`LOCK_MS`]. A file that is missing,
//! foreign or corrupt means: no grace, which is said; nothing else depends on it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ready_probe_sdk::host::{self, Epoch};
use ready_probe_sdk::store::local::{LocalStore, PROBE_DIR};
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::duration::{Grace, millis};
use crate::outcome::Outcome;
use crate::verdict::Tolerance;

/// The version of the file.
const VERSION: u32 = 1;
/// A state of hundreds of checks is smaller.
const MAX_FILE_BYTES: u64 = 256 * 1024;
/// At most this many checks are remembered; those whose answer is oldest are forgotten. Somebody who
/// tries out targets by hand leaves one each.
const MAX_CHECKS: usize = 500;
/// How long the lock is waited for: another probe holds it for as long as a rename takes.
const LOCK_MS: u64 = 10;
/// A volume outlives many containers; what they left is removed after this.
const STALE: Duration = Duration::from_secs(7 * 24 * 3_600);

/// What is remembered of every check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    v: u32,
    checks: BTreeMap<String, Past>,
}

/// What is remembered of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// Whether it has passed in this epoch.
    pub passed: bool,
    /// The last definite answer.
    pub definite: Option<Answered>,
    /// The last answer.
    pub last: Answered,
    /// Since when it answers so: `CLOCK_MONOTONIC` in milliseconds.
    pub since_ms: u64,
}

/// An outcome without its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answered {
    /// Yes.
    Pass,
    /// No.
    Fail,
    /// Nobody knows.
    Unknown,
}

impl From<&Outcome> for Answered {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Pass(_) => Self::Pass,
            Outcome::Fail(_) => Self::Fail,
            Outcome::Unknown(_) => Self::Unknown,
        }
    }
}

impl Memory {
    /// What is remembered of a check.
    pub fn past(&self, key: &str) -> Option<&Past> {
        self.checks.get(key)
    }

    /// Adds what was answered now; says whether that changed anything.
    pub fn learn(&mut self, key: &str, outcome: &Outcome, now_ms: u64) -> bool {
        let next = Past::after(self.past(key), outcome.into(), now_ms);
        self.v = VERSION;
        self.checks.insert(key.to_owned(), next) != Some(next)
    }

    /// Forgets what is beyond [`MAX_CHECKS`], but never what was `asked` now.
    fn forget_oldest(&mut self, asked: &BTreeSet<&str>) {
        while self.checks.len() > MAX_CHECKS {
            let others = self
                .checks
                .iter()
                .filter(|(key, _)| !asked.contains(key.as_str()));
            let Some((oldest, _)) = others.min_by_key(|(_, past)| past.since_ms) else {
                return;
            };
            let oldest = oldest.clone();
            self.checks.remove(&oldest);
        }
    }
}

impl Past {
    /// What is to be remembered once `answer` was given.
    fn after(before: Option<&Self>, answer: Answered, now_ms: u64) -> Self {
        let definite = match answer {
            Answered::Pass | Answered::Fail => Some(answer),
            Answered::Unknown => before.and_then(|past| past.definite),
        };
        Self {
            passed: answer == Answered::Pass || before.is_some_and(|past| past.passed),
            definite,
            last: answer,
            since_ms: match before {
                // A clock that went back belongs to another boot: count from now.
                Some(past) if past.last == answer && past.since_ms <= now_ms => past.since_ms,
                Some(_) | None => now_ms,
            },
        }
    }

    /// How long it has answered as it does now.
    pub fn lasted_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.since_ms)
    }

    /// Whether an `Unknown` is tolerated: the last definite answer was `Pass`, and the grace,
    /// counted from the first `Unknown` after it, is not over.
    pub fn tolerance(&self, grace: Grace, now_ms: u64) -> Tolerance {
        let within = match grace {
            Grace::Forever => true,
            Grace::For(grace) => self.lasted_ms(now_ms) < millis(grace),
        };
        match (self.definite, within) {
            (Some(Answered::Pass), true) => Tolerance::Tolerated,
            (Some(_) | None, _) => Tolerance::Exhausted,
        }
    }
}

/// Where memory is kept between probes.
#[derive(Debug)]
pub struct Keeper {
    dirs: Vec<PathBuf>,
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
            dirs: store.dirs().map(|dir| dir.join(PROBE_DIR)).collect(),
            file: format!("{}-{}.json", epoch.file_stem(), host::my_euid()),
        }
    }

    /// Reads what is remembered.
    pub fn recall(&self) -> Recalled {
        let mut problem = None;
        for dir in &self.dirs {
            match read(&dir.join(&self.file)) {
                Ok(Some(memory)) => {
                    return Recalled {
                        memory,
                        problem: None,
                    };
                }
                Ok(None) => {}
                Err(e) => problem = Some(format!("{}: {e}", dir.join(&self.file).display())),
            }
        }
        Recalled {
            memory: Memory::default(),
            problem,
        }
    }

    /// Adds what these checks answered now. Answers of probes that ran meanwhile are kept.
    pub fn remember<'a>(
        &self,
        answers: &(impl Iterator<Item = (&'a str, &'a Outcome)> + Clone),
        now_ms: u64,
        clock_ms: impl Fn() -> u64,
    ) -> Result<(), String> {
        let mut problem = "no folder".to_owned();
        for dir in &self.dirs {
            match self.remember_in(dir, answers.clone(), now_ms, &clock_ms) {
                Ok(()) => return Ok(()),
                Err(e) => problem = format!("{}: {}", dir.display(), e),
            }
        }
        Err(problem)
    }

    fn remember_in<'a>(
        &self,
        dir: &Path,
        answers: impl Iterator<Item = (&'a str, &'a Outcome)>,
        now_ms: u64,
        clock_ms: impl Fn() -> u64,
    ) -> io::Result<()> {
        make_dir(dir)?;
        let path = dir.join(&self.file);
        let _lock = lock(&path.with_extension("lock"), clock_ms)?;
        let fresh = !path.exists();
        let mut memory = match read(&path) {
            Ok(memory) => memory.unwrap_or_default(),
            // What can't be believed is replaced.
            Err(_) => Memory::default(),
        };
        let mut asked = BTreeSet::new();
        for (key, outcome) in answers {
            memory.learn(key, outcome, now_ms);
            asked.insert(key);
        }
        memory.forget_oldest(&asked);
        let temp = path.with_extension("tmp");
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(nofollow())
            .open(&temp)?;
        file.write_all(&serde_json::to_vec(&memory)?)?;
        std::fs::rename(&temp, &path)?;
        if fresh {
            remove_stale(dir);
        }
        Ok(())
    }
}

fn read(path: &Path) -> io::Result<Option<Memory>> {
    let file = match File::options()
        .read(true)
        .custom_flags(nofollow())
        .open(path)
    {
        Ok(file) => file,
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(e) => return Err(e),
    };
    let metadata = file.metadata()?;
    if metadata.uid() != host::my_euid() {
        return Err(io::Error::other("it belongs to another user"));
    }
    if !metadata.is_file() || metadata.permissions().mode() & 0o022 != 0 {
        return Err(io::Error::other("others may write it"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
    let memory: Memory =
        serde_json::from_slice(&bytes).map_err(|_| io::Error::other("it is corrupt"))?;
    if memory.v != VERSION {
        return Err(io::Error::other("it is of another version"));
    }
    Ok(Some(memory))
}

/// NONBLOCK, so that a FIFO in its place does not hang us.
fn nofollow() -> i32 {
    (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed()
}

/// As the folders of signals: any user of the container may keep a memory here.
fn make_dir(dir: &Path) -> io::Result<()> {
    for folder in [dir.parent(), Some(dir)].into_iter().flatten() {
        match std::fs::DirBuilder::new().mode(0o1777).create(folder) {
            Ok(()) => {
                // The umask may have taken bits away.
                std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o1777))?;
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn lock(path: &Path, clock_ms: impl Fn() -> u64) -> io::Result<File> {
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(nofollow())
        .open(path)?;
    let until_ms = clock_ms() + LOCK_MS;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK) if clock_ms() < until_ms => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(Errno::WOULDBLOCK) => return Err(io::Error::other("another probe holds the lock")),
            Err(e) => return Err(e.into()),
        }
    }
}

/// Removes what our user's probes left in lives of the container long past.
fn remove_stale(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        let is_stale = entry.metadata().is_ok_and(|metadata| {
            metadata.uid() == host::my_euid()
                && metadata
                    .modified()
                    .is_ok_and(|at| at.elapsed().is_ok_and(|age| age > STALE))
        });
        if is_stale {
            // Best effort: a few hundred bytes more or less decide nothing.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests;
