//! What is mounted where, and whether it may hang.
//!
//! Asks no file system that may hang: the kernel makes up `/proc/self/mountinfo`, while statfs(2)
//! would ask.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// A container has a few dozen mounts, a host with many containers some thousand.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// No mount has this number: the kernel counts in 32 bits.
const HIDDEN_ROOT: u64 = u64::MAX;

/// As many links as the kernel follows, see path_resolution(7).
const MAX_LINKS: u32 = 40;

/// File systems that wait for nobody but this machine's kernel, memory and disks. Any other may ask
/// a server or a process that does not answer. An overlay is as near as what it lies over.
const NEAR: [&str; 27] = [
    "aufs",
    "bcachefs",
    "btrfs",
    "cgroup",
    "cgroup2",
    "devpts",
    "devtmpfs",
    "erofs",
    "exfat",
    "ext2",
    "ext3",
    "ext4",
    "f2fs",
    "hugetlbfs",
    "iso9660",
    "jfs",
    "mqueue",
    "overlay",
    "proc",
    "ramfs",
    "rootfs",
    "squashfs",
    "sysfs",
    "tmpfs",
    "vfat",
    "xfs",
    "zfs",
];

/// One mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    id: u64,
    parent: u64,
    point: PathBuf,
    is_near: bool,
    /// Of an overlay: the folders that it lies over, as whoever mounted it wrote them.
    layers: Vec<PathBuf>,
    #[cfg(test)]
    kind: String,
}

impl Mount {
    /// Where it is mounted.
    #[must_use]
    pub fn point(&self) -> &Path {
        &self.point
    }
}

/// What the calling process sees mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounts {
    all: Vec<Mount>,
}

impl Mounts {
    /// Reads `/proc/self/mountinfo`. None where that can't be read, or makes no sense.
    #[must_use]
    pub fn current() -> Option<Self> {
        let mut text = Vec::with_capacity(4 * 1024);
        File::open("/proc/self/mountinfo")
            .ok()?
            .take(MAX_BYTES + 1)
            .read_to_end(&mut text)
            .ok()?;
        if text.len() as u64 > MAX_BYTES {
            return None;
        }
        let mut mounts = Self::parse(&text)?;
        // If all of them are near, it makes no difference.
        if mounts.may_hang() {
            let own = own();
            mounts.believe_near(own);
            mounts.doubt_overlays(own);
        }
        Some(mounts)
    }

    /// Counts the mount of the running program as near: if that hangs, nothing helps.
    fn believe_near(&mut self, own: Option<u64>) {
        let own = self.all.iter_mut().filter(|mount| Some(mount.id) == own);
        own.for_each(|mount| mount.is_near = true);
    }

    /// An overlay over something that may hang may hang, too. Its layers may lie where this process sees
    /// something else; taking a near one for a far one costs a child. Not so that of `/`: all that is here lies on
    /// it, as a program lies on its own.
    fn doubt_overlays(&mut self, own: Option<u64>) {
        let believed = [own, self.root().map(|root| root.id)];
        loop {
            // A host with many containers has hundreds of overlays with a dozen layers each, and few far mounts.
            let far = self.all.iter().filter(|mount| !mount.is_near);
            let far: Vec<&Path> = far.map(Mount::point).collect();
            let is_far = |dir: &PathBuf| {
                far.iter().any(|point| dir.starts_with(point))
                    && self.holding(dir).is_some_and(|mount| !mount.is_near)
            };
            let is_doubtful = |mount: &Mount| {
                mount.is_near
                    && !believed.contains(&Some(mount.id))
                    && mount.layers.iter().any(is_far)
            };
            let all = self.all.iter();
            let doubtful = all.filter(|mount| is_doubtful(mount));
            let doubtful: Vec<u64> = doubtful.map(|mount| mount.id).collect();
            if doubtful.is_empty() {
                return;
            }
            // One overlay may lie over another.
            for mount in &mut self.all {
                mount.is_near &= !doubtful.contains(&mount.id);
            }
        }
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let lines = text.split(|byte| *byte == b'\n');
        let all = lines.filter(|line| !line.is_empty()).map(mount);
        let mut mounts = Self {
            all: all.collect::<Option<_>>()?,
        };
        mounts.add_hidden_root();
        Some(mounts)
    }

    /// In a chroot whose `/` is a folder, the mount that it is in is not listed. It is the program's own.
    fn add_hidden_root(&mut self) {
        if self.all.is_empty() || self.root().is_some() {
            return;
        }
        let known: Vec<u64> = self.all.iter().map(|mount| mount.id).collect();
        for mount in &mut self.all {
            if !known.contains(&mount.parent) {
                mount.parent = HIDDEN_ROOT;
            }
        }
        self.all.push(Mount {
            id: HIDDEN_ROOT,
            parent: HIDDEN_ROOT,
            point: PathBuf::from("/"),
            is_near: true,
            layers: Vec::new(),
            #[cfg(test)]
            kind: String::new(),
        });
    }

    /// Whether any of them may hang. In most containers none may, and no path has to be looked at.
    #[must_use]
    pub fn may_hang(&self) -> bool {
        self.all.iter().any(|mount| !mount.is_near)
    }

