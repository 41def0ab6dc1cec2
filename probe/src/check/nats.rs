//! Does NATS answer, and as expected?
//!
//! A codec of the few messages that are needed (INFO, CONNECT, PING, one request), each bounded:
//! a full client buffers without bound what a server sends, and takes no connection of ours.
//! The protocol: <https://docs.nats.io/reference/reference-protocols/nats-protocol>.

use std::hash::{BuildHasher, Hasher};

use data_encoding::BASE64URL_NOPAD;
use nkeys::KeyPair;
use ready_probe_sdk::connect::Endpoint;
use ready_probe_sdk::connect::nats::NatsAuth;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;

use super::bounded::{MAX_REPLY_BYTES, Received};
use super::connect::{self, Stream, plain};
use crate::outcome::Outcome;
use crate::redact::Secrets;
use crate::target::NatsTarget;
use crate::text_file;

/// The longest message of a server that is quoted.
const MAX_QUOTE_CHARS: usize = 120;
/// The subscription that the one answer we ask for comes through.
const SUBSCRIPTION: &str = "1";

/// What a server says first.
#[derive(Debug, Default, Deserialize)]
struct Info {
    #[serde(default)]
    tls_required: bool,
    #[serde(default)]
    tls_available: bool,
    #[serde(default)]
    jetstream: bool,
    #[serde(default)]
    nonce: String,
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
    /// An answer to our request: its status line, if it has one, and its payload.
    Answer(Option<String>, Vec<u8>),
}

/// What came of the conversation.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    pong: bool,
    error: Option<String>,
    answer: Option<(Option<String>, Vec<u8>)>,
    /// What we said to prove who we are, which may have come from a file.
    proof: Vec<String>,
}

impl Heard {
    /// All that must not be quoted.
    fn secrets(&self, known: &Secrets) -> Secrets {
        let mut secrets = known.clone();
        self.proof.iter().for_each(|proof| secrets.add(proof));
        secrets
    }
}

/// Asks one server.
pub async fn ask(target: &NatsTarget, endpoint: &Endpoint, secrets: &Secrets) -> Outcome {
    match converse(target, endpoint, secrets).await {
        Ok((info, heard)) => judge(target, &info, &heard, &heard.secrets(secrets)),
        Err(cause) => Outcome::Unknown(cause),
    }
}

/// The subject that answers the target's question about JetStream.
fn question(target: &NatsTarget) -> Option<String> {
    match &target.bucket {
        // A key-value bucket is a stream of this name (ADR-8).
        Some(bucket) => Some(format!("$JS.API.STREAM.INFO.KV_{bucket}")),
        None => target.jetstream.then(|| "$JS.API.INFO".to_owned()),
    }
}

async fn converse(
    target: &NatsTarget,
    endpoint: &Endpoint,
    secrets: &Secrets,
) -> Result<(Info, Heard), String> {
    // A file that is not there is to be named also where nobody answers.
    let proof = Proof::of(&target.address.auth)?;
    let mut tls_config = target
        .address
        .tls
        .then(|| connect::tls_config(&target.tls))
        .transpose()?;
    let mut stream = connect::open(endpoint)
        .await
        .map_err(connect::NoConnection::text)?;
    let mut received = Received::default();
    let info = read_info(&mut stream, &mut received).await?;
    let tls = target.address.tls || info.tls_required;
    if tls {
        if !info.tls_required && !info.tls_available {
            return Err("TLS: the server does not offer it".to_owned());
        }
        // What was sent in the clear must not be taken for what comes through TLS.
        if !received.rest().is_empty() {
            return Err("TLS: the server sent more than its INFO before it".to_owned());
        }
        let config = match tls_config.take() {
            Some(config) => config,
            None => connect::tls_config(&target.tls)?,
        };
        stream = connect::secure(stream, endpoint, config, secrets).await?;
    }
    let question = question(target);
    let greeting = greeting(proof, &info, tls, question.is_some())?;
    let json = serde_json::to_string(&greeting).map_err(|e| e.to_string())?;
    let mut request = format!("CONNECT {json}\r\nPING\r\n");
    if let Some(subject) = &question {
        let inbox = inbox();
        request.push_str(&format!(
            "SUB {inbox} {SUBSCRIPTION}\r\nUNSUB {SUBSCRIPTION} 1\r\nPUB {subject} {inbox} 0\r\n\r\n"
        ));
    }
    stream
        .write_all(request.as_bytes())
        .await
        .map_err(|e| plain(&e))?;
    stream.flush().await.map_err(|e| plain(&e))?;
    let mut heard = listen(&mut stream, &mut received, question.is_some()).await?;
    let proof = [
        greeting.pass,
        greeting.auth_token,
        greeting.jwt,
        greeting.sig,
    ];
    heard.proof = proof.into_iter().flatten().collect();
    Ok((info, heard))
}

/// Where our answer is sent: a subject of our own. With one for all, probes of one account would
/// take each other's answers.
fn inbox() -> String {
    let random = std::hash::RandomState::new().build_hasher().finish();
    format!("_INBOX.{random:016x}")
}

async fn read_info(stream: &mut Stream, received: &mut Received) -> Result<Info, String> {
    loop {
        if let Some(line) = received.line() {
            let json = line
                .strip_prefix(b"INFO ")
                .ok_or("it does not speak the NATS protocol")?;
            return serde_json::from_slice(json)
                .map_err(|_| "it does not speak the NATS protocol".to_owned());
        }
        received.more(stream).await?;
    }
}

