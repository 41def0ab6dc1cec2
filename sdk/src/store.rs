//! Where signals are announced.
//!
//! Visible outside of the container, for dependants, people and dashboards: [`redis`] and [`nats`],
//! and [`connected`] to whichever of them an address names. [`predecessor`] says whose records a process
//! may remove, and [`retelling`] when everything is told again.

#[cfg(feature = "stores")]
pub mod any;
#[cfg(feature = "agent")]
pub mod connected;
#[cfg(feature = "contract")]
pub mod contract;
mod expiry;
#[cfg(feature = "contract")]
mod folder;
#[cfg(feature = "contract")]
pub mod memory;
#[cfg(feature = "stores")]
pub mod nats;
#[cfg(feature = "stores")]
pub mod predecessor;
#[cfg(feature = "stores")]
pub mod redis;
#[cfg(feature = "stores")]
pub mod retelling;

use std::fmt;

use crate::Result;
use crate::signal::{DecodeError, Instance, Name, Signal, State, clean};
pub use expiry::Expiry;

/// How much of what a server says is kept.
pub(crate) const MAX_CAUSE_CHARS: usize = 256;

/// A place where signals are published and read.
///
/// # Contract
///
/// What every store does; `store/contract.rs` holds all of them to it:
///
/// - **put** replaces the whole record of an agent's instance, and starts its TTL anew. Once it has
///   returned, [`read`](Store::read) finds the record and [`agents`](Store::agents) the agent. Each
///   put stands by itself: it brings back a record that was lost, with everything around it.
/// - **read** returns one [`Seen`] for each live instance, whatever the size of the fleet around
///   it. Expired records are not there. A record that does not match its place, or that can't be
///   decoded, is seen with the reason; it is never passed over, since somebody published it.
/// - **`find_ready`** reads one agent as **read** does, but may leave out instances once enough
///   others are ready. It costs the same in every fleet.
/// - **agents** names every agent with a live instance, once, sorted.
/// - **refusal**: a store that refuses a record which does not say `ready`, for want of room or for
///   any other reason, removes the record before it, if the server allows that. Otherwise the
///   answer says what is missing. A refused `ready` leaves everything as it was.
/// - **remove** removes instances at once, also from a full store, and nobody else's. What is not
///   there is no error; what has to stay there is.
/// - **expiry** is the store's own: it needs neither the writer nor a reader, and no clock but the
///   store's. A record that would never expire, or that the store keeps for longer than its TTL, is
///   seen [so](Seen::expiry); no store writes one.
/// - **tidy** removes from the store's indexes whatever has no record any more. No read depends on
///   it.
/// - A [`Failure`] says that the store as a whole could not be asked; a [`Stored`] that one record
///   was refused.
#[allow(
    async_fn_in_trait,
    reason = "stores are used on the runtime they were made on"
)]
pub trait Store {
    /// Publishes every record; the answers are in the records' order.
    async fn put(&mut self, records: &[Record]) -> Result<Vec<Stored>, Failure>;

    /// The live instances of these agents.
    async fn read(&mut self, agents: &[Name]) -> Result<Vec<Seen>, Failure>;

    /// The live instances of an agent: all of them, or at least `min` that are ready.
    async fn find_ready(&mut self, agent: &Name, min: usize) -> Result<Vec<Seen>, Failure> {
        let _ = min;
        self.read(std::slice::from_ref(agent)).await
    }

    /// The agents that have a live instance.
    async fn agents(&mut self) -> Result<Vec<Name>, Failure>;

    /// Removes these instances.
    async fn remove(&mut self, published: &[Published]) -> Result<(), Failure>;

    /// Removes from the indexes whatever has no record any more.
    async fn tidy(&mut self, agents: &[Name]) -> Result<(), Failure>;
}

/// One process's publication of one agent, in a store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Published {
    /// The agent.
    pub agent: Name,
    /// Which process of that name.
    pub instance: Instance,
}

/// A record as it goes into a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Whose it is.
    pub published: Published,
    /// What it says: a store must not keep out a record that says no for the sake of one that says
    /// yes.
    pub state: State,
    /// How long it lives, in milliseconds.
    pub ttl_ms: u64,
    /// The encoded [`Signal`].
    pub bytes: Vec<u8>,
}

