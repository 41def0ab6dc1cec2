//! What the keeper remembers from one pass to the next: a folder of its own, that nobody else may write.
//!
//! The file is replaced by rename, so that it is whole whenever the keeper is killed, and whoever only looks needs no lock.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ready_probe_sdk::clock;
use ready_probe_sdk::host::{self, Epoch};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::account::Account;
use crate::children::Started;
use crate::machine::{Now, State};
use crate::replace_file::replace_file;

const FILE: &str = "state.json";
/// What a dry run remembers: nothing of it counts later.
const DRY_FILE: &str = "dry-run.json";
const HOLDER: &str = "holder.json";
const VERSION: u32 = 1;
/// A pass that takes longer must be stuck.
const STUCK_MS: u64 = 15 * 60_000;
/// What was not looked after for so long is forgotten.
const FORGOTTEN_MS: u64 = 7 * 24 * 3_600_000;

/// The folder, held against other keepers.
#[derive(Debug)]
pub struct Memory {
    dir: PathBuf,
    /// The folder itself, locked until it is closed.
    lock: File,
    keeps: Keeps,
    /// It is a dry run's.
    is_dry: bool,
}

/// Why there is none.
#[derive(Debug)]
pub enum NoMemory {
    /// Another keeper holds it.
    Taken,
    /// It can't be used, and what to do.
    Unusable(String),
}

/// What is known of services.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Kept {
    version: u32,
    epoch: String,
    /// When it was written, by the time of day.
    #[serde(default)]
    pub written_ms: u64,
    /// What becomes of them, by name.
    pub services: BTreeMap<String, State>,
    /// What they have been through.
    #[serde(default)]
    pub accounts: BTreeMap<String, Account>,
    /// Their restart commands that are under way.
    #[serde(default)]
    pub commands: BTreeMap<String, Started>,
    /// Those that did not end when they were killed.
    #[serde(default)]
    pub unended: BTreeMap<String, Started>,
    /// Why nobody knows which containers have the label, if nobody does.
    #[serde(default)]
    pub unlisted: Option<String>,
    /// Services that are not looked after now: they are remembered for a while, in case they come back.
    #[serde(default)]
    pub others: BTreeSet<String>,
}

/// What a keeper is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keeps {
    /// A loop.
    On,
    /// One pass.
    Once,
}

/// Who holds a memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    epoch: String,
    /// Its process.
    pub process: Started,
    /// What it does.
    pub keeps: Keeps,
    /// It only says what it would do.
    #[serde(default)]
    pub is_dry: bool,
    /// Since when, by the monotonic clock.
    since_ms: u64,
}

impl Holder {
    /// Whether a pass takes longer than any does.
    pub fn is_stuck(&self, now_ms: u64) -> bool {
        match self.keeps {
            Keeps::On => false,
            Keeps::Once => now_ms > self.since_ms.saturating_add(STUCK_MS),
        }
    }
}

/// Who wants the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// A keeper.
    ToKeep,
    /// Somebody with an order for the keeper whose folder it is.
    ToOrder,
}

/// Makes sure of a folder that nobody else can write.
pub fn make_folder(dir: &Path, wants: Wants) -> Result<(), String> {
    let at = dir.display();
    let unusable = |e: &dyn std::fmt::Display| format!("{at}: {e}");
    if !dir.is_absolute() {
        return Err(unusable(
            &"--state: an absolute path is needed: cron and a shell have different working directories",
        ));
    }
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|e| {
        unusable(&format!(
            "it can't be made: {e}; --state names another folder"
        ))
    })?;
    let meta = fs::symlink_metadata(dir).map_err(|e| unusable(&e))?;
    if !meta.is_dir() {
        return Err(unusable(
            &"it is no folder of its own; --state names another",
        ));
    }
    let me = rustix::process::geteuid().as_raw();
    if meta.uid() != me {
        let owner = meta.uid();
        let what = match wants {
            Wants::ToKeep => format!("chown {me} {at}"),
            // The keeper that is at work would lose it.
            Wants::ToOrder => format!("run this as user {owner}"),
        };
        return Err(unusable(&format!(
            "it belongs to user {owner}, and this is user {me}: {what}"
        )));
    }
    if meta.permissions().mode() & 0o022 != 0 {
        return Err(unusable(&format!(
            "others may write it, and so decide what is restarted: chmod 700 {at}"
        )));
    }
    Ok(())
}

/// What the keeper knows that is at work, or what the last one knew; none before the first pass. Of a dry run nothing is
/// left when it is over.
pub fn look(dir: &Path, holder: Option<&Holder>) -> Result<Option<Kept>, String> {
    let is_dry = holder.is_some_and(|holder| holder.is_dry);
    read(dir, if is_dry { DRY_FILE } else { FILE })
}

