//! Signals in Redis or Valkey: keys, indexes, and the commands that keep them.
//!
//! - `ready:NAMESPACE:{AGENT}:INSTANCE` holds the record; the server expires it.
//! - `ready:NAMESPACE:{AGENT}` is the set of an agent's instances, `ready:NAMESPACE` that of agents,
//!   so that nothing scans the keyspace. Both expire, too: twice a TTL after they were last needed.
//!
//! No scripts, so that a narrow ACL is enough (docs/signal.md has it). Opens no connection: a [`Link`]
//! has one.

#[cfg(feature = "redis")]
pub mod client;

use std::collections::{HashMap, HashSet};

use redis::{Cmd, Value, cmd};

use super::{Expiry, Failure, Published, Record, Seen, Store, Stored};
use crate::clock;
use crate::signal::{DecodeError, Instance, MAX_RECORD_BYTES, MAX_TTL_MS, Name};

/// What a reply without a record takes at most, in bytes: a status, a number, an error.
const SMALL_REPLY_BYTES: usize = 1_024;
/// What the names in a set take at most.
const SET_REPLY_BYTES: usize = 4 * 1024 * 1024;
/// A record with its length and line endings, and a good deal of what is no record.
const RECORD_REPLY_BYTES: usize = 4 * MAX_RECORD_BYTES;

/// How many commands it takes to add to a set.
const ADD_COMMANDS: usize = 5;
/// No agent has more live instances.
const MAX_INSTANCES: usize = 1_024;
/// So many instances are looked at together.
const CHUNK: usize = 1_024;
/// So many sets are read together.
const SET_CHUNK: usize = 64;