    /// The mount that may hang and has to be asked about a path, links on the way included. None if only
    /// near ones have to be. A relative path begins where this process is.
    #[must_use]
    pub fn hanging(&self, path: &Path) -> Option<&Mount> {
        let mut at = PathBuf::from("/");
        let mut mount = self.root()?;
        let mut rest: Vec<OsString> = components(&absolute(path));
        let mut links = 0;
        loop {
            // No mount is looked at before it is known to be near.
            if !mount.is_near {
                return Some(mount);
            }
            let name = rest.pop()?;
            if name == ".." {
                at.pop();
                mount = self.holding(&at)?;
                continue;
            }
            let next = at.join(&name);
            if let Some(over) = self.over(mount, &next) {
                mount = over;
                at = next;
                continue;
            }
            let link = fs::symlink_metadata(&next)
                .ok()
                .filter(fs::Metadata::is_symlink)
                .and_then(|_| fs::read_link(&next).ok());
            match link {
                None => at = next,
                Some(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return None;
                    }
                    if target.is_absolute() {
                        at = PathBuf::from("/");
                        mount = self.root()?;
                    }
                    rest.extend(components(&target));
                }
            }
        }
    }

    /// As [`Mounts::hanging`], with what is mounted below a folder.
    #[must_use]
    pub fn hanging_around(&self, folder: &Path) -> Option<&Mount> {
        let absolute = absolute(folder);
        let below = |mount: &&Mount| !mount.is_near && mount.point.starts_with(&absolute);
        self.hanging(folder).or_else(|| self.all.iter().find(below))
    }

    /// What is mounted at `/`: of several, the uppermost.
    fn root(&self) -> Option<&Mount> {
        let is_known = |id: u64| self.all.iter().any(|mount| mount.id == id);
        let lowest = self.all.iter().find(|mount| {
            mount.point == Path::new("/") && (!is_known(mount.parent) || mount.parent == mount.id)
        })?;
        Some(self.over(lowest, Path::new("/")).unwrap_or(lowest))
    }

    /// The mount that holds a path in which there are no links.
    fn holding(&self, path: &Path) -> Option<&Mount> {
        let mut mount = self.root()?;
        let mut at = PathBuf::from("/");
        for part in components(path).into_iter().rev() {
            at.push(part);
            mount = self.over(mount, &at).unwrap_or(mount);
        }
        Some(mount)
    }

    /// What is mounted over a point of a mount: of several, the uppermost.
    fn over(&self, mount: &Mount, point: &Path) -> Option<&Mount> {
        let on = |below: u64| {
            self.all
                .iter()
                .find(move |m| m.parent == below && m.id != below && m.point == point)
        };
        let mut top = on(mount.id)?;
        while let Some(next) = on(top.id) {
            top = next;
        }
        Some(top)
    }
}

/// The mount of the running program, by number: another one may be mounted over its path by now.
/// See `/proc/[pid]/fdinfo` in proc(5).
fn own() -> Option<u64> {
    let program = rustix::fs::open(
        "/proc/self/exe",
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let program = program.ok()?;
    let told = fs::read_to_string(format!("/proc/self/fdinfo/{}", program.as_raw_fd())).ok()?;
    let number = told.lines().find_map(|line| line.strip_prefix("mnt_id:"))?;
    number.trim().parse().ok()
}

/// Asks no file system: getcwd(2) doesn't.
fn absolute(path: &Path) -> Cow<'_, Path> {
    std::path::absolute(path).map_or(Cow::Borrowed(path), Cow::Owned)
}

/// The names in a path, the last one first.
fn components(path: &Path) -> Vec<OsString> {
    let names = path.components().rev().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    names.collect()
}

/// One line of `mountinfo`: `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw`. Field
/// 1 is the mount, field 2 the one that it lies on, field 5 its point; the type follows the dash
/// that ends the optional fields, see proc_pid_mountinfo(5). The last field holds the options of the
/// file system.
fn mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let number = |field: &[u8]| std::str::from_utf8(field).ok()?.parse().ok();
    let id = number(fields.next()?)?;
    let parent = number(fields.next()?)?;
    let point = fields.nth(2)?;
    fields.find(|field| *field == b"-")?;
    let kind = fields.next()?;
    let options = fields.nth(1).unwrap_or_default();
    Some(Mount {
        id,
        parent,
        point: PathBuf::from(OsString::from_vec(unescaped(point))),
        is_near: NEAR.iter().any(|near| near.as_bytes() == kind),
        layers: match kind {
            b"overlay" => layers(options),
            _ => Vec::new(),
        },
        #[cfg(test)]
        kind: String::from_utf8_lossy(kind).into_owned(),
    })
}

/// `rw,lowerdir=/a:/b,upperdir=/c,workdir=/d`, see the kernel's overlayfs.rst. A colon within a name is
/// escaped there; such a name is looked for in parts, and found nowhere.
fn layers(options: &[u8]) -> Vec<PathBuf> {
    let keys = ["lowerdir", "lowerdir+", "datadir+", "upperdir"];
    let options = options.split(|byte| *byte == b',');
    let values = options.filter_map(|option| {
        let at = option.iter().position(|byte| *byte == b'=')?;
        let (key, value) = (option.get(..at)?, option.get(at + 1..)?);
        keys.iter()
            .any(|known| known.as_bytes() == key)
            .then_some(value)
    });
    let folders = values.flat_map(|value| value.split(|byte| *byte == b':'));
    let folders = folders.map(|folder| PathBuf::from(OsString::from_vec(unescaped(folder))));
    folders.filter(|folder| folder.is_absolute()).collect()
}

/// Space, tab, line end and backslash are written as `\040` and the like.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| *first == b'\\');
        let code =
            octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match code {
            Some(code) => {
                bytes.push(code);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests;
