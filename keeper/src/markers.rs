//! Whether a person has stopped a service: `NAME.stopped` in a folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::machine::Marker;

/// Where people put them.
pub const FOLDER: &str = "/var/run/manual-stop";

/// That of a service.
pub fn file(folder: &Path, service: &str) -> PathBuf {
    folder.join(format!("{service}.stopped"))
}

/// Looks for it.
pub fn look(folder: &Path, service: &str) -> Marker {
    match fs::symlink_metadata(file(folder, service)) {
        Ok(_) => Marker::Present,
        Err(e) if e.kind() == io::ErrorKind::NotFound => Marker::Absent,
        Err(_) => Marker::Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth_table() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(look(dir.path(), "x"), Marker::Absent);
        assert_eq!(look(&dir.path().join("nowhere"), "x"), Marker::Absent);
        fs::write(dir.path().join("x.stopped"), "").unwrap();
        assert_eq!(look(dir.path(), "x"), Marker::Present);
        assert_eq!(look(dir.path(), "y"), Marker::Absent);
        // A file where the folder should be.
        assert_eq!(look(&dir.path().join("x.stopped"), "x"), Marker::Unreadable);
    }
}
