//! How much is read of what a server sends: a stream that breaks when more is read from it than allowed. A server that
//! sends without end must not fill our memory.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How many bytes may still be read; shared by a stream and whoever grants more.
#[derive(Debug, Clone)]
pub struct Allowance(Arc<AtomicUsize>);

impl Allowance {
    /// So many, instead of what was left.
    pub fn set(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }
}

/// Why a stream broke, in words if there were any; shared as [`Allowance`] is. A client that reads
/// on its own, while nobody waits for an answer, has nobody to tell.
#[derive(Debug, Clone, Default)]
pub struct Broken(Arc<OnceLock<String>>);

impl Broken {
    /// The words.
    #[must_use]
    pub fn why(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }

    /// The kernel's errors have a number and no words of ours.
    fn note(&self, e: io::Error) -> io::Error {
        if let Some(said) = e.get_ref() {
            self.0.get_or_init(|| said.to_string());
        }
        e
    }
}

/// Such a stream.
#[derive(Debug)]
pub struct Limited<S> {
    stream: S,
    allowance: Allowance,
    broken: Broken,
}

impl<S> Limited<S> {
    /// Lets so many bytes through.
    pub fn new(stream: S, bytes: usize) -> Self {
        Self {
            stream,
            allowance: Allowance(Arc::new(AtomicUsize::new(bytes))),
            broken: Broken::default(),
        }
    }

    /// What may still be read, for whoever changes it.
    #[must_use]
    pub fn allowance(&self) -> Allowance {
        self.allowance.clone()
    }

    /// Why it broke, for whoever asks once it has.
    #[must_use]
    pub fn broken(&self) -> Broken {
        self.broken.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Limited<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))
            .map_err(|e| self.broken.note(e))?;
        let read = buffer.filled().len() - before;
        let left = self.allowance.0.load(Ordering::Relaxed).checked_sub(read);
        Poll::Ready(match left {
            Some(left) => {
                self.allowance.set(left);
                Ok(())
            }
            None => Err(self.broken.note(io::Error::other("it sends without end"))),
        })
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Limited<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        written.map_err(|e| self.broken.note(e))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        flushed.map_err(|e| self.broken.note(e))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