async fn listen(
    stream: &mut Stream,
    received: &mut Received,
    wants_answer: bool,
) -> Result<Heard, String> {
    let mut heard = Heard::default();
    loop {
        while let Some(message) = next_message(received)? {
            match message {
                Message::Pong => heard.pong = true,
                // A server asks back once a minute or less, and waits longer for an answer than we
                // stay: one that asks without end need not be answered without end.
                Message::Ping | Message::Ok | Message::Info => {}
                Message::Error(text) => heard.error = Some(text),
                Message::Answer(status, payload) => heard.answer = Some((status, payload)),
            }
            if heard.error.is_some() || heard.pong && (!wants_answer || heard.answer.is_some()) {
                return Ok(heard);
            }
        }
        received.more(stream).await?;
    }
}

/// Takes the next complete message off what was received.
fn next_message(received: &mut Received) -> Result<Option<Message>, String> {
    let garbage = || "it does not speak the NATS protocol".to_owned();
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
            let sizes: Vec<&str> = args.split_ascii_whitespace().collect();
            let size = |from_end: usize| -> Option<usize> {
                sizes.get(sizes.len().checked_sub(from_end)?)?.parse().ok()
            };
            if sizes.get(1) != Some(&SUBSCRIPTION) {
                return Err(garbage());
            }
            let total = size(1)
                .filter(|n| *n <= MAX_REPLY_BYTES)
                .ok_or_else(garbage)?;
            let header = if kind == "HMSG" {
                size(2).filter(|n| *n <= total).ok_or_else(garbage)?
            } else {
                0
            };
            let body = end + 1;
            let Some(bytes) = rest.get(body..body + total + 2) else {
                return Ok(None);
            };
            let status = (header > 0).then(|| {
                let head = String::from_utf8_lossy(bytes.get(..header).unwrap_or_default());
                head.lines().next().unwrap_or_default().to_owned()
            });
            let payload = bytes.get(header..total).unwrap_or_default().to_vec();
            received.take(body + total + 2);
            return Ok(Some(Message::Answer(status, payload)));
        }
        _ => return Err(garbage()),
    };
    received.take(end + 1);
    Ok(Some(message))
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
                Self::Token(text_file::read(path).map_err(|e| format!("token_file: {e}"))?)
            }
            NatsAuth::Nkey(path) => {
                let seed = text_file::read(path).map_err(|e| format!("nkey: {e}"))?;
                Self::Nkey(key_pair(seed.trim()).map_err(|e| format!("nkey: {e}"))?)
            }
            NatsAuth::Creds(path) => {
                let text = text_file::read(path).map_err(|e| format!("creds: {e}"))?;
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

fn greeting(proof: Proof, info: &Info, tls: bool, asks: bool) -> Result<Connect, String> {
    let mut connect = Connect {
        tls_required: tls,
        name: "ready-probe",
        lang: "rust",
        version: env!("CARGO_PKG_VERSION"),
        protocol: 1,
        headers: asks,
        no_responders: asks,
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

/// What JetStream's API answers.
#[derive(Debug, Deserialize)]
struct ApiAnswer {
    error: Option<ApiError>,
}

#[derive(Debug, Deserialize)]
struct ApiError {
    code: u16,
    #[serde(default)]
    err_code: u32,
    #[serde(default)]
    description: String,
}

fn judge(target: &NatsTarget, info: &Info, heard: &Heard, secrets: &Secrets) -> Outcome {
    if let Some(error) = &heard.error {
        return Outcome::Unknown(secrets.quote(error, MAX_QUOTE_CHARS));
    }
    let outcome = match &heard.answer {
        None => Outcome::pass(),
        Some((Some(status), _)) if status.contains(" 503") => {
            // Nobody listens to JetStream's API: this server has none, or has it for others only.
            if info.jetstream {
                Outcome::unknown("JetStream does not answer")
            } else {
                Outcome::fail("JetStream is not enabled")
            }
        }
        Some((_, payload)) => judge_api(target, payload, secrets),
    };
    let unverified = (target.address.tls || info.tls_required) && target.tls.insecure;
    match outcome {
        Outcome::Pass(_) if unverified => Outcome::Pass("certificate not verified".to_owned()),
        outcome @ (Outcome::Pass(_) | Outcome::Fail(_) | Outcome::Unknown(_)) => outcome,
    }
}

/// The error codes: 10039 JetStream not enabled for account, 10076 not enabled, 10059 stream not
/// found (nats-server, server/errors.json).
fn judge_api(target: &NatsTarget, payload: &[u8], secrets: &Secrets) -> Outcome {
    let Ok(answer) = serde_json::from_slice::<ApiAnswer>(payload) else {
        return Outcome::unknown("it does not speak JetStream's protocol");
    };
    let Some(error) = answer.error else {
        return Outcome::pass();
    };
    match (error.err_code, error.code) {
        (10_039, _) => Outcome::fail("JetStream is not enabled for this account"),
        (10_076, _) => Outcome::fail("JetStream is not enabled"),
        (10_059, _) | (0, 404) => {
            let bucket = target.bucket.as_deref().unwrap_or_default();
            Outcome::fail(format!("bucket {bucket} does not exist"))
        }
        (..) => Outcome::Unknown(secrets.quote(&error.description, MAX_QUOTE_CHARS)),
    }
}

#[cfg(test)]
mod tests;
