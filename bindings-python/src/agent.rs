//! The SDK's agent, for Python's `Agent`.

mod event_loop;
mod progress;

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use pyo3::prelude::*;
use ready_probe_sdk::{self as sdk, ErrorKind, State, clock};

use event_loop::EventLoop;
pub(crate) use progress::tick_call;

use crate::announced::Announced;
use crate::life::{call, detached, said};
use crate::working::{self, Context, Working};
use crate::{details, duration, error, text};

/// How long a wait goes on before it looks whether it was interrupted.
const SLICE: Duration = Duration::from_millis(50);

/// An agent of the process that made it, until it is closed.
#[pyclass(frozen, module = "ready_probe._native")]
pub(crate) struct Agent {
    name: String,
    /// The fields that a forked child may use are the name, this, `told` and `context`.
    pid: u32,
    /// The forked child that was told whose this is, when it first worked under it.
    told: AtomicU32,
    /// Nothing once it is closed. Dropping it is what removes the signal.
    agent: ArcSwapOption<sdk::Agent>,
    /// The process holds it, and dropping it removes nothing.
    is_found: bool,
    context: Context,
    event_loop: ArcSwapOption<EventLoop>,
}

#[pymethods]
impl Agent {
    #[new]
    fn new(
        py: Python<'_>,
        name: &Bound<'_, PyAny>,
        ttl: &Bound<'_, PyAny>,
        heartbeat: Option<&Bound<'_, PyAny>>,
        watchdog: Option<&Bound<'_, PyAny>>,
        store: Option<&Bound<'_, PyAny>>,
        namespace: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let name = text::lossy("name", name)?;
        let mut described = sdk::Agent::builder(&name).ttl(duration::ttl(ttl)?);
        if let Some(interval) = duration::parse_optional("heartbeat", heartbeat)? {
            described = described.heartbeat(interval);
        }
        if let Some(limit) = duration::parse_optional("watchdog", watchdog)? {
            described = described.watchdog(limit);
        }
        if let Some(store) = text::exact_optional("store", store)? {
            described = described.store(&store);
        }
        if let Some(namespace) = namespace {
            described = described.namespace(&text::lossy("namespace", namespace)?);
        }
        let agent = call(py, || {
            described.register().map(|agent| Some(Arc::new(agent)))
        })?;
        Self::made(py, name, agent, false)
    }

    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    #[pyo3(signature = (details=None))]
    fn mark_ready(&self, py: Python<'_>, details: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let details = details::parse(details)?;
        self.with(py, |agent| agent.mark_ready(details))
    }

    fn mark_not_ready(&self, py: Python<'_>, reason: &Bound<'_, PyAny>) -> PyResult<()> {
        let reason = text::lossy("reason", reason)?;
        self.with(py, |agent| agent.mark_not_ready(&reason))
    }

    fn mark_stopping(&self, py: Python<'_>, reason: &Bound<'_, PyAny>) -> PyResult<()> {
        let reason = text::lossy("reason", reason)?;
        self.with(py, |agent| agent.mark_stopping(&reason))
    }

    fn tick(&self, py: Python<'_>) -> PyResult<()> {
        if !self.is_own() {
            return self.in_child(py, |own| own.tick(py));
        }
        let Some(agent) = self.opened(py)? else {
            return Ok(());
        };
        let done = match self.context.innermost(py)? {
            Some(call) => tick_call(py, call),
            // Giving up the GIL may cost a busy program milliseconds each time, and a tick that ends
            // no stall is a single store to memory.
            None if agent.is_stalled() => call(py, || agent.tick()),
            None => said(py, agent.tick()),
        };
        release(py, agent);
        done?;
        self.tick_loop_here(py)
    }

    /// A call that begins when it is entered.
    fn working(slf: Py<Self>) -> Working {
        Working::new(slf)
    }

    /// Has the watchdog watch only while there is work under way.
    fn on_demand(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        if let Some(agent) = Self::at_work(slf)?
            && let Some(call) = agent.get().begin(py, None)?
        {
            working::end(py, Arc::new(call));
        }
        Ok(())
    }

