//! Does an HTTP endpoint answer, and as expected? Redirects are answers; none is followed. A body
//! that has an end is read to it, so that the server is not cut off.

use std::future::poll_fn;
use std::time::Instant;

use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, USER_AGENT};
use hyper::{Request, Response, StatusCode};

use super::after_answer::Rest;
use super::json_pointer;
use crate::link::connect::{self, NoConnection, Stream};
use crate::link::http::{HttpLink, Left, MAX_ANSWER_BYTES, plain};
use crate::link::kept::{self, KeptFor, Opened};
use crate::outcome::Outcome;
use crate::redact::Secrets;
use crate::target::{Body, HttpTarget};
use crate::time_limit::TimeLimit;
use crate::verdict::Scope;
use ready_probe_sdk::clock;
use ready_probe_sdk::connect::file;
use ready_probe_sdk::connect::stage;
use ready_probe_sdk::connect::tls::TlsOptions;
use ready_probe_sdk::thread;

/// No question is longer.
const MAX_BODY_BYTES: u64 = 64 * 1024;
/// A stream of events has no end (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
const EVENTS: &[u8] = b"text/event-stream";
/// How much of a value is quoted.
const MAX_QUOTE_CHARS: usize = 60;

/// Asks one endpoint. Returns the outcome, and the rest of an answer whose verdict is known.
pub async fn ask(
    target: &HttpTarget,
    scope: Scope,
    kept: Option<KeptFor<'_>>,
    limit: TimeLimit,
    secrets: &Secrets,
) -> (Outcome, Option<Rest>) {
    let body = match body(target).await {
        Ok(body) => body,
        Err(e) => return (Outcome::Unknown(e), None),
    };
    let mut secrets = secrets.clone();
    if let Body::File(_) = &target.body {
        secrets.add(&String::from_utf8_lossy(&body));
    }
    let question = HttpQuestion {
        target,
        scope,
        body,
        secrets: &secrets,
        kept: kept.filter(|_| can_be_repeated(target)),
    };
    kept::ask_through(
        question.kept,
        || question.opened(),
        limit,
        async |link, since| {
            let said = question.ask(link, since).await;
            said.0.passes().then_some(said)
        },
        question.ask_anew(),
    )
    .await
}

/// Whether a connection may be kept for it. A question that changes something is not asked twice, as
/// one is that a kept connection leaves without an answer (RFC 9110, 9.2.2); and the user's word on
/// connections counts.
fn can_be_repeated(target: &HttpTarget) -> bool {
    target.method.is_safe() && !target.headers.contains_key(CONNECTION)
}

/// What is asked.
struct HttpQuestion<'a> {
    target: &'a HttpTarget,
    scope: Scope,
    body: Bytes,
    secrets: &'a Secrets,
    /// Where the connection rests afterwards.
    kept: Option<KeptFor<'a>>,
}

impl HttpQuestion<'_> {
    async fn ask_anew(&self) -> (Outcome, Option<Rest>) {
        let stream = match reach(self.target, self.scope, self.secrets).await {
            Ok(stream) => stream,
            Err(outcome) => return (outcome, None),
        };
        match HttpLink::open(stream).await {
            Ok(link) => self.ask(link, clock::instant()).await,
            Err(cause) => (Outcome::Unknown(cause), None),
        }
    }

    /// Asks through a connection that was opened then.
    async fn ask(&self, mut link: HttpLink, since: Instant) -> (Outcome, Option<Rest>) {
        let request = match request(self) {
            Ok(request) => request,
            Err(e) => return (Outcome::Unknown(e), None),
        };
        stage::lacks(|| "response headers".to_owned());
        let read = async |response| judge_response(self, response).await;
        let outcome = link.exchange(request, read).await;
        let outcome = outcome.unwrap_or_else(Outcome::Unknown);
        let rest: Option<Rest> = match self.kept.filter(|_| outcome.passes()) {
            Some(kept) => Some(Box::pin(kept.at_rest(self.opened(), link, since).settled())),
            None if link.is_under_way() => Some(Box::pin(async move {
                poll_fn(|context| link.poll_read_on(context)).await;
                None
            })),
            None => None,
        };
        (outcome, rest)
    }

    fn opened(&self) -> Opened {
        Opened::Http(self.target.endpoint.clone(), self.target.tls.clone())
    }
}

