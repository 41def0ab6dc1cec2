//! A connection to Redis. Commands and replies are encoded and decoded by the redis crate, over our
//! own connection: its clients buffer without bound what a server sends.

use std::task::{Context, Poll};

use ready_probe_sdk::connect::Endpoint;
use ready_probe_sdk::connect::redis::RedisAddress;
use ready_probe_sdk::connect::stage;
use ready_probe_sdk::connect::tls::TlsOptions;
use ready_probe_sdk::store::{self, Failure};
use redis::{Cmd, Value};
use tokio::io::AsyncWriteExt;

use super::connect::{self, Stream, plain};
use super::kept::Resting;
use super::read_limit::Received;
use crate::redact::Secrets;

/// Each part of a reply takes about so much memory, however short it is on the wire.
const BYTES_PER_PART: usize = 64;

/// What to say about a server that speaks something else.
pub const NO_REDIS: &str = "it does not speak the Redis protocol";

/// A connection to one server.
pub struct RedisLink {
    stream: Stream,
    received: Received,
    /// Who we are: said together with the first questions.
    login: Vec<Cmd>,
    /// No answer may be longer.
    max_bytes: usize,
}

impl RedisLink {
    /// Connects, for answers of up to `max_bytes`. The error is for people.
    pub async fn open(
        address: &RedisAddress,
        tls: &TlsOptions,
        endpoint: &Endpoint,
        max_bytes: usize,
        secrets: &Secrets,
    ) -> Result<Self, String> {
        let tls = address.tls.then(|| connect::tls_config(tls)).transpose()?;
        let mut stream = connect::open(endpoint)
            .await
            .map_err(connect::NoConnection::text)?;
        if let Some(config) = tls {
            stream = connect::secure(stream, endpoint, config, secrets).await?;
        }
        Ok(Self {
            stream,
            received: Received::default(),
            login: Vec::new(),
            max_bytes,
        })
    }

    /// Logs in with the first questions.
    pub fn logging_in(self, address: &RedisAddress) -> Self {
        let login = login(address);
        Self { login, ..self }
    }

    /// Sends bytes, and collects as many replies as have names, or those that `suffice`; says why
    /// some are missing.
    pub async fn exchange(
        &mut self,
        request: &[u8],
        replies_to: &[String],
        suffice: impl Fn(&[Value]) -> bool,
    ) -> Result<(Vec<Value>, Option<String>), String> {
        self.stream
            .write_all(request)
            .await
            .map_err(|e| plain(&e))?;
        self.stream.flush().await.map_err(|e| plain(&e))?;
        self.received.allow(self.max_bytes);
        let expected = replies_to.len();
        let mut replies = Vec::new();
        let mut closed = None;
        loop {
            let max_parts = (self.max_bytes / BYTES_PER_PART) as u64;
            decode(&mut self.received, expected, max_parts, &mut replies)?;
            if replies.len() == expected || closed.is_some() || suffice(&replies) {
                return Ok((replies, closed));
            }
            stage::lacks(|| reply_name(replies_to.get(replies.len())));
            closed = self.received.more(&mut self.stream).await.err();
        }
    }
}

/// It speaks only when it is asked: no command of ours subscribes to anything.
impl Resting for RedisLink {
    fn poll_settled(&mut self, _: &mut Context<'_>) -> Poll<bool> {
        Poll::Ready(self.received.settle())
    }

    fn poll_ended(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.received
            .poll_more(&mut self.stream, context)
            .map(|_| ())
    }
}

/// What a server has not sent yet.
fn reply_name(command: Option<&String>) -> String {
    match command.map(String::as_str) {
        Some("PING") => "PONG".to_owned(),
        Some(command) => format!("reply to {command}"),
        None => "reply".to_owned(),
    }
}

/// The first word of a command.
pub fn command_name(command: &Cmd) -> String {
    match command.args_iter().next() {
        Some(redis::Arg::Simple(name)) => String::from_utf8_lossy(name).into_owned(),
        Some(redis::Arg::Cursor | _) | None => String::new(),
    }
}

/// The commands that say who we are and which database we mean.
pub fn login(address: &RedisAddress) -> Vec<Cmd> {
    let mut commands = Vec::new();
    let mut add = |command: &mut Cmd| commands.push(command.clone());
    match (&address.user, &address.password) {
        (None, None) => {}
        (None, Some(password)) => add(redis::cmd("AUTH").arg(password.reveal())),
        (Some(user), password) => {
            let password = password.as_ref().map_or("", |p| p.reveal());
            add(redis::cmd("AUTH").arg(user).arg(password));
        }
    }
    if address.db != 0 {
        add(redis::cmd("SELECT").arg(address.db));
    }
    commands
}

/// Takes the complete replies from what has arrived. One of more than `max_parts` is refused.
pub fn decode(
    received: &mut Received,
    expected: usize,
    max_parts: u64,
    replies: &mut Vec<Value>,
) -> Result<(), String> {
    while replies.len() < expected {
        let rest = received.rest();
        let Some(end) = end_of_reply(rest, max_parts)? else {
            break;
        };
        let reply = rest.get(..end).unwrap_or_default();
        replies.push(redis::parse_redis_value(reply).map_err(|_| NO_REDIS.to_owned())?);
        received.take(end);
    }
    Ok(())
}

