//! Does NATS answer, and as expected?

use ready_probe_sdk::connect::Endpoint;
use ready_probe_sdk::store::nats::{Cluster, Replies, Reply, Request};
use serde::Deserialize;

use crate::link::kept::{KeptFor, Opened};
use crate::link::nats::{Exchanged, Info, NatsLink};
use crate::link::read_limit::MAX_REPLY_BYTES;
use crate::outcome::Outcome;
use crate::redact::Secrets;
use crate::target::NatsTarget;

/// The longest message of a server that is quoted.
const MAX_QUOTE_CHARS: usize = 120;

/// Asks one server, and keeps the connection if it passes.
pub async fn ask(
    target: &NatsTarget,
    endpoint: &Endpoint,
    kept: Option<KeptFor<'_>>,
    secrets: &Secrets,
) -> Outcome {
    let (address, tls) = (&target.address, &target.tls);
    let opened = NatsLink::open(address, tls, endpoint, MAX_REPLY_BYTES, secrets).await;
    let mut link = match opened {
        Ok(link) => link,
        Err(cause) => return Outcome::Unknown(cause),
    };
    let outcome = ask_again(target, &mut link, secrets).await;
    if let Some(kept) = kept.filter(|_| outcome.passes()) {
        kept.put(self::opened(target), link);
    }
    outcome
}

/// Asks on a connection, which knows whether it has been greeted.
pub async fn ask_again(target: &NatsTarget, link: &mut NatsLink, secrets: &Secrets) -> Outcome {
    let mut secrets = secrets.clone();
    link.proof.iter().for_each(|proof| secrets.add(proof));
    let question: Vec<Request> = question(target).into_iter().collect();
    match link.exchange(&question).await {
        Ok(heard) => judge(target, &link.info, &heard, &secrets),
        Err(cause) => Outcome::Unknown(cause),
    }
}

/// What its connections are opened with.
pub fn opened(target: &NatsTarget) -> Opened {
    Opened::Nats(target.address.clone(), target.tls.clone())
}

/// The target's question about JetStream.
fn question(target: &NatsTarget) -> Option<Request> {
    let subject = match &target.bucket {
        // A key-value bucket is a stream of this name (ADR-8).
        Some(bucket) => format!("$JS.API.STREAM.INFO.KV_{bucket}"),
        None if target.jetstream => "$JS.API.INFO".to_owned(),
        None => return None,
    };
    Some(Request {
        subject,
        headers: Vec::new(),
        payload: Vec::new(),
        replies: Replies::One,
    })
}

/// What JetStream's API answers.
#[derive(Debug, Deserialize)]
struct ApiAnswer {
    error: Option<ApiError>,
    /// Of a stream: the servers that keep it.
    cluster: Option<Cluster>,
}

#[derive(Debug, Deserialize)]
struct ApiError {
    code: u16,
    #[serde(default)]
    err_code: u32,
    #[serde(default)]
    description: String,
}

/// What JetStream's API says about the expectation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// It is there.
    All,
    /// There is no such bucket.
    NoBucket,
    /// There is no JetStream, and so no bucket, and why.
    NoJetStream(&'static str),
}

fn judge(target: &NatsTarget, info: &Info, heard: &Exchanged, secrets: &Secrets) -> Outcome {
    if let Some(error) = &heard.error {
        return Outcome::Unknown(secrets.quote(error, MAX_QUOTE_CHARS));
    }
    let answer: Option<&Reply> = heard.replies.iter().flatten().next();
    let outcome = match answer {
        None => Outcome::pass(),
        Some(answer) if answer.status == Some(503) => {
            // Nobody listens to JetStream's API: this server has none, or has it for others only.
            if info.jetstream {
                Outcome::unknown("JetStream does not answer")
            } else {
                judge_found(target, Found::NoJetStream("JetStream is not enabled"))
            }
        }
        Some(answer) => match found(&answer.payload, target, secrets) {
            Ok(found) => judge_found(target, found),
            Err(cause) => Outcome::Unknown(cause),
        },
    };
    let speaks_tls = target.address.tls || info.tls_required;
    let caveat = target.tls.caveat().filter(|_| speaks_tls);
    outcome.with_first_note(caveat.unwrap_or_default())
}

/// The error codes: 10039 JetStream not enabled for account, 10076 not enabled, 10059 stream not
/// found (nats-server, server/errors.json).
fn found(payload: &[u8], target: &NatsTarget, secrets: &Secrets) -> Result<Found, String> {
    let answer = serde_json::from_slice::<ApiAnswer>(payload)
        .map_err(|_| "it does not speak JetStream's protocol".to_owned())?;
    let Some(error) = answer.error else {
        // It is there, but of no use: without a leader nothing is written to it.
        return match answer.cluster {
            Some(cluster) if !cluster.has_leader() => {
                let bucket = target.bucket.as_deref().unwrap_or_default();
                Err(format!("bucket {bucket} has no leader"))
            }
            Some(_) | None => Ok(Found::All),
        };
    };
    match (error.err_code, error.code) {
        (10_039, _) => Ok(Found::NoJetStream(
            "JetStream is not enabled for this account",
        )),
        (10_076, _) => Ok(Found::NoJetStream("JetStream is not enabled")),
        (10_059, _) | (0, 404) => Ok(Found::NoBucket),
        (..) => Err(secrets.quote(&error.description, MAX_QUOTE_CHARS)),
    }
}

fn judge_found(target: &NatsTarget, found: Found) -> Outcome {
    let bucket = target.bucket.as_deref().unwrap_or_default();
    let is_missing = format!("bucket {bucket} does not exist");
    match (found, target.not) {
        (Found::All, false) => Outcome::pass(),
        (Found::NoBucket, false) => Outcome::fail(is_missing),
        (Found::NoJetStream(why), false) => Outcome::fail(why),
        (Found::All, true) if target.bucket.is_some() => {
            Outcome::fail(format!("bucket {bucket} exists, and must not"))
        }
        (Found::All | Found::NoBucket, true) if target.jetstream => {
            Outcome::fail("JetStream is enabled, and must not be")
        }
        (Found::All | Found::NoBucket, true) => Outcome::Pass(is_missing),
        // Nobody could be asked whether there is such a bucket.
        (Found::NoJetStream(why), true) if !target.jetstream => Outcome::unknown(why),
        (Found::NoJetStream(why), true) => Outcome::Pass(why.to_owned()),
    }
}

#[cfg(test)]
mod tests;
