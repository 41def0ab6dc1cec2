//! The event loop of `aio`, which proves its progress by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{self, ThreadId};

use pyo3::prelude::*;
use ready_probe_sdk as sdk;

use super::{Agent, release};
use crate::life::{call, said};
use crate::working;

/// A loop, and the thread that it runs in.
pub(super) struct EventLoop {
    /// Outlives the loop: an agent that is marked when that has ended is stalled after the limit.
    proof: Arc<sdk::Working>,
    thread: ThreadId,
    has_ended: AtomicBool,
}

impl EventLoop {
    fn tick(&self, py: Python<'_>) -> PyResult<()> {
        if self.proof.is_stalled() {
            call(py, || self.proof.tick_alone())
        } else {
            said(py, self.proof.tick_alone())
        }
    }
}

impl Agent {
    /// The event loop that runs in this thread begins to prove its progress.
    pub(super) fn begin_loop(&self, py: Python<'_>) -> PyResult<()> {
        let Some(agent) = self.open(py)? else {
            return Ok(());
        };
        let proof = call(py, || agent.proof().map(|proof| Some(Arc::new(proof))))?;
        let begun = proof.map(|proof| {
            Arc::new(EventLoop {
                proof,
                thread: thread::current().id(),
                has_ended: AtomicBool::new(false),
            })
        });
        if let Some(before) = self.event_loop.swap(begun) {
            let proof = Arc::clone(&before.proof);
            drop(before);
            working::end(py, proof);
        }
        release(py, agent);
        Ok(())
    }

    /// It runs.
    pub(super) fn tick_loop(&self, py: Python<'_>) -> PyResult<()> {
        let Some(agent) = self.open(py)? else {
            return Ok(());
        };
        let done = match self.event_loop.load_full() {
            Some(event_loop) => event_loop.tick(py),
            None => Ok(()),
        };
        release(py, agent);
        done
    }

    /// Work in the loop's own thread proves that the loop is not hung in it. That of another thread says
    /// nothing about the loop.
    pub(crate) fn tick_loop_here(&self, py: Python<'_>) -> PyResult<()> {
        match self.event_loop.load_full() {
            Some(event_loop)
                if event_loop.thread == thread::current().id()
                    && !event_loop.has_ended.load(SeqCst) =>
            {
                event_loop.tick(py)
            }
            _ => Ok(()),
        }
    }

    pub(super) fn end_loop(&self) {
        if let Some(event_loop) = self.event_loop.load_full() {
            event_loop.has_ended.store(true, SeqCst);
        }
    }
}
