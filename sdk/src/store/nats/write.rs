//! Putting records: what is refused before it is sent, and what the server says of the rest.

use serde::Deserialize;

use super::bucket::{ApiAnswer, Lifetimes};
use super::refused::Refused;
use super::{
    DENIED, Failure, Link, NatsStore, Published, Record, Replies, Reply, Request, Stored, parse,
    ttl_header,
};
use crate::freshness::Span;

impl<L: Link> NatsStore<L> {
    pub(super) fn put_request(&self, record: &Record, lifetimes: Lifetimes) -> Request {
        let Published { agent, instance } = &record.published;
        Request {
            subject: self.subject(agent, instance.as_str()),
            headers: ttl_header(lifetimes, record.ttl_ms),
            payload: record.bytes.clone(),
            replies: Replies::One,
        }
    }

    /// Why a record is not sent at all, or what to note if it is.
    pub(super) fn refusal(&self, record: &Record, lifetimes: Lifetimes) -> Stored {
        let ttl = Span(record.ttl_ms);
        match lifetimes {
            Lifetimes::Own(None) => Ok(None),
            // Refused before: see `refuse_all`.
            Lifetimes::Never | Lifetimes::Several => Err(self.why_none(lifetimes)),
            Lifetimes::Own(Some(max_age_ms)) | Lifetimes::MaxAge(max_age_ms)
                if record.ttl_ms > max_age_ms =>
            {
                Err(format!(
                    "a TTL of {ttl} is longer than bucket {} keeps anything ({}): shorten it, or {}",
                    self.bucket.name,
                    Span(max_age_ms),
                    self.bucket.edit(&format!("--max-age={ttl}")),
                ))
            }
            Lifetimes::MaxAge(max_age_ms) if record.ttl_ms < max_age_ms => Ok(Some(format!(
                "bucket {} keeps it for {} instead of {ttl}",
                self.bucket.name,
                Span(max_age_ms)
            ))),
            Lifetimes::Own(Some(_)) | Lifetimes::MaxAge(_) => Ok(None),
        }
    }

    /// Why no record can be put into such a bucket.
    pub(super) fn why_none(&self, lifetimes: Lifetimes) -> String {
        if lifetimes == Lifetimes::Several {
            self.bucket.keeps_several()
        } else {
            self.bucket.is_for_ever(self.supports_ttl())
        }
    }

    /// Refuses records, since the bucket would not end their life. If it has changed in mid-life,
    /// earlier records are there, and only a purge ends them. The answer names what to mend first:
    /// the bucket.
    pub(super) async fn refuse_all(
        &mut self,
        records: &[Record],
        lifetimes: Lifetimes,
    ) -> Result<Vec<Stored>, Failure> {
        let noes = records.iter().filter(|record| !record.is_ready());
        self.put.extend(noes.map(|record| record.published.clone()));
        self.purge_all().await?;
        // Once it is mended, the next beat should notice.
        self.known = None;
        let why = self.why_none(lifetimes);
        Ok(records.iter().map(|_| Err(why.clone())).collect())
    }

    /// The server's answer to a record.
    pub(super) fn acknowledged(&mut self, reply: &Reply) -> Result<Result<(), Refused>, Failure> {
        match reply.status {
            // Nobody listens to the bucket's subjects: it is gone, or has no leader. The next turn
            // looks, and says which.
            Some(503) => {
                self.known = None;
                return Err(self.bucket.takes_nothing());
            }
            Some(DENIED) => {
                return Ok(Err(Refused {
                    why: reply.description.clone(),
                    is_denied: true,
                }));
            }
            Some(status) => return Err(reply.failure(status)),
            None => {}
        }
        let ack: ApiAnswer<Ack> = parse(&reply.payload)?;
        match ack.or_error() {
            Ok(ack) => {
                // Numbers only grow; if they don't, this is another bucket of that name.
                if ack.seq <= self.last_seq {
                    self.known = None;
                    self.hinted.clear();
                }
                self.last_seq = ack.seq;
                Ok(Ok(()))
            }
            Err(e) => {
                self.known = None;
                Ok(Err(Refused {
                    why: e.description,
                    is_denied: false,
                }))
            }
        }
    }
}

#[derive(Debug, Deserialize)]
struct Ack {
    seq: u64,
}
