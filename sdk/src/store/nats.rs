//! Signals in a JetStream key-value bucket: subjects, requests, and what the answers mean.
//!
//! The key is `NAMESPACE.AGENT.INSTANCE`, each a single token. Since nats-server 2.11 each record has
//! a TTL of its own; before, the bucket's `max_age` stands in for it. A bucket that can't end a
//! record's life is refused: an older server ignores the header silently, and the key stays for ever.
//!
//! The bucket: <https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-8.md>; reading
//! from it: ADR-31; a message's own TTL: ADR-43. Opens no connection: a [`Link`] has one.

mod bucket;
#[cfg(feature = "nats")]
pub mod client;
mod expiry;
mod hint;
mod link;
mod open_bucket;
mod read;
mod refused;
mod write;

use std::collections::{BTreeSet, HashMap, HashSet};

use serde::Deserialize;

use super::{Failure, Published, Record, Seen, Store, Stored};
use crate::connect::store::Bucket;
use crate::signal::Name;
pub use bucket::Cluster;
use bucket::{Lifetimes, Terms};
use link::DENIED;
pub use link::{Link, MOMENT, Replies, Reply, Request};
use refused::Refused;

/// The most that a batch may ask for (ADR-31).
pub const MAX_BATCH: usize = 1_024;

/// Signals in one namespace of a bucket.
#[derive(Debug)]
pub struct NatsStore<L> {
    link: L,
    namespace: Name,
    bucket: Bucket,
    /// What the bucket is like, and when that was looked up.
    known: Option<(Terms, u64)>,
    /// The sequence number of the last record put.
    last_seq: u64,
    /// What was put there.
    put: HashSet<Published>,
    /// Until when an instance need not be put into its agent's hint again.
    hinted: HashMap<Published, u64>,
}

impl<L: Link> NatsStore<L> {
    /// The signals of a namespace in a bucket, through a connection.
    pub fn new(link: L, namespace: Name, bucket: Bucket) -> Self {
        Self {
            link,
            namespace,
            bucket,
            known: None,
            last_seq: 0,
            put: HashSet::new(),
            hinted: HashMap::new(),
        }
    }

    /// Its connection, for whoever looks after that between two calls.
    pub fn link(&mut self) -> &mut L {
        &mut self.link
    }

    fn supports_ttl(&self) -> bool {
        self.link.server_version() >= (2, 11)
    }

    fn subject(&self, agent: &Name, instance: &str) -> String {
        let tokens = [self.namespace.as_str(), agent.as_str(), instance].map(token);
        format!("$KV.{}.{}", self.bucket.name, tokens.join("."))
    }

    /// The subjects of all instances of an agent.
    fn subjects(&self, agent: &Name) -> String {
        let tokens = [self.namespace.as_str(), agent.as_str()].map(token);
        format!("$KV.{}.{}.*", self.bucket.name, tokens.join("."))
    }

    /// Agent and instance of a subject, if it is one of ours and no hint.
    fn place(&self, subject: &str) -> Option<(Name, String)> {
        let prefix = format!(
            "$KV.{}.{}.",
            self.bucket.name,
            token(self.namespace.as_str())
        );
        let (agent, instance) = subject.strip_prefix(&prefix)?.split_once('.')?;
        let name = Name::new(&text(agent)).ok()?;
        Some((name, text(instance)))
    }

    async fn ask_one(&mut self, request: Request) -> Result<Reply, Failure> {
        let replies = self.link.ask(vec![request]).await?;
        let mut replies = replies.into_iter().flatten();
        replies.next().ok_or_else(no_answer)
    }
}

