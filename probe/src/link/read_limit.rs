//! How much is read of what a server sends: it may send without end.

use std::pin::pin;
use std::task::{Context, Poll};

use tokio::io::AsyncReadExt;

use super::connect::{Stream, plain};

/// The most that any check reads of a server's replies. A server that needs more than this to
/// answer a ping does not answer a ping.
pub const MAX_REPLY_BYTES: usize = 64 * 1024;

const PIECE_BYTES: usize = 4 * 1024;
const LARGE_PIECE_BYTES: usize = 64 * 1024;

/// What a server has sent so far.
#[derive(Debug, Default)]
pub struct Received {
    bytes: Vec<u8>,
    taken: usize,
    /// How much more it may send, and of how much.
    left: usize,
    allowed: usize,
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

    /// Lets the server send so many bytes from now on.
    pub fn allow(&mut self, max_bytes: usize) {
        self.left = max_bytes;
        self.allowed = max_bytes;
    }

    /// What has arrived and has not been taken yet.
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
        // Long answers are taken in large pieces.
        let piece = if self.allowed > MAX_REPLY_BYTES {
            LARGE_PIECE_BYTES
        } else {
            PIECE_BYTES
        };
        self.bytes.drain(..self.taken);
        self.taken = 0;
        self.bytes.reserve_exact(piece);
        // Whoever stops waiting loses nothing that has arrived.
        let read = stream.read_buf(&mut self.bytes).await;
        match read {
            Ok(0) => Err("connection closed".to_owned()),
            Ok(n) => match self.left.checked_sub(n) {
                Some(left) => {
                    self.left = left;
                    Ok(())
                }
                None => Err(format!("it sent more than {} KiB", self.allowed / 1_024)),
            },
            Err(e) => Err(plain(&e)),
        }
    }

    /// The same for whoever waits for several servers.
    pub fn poll_more(
        &mut self,
        stream: &mut Stream,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), String>> {
        pin!(self.more(stream)).poll(context)
    }

    /// Whether everything has been taken that arrived; if so, gives the memory for it back.
    pub fn settle(&mut self) -> bool {
        let is_empty = self.rest().is_empty();
        if is_empty {
            self.bytes = Vec::new();
            self.taken = 0;
        }
        is_empty
    }
}
