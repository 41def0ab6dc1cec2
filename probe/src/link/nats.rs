//! A connection to NATS, with a codec of the few messages that are needed (`message.rs`). A full
//! client buffers without bound what a server sends, and accepts no connection of ours.
//!
//! The protocol: <https://docs.nats.io/reference/reference-protocols/nats-protocol>.

mod login;
mod message;
mod nkey;

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ready_probe_sdk::connect::Endpoint;
use ready_probe_sdk::connect::nats::NatsAddress;
use ready_probe_sdk::connect::stage;
use ready_probe_sdk::connect::tls::TlsOptions;
use ready_probe_sdk::store::Failure;
use ready_probe_sdk::store::nats::{Link, MAX_BATCH, MOMENT, Replies, Reply, Request};
use serde::Deserialize;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::connect::{self, Stream, plain};
use super::kept::Resting;
use super::read_limit::{MAX_REPLY_BYTES, Received};
use crate::redact::Secrets;
use login::{Connect, Proof, greeting};
use message::{Message, NO_NATS, SUBSCRIPTION, next_message, reply};

/// What a server has not sent.
const PONG: &str = "PONG";
const JETSTREAM: &str = "answer from JetStream";
/// What a server that asks wants to hear.
const OUR_PONG: &[u8] = b"PONG\r\n";

/// What a server says first.
#[derive(Debug, Default, Deserialize)]
pub struct Info {
    /// It talks through TLS only.
    #[serde(default)]
    pub tls_required: bool,
    /// It could.
    #[serde(default)]
    pub tls_available: bool,
    /// It has JetStream, perhaps for other accounts only.
    #[serde(default)]
    pub jetstream: bool,
    /// What to sign to prove a key.
    #[serde(default)]
    pub nonce: String,
    /// Its version.
    #[serde(default)]
    pub version: String,
}

/// What asking has brought.
#[derive(Debug, Default)]
pub struct Exchanged {
    /// The answers to each request.
    pub replies: Vec<Vec<Reply>>,
    /// What the server refused, if anything; nothing more is read after that.
    pub error: Option<String>,
}

/// A connection to one server.
pub struct NatsLink {
    stream: Stream,
    received: Received,
    /// What the server said first.
    pub info: Info,
    /// What we say first, together with the first questions.
    greeting: Option<Connect>,
    /// The subject of our answers, which is ours alone. With one for all, probes of one account
    /// would take each other's answers.
    inbox: String,
    subscribed: bool,
    sent: u64,
    /// What is left to be sent of our answer to a server that asks.
    owed: &'static [u8],
    max_bytes: usize,
    /// What proves who we are, perhaps from a file: never to be quoted.
    pub proof: Vec<String>,
}

impl NatsLink {
    /// Connects, and hears the server out. Answers are read up to `max_bytes` each time. The error
    /// is for people.
    pub async fn open(
        address: &NatsAddress,
        tls: &TlsOptions,
        endpoint: &Endpoint,
        max_bytes: usize,
        secrets: &Secrets,
    ) -> Result<Self, String> {
        // A missing file should be named even if nobody answers.
        let proof = Proof::of(&address.auth)?;
        let mut config = address.tls.then(|| connect::tls_config(tls)).transpose()?;
        let mut stream = connect::open(endpoint)
            .await
            .map_err(connect::NoConnection::text)?;
        let mut received = Received::default();
        received.allow(max_bytes);
        let info = read_info(&mut stream, &mut received).await?;
        let speaks_tls = address.tls || info.tls_required;
        if speaks_tls {
            if !info.tls_required && !info.tls_available {
                return Err("TLS: the server does not offer it".to_owned());
            }
            // Bytes sent in the clear must not be taken for bytes that came through TLS.
            if !received.rest().is_empty() {
                return Err("TLS: the server sent more than its INFO before it".to_owned());
            }
            let config = match config.take() {
                Some(config) => config,
                None => connect::tls_config(tls)?,
            };
            stream = connect::secure(stream, endpoint, config, secrets).await?;
        }
        let greeting = greeting(proof, &info.nonce, speaks_tls)?;
        let proof = [
            &greeting.pass,
            &greeting.auth_token,
            &greeting.jwt,
            &greeting.sig,
        ];
        Ok(Self {
            proof: proof.into_iter().flatten().cloned().collect(),
            stream,
            received,
            info,
            greeting: Some(greeting),
            inbox: inbox(),
            subscribed: false,
            sent: 0,
            owed: &[],
            max_bytes,
        })
    }

