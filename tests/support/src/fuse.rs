//! A folder on a file system whose server stops answering on command, as a network's does.
//!
//! The server shows a folder of this machine, read-only. While it hangs it takes requests and keeps
//! the answers: who waits for one can't be killed, see fuse(4) and the kernel's
//! Documentation/filesystems/fuse. When it goes on, or ends, they get them.

use std::collections::HashMap;
use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// Larger than any request of a read-only file system.
const MAX_REQUEST: usize = 1024 * 1024;
const HEADER: usize = 40;

// Operations and structures are those of include/uapi/linux/fuse.h, version 7.31.
const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const READLINK: u32 = 5;
const OPEN: u32 = 14;
const READ: u32 = 15;
const STATFS: u32 = 17;
const RELEASE: u32 = 18;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const OPENDIR: u32 = 27;
const READDIR: u32 = 28;
const RELEASEDIR: u32 = 29;
const ACCESS: u32 = 34;
const INTERRUPT: u32 = 36;
const BATCH_FORGET: u32 = 42;
/// Nothing that was read is kept by the kernel.
const DIRECT_IO: u32 = 1;

/// Such a file system, unmounted on drop.
pub struct Fuse {
    point: PathBuf,
    switch: Arc<Switch>,
}

#[derive(Default)]
struct Switch {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    hangs: bool,
    /// Requests that wait for an answer.
    waiting: usize,
    ended: bool,
}

impl Fuse {
    /// Shows `folder` at `point`, an existing folder.
    ///
    /// # Panics
    /// When it can't be mounted: it takes root and /dev/fuse.
    pub fn mount(folder: &Path, point: &Path) -> Self {
        let device = File::options()
            .read(true)
            .write(true)
            .open("/dev/fuse")
            .expect("this test needs /dev/fuse");
        let data = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0,allow_other",
            device.as_raw_fd()
        );
        let data = CString::new(data).expect("there is no NUL in it");
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        mount("test", point, "fuse.test", flags, Some(data.as_c_str()))
            .unwrap_or_else(|e| panic!("this test mounts {}, as root: {e}", point.display()));
        let switch = Arc::new(Switch::default());
        let server = Server {
            device,
            root: folder.to_owned(),
            nodes: HashMap::from([(1, folder.to_owned())]),
            switch: Arc::clone(&switch),
        };
        thread::spawn(move || server.serve());
        Self {
            point: point.to_owned(),
            switch,
        }
    }

    /// From now on nothing is answered.
    pub fn hang(&self) {
        self.switch.set(|state| state.hangs = true);
    }

    /// Everything is answered again, also what has been asked meanwhile.
    pub fn go_on(&self) {
        self.switch.set(|state| state.hangs = false);
    }

    /// How many requests wait for an answer.
    pub fn waiting(&self) -> usize {
        self.switch.state.lock().expect("no holder panics").waiting
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        self.switch.set(|state| state.ended = true);
        let _ = unmount(&self.point, UnmountFlags::DETACH);
    }
}

impl Switch {
    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().expect("no holder panics"));
        self.changed.notify_all();
    }

    /// Waits while nothing is to be answered.
    fn wait(&self) {
        let mut state = self.state.lock().expect("no holder panics");
        state.waiting += 1;
        let mut state = self
            .changed
            .wait_while(state, |state| state.hangs && !state.ended)
            .expect("no holder panics");
        state.waiting -= 1;
    }
}

struct Server {
    device: File,
    root: PathBuf,
    nodes: HashMap<u64, PathBuf>,
    switch: Arc<Switch>,
}

/// One request: its operation, its number, the node that it is about, and the rest.
struct Request<'a> {
    operation: u32,
    unique: u64,
    node: u64,
    body: &'a [u8],
}

