//! What an agent's work does in the middle: it begins calls and ticks, mostly with the GIL.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use pyo3::prelude::*;
use ready_probe_sdk::{self as sdk, State};

use super::{Agent, release};
use crate::error;
use crate::life::{call, said};
use crate::working::{self, Context};

impl Agent {
    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    pub(crate) fn is_own(&self) -> bool {
        self.pid == std::process::id()
    }

    /// Whether work here is this agent's. In a forked child it is not, which is said once; the work is
    /// to be done all the same.
    pub(crate) fn may_work(&self, py: Python<'_>) -> PyResult<bool> {
        if self.is_own() {
            return Ok(true);
        }
        let pid = std::process::id();
        if self.told.swap(pid, SeqCst) != pid {
            py.import("ready_probe._life")?
                .call_method1("warn_forked", (&self.name, self.pid))?;
        }
        Ok(false)
    }

    /// A call begins, within another one or not.
    pub(crate) fn begin(
        &self,
        py: Python<'_>,
        around: Option<Arc<sdk::Working>>,
    ) -> PyResult<Option<sdk::Working>> {
        let Some(agent) = self.open(py)? else {
            return Ok(None);
        };
        let around = around.or_else(|| self.event_loop.load_full());
        let begin = || match &around {
            Some(around) => around.working().map(Some),
            None => agent.working().map(Some),
        };
        // As a tick: it may end a stall.
        let begun = if agent.state() == State::NotReady {
            call(py, begin)
        } else {
            said(py, begin())
        };
        if let Some(around) = around {
            working::end(py, around);
        }
        release(py, agent);
        begun
    }

    /// Only the tick that ends a stall gives up the GIL.
    pub(crate) fn tick_call(&self, py: Python<'_>, working: Arc<sdk::Working>) -> PyResult<()> {
        let done = if working.is_stalled() {
            call(py, || working.tick())
        } else {
            said(py, working.tick())
        };
        working::end(py, working);
        done
    }

    /// The agent, for what work does in the middle; nothing also in a forked child that was told whose
    /// it is.
    pub(crate) fn at_work(&self, py: Python<'_>) -> PyResult<Option<Arc<sdk::Agent>>> {
        if self.is_own() {
            self.opened(py)
        } else if self.told.load(SeqCst) == std::process::id() {
            Ok(None)
        } else {
            Err(error::forked(py, &self.name, self.pid))
        }
    }
}