    /// The event loop begins to prove its progress.
    fn loop_begins(&self, py: Python<'_>) -> PyResult<()> {
        self.begin_loop(py)
    }

    fn loop_runs(&self, py: Python<'_>) -> PyResult<()> {
        self.tick_loop(py)
    }

    fn loop_ends(&self, py: Python<'_>) -> PyResult<()> {
        self.check_own(py)?;
        self.end_loop();
        Ok(())
    }

    fn arm(&self, py: Python<'_>) -> PyResult<()> {
        if !self.is_own() {
            return self.in_child(py, |own| own.arm(py));
        }
        self.with(py, sdk::Agent::arm)
    }

    fn disarm(&self, py: Python<'_>) -> PyResult<()> {
        if !self.is_own() {
            return self.in_child(py, |own| own.disarm(py));
        }
        self.with(py, sdk::Agent::disarm)
    }

    /// Publishes `stopping` and removes the signal. Again, it does nothing.
    fn close(&self, py: Python<'_>, reason: &Bound<'_, PyAny>) -> PyResult<()> {
        let reason = text::lossy("reason", reason)?;
        self.end_with(py, |agent| {
            let said = agent.mark_stopping(&reason);
            if self.is_found {
                // Nobody else's drop removes it.
                drop(sdk::find_agent(&self.name).map(|agent| agent.close(&reason)));
            }
            said
        })
    }

    /// Publishes `stopping` and leaves the record to fail. Again, it does nothing.
    fn fail(&self, py: Python<'_>, reason: &Bound<'_, PyAny>) -> PyResult<()> {
        let reason = text::lossy("reason", reason)?;
        self.end_with(py, |agent| agent.fail(&reason))
    }

    /// Whether it is closed; one that a forked child inherited is not the child's to close.
    #[getter]
    fn closed(&self) -> bool {
        !self.is_own() || self.agent.load().is_none()
    }

    #[getter]
    fn state(&self, py: Python<'_>) -> PyResult<&'static str> {
        self.check_own(py)?;
        let state = self.agent.load().as_ref().map(|agent| agent.state());
        Ok(match state.unwrap_or(State::Stopping) {
            State::Starting => "starting",
            State::Ready => "ready",
            State::NotReady => "not_ready",
            State::Stopping => "stopping",
        })
    }

    #[getter]
    fn announced(&self, py: Python<'_>) -> PyResult<Option<Announced>> {
        self.check_own(py)?;
        let agent = self.agent.load_full();
        let outcome = detached(py, || agent.and_then(|agent| agent.announced()));
        Ok(outcome.flatten().map(|told| Announced {
            store: told.store,
            ok: told.ok,
            reason: told.reason,
        }))
    }

    /// Whether the store has what the agent says now. Does not wait.
    fn is_announced(&self, py: Python<'_>) -> PyResult<bool> {
        let Some(agent) = self.open(py)? else {
            return Ok(true);
        };
        match detached(py, move || agent.wait_announced(Duration::ZERO)) {
            None | Some(Ok(())) => Ok(true),
            Some(Err(e)) if e.kind() == ErrorKind::StoreUnavailable => Ok(false),
            Some(Err(e)) => said(py, Err(e)),
        }
    }

    /// Waits until it has. Signals are handled meanwhile, so Ctrl-C ends the wait.
    fn wait_announced(&self, py: Python<'_>, timeout: &Bound<'_, PyAny>) -> PyResult<()> {
        let timeout = duration::parse("timeout", timeout)?;
        let Some(agent) = self.open(py)? else {
            return Ok(());
        };
        let done = self.wait(py, &agent, timeout);
        release(py, agent);
        done
    }

    /// The error of a wait that took too long.
    fn unavailable(&self, py: Python<'_>, timeout: &Bound<'_, PyAny>) -> PyResult<()> {
        let timeout = duration::parse("timeout", timeout)?;
        let Some(agent) = self.open(py)? else {
            return Ok(());
        };
        let late = self.late(py, &agent, timeout);
        release(py, agent);
        Err(late)
    }
}

impl Agent {
    fn made(
        py: Python<'_>,
        name: String,
        agent: Option<Arc<sdk::Agent>>,
        is_found: bool,
    ) -> PyResult<Self> {
        Ok(Self {
            name,
            pid: std::process::id(),
            told: AtomicU32::new(0),
            agent: ArcSwapOption::new(agent),
            is_found,
            context: Context::new(py)?,
            event_loop: ArcSwapOption::empty(),
        })
    }

