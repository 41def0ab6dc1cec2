//! What an agent's work does in the middle: it begins calls and ticks, mostly with the GIL.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use pyo3::prelude::*;
use pyo3::types::PyString;
use ready_probe_sdk as sdk;

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

    /// The agent that work here proves progress of: this one or, in a forked child, the child's own of the
    /// same name. Where it has none, that is said once, and the work is to be done all the same.
    pub(crate) fn at_work<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, Self>>> {
        let (py, this) = (slf.py(), slf.get());
        if this.is_own() {
            return Ok(Some(slf.clone()));
        }
        let own = this.namesake(py)?;
        let pid = std::process::id();
        if own.is_none() && this.told.swap(pid, SeqCst) != pid {
            py.import("ready_probe._life")?
                .call_method1("warn_forked", (&this.name, this.pid))?;
        }
        Ok(own)
    }

    /// What work in a forked child says in the middle. Nothing where it was told that its parent's agent is
    /// none of its own.
    pub(crate) fn in_child<'py>(
        &self,
        py: Python<'py>,
        says: impl FnOnce(&Self) -> PyResult<()>,
    ) -> PyResult<()> {
        match self.namesake(py)? {
            Some(agent) => says(agent.get()),
            None if self.told.load(SeqCst) == std::process::id() => Ok(()),
            None => Err(error::forked(py, &self.name, self.pid)),
        }
    }

    fn namesake<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, Self>>> {
        let found = py
            .import("ready_probe._life")?
            .call_method1("find", (&self.name,))?;
        if let Ok(found) = found.cast_into::<Self>() {
            return Ok(Some(found));
        }
        // Made by `mark_agent_ready`.
        let name = PyString::new(py, &self.name);
        let found = super::find_agent(py, name.as_any())?;
        found.map(|agent| Bound::new(py, agent)).transpose()
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
        let begin = || match &around {
            Some(around) => around.working().map(Some),
            None => agent.working().map(Some),
        };
        // As a tick: it may end a stall.
        let begun = if agent.is_stalled() {
            call(py, begin)
        } else {
            said(py, begin())
        };
        if let Some(around) = around {
            working::end(py, around);
        }
        release(py, agent);
        // The work goes on whatever becomes of the word about it.
        let _ = self.tick_loop_here(py);
        begun
    }
}

/// Only the tick that ends a stall gives up the GIL.
pub(crate) fn tick_call(py: Python<'_>, working: Arc<sdk::Working>) -> PyResult<()> {
    let done = if working.is_stalled() {
        call(py, || working.tick())
    } else {
        said(py, working.tick())
    };
    working::end(py, working);
    done
}
