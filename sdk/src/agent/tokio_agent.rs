//! An agent whose progress the application's tokio runtime proves.
//!
//! Owns the task that does so. That task is the application's runtime at work and nothing else: what
//! is published, and when, is decided where it is for every other agent.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::{AbortHandle, spawn_blocking};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::{Agent, AgentBuilder, Working};
use crate::publisher::Publisher;
use crate::{Error, ErrorKind, Result};

/// The watchdog's limit where the builder has none.
const DEFAULT_LIMIT: Duration = Duration::from_secs(10);
/// The runtime ticks so often within the limit.
const TICKS_PER_LIMIT: u32 = 5;

/// An [`Agent`] that is `stalled` while the tokio runtime on which it was registered is blocked for
/// longer than the watchdog allows, because a task computes or waits without `.await`. Made by
/// [`AgentBuilder::register_on_tokio`].
///
/// It is an [`Agent`] in every other respect, and derefs to one. Clones share it: the signal is
/// removed when the last one is dropped. That may wait up to 1 s for a store;
/// [`TokioAgent::close`] does not block the runtime meanwhile.
///
/// What that proves is that the runtime runs tasks. Of several worker threads one that is blocked is no
/// stall, and a task that awaits for ever is none either, unless the task has said that it is
/// [`working`](Agent::working): such a call has a limit of its own. [`tick`](Agent::tick) proves nothing of
/// the runtime, from whichever thread it comes.
///
/// ```
/// use std::time::Duration;
/// use ready_probe_sdk::{Agent, State};
/// # let dir = tempfile::tempdir()?;
/// # ready_probe_sdk::use_dir(dir.path())?;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let agent = Agent::builder("translator")
///     .watchdog(Duration::from_secs(5))
///     .register_on_tokio()?;
/// agent.mark_ready(serde_json::json!({ "port": 8080 }))?;
///
/// let of_a_task = agent.clone();
/// tokio::spawn(async move { of_a_task.mark_not_ready("reloading the model") }).await??;
/// assert_eq!(agent.state(), State::NotReady);
///
/// agent.close("deploy").await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "the signal is removed as soon as the last clone is dropped: hold it for as long as the agent lives"]
pub struct TokioAgent {
    // Dropped in this order: the signal is gone before its proof ends.
    agent: Arc<Agent>,
    _proof: Arc<Proof>,
}

impl AgentBuilder {
    /// What [`register`](AgentBuilder::register) does, for an agent on the tokio runtime that the
    /// caller runs on: a task there proves that the runtime makes progress. The watchdog's limit is
    /// 10 s unless [`watchdog`](AgentBuilder::watchdog) says otherwise.
    ///
    /// # Errors
    /// As [`AgentBuilder::register`]; and [`ErrorKind::InvalidArgument`] outside of a tokio runtime.
    ///
    /// # Panics
    /// As tokio's timers do, on a runtime that was built without `enable_time`.
    pub fn register_on_tokio(self) -> Result<TokioAgent> {
        let runtime = Handle::try_current().map_err(|_| {
            Error::new(
                ErrorKind::InvalidArgument,
                "no tokio runtime runs here: call register_on_tokio in a task, or in a runtime's \
                 block_on; without tokio there is register",
            )
        })?;
        let limit = self.watchdog.unwrap_or(DEFAULT_LIMIT);
        // Of tokio's own panics this is the one to have before anything is published.
        let mut ticks = interval((limit / TICKS_PER_LIMIT).max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let agent = self.watchdog(limit).register()?;
        let call = Arc::new(agent.proof()?);
        let proof = RuntimeProof {
            call: Arc::clone(&call),
            agent: Arc::clone(&agent.member.publisher),
        };
        let task = runtime.spawn(prove(ticks, proof)).abort_handle();
        Ok(TokioAgent {
            agent: Arc::new(agent),
            _proof: Arc::new(Proof { task, _call: call }),
        })
    }
}

impl TokioAgent {
    /// Publishes `stopping` with the reason, then removes the signal, for all clones: what they say
    /// from then on is refused. Returns once the signal is removed; where a store is set, after its
    /// answer or after 1 s. The runtime is not blocked meanwhile, and a call that is cancelled goes on
    /// all the same.
    ///
    /// [`Agent::mark_stopping`] says `stopping` for as long as work in flight takes.
    ///
    /// # Errors
    /// As [`Agent::close`]. The signal is removed all the same, unless it is another process's.
    pub async fn close(self, reason: &str) -> Result<()> {
        let said = self.agent.mark_stopping(reason);
        // A runtime that shuts down drops the closure unrun; the last clone then removes the signal.
        let _ = spawn_blocking(move || self.agent.remove()).await;
        said
    }
}

impl Agent {
    /// Removes the signal, also from the store, and waits for that as long as a [`super::Draining`] does.
    fn remove(&self) {
        if self.member.publisher.is_own() {
            self.left.store(true, SeqCst);
            self.member.remove();
            self.member.wait_withdrawn();
        }
    }
}

impl Deref for TokioAgent {
    type Target = Agent;

    fn deref(&self) -> &Agent {
        &self.agent
    }
}

/// Ends the task that proves progress when the last clone is dropped.
#[derive(Debug)]
struct Proof {
    task: AbortHandle,
    /// It outlives the runtime: an agent that is marked when that has ended is stalled after the limit.
    _call: Arc<Working>,
}

impl Drop for Proof {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Held by the task.
struct RuntimeProof {
    /// The runtime's own progress, and nobody else's: work that hangs on a runtime that runs is a stall.
    call: Arc<Working>,
    agent: Arc<Publisher>,
}

impl Drop for RuntimeProof {
    fn drop(&mut self) {
        // Whatever the agent said last, nobody works for it once its runtime is gone. It fails when the
        // agent is closed or says `stopping`, which is how it ends as a rule.
        let _ = self.agent.mark_not_ready("its tokio runtime has ended");
    }
}

async fn prove(mut ticks: Interval, runtime: RuntimeProof) {
    loop {
        ticks.tick().await;
        if let Err(e) = runtime.call.tick_alone()
            && matches!(e.kind(), ErrorKind::Closed | ErrorKind::Forked)
        {
            return;
        }
        // Any other is the end of a stall that can't be written. It is logged, and tried again.
    }
}
