//! A connection to NATS: a codec of the few messages that are needed, each bounded. A full client
//! buffers without bound what a server sends, and takes no connection of ours.
//!
//! The protocol: <https://docs.nats.io/reference/reference-protocols/nats-protocol>.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

use data_encoding::BASE64URL_NOPAD;
use nkeys::KeyPair;
use ready_probe_sdk::connect::Endpoint;
use ready_probe_sdk::connect::file;
use ready_probe_sdk::connect::nats::{NatsAddress, NatsAuth, seed_in};
use ready_probe_sdk::connect::tls::TlsOptions;
use ready_probe_sdk::store::Failure;
use ready_probe_sdk::store::nats::{Link, MAX_BATCH, MOMENT, Replies, Reply, Request};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;

use super::bounded::Received;
use super::connect::{self, Stream, plain};
use crate::redact::Secrets;

/// The largest message that is taken: a record or an answer of JetStream's API.
const MAX_MESSAGE_BYTES: usize = 1024 * 1024;
/// The subscription that all answers come through.
const SUBSCRIPTION: &str = "1";
const NO_NATS: &str = "it does not speak the NATS protocol";

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
    /// What is to be signed to prove a key.
    #[serde(default)]
    pub nonce: String,
    /// Its version.
    #[serde(default)]
    pub version: String,
}

/// What a client says first.
#[derive(Debug, Default, Serialize)]
struct Connect {
    verbose: bool,
    pedantic: bool,
    tls_required: bool,
    name: &'static str,
    lang: &'static str,
    version: &'static str,
    protocol: u8,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    headers: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    no_responders: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pass: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nkey: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sig: Option<String>,
}

/// What a server may say next.
#[derive(Debug, PartialEq, Eq)]
enum Message {
    Pong,
    Ping,
    Ok,
    Info,
    Error(String),
    Delivered(Delivered),
}

/// An answer to a request: where it went, its headers as they stand, its payload.
#[derive(Debug, PartialEq, Eq)]
struct Delivered {
    subject: String,
    head: String,
    payload: Vec<u8>,
}

/// What came of asking.
#[derive(Debug, Default)]
pub struct Heard {
    /// The answers to each request.
    pub replies: Vec<Vec<Reply>>,
    /// What the server refused, if it did; nothing more is read then.
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
    /// Where our answers are sent: a subject of our own. With one for all, probes of one account
    /// would take each other's answers.
    inbox: String,
    subscribed: bool,
    sent: u64,
    max_bytes: usize,
    /// What we say to prove who we are, which may have come from a file: never to be quoted.
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
        // A file that is not there is to be named also where nobody answers.
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
            // What was sent in the clear must not be taken for what comes through TLS.
            if !received.rest().is_empty() {
                return Err("TLS: the server sent more than its INFO before it".to_owned());
            }
            let config = match config.take() {
                Some(config) => config,
                None => connect::tls_config(tls)?,
            };
            stream = connect::secure(stream, endpoint, config, secrets).await?;
        }
        let greeting = greeting(proof, &info, speaks_tls)?;
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
            max_bytes,
        })
    }

    /// Sends all requests together, and collects the answers. Without any it asks whether the server
    /// is there.
    pub async fn exchange(&mut self, requests: &[Request]) -> Result<Heard, String> {
        let mut wire = Vec::new();
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
    ) -> Result<Heard, String> {
        let mut heard = Heard {
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
                // A server asks back once a minute or less, and waits longer for an answer than we
                // stay: one that asks without end need not be answered without end.
                Message::Ping | Message::Ok | Message::Info => {}
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
    loop {
        if let Some(line) = received.line() {
            let json = line.strip_prefix(b"INFO ").ok_or(NO_NATS)?;
            return serde_json::from_slice(json).map_err(|_| NO_NATS.to_owned());
        }
        received.more(stream).await?;
    }
}

/// Takes the next complete message off what was received.
fn next_message(received: &mut Received) -> Result<Option<Message>, String> {
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
fn reply(answer: Delivered) -> Reply {
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

/// What proves who we are, as far as it is known before the server has said what to sign.
enum Proof {
    None,
    Password { user: String, password: String },
    Token(String),
    Nkey(KeyPair),
    Jwt(String, KeyPair),
}

impl Proof {
    fn of(auth: &NatsAuth) -> Result<Self, String> {
        Ok(match auth {
            NatsAuth::None => Self::None,
            NatsAuth::Password { user, password } => Self::Password {
                user: user.clone(),
                password: password.reveal().to_owned(),
            },
            NatsAuth::Token(token) => Self::Token(token.reveal().to_owned()),
            NatsAuth::TokenFile(path) => {
                Self::Token(file::read_text(path).map_err(|e| format!("token_file: {e}"))?)
            }
            NatsAuth::Nkey(path) => {
                let seed = file::read_text(path).map_err(|e| format!("nkey: {e}"))?;
                Self::Nkey(key_pair(seed_in(&seed)).map_err(|e| format!("nkey: {e}"))?)
            }
            NatsAuth::Creds(path) => {
                let text = file::read_text(path).map_err(|e| format!("creds: {e}"))?;
                let section = |name| {
                    creds_section(&text, name)
                        .ok_or_else(|| format!("creds: {}: it holds no {name}", path.display()))
                };
                let pair = key_pair(section("SEED")?).map_err(|e| format!("creds: {e}"))?;
                Self::Jwt(section("JWT")?.to_owned(), pair)
            }
        })
    }
}

fn greeting(proof: Proof, info: &Info, tls: bool) -> Result<Connect, String> {
    let mut connect = Connect {
        tls_required: tls,
        name: "ready-probe",
        lang: "rust",
        version: env!("CARGO_PKG_VERSION"),
        protocol: 1,
        ..Connect::default()
    };
    match proof {
        Proof::None => {}
        Proof::Password { user, password } => {
            connect.user = Some(user);
            connect.pass = Some(password);
        }
        Proof::Token(token) => connect.auth_token = Some(token),
        Proof::Nkey(pair) => {
            connect.nkey = Some(pair.public_key());
            connect.sig = Some(sign(&pair, &info.nonce)?);
        }
        Proof::Jwt(jwt, pair) => {
            connect.jwt = Some(jwt);
            connect.sig = Some(sign(&pair, &info.nonce)?);
        }
    }
    Ok(connect)
}

/// The line between `-----BEGIN … NAME-----` and the next line of dashes.
fn creds_section<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = text.lines().map(str::trim);
    lines.find(|line| line.starts_with("-----BEGIN ") && line.contains(name))?;
    lines.find(|line| !line.is_empty() && !line.starts_with("---"))
}

fn key_pair(seed: &str) -> Result<KeyPair, String> {
    // The crate's own message may quote the seed.
    KeyPair::from_seed(seed).map_err(|_| "it holds no valid seed".to_owned())
}

fn sign(pair: &KeyPair, nonce: &str) -> Result<String, String> {
    if nonce.is_empty() {
        return Err("the server asks for no signature: it does not know nkeys".to_owned());
    }
    pair.sign(nonce.as_bytes())
        .map(|signature| BASE64URL_NOPAD.encode(&signature))
        .map_err(|_| "the seed can't sign".to_owned())
}

#[cfg(test)]
mod tests;
