//! Who asks for metrics over HTTP: so many at once, so long, and so much of what they say. Knows no metric.
//!
//! It runs beside the rounds on the same thread: one that hangs answers nobody, which is the truth.

use std::net::{SocketAddr, TcpListener as Bound};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};

/// So many are spoken to at once; others wait in the kernel's queue, which is bounded, too.
const MAX_TALKS: usize = 16;
/// How long one of them may take, whatever it does.
const TALK: Duration = Duration::from_secs(5);
/// No request is longer.
const MAX_REQUEST_BYTES: usize = 8 * 1024;
/// How long accepting pauses where it fails: no descriptor is left.
const PAUSE: Duration = Duration::from_millis(200);

const METRICS: &str = "/metrics";
const READY: &str = "/readyz";

/// The server.
#[derive(Debug)]
pub struct Scrapes {
    listener: TcpListener,
    talks: Arc<Semaphore>,
    asks: mpsc::Sender<Wanted>,
    asked: mpsc::Receiver<Wanted>,
}

/// Something that has to be answered.
#[derive(Debug)]
pub struct Wanted {
    /// What.
    pub page: Page,
    answer: oneshot::Sender<Result<String, String>>,
}

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// The metrics.
    Metrics,
    /// Whether the keeper does its work.
    Ready,
}

impl Wanted {
    /// Answers it: 200, or 503 and why.
    pub fn give(self, answer: Result<String, String>) {
        // Nobody waits for it any longer.
        let _ = self.answer.send(answer);
    }
}

/// Listens. The error says what to do.
pub fn bind(at: SocketAddr) -> Result<Bound, String> {
    let bound = Bound::bind(at).and_then(|bound| bound.set_nonblocking(true).map(|()| bound));
    bound.map_err(|e| {
        format!("--metrics-listen {at}: {e}; name another port, or an address of this machine")
    })
}

impl Scrapes {
    /// A server for whoever comes there. To be called within the event loop.
    pub fn new(bound: Bound) -> Result<Self, String> {
        let listener = TcpListener::from_std(bound)
            .map_err(|e| format!("the port of --metrics-listen can't be used: {e}"))?;
        let (asks, asked) = mpsc::channel(MAX_TALKS);
        Ok(Self {
            listener,
            talks: Arc::new(Semaphore::new(MAX_TALKS)),
            asks,
            asked,
        })
    }

    /// Waits for somebody who wants something.
    pub async fn next(&mut self) -> Wanted {
        loop {
            let permit = Arc::clone(&self.talks).acquire_owned();
            let accepted = async { (permit.await, self.listener.accept().await) };
            tokio::select! {
                wanted = self.asked.recv() => {
                    if let Some(wanted) = wanted {
                        return wanted;
                    }
                }
                (permit, accepted) = accepted => match accepted {
                    Ok((stream, _)) => {
                        let asks = self.asks.clone();
                        tokio::spawn(async move {
                            // One that takes too long is left.
                            let _ = tokio::time::timeout(TALK, talk(stream, asks)).await;
                            drop(permit);
                        });
                    }
                    Err(_) => tokio::time::sleep(PAUSE).await,
                },
            }
        }
    }
}

/// One request, and its answer.
async fn talk(mut stream: TcpStream, asks: mpsc::Sender<Wanted>) {
    let mut request = Vec::with_capacity(1024);
    let mut part = [0; 1024];
    let is_whole = loop {
        match stream.read(&mut part).await {
            Ok(0) | Err(_) => return,
            Ok(n) => request.extend_from_slice(part.get(..n).unwrap_or_default()),
        }
        if has_ended(&request) {
            break true;
        }
        if request.len() > MAX_REQUEST_BYTES {
            break false;
        }
    };
    let answer = match is_whole.then(|| parse(&request)) {
        None => Answer::plain(
            "431 Request Header Fields Too Large",
            "the request is too long\n",
        ),
        Some(Request::Page(page, is_head)) => {
            let (sender, given) = oneshot::channel();
            let wanted = Wanted {
                page,
                answer: sender,
            };
            if asks.send(wanted).await.is_err() {
                return;
            }
            let Ok(given) = given.await else { return };
            Answer::of(page, given).without_body(is_head)
        }
        Some(Request::Nothing) => {
            Answer::plain("404 Not Found", "there are /metrics and /readyz\n")
        }
        Some(Request::Other) => Answer::plain("405 Method Not Allowed", "it is read with GET\n"),
        Some(Request::NoHttp) => Answer::plain("400 Bad Request", "this is no request of HTTP/1\n"),
    };
    if stream.write_all(answer.text().as_bytes()).await.is_err() || stream.shutdown().await.is_err()
    {
        return;
    }
    // To close before all is read would throw away what the client has not taken yet.
    let mut left = MAX_REQUEST_BYTES;
    while left > 0 {
        match stream.read(&mut part).await {
            Ok(0) | Err(_) => return,
            Ok(n) => left = left.saturating_sub(n),
        }
    }
}

