//! A stream that breaks when more is read from it than was allowed: who talks to a server that sends
//! without end must not buffer without end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How many bytes may still be read; shared between a stream and whoever allows it more.
#[derive(Debug, Clone)]
pub struct Allowance(Arc<AtomicUsize>);

impl Allowance {
    /// So many, in place of what was left.
    pub fn set(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }
}

/// Such a stream.
#[derive(Debug)]
pub struct Limited<S> {
    stream: S,
    allowance: Allowance,
}

impl<S> Limited<S> {
    /// Lets so many bytes through.
    pub fn new(stream: S, bytes: usize) -> Self {
        Self {
            stream,
            allowance: Allowance(Arc::new(AtomicUsize::new(bytes))),
        }
    }

    /// What may still be read, to be changed.
    #[must_use]
    pub fn allowance(&self) -> Allowance {
        self.allowance.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Limited<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let read = buffer.filled().len() - before;
        let left = self.allowance.0.load(Ordering::Relaxed).checked_sub(read);
        Poll::Ready(match left {
            Some(left) => {
                self.allowance.set(left);
                Ok(())
            }
            None => Err(io::Error::other("it sends without end")),
        })
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Limited<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
