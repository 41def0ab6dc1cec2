//! The messages of a NATS server, parsed from the bytes that have arrived. Each is bounded.

use ready_probe_sdk::store::nats::Reply;

use crate::link::read_limit::Received;

/// The largest message we accept: a record, or an answer of JetStream's API.
pub(super) const MAX_MESSAGE_BYTES: usize = 1024 * 1024;
/// The subscription that all answers come through.
pub(super) const SUBSCRIPTION: &str = "1";
pub(super) const NO_NATS: &str = "it does not speak the NATS protocol";

/// What a server may say next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    Pong,
    Ping,
    Ok,
    Info,
    Error(String),
    Delivered(Delivered),
}

/// An answer to a request: its subject, its headers as they stand, its payload.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Delivered {
    pub(super) subject: String,
    pub(super) head: String,
    pub(super) payload: Vec<u8>,
}

/// Takes the next complete message from what has arrived.
pub(super) fn next_message(received: &mut Received) -> Result<Option<Message>, String> {
    let garbage = || NO_NATS.to_owned();
    let rest = received.rest();
    let Some(end) = rest.iter().position(|b| *b == b'\n') else {
        return Ok(None);
    };
    let line = String::from_utf8_lossy(rest.get(..end).unwrap_or_default())
        .trim_end()
        .to_owned();
    let (word, args) = line.split_once([' ', '\t']).unwrap_or((line.as_str(), ""));
    let message = match word.to_ascii_uppercase().as_str() {
        "PONG" => Message::Pong,
        "PING" => Message::Ping,
        "+OK" => Message::Ok,
        "INFO" => Message::Info,
        "-ERR" => Message::Error(args.trim().trim_matches('\'').to_owned()),
        // MSG subject sid [reply] size; HMSG subject sid [reply] header-size size
        kind @ ("MSG" | "HMSG") => {
            let parts: Vec<&str> = args.split_ascii_whitespace().collect();
            let size = |from_end: usize| -> Option<usize> {
                parts.get(parts.len().checked_sub(from_end)?)?.parse().ok()
            };
            if parts.get(1) != Some(&SUBSCRIPTION) {
                return Err(garbage());
            }
            let total = size(1)
                .filter(|n| *n <= MAX_MESSAGE_BYTES)
                .ok_or_else(garbage)?;
            let head = if kind == "HMSG" {
                size(2).filter(|n| *n <= total).ok_or_else(garbage)?
            } else {
                0
            };
            let body = end + 1;
            let Some(bytes) = rest.get(body..body + total + 2) else {
                return Ok(None);
            };
            let answer = Delivered {
                subject: parts.first().copied().unwrap_or_default().to_owned(),
                head: String::from_utf8_lossy(bytes.get(..head).unwrap_or_default()).into_owned(),
                payload: bytes.get(head..total).unwrap_or_default().to_vec(),
            };
            received.take(body + total + 2);
            return Ok(Some(Message::Delivered(answer)));
        }
        _ => return Err(garbage()),
    };
    received.take(end + 1);
    Ok(Some(message))
}

/// `NATS/1.0 503 No Responders`, then `Name: value` lines.
pub(super) fn reply(answer: Delivered) -> Reply {
    let mut lines = answer.head.lines();
    let status_line = lines.next().unwrap_or_default();
    let status = status_line.split_once(' ').map_or("", |(_, rest)| rest);
    let (code, description) = status.split_once(' ').unwrap_or((status, ""));
    Reply {
        status: code.trim().parse().ok(),
        description: description.trim().to_owned(),
        headers: lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
            .collect(),
        payload: answer.payload,
    }
}

#[cfg(test)]
mod tests;
