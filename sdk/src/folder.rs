//! The folder of signals: `DIR/AGENT/PID-PIDSTART.json` in the container's shared memory.
//!
//! Anybody in the container may write here, so a reader believes nothing it has not checked: it
//! opens regular files only, never through a link, bounded in size and number, and believes a
//! record only when its file belongs to root or to the user of the process that the record names.
//!
//! [`Publication`] writes one process's record of one agent; [`Folder`] reads. Whether a
//! record counts as ready is decided in [`crate::freshness`], not here.

mod read;
mod write;

use std::path::{Path, PathBuf};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

pub use read::{Believed, Found};
pub use write::{Publication, rewrite};

use crate::signal::Name;
use crate::{Error, ErrorKind, Result, trimmed_variable};

/// Where signals go if `READY_DIR` is not set: the first of these that can be written. Readers look
/// in all of them.
pub const DEFAULT_DIRS: [&str; 2] = ["/dev/shm/ready-probe", "/tmp/ready-probe"];
/// The environment variable that replaces [`DEFAULT_DIRS`].
pub const DIR_VARIABLE: &str = "READY_DIR";
/// The folder for the probe's own notes; no agent can have this name.
pub const PROBE_DIR: &str = ".probe";

/// At most this many agents, and records of one agent, are read.
const MAX_ENTRIES: usize = 1_024;
/// At most this many entries of a folder are looked at, hidden ones included.
const MAX_LISTED: usize = 4 * MAX_ENTRIES;

/// The folder of this container's signals.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # ready_probe_sdk::use_dir(dir.path())?;
/// # ready_probe_sdk::mark_agent_ready("translator", ())?;
/// use ready_probe_sdk::clock;
/// use ready_probe_sdk::freshness::{Observed, judge};
/// use ready_probe_sdk::host::Epoch;
/// use ready_probe_sdk::folder::Folder;
///
/// let folder = Folder::from_env()?;
/// # let folder = Folder::at(dir.path())?;
/// let epoch = Epoch::current();
/// for agent in folder.agents()? {
///     for record in folder.read(&agent)?.believed {
///         let now_ms = clock::mono_ms();
///         let observed = Observed { epoch: &epoch, process: record.process, now_ms };
///         match record.signal {
///             Ok(signal) => assert!(judge(&signal, &observed).is_ok()),
///             Err(e) => println!("{agent}, process {}: {e}", record.pid),
///         }
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    dirs: Vec<Dir>,
}

/// One place where signals may be.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Dir {
    path: PathBuf,
    /// Whether a symbolic link is followed: yes in a path that somebody chose, no in a
    /// world-writable one, where anybody could have put a link.
    chosen: bool,
}

impl Default for Folder {
    fn default() -> Self {
        Self {
            dirs: DEFAULT_DIRS
                .iter()
                .map(|path| Dir {
                    path: PathBuf::from(path),
                    chosen: false,
                })
                .collect(),
        }
    }
}

impl Folder {
    /// Signals in one folder, which `READY_DIR` or an option names.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] when the path is not absolute.
    pub fn at(path: &Path) -> Result<Self> {
        if !path.is_absolute() {
            return Err(Error::new(
                ErrorKind::InvalidConfig,
                format!(
                    "the folder for signals must be an absolute path, not {:?}: the probe and the \
                     agent need not have the same working directory",
                    path.display().to_string()
                ),
            ));
        }
        Ok(Self {
            dirs: vec![Dir {
                path: path.to_owned(),
                chosen: true,
            }],
        })
    }

    /// The folder that the environment names: `READY_DIR`, else [`DEFAULT_DIRS`].
    ///
    /// # Errors
    /// As [`Folder::at`].
    pub fn from_env() -> Result<Self> {
        match trimmed_variable::read(DIR_VARIABLE) {
            Some(dir) => Self::at(Path::new(&dir))
                .map_err(|e| trimmed_variable::invalid(DIR_VARIABLE, &e.to_string())),
            None => Ok(Self::default()),
        }
    }

    /// The folders, in the order in which they are tried.
    pub fn dirs(&self) -> impl Iterator<Item = &Path> {
        self.dirs.iter().map(|dir| dir.path.as_path())
    }

    /// The same, in those of its folders that are kept, which may be none.
    #[must_use]
    pub fn only(&self, keep: impl Fn(&Path) -> bool) -> Self {
        let dirs = self.dirs.iter().filter(|dir| keep(&dir.path)).cloned();
        Self {
            dirs: dirs.collect(),
        }
    }

    /// The probe's own folder in each of them, opened by the same rules as an agent's; with `make`
    /// it is made if it is missing.
    pub fn probe_dirs(
        &self,
        make: bool,
    ) -> impl Iterator<Item = (PathBuf, std::io::Result<OwnedFd>)> {
        self.dirs.iter().map(move |dir| {
            let opened = if make {
                write::make_dir_in(dir, PROBE_DIR)
            } else {
                open_dir_in(dir, PROBE_DIR)
            };
            (dir.path.join(PROBE_DIR), opened.map_err(Into::into))
        })
    }
}

/// Opens a folder; `follow` says whether it may be a symbolic link.
fn open_dir(parent: impl AsFd, path: &Path, follow: bool) -> Result<OwnedFd, Errno> {
    let mut flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if !follow {
        flags |= OFlags::NOFOLLOW;
    }
    openat(parent, path, flags, Mode::empty())
}

/// Opens an agent's folder, if there is one.
fn open_agent(dir: &Dir, agent: &Name) -> Result<OwnedFd, Errno> {
    open_dir_in(dir, agent.as_str())
}

fn open_dir_in(dir: &Dir, name: &str) -> Result<OwnedFd, Errno> {
    let parent = open_dir(rustix::fs::CWD, &dir.path, dir.chosen)?;
    open_dir(parent, Path::new(name), false)
}
