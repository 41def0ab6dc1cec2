//! An agent as its own process sees it: how it is described, marked, and closed.
//!
//! Owns the public face and its checks. What is published, and when, is in `publisher.rs`; whether
//! the agent makes progress in `watchdog.rs`; the beats come from the heartbeat thread.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::agents::{Agents, Member, Registration};
use crate::clock::millis;
use crate::connect::place::Place;
use crate::folder::Folder;
use crate::freshness::Span;
use crate::publisher::Pace;
use crate::signal::{self, Announced, BEATS_PER_TTL, DEFAULT_TTL_MS, Name, State};
use crate::{Error, ErrorKind, Result};

/// The shortest interval of beats.
const MIN_HEARTBEAT_MS: u64 = 50;
/// The shortest limit a watchdog may have.
const MIN_WATCHDOG_MS: u64 = 100;

/// How an agent is to be published; see [`Agent::builder`].
#[derive(Debug, Clone)]
#[must_use = "nothing is published before register()"]
pub struct AgentBuilder {
    name: String,
    ttl: Duration,
    heartbeat: Option<Duration>,
    watchdog: Option<Duration>,
    folder: Option<Folder>,
    store: Option<String>,
    namespace: Option<String>,
}

impl AgentBuilder {
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

    /// Promises a [`tick`](Agent::tick) at least this often while the agent is ready; at least
    /// 100 ms. Without one the signal turns to `not_ready`, `stalled: …`, until the next tick.
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
    /// The first agent that is announced anywhere puts a panic hook before the process's own. It keeps
    /// a panic of the heartbeat's own from the process when a daemonizer has closed its descriptors,
    /// and hands on every other one.
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

    /// Publishes the agent as `starting` and keeps its signal alive from now on.
    ///
    /// What processes of this name that have died in this life of the container left behind is
    /// removed.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidName`] and [`ErrorKind::InvalidArgument`] for what breaks a limit,
    /// [`ErrorKind::InvalidConfig`] when `READY_DIR` is not an absolute path, or the store's address
    /// can't be used (that the store is away is no error: the signal is announced when it is back),
    /// [`ErrorKind::AlreadyRegistered`] when this process publishes that name already,
    /// [`ErrorKind::Folder`] when no folder can be written, [`ErrorKind::Thread`] when the
    /// heartbeat can't be started.
    pub fn register(self) -> Result<Agent> {
        let member = Agents::current().register(self.registration()?)?;
        Ok(Agent {
            member,
            left: AtomicBool::new(false),
        })
    }

    /// What [`mark_agent_ready`](crate::mark_agent_ready) does, with these options: the process
    /// holds the agent until [`close_all`](crate::close_all). An agent that is published already
    /// keeps the options that it was registered with.
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
        Ok(Registration {
            name,
            pace: Pace {
                ttl_ms,
                beat_ms,
                watchdog_ms,
            },
            folder: self.folder.clone(),
            place: Place::resolve(store, namespace, &|name| std::env::var_os(name))?,
        })
    }
}

/// An agent of this process. Dropping it closes it: its signal is removed. Dropped because its
/// thread panics, it leaves `stopping: panicked` behind, so that the container is not healthy
/// without it.
///
/// ```
/// use std::time::Duration;
/// use ready_probe_sdk::Agent;
/// # let dir = tempfile::tempdir()?;
/// # ready_probe_sdk::use_dir(dir.path())?;
///
/// let agent = Agent::builder("translator")
///     .ttl(Duration::from_secs(30))
///     .watchdog(Duration::from_secs(10))
///     .register()?;
/// // … load the model …
/// agent.mark_ready(serde_json::json!({ "model": "large" }))?;
/// for _job in 0..3 {
///     // … work …
///     agent.tick()?;
/// }
/// let draining = agent.close("deploy")?;
/// // … finish what is in flight …
/// drop(draining);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "the signal is removed as soon as this is dropped: hold it for as long as the agent lives"]
pub struct Agent {
    member: Arc<Member>,
    /// Whatever becomes of the signal is no longer up to this.
    left: AtomicBool,
}