    fn with(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&sdk::Agent) -> sdk::Result<()> + Send,
    ) -> PyResult<()> {
        match self.open(py)? {
            Some(agent) => call(py, move || work(&agent)),
            None => Ok(()),
        }
    }

    fn end_with(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&sdk::Agent) -> sdk::Result<()> + Send,
    ) -> PyResult<()> {
        self.check_own(py)?;
        match self.agent.swap(None) {
            Some(agent) => call(py, move || match work(&agent) {
                // The exit hook, or a drain, has been faster.
                Err(e) if e.kind() == ErrorKind::Closed => Ok(()),
                done => done,
            }),
            None => Ok(()),
        }
    }

    /// The agent; nothing when the interpreter ends and it may be closed.
    fn open(&self, py: Python<'_>) -> PyResult<Option<Arc<sdk::Agent>>> {
        self.check_own(py)?;
        self.opened(py)
    }

    /// The same, in the process that it belongs to.
    fn opened(&self, py: Python<'_>) -> PyResult<Option<Arc<sdk::Agent>>> {
        match self.agent.load_full() {
            Some(agent) => Ok(Some(agent)),
            None if crate::life::has_ended() => Ok(None),
            None => Err(error::closed(py, &self.name)),
        }
    }

    fn check_own(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_own() {
            return Ok(());
        }
        Err(error::forked(py, &self.name, self.pid))
    }

    fn wait(&self, py: Python<'_>, agent: &sdk::Agent, timeout: Duration) -> PyResult<()> {
        let until = clock::instant().checked_add(timeout);
        loop {
            let left = until.map_or(SLICE, |until| {
                until.saturating_duration_since(clock::instant())
            });
            match detached(py, || agent.wait_announced(left.min(SLICE))) {
                None | Some(Ok(())) => return Ok(()),
                Some(Err(e)) if e.kind() != ErrorKind::StoreUnavailable => return said(py, Err(e)),
                Some(Err(_)) if left.is_zero() => return Err(self.late(py, agent, timeout)),
                Some(Err(_)) => py.check_signals()?,
            }
        }
    }

    fn late(&self, py: Python<'_>, agent: &sdk::Agent, timeout: Duration) -> PyErr {
        let told = agent.announced().filter(|told| !told.ok);
        let (store, why) = match told {
            Some(told) => (told.store, told.reason),
            None => ("its store".to_owned(), None),
        };
        let why = why.unwrap_or_else(|| "it has not answered yet".to_owned());
        let name = &self.name;
        let message =
            format!("agent {name} was not announced to {store} within {timeout:?}: {why}");
        error::unavailable(py, &message)
    }
}

impl Drop for Agent {
    /// An agent that nobody refers to and nobody has closed. One of the parent's is left alone.
    fn drop(&mut self) {
        if !self.is_own() || crate::life::has_ended() {
            return;
        }
        if let Some(agent) = self.agent.swap(None) {
            // Python is attached wherever it frees an object, save in the last throes.
            Python::try_attach(|py| release(py, agent));
        }
    }
}

/// The agent of that name that the process holds.
#[pyfunction]
pub(crate) fn find_agent(py: Python<'_>, name: &Bound<'_, PyAny>) -> PyResult<Option<Agent>> {
    let name = text::lossy("name", name)?;
    match detached(py, || sdk::find_agent(&name)).flatten() {
        Some(agent) => Agent::made(py, name, Some(Arc::new(agent)), true).map(Some),
        None => Ok(None),
    }
}

/// Whoever is last to let go of an agent removes its signal, which may wait: not with the GIL.
fn release(py: Python<'_>, agent: Arc<sdk::Agent>) {
    if Arc::strong_count(&agent) == 1 {
        detached(py, move || drop(agent));
    }
}
