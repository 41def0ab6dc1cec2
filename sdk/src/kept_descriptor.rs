//! Descriptors that are kept for longer than a moment.
//!
//! A daemonizer closes every descriptor of its process, and the application's own files then get
//! their numbers. So whoever keeps a descriptor remembers which file it was.

use std::mem;

use rustix::fd::AsFd;
use rustix::fs::fstat;
use rustix::io::Errno;

/// A descriptor that is closed on drop, unless its number belongs to somebody else by now.
#[derive(Debug)]
pub(crate) struct KeptDescriptor<F: AsFd> {
    /// `None` only while it is dropped.
    fd: Option<F>,
    /// Device and inode, which distinguish the files that are open at one moment.
    file: (u64, u64),
}

impl<F: AsFd> KeptDescriptor<F> {
    /// Keeps what was opened just now.
    pub(crate) fn new(fd: F) -> Result<Self, Errno> {
        let file = file(&fd)?;
        Ok(Self { fd: Some(fd), file })
    }

    /// The descriptor; `None` once others have closed it.
    pub(crate) fn get(&self) -> Option<&F> {
        self.fd
            .as_ref()
            .filter(|fd| file(fd).is_ok_and(|file| file == self.file))
    }
}

/// A connection, which breaks once others have closed its descriptor.
#[cfg(feature = "open")]
mod stream {
    use std::io::{IoSlice, Result};
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use rustix::fd::AsFd;
    use rustix::io::Errno;
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    use super::{KeptDescriptor, file};

    impl<F: AsFd + Unpin> KeptDescriptor<F> {
        fn stream(self: Pin<&mut Self>) -> Result<Pin<&mut F>> {
            let kept = self.get_mut();
            let own = kept.file;
            let stream = kept.fd.as_mut();
            let stream = stream.filter(|fd| file(&**fd).is_ok_and(|file| file == own));
            Ok(Pin::new(stream.ok_or(Errno::BADF)?))
        }
    }

    impl<F: AsFd + AsyncRead + Unpin> AsyncRead for KeptDescriptor<F> {
        fn poll_read(
            self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<Result<()>> {
            self.stream()?.poll_read(context, buf)
        }
    }

    impl<F: AsFd + AsyncWrite + Unpin> AsyncWrite for KeptDescriptor<F> {
        fn poll_write(
            self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<Result<usize>> {
            self.stream()?.poll_write(context, buf)
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<Result<usize>> {
            self.stream()?.poll_write_vectored(context, bufs)
        }

        fn is_write_vectored(&self) -> bool {
            self.fd.as_ref().is_some_and(AsyncWrite::is_write_vectored)
        }

        fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
            self.stream()?.poll_flush(context)
        }

        fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
            self.stream()?.poll_shutdown(context)
        }
    }
}

impl<F: AsFd> Drop for KeptDescriptor<F> {
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