async fn reach(target: &HttpTarget, scope: Scope, secrets: &Secrets) -> Result<Stream, Outcome> {
    let tls = target.tls.as_ref().map(connect::tls_config).transpose();
    let tls = tls.map_err(Outcome::Unknown)?;
    let stream = connect::open(&target.endpoint)
        .await
        .map_err(|e| judge_connection(e, scope))?;
    match tls {
        None => Ok(stream),
        Some(tls) => connect::secure(stream, &target.endpoint, tls, secrets)
            .await
            .map_err(Outcome::Unknown),
    }
}

/// The body to send. Its file may be on a disk that hangs.
async fn body(target: &HttpTarget) -> Result<Bytes, String> {
    match &target.body {
        Body::None => Ok(Bytes::new()),
        Body::Text(text) => Ok(Bytes::from(text.clone())),
        Body::File(path) => {
            stage::doing(|| format!("reading {}", path.display()));
            let path = path.clone();
            let read = thread::run(move || file::read(&path, MAX_BODY_BYTES)).await?;
            read.map(Bytes::from).map_err(|e| format!("body_file: {e}"))
        }
    }
}

fn request(question: &HttpQuestion<'_>) -> Result<Request<Full<Bytes>>, String> {
    let target = question.target;
    let mut request = Request::builder()
        .method(target.method.clone())
        .uri(&target.path)
        .body(Full::new(question.body.clone()))
        .map_err(|e| format!("the request can't be made: {e}"))?;
    let headers = request.headers_mut();
    let host = HeaderValue::try_from(&target.host).map_err(|_| "the host can't be sent")?;
    headers.insert(HOST, host);
    headers.insert(
        USER_AGENT,
        HeaderValue::from_static(concat!("ready-probe/", env!("CARGO_PKG_VERSION"))),
    );
    headers.insert(hyper::header::ACCEPT, HeaderValue::from_static("*/*"));
    if question.kept.is_none() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    for (name, value) in &target.headers {
        // The user's headers replace ours; repeated ones are sent repeatedly.
        if matches!(
            name.as_str(),
            "host" | "user-agent" | "accept" | "connection"
        ) {
            headers.insert(name, value.clone());
        } else {
            headers.append(name, value.clone());
        }
    }
    Ok(request)
}

fn judge_connection(e: NoConnection, scope: Scope) -> Outcome {
    match (e, scope) {
        // This container's own service should listen there, and nobody does.
        (NoConnection::Refused(text), Scope::Own) => Outcome::fail(text),
        (NoConnection::Refused(text), Scope::Dependency) | (NoConnection::Other(text), _) => {
            Outcome::Unknown(text)
        }
    }
}

/// Returns the outcome, and what is left of the answer.
async fn judge_response(
    question: &HttpQuestion<'_>,
    response: Response<Incoming>,
) -> (Outcome, Left) {
    let HttpQuestion {
        target,
        scope,
        secrets,
        ..
    } = *question;
    let status = judge_status(target, scope, response.status());
    let has_end = has_end(response.headers(), response.body().size_hint().exact());
    let mut body = response.into_body();
    let wants_body = !target.contains.is_empty() || !target.json.is_empty();
    let outcome = match status {
        Outcome::Pass(note) if wants_body => match read_body(&mut body, target).await {
            Ok(bytes) => judge_body(target, &bytes, secrets).with_first_note(&note),
            Err(cause) => Outcome::Unknown(cause),
        },
        decided @ (Outcome::Pass(_)
        | Outcome::Blemished(_)
        | Outcome::Fail(_)
        | Outcome::Unknown(_)) => decided,
    };
    let left = match (body.is_end_stream(), has_end) {
        (true, _) => Left::Nothing,
        (false, true) => Left::Body(body),
        (false, false) => Left::Endless,
    };
    (outcome, left)
}

/// Whether the end of a body is likely to come soon. `length` is what the server says, if it does.
fn has_end(headers: &HeaderMap, length: Option<u64>) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .map_or(&[][..], HeaderValue::as_bytes);
    let is_events = kind
        .get(..EVENTS.len())
        .is_some_and(|kind| kind.eq_ignore_ascii_case(EVENTS));
    !is_events && length.is_none_or(|length| length <= MAX_ANSWER_BYTES as u64)
}

