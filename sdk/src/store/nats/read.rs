//! Reading records: which subjects there are, what is at them, and whether it can be believed.

use serde_json::json;

use super::bucket::Lifetimes;
use super::expiry::RecordLife;
use super::{Failure, Link, MAX_BATCH, Name, NatsStore, Replies, Reply, Request, Seen, no_answer};

impl<L: Link> NatsStore<L> {
    fn has_too_many(&self) -> Failure {
        Failure::answered(format!(
            "an agent has more than {MAX_BATCH} instances in bucket {}",
            self.bucket.name
        ))
    }

    /// Seen records, out of the answers of direct gets.
    pub(super) fn seen(&self, replies: &[Reply], life: RecordLife) -> Result<Vec<Seen>, Failure> {
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
            seen.push(Seen {
                age_ms: life.age_ms(reply),
                ..Seen::at(&agent, &instance, &reply.payload, expiry)
            });
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

    pub(super) fn get_last(&self, subject: &str) -> Request {
        self.direct_get(&json!({ "last_by_subj": subject }), Replies::One)
    }

    /// Since 2.11 one batch an agent answers, together with what the bucket is: one round trip.
    pub(super) async fn read_batches(&mut self, agents: &[Name]) -> Result<Vec<Seen>, Failure> {
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
        self.seen(&replies, RecordLife::of(&info))
    }

    /// Before 2.11: which subjects there are, and then all of them at once.
    pub(super) async fn read_subjects(&mut self, agents: &[Name]) -> Result<Vec<Seen>, Failure> {
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
            life = Some(RecordLife::of(&info));
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
