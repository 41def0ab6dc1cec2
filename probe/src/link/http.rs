//! A connection to an HTTP/1.1 server. hyper speaks; each answer is bounded as it comes over the wire.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper::header::{CONNECTION, HOST, HeaderValue};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use ready_probe_sdk::connect::read_limit::{Allowance, Limited};
use ready_probe_sdk::connect::{Endpoint, stage};

use super::connect::{self, NoConnection, Stream};
use super::kept::Resting;

/// How long the status line and headers may be.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// The most that is read of an answer, head and body, as it comes over the wire. A health endpoint
/// says less.
pub const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// A connection to one server.
pub struct HttpLink {
    sender: SendRequest<Full<Bytes>>,
    driver: Driver,
    allowance: Allowance,
    most_bytes: usize,
    left: Left,
}

/// What is left to be read of an answer whose meaning is known.
pub enum Left {
    /// Nothing.
    Nothing,
    /// A body with an end.
    Body(Incoming),
    /// More than anybody reads.
    Endless,
}

type Spoken = Connection<TokioIo<Limited<Stream>>, Full<Bytes>>;

/// Moves the connection's bytes.
struct Driver {
    connection: Pin<Box<Spoken>>,
    has_ended: bool,
}

impl HttpLink {
    /// Speaks HTTP on a connection. The error is for people.
    pub async fn open(stream: Stream) -> Result<Self, String> {
        Self::bounded(stream, MAX_ANSWER_BYTES).await
    }

    /// The same, where so much is read of an answer.
    async fn bounded(stream: Stream, most_bytes: usize) -> Result<Self, String> {
        let stream = Limited::new(stream, most_bytes);
        let allowance = stream.allowance();
        let (sender, connection) = Builder::new()
            .max_buf_size(MAX_HEAD_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|e| plain(&e))?;
        Ok(Self {
            sender,
            driver: Driver {
                connection: Box::pin(connection),
                has_ended: false,
            },
            allowance,
            most_bytes,
            left: Left::Nothing,
        })
    }

    /// Sends a request and has the answer read, which tells what is left of it. The error, that there
    /// is none, is for people.
    pub async fn exchange<T>(
        &mut self,
        request: Request<Full<Bytes>>,
        read: impl AsyncFnOnce(Response<Incoming>) -> (T, Left),
    ) -> Result<T, String> {
        self.allowance.set(self.most_bytes);
        let sender = &mut self.sender;
        let conversation = async {
            match sender.send_request(request).await {
                Ok(response) => Ok(read(response).await),
                Err(e) => Err(plain(&e)),
            }
        };
        let (said, left) = tokio::select! {
            // The answer first: a server may answer and close at once.
            biased;
            answered = conversation => answered?,
            cause = self.driver.fails() => return Err(cause),
        };
        self.left = left;
        Ok(said)
    }

    /// Whether the server is in the middle of an answer that has an end.
    pub fn is_under_way(&self) -> bool {
        match self.left {
            Left::Body(_) => true,
            Left::Nothing | Left::Endless => false,
        }
    }

    /// Reads what is left, up to the bound. Returns whether that was the end of the answer.
    pub fn poll_read_on(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        let has_ended = self.driver.poll(context).is_ready();
        loop {
            let frame = match &mut self.left {
                Left::Nothing => return Poll::Ready(true),
                Left::Endless => return Poll::Ready(false),
                Left::Body(body) => Pin::new(body).poll_frame(context),
            };
            match frame {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(None) => self.left = Left::Nothing,
                Poll::Ready(Some(Err(_))) => return Poll::Ready(false),
                Poll::Pending if has_ended => return Poll::Ready(false),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// Asks once, on a connection of its own. The error says which server gave no answer, and why.
pub async fn ask_once(
    at: &Endpoint,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Vec<u8>), String> {
    ask_for_much(at, request, MAX_ANSWER_BYTES).await
}

/// The same, where so much is read of the answer.
pub async fn ask_for_much(
    at: &Endpoint,
    mut request: Request<Full<Bytes>>,
    most_bytes: usize,
) -> Result<(StatusCode, Vec<u8>), String> {
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::from_static("localhost"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    let answered = async {
        let stream = connect::open(at).await.map_err(NoConnection::text)?;
        let mut link = HttpLink::bounded(stream, most_bytes).await?;
        stage::lacks(|| "answer".to_owned());
        let read = async |response: Response<Incoming>| {
            let status = response.status();
            (
                whole(response.into_body()).await.map(|body| (status, body)),
                Left::Nothing,
            )
        };
        link.exchange(request, read).await?
    };
    answered.await.map_err(|why: String| format!("{at}: {why}"))
}

async fn whole(mut body: Incoming) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| plain(&e))?;
        bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
    }
    Ok(bytes)
}

/// Whether the two of them go on is hyper's to know: by the answer's version, its headers, and how it
/// tells its end (RFC 9112, 9.3).
impl Resting for HttpLink {
    fn poll_settled(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        let is_read = ready!(self.poll_read_on(context));
        if !is_read || self.driver.has_ended {
            return Poll::Ready(false);
        }
        self.sender.poll_ready(context).map(|ready| ready.is_ok())
    }

    fn poll_ended(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.driver.poll(context).map(|_| ())
    }
}

impl Driver {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        if self.has_ended {
            return Poll::Ready(Ok(()));
        }
        let ended = self.connection.as_mut().poll(context);
        self.has_ended = ended.is_ready();
        ended
    }

    /// It ends before the answer only if something is wrong; after a clean end, whoever reads the
    /// answer decides.
    async fn fails(&mut self) -> String {
        match std::future::poll_fn(|context| self.poll(context)).await {
            Ok(()) => std::future::pending().await,
            Err(e) => {
                // The reader hears of it, too, and knows better what it means.
                tokio::task::yield_now().await;
                plain(&e)
            }
        }
    }
}

/// What is said of a server that closes a connection in place of an answer.
pub const CLOSED: &str = "connection closed";

/// hyper's message, without the layers around it.
pub fn plain(e: &hyper::Error) -> String {
    let source = std::error::Error::source(e);
    // A server that speaks before it is asked cancels the request, and what it said is the reason.
    if let Some(reason) = source.and_then(|s| s.downcast_ref::<hyper::Error>()) {
        return plain(reason);
    }
    if e.is_incomplete_message() || e.is_closed() || e.is_canceled() {
        return CLOSED.to_owned();
    }
    if e.is_parse() {
        return "it does not speak HTTP/1.1".to_owned();
    }
    if let Some(io) = source.and_then(|s| s.downcast_ref::<std::io::Error>()) {
        return connect::plain(io);
    }
    e.to_string()
}