/// The codes of a dependency, or its proxy, that is overloaded or starting.
fn judge_status(target: &HttpTarget, scope: Scope, status: StatusCode) -> Outcome {
    let code = status.as_u16();
    let text = match status.canonical_reason() {
        Some(reason) => format!("status {code} {reason}"),
        None => format!("status {code}"),
    };
    let is_expected = target.status.iter().any(|range| range.contains(&code));
    let turned_round = target.not.is_some_and(|not| not.status);
    let caveat = target.tls.as_ref().and_then(TlsOptions::caveat);
    match (is_expected, turned_round, code, scope) {
        (true, false, ..) => Outcome::pass(),
        (true, true, ..) => Outcome::fail(format!("{text}, and must not be")),
        (false, _, 429 | 502 | 503 | 504, Scope::Dependency) => Outcome::Unknown(text),
        (false, false, ..) => Outcome::fail(text),
        (false, true, ..) => Outcome::Pass(text),
    }
    .with_first_note(caveat.unwrap_or_default())
}

/// Reads a body to its end, or until it is decided: a stream of events has none.
async fn read_body(body: &mut Incoming, target: &HttpTarget) -> Result<Vec<u8>, String> {
    stage::lacks(|| "end of the response body".to_owned());
    let mut bytes = Vec::new();
    let mut wanted: Vec<&String> = target.contains.iter().collect();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| plain(&e))?;
        // Earlier parts have been searched already, except for the beginning of a match.
        let searched = bytes.len();
        bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
        let since = |text: &str| bytes.get(searched.saturating_sub(text.len())..);
        wanted.retain(|text| !contains(since(text).unwrap_or_default(), text));
        let is_decided = match target.not {
            None => wanted.is_empty(),
            Some(_) => wanted.len() < target.contains.len(),
        };
        if is_decided && target.json.is_empty() {
            break;
        }
    }
    Ok(bytes)
}

/// All expectations must hold; with `not`, none of them may.
fn judge_body(target: &HttpTarget, body: &[u8], secrets: &Secrets) -> Outcome {
    let quote = |text: &str| format!("{:?}", secrets.quote(text, MAX_QUOTE_CHARS));
    let mut unmet = Vec::new();
    for text in &target.contains {
        match (contains(body, text), target.not) {
            (true, None) => {}
            (true, Some(_)) => {
                let text = quote(text);
                return Outcome::fail(format!("the body contains {text}, and must not"));
            }
            (false, _) => unmet.push(format!("the body does not contain {}", quote(text))),
        }
    }
    for (path, want) in &target.json {
        let pointer = secrets.quote(path, MAX_QUOTE_CHARS);
        match (json_pointer::find(body, path), target.not) {
            // A text that can't be read neither meets an expectation nor fails it.
            (Err(_), _) => return Outcome::fail(format!("the body is not JSON{}", why(body))),
            (Ok(None), _) => unmet.push(format!("the body has nothing at {pointer}")),
            (Ok(Some(is)), None) if is == *want => {}
            (Ok(Some(is)), Some(_)) if is == *want => {
                let is = quote(&is);
                return Outcome::fail(format!("{pointer} is {is}, and must not be"));
            }
            (Ok(Some(is)), _) => {
                unmet.push(format!("{pointer} is {}, not {}", quote(&is), quote(want)));
            }
        }
    }
    match (unmet.into_iter().next(), target.not) {
        (None, _) => Outcome::pass(),
        (Some(first), None) => Outcome::fail(first),
        (Some(first), Some(_)) => Outcome::Pass(first),
    }
}

/// Why a body is not JSON although it looks like it in another program.
fn why(body: &[u8]) -> &'static str {
    match body {
        [0xef, 0xbb, 0xbf, ..] => ": it begins with a byte order mark",
        // RFC 1952, 2.3.1; RFC 1950, 2.2; RFC 8878, 3.1.1.
        [0x1f, 0x8b, ..] | [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            ": it is compressed, though nobody asked for that; try header=Accept-Encoding:identity"
        }
        _ => "",
    }
}

fn contains(body: &[u8], text: &str) -> bool {
    body.windows(text.len()).any(|part| part == text.as_bytes())
}

#[cfg(test)]
mod tests;