fn has_ended(request: &[u8]) -> bool {
    let ends = |end: &[u8]| request.windows(end.len()).any(|part| part == end);
    ends(b"\r\n\r\n") || ends(b"\n\n")
}

#[derive(Debug, PartialEq, Eq)]
enum Request {
    /// A page; with HEAD, without its body.
    Page(Page, bool),
    /// One that is not there.
    Nothing,
    /// Something else than to be told.
    Other,
    NoHttp,
}

/// The first line, which is all that matters.
fn parse(request: &[u8]) -> Request {
    let line = request.split(|byte| *byte == b'\n').next();
    let line = line.and_then(|line| std::str::from_utf8(line).ok());
    let words: Vec<&str> = line.unwrap_or_default().split_ascii_whitespace().collect();
    let [method, target, version] = words.as_slice() else {
        return Request::NoHttp;
    };
    if !version.starts_with("HTTP/1.") {
        return Request::NoHttp;
    }
    let path = target.split('?').next().unwrap_or_default();
    let page = match path {
        METRICS => Page::Metrics,
        READY => Page::Ready,
        _ => return Request::Nothing,
    };
    match *method {
        "GET" => Request::Page(page, false),
        "HEAD" => Request::Page(page, true),
        _ => Request::Other,
    }
}

struct Answer {
    status: &'static str,
    kind: &'static str,
    body: String,
    has_body: bool,
}

impl Answer {
    fn plain(status: &'static str, body: &str) -> Self {
        Self {
            status,
            kind: "text/plain; charset=utf-8",
            body: body.to_owned(),
            has_body: true,
        }
    }

    fn of(page: Page, given: Result<String, String>) -> Self {
        match (page, given) {
            (Page::Metrics, Ok(body)) => Self {
                kind: "text/plain; version=0.0.4; charset=utf-8",
                ..Self::plain("200 OK", &body)
            },
            (Page::Ready, Ok(body)) => Self::plain("200 OK", &body),
            (Page::Metrics | Page::Ready, Err(why)) => Self::plain("503 Service Unavailable", &why),
        }
    }

    fn without_body(self, is_head: bool) -> Self {
        Self {
            has_body: self.has_body && !is_head,
            ..self
        }
    }

    fn text(&self) -> String {
        let Self {
            status, kind, body, ..
        } = self;
        let length = body.len();
        let allow = if status.starts_with("405") {
            "Allow: GET, HEAD\r\n"
        } else {
            ""
        };
        let body = if self.has_body { body.as_str() } else { "" };
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{allow}Connection: close\r\n\r\n{body}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_told_by_the_first_line() {
        for (line, want) in [
            ("GET /metrics HTTP/1.1", Request::Page(Page::Metrics, false)),
            (
                "GET /metrics?x=y HTTP/1.0",
                Request::Page(Page::Metrics, false),
            ),
            ("HEAD /readyz HTTP/1.1", Request::Page(Page::Ready, true)),
            ("GET / HTTP/1.1", Request::Nothing),
            ("GET /metrics/ HTTP/1.1", Request::Nothing),
            ("POST /metrics HTTP/1.1", Request::Other),
            ("PRI * HTTP/2.0", Request::NoHttp),
            ("GET /metrics", Request::NoHttp),
            ("", Request::NoHttp),
            ("\u{16}\u{3}\u{1}", Request::NoHttp),
        ] {
            assert_eq!(
                parse(format!("{line}\r\nHost: x\r\n\r\n").as_bytes()),
                want,
                "{line}"
            );
        }
        assert_eq!(parse(b"\xff GET HTTP/1.1\r\n\r\n"), Request::NoHttp);
    }

    #[test]
    fn an_answer_to_head_has_the_length_of_the_body_that_it_has_not() {
        let answer = Answer::of(Page::Ready, Ok("ready\n".to_owned())).without_body(true);
        let text = answer.text();
        assert!(
            text.contains("Content-Length: 6\r\n") && text.ends_with("\r\n\r\n"),
            "{text}"
        );
    }
}
