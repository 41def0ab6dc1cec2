//! `ready-probe install DIR`: copies this program to where other containers find it.
//!
//! The copy is written beside its place and then renamed, so nobody ever runs half of it, and a copy that is
//! running does not stop the next one. What a killed install has left is used up by the next one.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ready_probe_sdk::host;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::cli;
use crate::exit::Exit;
use crate::start::Start;
use ready_probe::settings::{Flags, Invalid, Origin};
use ready_probe::time_limit;

/// The name of the copy, whatever this program is called.
const NAME: &str = "ready-probe";
/// Everybody may run it.
const MODE: u32 = 0o755;
/// This program's file, whatever has become of its path; see proc(5).
const MYSELF: &str = "/proc/self/exe";
/// How long it may take where `--timeout` does not say so: a volume may be slow, but nobody waits for ever.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
/// How many installs into one folder can be under way at once.
const MAX_UNFINISHED: usize = 64;

/// Runs the command. It reads no settings: they are about checks, and may not be there yet.
pub fn run(args: &cli::Install, options: &Flags, start: &Start) -> Exit {
    let timeout = match &options.timeout {
        None => DEFAULT_TIMEOUT,
        Some(text) => match time_limit::parse(text) {
            Ok(timeout) => timeout,
            Err(why) => return Invalid::new(&Origin::Flag("--timeout"), why).into(),
        },
    };
    start.end_by(timeout);
    match install(&args.folder) {
        Ok(_) if options.quiet => Exit::Done(String::new()),
        Ok(copy) => Exit::Done(format!(
            "installed {} ({})\n",
            copy.display(),
            env!("CARGO_PKG_VERSION")
        )),
        Err(why) => Exit::failed(format!(
            "can't install into {}: {why}",
            args.folder.display()
        )),
    }
}

fn install(folder: &Path) -> Result<PathBuf, String> {
    let mut myself =
        File::open(MYSELF).map_err(|e| format!("its own file, {MYSELF}, can't be read: {e}"))?;
    DirBuilder::new()
        .recursive(true)
        .create(folder)
        .map_err(|e| why(&e))?;
    let unfinished = Unfinished::claim(folder).map_err(|e| why(&e))?;
    unfinished.fill(&mut myself).map_err(|e| why(&e))?;
    let copy = folder.join(NAME);
    unfinished.rename(&copy).map_err(|e| match e.kind() {
        ErrorKind::IsADirectory => format!("{} is a folder; remove it", copy.display()),
        _ => why(&e),
    })?;
    Ok(copy)
}

/// A copy in the making, locked for as long as this process makes it. Removed when it comes to nothing.
struct Unfinished {
    path: PathBuf,
    /// Read-only: a file that anybody has open for writing can't be run.
    _lock: File,
}

impl Unfinished {
    /// The first file of ours that nobody else is filling.
    fn claim(folder: &Path) -> io::Result<Self> {
        let mut problem = io::Error::from(Errno::BUSY);
        for number in 0..MAX_UNFINISHED {
            let path = folder.join(format!(".{NAME}-{number}"));
            match Self::claim_file(&path) {
                Ok(Some(lock)) => return Ok(Self { path, _lock: lock }),
                Ok(None) => {}
                // Somebody else's file, or no file at all.
                Err(e @ (Errno::ACCESS | Errno::LOOP | Errno::ISDIR | Errno::NXIO)) => {
                    problem = e.into();
                }
                Err(e) => return Err(e.into()),
            }
        }
        Err(problem)
    }

    /// Nothing if another process is filling it, has just renamed it, or could write to it later.
    fn claim_file(path: &Path) -> Result<Option<File>, Errno> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let open = |flags, mode| rustix::fs::open(path, flags, mode).map(File::from);
        let create = flags | OFlags::CREATE | OFlags::EXCL;
        let (file, is_new) = match open(create, Mode::RUSR | Mode::WUSR) {
            Ok(file) => (file, true),
            Err(Errno::EXIST) => match open(flags, Mode::empty()) {
                Ok(file) => (file, false),
                // It has just been renamed.
                Err(Errno::NOENT) => return Ok(None),
                Err(e) => return Err(e),
            },
            Err(e) => return Err(e),
        };
        let (Ok(held), Ok(there)) = (file.metadata(), fs::symlink_metadata(path)) else {
            return Ok(None);
        };
        if held.is_dir() {
            return Err(Errno::ISDIR);
        }
        // A volume may show its own owner for all files, as NFS does for root: what we have just made is
        // ours all the same.
        let shows_us = held.uid() == host::my_euid();
        let is_there = (held.dev(), held.ino()) == (there.dev(), there.ino());
        let is_ours = held.is_file() && held.nlink() == 1 && (is_new || shows_us);
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                if is_new && is_there && !shows_us {
                    // Whoever looks at it will not take it for theirs, either.
                    let _ = fs::remove_file(path);
                }
                return Ok(None);
            }
            // A file system without locks: two installs at the very same moment may then disturb each other.
            Err(TryLockError::Error(_)) => {}
        }
        Ok((is_there && is_ours).then_some(file))
    }

    fn fill(&self, program: &mut File) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .truncate(true)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(&self.path)?;
        io::copy(program, &mut file)?;
        file.set_permissions(Permissions::from_mode(MODE))?;
        // Some file systems, NFS among them, tell only now that there is no room.
        file.sync_all()
    }

    fn rename(mut self, to: &Path) -> io::Result<()> {
        fs::rename(&self.path, to)?;
        self.path = PathBuf::new();
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            // Best effort: what stays is used up by the next install.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// What is wrong with the folder, and what to do.
fn why(e: &io::Error) -> String {
    match e.kind() {
        ErrorKind::ReadOnlyFilesystem => {
            "it is read-only; mount a volume there that can be written".to_owned()
        }
        ErrorKind::PermissionDenied => format!(
            "user {} may not write there; run as a user who may, or change the folder's mode",
            host::my_euid()
        ),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "no space is left there; it takes 4 MB".to_owned()
        }
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
            "it is not a folder; name another one".to_owned()
        }
        _ => e.to_string(),
    }
}
