//! What an agent has to do with the store that it is announced in: what it says there, and what it
//! hears of it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Map;

use super::Shared;
use crate::agent::announcement::Announcement;
use crate::agent::note::Note;
use crate::freshness::Span;
use crate::signal::Announced;
use crate::store::{Published, Record, Stored};
use crate::{Error, ErrorKind, Result, clock};

impl Shared {
    /// Has the agent announced, if there is a store for it.
    pub(crate) fn announce(self: &Arc<Self>) {
        if let Some(announcement) = &self.announcement {
            announcement.announcer.add(self, self.beat_ms);
        }
    }

    pub(super) fn announce_change(&self) {
        if let Some(announcement) = &self.announcement {
            announcement.announcer.changed(&self.name);
        }
    }

    /// Takes the signal back.
    pub(super) fn withdraw(&self) {
        if let Some(announcement) = &self.announcement {
            announcement.announcer.withdraw(self.published());
            self.process.wake();
        }
    }

    /// The agent goes, and its record is to stay for its TTL.
    pub(crate) fn announce_last(&self) {
        let announcer = self.announcement.as_ref().map(|a| &a.announcer);
        if let (Some(announcer), Some((record, _))) = (announcer, self.announcement_record()) {
            announcer.say_last(record);
            self.process.wake();
            announcer.wait_withdrawn();
        }
    }

    /// Waits, for a moment, until the signal is gone from the store, too.
    pub(crate) fn wait_withdrawn(&self) {
        if let Some(announcement) = &self.announcement {
            announcement.announcer.wait_withdrawn();
        }
    }

    /// What is to be announced now, and which of the agent's words it is. Nothing once it is closed.
    pub(crate) fn announcement_record(&self) -> Option<(Record, u64)> {
        let announcement = self.announcement.as_ref()?;
        let inner = self.lock();
        if self.is_removed() {
            return None;
        }
        let (seq, version) = (inner.seq, inner.version);
        drop(inner);
        let mut signal = self.record(&self.word.load(), seq, clock::mono_ms());
        signal.announced = None;
        signal.container = announcement.announcer.container().map(ToOwned::to_owned);
        let record = Record::of(&signal).or_else(|_| {
            signal.details = Map::new();
            Record::of(&signal)
        });
        Some((record.ok()?, version))
    }

    /// The store has answered, or not: the local signal says so, when that is news.
    pub(crate) fn announced(&self, version: u64, stored: Stored) {
        let Some(announcement) = &self.announcement else {
            return;
        };
        if !announcement.tell(version, stored) {
            return;
        }
        let mut inner = self.lock();
        if self.is_removed() {
            return;
        }
        let (_, note) = self.write(&mut inner);
        drop(inner);
        Note::log(note, &self.name);
    }

    pub(crate) fn announcement_outcome(&self) -> Option<Announced> {
        self.announcement.as_ref()?.outcome()
    }

    pub(crate) fn wait_announced(&self, timeout: Duration) -> Result<()> {
        let (announcement, version) = self.to_wait_for()?;
        announcement.wait(version, timeout).map_err(|why| {
            let waited = Span(clock::millis(timeout));
            let store = announcement.announcer.store();
            let why = why.unwrap_or_else(|| "it has not answered yet".to_owned());
            Error::new(
                ErrorKind::StoreUnavailable,
                format!(
                    "agent {} is not announced to {store} within {waited}: {why}",
                    self.name
                ),
            )
        })
    }

    pub(crate) async fn arrived(&self) -> Result<()> {
        let (announcement, version) = self.to_wait_for()?;
        announcement.arrived(version).await;
        Ok(())
    }

    fn to_wait_for(&self) -> Result<(&Announcement, u64)> {
        self.check_own()?;
        let Some(announcement) = &self.announcement else {
            return Err(Error::new(
                ErrorKind::InvalidConfig,
                format!(
                    "agent {} is not announced anywhere: READY_STORE is not set",
                    self.name
                ),
            ));
        };
        Ok((announcement, self.lock().version))
    }

    fn published(&self) -> Published {
        Published {
            agent: self.name.clone(),
            instance: self.instance.clone(),
        }
    }
}
