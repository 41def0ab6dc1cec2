//! The sets that lead to the records: which agents there are, and which instances of them live.

use redis::{Cmd, Value};

use super::command::{ADD_COMMANDS, add_to_set, key_command, smembers, srem};
use super::refused::{error, texts};
use super::{CHUNK, CommandLink, RedisStore};
use crate::signal::{Instance, MAX_TTL_MS, Name};
use crate::store::Failure;

/// The most that the names in a set take.
const SET_REPLY_BYTES: usize = 4 * 1024 * 1024;
/// No agent has more live instances.
const MAX_INSTANCES: usize = 1_024;
/// So many sets are read together.
const SET_CHUNK: usize = 64;

impl<L: CommandLink> RedisStore<L> {
    /// Which of these instances have a record.
    pub(super) async fn live(
        &mut self,
        instances: &[(Name, String)],
    ) -> Result<Vec<bool>, Failure> {
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

    /// The members of sets.
    pub(super) async fn members(&mut self, sets: &[String]) -> Result<Vec<Vec<String>>, Failure> {
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

    /// The possible instances that the agents' indexes name, dead ones included.
    pub(super) async fn instances(
        &mut self,
        agents: &[Name],
    ) -> Result<Vec<(Name, String)>, Failure> {
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

    /// Which of these instances to read: all of them or, of an agent that has very many, the live
    /// ones.
    pub(super) async fn readable(
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

    /// Removes agents without an instance from the index of agents. An instance that has come up
    /// meanwhile puts its agent back.
    pub(super) async fn forget_empty(&mut self, agents: &[Name]) -> Result<(), Failure> {
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

    /// Puts back members that were removed a moment too early. Their removal may have ended the
    /// set, and its TTL with it: the fresh one is as long as anybody's could be.
    pub(super) async fn put_back(&mut self, sets: &[(String, Vec<&str>)]) -> Result<(), Failure> {
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
