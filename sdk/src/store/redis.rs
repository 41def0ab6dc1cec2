//! Signals in Redis or Valkey: keys, indexes, and the commands that keep them.
//!
//! - `ready:NAMESPACE:{AGENT}:INSTANCE` holds the record; the server expires it.
//! - `ready:NAMESPACE:{AGENT}` is the set of an agent's instances, `ready:NAMESPACE` that of agents,
//!   so that nothing scans the keyspace. Both expire, too: twice a TTL after they were last needed.
//!
//! No scripts, so that a narrow ACL is enough (docs/signal.md has it). Opens no connection: a [`CommandLink`]
//! has one.

#[cfg(feature = "redis")]
pub mod client;
mod command;
mod index;
mod refused;
mod write;

use std::collections::{HashMap, HashSet};

use redis::{Cmd, Value};

use super::{Expiry, Failure, Published, Record, Seen, Store, Stored};
use crate::clock;
use crate::signal::{DecodeError, MAX_RECORD_BYTES, Name};
use command::{get, key_command, srem};
use refused::{error, no_redis, too_few};

/// What a reply without a record takes at most, in bytes: a status, a number, an error.
const SMALL_REPLY_BYTES: usize = 1_024;
/// A record with its length and line endings, and a good deal of what is no record.
const RECORD_REPLY_BYTES: usize = 4 * MAX_RECORD_BYTES;

/// So many instances are looked at together.
const CHUNK: usize = 1_024;

/// A connection to one server.
#[allow(
    async_fn_in_trait,
    reason = "a link is used on the runtime it was made on"
)]
pub trait CommandLink {
    /// Sends all commands together, and returns the replies in their order; an error of the server
    /// is a reply. Fails when the replies take more than `max_bytes`.
    async fn exchange(&mut self, commands: &[Cmd], max_bytes: usize)
    -> Result<Vec<Value>, Failure>;
}

/// Signals in one namespace of a Redis server.
#[derive(Debug)]
pub struct RedisStore<L> {
    link: L,
    namespace: Name,
    /// Until when an instance need not be put into the indexes again.
    indexed: HashMap<Published, u64>,
    /// Agents that the index of agents names, and that have no live instance.
    dead: Vec<Name>,
}

impl<L: CommandLink> RedisStore<L> {
    /// The signals of a namespace, through a connection.
    pub fn new(link: L, namespace: Name) -> Self {
        Self {
            link,
            namespace,
            indexed: HashMap::new(),
            dead: Vec::new(),
        }
    }

    /// Its connection, for whoever looks after that between two calls.
    pub fn link(&mut self) -> &mut L {
        &mut self.link
    }

    /// Sends commands, none of which may be refused.
    async fn ask(&mut self, commands: &[Cmd], max_bytes: usize) -> Result<Vec<Value>, Failure> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let replies = self.link.exchange(commands, max_bytes).await?;
        match replies.iter().find_map(error) {
            Some(refused) => Err(refused),
            None => Ok(replies),
        }
    }

    /// The same with commands that answer in a word.
    async fn ask_small(&mut self, commands: &[Cmd]) -> Result<Vec<Value>, Failure> {
        self.ask(commands, SMALL_REPLY_BYTES * commands.len()).await
    }

    fn agents_key(&self) -> String {
        format!("ready:{}", self.namespace)
    }

    fn set_key(&self, agent: &Name) -> String {
        format!("ready:{}:{{{agent}}}", self.namespace)
    }

    fn record_key(&self, agent: &Name, instance: &str) -> String {
        format!("ready:{}:{{{agent}}}:{instance}", self.namespace)
    }
}

impl<L: CommandLink> Store for RedisStore<L> {
    /// One command a record and beat; once a TTL, and when a record was lost, also those that keep
    /// the indexes.
    async fn put(&mut self, records: &[Record]) -> Result<Vec<Stored>, Failure> {
        let now_ms = clock::mono_ms();
        let is_indexed = |record: &&Record| {
            self.indexed
                .get(&record.published)
                .is_some_and(|until_ms| *until_ms > now_ms)
        };
        let known: Vec<&Record> = records.iter().filter(is_indexed).collect();
        let renewed = self.renew(&known).await?;
        let mut renewed: HashMap<&Published, Option<Stored>> = known
            .iter()
            .map(|record| &record.published)
            .zip(renewed)
            .collect();
        let unknown: Vec<&Record> = records
            .iter()
            .filter(|record| !matches!(renewed.get(&record.published), Some(Some(_))))
            .collect();
        let registered = self.register(&unknown).await?;
        for (record, stored) in unknown.iter().zip(registered) {
            renewed.insert(&record.published, Some(stored));
        }
        let answers = records.iter().map(|record| {
            let answer = renewed.get(&record.published).cloned().flatten();
            answer.ok_or_else(too_few)
        });
        let mut answers: Vec<Stored> = answers.collect::<Result<_, _>>()?;
        self.give_way(records, &mut answers).await?;
        Ok(answers)
    }

