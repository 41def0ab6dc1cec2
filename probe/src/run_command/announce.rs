//! Tells a store what this container is told: the newest record, and again until the store has it.

use std::time::Duration;

use ready_probe_sdk::connect::place::Place;
use ready_probe_sdk::signal::Announced;
use ready_probe_sdk::store::{Published, Record, Store};
use tokio::sync::watch;

use ready_probe::link::store::{self, LinkedStore};
use ready_probe::redact::Secrets;
use ready_probe::time_limit::TimeLimit;
use ready_probe_sdk::clock;

/// How long to wait after a failure, the first time and at most.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_LAST: Duration = Duration::from_secs(10);
/// What a server answers at the most.
const MAX_REPLY_BYTES: usize = 1024 * 1024;
/// How much of what it says is quoted.
const MAX_QUOTE_CHARS: usize = 200;

/// What the store is to be told.
#[derive(Debug, Clone, Default)]
pub struct Due {
    /// Counts what was due.
    pub version: u64,
    /// What it is to hold.
    pub held: Option<ToHold>,
    /// Nothing comes after this.
    pub last: bool,
}

/// What a store is to hold of this program's signal.
#[derive(Debug, Clone)]
pub enum ToHold {
    /// This record.
    Record(Record),
    /// None.
    Nothing(Published),
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StoreTold {
    /// The newest that the store has.
    pub version: u64,
    /// For the record in this container.
    pub announced: Option<Announced>,
}

/// A store, and how long one turn with it may take.
#[derive(Debug, Clone, Copy)]
pub struct Announcer<'a> {
    /// Where.
    pub place: &'a Place,
    /// What must not be quoted.
    pub secrets: &'a Secrets,
    /// How long one turn may take.
    pub timeout: Duration,
}

impl Announcer<'_> {
    /// Tells whatever is due, without end.
    pub async fn tell(&self, mut due: watch::Receiver<Due>, told: watch::Sender<StoreTold>) {
        let mut session = Session::default();
        let mut pause = PAUSE_FIRST;
        loop {
            let now = due.borrow_and_update().clone();
            if let Some(held) = &now.held
                && now.version != told.borrow().version
            {
                let answer = self.tell_once(&mut session, held).await;
                let (ok, reason) = match answer {
                    Ok(reservation) => (true, reservation),
                    Err(why) => (false, Some(self.quote(&why))),
                };
                told.send_modify(|told| {
                    if ok {
                        told.version = now.version;
                    }
                    told.announced = Some(Announced {
                        store: self.place.store.redacted().to_owned(),
                        ok,
                        reason,
                    });
                });
                if !ok {
                    // What is said last can't wait.
                    let is_last = due.wait_for(|due| due.last && !now.last);
                    let _ = tokio::time::timeout(pause, is_last).await;
                    pause = (pause * 2).min(PAUSE_LAST);
                    continue;
                }
                pause = PAUSE_FIRST;
            }
            if due.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    fn quote(&self, why: &str) -> String {
        store::quote(self.place, why, self.secrets, MAX_QUOTE_CHARS)
    }

    /// One turn. On a connection that has been idle the server may have hung up: then on a new one.
    async fn tell_once(
        &self,
        session: &mut Session,
        held: &ToHold,
    ) -> Result<Option<String>, String> {
        let at = clock::instant() + self.timeout;
        let limit = TimeLimit {
            at,
            set: self.timeout,
        };
        if let Some(mut store) = session.store.take() {
            let answer = limit.hold(async { Ok(put(&mut store, held).await) }).await;
            if let Ok(Ok(stored)) = answer {
                session.store = Some(store);
                return stored;
            }
        }
        let opened = store::first(self.place, limit, async |endpoint| {
            let mut store =
                store::open(self.place, endpoint, MAX_REPLY_BYTES, self.secrets).await?;
            let stored = put(&mut store, held).await?;
            Ok((store, stored))
        });
        let (mut store, stored) = opened.await?;
        if let (ToHold::Record(record), false) = (held, session.has_succeeded) {
            let agents = std::slice::from_ref(&record.published.agent);
            store::succeed(self.place, &mut store, agents, limit, self.secrets).await;
            session.has_succeeded = true;
        }
        session.store = Some(store);
        stored
    }
}

#[derive(Default)]
struct Session {
    store: Option<LinkedStore>,
    /// What dead predecessors have left was removed.
    has_succeeded: bool,
}

/// The outer error says that the store could not be asked, the inner one that it refuses this.
async fn put(
    store: &mut LinkedStore,
    held: &ToHold,
) -> Result<Result<Option<String>, String>, String> {
    match held {
        ToHold::Record(record) => {
            let records = std::slice::from_ref(record);
            let stored = store.put(records).await.map_err(|e| e.cause)?;
            stored
                .into_iter()
                .next()
                .ok_or("it did not answer".to_owned())
        }
        ToHold::Nothing(published) => {
            let published = std::slice::from_ref(published);
            store.remove(published).await.map_err(|e| e.cause)?;
            Ok(Ok(None))
        }
    }
}