impl Server {
    /// One request after the other, until the file system is gone. Each is taken before it waits: what
    /// has been taken can't be given up any more.
    fn serve(mut self) {
        let (sender, requests) = std::sync::mpsc::channel::<Vec<u8>>();
        let mut device = self.device.try_clone().expect("a descriptor is to be had");
        let taker = thread::spawn(move || {
            let mut buffer = vec![0; MAX_REQUEST];
            loop {
                match device.read(&mut buffer) {
                    Ok(n) if sender.send(buffer[..n].to_vec()).is_ok() => {}
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) if e.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => {}
                    Ok(_) | Err(_) => return,
                }
            }
        });
        for bytes in requests {
            let Some(request) = parse(&bytes) else { return };
            if request.operation != INIT {
                self.switch.wait();
            }
            if let Some(answer) = self.answer(&request)
                && self
                    .device
                    .write_all(&reply(request.unique, answer))
                    .is_err()
            {
                // Who asked has gone.
                continue;
            }
        }
        drop(self.device);
        let _ = taker.join();
    }

    fn answer(&mut self, request: &Request<'_>) -> Option<Result<Vec<u8>, Errno>> {
        let path = self.nodes.get(&request.node).unwrap_or(&self.root).clone();
        let body = request.body;
        Some(match request.operation {
            FORGET | BATCH_FORGET | INTERRUPT => return None,
            INIT => Ok(init()),
            LOOKUP => self.lookup(&path, body),
            GETATTR => metadata(&path).map(|m| attributes_out(request.node, &m)),
            READLINK => fs::read_link(&path)
                .map(|target| target.into_os_string().into_vec())
                .map_err(errno),
            OPEN | OPENDIR => metadata(&path).map(|_| open_out()),
            READ => read(&path, number(body, 8), number(body, 16) & 0xffff_ffff),
            READDIR => read_dir(&path, number(body, 8), number(body, 16) & 0xffff_ffff),
            STATFS => Ok(vec![0; 80]),
            RELEASE | RELEASEDIR | FLUSH | ACCESS => Ok(Vec::new()),
            _ => Err(Errno::NOSYS),
        })
    }

    fn lookup(&mut self, folder: &Path, body: &[u8]) -> Result<Vec<u8>, Errno> {
        let name = body.split(|byte| *byte == 0).next().unwrap_or_default();
        let path = folder.join(OsStr::from_bytes(name));
        let found = metadata(&path)?;
        // One node for each name that was ever looked up; the kernel knows it by its number.
        let known = self.nodes.iter().find(|(_, known)| **known == path);
        let node = match known {
            Some((node, _)) => *node,
            None => {
                let node = self.nodes.len() as u64 + 1;
                self.nodes.insert(node, path);
                node
            }
        };
        let mut out = Vec::new();
        for field in [node, 0, 0, 0, 0] {
            out.extend(field.to_ne_bytes());
        }
        out.extend(attributes(node, &found));
        Ok(out)
    }
}

fn parse(bytes: &[u8]) -> Option<Request<'_>> {
    Some(Request {
        operation: u32::from_ne_bytes(bytes.get(4..8)?.try_into().ok()?),
        unique: u64::from_ne_bytes(bytes.get(8..16)?.try_into().ok()?),
        node: u64::from_ne_bytes(bytes.get(16..24)?.try_into().ok()?),
        body: bytes.get(HEADER..)?,
    })
}

fn reply(unique: u64, answer: Result<Vec<u8>, Errno>) -> Vec<u8> {
    let (error, body) = match answer {
        Ok(body) => (0, body),
        Err(e) => (-e.raw_os_error(), Vec::new()),
    };
    let length = u32::try_from(16 + body.len()).expect("answers are short");
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(error.to_ne_bytes());
    bytes.extend(unique.to_ne_bytes());
    bytes.extend(body);
    bytes
}

fn number(body: &[u8], at: usize) -> u64 {
    body.get(at..at + 8)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u64::from_ne_bytes)
}

fn init() -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    for field in [7_u32, 31, 0, 0, 0, 4_096, 1, 0] {
        out.extend(field.to_ne_bytes());
    }
    out.resize(64, 0);
    out
}