impl Agent {
    /// Starts describing an agent. A name is a letter or digit, then letters, digits, `.`, `_` or
    /// `-`, at most 128 characters in all; it is checked by [`AgentBuilder::register`].
    pub fn builder(name: &str) -> AgentBuilder {
        AgentBuilder {
            name: name.to_owned(),
            ttl: Duration::from_millis(DEFAULT_TTL_MS),
            heartbeat: None,
            watchdog: None,
            folder: None,
            store: None,
            namespace: None,
        }
    }

    /// Says that the agent does its work. `details` is anything that serialises to a JSON object,
    /// or `()`. Returns once the local signal is written.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # ready_probe_sdk::use_dir(dir.path())?;
    /// use ready_probe_sdk::{Agent, State};
    ///
    /// let agent = Agent::builder("translator").register()?;
    /// agent.mark_ready(serde_json::json!({ "port": 5555 }))?;
    /// assert_eq!(agent.state(), State::Ready);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] and [`ErrorKind::TooLarge`] for details that can't be
    /// published: then the agent's last word stands. [`ErrorKind::Folder`] when the signal
    /// can't be written now: it is tried again until it is. [`ErrorKind::Forked`] in a process
    /// that was forked from the one that registered the agent, [`ErrorKind::Closed`] once it says
    /// `stopping`, and after [`close_all`](crate::close_all).
    pub fn mark_ready(&self, details: impl Serialize) -> Result<()> {
        self.member.publisher.mark_ready(object(&details)?)
    }

    /// Says that the agent can't do its work now, and why. Of the reason 256 characters are
    /// published, control characters as spaces. The details stay, if there is room for both.
    ///
    /// # Errors
    /// [`ErrorKind::Folder`], [`ErrorKind::Forked`] and [`ErrorKind::Closed`] as
    /// [`Agent::mark_ready`].
    pub fn mark_not_ready(&self, reason: &str) -> Result<()> {
        self.member.publisher.mark_not_ready(reason)
    }

    /// Proves progress to the watchdog; without one it does nothing. Takes no lock: call it in the
    /// innermost loop. The first tick after a stall publishes `ready` before it returns. While the
    /// agent says `stopping` it does nothing: work in flight may finish as usual.
    ///
    /// # Errors
    /// [`ErrorKind::Forked`] as [`Agent::mark_ready`], [`ErrorKind::Closed`] after
    /// [`close_all`](crate::close_all); and after a stall [`ErrorKind::Folder`].
    pub fn tick(&self) -> Result<()> {
        self.member.publisher.tick()
    }

    /// Has the watchdog watch again; what [`Agent::disarm`] takes back. Counts as progress.
    ///
    /// # Errors
    /// As [`Agent::tick`].
    pub fn arm(&self) -> Result<()> {
        self.member.publisher.arm()
    }

    /// Has the watchdog not watch until [`Agent::arm`]: an agent that waits for work makes no
    /// progress, and is ready all the same. Ends a stall. Counted: an agent is watched while it has
    /// been armed as often as disarmed, so that of several threads each arms when it begins to
    /// work, and disarms when it is done.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ready_probe_sdk::Agent;
    /// # let dir = tempfile::tempdir()?;
    /// # ready_probe_sdk::use_dir(dir.path())?;
    ///
    /// let agent = Agent::builder("worker").watchdog(Duration::from_secs(10)).register()?;
    /// agent.disarm()?;
    /// agent.mark_ready(())?;
    /// for _job in 0..3 {
    ///     // … wait for a job, for however long …
    ///     agent.arm()?;
    ///     // … work, and tick …
    ///     agent.disarm()?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Agent::tick`].
    pub fn disarm(&self) -> Result<()> {
        self.member.publisher.disarm()
    }

    /// Publishes `stopping` with the reason, the agent's last word, and leaves the signal until
    /// this is dropped. For owners who share the agent; others have [`Agent::close`].
    ///
    /// # Errors
    /// As [`Agent::close`]. Said twice, the first reason stands.
    pub fn mark_stopping(&self, reason: &str) -> Result<()> {
        self.member.publisher.stop(reason)
    }

