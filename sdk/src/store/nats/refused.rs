//! What becomes of the old record when a bucket refuses the new one.
//!
//! A bucket at one of its limits (`discard: new`), or one that refuses records for any other
//! reason, keeps the old record. That may say `ready` for the rest of its TTL although the agent no
//! longer is: it has to go, by whatever way the bucket leaves open. A refused `ready` removes
//! nothing.

use serde::Deserialize;
use serde_json::json;

use super::bucket::{ApiAnswer, Lifetimes};
use super::{DENIED, Failure, Link, NatsStore, Published, Record, Replies, Reply, Request, Stored};
use super::{api, no_answer, parse, ttl_header};

/// Why the server refused a message.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    pub(super) why: String,
    /// The user may not publish there at all.
    pub(super) is_denied: bool,
}

#[derive(Debug, Deserialize)]
struct Purged {}

impl<L: Link> NatsStore<L> {
    fn purge_subject(&self) -> String {
        format!("$JS.API.STREAM.PURGE.{}", self.bucket.stream())
    }

    /// Removes these records for good, with nothing in their place. This needs no room, but a
    /// permission of its own.
    async fn purge(&mut self, places: &[Published]) -> Result<Vec<Result<(), Refused>>, Failure> {
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let purges = places.iter().map(|place| {
            let subject = self.subject(&place.agent, place.instance.as_str());
            let body = json!({ "filter": subject }).to_string();
            api(self.purge_subject(), body.into_bytes())
        });
        let purges: Vec<Request> = purges.collect();
        let replies = match self.link.ask(purges).await {
            // A link that reports one denial for all requests.
            Err(failure) if !failure.reconnect => {
                let denied = Refused {
                    why: failure.cause,
                    is_denied: true,
                };
                return Ok(places.iter().map(|_| Err(denied.clone())).collect());
            }
            replies => replies?,
        };
        let mut replies = replies.into_iter().flatten();
        let answers = places.iter().map(|_| {
            let reply = replies.next().ok_or_else(no_answer)?;
            purged(&reply)
        });
        answers.collect()
    }

    /// Removes everything that was put over this connection, or has to go, from a bucket that would
    /// keep it for ever. Says why something had to stay, if anything had.
    pub(super) async fn purge_all(&mut self) -> Result<Option<String>, Failure> {
        let places: Vec<Published> = self.put.drain().collect();
        let purged = self.purge(&places).await?;
        let refused = purged.into_iter().find_map(Result::err);
        Ok(refused.map(|refused| self.why_not_purged(&refused)))
    }

    /// The message that stands for a removed record. It ends as the record would have.
    pub(super) fn marker(&self, place: &Published, lifetimes: Lifetimes) -> Request {
        let mut headers = ttl_header(lifetimes, 1_000);
        headers.push(("KV-Operation", "DEL".to_owned()));
        Request {
            subject: self.subject(&place.agent, place.instance.as_str()),
            headers,
            payload: Vec::new(),
            replies: Replies::One,
        }
    }

    /// Sends messages into the bucket; returns what the server says of each.
    pub(super) async fn send(
        &mut self,
        messages: Vec<Request>,
    ) -> Result<Vec<Result<(), Refused>>, Failure> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let count = messages.len();
        let mut replies = self.link.ask(messages).await?.into_iter().flatten();
        let mut answers = Vec::with_capacity(count);
        for _ in 0..count {
            let reply = replies.next().ok_or_else(no_answer)?;
            answers.push(self.acknowledged(&reply)?);
        }
        Ok(answers)
    }

    /// Markers take the records' places; if the bucket refuses one, the record is purged.
    pub(super) async fn mark_removed(
        &mut self,
        places: &[Published],
        lifetimes: Lifetimes,
    ) -> Result<(), Failure> {
        let markers = places.iter().map(|place| self.marker(place, lifetimes));
        let answers = self.send(markers.collect()).await?;
        let (refused, why): (Vec<Published>, Vec<Refused>) = places
            .iter()
            .cloned()
            .zip(answers)
            .filter_map(|(place, answer)| Some((place, answer.err()?)))
            .unzip();
        let purged = self.purge(&refused).await?;
        let mut outcomes = why.into_iter().zip(purged);
        let left = outcomes.find_map(|(why, purged)| Some(self.still_there(&why, &purged.err()?)));
        left.map_or(Ok(()), |why| Err(Failure::answered(why)))
    }

    /// If records that do not say `ready` were refused, removes those before them, and puts them
    /// again if that has made room.
    pub(super) async fn give_way(
        &mut self,
        records: &[Record],
        answers: &mut [Stored],
        refused: &[Option<Refused>],
        lifetimes: Lifetimes,
    ) -> Result<(), Failure> {
        let noes = records.iter().zip(answers).zip(refused);
        let noes: Vec<_> = noes
            .filter(|((record, answer), _)| answer.is_err() && !record.is_ready())
            .collect();
        let places = noes.iter().map(|((record, _), _)| record.published.clone());
        let places: Vec<Published> = places.collect();
        let purged = self.purge(&places).await?;
        let (mut again, mut stuck) = (Vec::new(), Vec::new());
        for (((record, answer), refused), purged) in noes.into_iter().zip(purged) {
            self.put.remove(&record.published);
            match (refused, purged) {
                // The bucket was not even asked, and would not be now.
                (None, _) => {}
                (Some(_), Ok(())) => again.push((record, answer)),
                // The first denial is the one to mend.
                (Some(refused), Err(_)) if refused.is_denied => {}
                (Some(refused), Err(purge)) => {
                    stuck.push((record, answer, self.still_there(refused, &purge)));
                }
            }
        }
        let puts = again.iter().map(|(r, _)| self.put_request(r, lifetimes));
        let acks = self.send(puts.collect()).await?;
        for ((record, answer), ack) in again.into_iter().zip(acks) {
            *answer = ack.map(|()| None).map_err(|refused| refused.why);
            if answer.is_ok() {
                self.put.insert(record.published.clone());
            }
        }
        // Smaller than any record, a marker may fit where the record does not.
        let markers = stuck.iter();
        let markers = markers.map(|(record, ..)| self.marker(&record.published, lifetimes));
        let acks = self.send(markers.collect()).await?;
        for ((_, answer, why), ack) in stuck.into_iter().zip(acks) {
            if ack.is_err() {
                *answer = Err(why);
            }
        }
        Ok(())
    }

    /// Why a record that should be gone is still there, and what to mend.
    fn still_there(&self, refused: &Refused, purge: &Refused) -> String {
        if refused.is_denied {
            return refused.why.clone();
        }
        format!(
            "bucket {}: {}; the previous signal stays until its TTL ends, since {}",
            self.bucket.name,
            refused.why,
            self.why_not_purged(purge)
        )
    }

    fn why_not_purged(&self, purge: &Refused) -> String {
        if purge.is_denied {
            format!("this user may not publish {}", self.purge_subject())
        } else {
            format!("it can't be purged: {}", purge.why)
        }
    }
}

fn purged(reply: &Reply) -> Result<Result<(), Refused>, Failure> {
    let refused = |why: String, is_denied| Ok(Err(Refused { why, is_denied }));
    match reply.status {
        Some(DENIED) => return refused(reply.description.clone(), true),
        Some(status) => return refused(reply.failure(status).cause, false),
        None => {}
    }
    let answer: ApiAnswer<Purged> = parse(&reply.payload)?;
    match answer.or_error() {
        Ok(Purged {}) => Ok(Ok(())),
        Err(e) => refused(e.description, false),
    }
}