/// A file that can't be understood is an error, since budgets would be lost with it.
fn read(dir: &Path, name: &str) -> Result<Option<Kept>, String> {
    let path = dir.join(name);
    let at = path.display();
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(format!("{at}: {e}")),
    };
    let advice = format!("once it is removed, all restarts so far are forgotten: rm {at}");
    let kept: Kept = serde_json::from_str(&text)
        .map_err(|e| format!("{at}: not what ready-keeper writes: {e}; {advice}"))?;
    if kept.version != VERSION {
        return Err(format!(
            "{at}: written by another version ({}, not {VERSION}); {advice}",
            kept.version
        ));
    }
    Ok(Some(kept))
}

/// The keeper that is at work with a folder. Its lock is not touched, which would be in the way of one that starts.
pub fn holder(dir: &Path) -> Option<Holder> {
    let text = fs::read_to_string(dir.join(HOLDER)).ok()?;
    let holder: Holder = serde_json::from_str(&text).ok()?;
    (holder.epoch == epoch() && holder.process.lives()).then_some(holder)
}

impl Kept {
    /// The services that are looked after.
    pub fn here(&self) -> impl Iterator<Item = (&String, &State)> {
        let services = self.services.iter();
        services.filter(|(name, _)| !self.others.contains(*name))
    }

    /// Forgets services that nobody has looked after for long.
    pub fn forget_old(&mut self, now_ms: u64) {
        self.accounts
            .retain(|_, account| now_ms < account.seen_ms.saturating_add(FORGOTTEN_MS));
        let accounts = &self.accounts;
        self.services.retain(|name, _| accounts.contains_key(name));
    }
}

impl Memory {
    /// Opens it, and makes it if it is not there.
    pub fn open(dir: &Path, keeps: Keeps, is_dry: bool) -> Result<Self, NoMemory> {
        make_folder(dir, Wants::ToKeep).map_err(NoMemory::Unusable)?;
        let at = dir.display();
        let unusable = |e: &dyn std::fmt::Display| NoMemory::Unusable(format!("{at}: {e}"));
        let lock = File::open(dir).map_err(|e| unusable(&e))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(NoMemory::Taken),
            Err(e) => return Err(unusable(&format!("it can't be locked: {e}"))),
        }
        sign(dir, keeps, is_dry).map_err(|e| {
            unusable(&format!(
                "it can't be written: {e}; --state names another folder"
            ))
        })?;
        Ok(Self {
            dir: dir.to_owned(),
            lock,
            keeps,
            is_dry,
        })
    }

    /// From now on it is a dry run's.
    pub fn turn_dry(&mut self) {
        self.is_dry = true;
        // Where it can't be written, nothing can be kept either, and that is said.
        let _ = sign(&self.dir, self.keeps, true);
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What is known, as far as it counts in this life of the container.
    pub fn recall(&self, now: Now) -> Result<Kept, String> {
        let last = read(&self.dir, FILE)?;
        let tried = match self.is_dry {
            true => read(&self.dir, DRY_FILE)?,
            false => None,
        };
        // A dry run goes on where the last one was, unless more is known since.
        let newest = last.into_iter().chain(tried);
        let Some(mut kept) = newest.max_by_key(|kept| kept.written_ms) else {
            return Ok(Kept::default());
        };
        if kept.epoch != epoch() {
            kept.commands.clear();
            kept.unended.clear();
            let services = std::mem::take(&mut kept.services);
            let anew = |(name, state): (String, State)| (name, state.in_new_epoch(now));
            kept.services = services.into_iter().map(anew).collect();
        }
        Ok(kept)
    }

    /// Keeps it.
    pub fn keep(&self, kept: Kept) -> Result<(), String> {
        let kept = Kept {
            version: VERSION,
            epoch: epoch(),
            ..kept
        };
        let text = serde_json::to_string(&kept).map_err(|e| e.to_string())?;
        let name = if self.is_dry { DRY_FILE } else { FILE };
        let write = || -> io::Result<()> {
            let (ours, there) = (self.lock.metadata()?, fs::metadata(&self.dir)?);
            if (ours.dev(), ours.ino()) != (there.dev(), there.ino()) {
                return Err(io::Error::other("its folder was replaced by another"));
            }
            replace(&self.dir, name, &text)?;
            self.lock.sync_all()
        };
        write().map_err(|e| format!("{}: {e}", self.dir.join(name).display()))
    }
}

