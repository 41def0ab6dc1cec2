//! An agent as its own process sees it: how it is described, marked, and closed.
//!
//! Owns the public face and its checks. What is published, and when, is in `publisher.rs`; whether
//! the agent makes progress in `watchdog.rs`; the beats come from the heartbeat thread.

mod builder;
mod details;
mod draining;
#[cfg(feature = "tokio")]
mod tokio_agent;
mod working;

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use serde::Serialize;

pub use builder::AgentBuilder;
use details::object;
pub use draining::Draining;
#[cfg(feature = "tokio")]
pub use tokio_agent::TokioAgent;
pub use working::Working;

#[cfg(doc)]
use crate::ErrorKind;
use crate::Result;
use crate::agents::Member;
use crate::signal::{Announced, State};

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
    /// Somebody else holds it; see [`find_agent`](crate::find_agent).
    is_found: bool,
    /// The signal is no longer this one's business.
    left: AtomicBool,
}

impl Agent {
    fn new(member: Arc<Member>) -> Self {
        Self {
            member,
            is_found: false,
            left: AtomicBool::new(false),
        }
    }

    pub(crate) fn found(member: Arc<Member>) -> Self {
        Self {
            member,
            is_found: true,
            left: AtomicBool::new(false),
        }
    }

    /// Starts describing an agent. A name is a letter or digit, then letters, digits, `.`, `_` or
    /// `-`, at most 128 characters in all; it is checked by [`AgentBuilder::register`].
    pub fn builder(name: &str) -> AgentBuilder {
        AgentBuilder::new(name)
    }

    /// Says that the agent does its work. `details` is anything that serialises to a JSON object,
    /// or `()`. Returns once the local signal is written.
    ///
    /// Repeated while the agent is ready, it renews the details, and counts as progress of an agent
    /// that has no other proof: of no call that is under way, and of none that was armed.
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

    /// Says that the agent can't do its work now, and why. The first 256 characters of the reason
    /// are published, with control characters as spaces. The details stay, if there is room for
    /// both.
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
    /// It counts for every call that is under way. If there are several, tick each by its own
    /// [`Working::tick`]: then one that hangs is seen while the others work.
    ///
    /// # Errors
    /// [`ErrorKind::Forked`] as [`Agent::mark_ready`], [`ErrorKind::Closed`] after
    /// [`close_all`](crate::close_all); and after a stall [`ErrorKind::Folder`].
    pub fn tick(&self) -> Result<()> {
        self.member.publisher.tick()
    }

    /// Begins a call: a job, a request, a step of work. While the returned guard lives the call has to
    /// [`tick`](Working::tick) as often as the watchdog demands, whatever other calls do; the agent is
    /// stalled while any of them is late. From the first call on an agent with none under way is idle,
    /// and not stalled, for however long it waits for work.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ready_probe_sdk::Agent;
    /// # let dir = tempfile::tempdir()?;
    /// # ready_probe_sdk::use_dir(dir.path())?;
    ///
    /// let agent = Agent::builder("worker").watchdog(Duration::from_secs(10)).register()?;
    /// agent.mark_ready(())?;
    /// std::thread::scope(|scope| {
    ///     for _worker in 0..4 {
    ///         scope.spawn(|| -> ready_probe_sdk::Result<()> {
    ///             // … wait for a job, for however long …
    ///             let job = agent.working()?;
    ///             for _part in 0..3 {
    ///                 // … work …
    ///                 job.tick()?;
    ///             }
    ///             Ok(())
    ///         });
    ///     }
    /// });
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Forked`] and [`ErrorKind::Closed`] as [`Agent::tick`].
    pub fn working(&self) -> Result<Working> {
        Working::begin(&self.member.publisher, None)
    }

    /// Begins the proof that something runs, such as an event loop: only [`Working::tick_alone`] renews it,
    /// not [`Agent::tick`], and no call is within it. For the Python package.
    ///
    /// # Errors
    /// As [`Agent::working`].
    #[doc(hidden)]
    pub fn proof(&self) -> Result<Working> {
        Working::proof(&self.member.publisher)
    }

    /// Makes the watchdog expect ticks, from any thread, until [`Agent::disarm`]: for work that
    /// begins in one place and ends in another, where nobody can hold a guard of
    /// [`Agent::working`]. Counts as progress. Calls are counted: it watches until it has been
    /// disarmed as often as it was armed.
    ///
    /// # Errors
    /// As [`Agent::tick`].
    pub fn arm(&self) -> Result<()> {
        self.member.publisher.arm()
    }

    /// Undoes one [`Agent::arm`]. Without one, it ends the default of a new agent, which is watched
    /// as soon as it is marked ready. From then on an agent that waits for work, neither armed nor
    /// with a call under way, is idle, not stalled. Ends a stall for want of ticks.
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
    /// As [`Agent::close`]. If repeated, the first reason stays.
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

    /// Whether the watchdog has waited in vain for a tick, or for one of a call that is under way. The
    /// tick that ends the stall then writes a signal, which no other does.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.member.publisher.is_stalled()
    }

    /// What the signal says now: [`State::NotReady`] also while the agent is stalled.
    #[must_use]
    pub fn state(&self) -> State {
        self.member.publisher.state()
    }

    /// The store's answer to the last record it was sent; `None` before the first answer, and
    /// without a store.
    #[must_use]
    pub fn announced(&self) -> Option<Announced> {
        self.member.publisher.announced()
    }

    /// Waits until the store has what the agent says now: for callers who need to know that others
    /// can see it. The calling thread blocks for at most `timeout`.
    ///
    /// # Errors
    /// [`ErrorKind::StoreUnavailable`] if it does not have it by then, with the reason; it is
    /// announced later all the same. [`ErrorKind::InvalidConfig`] if there is no store.
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
        // The rest is the Draining's.
        self.left.store(true, SeqCst);
        Ok(draining)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if !self.member.publisher.is_own() {
            return abandon(&self.member);
        }
        if self.is_found || self.left.load(SeqCst) || self.member.publisher.is_removed() {
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

/// Never frees what a forked child has inherited: another thread of the parent may have been
/// changing it at the moment of the fork.
fn abandon(member: &Arc<Member>) {
    mem::forget(Arc::clone(member));
}
