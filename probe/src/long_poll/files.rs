//! The files that settings were read from: a held answer must not outlive what they said.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use ready_probe::settings::env::Env;
use ready_probe::settings::{Flags, without_file};
use ready_probe_sdk::trimmed_variable;

/// What tells one content of a file from another: device, inode, size, and when it was changed (`st_ctime`).
type Stamp = Option<(u64, u64, u64, i64, i64)>;

/// The files, as they were before they were read.
#[derive(Debug)]
pub struct Files(Vec<(PathBuf, Stamp)>);

impl Files {
    /// As they are now.
    pub fn now(options: &Flags) -> Self {
        let lookup = trimmed_variable::read;
        let files = without_file::files(options, &Env::new(&lookup)).into_iter();
        Self(
            files
                .map(|(_, path)| (path.clone(), stamp(&path)))
                .collect(),
        )
    }

    /// Whether there are any.
    pub fn are_there(&self) -> bool {
        self.0.iter().any(|(_, stamp)| stamp.is_some())
    }

    /// Whether any of them has changed since, appeared or gone.
    pub fn have_changed(&self) -> bool {
        self.0.iter().any(|(path, before)| stamp(path) != *before)
    }
}

fn stamp(path: &PathBuf) -> Stamp {
    let meta = std::fs::metadata(path).ok()?;
    Some((
        meta.dev(),
        meta.ino(),
        meta.size(),
        meta.ctime(),
        meta.ctime_nsec(),
    ))
}
