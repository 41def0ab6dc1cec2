//! Signals in a JetStream key-value bucket: subjects, requests, and what the answers mean.
//!
//! The key is `NAMESPACE.AGENT.INSTANCE`, each a single token. Since nats-server 2.11 each record has
//! a TTL of its own; before, the bucket's `max_age` stands in for it. A bucket that can't end a
//! record's life is refused: an older server ignores the header silently, and the key stays for ever.
//!
//! The bucket: <https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-8.md>; reading
//! from it: ADR-31; a message's own TTL: ADR-43. Opens no connection: a [`Link`] has one.

#[cfg(feature = "nats")]
pub mod client;
mod hint;
mod life;
mod link;
mod refused;
mod stream;

use std::collections::{BTreeSet, HashMap, HashSet};

use serde::Deserialize;
use serde_json::json;

use super::{Failure, Published, Record, Seen, Store, Stored};
use crate::clock;
use crate::connect::store::Bucket;
use crate::freshness::Span;
use crate::signal::Name;
use life::Life;
use link::DENIED;
pub use link::{Link, MOMENT, Replies, Reply, Request};
use refused::Refused;
pub use stream::Cluster;
use stream::{ApiAnswer, ApiError, Lifetimes, StreamInfo, Terms};

/// How often it is looked whether the bucket still is what it was.
const LOOK_AGAIN_MS: u64 = 60_000;
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

    /// What the stream behind the bucket says, with the subjects that match `filter`.
    fn info_request(&self, filter: Option<&str>, offset: usize) -> Request {
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

    /// What an answer says of the stream; nothing, if there is none. Without a leader it is as if the
    /// server could not be asked: nobody ends the life of what is there, or puts what is not.
    fn info(&self, reply: &Reply) -> Result<Option<StreamInfo>, Failure> {
        match stream_info(reply)? {
            Ok(info) if info.has_leader() => Ok(Some(info)),
            Ok(_) => Err(self.bucket.has_no_leader()),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e.failure()),
        }
    }

    /// What this bucket is like. It is made, if it is not there and may be.
    async fn terms(&mut self) -> Result<Terms, Failure> {
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

    fn put_request(&self, record: &Record, lifetimes: Lifetimes) -> Request {
        let Published { agent, instance } = &record.published;
        Request {
            subject: self.subject(agent, instance.as_str()),
            headers: ttl_header(lifetimes, record.ttl_ms),
            payload: record.bytes.clone(),
            replies: Replies::One,
        }
    }

    /// What a record has to hear before it is sent.
    fn refusal(&self, record: &Record, lifetimes: Lifetimes) -> Stored {
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
    fn why_none(&self, lifetimes: Lifetimes) -> String {
        if lifetimes == Lifetimes::Several {
            self.bucket.keeps_several()
        } else {
            self.bucket.is_for_ever(self.supports_ttl())
        }
    }

    /// Refuses records since the bucket would not end their life. If it has become so in mid-life, the
    /// last ones are there: nothing but a purge ends them. Who may not purge is told what to mend.
    async fn refuse_all(
        &mut self,
        records: &[Record],
        lifetimes: Lifetimes,
    ) -> Result<Vec<Stored>, Failure> {
        let noes = records.iter().filter(|record| !record.is_ready());
        self.put.extend(noes.map(|record| record.published.clone()));
        self.purge_all().await?;
        // Once it is mended, the next beat is to know.
        self.known = None;
        let why = self.why_none(lifetimes);
        Ok(records.iter().map(|_| Err(why.clone())).collect())
    }

    /// What the server says of a record.
    fn acknowledged(&mut self, reply: &Reply) -> Result<Result<(), Refused>, Failure> {
        match reply.status {
            // Nobody listens to the bucket's subjects: it was removed, or nobody leads it. The next
            // turn looks, and says which.
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
                // Numbers only grow; where they do not, it is another bucket of that name.
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

    fn has_too_many(&self) -> Failure {
        Failure::answered(format!(
            "an agent has more than {MAX_BATCH} instances in bucket {}",
            self.bucket.name
        ))
    }

    /// Seen records, out of the answers of direct gets.
    fn seen(&self, replies: &[Reply], life: Life) -> Result<Vec<Seen>, Failure> {
        let mut seen = Vec::new();
        for reply in replies {
            match reply.status {
                None => {}
                // 204: a batch ends, 404: nothing there.
                Some(204 | 404) => continue,
                Some(413) => return Err(self.has_too_many()),
                Some(503) => return Err(self.bucket.is_not_direct()),
                Some(status) => return Err(reply.failure(status)),
            }
            // A key that was removed, or that has expired, leaves a marker for a while.
            let markers = ["KV-Operation", "Nats-Marker-Reason"];
            if markers.iter().any(|marker| reply.header(marker).is_some()) {
                continue;
            }
            let subject = reply.header("Nats-Subject").unwrap_or_default();
            let Some((agent, instance)) = self.place(subject) else {
                continue;
            };
            // Nothing in it can be believed, whatever it says.
            if life.lifetimes == Lifetimes::Several {
                return Err(Failure::answered(self.bucket.keeps_several()));
            }
            let expiry = |ttl_ms| life.expiry(reply, ttl_ms);
            seen.push(Seen::at(&agent, &instance, &reply.payload, expiry));
        }
        Ok(seen)
    }

    fn direct_get(&self, body: &serde_json::Value, replies: Replies) -> Request {
        Request {
            subject: format!("$JS.API.DIRECT.GET.{}", self.bucket.stream()),
            headers: Vec::new(),
            payload: body.to_string().into_bytes(),
            replies,
        }
    }

    fn get_last(&self, subject: &str) -> Request {
        self.direct_get(&json!({ "last_by_subj": subject }), Replies::One)
    }

    /// Since 2.11 one batch an agent answers, together with what the bucket is: one round trip.
    async fn read_batches(&mut self, agents: &[Name]) -> Result<Vec<Seen>, Failure> {
        let mut requests = vec![self.info_request(None, 0)];
        for agent in agents {
            let body = json!({ "multi_last": [self.subjects(agent)], "batch": MAX_BATCH });
            requests.push(self.direct_get(&body, Replies::Batch));
        }
        let mut replies = self.link.ask(requests).await?.into_iter();
        let info = replies.next().unwrap_or_default();
        let info = info.first().ok_or_else(no_answer)?;
        // Nobody has published yet.
        let Some(info) = self.info(info)? else {
            return Ok(Vec::new());
        };
        let replies: Vec<Reply> = replies.flatten().collect();
        self.seen(&replies, Life::of(&info))
    }

    /// Before 2.11: which subjects there are, and then all of them at once.
    async fn read_subjects(&mut self, agents: &[Name]) -> Result<Vec<Seen>, Failure> {
        let filters = agents.iter().map(|agent| self.subjects(agent));
        let requests = filters.map(|filter| self.info_request(Some(&filter), 0));
        let requests: Vec<Request> = requests.collect();
        let mut life = None;
        let mut gets = Vec::new();
        for reply in self.link.ask(requests).await?.iter().flatten() {
            let Some(info) = self.info(reply)? else {
                return Ok(Vec::new());
            };
            if !info.terms().allow_direct {
                return Err(self.bucket.is_not_direct());
            }
            life = Some(Life::of(&info));
            if info.total() > MAX_BATCH {
                return Err(self.has_too_many());
            }
            for subject in info.subjects() {
                gets.push(self.get_last(subject));
            }
        }
        let Some(life) = life.filter(|_| !gets.is_empty()) else {
            return Ok(Vec::new());
        };
        let replies: Vec<Reply> = self.link.ask(gets).await?.into_iter().flatten().collect();
        self.seen(&replies, life)
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
            return self.purge_all().await;
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

#[derive(Debug, Deserialize)]
struct Ack {
    seq: u64,
}

fn api(subject: String, payload: Vec<u8>) -> Request {
    Request {
        subject,
        headers: Vec::new(),
        payload,
        replies: Replies::One,
    }
}

/// The server counts whole seconds; rounded up, no record ends before its next beat.
fn ttl_header(lifetimes: Lifetimes, ttl_ms: u64) -> Vec<(&'static str, String)> {
    match lifetimes {
        Lifetimes::Own(_) => vec![("Nats-TTL", format!("{}s", ttl_ms.div_ceil(1_000)))],
        Lifetimes::MaxAge(_) | Lifetimes::Never | Lifetimes::Several => Vec::new(),
    }
}

/// A name as one token of a subject.
fn token(name: &str) -> String {
    name.replace('.', "=2E")
}

fn text(token: &str) -> String {
    token.replace("=2E", ".")
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

fn parse<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, Failure> {
    serde_json::from_slice(payload)
        .map_err(|_| Failure::lost("it does not speak JetStream's protocol"))
}

fn no_answer() -> Failure {
    Failure::lost("it answers fewer questions than were asked")
}
