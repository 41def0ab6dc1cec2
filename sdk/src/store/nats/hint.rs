//! Where an agent's instances are, on a server that would search the whole bucket for them.
//!
//! Before 2.11 a nats-server finds one subject at once, but goes through all subjects for a
//! wildcard. So an agent's writers keep a hint beside its records, at `NAMESPACE.AGENT`: the names
//! of the latest instances. It is only a hint: whoever does not find enough by it searches without
//! it. So it may be wrong, incomplete or missing, and writers in other languages need not know it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::expiry::RecordLife;
use super::token;
use super::{Failure, Link, NatsStore, Record, Replies, Reply, Request, Seen};
use crate::clock;
use crate::signal::{Instance, Name};

/// So many instances are remembered: they fit into a bucket's message, and are read at once.
const MAX_INSTANCES: usize = 32;

/// So many hints are written at once: the records come first, and wait for nothing.
const MAX_HINTS: usize = 1_000;

#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Hint {
    instances: Vec<String>,
}

impl Hint {
    /// Anything else counts as an empty hint.
    fn decode(bytes: &[u8]) -> Self {
        let mut hint: Self = serde_json::from_slice(bytes).unwrap_or_default();
        hint.instances
            .retain(|instance| Instance::new(instance).is_ok());
        hint.instances.truncate(MAX_INSTANCES);
        hint
    }

    fn encode(&self) -> Vec<u8> {
        serde_json::json!(self).to_string().into_bytes()
    }

    /// An instance is there: the latest stands first, the oldest is forgotten.
    fn add(&mut self, instance: &Instance) {
        self.instances.retain(|known| known != instance.as_str());
        self.instances.insert(0, instance.as_str().to_owned());
        self.instances.truncate(MAX_INSTANCES);
    }

    fn instances(&self) -> &[String] {
        &self.instances
    }
}

impl<L: Link> NatsStore<L> {
    /// Where an agent's hint is.
    fn hint_subject(&self, agent: &Name) -> String {
        let tokens = [self.namespace.as_str(), agent.as_str()].map(token);
        format!("$KV.{}.{}", self.bucket.name, tokens.join("."))
    }

    /// Asks for a hint. To be asked together with something that is sure to be answered: without
    /// the bucket, this is not. Not by `STREAM.MSG.GET`: nats-server 2.9.10 dies of it while it
    /// makes the bucket.
    fn get_hint(&self, agent: &Name) -> Request {
        let get = self.get_last(&self.hint_subject(agent));
        let replies = Replies::Maybe;
        Request { replies, ..get }
    }

    /// Before 2.11: the instances that the agent's hint names, whatever the size of the fleet.
    /// `None` if anything is wrong: the search that follows will say what.
    pub(super) async fn read_hinted(&mut self, agent: &Name) -> Result<Vec<Seen>, Failure> {
        let requests = vec![self.get_hint(agent), self.info_request(None, 0)];
        let replies = match self.link.ask(requests).await {
            Err(e) if e.reconnect => return Err(e),
            replies => replies.unwrap_or_default(),
        };
        let mut replies = replies
            .into_iter()
            .map(|replies| replies.into_iter().next());
        let hint = replies.next().flatten();
        let hint = hint.filter(|reply| reply.status.is_none());
        let hint = hint.map(|reply| Hint::decode(&reply.payload));
        let info = replies.next().flatten();
        let info = info.and_then(|reply| self.info(&reply).ok()?);
        let (Some(info), Some(hint)) = (info, hint) else {
            return Ok(Vec::new());
        };
        let instances = hint.instances().iter();
        let gets: Vec<Request> = instances
            .map(|instance| self.get_last(&self.subject(agent, instance)))
            .collect();
        if gets.is_empty() || !info.terms().allow_direct {
            return Ok(Vec::new());
        }
        let replies: Vec<Reply> = self.link.ask(gets).await?.into_iter().flatten().collect();
        self.seen(&replies, RecordLife::of(&info))
    }

    /// Before 2.11: notes in the hints, once in a while, where these records are.
    pub(super) async fn hint(&mut self, records: &[&Record]) -> Result<(), Failure> {
        let now_ms = clock::mono_ms();
        let is_due = |record: &&&Record| {
            let until_ms = self.hinted.get(&record.published);
            until_ms.is_none_or(|until_ms| *until_ms <= now_ms)
        };
        let mut due: BTreeMap<Name, Vec<&Record>> = BTreeMap::new();
        for record in records.iter().filter(is_due).take(MAX_HINTS) {
            let of_agent = due.entry(record.published.agent.clone());
            of_agent.or_default().push(record);
        }
        if due.is_empty() {
            return Ok(());
        }
        let gets = due.keys().map(|agent| self.get_hint(agent));
        let mut requests: Vec<Request> = gets.collect();
        requests.push(self.info_request(None, 0));
        let known = self.link.ask(requests).await?;
        let mut puts = Vec::with_capacity(due.len());
        for ((agent, records), replies) in due.iter().zip(known) {
            let known = replies.into_iter().find(|reply| reply.status.is_none());
            let mut hint = known.map_or_else(Hint::default, |reply| Hint::decode(&reply.payload));
            for record in records {
                hint.add(&record.published.instance);
            }
            puts.push(Request {
                subject: self.hint_subject(agent),
                headers: Vec::new(),
                payload: hint.encode(),
                replies: Replies::One,
            });
        }
        self.link.ask(puts).await?;
        for record in due.into_values().flatten() {
            let until_ms = now_ms + record.ttl_ms / 2;
            self.hinted.insert(record.published.clone(), until_ms);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(n: usize) -> Instance {
        Instance::new(&format!("{n}{}", "x".repeat(150))).unwrap()
    }

    #[test]
    fn the_latest_instances_are_remembered_each_once_and_fit_into_a_message() {
        let mut hint = Hint::default();
        for n in (0..100).chain([90]) {
            hint.add(&instance(n));
        }
        assert_eq!(hint.instances().len(), MAX_INSTANCES);
        assert_eq!(
            hint.instances()[..2],
            [instance(90), instance(99)].map(|i| i.as_str().to_owned())
        );
        let bytes = hint.encode();
        assert!(bytes.len() < 8 * 1024, "{}", bytes.len());
        assert_eq!(Hint::decode(&bytes), hint);
    }

    #[test]
    fn what_is_no_hint_is_an_empty_one() {
        let names = serde_json::json!({ "instances": ["../x", "", "h-1"] }).to_string();
        assert_eq!(Hint::decode(names.as_bytes()).instances(), ["h-1"]);
        for garbage in ["", "x", "[]", "{}", "{\"instances\":[1]}"] {
            assert_eq!(
                Hint::decode(garbage.as_bytes()),
                Hint::default(),
                "{garbage}"
            );
        }
    }
}
