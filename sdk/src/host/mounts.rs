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
    /// something else; taking a near one for a far one costs a child.
    fn doubt_overlays(&mut self, own: Option<u64>) {
        loop {
            let is_far = |dir: &PathBuf| self.holding(dir).is_some_and(|mount| !mount.is_near);
            let doubtful = |mount: &Mount| {
                mount.is_near && Some(mount.id) != own && mount.layers.iter().any(is_far)
            };
            // One overlay may lie over another.
            let Some(found) = self.all.iter().position(doubtful) else {
                return;
            };
            if let Some(mount) = self.all.get_mut(found) {
                mount.is_near = false;
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
mod tests {
    use super::*;

    /// The type of its file system: `ext4`, `nfs4`, `fuse.sshfs`.
    fn kind(mount: &Mount) -> &str {
        &mount.kind
    }

    fn kind_of<'a>(mounts: &'a Mounts, path: &str) -> Option<&'a str> {
        mounts.hanging(Path::new(path)).map(kind)
    }

    #[test]
    fn what_lies_on_a_mount_that_may_hang_is_told_and_nothing_else() {
        // Folders that no machine has: nothing of it is looked at.
        let mounts = Mounts::parse(
            b"22 1 0:20 / / rw,relatime - overlay overlay rw,lowerdir=/a\n\
              23 22 0:21 / /x0 rw - devtmpfs tmpfs rw\n\
              24 23 0:22 / /x0/shm rw master:1 shared:2 - tmpfs shm rw,size=64k\n\
              25 22 0:23 / /x1 rw - ext4 /dev/sda rw\n\
              26 25 0:24 / /x1 rw - fuse.sshfs me@there:/x1 rw\n\
              27 22 0:25 / /x1fs rw - nfs there:/ rw\n\
              28 22 0:26 / /srv0/with\\040space/\xff rw - cifs //there rw\n\
              29 22 0:27 / /x2/far rw - nfs4 there:/ rw\n\
              30 22 0:28 / /x2 rw - tmpfs tmpfs rw\n",
        )
        .unwrap();
        for (path, kind) in [
            ("/etc/x", None),
            ("/x0/shm/x/y", None),
            ("/x1", Some("fuse.sshfs")),
            ("/x1/a/b", Some("fuse.sshfs")),
            ("/x1fs/a", Some("nfs")),
            ("/x1fsx", None),
            ("/x0/../x1fs/./a", Some("nfs")),
            ("/srv0/with space/x", None),
            // Hidden by what was mounted over its parent later.
            ("/x2/far/a", None),
        ] {
            assert_eq!(kind_of(&mounts, path), kind, "{path}");
        }
        let odd = PathBuf::from(OsString::from_vec(b"/srv0/with space/\xff/a".to_vec()));
        assert_eq!(mounts.hanging(&odd).map(kind), Some("cifs"));
        let around = |path| mounts.hanging_around(Path::new(path)).map(kind);
        assert_eq!(around("/srv0"), Some("cifs"));
        assert_eq!(around("/x0"), None);
    }

    #[test]
    fn a_link_leads_where_it_leads() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let far = dir.join("far");
        fs::create_dir(&far).unwrap();
        for (link, target) in [
            ("absolute", far.to_str().unwrap()),
            ("relative", "far/x"),
            ("over", "./relative"),
            ("loop", "loop"),
            ("near", "nothing"),
        ] {
            std::os::unix::fs::symlink(target, dir.join(link)).unwrap();
        }
        let text = format!(
            "1 0 0:1 / / rw - ext4 a rw\n2 1 0:2 / {} rw - nfs b rw\n",
            far.display()
        );
        let mounts = Mounts::parse(text.as_bytes()).unwrap();
        for (path, kind) in [
            ("far/a", Some("nfs")),
            ("absolute/a", Some("nfs")),
            ("relative", Some("nfs")),
            ("over/../b", Some("nfs")),
            ("loop", None),
            ("near/a", None),
        ] {
            let path = dir.join(path);
            assert_eq!(kind_of(&mounts, path.to_str().unwrap()), kind, "{path:?}");
        }
    }

    #[test]
    fn the_mount_of_the_program_itself_is_near() {
        let text = b"1 0 0:1 / / rw - 9p a rw\n2 1 0:2 / /far0 rw - 9p b rw\n";
        let mut mounts = Mounts::parse(text).unwrap();
        assert_eq!(kind_of(&mounts, "/a"), Some("9p"));
        mounts.believe_near(Some(1));
        assert_eq!(kind_of(&mounts, "/a"), None);
        assert_eq!(kind_of(&mounts, "/far0/a"), Some("9p"));
    }

    #[test]
    fn an_overlay_is_as_far_as_what_it_lies_over() {
        let text = b"1 0 0:1 / / rw - overlay overlay rw,lowerdir=/far0/own\n\
              2 1 0:2 / /far0 rw - nfs there:/ rw\n\
              3 1 0:3 / /x1 rw - overlay overlay rw,lowerdir=/x2/a:/x3/b,upperdir=/x0/c,workdir=/x0/d\n\
              4 1 0:4 / /x2 rw - overlay overlay rw,lowerdir+=/x0/a,lowerdir+=/far0/b\n\
              5 1 0:5 / /x4 rw - overlay overlay rw,lowerdir=/x0:/x5,upperdir=/x6\n\
              6 1 0:6 / /x5 rw - ext4 /dev/sda rw,lowerdir=/far0\n\
              7 1 0:7 / /x7 rw - overlay overlay rw,lowerdir=/x0,upperdir=/far0/with\\040space\n";
        let mut mounts = Mounts::parse(text).unwrap();
        mounts.doubt_overlays(Some(1));
        for (path, kind) in [
            ("/a", None),
            ("/x1/a", Some("overlay")),
            ("/x2/a", Some("overlay")),
            ("/x4/a", None),
            ("/x5/a", None),
            ("/x7/a", Some("overlay")),
        ] {
            assert_eq!(kind_of(&mounts, path), kind, "{path}");
        }
    }

    #[test]
    fn what_is_mounted_in_a_chroot_is_found_without_its_root() {
        let text = b"7 3 0:2 / /far0 rw - nfs b rw\n8 7 0:3 / /far0/near rw - tmpfs c rw\n";
        let mounts = Mounts::parse(text).unwrap();
        for (path, kind) in [
            ("/a", None),
            ("/far0/a", Some("nfs")),
            ("/far0/near/a", Some("nfs")),
        ] {
            assert_eq!(kind_of(&mounts, path), kind, "{path}");
        }
        assert!(mounts.may_hang());
    }

    #[test]
    fn a_relative_path_begins_where_the_process_is() {
        let here = std::env::current_dir().unwrap();
        let text = format!(
            "1 0 0:1 / / rw - ext4 a rw\n2 1 0:2 / {} rw - nfs b rw\n",
            here.display()
        );
        let mounts = Mounts::parse(text.as_bytes()).unwrap();
        assert_eq!(kind_of(&mounts, "ca.pem"), Some("nfs"));
        assert_eq!(kind_of(&mounts, "./x/../ca.pem"), Some("nfs"));
        assert_eq!(mounts.hanging_around(Path::new("x")).map(kind), Some("nfs"));
    }

    #[test]
    fn what_is_no_mountinfo_tells_nothing() {
        for text in [
            "22 1 0:20 / / rw,relatime",
            "22 1 - x",
            "a 1 0:2 / / rw - a b",
        ] {
            assert_eq!(Mounts::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn proc_is_near_here() {
        let mounts = Mounts::current().unwrap();
        assert_eq!(mounts.hanging(Path::new("/proc/self/stat")), None);
    }
}
