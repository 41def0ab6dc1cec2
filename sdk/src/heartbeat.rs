//! The only background task: one thread a process, on a runtime of its own, so that a stuck
//! application runtime can't stop it and it can't disturb the application.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use crate::freshness::Span;
use crate::registry::Process;
use crate::{Error, ErrorKind, Result, clock};

/// Being later than this is not scheduling, it is a gap: the process was paused, or the host.
const GAP_MS: u64 = 250;
/// How long the thread sleeps when there is nothing to wait for; it is woken for what comes.
const IDLE_MS: u64 = 3_600_000;

/// The heartbeat of one process.
#[derive(Debug, Default)]
pub(crate) struct Heartbeat {
    running: Mutex<bool>,
    wake: Arc<Notify>,
}

impl Heartbeat {
    /// Starts the thread, once.
    pub(crate) fn start(&self, process: &Arc<Process>) -> Result<()> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if *running {
            return Ok(());
        }
        let wake = Arc::clone(&self.wake);
        let process = Arc::downgrade(process);
        thread::Builder::new()
            .name("ready-probe".to_owned())
            .spawn(move || beat_on(&process, &wake))
            .map_err(|e| {
                Error::new(
                    ErrorKind::Thread,
                    format!(
                        "the heartbeat thread can't be started: {e}; raise the limit of processes"
                    ),
                )
            })?;
        *running = true;
        Ok(())
    }

    /// Has the thread look at its agents now.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }
}

/// Beats for as long as the process's table lives. A panic is said, and beating goes on.
fn beat_on(process: &Weak<Process>, wake: &Notify) {
    let mut failures = 0;
    while process.strong_count() > 0 {
        let round = catch_unwind(AssertUnwindSafe(|| {
            tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .map(|runtime| runtime.block_on(beat(process, wake)))
        }));
        let why = match round {
            Ok(Ok(())) => return,
            Ok(Err(e)) => format!("no runtime: {e}"),
            Err(_) => "it panicked".to_owned(),
        };
        // The logger itself may be what panics.
        let _ = catch_unwind(|| tracing::error!("heartbeat restarted: {why}"));
        thread::sleep(Duration::from_millis(crate::agent::backoff_ms(failures)));
        failures = failures.saturating_add(1);
    }
}

async fn beat(process: &Weak<Process>, wake: &Notify) {
    let mut planned_ms = None;
    loop {
        let Some(process) = process.upgrade() else {
            return;
        };
        let now_ms = clock::mono_ms();
        forgive_gap(&process, planned_ms, now_ms);
        let next_ms = process
            .agents()
            .iter()
            .map(|agent| agent.attend(clock::mono_ms()))
            .min()
            .unwrap_or(u64::MAX)
            .min(now_ms + IDLE_MS);
        drop(process);
        planned_ms = Some(next_ms);
        let pause = Duration::from_millis(next_ms.saturating_sub(clock::mono_ms()));
        tokio::select! {
            () = sleep(pause) => {}
            () = wake.notified() => {}
        }
    }
}

/// The time this thread overslept is time in which no agent could have made progress either.
fn forgive_gap(process: &Process, planned_ms: Option<u64>, now_ms: u64) {
    let late_ms = planned_ms.map_or(0, |planned_ms| now_ms.saturating_sub(planned_ms));
    if late_ms > GAP_MS {
        process.forgive(late_ms);
        tracing::info!("this process did not run for {}", Span(late_ms));
    }
}
