//! Requests and responses, and how they look on the wire.

use std::{
    io::{self, BufRead, Write},
    time::Duration,
};

/// What a client asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `HEAD`, …
    pub method: String,
    /// As sent, with the query.
    pub path: String,
    /// In the order sent, with names as sent.
    pub headers: Vec<(String, String)>,
    /// As long as `Content-Length` says; chunked ones are not understood.
    pub body: Vec<u8>,
}

impl Request {
    /// The first header of that name, in whatever case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Sent as they are, before those of the body.
    pub headers: Vec<(String, String)>,
    /// The body; `HEAD`, 1xx, 204 and 304 get none.
    pub body: Vec<u8>,
    /// In chunks of a few bytes, instead of with a `Content-Length`.
    pub chunked: bool,
    /// Before the first byte of the answer.
    pub delay: Duration,
}

impl Response {
    /// An answer with this status and nothing else.
    pub fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            chunked: false,
            delay: Duration::ZERO,
        }
    }

    /// With this body.
    #[must_use]
    pub fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self {
            body: body.into(),
            ..self
        }
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// In chunks.
    #[must_use]
    pub fn chunked(self) -> Self {
        Self {
            chunked: true,
            ..self
        }
    }

    /// After a pause.
    #[must_use]
    pub fn delay(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    pub(super) fn write(&self, to: &mut impl Write, to_head: bool) -> io::Result<()> {
        let mut out = format!("HTTP/1.1 {} Status\r\n", self.status).into_bytes();
        for (name, value) in &self.headers {
            out.extend(format!("{name}: {value}\r\n").bytes());
        }
        if matches!(self.status, 100..200 | 204 | 304) {
            out.extend(b"\r\n");
            return to.write_all(&out);
        }
        if self.chunked {
            out.extend(b"Transfer-Encoding: chunked\r\n\r\n");
        } else {
            out.extend(format!("Content-Length: {}\r\n\r\n", self.body.len()).bytes());
        }
        if to_head {
            return to.write_all(&out);
        }
        if !self.chunked {
            out.extend(&self.body);
            return to.write_all(&out);
        }
        // Small enough that no text a test looks for arrives in one piece.
        for chunk in self.body.chunks(5) {
            out.extend(format!("{:x}\r\n", chunk.len()).bytes());
            out.extend(chunk);
            out.extend(b"\r\n");
        }
        out.extend(b"0\r\n\r\n");
        to.write_all(&out)
    }
}

/// The next request; none when the client is done, or sends something else.
pub(super) fn read_request(from: &mut impl BufRead) -> io::Result<Option<Request>> {
    let first = read_line(from)?;
    let mut words = first.split(' ');
    let (Some(method), Some(path), Some("HTTP/1.1" | "HTTP/1.0")) =
        (words.next(), words.next(), words.next())
    else {
        return Ok(None);
    };
    let mut request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
    };
    loop {
        let line = read_line(from)?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        request
            .headers
            .push((name.to_owned(), value.trim().to_owned()));
    }
    let length = request
        .header("content-length")
        .and_then(|value| value.parse().ok())
        .unwrap_or(0);
    request.body = vec![0; length];
    from.read_exact(&mut request.body)?;
    Ok(Some(request))
}

fn read_line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}
