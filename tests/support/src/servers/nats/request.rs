//! One question to a nats-server and its answer, with nothing but the protocol.
//!
//! <https://docs.nats.io/reference/reference-protocols/nats-protocol>

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::Duration,
};

/// For an answer. A server without a leader to ask may give none at all.
const PATIENCE: Duration = Duration::from_secs(3);

/// The head (status line and headers) and the body of an answer.
pub type Answer = (String, String);

/// Asks; the server demands no login. An error of the kind `TimedOut` or `WouldBlock` means that there
/// was no answer.
pub(super) fn request(
    port: u16,
    subject: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut head = String::from("NATS/1.0\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let (head_size, size) = (head.len(), head.len() + body.len());
    write!(
        stream,
        "CONNECT {{\"verbose\":false,\"headers\":true,\"no_responders\":true}}\r\n\
         SUB _INBOX.answer 1\r\n\
         HPUB {subject} _INBOX.answer {head_size} {size}\r\n{head}{body}\r\n"
    )?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let number = |from_end: usize| {
            let word = words.len().checked_sub(from_end).map(|at| words[at]);
            word.and_then(|word| word.parse::<usize>().ok())
        };
        let (head_size, size) = match words.first() {
            Some(&"MSG") => (Some(0), number(1)),
            Some(&"HMSG") => (number(2), number(1)),
            Some(&"-ERR") => return Err(io::Error::other(line)),
            _ => continue,
        };
        let (Some(head_size), Some(size)) = (head_size, size) else {
            return Err(io::Error::other(line));
        };
        let mut bytes = vec![0; size];
        reader.read_exact(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let (head, body) = text.split_at(head_size);
        return Ok((head.to_owned(), body.to_owned()));
    }
}
