//! Tells a store what this container is told: the newest record, and again until the store has it.
//!
//! An agent of the SDK's tells it in the same way: by the same rules it tells everything again when the
//! store was away, looks for its predecessors, and pauses between tries.

use std::cell::Cell;
use std::future::pending;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use ready_probe_sdk::backoff::ceiling_ms;
use ready_probe_sdk::clock;
use ready_probe_sdk::connect::place::Place;
use ready_probe_sdk::signal::{Announced, BEATS_PER_TTL};
use ready_probe_sdk::store::predecessor::Successor;
use ready_probe_sdk::store::predecessor::looks::Looks;
use ready_probe_sdk::store::retelling::Retelling;
use ready_probe_sdk::store::{Failure, Published, Record, Store, Stored};
use tokio::sync::watch;

use ready_probe::link::store::{self, LinkedStore};
use ready_probe::redact::Secrets;
use ready_probe::time_limit::TimeLimit;

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
    /// When it is told again, since something older may still be under way to it.
    pub again_ms: Option<u64>,
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
        let mut failures = 0;
        loop {
            let now = due.borrow_and_update().clone();
            let is_new = now.version != told.borrow().version;
            if let Some(held) = &now.held
                && (is_new || session.is_due())
            {
                if !self.turn(&mut session, &now, held, &told).await {
                    // What is said last can't wait.
                    let is_last = due.wait_for(|due| due.last && !now.last);
                    let _ = tokio::time::timeout(pause(failures, held), is_last).await;
                    failures = failures.saturating_add(1);
                    continue;
                }
                failures = 0;
            }
            tokio::select! {
                biased;
                changed = due.changed() => if changed.is_err() {
                    return pending().await;
                },
                () = until(session.retelling.due_ms()) => {}
            }
        }
    }

    /// Tells it, says what came of that, and looks for predecessors if it is time. Returns whether the store has it.
    async fn turn(
        &self,
        session: &mut Session,
        due: &Due,
        held: &ToHold,
        told: &watch::Sender<StoreTold>,
    ) -> bool {
        let taken_ms = clock::mono_ms();
        let retells = session.retelling.is_due(taken_ms);
        let answer = self.tell_once(session, held).await;
        match &answer {
            Ok(_) => session.retelling.came_through(taken_ms, clock::mono_ms()),
            Err(_) => session.retelling.broke(),
        }
        let (ok, reason) = match answer {
            Ok(Ok(reservation)) => (true, reservation),
            Ok(Err(why)) | Err(why) => (false, Some(why)),
        };
        let reason = reason.map(|reason| self.quote(&reason));
        session.is_lost = !ok;
        told.send_modify(|told| {
            if ok {
                told.version = due.version;
            }
            told.again_ms = session.retelling.due_ms();
            told.announced = Some(Announced {
                store: self.place.store.redacted().to_owned(),
                ok,
                reason,
            });
        });
        if let ToHold::Record(record) = held
            && ok
            && !due.last
            && session.looks.is_due(taken_ms, retells)
        {
            self.look_for_predecessors(session, &record.published).await;
        }
        ok
    }

    /// Tells it over the connection that there is, or else over a new one: the server may have hung up on one that
    /// was idle. The outer error says that the store could not be asked, the inner one that it refuses this.
    async fn tell_once(&self, session: &mut Session, held: &ToHold) -> Result<Stored, String> {
        let limit = self.limit();
        if let Some(mut store) = session.store.take() {
            let answer = limit.hold(async { Ok(put(&mut store, held).await) }).await;
            if let Ok(Ok(stored)) = answer {
                session.store = Some(store);
                return Ok(stored);
            }
            session.retelling.broke();
        }
        let begun = Cell::new(0);
        let opened = store::first(self.place, limit, async |endpoint| {
            let mut store =
                store::open(self.place, endpoint, MAX_REPLY_BYTES, self.secrets).await?;
            begun.set(begun.get() + 1);
            let stored = put(&mut store, held).await.map_err(|e| e.cause)?;
            Ok((store, stored))
        });
        let (store, stored) = opened.await?;
        if begun.get() > 1 {
            // A server before this one may still take it.
            session.retelling.broke();
        }
        session.store = Some(store);
        Ok(stored)
    }

    /// An extra, with a time of its own. What fails for want of a connection is tried again on the next one.
    async fn look_for_predecessors(&self, session: &mut Session, own: &Published) {
        let Some(store) = &mut session.store else {
            return;
        };
        let successor = Successor {
            instance: Some(own.instance.clone()),
            ..Successor::current()
        };
        let agents = std::slice::from_ref(&own.agent);
        let looked = store::succeed(
            self.place,
            store,
            (&successor, agents),
            self.limit(),
            self.secrets,
        );
        let looked = looked.await;
        let has_sibling = match looked {
            Ok(siblings) => !siblings.is_empty(),
            Err(failure) if failure.reconnect => {
                session.store = None;
                return;
            }
            Err(_) => false,
        };
        let retelling = session.retelling.is_going_on();
        session.looks = session
            .looks
            .after(has_sibling, retelling, clock::mono_ms());
    }

    fn limit(&self) -> TimeLimit {
        TimeLimit {
            at: clock::instant() + self.timeout,
            set: self.timeout,
        }
    }

    fn quote(&self, why: &str) -> String {
        store::quote(self.place, why, self.secrets, MAX_QUOTE_CHARS)
    }
}