/// A connection to one server.
#[allow(
    async_fn_in_trait,
    reason = "a link is used on the runtime it was made on"
)]
pub trait Link {
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

impl<L: Link> RedisStore<L> {
    /// The signals of a namespace, through a connection.
    pub fn new(link: L, namespace: Name) -> Self {
        Self {
            link,
            namespace,
            indexed: HashMap::new(),
            dead: Vec::new(),
        }
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

    /// Which of these instances have a record.
    async fn live(&mut self, instances: &[(Name, String)]) -> Result<Vec<bool>, Failure> {
        let mut live = Vec::with_capacity(instances.len());
        for some in instances.chunks(CHUNK) {
            let keys = some
                .iter()
                .map(|(agent, instance)| self.record_key(agent, instance));
            let commands: Vec<Cmd> = keys.map(|key| key_command("PTTL", &key)).collect();
            let replies = self.ask_small(&commands).await?;
            live.extend(replies.iter().map(|ttl| *ttl != Value::Int(-2)));
        }
        Ok(live)
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

    fn set(&self, record: &Record) -> Cmd {
        let Published { agent, instance } = &record.published;
        let mut set = cmd("SET");
        set.arg(self.record_key(agent, instance.as_str()))
            .arg(&record.bytes)
            .arg("PX")
            .arg(record.ttl_ms);
        set
    }

    /// Puts records whose places are known. One that was lost is not put: then its indexes may be
    /// lost as well.
    async fn renew(&mut self, records: &[&Record]) -> Result<Vec<Option<Stored>>, Failure> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let commands: Vec<Cmd> = records
            .iter()
            .map(|record| {
                let mut set = self.set(record);
                set.arg("XX");
                set
            })
            .collect();
        let replies = self
            .link
            .exchange(&commands, SMALL_REPLY_BYTES * commands.len())
            .await?;
        replies
            .iter()
            .map(|reply| match reply {
                Value::Nil => Ok(None),
                reply => stored(reply).map(Some),
            })
            .collect()
    }

    /// Puts records and whatever leads to them.
    async fn register(&mut self, records: &[&Record]) -> Result<Vec<Stored>, Failure> {
        let Some(longest_ms) = records.iter().map(|record| record.ttl_ms).max() else {
            return Ok(Vec::new());
        };
        let mut commands = Vec::with_capacity((1 + ADD_COMMANDS) * (records.len() + 1));
        for record in records {
            let Published { agent, instance } = &record.published;
            commands.push(self.set(record));
            let (set, member) = (self.set_key(agent), instance.as_str());
            add_to_set(&mut commands, &set, &[member], 2 * record.ttl_ms);
        }
        let per_record = commands.len() / records.len();
        let agents: HashSet<&str> = records
            .iter()
            .map(|record| record.published.agent.as_str())
            .collect();
        let agents: Vec<&str> = agents.into_iter().collect();
        add_to_set(&mut commands, &self.agents_key(), &agents, 2 * longest_ms);
        let replies = self
            .link
            .exchange(&commands, SMALL_REPLY_BYTES * commands.len())
            .await?;
        let (own, common) = replies
            .split_at_checked(per_record * records.len())
            .ok_or_else(too_few)?;
        let common = all_stored(common)?;
        let now_ms = clock::mono_ms();
        let mut answers = Vec::with_capacity(records.len());
        for (record, replies) in records.iter().zip(own.chunks(per_record)) {
            let answer = all_stored(replies)?.and_then(|_| common.clone());
            if answer.is_ok() {
                self.indexed
                    .insert(record.published.clone(), now_ms + record.ttl_ms);
            }
            answers.push(answer);
        }
        Ok(answers)
    }

    /// Has refused records that do not say `ready` take away what they were to replace, which may say so
    /// for the rest of its TTL. A Redis at its `maxmemory` refuses `SET`, and allows `DEL`.
    async fn give_way(
        &mut self,
        records: &[Record],
        answers: &mut [Stored],
    ) -> Result<(), Failure> {
        let noes = records.iter().zip(answers);
        let noes: Vec<_> = noes
            .filter(|(record, answer)| answer.is_err() && !record.is_ready())
            .collect();
        if noes.is_empty() {
            return Ok(());
        }
        let removals = noes.iter().map(|(Record { published, .. }, _)| {
            let key = self.record_key(&published.agent, published.instance.as_str());
            key_command("DEL", &key)
        });
        let removals: Vec<Cmd> = removals.collect();
        let replies = self
            .link
            .exchange(&removals, SMALL_REPLY_BYTES * removals.len())
            .await?;
        for ((_, answer), reply) in noes.into_iter().zip(&replies) {
            let (Err(why), Err(refused)) = (&mut *answer, stored(reply)?) else {
                continue;
            };
            // The first denial is what has to be mended.
            if !(why.starts_with("NOPERM") && refused.starts_with("NOPERM")) {
                why.push_str("; the previous signal stays until its TTL ends: ");
                why.push_str(&refused);
            }
        }
        Ok(())
    }

    /// The members of sets.
    async fn members(&mut self, sets: &[String]) -> Result<Vec<Vec<String>>, Failure> {
        let mut members = Vec::with_capacity(sets.len());
        for some in sets.chunks(SET_CHUNK) {
            let commands: Vec<Cmd> = some.iter().map(|set| smembers(set)).collect();
            let replies = self.link.exchange(&commands, SET_REPLY_BYTES).await?;
            for (set, reply) in some.iter().zip(&replies) {
                if let Some(refused) = error(reply) {
                    let cause = format!("{set}: {}", refused.cause);
                    return Err(Failure { cause, ..refused });
                }
                members.push(texts(reply)?);
            }
        }
        Ok(members)
    }

    /// The instances that the agents' indexes name and that could be some, the dead ones included.
    async fn instances(&mut self, agents: &[Name]) -> Result<Vec<(Name, String)>, Failure> {
        let sets: Vec<String> = agents.iter().map(|agent| self.set_key(agent)).collect();
        let members = self.members(&sets).await?;
        let pairs = agents.iter().zip(members).flat_map(|(agent, members)| {
            members
                .into_iter()
                .filter(|member| Instance::new(member).is_ok())
                .map(|member| (agent.clone(), member))
        });
        Ok(pairs.collect())
    }

    /// What is to be read of these instances: of an agent that has very many, those that live.
    async fn readable(
        &mut self,
        agents: &[Name],
        instances: Vec<(Name, String)>,
    ) -> Result<Vec<(Name, String)>, Failure> {
        if instances.len() <= MAX_INSTANCES {
            return Ok(instances);
        }
        let is_live = self.live(&instances).await?;
        let pairs = instances.into_iter().zip(is_live);
        let live: Vec<(Name, String)> = pairs
            .filter(|(_, is_live)| *is_live)
            .map(|(pair, _)| pair)
            .collect();
        for agent in agents {
            let count = live.iter().filter(|(name, _)| name == agent).count();
            if count > MAX_INSTANCES {
                return Err(Failure::answered(format!(
                    "agent {agent} has {count} live instances, more than {MAX_INSTANCES}"
                )));
            }
        }
        Ok(live)
    }

    /// Removes agents without an instance from the index of agents. An instance that came up
    /// meanwhile puts its agent there again.
    async fn forget_empty(&mut self, agents: &[Name]) -> Result<(), Failure> {
        let sets: Vec<String> = agents.iter().map(|agent| self.set_key(agent)).collect();
        let members = self.members(&sets).await?;
        let pairs = agents.iter().zip(&members);
        let empty: Vec<Name> = pairs
            .filter(|(_, members)| members.is_empty())
            .map(|(agent, _)| agent.clone())
            .collect();
        if empty.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = empty.iter().map(Name::as_str).collect();
        self.ask_small(&[srem(&self.agents_key(), &names)]).await?;
        let sets: Vec<String> = empty.iter().map(|agent| self.set_key(agent)).collect();
        let after = self.members(&sets).await?;
        let back = empty.iter().zip(after).filter(|(_, m)| !m.is_empty());
        let back: Vec<&str> = back.map(|(agent, _)| agent.as_str()).collect();
        if back.is_empty() {
            return Ok(());
        }
        self.put_back(&[(self.agents_key(), back)]).await
    }

    /// Puts members back that were removed a moment too early. Their removal may have ended the set,
    /// and with it its TTL: a fresh one lives for as long as anybody's would.
    async fn put_back(&mut self, sets: &[(String, Vec<&str>)]) -> Result<(), Failure> {
        if sets.is_empty() {
            return Ok(());
        }
        let mut commands = Vec::with_capacity(ADD_COMMANDS * sets.len());
        for (set, members) in sets {
            add_to_set(&mut commands, set, members, 2 * MAX_TTL_MS);
        }
        self.ask_small(&commands).await.map(drop)
    }
}

impl<L: Link> Store for RedisStore<L> {
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
                    });
                }
                (refused @ Value::ServerError(_), _) | (_, refused @ Value::ServerError(_)) => {
                    return Err(error(refused).unwrap_or_else(too_few));
                }
                (Value::Nil, _) | (_, Value::Int(-2)) => {}
                (Value::BulkString(bytes), Value::Int(left_ms)) => {
                    let expiry = |ttl_ms| {
                        let left_ms = u64::try_from(*left_ms);
                        left_ms.map_or(Expiry::Never, |left_ms| Expiry::within(left_ms, ttl_ms))
                    };
                    seen.push(Seen::at(agent, instance, bytes, expiry));
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

/// Adds members to a set, which then lives for at least so long. Expiry is never shortened (`GT`), and a
/// set that has none gets one (`NX`): since Redis 7.0. In one transaction: a connection that breaks in
/// between must not leave a set that lives for ever.
fn add_to_set(commands: &mut Vec<Cmd>, set: &str, members: &[&str], lifetime_ms: u64) {
    let mut add = cmd("SADD");
    add.arg(set).arg(members);
    commands.extend([cmd("MULTI"), add]);
    for condition in ["NX", "GT"] {
        let mut expire = cmd("PEXPIRE");
        expire.arg(set).arg(lifetime_ms).arg(condition);
        commands.push(expire);
    }
    commands.push(cmd("EXEC"));
}

fn key_command(name: &str, key: &str) -> Cmd {
    let mut command = cmd(name);
    command.arg(key);
    command
}

fn get(key: &str) -> Cmd {
    key_command("GET", key)
}

fn smembers(set: &str) -> Cmd {
    key_command("SMEMBERS", set)
}

fn srem(set: &str, members: &[&str]) -> Cmd {
    let mut command = cmd("SREM");
    command.arg(set).arg(members);
    command
}

/// The replies to one record's commands: the first refusal, if there is one.
fn all_stored(replies: &[Value]) -> Result<Stored, Failure> {
    for reply in replies {
        if let Err(refused) = stored(reply)? {
            return Ok(Err(refused));
        }
    }
    Ok(Ok(None))
}

/// One reply to a write. What concerns the whole connection is a failure; the rest may concern this
/// record alone, such as a key that an ACL does not allow.
fn stored(reply: &Value) -> Result<Stored, Failure> {
    match (reply, error(reply)) {
        (_, Some(failure)) if failure.reconnect => Err(failure),
        (_, Some(refused)) => Ok(Err(refused.cause)),
        (Value::Okay | Value::Int(_), None) => Ok(Ok(None)),
        (Value::SimpleString(queued), None) if queued == "QUEUED" => Ok(Ok(None)),
        (Value::Array(replies), None) => all_stored(replies),
        (_, None) => Err(no_redis()),
    }
}

/// An error of the server. `READONLY`, `MASTERDOWN` and their like are how a failover shows: the
/// name leads to another server by now.
fn error(reply: &Value) -> Option<Failure> {
    let Value::ServerError(e) = reply else {
        return None;
    };
    let text = format!("{} {}", e.code(), e.details().unwrap_or_default());
    Some(match e.code() {
        "READONLY" | "MOVED" | "ASK" | "LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN"
        | "UNKILLABLE" | "NOAUTH" | "WRONGPASS" | "NOREPLICAS" => Failure::lost(text),
        _ => Failure::answered(text),
    })
}

fn texts(reply: &Value) -> Result<Vec<String>, Failure> {
    let items = match reply {
        Value::Array(items) | Value::Set(items) => items,
        _ => return Err(no_redis()),
    };
    items
        .iter()
        .map(|item| match item {
            Value::BulkString(bytes) => Ok(String::from_utf8_lossy(bytes).into_owned()),
            _ => Err(no_redis()),
        })
        .collect()
}

fn no_redis() -> Failure {
    Failure::lost("it does not speak the Redis protocol")
}

fn too_few() -> Failure {
    Failure::lost("it answers fewer questions than were asked")
}

#[cfg(test)]
#[cfg(feature = "redis")]
mod tests;
