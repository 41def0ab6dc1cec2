//! Descriptors that are kept for longer than a moment.
//!
//! A daemonizer closes every descriptor of its process, and the application gets their numbers for
//! files of its own. Whoever keeps one therefore remembers which file it was.

use std::mem;

use rustix::fd::AsFd;
use rustix::fs::fstat;
use rustix::io::Errno;

/// A descriptor that is closed on drop, unless its number is somebody else's by then.
#[derive(Debug)]
pub(crate) struct Kept<F: AsFd> {
    /// Nothing only while it is dropped.
    fd: Option<F>,
    /// Device and inode, which tell open files of one moment apart.
    file: (u64, u64),
}

impl<F: AsFd> Kept<F> {
    /// Keeps what was opened just now.
    pub(crate) fn new(fd: F) -> Result<Self, Errno> {
        let file = file(&fd)?;
        Ok(Self { fd: Some(fd), file })
    }

    /// The descriptor; nothing once it was closed by others.
    pub(crate) fn get(&self) -> Option<&F> {
        self.fd
            .as_ref()
            .filter(|fd| file(fd).is_ok_and(|file| file == self.file))
    }
}

impl<F: AsFd> Drop for Kept<F> {
    fn drop(&mut self) {
        if self.get().is_none() {
            mem::forget(self.fd.take());
        }
    }
}

fn file(fd: &impl AsFd) -> Result<(u64, u64), Errno> {
    let stat = fstat(fd)?;
    Ok((stat.st_dev, stat.st_ino))
}
