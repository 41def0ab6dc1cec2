//! What the SDK logs, on its way to Python's `logging`.
//!
//! The heartbeat may not wait for the GIL, which a busy program holds for long, and may not touch
//! an interpreter that ends. So it leaves its lines in a bounded queue, and a thread of Python's
//! takes them from there.

use std::collections::VecDeque;
use std::fmt::{Debug, Write};
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;
use ready_probe_sdk::per_process::PerProcess;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// The SDK says little; lines beyond this are counted and dropped.
const MAX_LINES: usize = 256;

/// A forked child's own: the parent's may be locked for ever.
static QUEUE: PerProcess<Queue> = PerProcess::new();

/// Level as Python counts it, text, and the agent that it is about.
type Line = (u8, String, Option<String>);

#[derive(Default)]
struct Queue {
    state: Mutex<Lines>,
    came: Condvar,
}

#[derive(Default)]
struct Lines {
    lines: VecDeque<Line>,
    dropped: u64,
    ended: bool,
    /// There is something else to see to.
    woken: bool,
}

/// Makes the SDK log here from now on. Importing the module again changes nothing.
pub(crate) fn collect() {
    let _ = tracing::subscriber::set_global_default(Collector);
}

/// No further line is accepted, and [`next_logs`] returns.
pub(crate) fn end() {
    let queue = current();
    queue.lock().ended = true;
    queue.came.notify_all();
}

/// Makes [`next_logs`] return with what there is.
#[pyfunction]
pub(crate) fn wake_logs(py: Python<'_>) {
    py.detach(|| {
        let queue = current();
        queue.lock().woken = true;
        queue.came.notify_all();
    });
}

/// The lines that have come or, within `wait` seconds, the next ones. `None`: there will be no more.
#[pyfunction]
pub(crate) fn next_logs(py: Python<'_>, wait: f64) -> Option<Vec<Line>> {
    let wait = Duration::try_from_secs_f64(wait).unwrap_or_default();
    py.detach(|| {
        let queue = current();
        let mut state = queue.lock();
        if !wait.is_zero() {
            let is_idle =
                |state: &mut Lines| state.lines.is_empty() && !state.ended && !state.woken;
            (state, _) = (queue.came)
                .wait_timeout_while(state, wait, is_idle)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.woken = false;
        let mut lines: Vec<Line> = mem::take(&mut state.lines).into();
        let dropped = mem::take(&mut state.dropped);
        if dropped > 0 {
            lines.push((30, format!("{dropped} lines of the log were dropped"), None));
        }
        (!state.ended || !lines.is_empty()).then_some(lines)
    })
}

fn current() -> &'static Queue {
    QUEUE.get(|_| Queue::default())
}

impl Queue {
    fn push(&self, line: Line) {
        let mut state = self.lock();
        if state.ended {
            return;
        }
        if state.lines.len() < MAX_LINES {
            state.lines.push_back(line);
        } else {
            state.dropped += 1;
        }
        drop(state);
        self.came.notify_all();
    }

    /// A panic elsewhere leaves the lines as they were.
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the events of the SDK, and nothing of the libraries below it.
struct Collector;

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target().starts_with("ready_probe")
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let level = match *event.metadata().level() {
            Level::ERROR => 40,
            Level::WARN => 30,
            Level::INFO => 20,
            Level::DEBUG => 10,
            Level::TRACE => 5,
        };
        let about = text.agent.as_ref();
        let about = about.map_or(String::new(), |agent| format!("agent {agent}: "));
        let line = format!("{about}{}{}", text.message, text.fields);
        current().push((level, line, text.agent));
    }

    // The SDK has no spans.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// The fields of one event.
#[derive(Default)]
struct Text {
    message: String,
    agent: Option<String>,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            "agent" => self.agent = Some(format!("{value:?}")),
            // Writing to a string does not fail.
            name => drop(write!(self.fields, " {name}={value:?}")),
        }
    }
}
