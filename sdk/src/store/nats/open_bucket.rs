//! Opening the bucket: looking up what it is like, and making it if it is missing.

use serde_json::json;

use super::bucket::{ApiAnswer, ApiError, StreamInfo, Terms};
use super::{Failure, Link, NatsStore, Reply, Request, api, parse};
use crate::clock;

/// How often the bucket is looked up again: it may have changed.
const LOOK_AGAIN_MS: u64 = 60_000;

impl<L: Link> NatsStore<L> {
    /// Asks for the stream behind the bucket, with the subjects that match `filter`.
    pub(super) fn info_request(&self, filter: Option<&str>, offset: usize) -> Request {
        let payload = filter.map_or_else(Vec::new, |filter| {
            json!({ "subjects_filter": filter, "offset": offset })
                .to_string()
                .into_bytes()
        });
        api(
            format!("$JS.API.STREAM.INFO.{}", self.bucket.stream()),
            payload,
        )
    }

    /// What an answer says of the stream; `None` if there is no stream. One without a leader counts
    /// as a server that can't be asked: nobody ends the records that are there, or puts those that
    /// are not.
    pub(super) fn info(&self, reply: &Reply) -> Result<Option<StreamInfo>, Failure> {
        match stream_info(reply)? {
            Ok(info) if info.has_leader() => Ok(Some(info)),
            Ok(_) => Err(self.bucket.has_no_leader()),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e.failure()),
        }
    }

    /// What this bucket is like. It is made if it is missing and may be made.
    pub(super) async fn terms(&mut self) -> Result<Terms, Failure> {
        let now_ms = clock::mono_ms();
        match self.known {
            Some((terms, at_ms)) if now_ms < at_ms + LOOK_AGAIN_MS => return Ok(terms),
            Some(_) | None => {}
        }
        let info = self.info_request(None, 0);
        let reply = self.ask_one(info).await?;
        let terms = match self.info(&reply)? {
            Some(info) => info.terms(),
            None => self.create().await?,
        };
        self.known = Some((terms, now_ms));
        Ok(terms)
    }

    async fn create(&mut self) -> Result<Terms, Failure> {
        let supports_ttl = self.supports_ttl();
        let config = self.bucket.config(supports_ttl);
        let subject = format!("$JS.API.STREAM.CREATE.{}", self.bucket.stream());
        let create = api(subject, config.to_string().into_bytes());
        let made = match self.ask_one(create).await {
            Ok(reply) => stream_info(&reply),
            Err(e) => Err(e),
        };
        let may_not = |why: &dyn std::fmt::Display| {
            Failure::answered(format!(
                "bucket {} is not there and can't be created: {} ({why})",
                self.bucket.name,
                self.bucket.command(supports_ttl)
            ))
        };
        match made {
            Ok(Ok(info)) => Ok(info.terms()),
            Ok(Err(e)) => Err(may_not(&e.description)),
            Err(e) if !e.reconnect => Err(may_not(&e)),
            Err(e) => Err(e),
        }
    }
}

fn stream_info(reply: &Reply) -> Result<Result<StreamInfo, ApiError>, Failure> {
    match reply.status {
        None => {}
        Some(503) => return Err(Failure::answered("JetStream is not enabled")),
        Some(status) => return Err(reply.failure(status)),
    }
    let answer: ApiAnswer<StreamInfo> = parse(&reply.payload)?;
    Ok(answer.or_error())
}
