//! The folders of signals, as inotify(7) tells of them.
//!
//! Records are replaced by a rename or rewritten in place. In an agent's folder these are asked for: entries that
//! come, go, or were closed by a writer; never the writes and the chmod(2) of a file that gets its name later, so
//! that a beat is one event. In the folder of all agents it is the coming and going of agents' folders, and
//! chmod(2). Of the folders above only their own removal and renaming, unless something below is missing.
//!
//! Whatever concerns a folder itself makes the whole set stale: it is settled anew from the paths, which can be
//! done at any time and at any state of the folders.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::{self, MaybeUninit};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ready_probe_sdk::folder::Folder;
use ready_probe_sdk::signal::{Name, clean};
use rustix::fd::OwnedFd;
use rustix::fs::inotify::{self, ReadFlags, WatchFlags};
use rustix::fs::{FsWord, NFS_SUPER_MAGIC, statfs};
use rustix::io::Errno;

use super::{Agents, Woken};

/// It is moved or removed.
const ITSELF: WatchFlags = WatchFlags::MOVE_SELF.union(WatchFlags::DELETE_SELF);
/// What is missing in it is made.
const MAKING: WatchFlags = ITSELF.union(WatchFlags::CREATE).union(WatchFlags::MOVED_TO);
/// Folders in it come, go, and are made readable.
const ALL_AGENTS: WatchFlags = MAKING
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::ATTRIB);
/// Records in it come, go, and are rewritten. A record that was replaced is closed later: that is no news.
const ONE_AGENT: WatchFlags = ITSELF
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::EXCL_UNLINK);

/// File systems on which others write, of which inotify knows nothing, see inotify(7); for where it is not known
/// what is mounted. The numbers are those of statfs(2): 9P, CEPH, FUSE (virtiofs, too).
const SILENT: [FsWord; 4] = [NFS_SUPER_MAGIC, 0x0102_1997, 0x00c3_6400, 0x6573_5546];

/// Room for some events; one has 272 bytes at most.
const BUFFER_BYTES: usize = 4_096;
/// How often it is looked whether a missing folder was made meanwhile.
const MOST_LOOKS: usize = 8;
const MAX_SHOWN_CHARS: usize = 200;

/// What a watched folder is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// One above the folder of all agents.
    Above,
    /// The folder of all agents.
    AllAgents,
    /// An agent's.
    Agent(Name),
}

/// What an event means.
enum Meaning {
    Nothing,
    /// A record has changed.
    Record(Name),
    /// A folder has come, gone, or changed.
    Folders,
}

#[derive(Debug)]
pub(super) struct Folders {
    folder: Folder,
    /// A folder that somebody chose may be a link; the default ones may not.
    chosen: bool,
    /// None: all agents.
    named: Option<BTreeSet<Name>>,
    inotify: Option<OwnedFd>,
    /// By inotify's number.
    places: BTreeMap<i32, (WatchFlags, Place)>,
    /// Names of folders that are missing.
    awaited: BTreeSet<OsString>,
    stale: bool,
    /// They can't be looked at by inotify, and never will.
    hopeless: Option<String>,
    trouble: Option<String>,
}

impl Folders {
    pub(super) fn new(folder: &Folder, agents: Agents<'_>, hopeless: Option<String>) -> Self {
        let mut dirs = folder.dirs();
        let chosen = dirs
            .next()
            .is_some_and(|dir| Folder::at(dir).is_ok_and(|chosen| chosen == *folder));
        Self {
            folder: folder.clone(),
            chosen,
            named: match agents {
                Agents::All => None,
                Agents::Named(names) => Some(names.clone()),
            },
            inotify: None,
            places: BTreeMap::new(),
            awaited: BTreeSet::new(),
            stale: false,
            trouble: hopeless.clone(),
            hopeless,
        }
    }

    /// Whether folders have come, gone or changed since they were settled.
    pub(super) fn is_stale(&self) -> bool {
        self.stale
    }

