//! The only background task: one thread a process, on a runtime of its own, so that a stuck
//! application runtime can't stop it and it can't disturb the application.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{JoinSet, LocalSet};
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
        self.wake.notify_one();
    }
}

/// Beats for as long as the process's table lives. A panic is said, and beating goes on.
fn beat_on(process: &Weak<Process>, wake: &Notify) {
    let mut failures = 0;
    while process.strong_count() > 0 {
        let begun_ms = clock::mono_ms();
        let round = catch_unwind(AssertUnwindSafe(|| {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map(|runtime| LocalSet::new().block_on(&runtime, beat(process, wake)))
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

async fn beat(process: &Weak<Process>, wake: &Notify) {
    let mut due_ms = u64::MAX;
    let mut announcing = JoinSet::new();
    loop {
        let Some(process) = process.upgrade() else {
            return;
        };
        // One moment for the whole round: what it is late by, and what it takes, is known only
        // afterwards, and no agent may be judged by it before it is forgiven.
        let now_ms = clock::mono_ms();
        let gap = gap(due_ms, now_ms);
        let agents = process.agents();
        let next_ms = agents.iter().map(|agent| agent.attend(now_ms, gap)).min();
        for announcer in process.announcers() {
            if announcer.start() {
                announcing.spawn_local(announcer.run());
            }
        }
        drop(agents);
        drop(process);
        if let Some(gap) = gap {
            say(gap);
        }
        // A round that was held up may have been paused: the next one begins at once, and is late
        // by what this one took.
        let done_ms = clock::mono_ms();
        if done_ms - now_ms > GAP_MS {
            due_ms = now_ms;
            // With very many agents every round takes so long, and they are to be announced, too.
            tokio::task::yield_now().await;
            continue;
        }
        due_ms = next_ms.map_or(u64::MAX, |next_ms| next_ms.max(done_ms));
        let pause_ms = due_ms.saturating_sub(done_ms).min(IDLE_MS);
        tokio::select! {
            () = sleep(Duration::from_millis(pause_ms)) => {}
            () = wake.notified() => {}
            Some(ended) = announcing.join_next() => {
                if ended.is_err() {
                    tracing::error!("announcing restarted: it panicked");
                }
                due_ms = u64::MAX;
            }
        }
    }
}

/// The time by which this thread is late is time in which no agent could have made progress either.
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