impl<L: Link> Store for NatsStore<L> {
    /// One message a record.
    async fn put(&mut self, records: &[Record]) -> Result<Vec<Stored>, Failure> {
        let Terms {
            lifetimes,
            allow_direct,
        } = self.terms().await?;
        if !lifetimes.end() {
            return self.refuse_all(records, lifetimes).await;
        }
        let mut answers: Vec<Stored> = records
            .iter()
            .map(|record| self.refusal(record, lifetimes))
            .collect();
        if answers.iter().any(Result::is_err) {
            self.known = None;
        }
        let accepted = records.iter().zip(&answers).filter(|(_, a)| a.is_ok());
        let requests: Vec<Request> = accepted
            .map(|(record, _)| self.put_request(record, lifetimes))
            .collect();
        let mut acks = self.send(requests).await?.into_iter();
        let mut refused: Vec<Option<Refused>> = Vec::with_capacity(records.len());
        for (record, answer) in records.iter().zip(&mut answers) {
            let ack = if answer.is_ok() { acks.next() } else { None };
            refused.push(match ack {
                Some(Err(e)) => {
                    *answer = Err(e.why.clone());
                    Some(e)
                }
                Some(Ok(())) => {
                    // A beat is of one that is known.
                    if !self.put.contains(&record.published) {
                        self.put.insert(record.published.clone());
                    }
                    None
                }
                None => None,
            });
        }
        // Another bucket of that name may have taken them: what it does with them is looked up at once.
        if self.known.is_none() {
            let lifetimes = self.terms().await?.lifetimes;
            if !lifetimes.end() {
                return self.refuse_all(records, lifetimes).await;
            }
        }
        self.give_way(records, &mut answers, &refused, lifetimes)
            .await?;
        if !self.supports_ttl() && allow_direct {
            let stored = records.iter().zip(&answers).filter(|(_, a)| a.is_ok());
            let stored: Vec<&Record> = stored.map(|(record, _)| record).collect();
            // Nobody misses it who looks further.
            match self.hint(&stored).await {
                Err(e) if e.reconnect => return Err(e),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(answers)
    }

    /// One round trip since nats-server 2.11, two before.
    async fn read(&mut self, agents: &[Name]) -> Result<Vec<Seen>, Failure> {
        if agents.is_empty() {
            return Ok(Vec::new());
        }
        if self.supports_ttl() {
            self.read_batches(agents).await
        } else {
            self.read_subjects(agents).await
        }
    }

    /// Two round trips also before 2.11, if so many are ready as its hint tells.
    async fn find_ready(&mut self, agent: &Name, min: usize) -> Result<Vec<Seen>, Failure> {
        if !self.supports_ttl() {
            let seen = self.read_hinted(agent).await?;
            if seen.iter().filter(|seen| seen.is_ready()).count() >= min {
                return Ok(seen);
            }
        }
        self.read(std::slice::from_ref(agent)).await
    }

    async fn agents(&mut self) -> Result<Vec<Name>, Failure> {
        let namespace = token(self.namespace.as_str());
        let filter = format!("$KV.{}.{namespace}.>", self.bucket.name);
        let mut names = BTreeSet::new();
        let mut offset = 0;
        loop {
            let request = self.info_request(Some(&filter), offset);
            let reply = self.ask_one(request).await?;
            let Some(info) = self.info(&reply)? else {
                return Ok(Vec::new());
            };
            let places = info.subjects().filter_map(|subject| self.place(subject));
            names.extend(places.map(|(agent, _)| agent));
            // A page holds so many subjects; the next one begins behind them.
            let listed = info.subjects().count();
            offset += listed;
            if listed == 0 || offset >= info.total() {
                break;
            }
        }
        // A key that was removed leaves a marker, which the list of subjects does not tell apart.
        let names: Vec<Name> = names.into_iter().collect();
        let mut live: Vec<Name> = Vec::new();
        for some in names.chunks(MAX_BATCH) {
            let seen = self.read(some).await?;
            live.extend(seen.into_iter().map(|seen| seen.agent));
        }
        live.sort();
        live.dedup();
        Ok(live)
    }

    /// A marker takes the record's place, and ends as the record would have.
    async fn remove(&mut self, published: &[Published]) -> Result<(), Failure> {
        if published.is_empty() {
            return Ok(());
        }
        let lifetimes = self.terms().await?.lifetimes;
        // A marker would stay for ever.
        if !lifetimes.end() {
            self.put.extend(published.iter().cloned());
            let left = self.purge_all().await?;
            let why = left.map(|left| format!("{}; {left}", self.why_none(lifetimes)));
            return why.map_or(Ok(()), |why| Err(Failure::answered(why)));
        }
        for one in published {
            self.hinted.remove(one);
            self.put.remove(one);
        }
        self.mark_removed(published, lifetimes).await
    }

    /// There is no index.
    async fn tidy(&mut self, _: &[Name]) -> Result<(), Failure> {
        Ok(())
    }
}

fn api(subject: String, payload: Vec<u8>) -> Request {
    Request {
        subject,
        headers: Vec::new(),
        payload,
        replies: Replies::One,
    }
}

/// A name as one token of a subject.
fn token(name: &str) -> String {
    name.replace('.', "=2E")
}

fn text(token: &str) -> String {
    token.replace("=2E", ".")
}

fn parse<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, Failure> {
    serde_json::from_slice(payload)
        .map_err(|_| Failure::lost("it does not speak JetStream's protocol"))
}

fn no_answer() -> Failure {
    Failure::lost("it answers fewer questions than were asked")
}

/// The server counts whole seconds; rounded up, no record ends before its next beat.
fn ttl_header(lifetimes: Lifetimes, ttl_ms: u64) -> Vec<(&'static str, String)> {
    match lifetimes {
        Lifetimes::Own(_) => vec![("Nats-TTL", format!("{}s", ttl_ms.div_ceil(1_000)))],
        Lifetimes::MaxAge(_) | Lifetimes::Never | Lifetimes::Several => Vec::new(),
    }
}
