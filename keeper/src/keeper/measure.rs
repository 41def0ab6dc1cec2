//! What a keeper tells whoever wants metrics, and whether it does its work.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ready_probe_sdk::clock;

use super::Keeper;
use crate::account::Account;
use crate::metrics::{self, Itself, Measured};
use crate::services::Service;

/// What is counted for metrics alone.
#[derive(Debug)]
pub(super) struct Measures {
    began_ms: u64,
    rounds: u64,
    took: Duration,
    /// The file of services could be read when it was read last.
    pub(super) is_read: bool,
    /// Why nobody knows which containers have the label, if nobody does.
    pub(super) unlisted: Option<String>,
    /// What services have been through, as it was remembered last.
    pub(super) accounts: Vec<Account>,
}

impl Measures {
    pub(super) fn new(wall_ms: u64) -> Self {
        Self {
            began_ms: wall_ms,
            rounds: 0,
            took: Duration::ZERO,
            is_read: true,
            unlisted: None,
            accounts: Vec::new(),
        }
    }

    /// There are other services. Those that were there before stay as they were remembered last: that may be impossible now.
    pub(super) fn take(&mut self, before: &[Service], names: &[String], accounts: &[Account]) {
        let before = before.iter().map(|service| &service.name);
        let mut remembered: BTreeMap<_, _> = before.zip(self.accounts.drain(..)).collect();
        let of_each = names.iter().zip(accounts).map(|(name, account)| {
            let remembered = remembered.remove(name);
            remembered.unwrap_or_else(|| account.clone())
        });
        let of_each = of_each.collect();
        self.accounts = of_each;
    }

    /// Counts a round that has begun then.
    pub(super) fn count(&mut self, began: Instant) {
        self.rounds += 1;
        self.took += clock::instant().saturating_duration_since(began);
    }
}

impl Keeper {
    /// The file of services was read again, or could not be.
    pub fn has_read(&mut self, is_read: bool) {
        self.measures.is_read = is_read;
    }

    /// Whether the containers that have the label are known, or why not. People can ask for it.
    pub fn know_listing(&mut self, trouble: Option<&str>) {
        if self.measures.unlisted.as_deref() != trouble {
            self.measures.unlisted = trouble.map(str::to_owned);
            self.keep_or_say();
        }
    }

    /// Its metrics.
    pub fn metrics(&self) -> String {
        let (now_ms, wall_ms) = (clock::mono_ms(), clock::wall_ms());
        let of_each = self.services.iter().zip(&self.states).zip(&self.slots);
        let of_each = of_each.zip(&self.measures.accounts);
        let services: Vec<Measured<'_>> = of_each
            .map(|(((service, state), slot), account)| Measured {
                name: &service.name,
                state,
                account,
                asked_ms: slot
                    .heard_ms()
                    .map(|heard| wall_ms.saturating_sub(now_ms.saturating_sub(heard))),
                took: slot.last().and_then(|reply| reply.took),
            })
            .collect();
        let itself = Itself {
            began_ms: self.measures.began_ms,
            rounds: (self.measures.rounds, self.measures.took),
            alerts: self.alerts.counts(),
            remembers: self.unkept.is_none(),
            dry_run: self.manner.dry_run,
            is_read: self.measures.is_read,
        };
        metrics::text(itself, &services)
    }

    /// Whether it does its work, and why not.
    pub fn ready(&self) -> Result<String, String> {
        match (&self.unkept, &self.measures.unlisted) {
            (None, None) => Ok("ready\n".to_owned()),
            (Some(why), _) => Err(format!(
                "nothing is restarted, since it could not be remembered: {why}\n"
            )),
            (None, Some(why)) => Err(format!(
                "which containers have the label can't be told: {why}\n"
            )),
        }
    }
}