/// For those who only look.
fn sign(dir: &Path, keeps: Keeps, is_dry: bool) -> io::Result<()> {
    let (pid, start) = host::myself();
    let holder = Holder {
        epoch: epoch(),
        process: Started {
            pid,
            start: start.unwrap_or_default(),
        },
        keeps,
        is_dry,
        since_ms: clock::mono_ms(),
    };
    let text = serde_json::to_string(&holder)?;
    replace(dir, HOLDER, &text)
}

fn replace(dir: &Path, name: &str, text: &str) -> io::Result<()> {
    replace_file(&dir.join(format!("{name}.new")), &dir.join(name), text)
}

/// Where the output of a service's restart command goes.
pub fn output_of(dir: &Path, service: &str) -> PathBuf {
    dir.join(format!("{service}.out"))
}

fn epoch() -> String {
    Epoch::current().file_stem()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now = Now {
        mono_ms: 5_000,
        wall_ms: 1_000_000,
        dice: 0,
    };

    fn open(dir: &Path) -> Result<Memory, NoMemory> {
        Memory::open(dir, Keeps::Once, false)
    }

    fn one(state: &State) -> Kept {
        Kept {
            services: [("a".to_owned(), state.clone())].into(),
            ..Kept::default()
        }
    }

    fn recalled(memory: &Memory) -> BTreeMap<String, State> {
        memory.recall(NOW).unwrap().services
    }

    #[test]
    fn what_is_kept_is_recalled_and_budgets_outlive_the_epoch() {
        let dir = tempfile::tempdir().unwrap();
        let memory = open(&dir.path().join("state")).unwrap();
        let mut state = State::new(NOW);
        state.attempts = 2;
        state.restarts = vec![7];
        state.phase = crate::machine::Phase::Backoff;
        memory.keep(one(&state)).unwrap();
        assert_eq!(recalled(&memory), one(&state).services);
        let path = dir.path().join("state").join(FILE);
        let other = fs::read_to_string(&path)
            .unwrap()
            .replace(&epoch(), "another");
        fs::write(&path, other).unwrap();
        let budget = State {
            attempts: 2,
            restarts: vec![7],
            ..State::new(NOW)
        };
        assert_eq!(recalled(&memory), one(&budget).services);
    }

    #[test]
    fn a_folder_of_others_is_refused_and_a_second_keeper_too() {
        let dir = tempfile::tempdir().unwrap();
        let first = open(dir.path()).unwrap();
        assert!(matches!(open(dir.path()), Err(NoMemory::Taken)));
        // Who looks knows whose it is.
        let holder = holder(dir.path()).unwrap();
        assert_eq!(
            (holder.process.pid, holder.keeps),
            (std::process::id(), Keeps::Once)
        );
        drop(first);
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let Err(NoMemory::Unusable(why)) = open(dir.path()) else {
            panic!("it was opened")
        };
        assert!(why.contains("chmod 700"), "{why}");
    }

    #[test]
    fn a_file_that_is_cut_off_is_an_error_and_half_a_new_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let memory = open(dir.path()).unwrap();
        memory.keep(one(&State::new(NOW))).unwrap();
        fs::write(dir.path().join("state.json.new"), "{").unwrap();
        assert!(memory.recall(NOW).is_ok());
        fs::write(dir.path().join(FILE), "{\"version\": 1").unwrap();
        let said = memory.recall(NOW).unwrap_err();
        assert!(
            said.contains("not what ready-keeper writes") && said.contains("rm "),
            "{said}"
        );
    }

    #[test]
    fn a_dry_run_goes_on_from_what_is_known_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let at = |written_ms: u64, attempts: u32| {
            let state = State {
                attempts,
                ..State::new(NOW)
            };
            Kept {
                written_ms,
                ..one(&state)
            }
        };
        let attempts = |memory: &Memory| recalled(memory)["a"].attempts;
        let real = open(dir.path()).unwrap();
        real.keep(at(10, 1)).unwrap();
        drop(real);
        for (written_ms, begins_with) in [(20, 1), (30, 2)] {
            let dry = Memory::open(dir.path(), Keeps::Once, true).unwrap();
            assert_eq!(attempts(&dry), begins_with);
            dry.keep(at(written_ms, 2)).unwrap();
            let holder = holder(dir.path());
            let known = look(dir.path(), holder.as_ref()).unwrap().unwrap();
            assert_eq!(known.services["a"].attempts, 2);
        }
        let real = open(dir.path()).unwrap();
        assert_eq!(attempts(&real), 1);
        real.keep(at(40, 3)).unwrap();
        drop(real);
        let dry = Memory::open(dir.path(), Keeps::Once, true).unwrap();
        assert_eq!(attempts(&dry), 3);
    }
}