/// The connection to a store, and what there is to do beside telling it what is new.
#[derive(Default)]
struct Session {
    store: Option<LinkedStore>,
    /// The store may not have what it was told last.
    is_lost: bool,
    retelling: Retelling,
    /// For what dead predecessors have left.
    looks: Looks,
}

impl Session {
    /// Whether to tell what is not new.
    fn is_due(&self) -> bool {
        self.is_lost || self.retelling.is_due(clock::mono_ms())
    }
}

/// How long to wait after so many failures before the next try. A short TTL leaves no time for the longest pause.
fn pause(failures: u32, held: &ToHold) -> Duration {
    let beat_ms = match held {
        ToHold::Record(record) => record.ttl_ms / BEATS_PER_TTL,
        ToHold::Nothing(_) => u64::MAX,
    };
    let most_ms = ceiling_ms(failures).min(beat_ms.max(ceiling_ms(0)));
    let random = RandomState::new().hash_one(failures);
    Duration::from_millis(most_ms - random % (most_ms / 2 + 1))
}

/// Waits until then; for ever if that is never.
async fn until(at_ms: Option<u64>) {
    let Some(at_ms) = at_ms else {
        return pending().await;
    };
    let left_ms = at_ms.saturating_sub(clock::mono_ms());
    tokio::time::sleep(Duration::from_millis(left_ms)).await;
}

/// The outer error says that the store could not be asked, the inner one that it refuses this.
async fn put(store: &mut LinkedStore, held: &ToHold) -> Result<Stored, Failure> {
    match held {
        ToHold::Record(record) => {
            let stored = store.put(std::slice::from_ref(record)).await?;
            let no_answer = || Failure::lost("it did not answer");
            stored.into_iter().next().ok_or_else(no_answer)
        }
        ToHold::Nothing(published) => {
            store.remove(std::slice::from_ref(published)).await?;
            Ok(Ok(None))
        }
    }
}

/// Waits for a moment until a store has what it is to be told last. Where something older may still be under way to it,
/// it is told again, if that is soon.
pub async fn told_last(told: &mut watch::Receiver<StoreTold>, last: u64, patience: Duration) {
    let patience_ms = clock::millis(patience);
    let mut end_ms = clock::mono_ms().saturating_add(patience_ms);
    // When it is told again, once it has that.
    let mut waits_for = None;
    loop {
        let (version, again_ms) = {
            let told = told.borrow_and_update();
            (told.version, told.again_ms)
        };
        if version >= last && waits_for != Some(again_ms) {
            end_ms = clock::mono_ms().saturating_add(patience_ms);
            if waits_for.is_some() || again_ms.is_none_or(|again_ms| again_ms > end_ms) {
                return;
            }
            waits_for = Some(again_ms);
        }
        tokio::select! {
            biased;
            changed = told.changed() => if changed.is_err() {
                return;
            },
            () = until(Some(end_ms)) => return,
        }
    }
}
