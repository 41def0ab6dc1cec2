//! What is remembered of alerts: a file in the keeper's own folder, replaced by rename.
//!
//! Losing it costs an alert that is told twice. So it stands in nobody's way: what can't be read is begun anew.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::policy::Desk;
use crate::replace_file::replace_file;

const FILE: &str = "alerts.json";
const NEW: &str = "alerts.json.new";

/// The file.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    kept: Desk,
}

impl Store {
    /// Reads it. The text says why nothing is remembered, if that is not as it should be.
    pub fn open(dir: &Path) -> (Self, Option<String>) {
        let path = dir.join(FILE);
        let (kept, trouble) = match fs::read_to_string(&path) {
            Ok(text) => match serde_json::from_str(&text) {
                Ok(kept) => (kept, None),
                Err(e) => (Desk::default(), Some(e.to_string())),
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound => (Desk::default(), None),
            Err(e) => (Desk::default(), Some(e.to_string())),
        };
        let said = trouble.map(|e| {
            format!(
                "{}: {e}; earlier alerts are forgotten, and may be sent again",
                path.display()
            )
        });
        let dir = dir.to_owned();
        (Self { dir, kept }, said)
    }

    /// What was remembered.
    pub fn desk(&self) -> Desk {
        self.kept.clone()
    }

    /// Keeps it, if it is not what was kept before.
    pub fn keep(&mut self, desk: &Desk) -> Result<(), String> {
        if self.kept == *desk {
            return Ok(());
        }
        let text = serde_json::to_string(desk).map_err(|e| e.to_string())?;
        let path = self.dir.join(FILE);
        // Topics are in it, and whoever knows one can read it: nobody else may.
        replace_file(&self.dir.join(NEW), &path, &text)
            .map_err(|e| format!("{}: {e}; alerts may be sent again", path.display()))?;
        self.kept = desk.clone();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_and_what_is_broken_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, said) = Store::open(dir.path());
        assert_eq!((store.desk(), said), (Desk::default(), None));
        store.keep(&Desk::default()).unwrap();
        assert!(!dir.path().join(FILE).exists(), "there is nothing to keep");
        let desk = super::super::policy::tests::some();
        store.keep(&desk).unwrap();
        assert_eq!(Store::open(dir.path()).0.desk(), desk);
        fs::write(dir.path().join(FILE), "{\"episodes\": 1}").unwrap();
        let (store, said) = Store::open(dir.path());
        assert_eq!(store.desk(), Desk::default());
        assert!(said.unwrap().contains("alerts.json"));
    }
}