/// Where the first reply ends, if all of it has arrived: the crate's parser does not tell. Each part
/// begins with its kind and a line; a text's line tells its length, an array's how many parts follow
/// (<https://redis.io/docs/latest/develop/reference/protocol-spec/>).
fn end_of_reply(bytes: &[u8], max_parts: u64) -> Result<Option<usize>, String> {
    let garbage = || NO_REDIS.to_owned();
    let mut parts: u64 = 1;
    let mut all = parts;
    let mut at = 0;
    while parts > 0 {
        let rest = bytes.get(at..).unwrap_or_default();
        let Some(kind) = rest.first() else {
            return Ok(None);
        };
        if !matches!(kind, b'+' | b'-' | b':' | b'$' | b'*') {
            return Err(garbage());
        }
        let Some(line_end) = rest.iter().position(|b| *b == b'\n') else {
            return Ok(None);
        };
        let number = || -> Result<i64, String> {
            let line = rest.get(1..line_end).unwrap_or_default();
            let text = std::str::from_utf8(line).map_err(|_| garbage())?;
            text.trim_end().parse().map_err(|_| garbage())
        };
        parts -= 1;
        at += line_end + 1;
        match kind {
            // A length of -1 is a missing text or array.
            b'$' => {
                if let Ok(length) = usize::try_from(number()?) {
                    at = at.saturating_add(length).saturating_add(2);
                }
            }
            b'*' => {
                let more = u64::try_from(number()?).unwrap_or(0);
                parts = parts.saturating_add(more);
                all = all.saturating_add(more);
                if all > max_parts {
                    return Err(format!("its reply has more than {max_parts} parts"));
                }
            }
            _ => {}
        }
        if at > bytes.len() {
            return Ok(None);
        }
    }
    Ok(Some(at))
}

impl store::redis::CommandLink for RedisLink {
    async fn exchange(&mut self, commands: &[Cmd], _: usize) -> Result<Vec<Value>, Failure> {
        let login = std::mem::take(&mut self.login);
        let mut request = Vec::new();
        let mut replies_to = Vec::with_capacity(login.len() + commands.len());
        for command in login.iter().chain(commands) {
            request.extend(command.get_packed_command());
            replies_to.push(command_name(command));
        }
        let expected = replies_to.len();
        let (mut replies, closed) = Self::exchange(self, &request, &replies_to, |_| false)
            .await
            .map_err(Failure::lost)?;
        let refused = replies
            .iter()
            .take(login.len())
            .find_map(|reply| match reply {
                Value::ServerError(e) => Some(e),
                _ => None,
            });
        if let Some(e) = refused {
            let said = format!("{} {}", e.code(), e.details().unwrap_or_default());
            return Err(Failure::lost(said));
        }
        if let Some(cause) = closed.filter(|_| replies.len() < expected) {
            return Err(Failure::lost(cause));
        }
        Ok(replies.split_off(login.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIRE: &[u8] =
        b"+PONG\r\n-ERR no\r\n:-2\r\n$-1\r\n$5\r\na\r\nb\n\r\n*2\r\n$1\r\nx\r\n*-1\r\n*0\r\n";

    #[test]
    fn replies_are_taken_whole_or_not_at_all() {
        let all = |bytes: &[u8]| {
            let mut replies = Vec::new();
            decode(&mut Received::of(bytes), 99, 99, &mut replies).unwrap();
            replies
        };
        let whole = all(WIRE);
        assert_eq!(whole.len(), 7);
        assert_eq!(whole.get(4), Some(&Value::BulkString(b"a\r\nb\n".to_vec())));
        for end in 0..WIRE.len() {
            let part = all(WIRE.get(..end).unwrap());
            assert!(whole.starts_with(&part), "cut at {end}");
        }
    }

    #[test]
    fn garbage_is_said_to_be_garbage() {
        for wire in ["HTTP/1.1 400\r\n", "\r\n", "$x\r\n", "*1x\r\n", "_\r\n"] {
            assert!(end_of_reply(wire.as_bytes(), 99).is_err(), "{wire:?}");
        }
    }

    #[test]
    fn a_reply_of_too_many_parts_is_refused_before_they_come() {
        assert_eq!(end_of_reply(b"*98\r\n", 99), Ok(None));
        for wire in ["*99\r\n", "*49\r\n*50\r\n", "*9223372036854775807\r\n"] {
            let refused = end_of_reply(wire.as_bytes(), 99).unwrap_err();
            assert_eq!(refused, "its reply has more than 99 parts", "{wire:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_codec_panic(wire in "[+:$*_a-][-0-9a]{0,20}\r\n[ -~\r\n]{0,80}") {
            let _ = decode(&mut Received::of(wire.as_bytes()), 9, 99, &mut Vec::new());
        }
    }
}