fn open_out() -> Vec<u8> {
    let mut out = 0_u64.to_ne_bytes().to_vec();
    out.extend(DIRECT_IO.to_ne_bytes());
    out.extend(0_u32.to_ne_bytes());
    out
}

fn attributes_out(node: u64, found: &Metadata) -> Vec<u8> {
    let mut out = vec![0; 16];
    out.extend(attributes(node, found));
    out
}

fn attributes(node: u64, found: &Metadata) -> Vec<u8> {
    let seconds = |time: i64| u64::try_from(time).unwrap_or(0);
    let nanos = |time: i64| u32::try_from(time).unwrap_or(0);
    let mut out = Vec::with_capacity(88);
    for field in [
        node,
        found.size(),
        found.blocks(),
        seconds(found.atime()),
        seconds(found.mtime()),
        seconds(found.ctime()),
    ] {
        out.extend(field.to_ne_bytes());
    }
    for field in [
        nanos(found.atime_nsec()),
        nanos(found.mtime_nsec()),
        nanos(found.ctime_nsec()),
        found.mode(),
        1,
        found.uid(),
        found.gid(),
        0,
        4_096,
        0,
    ] {
        out.extend(field.to_ne_bytes());
    }
    out
}

fn read(path: &Path, offset: u64, size: u64) -> Result<Vec<u8>, Errno> {
    let file = File::open(path).map_err(errno)?;
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    let n = file.read_at(&mut bytes, offset).map_err(errno)?;
    bytes.truncate(n);
    Ok(bytes)
}

/// All entries at once, and then none.
fn read_dir(path: &Path, offset: u64, size: u64) -> Result<Vec<u8>, Errno> {
    let mut out = Vec::new();
    if offset > 0 {
        return Ok(out);
    }
    let mut names: Vec<OsString> = fs::read_dir(path)
        .map_err(errno)?
        .filter_map(|entry| Some(entry.ok()?.file_name()))
        .collect();
    names.sort();
    for name in names {
        let length = u32::try_from(name.len()).expect("names are short");
        out.extend(1_u64.to_ne_bytes());
        out.extend(1_u64.to_ne_bytes());
        out.extend(length.to_ne_bytes());
        out.extend(0_u32.to_ne_bytes());
        out.extend(name.as_bytes());
        out.resize(out.len().next_multiple_of(8), 0);
    }
    assert!(
        out.len() as u64 <= size,
        "{} has too many entries",
        path.display()
    );
    Ok(out)
}

fn metadata(path: &Path) -> Result<Metadata, Errno> {
    fs::symlink_metadata(path).map_err(errno)
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn errno(e: io::Error) -> Errno {
    Errno::from_io_error(&e).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::wait_until;
    use std::time::Duration;

    #[test]
    fn it_shows_a_folder_and_hangs_on_command() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, point) = (dir.path().join("folder"), dir.path().join("point"));
        for path in [&folder, &point] {
            fs::create_dir(path).unwrap();
        }
        fs::write(folder.join("a"), "hello").unwrap();
        fs::create_dir(folder.join("sub")).unwrap();
        fs::write(folder.join("sub/b"), "there").unwrap();
        let fuse = Fuse::mount(&folder, &point);
        assert_eq!(fs::read_to_string(point.join("a")).unwrap(), "hello");
        assert_eq!(fs::read_to_string(point.join("sub/b")).unwrap(), "there");
        assert_eq!(fs::read_dir(&point).unwrap().count(), 2);
        let missing = fs::metadata(point.join("missing")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        fuse.hang();
        let path = point.join("a");
        let reader = thread::spawn(move || fs::read_to_string(path));
        wait_until(Duration::from_secs(5), "somebody to wait", || {
            (fuse.waiting() > 0).then_some(())
        });
        assert!(!reader.is_finished());
        fuse.go_on();
        assert_eq!(reader.join().unwrap().unwrap(), "hello");
    }
}
