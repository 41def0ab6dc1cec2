//! Calls without the GIL, and what becomes of them when the interpreter ends.
//!
//! CPython ends a thread that wants the GIL back during teardown, in the middle of Rust code, which
//! ends the process with an error. So the exit hook, which runs before that, first lets no further
//! call begin, and then waits for those under way. Later calls do nothing: everything has been
//! said.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use pyo3::prelude::*;
use ready_probe_sdk::{Error, ErrorKind, close_all};

use crate::{error, log};

/// The process whose interpreter ends; a child that was forked from it lives on.
static ENDED: AtomicU32 = AtomicU32::new(0);
/// The calls under way: their number in the lower half, and in the upper half the process that they
/// belong to, since a forked child inherits the number but not the calls.
static UNDER_WAY: AtomicU64 = AtomicU64::new(0);
/// How long the end waits for calls: every call looks up more often than this.
const PATIENCE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(1);

/// Does `work` without the GIL; returns `None` if the interpreter ends.
pub(crate) fn detached<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> Option<T> {
    let _under_way = UnderWay::begin();
    if has_ended() {
        return None;
    }
    Some(py.detach(work))
}

/// The same for work that can fail. An agent that the exit hook has closed is no error of the
/// caller's.
pub(crate) fn call<T: Default + Send>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T, Error> + Send,
) -> PyResult<T> {
    match detached(py, work) {
        None => Ok(T::default()),
        Some(result) => said(py, result),
    }
}

/// A result of the SDK as Python's.
pub(crate) fn said<T: Default>(py: Python<'_>, result: Result<T, Error>) -> PyResult<T> {
    match result {
        Ok(value) => Ok(value),
        Err(e) if e.kind() == ErrorKind::Closed && has_ended() => Ok(T::default()),
        Err(e) => Err(error::to_py(py, &e)),
    }
}

/// Whether the exit hook of this process has run.
pub(crate) fn has_ended() -> bool {
    ENDED.load(SeqCst) == std::process::id()
}

/// Publishes `stopping` for every agent of this process, removes their signals, and lets no further
/// call begin.
#[pyfunction]
pub(crate) fn end(py: Python<'_>, reason: &str) {
    ENDED.store(std::process::id(), SeqCst);
    py.detach(|| {
        close_all(reason);
        let mut waited = Duration::ZERO;
        while under_way(UNDER_WAY.load(SeqCst)) > 0 && waited < PATIENCE {
            thread::sleep(POLL);
            waited += POLL;
        }
        log::end();
    });
}

/// A call that is under way while this lives.
struct UnderWay;

impl UnderWay {
    fn begin() -> Self {
        change(|calls| calls + 1);
        Self
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        change(|calls| calls.saturating_sub(1));
    }
}

fn change(to: impl Fn(u64) -> u64) {
    let own = u64::from(std::process::id()) << 32;
    let changed = |word: u64| Some(own | to(under_way(word)));
    // Never an error: the closure always has an answer.
    let _ = UNDER_WAY.fetch_update(SeqCst, SeqCst, changed);
}

/// The calls of this process in such a word.
fn under_way(word: u64) -> u64 {
    if word >> 32 == u64::from(std::process::id()) {
        word & u64::from(u32::MAX)
    } else {
        0
    }
}
