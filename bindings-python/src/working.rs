//! Calls that are under way, for Python's `progress` and `working`. Which one is the innermost is a
//! matter of the context, of the task or the thread, in which Python runs.

use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use ready_probe_sdk as sdk;

use crate::agent::{Agent, tick_call};
use crate::life::detached;

/// Where an agent's innermost call is to be found.
pub(crate) struct Context {
    /// A `contextvars.ContextVar` that holds a [`Working`] or `None`.
    variable: Py<PyAny>,
    /// Its method.
    get: Py<PyAny>,
    /// The calls that were entered and not left: without any, no context is asked.
    under_way: AtomicU64,
}

impl Context {
    pub(crate) fn new(py: Python<'_>) -> PyResult<Self> {
        let default = PyDict::new(py);
        default.set_item("default", py.None())?;
        let class = py.import("contextvars")?.getattr("ContextVar")?;
        let variable = class.call(("ready_probe.call",), Some(&default))?;
        Ok(Self {
            get: variable.getattr("get")?.unbind(),
            variable: variable.unbind(),
            under_way: AtomicU64::new(0),
        })
    }

    /// The innermost call of this context that is under way.
    pub(crate) fn innermost(&self, py: Python<'_>) -> PyResult<Option<Arc<sdk::Working>>> {
        if self.under_way.load(SeqCst) == 0 {
            return Ok(None);
        }
        let found = self.get.call0(py)?;
        let found = found.bind(py).cast::<Working>().ok();
        Ok(found.and_then(|found| Working::under_way(found.clone()).1))
    }
}

/// A call that is under way while this is entered.
#[pyclass(frozen, module = "ready_probe._native")]
pub(crate) struct Working {
    agent: Py<Agent>,
    entered: AtomicBool,
    /// Nothing before it is entered and once it is left, and where nobody watches.
    call: ArcSwapOption<sdk::Working>,
    context: Mutex<InContext>,
}

/// What a call has to do with others of its context.
#[derive(Default)]
struct InContext {
    /// The one that it was begun in.
    around: Option<Py<Working>>,
    /// The agent whose call it is, and what takes it out of the context again.
    entered: Option<(Py<Agent>, Py<PyAny>)>,
}

#[pymethods]
impl Working {
    fn __enter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        let (py, this) = (slf.py(), slf.get());
        if this.entered.swap(true, SeqCst) {
            return Err(PyRuntimeError::new_err(
                "this block was entered before: call agent.working() for each block",
            ));
        }
        // What a forked child has inherited is its parent's.
        let Some(agent) = Agent::at_work(this.agent.bind(py))? else {
            return Ok(slf);
        };
        let context = agent.get().context();
        let found = context.variable.bind(py).call_method0("get")?;
        let (around, innermost) = match found.cast_into::<Self>() {
            Ok(found) => Self::under_way(found),
            Err(_) => (None, None),
        };
        this.call
            .store(agent.get().begin(py, innermost)?.map(Arc::new));
        let token = context.variable.call_method1(py, "set", (&slf,))?;
        context.under_way.fetch_add(1, SeqCst);
        *this.lock() = InContext {
            around: around.map(Bound::unbind),
            entered: Some((agent.clone().unbind(), token)),
        };
        Ok(slf)
    }

    /// What the work returns or raises goes first: this raises nothing.
    #[pyo3(signature = (*_args))]
    fn __exit__(slf: &Bound<'_, Self>, _args: &Bound<'_, PyTuple>) {
        let (py, this) = (slf.py(), slf.get());
        let InContext { around, entered } = mem::take(&mut *this.lock());
        let Some((agent, token)) = entered else {
            return;
        };
        let agent = agent.get();
        let variable = &agent.context().variable;
        // A block may be left in another context than it was entered in, as that of a generator which
        // another task ends. What is left behind there is passed over, since it has ended.
        let _ = variable.call_method1(py, "reset", (token,));
        if !agent.is_own() {
            return;
        }
        agent.context().under_way.fetch_sub(1, SeqCst);
        let call = this.call.swap(None);
        // It keeps no call alive that has ended: tasks that start one another would keep all of them.
        let around = around.and_then(|around| Self::under_way(around.into_bound(py)).0);
        this.lock().around = around.map(Bound::unbind);
        if let Some(call) = call {
            end(py, call);
            // It raises nothing, and is tried again by the loop itself.
            let _ = agent.tick_loop_here(py);
        }
    }

    /// Proves progress of this call and of those around it; of nothing once it has ended.
    fn tick(&self, py: Python<'_>) -> PyResult<()> {
        match self.call.load_full() {
            Some(call) => tick_call(py, call)?,
            None => return Ok(()),
        }
        let agent = self
            .lock()
            .entered
            .as_ref()
            .map(|(agent, _)| agent.clone_ref(py));
        agent.map_or(Ok(()), |agent| agent.get().tick_loop_here(py))
    }
}

impl Working {
    pub(crate) fn new(agent: Py<Agent>) -> Self {
        Self {
            agent,
            entered: AtomicBool::new(false),
            call: ArcSwapOption::empty(),
            context: Mutex::default(),
        }
    }

    /// This call or, where it has ended, the innermost around it that has not.
    fn under_way(working: Bound<'_, Self>) -> (Option<Bound<'_, Self>>, Option<Arc<sdk::Working>>) {
        let mut next = Some(working);
        while let Some(working) = next {
            if let Some(call) = working.get().call.load_full() {
                return (Some(working), Some(call));
            }
            let around = &working.get().lock().around;
            next = around
                .as_ref()
                .map(|around| around.bind(working.py()).clone());
        }
        (None, None)
    }

    /// Held for a moment only, and never while Python runs.
    fn lock(&self) -> MutexGuard<'_, InContext> {
        self.context.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The last to let go of a call ends it, which writes a signal where that ends a stall: not with the
/// GIL.
pub(crate) fn end(py: Python<'_>, call: Arc<sdk::Working>) {
    if call.is_stalled() {
        detached(py, move || drop(call));
    }
}
