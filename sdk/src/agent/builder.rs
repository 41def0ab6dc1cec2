//! How an agent is described before it is registered: its options, their limits and defaults.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::Agent;
use super::details::object;
use crate::agents::{Agents, Member, Registration};
use crate::clock::millis;
use crate::connect::place::Place;
use crate::folder::Folder;
use crate::freshness::Span;
use crate::publisher::Pace;
use crate::signal::{self, BEATS_PER_TTL, DEFAULT_TTL_MS, Name};
use crate::{Error, ErrorKind, Result};

/// The shortest interval of beats.
const MIN_HEARTBEAT_MS: u64 = 50;
/// The shortest limit a watchdog may have.
const MIN_WATCHDOG_MS: u64 = 100;

/// How to publish an agent; see [`Agent::builder`].
#[derive(Debug, Clone)]
#[must_use = "nothing is published before register()"]
pub struct AgentBuilder {
    name: String,
    ttl: Duration,
    heartbeat: Option<Duration>,
    pub(super) watchdog: Option<Duration>,
    folder: Option<Folder>,
    store: Option<String>,
    namespace: Option<String>,
    is_local: bool,
}

impl AgentBuilder {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ttl: Duration::from_millis(DEFAULT_TTL_MS),
            heartbeat: None,
            watchdog: None,
            folder: None,
            store: None,
            namespace: None,
            is_local: false,
        }
    }

    /// How long the signal lives after a beat: 1 s to 1 h, 60 s by default.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// The interval of the beats: a sixth of the TTL by default, at least 50 ms, at most half of
    /// the TTL. Each interval is varied by up to 20 %.
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.heartbeat = Some(interval);
        self
    }

    /// Promises a [`tick`](Agent::tick) at least this often while the agent is ready, from
    /// [`mark_ready`](Agent::mark_ready) on; at least 100 ms. Without one the signal turns to
    /// `not_ready`, `stalled: …`, until the next tick. Once [`working`](Agent::working) or
    /// [`disarm`](Agent::disarm) has been used, the promise holds while work is under way only.
    /// Time in which the whole process did not run, since it was paused, is not counted.
    pub fn watchdog(mut self, limit: Duration) -> Self {
        self.watchdog = Some(limit);
        self
    }

    /// Where in the container to publish, instead of where `READY_DIR` and the defaults say.
    pub fn folder(mut self, folder: Folder) -> Self {
        self.folder = Some(folder);
        self
    }

    /// Where to announce the signal to everybody else, instead of where `READY_STORE` says:
    /// `redis://…`, `rediss://…`, `redis+unix:///…`, `nats://…` or `tls://…`.
    ///
    /// The first agent that is announced anywhere puts a panic hook before the process's own. It
    /// hides a panic of the heartbeat's own if a daemonizer has closed its descriptors, and passes
    /// on every other one.
    pub fn store(mut self, address: &str) -> Self {
        self.store = Some(address.to_owned());
        self
    }

    /// The namespace there, which keeps fleets apart, instead of `READY_NAMESPACE`; `default` by
    /// default.
    pub fn namespace(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self
    }

    /// Publishes in this container only, whatever `READY_STORE` says: for programs without support for stores.
    pub fn local(mut self) -> Self {
        self.is_local = true;
        self
    }

    /// Publishes the agent as `starting` and keeps its signal alive from now on.
    ///
    /// Removes what dead processes of this name have left behind in this life of the container.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidName`] and [`ErrorKind::InvalidArgument`] for what breaks a limit,
    /// [`ErrorKind::InvalidConfig`] when `READY_DIR` is not an absolute path, or the store's address
    /// can't be used (that the store is away is no error: the signal is announced when it is back),
    /// [`ErrorKind::AlreadyRegistered`] when this process publishes that name already (see
    /// [`find_agent`](crate::find_agent)),
    /// [`ErrorKind::Folder`] when no folder can be written, [`ErrorKind::Thread`] when the
    /// heartbeat can't be started.
    pub fn register(self) -> Result<Agent> {
        let member = Agents::current().register(self.registration()?)?;
        Ok(Agent::new(member))
    }

    /// As [`mark_agent_ready`](crate::mark_agent_ready), with these options: the process holds the
    /// agent until [`close_all`](crate::close_all). An agent that is already published keeps the
    /// options that it was registered with.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ready_probe_sdk::{Agent, close_all};
    /// # let dir = tempfile::tempdir()?;
    /// # ready_probe_sdk::use_dir(dir.path())?;
    ///
    /// let translator = Agent::builder("translator").ttl(Duration::from_secs(30));
    /// translator.mark_ready(serde_json::json!({ "port": 5555 }))?;
    /// close_all("deploy");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`AgentBuilder::register`] and [`Agent::mark_ready`].
    pub fn mark_ready(self, details: impl Serialize) -> Result<()> {
        let details = object(&details)?;
        let member = self.held_by(Agents::current())?;
        member.publisher.mark_ready(details)
    }

    /// The agent of that name, which the process holds if nobody else does.
    pub(crate) fn held_by(self, agents: &'static Agents) -> Result<Arc<Member>> {
        let name = Name::of_agent(&self.name)?;
        agents.find_or_hold(&name, || self.registration())
    }

    fn registration(&self) -> Result<Registration> {
        let name = Name::of_agent(&self.name)?;
        let ttl_ms = millis(self.ttl);
        signal::check_ttl_ms(ttl_ms)?;
        let beat_ms = match self.heartbeat {
            None => ttl_ms / BEATS_PER_TTL,
            Some(interval) => check_heartbeat(millis(interval), ttl_ms)?,
        };
        let watchdog_ms = self.watchdog.map(check_watchdog).transpose()?;
        let (store, namespace) = (self.store.as_deref(), self.namespace.as_deref());
        let place = match self.is_local {
            true => None,
            false => Place::resolve(store, namespace, &|name| std::env::var_os(name))?,
        };
        Ok(Registration {
            name,
            pace: Pace {
                ttl_ms,
                beat_ms,
                watchdog_ms,
            },
            folder: self.folder.clone(),
            place,
        })
    }
}

fn check_heartbeat(beat_ms: u64, ttl_ms: u64) -> Result<u64> {
    if (MIN_HEARTBEAT_MS..=ttl_ms / 2).contains(&beat_ms) {
        return Ok(beat_ms);
    }
    Err(Error::new(
        ErrorKind::InvalidArgument,
        format!(
            "a heartbeat every {} is out of range: at least {}, at most half the TTL of {}",
            Span(beat_ms),
            Span(MIN_HEARTBEAT_MS),
            Span(ttl_ms)
        ),
    ))
}

fn check_watchdog(limit: Duration) -> Result<u64> {
    let limit_ms = millis(limit);
    if limit_ms >= MIN_WATCHDOG_MS {
        return Ok(limit_ms);
    }
    Err(Error::new(
        ErrorKind::InvalidArgument,
        format!(
            "a watchdog of {} is too short: at least {}",
            Span(limit_ms),
            Span(MIN_WATCHDOG_MS)
        ),
    ))
}
