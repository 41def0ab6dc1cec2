//! Sending messages: one try for each, all at once, in a process of its own, which can be left behind.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER, USER_AGENT,
};
use hyper::{Method, Request, Response};
use ready_probe::event_loop;
use ready_probe::link::connect;
use ready_probe::link::http::{HttpLink, Left};
use ready_probe::redact::Secrets;
use ready_probe::time_limit::TimeLimit;
use ready_probe_sdk::clock;
use ready_probe_sdk::connect::file;
use ready_probe_sdk::connect::stage;
use ready_probe_sdk::thread;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fate::{Fate, judge};
use super::message::Letter;
use super::settings::{Channel, Hidden, Receiver, Server, server};
use super::{ntfy, webhook};
use crate::children;

/// How long one try may take.
pub const TRY: Duration = Duration::from_secs(10);
/// What a process takes to begin and to end.
const MARGIN: Duration = Duration::from_secs(2);
/// How much of an answer is read, for its reason.
const MAX_ANSWER_BYTES: usize = 4 * 1024;
/// How much of it is told.
const MAX_SAID_CHARS: usize = 200;

/// A message and where it is to go, as the process that sends it is told.
#[derive(Serialize, Deserialize)]
struct Parcel {
    url: Written,
    token: Option<Written>,
    receiver: Taker,
    letter: Letter,
}

/// [`Hidden`], on its way to a child of our own.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Written {
    Text(String),
    File(PathBuf),
}

/// [`Receiver`], on its way.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Taker {
    Ntfy(Option<String>),
    Webhook(Option<String>),
}

/// Sends each once, within `limit` at most. What became of each, in their order.
pub fn send(letters: &[(&Channel, &Letter)], limit: Duration) -> Vec<Fate> {
    let parcels: Vec<Parcel> = letters
        .iter()
        .map(|(channel, letter)| parcel(channel, letter))
        .collect();
    let sent = serde_json::to_vec(&parcels)
        .map_err(|e| e.to_string())
        .and_then(|text| children::talk(children::SEND, text, limit.min(TRY + MARGIN)))
        .and_then(|said| {
            let fates: Vec<Fate> = serde_json::from_slice(&said)
                .map_err(|e| format!("its child said something else: {e}"))?;
            match fates.len() == letters.len() {
                true => Ok(fates),
                false => Err("its child said too little".to_owned()),
            }
        });
    sent.unwrap_or_else(|why| {
        let later = Fate::Later {
            why,
            after_ms: None,
        };
        vec![later; letters.len()]
    })
}

fn parcel(channel: &Channel, letter: &Letter) -> Parcel {
    let written = |hidden: &Hidden| match hidden {
        Hidden::Text(text) => Written::Text(text.reveal().to_owned()),
        Hidden::File(path) => Written::File(path.clone()),
    };
    Parcel {
        url: written(&channel.url),
        token: channel.token.as_ref().map(written),
        receiver: match channel.receiver.clone() {
            Receiver::Ntfy { topic } => Taker::Ntfy(topic),
            Receiver::Webhook { field } => Taker::Webhook(field),
        },
        letter: letter.clone(),
    }
}

/// The other side: reads what is to be sent, sends it, and writes what became of it.
pub fn answer(mut input: impl Read, mut output: impl Write) -> Result<(), String> {
    let mut text = String::new();
    input
        .read_to_string(&mut text)
        .map_err(|e| format!("messages can't be read: {e}"))?;
    let parcels: Vec<Parcel> =
        serde_json::from_str(&text).map_err(|_| "these are no messages".to_owned())?;
    let event_loop = event_loop::start()?;
    let fates: Vec<Fate> = event_loop.block_on(join_all(parcels.into_iter().map(deliver)));
    // What still waits, waits for nobody.
    event_loop.shutdown_background();
    let text = serde_json::to_string(&fates).map_err(|e| e.to_string())?;
    output
        .write_all(text.as_bytes())
        .map_err(|e| format!("what became of them can't be written: {e}"))
}

/// One try.
async fn deliver(parcel: Parcel) -> Fate {
    let limit = TimeLimit::from(clock::instant(), TRY);
    let posted = limit.hold(async { Ok(post(parcel).await) }).await;
    posted.unwrap_or_else(|why| Fate::Later {
        why,
        after_ms: None,
    })
}