    /// Sends all requests together, and collects the answers. Without requests, it asks whether the
    /// server is there.
    pub async fn exchange(&mut self, requests: &[Request]) -> Result<Exchanged, String> {
        let mut wire = std::mem::take(&mut self.owed).to_vec();
        let greets = self.greeting.is_some();
        if let Some(greeting) = self.greeting.take() {
            let asks = !requests.is_empty();
            let greeting = Connect {
                headers: asks,
                no_responders: asks,
                ..greeting
            };
            let json = serde_json::to_string(&greeting).map_err(|e| e.to_string())?;
            wire.extend(format!("CONNECT {json}\r\nPING\r\n").into_bytes());
        } else if requests.is_empty() {
            wire.extend(b"PING\r\n");
        }
        if !requests.is_empty() && !self.subscribed {
            self.subscribed = true;
            wire.extend(format!("SUB {}.* {SUBSCRIPTION}\r\n", self.inbox).into_bytes());
        }
        let first = self.sent;
        for request in requests {
            self.encode(request, &mut wire);
        }
        self.stream.write_all(&wire).await.map_err(|e| plain(&e))?;
        self.stream.flush().await.map_err(|e| plain(&e))?;
        self.received.allow(self.max_bytes);
        let wants_pong = greets || requests.is_empty();
        self.listen(requests, first, wants_pong).await
    }

    fn encode(&mut self, request: &Request, wire: &mut Vec<u8>) {
        let reply = format!("{}.{}", self.inbox, self.sent);
        self.sent += 1;
        let Request {
            subject, payload, ..
        } = request;
        let size = payload.len();
        if request.headers.is_empty() {
            wire.extend(format!("PUB {subject} {reply} {size}\r\n").into_bytes());
        } else {
            let mut head = String::from("NATS/1.0\r\n");
            for (name, value) in &request.headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            head.push_str("\r\n");
            let (head_size, total) = (head.len(), head.len() + size);
            wire.extend(format!("HPUB {subject} {reply} {head_size} {total}\r\n").into_bytes());
            wire.extend(head.into_bytes());
        }
        wire.extend(payload);
        wire.extend(b"\r\n");
    }

    async fn listen(
        &mut self,
        requests: &[Request],
        first: u64,
        mut wants_pong: bool,
    ) -> Result<Exchanged, String> {
        let mut heard = Exchanged {
            replies: requests.iter().map(|_| Vec::new()).collect(),
            error: None,
        };
        let mut open: HashMap<u64, usize> = (first..).zip(0..requests.len()).collect();
        let is_waited_for = |place: &usize| {
            let request: Option<&Request> = requests.get(*place);
            request.is_some_and(|request| request.replies != Replies::Maybe)
        };
        while wants_pong || !open.is_empty() {
            let Some(message) = next_message(&mut self.received)? else {
                stage::lacks(|| if wants_pong { PONG } else { JETSTREAM }.to_owned());
                let more = self.received.more(&mut self.stream);
                if wants_pong || open.values().any(is_waited_for) {
                    more.await?;
                } else {
                    match tokio::time::timeout(MOMENT, more).await {
                        Ok(more) => more?,
                        Err(_) => break,
                    }
                }
                continue;
            };
            match message {
                Message::Pong => wants_pong = false,
                // It waits longer than this for an answer.
                Message::Ping => self.owed = OUR_PONG,
                Message::Ok | Message::Info => {}
                Message::Error(text) => {
                    heard.error = Some(text);
                    return Ok(heard);
                }
                Message::Delivered(answer) => {
                    let number = self.number(&answer.subject);
                    let Some((number, place)) = number.and_then(|n| Some((n, *open.get(&n)?)))
                    else {
                        continue;
                    };
                    let reply = reply(answer);
                    let is_last = match requests.get(place).map(|request| request.replies) {
                        Some(Replies::Batch) => reply.ends_batch(),
                        Some(Replies::One | Replies::Maybe) | None => true,
                    };
                    if let Some(replies) = heard.replies.get_mut(place) {
                        if replies.len() > MAX_BATCH {
                            return Err("it answers more than it was asked for".to_owned());
                        }
                        replies.push(reply);
                    }
                    if is_last {
                        open.remove(&number);
                    }
                }
            }
        }
        Ok(heard)
    }

