//! What the keeper remembers from one pass to the next: a folder of its own, that nobody else may write.
//!
//! The file is replaced by rename, so that it is whole whenever the keeper is killed.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ready_probe_sdk::host::Epoch;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::machine::{Now, State};

const FILE: &str = "state.json";
const NEW: &str = "state.json.new";
const LOCK: &str = "lock";
const VERSION: u32 = 1;

/// The folder, held against other keepers.
#[derive(Debug)]
pub struct Memory {
    dir: PathBuf,
    /// Released when it is closed.
    _lock: File,
}

/// Why there is none.
#[derive(Debug)]
pub enum NoMemory {
    /// Another keeper holds it.
    Taken,
    /// It can't be used, and what to do.
    Unusable(String),
}

#[derive(Serialize, Deserialize)]
struct Kept {
    version: u32,
    epoch: String,
    services: BTreeMap<String, State>,
}

impl Memory {
    /// Opens it, and makes it if it is not there.
    pub fn open(dir: &Path) -> Result<Self, NoMemory> {
        let at = dir.display();
        let unusable = |e: &dyn std::fmt::Display| NoMemory::Unusable(format!("{at}: {e}"));
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
        let meta = fs::metadata(dir).map_err(|e| unusable(&e))?;
        let me = rustix::process::geteuid().as_raw();
        if meta.uid() != me {
            return Err(unusable(&format!(
                "it belongs to user {}, and this is user {me}: chown {me} {at}",
                meta.uid()
            )));
        }
        if meta.permissions().mode() & 0o022 != 0 {
            return Err(unusable(&format!(
                "others may write it, and so decide what is restarted: chmod 700 {at}"
            )));
        }
        let lock = File::options()
            .create(true)
            .append(true)
            .open(dir.join(LOCK));
        let lock = lock.map_err(|e| {
            unusable(&format!(
                "it can't be written: {e}; --state names another folder"
            ))
        })?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self {
                dir: dir.to_owned(),
                _lock: lock,
            }),
            Err(Errno::WOULDBLOCK) => Err(NoMemory::Taken),
            Err(e) => Err(unusable(&format!("it can't be locked: {e}"))),
        }
    }

    /// Where the output of a service's restart command goes.
    pub fn output_of(&self, service: &str) -> PathBuf {
        self.dir.join(format!("{service}.out"))
    }

    /// What is known of these services. One that is not known is new; a file that can't be understood is an error, since
    /// budgets would be lost with it.
    pub fn recall(&self, names: &[&str], now: Now) -> Result<Vec<State>, String> {
        let path = self.dir.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Ok(names.iter().map(|_| State::new(now)).collect());
            }
            Err(e) => return Err(format!("{}: {e}", path.display())),
        };
        let at = path.display();
        let advice = format!("once it is removed, all restarts so far are forgotten: rm {at}");
        let kept: Kept = serde_json::from_str(&text)
            .map_err(|e| format!("{at}: not what ready-keeper writes: {e}; {advice}"))?;
        if kept.version != VERSION {
            return Err(format!(
                "{at}: written by another version ({}, not {VERSION}); {advice}",
                kept.version
            ));
        }
        let is_same = kept.epoch == epoch();
        let mut services = kept.services;
        let state = |name: &&str| match services.remove(*name) {
            Some(state) if is_same => state,
            Some(state) => state.in_new_epoch(now),
            None => State::new(now),
        };
        Ok(names.iter().map(state).collect())
    }

    /// Keeps it.
    pub fn keep<'a>(
        &self,
        services: impl Iterator<Item = (&'a str, &'a State)>,
    ) -> Result<(), String> {
        let services = services
            .map(|(name, state)| (name.to_owned(), state.clone()))
            .collect();
        let kept = Kept {
            version: VERSION,
            epoch: epoch(),
            services,
        };
        let text = serde_json::to_string(&kept).map_err(|e| e.to_string())?;
        let write = || -> io::Result<()> {
            let mut file = File::create(self.dir.join(NEW))?;
            file.write_all(text.as_bytes())?;
            file.sync_data()?;
            fs::rename(self.dir.join(NEW), self.dir.join(FILE))
        };
        write().map_err(|e| format!("{}: {e}", self.dir.join(FILE).display()))
    }
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

    #[test]
    fn what_is_kept_is_recalled_and_budgets_outlive_the_epoch() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::open(&dir.path().join("state")).unwrap();
        let mut state = State::new(NOW);
        state.attempts = 2;
        state.restarts = vec![7];
        state.phase = crate::machine::Phase::Backoff;
        memory.keep([("a", &state)].into_iter()).unwrap();
        assert_eq!(
            memory.recall(&["b", "a"], NOW).unwrap(),
            [State::new(NOW), state]
        );
        let path = dir.path().join("state").join(FILE);
        let other = fs::read_to_string(&path)
            .unwrap()
            .replace(&epoch(), "another");
        fs::write(&path, other).unwrap();
        let recalled = memory.recall(&["a"], NOW).unwrap();
        assert_eq!(
            recalled,
            [State {
                attempts: 2,
                restarts: vec![7],
                ..State::new(NOW)
            }]
        );
    }

    #[test]
    fn a_folder_of_others_is_refused_and_a_second_keeper_too() {
        let dir = tempfile::tempdir().unwrap();
        let first = Memory::open(dir.path()).unwrap();
        assert!(matches!(Memory::open(dir.path()), Err(NoMemory::Taken)));
        drop(first);
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let Err(NoMemory::Unusable(why)) = Memory::open(dir.path()) else {
            panic!("it was opened")
        };
        assert!(why.contains("chmod 700"), "{why}");
    }

    #[test]
    fn a_file_that_is_cut_off_is_an_error_and_half_a_new_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::open(dir.path()).unwrap();
        memory.keep([("a", &State::new(NOW))].into_iter()).unwrap();
        fs::write(dir.path().join(NEW), "{").unwrap();
        assert!(memory.recall(&["a"], NOW).is_ok());
        fs::write(dir.path().join(FILE), "{\"version\": 1").unwrap();
        let said = memory.recall(&["a"], NOW).unwrap_err();
        assert!(
            said.contains("not what ready-keeper writes") && said.contains("rm "),
            "{said}"
        );
    }
}
