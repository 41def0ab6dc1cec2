//! What an agent's work says about its progress. Nothing without a watchdog, or if nobody watches
//! any more.

use std::sync::Arc;

use super::Publisher;
use super::log::Note;
use crate::signal::State;
use crate::watchdog::{Call, Watchdog};
use crate::{Result, clock};

impl Publisher {
    pub(crate) fn tick(&self) -> Result<()> {
        self.prove(Watchdog::tick)
    }

    pub(crate) fn arm(&self) -> Result<()> {
        self.prove(Watchdog::arm)
    }

    pub(crate) fn disarm(&self) -> Result<()> {
        self.prove(Watchdog::disarm)
    }

    /// A call begins. The work goes on whatever becomes of the word about it: if the end of a stall
    /// can't be written, it is tried again.
    pub(crate) fn begin(&self, around: Option<&Arc<Call>>) -> Result<Option<Arc<Call>>> {
        self.enter(|watchdog, now_ms| watchdog.begin(around, now_ms))
    }

    /// Something begins to prove that it runs, and goes on as a call does.
    pub(crate) fn begin_proof(&self) -> Result<Option<Arc<Call>>> {
        self.enter(Watchdog::begin_proof)
    }

    fn enter(
        &self,
        begin: impl FnOnce(&Watchdog, u64) -> (Arc<Call>, bool),
    ) -> Result<Option<Arc<Call>>> {
        let Some(watchdog) = self.watching()? else {
            return Ok(None);
        };
        let (call, resumes) = begin(watchdog, clock::mono_ms());
        if resumes {
            let _ = self.resume();
        }
        Ok(Some(call))
    }

    pub(crate) fn tick_call(&self, call: &Call) -> Result<()> {
        self.prove(|watchdog, now_ms| watchdog.tick_call(call, now_ms))
    }

    pub(crate) fn tick_alone(&self, call: &Call) -> Result<()> {
        self.prove(|watchdog, now_ms| watchdog.tick_alone(call, now_ms))
    }

    pub(crate) fn is_stalled_by(&self, call: &Call) -> bool {
        (self.watchdog.as_ref()).is_some_and(|watchdog| watchdog.is_stalled_by(call))
    }

    /// A call has ended, whatever becomes of the word about it.
    pub(crate) fn end(&self, call: &Call) {
        let Some(watchdog) = &self.watchdog else {
            return;
        };
        if watchdog.end(call, clock::mono_ms()) && self.said() != State::Stopping {
            let _ = self.resume();
        }
    }

    fn prove(&self, progress: impl FnOnce(&Watchdog, u64) -> bool) -> Result<()> {
        match self.watching()? {
            Some(watchdog) if progress(watchdog, clock::mono_ms()) => self.resume(),
            Some(_) | None => Ok(()),
        }
    }

    /// Work in flight while the agent says `stopping` ends well, and nobody watches it any more.
    fn watching(&self) -> Result<Option<&Watchdog>> {
        self.check_own()?;
        if self.said() == State::Stopping {
            return if self.is_removed() {
                Err(self.is_closed())
            } else {
                Ok(None)
            };
        }
        Ok(self.watchdog.as_ref())
    }

    /// A stall has ended: says so at once.
    fn resume(&self) -> Result<()> {
        let mut inner = self.lock();
        if self.is_removed() {
            return Err(self.is_closed());
        }
        self.note_since();
        inner.version += 1;
        let (result, note) = self.write(&mut inner);
        drop(inner);
        (self.wake.0)();
        Note::log(note, &self.name);
        Note::log(Some(Note::Resumed), &self.name);
        result
    }
}
