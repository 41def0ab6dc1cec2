//! The only background task: one thread a process, on a runtime of its own, so that a stuck
//! application runtime can't stop it and it can't disturb the application.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use crate::agent::{Gap, backoff_ms};
use crate::freshness::Span;
use crate::registry::Process;
use crate::{Error, ErrorKind, Result, clock};

/// Being woken later than this is not the timer, it is a gap: this process did not run.
const GAP_MS: u64 = 25;
/// A gap that is worth a line in the log: a busy host makes shorter ones all the time.
const LONG_GAP_MS: u64 = 1_000;
/// How long the thread sleeps when there is nothing to wait for; it is woken for what comes.
const IDLE_MS: u64 = 3_600_000;
/// After beating for so long, a panic counts as the first one.
const SOUND_MS: u64 = 10_000;

/// The heartbeat of one process.
#[derive(Debug, Default)]
pub(crate) struct Heartbeat {
    running: Mutex<bool>,
    alarm: Arc<Alarm>,
}

/// Wakes the thread before it would wake by itself.
#[derive(Debug)]
struct Alarm {
    /// When the thread was first called since it last woke; [`NEVER_MS`] if it was not.
    called_ms: AtomicU64,
    notify: Notify,
}

const NEVER_MS: u64 = u64::MAX;

impl Heartbeat {
    /// Starts the thread, once.
    pub(crate) fn start(&self, process: &Arc<Process>) -> Result<()> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if *running {
            return Ok(());
        }
        let alarm = Arc::clone(&self.alarm);
        let process = Arc::downgrade(process);
        thread::Builder::new()
            .name("ready-probe".to_owned())
            .spawn(move || beat_on(&process, &alarm))
            .map_err(|e| {
                Error::new(
                    ErrorKind::Thread,
                    format!(
                        "the heartbeat thread can't be started: {e}; raise the limit of processes \
                         (ulimit -u, pids cgroup)"
                    ),
                )
            })?;
        *running = true;
        Ok(())
    }

    /// Has the thread look at its agents now.
    pub(crate) fn wake(&self) {
        self.alarm.call(clock::mono_ms());
    }
}

impl Default for Alarm {
    fn default() -> Self {
        Self {
            called_ms: AtomicU64::new(NEVER_MS),
            notify: Notify::new(),
        }
    }
}

impl Alarm {
    fn call(&self, now_ms: u64) {
        self.called_ms.fetch_min(now_ms, Ordering::AcqRel);
        self.notify.notify_one();
    }

    /// When the thread was to be awake: as it had planned, or as it was called.
    fn answer(&self, planned_ms: u64) -> u64 {
        planned_ms.min(self.called_ms.swap(NEVER_MS, Ordering::AcqRel))
    }
}

/// Beats for as long as the process's table lives. A panic is said, and beating goes on.
fn beat_on(process: &Weak<Process>, alarm: &Alarm) {
    let mut failures = 0;
    while process.strong_count() > 0 {
        let begun_ms = clock::mono_ms();
        let round = catch_unwind(AssertUnwindSafe(|| {
            tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .map(|runtime| runtime.block_on(beat(process, alarm)))
        }));
        let why = match round {
            Ok(Ok(())) => return,
            Ok(Err(e)) => format!("no runtime: {e}"),
            Err(_) => "it panicked".to_owned(),
        };
        // The logger itself may be what panics.
        let _ = catch_unwind(|| tracing::error!("heartbeat restarted: {why}"));
        if clock::mono_ms().saturating_sub(begun_ms) > SOUND_MS {
            failures = 0;
        }
        thread::sleep(Duration::from_millis(backoff_ms(failures)));
        failures = failures.saturating_add(1);
    }
}

async fn beat(process: &Weak<Process>, alarm: &Alarm) {
    let mut planned_ms = NEVER_MS;
    loop {
        let Some(process) = process.upgrade() else {
            return;
        };
        let due_ms = alarm.answer(planned_ms);
        let gap = gap(due_ms, clock::mono_ms());
        let next_ms = process
            .agents()
            .iter()
            .map(|agent| agent.attend(clock::mono_ms(), gap))
            .min()
            .unwrap_or(u64::MAX);
        drop(process);
        if let Some(gap) = gap {
            say(gap);
        }
        // What the round itself took is not a gap: only this thread was held up, by a slow disk
        // say, and the agents were not.
        let now_ms = clock::mono_ms();
        planned_ms = next_ms.clamp(now_ms, now_ms + IDLE_MS);
        tokio::select! {
            () = sleep(Duration::from_millis(planned_ms - now_ms)) => {}
            () = alarm.notify.notified() => {}
        }
    }
}

/// The time this thread overslept is time in which no agent could have made progress either.
fn gap(due_ms: u64, now_ms: u64) -> Option<Gap> {
    (now_ms.saturating_sub(due_ms) > GAP_MS).then_some(Gap {
        from_ms: due_ms,
        to_ms: now_ms,
    })
}

fn say(gap: Gap) {
    let lasted_ms = gap.to_ms - gap.from_ms;
    if lasted_ms > LONG_GAP_MS {
        tracing::info!("this process did not run for {}", Span(lasted_ms));
    }
}