    /// Why not everything is told, if so.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Watches what is there now, and for what is missing. A new inotify is handed to `enqueue`.
    pub(super) fn settle(&mut self, enqueue: impl FnOnce(&OwnedFd) -> Result<(), Errno>) {
        self.stale = false;
        if self.hopeless.is_some() {
            return;
        }
        if self.inotify.is_none() {
            match start(enqueue) {
                Ok(inotify) => self.inotify = Some(inotify),
                Err(e) => {
                    self.trouble = Some(format!("no inotify: {}", io::Error::from(e)));
                    return;
                }
            }
        }
        self.awaited.clear();
        let before = mem::take(&mut self.places);
        self.trouble = self.watch_all().err();
        let gone = before.keys().filter(|wd| !self.places.contains_key(wd));
        for wd in gone {
            if let Some(inotify) = &self.inotify {
                // It may have ended with its folder.
                let _ = inotify::remove_watch(inotify, *wd);
            }
        }
    }

    /// Takes up all events that there are.
    pub(super) fn drain(&mut self, news: &mut Woken) {
        let Some(inotify) = &self.inotify else { return };
        let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
        let mut events = inotify::Reader::new(inotify, &mut buffer);
        loop {
            match events.next() {
                Ok(event) => match self.meaning(&event) {
                    Meaning::Nothing => {}
                    Meaning::Record(agent) => {
                        news.agents.insert(agent);
                    }
                    Meaning::Folders => self.stale = true,
                },
                Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    /// The agents that have a record whose file's name begins so; none where that can't be known.
    pub(super) fn agents_of(&self, stem: &str) -> BTreeSet<Name> {
        if self.hopeless.is_some() {
            return BTreeSet::new();
        }
        let has_record = |agent: &Name| {
            self.folder.dirs().any(|dir| {
                let files = std::fs::read_dir(dir.join(agent.as_str()));
                let mut files = files.into_iter().flatten().flatten();
                files.any(|file| file.file_name().as_bytes().starts_with(stem.as_bytes()))
            })
        };
        let agents = self.agents().unwrap_or_default();
        agents.into_iter().filter(has_record).collect()
    }

    fn agents(&self) -> io::Result<Vec<Name>> {
        match &self.named {
            Some(names) => Ok(names.iter().cloned().collect()),
            None => self.folder.agents(),
        }
    }

    fn meaning(&self, event: &inotify::Event<'_>) -> Meaning {
        if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
            return Meaning::Folders;
        }
        let Some((_, place)) = self.places.get(&event.wd()) else {
            // It was given up before.
            return Meaning::Nothing;
        };
        let Some(name) = event.file_name() else {
            return Meaning::Folders;
        };
        let name = OsStr::from_bytes(name.to_bytes());
        let is_hidden = name.as_bytes().starts_with(b".");
        match place {
            Place::Above if self.awaited.contains(name) => Meaning::Folders,
            Place::AllAgents if self.is_asked_for(name) => Meaning::Folders,
            Place::Agent(agent) if !is_hidden => Meaning::Record(agent.clone()),
            Place::Above | Place::AllAgents | Place::Agent(_) => Meaning::Nothing,
        }
    }

    fn is_asked_for(&self, name: &OsStr) -> bool {
        let name = name.to_str().and_then(|name| Name::new(name).ok());
        name.is_some_and(|name| {
            self.named
                .as_ref()
                .is_none_or(|named| named.contains(&name))
        })
    }

    /// The error is about the first that can't be watched; all others are.
    fn watch_all(&mut self) -> Result<(), String> {
        let dirs: Vec<PathBuf> = self.folder.dirs().map(Path::to_owned).collect();
        let mut result = Ok(());
        for dir in &dirs {
            result = result.and(self.watch_dir(dir));
        }
        // Only now: what is made from now on is told.
        let agents = self.agents().map_err(|e| e.to_string())?;
        for agent in agents {
            for dir in &dirs {
                let path = dir.join(agent.as_str());
                match self.watch(&path, ONE_AGENT, Place::Agent(agent.clone()), false) {
                    Ok(()) => {}
                    Err(e) if is_absent(e) => {}
                    Err(e) => result = result.and(Err(unwatched(&path, e))),
                }
            }
        }
        result
    }

    /// Watches a folder of all agents, or for its making.
    fn watch_dir(&mut self, dir: &Path) -> Result<(), String> {
        for _ in 0..MOST_LOOKS {
            match self.watch(dir, ALL_AGENTS, Place::AllAgents, self.chosen) {
                Ok(()) => {
                    self.watch_above(dir);
                    return is_told_of(dir);
                }
                Err(e) if is_absent(e) => {}
                Err(e) => return Err(unwatched(dir, e)),
            }
            let missing = self.watch_for(dir)?;
            // It may have been made before that was watched for.
            match std::fs::symlink_metadata(missing) {
                Ok(made) if made.is_dir() || made.is_symlink() && self.chosen => {}
                Ok(_) => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(e) => return Err(format!("{}: {e}", shown(missing))),
            }
        }
        Err(format!("{} can't be found", shown(dir)))
    }

    /// Watches for the making of the uppermost folder of this path that is missing, and returns it.
    fn watch_for<'a>(&mut self, dir: &'a Path) -> Result<&'a Path, String> {
        let mut missing = dir;
        while let (Some(above), Some(name)) = (missing.parent(), missing.file_name()) {
            match self.watch(above, MAKING, Place::Above, true) {
                Ok(()) => {
                    self.awaited.insert(name.to_owned());
                    self.watch_above(above);
                    return Ok(missing);
                }
                Err(e) if is_absent(e) => missing = above,
                Err(e) => return Err(unwatched(above, e)),
            }
        }
        Err(format!("{} can't be found", shown(dir)))
    }