    /// The number of the request that an answer belongs to.
    fn number(&self, subject: &str) -> Option<u64> {
        let number = subject.strip_prefix(&self.inbox)?.strip_prefix('.')?;
        number.parse().ok()
    }
}

/// A server may tell of changes of its own, and asks whether we are still there.
impl Resting for NatsLink {
    fn poll_settled(&mut self, _: &mut Context<'_>) -> Poll<bool> {
        // All that it may send while nobody asks it.
        self.received.allow(MAX_REPLY_BYTES);
        let is_quiet = self.take_unasked().is_some();
        self.received.settle();
        Poll::Ready(is_quiet)
    }

    fn poll_ended(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.take_unasked().is_none()
                || matches!(self.poll_owed(context), Poll::Ready(Err(_)))
            {
                return Poll::Ready(());
            }
            if ready!(self.received.poll_more(&mut self.stream, context)).is_err() {
                return Poll::Ready(());
            }
        }
    }
}

impl NatsLink {
    /// Takes what a server may say at any time. `None` if it says anything else.
    fn take_unasked(&mut self) -> Option<()> {
        while let Some(message) = next_message(&mut self.received).ok()? {
            match message {
                // One PONG answers them all.
                Message::Ping => self.owed = OUR_PONG,
                // What was delivered came too late for its question.
                Message::Ok | Message::Info | Message::Delivered(_) => {}
                Message::Pong | Message::Error(_) => return None,
            }
        }
        Some(())
    }

    fn poll_owed(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        while !self.owed.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, self.owed))?;
            self.owed = self.owed.get(written..).unwrap_or_default();
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }
}

impl Link for NatsLink {
    async fn ask(&mut self, requests: Vec<Request>) -> Result<Vec<Vec<Reply>>, Failure> {
        let heard = self.exchange(&requests).await.map_err(Failure::lost)?;
        match heard.error {
            None => Ok(heard.replies),
            // All other errors end the connection.
            Some(error) if error.starts_with("Permissions Violation") => {
                Err(Failure::answered(error))
            }
            Some(error) => Err(Failure::lost(error)),
        }
    }

    fn server_version(&self) -> (u64, u64) {
        let mut parts = self.info.version.split('.').map(|part| part.parse().ok());
        let mut next = || parts.next().flatten().unwrap_or(0);
        (next(), next())
    }
}

fn inbox() -> String {
    let random = std::hash::RandomState::new().build_hasher().finish();
    format!("_INBOX.{random:016x}")
}

async fn read_info(stream: &mut Stream, received: &mut Received) -> Result<Info, String> {
    stage::lacks(|| "INFO".to_owned());
    loop {
        if let Some(line) = received.line() {
            let json = line.strip_prefix(b"INFO ").ok_or(NO_NATS)?;
            return serde_json::from_slice(json).map_err(|_| NO_NATS.to_owned());
        }
        received.more(stream).await?;
    }
}

#[cfg(test)]
mod rest_tests;
