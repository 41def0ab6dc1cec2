//! A TLS connection whose errors are in words, whoever reads from it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use super::tls::explain;

/// A server's refusal may come after the handshake: in TLS 1.3 that is over for the client before the
/// server has seen the client's certificate (RFC 8446, 2).
pub(super) struct Secured<S> {
    stream: TlsStream<S>,
    /// Whether the client has a certificate to show.
    shows: bool,
}

impl<S> Secured<S> {
    pub(super) fn new(stream: TlsStream<S>, shows: bool) -> Self {
        Self { stream, shows }
    }

    fn in_words(&self, e: io::Error) -> io::Error {
        self.explained(&e).unwrap_or_else(|| {
            // Many servers hang up without TLS's goodbye, which rustls reports with a paragraph.
            if e.kind() == io::ErrorKind::UnexpectedEof {
                e.kind().into()
            } else {
                e
            }
        })
    }

    fn explained(&self, e: &io::Error) -> Option<io::Error> {
        explain(e, self.shows).map(|said| io::Error::new(e.kind(), said))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Secured<S> {
    /// A server that refuses us has hung up by the time we write; its reason may have arrived
    /// before.
    fn unwritten(&mut self, context: &mut Context<'_>, e: io::Error) -> io::Error {
        let mut byte = [0];
        let read = Pin::new(&mut self.stream).poll_read(context, &mut ReadBuf::new(&mut byte));
        let reason = match read {
            Poll::Ready(Err(reason)) => self.explained(&reason),
            Poll::Ready(Ok(())) | Poll::Pending => None,
        };
        reason.unwrap_or_else(|| self.in_words(e))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Secured<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        read.map_err(|e| self.in_words(e))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Secured<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        written.map_err(|e| self.unwritten(context, e))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        flushed.map_err(|e| self.unwritten(context, e))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