impl Record {
    /// Whether it says that its agent is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state == State::Ready
    }

    /// The record of a signal that has a TTL.
    ///
    /// # Errors
    /// [`crate::ErrorKind::TooLarge`] as [`Signal::encode`]; [`crate::ErrorKind::InvalidArgument`]
    /// without a TTL.
    pub fn of(signal: &Signal) -> Result<Self> {
        let ttl_ms = signal.ttl_ms.ok_or_else(|| {
            crate::Error::new(
                crate::ErrorKind::InvalidArgument,
                "a signal without a TTL stays in its container: give it one",
            )
        })?;
        Ok(Self {
            published: Published {
                agent: signal.agent.clone(),
                instance: signal.instance.clone(),
            },
            state: signal.state,
            ttl_ms,
            bytes: signal.encode()?,
        })
    }
}

/// A store's answer to one record: kept, perhaps with a reservation for people, or refused, and
/// why.
pub type Stored = Result<Option<String>, String>;

/// What a store holds of one instance.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The agent.
    pub agent: Name,
    /// The instance that its place names.
    pub instance: String,
    /// The record, or why it can't be read.
    pub signal: Result<Signal, DecodeError>,
    /// How the store is going to end it. A record that does not end in time says nothing about its
    /// agent's life.
    pub expiry: Expiry,
    /// How long ago it was written, in milliseconds, as far as the store tells.
    pub age_ms: Option<u64>,
}

impl Seen {
    /// Whether it says that its agent is ready, and can be believed.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let state = self.signal.as_ref().map(|signal| signal.state);
        state == Ok(State::Ready) && self.expiry == Expiry::Timely
    }

    /// What an instance's place holds; `expiry` is told the record's TTL in milliseconds. A record
    /// must match its place, and have a TTL.
    pub(crate) fn at(
        agent: &Name,
        instance: &str,
        bytes: &[u8],
        expiry: impl FnOnce(u64) -> Expiry,
    ) -> Self {
        let signal = Signal::decode(bytes).and_then(|signal| belongs(signal, agent, instance));
        let ttl_ms = signal.as_ref().ok().and_then(|signal| signal.ttl_ms);
        Self {
            agent: agent.clone(),
            instance: instance.to_owned(),
            signal,
            expiry: ttl_ms.map_or(Expiry::Timely, expiry),
            age_ms: None,
        }
    }

    /// The same, of which the store tells how much longer it keeps it.
    pub(crate) fn left(self, left_ms: u64) -> Self {
        let ttl_ms = self.signal.as_ref().ok().and_then(|signal| signal.ttl_ms);
        Self {
            age_ms: ttl_ms.and_then(|ttl_ms| ttl_ms.checked_sub(left_ms)),
            ..self
        }
    }
}

/// A signal that belongs into this place of a store.
fn belongs(signal: Signal, agent: &Name, instance: &str) -> Result<Signal, DecodeError> {
    if signal.ttl_ms.is_none() {
        return Err(DecodeError::Malformed(
            "ttl_ms is null, which a record has in its container only".to_owned(),
        ));
    }
    let said = (&signal.agent, signal.instance.as_str());
    if said == (agent, instance) {
        return Ok(signal);
    }
    let (said_agent, said_instance) = said;
    Err(DecodeError::Malformed(clean(
        &format!("it names {said_agent} {said_instance}, but its key names {agent} {instance}"),
        MAX_CAUSE_CHARS,
    )))
}

/// Why a store could not be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// For people, in one line.
    pub cause: String,
    /// Whether the connection has become useless: it broke, or the server says that another one is
    /// in charge. Then the name has to be resolved anew.
    pub reconnect: bool,
}

impl Failure {
    /// The connection is lost.
    #[must_use]
    pub fn lost(cause: impl fmt::Display) -> Self {
        Self::new(&cause, true)
    }

    /// The server answers, but not as it should.
    #[must_use]
    pub fn answered(cause: impl fmt::Display) -> Self {
        Self::new(&cause, false)
    }

    fn new(cause: &dyn fmt::Display, reconnect: bool) -> Self {
        Self {
            cause: clean(cause.to_string().trim(), MAX_CAUSE_CHARS),
            reconnect,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
    }
}

impl std::error::Error for Failure {}
