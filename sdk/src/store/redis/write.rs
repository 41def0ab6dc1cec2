//! Putting records: a beat renews a known one, everything else registers it.

use std::collections::HashSet;

use redis::{Cmd, Value, cmd};

use super::command::{ADD_COMMANDS, add_to_set, key_command};
use super::refused::{all_stored, stored, too_few};
use super::{CommandLink, RedisStore, SMALL_REPLY_BYTES};
use crate::clock;
use crate::store::{Failure, Published, Record, Stored};

impl<L: CommandLink> RedisStore<L> {
    /// Puts records that the indexes know. A record that was lost is not put here: its indexes may
    /// be lost as well.
    pub(super) async fn renew(
        &mut self,
        records: &[&Record],
    ) -> Result<Vec<Option<Stored>>, Failure> {
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

    /// Puts records, and whatever leads to them.
    pub(super) async fn register(&mut self, records: &[&Record]) -> Result<Vec<Stored>, Failure> {
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

    /// If a record that does not say `ready` was refused, removes the one before it, which may say
    /// so for the rest of its TTL. A Redis at its `maxmemory` refuses `SET`, and allows `DEL`.
    pub(super) async fn give_way(
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
            // The first denial is the one to mend.
            if !(why.starts_with("NOPERM") && refused.starts_with("NOPERM")) {
                why.push_str("; the previous signal stays until its TTL ends: ");
                why.push_str(&refused);
            }
        }
        Ok(())
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
}
