//! The container's shared memory as a [`Store`](crate::store::Store): the same contract as every other
//! one's. Files of a dead process do not count, and neither do those of another epoch.

use crate::clock;
use crate::folder::{Believed, Folder, Publication};
use crate::freshness::{self, NotReady, Observed};
use crate::host::Epoch;
use crate::signal::{Name, Signal};
use crate::store::{Expiry, Failure, Published, Record, Seen, Store, Stored};

impl Store for Folder {
    async fn put(&mut self, records: &[Record]) -> Result<Vec<Stored>, Failure> {
        Ok(records
            .iter()
            .map(|record| {
                let agent = record.published.agent.clone();
                let signal = Signal::decode(&record.bytes).map_err(|e| e.to_string())?;
                let pid = signal.pid.ok_or("it names no process")?;
                let written = Publication::new(self.clone(), agent, pid, signal.pid_start)
                    .write(&record.bytes);
                written.map(|()| None).map_err(|e| e.to_string())
            })
            .collect())
    }

    async fn read(&mut self, agents: &[Name]) -> Result<Vec<Seen>, Failure> {
        let epoch = Epoch::current();
        let mut seen = Vec::new();
        for agent in agents {
            let found = Folder::read(self, agent).map_err(Failure::answered)?;
            let now_ms = clock::mono_ms();
            let live = found
                .believed
                .into_iter()
                .filter(|record| is_live(record, &epoch, now_ms));
            seen.extend(live.map(|record| {
                Seen {
                    agent: agent.clone(),
                    instance: match &record.signal {
                        Ok(signal) => signal.instance.as_str().to_owned(),
                        Err(_) => record.pid.to_string(),
                    },
                    age_ms: match &record.signal {
                        Ok(signal) => signal
                            .mono_ms
                            .and_then(|beat_ms| now_ms.checked_sub(beat_ms)),
                        Err(_) => None,
                    },
                    signal: record.signal,
                    // It ends with its process.
                    expiry: Expiry::Timely,
                }
            }));
        }
        Ok(seen)
    }

    async fn agents(&mut self) -> Result<Vec<Name>, Failure> {
        let names = Folder::agents(self).map_err(Failure::answered)?;
        let mut live: Vec<Name> = Store::read(self, &names)
            .await?
            .into_iter()
            .map(|seen| seen.agent)
            .collect();
        live.dedup();
        Ok(live)
    }

    async fn remove(&mut self, published: &[Published]) -> Result<(), Failure> {
        for one in published {
            let found = Folder::read(self, &one.agent).map_err(Failure::answered)?;
            for record in found.believed {
                let Ok(signal) = record.signal else { continue };
                if signal.instance == one.instance {
                    Publication::new(
                        self.clone(),
                        one.agent.clone(),
                        record.pid,
                        signal.pid_start,
                    )
                    .remove()
                    .map_err(Failure::answered)?;
                }
            }
        }
        Ok(())
    }

    /// There is no index: folders of agents stay.
    async fn tidy(&mut self, _: &[Name]) -> Result<(), Failure> {
        Ok(())
    }
}

/// Whether a record's life has not ended. What it says is not looked at, and what can't be read is
/// there all the same.
fn is_live(record: &Believed, epoch: &Epoch, now_ms: u64) -> bool {
    let Ok(signal) = &record.signal else {
        return true;
    };
    let observed = Observed {
        epoch,
        process: record.process,
        now_ms,
    };
    match freshness::judge(signal, &observed) {
        Ok(_) | Err(NotReady::Says { .. } | NotReady::OtherTimeNamespace { .. }) => true,
        Err(
            NotReady::OtherEpoch
            | NotReady::Incomplete(_)
            | NotReady::ProcessGone { .. }
            | NotReady::Zombie { .. }
            | NotReady::PidReused { .. }
            | NotReady::FutureBeat
            | NotReady::Expired { .. },
        ) => false,
    }
}
