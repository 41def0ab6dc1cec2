//! One call that is under way: a job, a request, a loop that must not stand still.

use std::mem;
use std::sync::Arc;

use crate::Result;
use crate::publisher::Publisher;
use crate::watchdog::Call;

/// A call that is under way until this is dropped, with its own limit: it has to
/// [`tick`](Working::tick) as often as the watchdog demands. Made by
/// [`Agent::working`](crate::Agent::working).
///
/// It may be sent to another thread, and outlive the [`Agent`](crate::Agent): work in flight when
/// that is closed ends as it would have.
#[derive(Debug)]
#[must_use = "the call has ended as soon as this is dropped: hold it for as long as the work goes on"]
pub struct Working {
    publisher: Arc<Publisher>,
    /// `None` if nobody watches: without a watchdog, or after `stopping`.
    call: Option<Arc<Call>>,
}

impl Working {
    pub(super) fn begin(publisher: &Arc<Publisher>, around: Option<&Arc<Call>>) -> Result<Self> {
        Ok(Self {
            call: publisher.begin(around)?,
            publisher: Arc::clone(publisher),
        })
    }

    pub(super) fn proof(publisher: &Arc<Publisher>) -> Result<Self> {
        Ok(Self {
            call: publisher.begin_proof()?,
            publisher: Arc::clone(publisher),
        })
    }

    /// Proves progress of this call and of those around it, and of no other. Takes no lock: call it
    /// in the innermost loop. The tick that ends a stall publishes `ready` before it returns; while
    /// another call hangs, the agent stays stalled.
    ///
    /// # Errors
    /// As [`Agent::tick`](crate::Agent::tick).
    pub fn tick(&self) -> Result<()> {
        match &self.call {
            Some(call) => self.publisher.tick_call(call),
            None => self.publisher.tick(),
        }
    }

    /// Proves progress of this call alone, not of those around it or of anything that was
    /// [armed](crate::Agent::arm): for proof that something runs, though not that its work gets on,
    /// such as the timer of an event loop. Work that begins within such a call proves both.
    ///
    /// # Errors
    /// As [`Agent::tick`](crate::Agent::tick).
    pub fn tick_alone(&self) -> Result<()> {
        match &self.call {
            Some(call) => self.publisher.tick_alone(call),
            None => self.publisher.tick(),
        }
    }

    /// Begins a call within this one, such as a step of a job. While it ticks, this one is not
    /// stalled either: its beginning, its ticks and its end are progress of both.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ready_probe_sdk::Agent;
    /// # let dir = tempfile::tempdir()?;
    /// # ready_probe_sdk::use_dir(dir.path())?;
    ///
    /// let agent = Agent::builder("trainer").watchdog(Duration::from_secs(10)).register()?;
    /// let job = agent.working()?;
    /// for _epoch in 0..3 {
    ///     let step = job.working()?;
    ///     // … work …
    ///     step.tick()?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Agent::working`](crate::Agent::working).
    pub fn working(&self) -> Result<Self> {
        Self::begin(&self.publisher, self.call.as_ref())
    }

    /// Whether the agent is stalled because this call, or one around it, has not ticked in time.
    /// Then the next tick writes a signal; no other tick does.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        (self.call.as_ref()).is_some_and(|call| self.publisher.is_stalled_by(call))
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        if !self.publisher.is_own() {
            // Never frees what a forked child has inherited.
            mem::forget(Arc::clone(&self.publisher));
            mem::forget(self.call.take());
        } else if let Some(call) = &self.call {
            self.publisher.end(call);
        }
    }
}