    /// Publishes `stopping` with the reason and leaves the record behind when this is dropped, so
    /// that the container is not healthy without an agent that has failed. It fails until an agent
    /// of that name registers anew.
    ///
    /// # Errors
    /// As [`Agent::close`].
    pub fn fail(&self, reason: &str) -> Result<()> {
        self.member.publisher.stop(reason)?;
        if !self.left.swap(true, SeqCst) {
            self.member.announce_last();
        }
        Ok(())
    }

    /// What the signal says now: [`State::NotReady`] also while the agent is stalled.
    #[must_use]
    pub fn state(&self) -> State {
        self.member.publisher.state()
    }

    /// What the store made of the last record that it was sent; nothing before the first answer,
    /// and without a store.
    #[must_use]
    pub fn announced(&self) -> Option<Announced> {
        self.member.publisher.announced()
    }

    /// Waits until the store has what the agent says now: for callers who need to know that others
    /// can see it. The calling thread blocks for at most `timeout`.
    ///
    /// # Errors
    /// [`ErrorKind::StoreUnavailable`] when it does not have it by then, with the reason; it is
    /// announced later all the same. [`ErrorKind::InvalidConfig`] when there is no store.
    pub fn wait_announced(&self, timeout: Duration) -> Result<()> {
        self.member.publisher.wait_announced(timeout)
    }

    /// The same for asynchronous callers, on any runtime; without a limit of its own.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] when there is no store.
    pub async fn until_announced(&self) -> Result<()> {
        self.member.publisher.until_announced().await
    }

    /// The agent's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.member.publisher.name.as_str()
    }

    /// Publishes `stopping` with the reason. The signal is removed when the returned guard is
    /// dropped, so hold it while you drain.
    ///
    /// # Errors
    /// [`ErrorKind::Folder`] when `stopping` can't be written, [`ErrorKind::Forked`] as
    /// [`Agent::mark_ready`], [`ErrorKind::Closed`] after [`close_all`](crate::close_all).
    /// The agent is closed even so: its signal is removed at once.
    pub fn close(self, reason: &str) -> Result<Draining> {
        let draining = Draining {
            member: Arc::clone(&self.member),
        };
        draining.member.publisher.stop(reason)?;
        // What is left to do is the Draining's.
        self.left.store(true, SeqCst);
        Ok(draining)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if !self.member.publisher.is_own() {
            return abandon(&self.member);
        }
        if self.left.load(SeqCst) || self.member.publisher.is_removed() {
            return;
        }
        // An agent that is dropped because its thread panics must not vanish as if it had ended
        // well: its record stays, and fails. A word that can't be written is no reason to stay.
        if std::thread::panicking() {
            let _ = self.fail("panicked");
        } else {
            let _ = self.member.publisher.stop("closed");
            self.member.remove();
            self.member.wait_withdrawn();
        }
    }
}

/// An agent that says `stopping` until this is dropped; then its signal is removed.
#[derive(Debug)]
#[must_use = "the signal is removed as soon as this is dropped: hold it while you drain"]
pub struct Draining {
    member: Arc<Member>,
}

impl Drop for Draining {
    fn drop(&mut self) {
        if self.member.publisher.is_own() {
            self.member.remove();
            self.member.wait_withdrawn();
        } else {
            abandon(&self.member);
        }
    }
}

/// Never frees what a forked child has inherited: another thread of the parent may have been
/// changing it at the moment of the fork.
fn abandon(member: &Arc<Member>) {
    mem::forget(Arc::clone(member));
}

/// Details as they are published.
pub(crate) fn object(details: &impl Serialize) -> Result<Map<String, Value>> {
    let what = match serde_json::to_value(details) {
        Ok(Value::Null) => return Ok(Map::new()),
        Ok(Value::Object(map)) => return Ok(map),
        Ok(Value::Array(_)) => "an array".to_owned(),
        Ok(Value::String(_) | Value::Number(_) | Value::Bool(_)) => "a single value".to_owned(),
        Err(e) => {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("details can't be written as JSON: {e}"),
            ));
        }
    };
    Err(Error::new(
        ErrorKind::InvalidArgument,
        format!("details must be a JSON object, not {what}: give each value a name"),
    ))
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
