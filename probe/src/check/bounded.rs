//! Reading from a server that may send without end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::connect::{Stream, plain};

/// All that any check reads of a server's replies. A server that needs more than this to answer a
/// ping does not answer a ping.
pub const MAX_REPLY_BYTES: usize = 64 * 1024;

/// A connection that breaks when more is read from it than anybody needs.
pub struct Limited {
    stream: Stream,
    left: usize,
}

impl Limited {
    /// Lets so many bytes through.
    pub fn new(stream: Stream, max: usize) -> Self {
        Self { stream, left: max }
    }
}

impl AsyncRead for Limited {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let read = buffer.filled().len() - before;
        Poll::Ready(match self.left.checked_sub(read) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(io::Error::other("it sends without end")),
        })
    }
}

impl AsyncWrite for Limited {
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

/// What a server has sent so far.
#[derive(Debug, Default)]
pub struct Received {
    bytes: Vec<u8>,
    taken: usize,
    total: usize,
}

impl Received {
    /// What tests received.
    #[cfg(test)]
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.to_vec(),
            ..Self::default()
        }
    }

    /// What has arrived and was not taken yet.
    pub fn rest(&self) -> &[u8] {
        self.bytes.get(self.taken..).unwrap_or_default()
    }

    /// Takes bytes off the front.
    pub fn take(&mut self, n: usize) {
        self.taken = self.bytes.len().min(self.taken + n);
        if self.taken == self.bytes.len() {
            self.bytes.clear();
            self.taken = 0;
        }
    }

    /// Takes a line off the front, without its ending, once one is complete.
    pub fn line(&mut self) -> Option<Vec<u8>> {
        let rest = self.rest();
        let end = rest.iter().position(|b| *b == b'\n')?;
        let line = rest.get(..end)?;
        let line = line.strip_suffix(b"\r").unwrap_or(line).to_vec();
        self.take(end + 1);
        Some(line)
    }

    /// Waits for more. The error is for people.
    pub async fn more(&mut self, stream: &mut Stream) -> Result<(), String> {
        let mut chunk = [0; 4_096];
        match stream.read(&mut chunk).await {
            Ok(0) => Err("connection closed".to_owned()),
            Ok(n) => {
                self.total += n;
                if self.total > MAX_REPLY_BYTES {
                    return Err(format!("it sent more than {} KiB", MAX_REPLY_BYTES / 1_024));
                }
                self.bytes
                    .extend_from_slice(chunk.get(..n).unwrap_or_default());
                Ok(())
            }
            Err(e) => Err(plain(&e)),
        }
    }
}