    /// Watches for the renaming of the folders above. Who may not do that sees it when the record expires.
    fn watch_above(&mut self, dir: &Path) {
        for above in dir.ancestors().skip(1).filter(|dir| dir.parent().is_some()) {
            let _ = self.watch(above, ITSELF, Place::Above, true);
        }
    }

    /// Watches one folder. It may have another name, or other things to tell, already.
    fn watch(
        &mut self,
        path: &Path,
        flags: WatchFlags,
        place: Place,
        follow: bool,
    ) -> Result<(), Errno> {
        let inotify = self.inotify.as_ref().ok_or(Errno::BADF)?;
        let mut how = WatchFlags::ONLYDIR;
        if !follow {
            how |= WatchFlags::DONT_FOLLOW;
        }
        let wd = inotify::add_watch(inotify, path, flags | how)?;
        let known = self.places.get(&wd).cloned();
        let (before, also) = known.unwrap_or((flags, Place::Above));
        if before | flags != flags {
            inotify::add_watch(inotify, path, before | flags | how)?;
        }
        self.places.insert(wd, (before | flags, place.max(also)));
        Ok(())
    }
}

fn start(enqueue: impl FnOnce(&OwnedFd) -> Result<(), Errno>) -> Result<OwnedFd, Errno> {
    let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
    let inotify = inotify::init(flags)?;
    enqueue(&inotify)?;
    Ok(inotify)
}

fn is_told_of(dir: &Path) -> Result<(), String> {
    match statfs(dir) {
        Ok(system) if SILENT.contains(&system.f_type) => Err(format!(
            "inotify may not know of what is written to {}",
            shown(dir)
        )),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// As for those who read: a name that is not a folder holds no signal.
fn is_absent(e: Errno) -> bool {
    matches!(e, Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
}

fn unwatched(path: &Path, e: Errno) -> String {
    // The kernel's words for it are about a device.
    if e == Errno::NOSPC {
        return "this user has as many inotify watches as fs.inotify.max_user_watches allows"
            .to_owned();
    }
    format!("{}: {}", shown(path), io::Error::from(e))
}

fn shown(path: &Path) -> String {
    clean(&path.display().to_string(), MAX_SHOWN_CHARS)
}