    /// Two round trips, for one agent or a thousand.
    async fn read(&mut self, agents: &[Name]) -> Result<Vec<Seen>, Failure> {
        let instances = self.instances(agents).await?;
        let instances = self.readable(agents, instances).await?;
        if instances.is_empty() {
            return Ok(Vec::new());
        }
        let mut commands = Vec::with_capacity(2 * instances.len());
        for (agent, instance) in &instances {
            let key = self.record_key(agent, instance);
            // Read last, a TTL tells of a key that there is: one that expires in between has none.
            commands.push(get(&key));
            commands.push(key_command("PTTL", &key));
        }
        let max_bytes = (RECORD_REPLY_BYTES + SMALL_REPLY_BYTES) * instances.len();
        let replies = self.link.exchange(&commands, max_bytes).await?;
        let mut seen = Vec::new();
        for ((agent, instance), replies) in instances.iter().zip(replies.chunks(2)) {
            let [record, ttl] = replies else {
                return Err(too_few());
            };
            match (record, ttl) {
                // Of another type: somebody put it there, and it is no record.
                (Value::ServerError(e), _) if e.code() == "WRONGTYPE" => {
                    seen.push(Seen {
                        agent: agent.clone(),
                        instance: instance.clone(),
                        signal: Err(DecodeError::Malformed("its key holds no string".to_owned())),
                        expiry: Expiry::Timely,
                        age_ms: None,
                    });
                }
                (refused @ Value::ServerError(_), _) | (_, refused @ Value::ServerError(_)) => {
                    return Err(error(refused).unwrap_or_else(too_few));
                }
                (Value::Nil, _) | (_, Value::Int(-2)) => {}
                (Value::BulkString(bytes), Value::Int(left_ms)) => {
                    let left_ms = u64::try_from(*left_ms).ok();
                    let expiry = |ttl_ms| {
                        left_ms.map_or(Expiry::Never, |left_ms| Expiry::within(left_ms, ttl_ms))
                    };
                    let found = Seen::at(agent, instance, bytes, expiry);
                    seen.push(match left_ms {
                        Some(left_ms) => found.left(left_ms),
                        None => found,
                    });
                }
                _ => return Err(no_redis()),
            }
        }
        Ok(seen)
    }

    async fn agents(&mut self) -> Result<Vec<Name>, Failure> {
        let members = self.members(&[self.agents_key()]).await?;
        let mut names: Vec<Name> = members
            .iter()
            .flatten()
            .filter_map(|member| Name::new(member).ok())
            .collect();
        names.sort();
        let instances = self.instances(&names).await?;
        let is_live = self.live(&instances).await?;
        let mut live: Vec<Name> = instances
            .into_iter()
            .zip(is_live)
            .filter(|(_, is_live)| *is_live)
            .map(|((agent, _), _)| agent)
            .collect();
        live.dedup();
        names.retain(|name| live.binary_search(name).is_err());
        self.dead = names;
        Ok(live)
    }

    async fn remove(&mut self, published: &[Published]) -> Result<(), Failure> {
        if published.is_empty() {
            return Ok(());
        }
        let mut commands = Vec::with_capacity(2 * published.len());
        let mut agents = HashSet::new();
        for one in published {
            self.indexed.remove(one);
            let (agent, instance) = (&one.agent, one.instance.as_str());
            commands.push(key_command("DEL", &self.record_key(agent, instance)));
            commands.push(srem(&self.set_key(agent), &[instance]));
            agents.insert(agent.clone());
        }
        let agents: Vec<Name> = agents.into_iter().collect();
        self.ask_small(&commands).await?;
        self.forget_empty(&agents).await
    }

    /// Also what was found dead when the agents were last listed.
    async fn tidy(&mut self, agents: &[Name]) -> Result<(), Failure> {
        let mut agents = agents.to_vec();
        agents.append(&mut self.dead);
        let instances = self.instances(&agents).await?;
        let is_live = self.live(&instances).await?;
        let pairs = instances.into_iter().zip(is_live);
        let dead: Vec<(Name, String)> = pairs
            .filter(|(_, is_live)| !is_live)
            .map(|(pair, _)| pair)
            .collect();
        let removals: Vec<Cmd> = dead
            .iter()
            .map(|(agent, instance)| srem(&self.set_key(agent), &[instance]))
            .collect();
        for some in removals.chunks(CHUNK) {
            self.ask_small(some).await?;
        }
        // One that has come back meanwhile is put back: its beats do so only once a TTL.
        let is_back = self.live(&dead).await?;
        let back: Vec<(String, Vec<&str>)> = dead
            .iter()
            .zip(is_back)
            .filter(|(_, is_back)| *is_back)
            .map(|((agent, instance), _)| (self.set_key(agent), vec![instance.as_str()]))
            .collect();
        self.put_back(&back).await?;
        self.forget_empty(&agents).await
    }
}

#[cfg(test)]
#[cfg(feature = "redis")]
mod tests;