async fn post(parcel: Parcel) -> Fate {
    // A file may come, or be mended.
    let later = |why: String| Fate::Later {
        why,
        after_ms: None,
    };
    let mut secrets = Secrets::default();
    let (url, token) = match (read(parcel.url).await, read_token(parcel.token).await) {
        (Ok(url), Ok(token)) => (url, token),
        (Err(why), _) | (_, Err(why)) => return later(why),
    };
    if let Some(token) = &token {
        secrets.add(token);
    }
    let (receiver, field) = match parcel.receiver {
        Taker::Ntfy(topic) => (Receiver::Ntfy { topic }, None),
        Taker::Webhook(field) => (
            Receiver::Webhook {
                field: field.clone(),
            },
            field,
        ),
    };
    let server = match server(&url, &receiver, &mut secrets) {
        Ok(server) => server,
        Err(why) => return Fate::Refused(format!("its address: {why}")),
    };
    let body = match receiver {
        Receiver::Ntfy { .. } => {
            if server.topic.len() > 5 {
                secrets.add(&server.topic);
            }
            ntfy::body(&parcel.letter, &server.topic)
        }
        Receiver::Webhook { .. } => webhook::body(&parcel.letter, field.as_deref()),
    };
    let request = match request(&server, body, token.as_deref()) {
        Ok(request) => request,
        Err(why) => return Fate::Refused(why),
    };
    match exchange(&server, request, &secrets).await {
        Ok(fate) => fate,
        Err(why) => later(secrets.quote(&why, MAX_SAID_CHARS)),
    }
}

async fn read(written: Written) -> Result<String, String> {
    match written {
        Written::Text(text) => Ok(text),
        Written::File(path) => {
            stage::doing(|| format!("reading {}", path.display()));
            thread::run(move || read_file(&path)).await?
        }
    }
}

async fn read_token(token: Option<Written>) -> Result<Option<String>, String> {
    match token {
        Some(token) => read(token).await.map(Some),
        None => Ok(None),
    }
}

fn read_file(path: &Path) -> Result<String, String> {
    let text = file::read_text(path)?;
    match text.is_empty() {
        true => Err(format!("{}: the file is empty", path.display())),
        false => Ok(text),
    }
}

fn request(
    server: &Server,
    body: String,
    token: Option<&str>,
) -> Result<Request<Full<Bytes>>, String> {
    let target = &server.target;
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(&target.path)
        .body(Full::new(Bytes::from(body)))
        .map_err(|_| "its address can't be sent".to_owned())?;
    let headers = request.headers_mut();
    let value = |text: &str, what: &str| {
        HeaderValue::try_from(text).map_err(|_| format!("its {what} can't be sent"))
    };
    headers.insert(HOST, value(&target.host, "host")?);
    headers.insert(
        USER_AGENT,
        HeaderValue::from_static(concat!("ready-keeper/", env!("CARGO_PKG_VERSION"))),
    );
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    for (name, own) in &target.headers {
        headers.insert(name, own.clone());
    }
    if let Some(token) = token {
        headers.insert(AUTHORIZATION, value(&format!("Bearer {token}"), "token")?);
    }
    Ok(request)
}

async fn exchange(
    server: &Server,
    request: Request<Full<Bytes>>,
    secrets: &Secrets,
) -> Result<Fate, String> {
    let target = &server.target;
    let tls = target.tls.as_ref().map(connect::tls_config).transpose()?;
    let stream = connect::open(&target.endpoint)
        .await
        .map_err(connect::NoConnection::text)?;
    let stream = match tls {
        Some(tls) => connect::secure(stream, &target.endpoint, tls, secrets).await?,
        None => stream,
    };
    let mut link = HttpLink::open(stream).await?;
    stage::lacks(|| "response headers".to_owned());
    let read = async |response| (fate(response, secrets).await, Left::Nothing);
    link.exchange(request, read).await
}

async fn fate(response: Response<Incoming>, secrets: &Secrets) -> Fate {
    let status = response.status().as_u16();
    let after = response.headers().get(RETRY_AFTER).cloned();
    let after = after.as_ref().and_then(|after| after.to_str().ok());
    let said = match status {
        200..=299 => String::new(),
        _ => secrets.quote(&reason(response.into_body()).await, MAX_SAID_CHARS),
    };
    judge(status, after, &said, clock::wall_ms())
}

/// What an answer says: ntfy's has its words in a field.
async fn reason(mut body: Incoming) -> String {
    let mut bytes = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
        if bytes.len() >= MAX_ANSWER_BYTES {
            break;
        }
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let json: Option<Value> = serde_json::from_str(&text).ok();
    let field = |key: &str| json.as_ref()?.get(key)?.as_str().map(str::to_owned);
    match field("error").or_else(|| field("message")) {
        Some(words) => words,
        // A page of a proxy says nothing that its status does not.
        None if text.trim_start().starts_with('<') => String::new(),
        None => text,
    }
}

#[cfg(test)]
mod tests;
