//! The only background task: one thread a process, on a runtime of its own, so that a stuck
//! application runtime can't stop it and it can't disturb the application.
//!
//! A daemonizer closes every descriptor of its process, those of the runtime among them, and their
//! numbers go to the application's own files. [`Life`] finds that out. A runtime that has lost its
//! descriptors can't even be dropped: tokio panics when it polls them, and unwinding closes their
//! numbers. So its thread is left asleep for ever, with everything on its stack, and another one
//! takes its place.

mod lost_descriptors;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::sleep;

use crate::announce::Announcer;
use crate::backoff::backoff_ms;
use crate::connect::place::Place;
use crate::freshness::Span;
use crate::publisher::Publisher;
use crate::signal::Name;
use crate::store::predecessor::Successor;
use crate::watchdog::Gap;
use crate::{Error, ErrorKind, Result, clock};
use lost_descriptors::Life;

/// A thread that is woken later than this was not held up by the timer: this process did not run.
const GAP_MS: u64 = 25;
/// A gap that is worth a line in the log: a busy host makes shorter ones all the time.
const LONG_GAP_MS: u64 = 1_000;
/// How long the thread sleeps with nothing to wait for; whatever comes wakes it.
const IDLE_MS: u64 = 3_600_000;
/// After beating for so long, a panic counts as the first one.
const SOUND_MS: u64 = 10_000;

/// The heartbeat of one process, and what it keeps alive.
#[derive(Debug, Default)]
pub(crate) struct Heartbeat {
    agents: Mutex<BTreeMap<Name, Weak<Publisher>>>,
    announcers: Mutex<Vec<Arc<Announcer>>>,
    /// Of its thread, once there is one.
    life: Mutex<Option<Arc<Life>>>,
}

impl Heartbeat {
    /// Starts the thread, once.
    pub(crate) fn start(&'static self) -> Result<()> {
        let mut life = lock(&self.life);
        if life.is_none() {
            *life = Some(start_thread(self, false)?);
        }
        Ok(())
    }

    /// Beats for an agent from now on, until it leaves.
    pub(crate) fn join(&self, agent: &Arc<Publisher>) {
        let before = lock(&self.agents).insert(agent.name.clone(), Arc::downgrade(agent));
        // A failed predecessor goes with its last word, but a pass may be at it right now.
        if let Some(before) = before.as_ref().and_then(Weak::upgrade) {
            before.cede();
        }
    }

    pub(crate) fn leave(&self, name: &Name) {
        lock(&self.agents).remove(name);
    }

    /// The agents that beat.
    fn agents(&self) -> Vec<Arc<Publisher>> {
        lock(&self.agents)
            .values()
            .filter_map(Weak::upgrade)
            .collect()
    }

    /// The announcer of a store: one for all agents of the process.
    pub(crate) fn announcer(
        &self,
        place: Place,
        successor: impl FnOnce() -> Successor,
    ) -> Arc<Announcer> {
        let mut announcers = lock(&self.announcers);
        let known = announcers.iter().find(|a| *a.place() == place);
        if let Some(known) = known {
            return Arc::clone(known);
        }
        let fresh = Arc::new(Announcer::new(place, successor()));
        announcers.push(Arc::clone(&fresh));
        fresh
    }

    pub(crate) fn announcers(&self) -> Vec<Arc<Announcer>> {
        lock(&self.announcers).clone()
    }

    /// Has the thread look at its agents now.
    pub(crate) fn wake(&'static self) {
        let Some(life) = lock(&self.life).clone() else {
            return;
        };
        if life.has_lost_descriptors() {
            // If there can be no thread, the old one goes on trying as soon as it wakes.
            let _ = self.succeed(&life);
        } else {
            life.wake.notify_one();
        }
    }

    /// Starts the thread that takes the place of one that has lost its descriptors, once.
    fn succeed(&'static self, lost: &Arc<Life>) -> Result<()> {
        let mut life = lock(&self.life);
        if life.as_ref().is_some_and(|life| Arc::ptr_eq(life, lost)) {
            *life = Some(start_thread(self, true)?);
        }
        Ok(())
    }

    /// Announcers whose runtime is gone have ended.
    fn abandon_announcing(&self) {
        for announcer in self.announcers() {
            announcer.abandon();
        }
    }
}

/// A panic elsewhere leaves what is locked as it was: every change to it stands by itself.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start_thread(heartbeat: &'static Heartbeat, succeeds: bool) -> Result<Arc<Life>> {
    let life = Arc::new(Life::new(succeeds));
    let own = Arc::clone(&life);
    thread::Builder::new()
        .name("ready-probe".to_owned())
        .spawn(move || {
            if succeeds {
                heartbeat.abandon_announcing();
                log(|| {
                    tracing::warn!(
                        "this process has closed the heartbeat's descriptors; the heartbeat goes on \
                         with new ones"
                    );
                });
            }
            beat_on(heartbeat, &own);
        })
        .map_err(|e| {
            Error::new(
                ErrorKind::Thread,
                format!(
                    "the heartbeat thread can't be started: {e}; raise the limit of processes \
                     (ulimit -u, pids cgroup)"
                ),
            )
        })?;
    Ok(life)
}

/// Why a round of the heartbeat ends.
enum End {
    /// There is something to announce, and the runtime has no I/O.
    NeedsIo,
    /// A runtime with I/O can't be had.
    NoIo(String),
    Failed(String),
}

/// Whether a round can announce.
#[derive(Clone, Copy)]
enum IoDriver {
    Has,
    /// Not before this time: until then there is nothing to announce, or no I/O to be had.
    From(u64),
}

/// Beats for as long as the process lives. A panic is logged, and beating goes on.
fn beat_on(heartbeat: &'static Heartbeat, life: &Arc<Life>) {
    THREAD.set(Some((heartbeat, Arc::clone(life))));
    let own = Arc::clone(life);
    crate::thread::abandoned_if(move || own.has_lost_descriptors());
    let (mut failures, mut io_failures) = (0, 0);
    let mut io = IoDriver::From(0);
    loop {
        let begun_ms = clock::mono_ms();
        let why = match round(heartbeat, life, io) {
            End::NeedsIo => {
                io = IoDriver::Has;
                continue;
            }
            End::NoIo(why) => {
                if io_failures == 0 {
                    log(|| {
                        tracing::error!(
                            "nothing can be announced, but the heartbeat goes on: {why}"
                        );
                    });
                }
                io = IoDriver::From(begun_ms + backoff_ms(io_failures));
                io_failures = io_failures.saturating_add(1);
                continue;
            }
            End::Failed(why) => why,
        };
        io_failures = 0;
        heartbeat.abandon_announcing();
        log(|| tracing::error!("heartbeat restarted: {why}"));
        if clock::mono_ms().saturating_sub(begun_ms) > SOUND_MS {
            failures = 0;
        }
        thread::sleep(Duration::from_millis(backoff_ms(failures)));
        failures = failures.saturating_add(1);
    }
}

/// Beats on a runtime of its own, which a panic ends.
fn round(heartbeat: &'static Heartbeat, life: &Arc<Life>, io: IoDriver) -> End {
    let built = match io {
        IoDriver::Has => runtime_with_io(heartbeat, life).map_err(End::NoIo),
        // Without I/O it has no descriptors.
        IoDriver::From(_) => (Builder::new_current_thread().enable_time().build())
            .map_err(|e| End::Failed(format!("its runtime can't be started: {e}"))),
    };
    let runtime = match built {
        Ok(runtime) => runtime,
        Err(end) => return end,
    };
    let tasks = LocalSet::new();
    // A panic drops what block_on is given.
    let mut beats = Box::pin(beat(heartbeat, life, io));
    let end = catch_unwind(AssertUnwindSafe(|| {
        tasks.block_on(&runtime, beats.as_mut())
    }));
    look_after(heartbeat, life);
    // A runtime that has panicked may do so again.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        drop(beats);
        drop(tasks);
        // Not waiting for names that are being resolved.
        runtime.shutdown_background();
    }));
    end.unwrap_or_else(|_| End::Failed("it panicked".to_owned()))
}

fn runtime_with_io(heartbeat: &'static Heartbeat, life: &Arc<Life>) -> Result<Runtime, String> {
    if life.succeeds && TOKIO_HAS_A_SIGNAL_PIPE {
        return Err(
            "the process has closed the pipe in which tokio hears signals, and tokio makes no other; \
             close descriptors before the first agent, or build tokio without its features signal \
             and process"
                .to_owned(),
        );
    }
    let mut builder = Builder::new_current_thread();
    let own = Arc::clone(life);
    let look = move || look_after(heartbeat, &own);
    // Before it polls a descriptor that may be the application's, and before it reads, writes or
    // closes one.
    builder.on_thread_park(look.clone()).on_thread_unpark(look);
    hook_panics();
    // Tokio panics if it can't have that pipe.
    catch_unwind(AssertUnwindSafe(|| {
        life.with_descriptors(|| builder.enable_all().build())
    }))
    .map_err(|_| "tokio panicked".to_owned())?
    .map_err(|e| e.to_string())
}

/// Tokio hears signals in a pipe that is there once in a process: with one of the features `signal`
/// and `process` each runtime with I/O reads it, under whatever number it had. Another crate may have
/// asked for them, and only tokio's names tell: these here count where it has none.
const TOKIO_HAS_A_SIGNAL_PIPE: bool = {
    mod signal {
        pub mod unix {
            pub struct SignalKind;
        }
    }
    mod process {
        pub struct Command;
    }
    {
        #[allow(clippy::wildcard_imports, unused_imports)]
        use tokio::*;
        size_of::<signal::unix::SignalKind>() + size_of::<process::Command>() > 0
    }
};

thread_local! {
    /// What the panic hook has to know of the thread that panics.
    static THREAD: RefCell<Option<(&'static Heartbeat, Arc<Life>)>> = const { RefCell::new(None) };
}

/// Keeps tokio's driver from unwinding, or from ending a process whose panics abort, when it finds
/// its descriptors gone: it owns them in the function that panics, where only a hook comes first.
/// Every other panic goes to the hook that was there before.
fn hook_panics() {
    static IS_HOOKED: AtomicBool = AtomicBool::new(false);
    if IS_HOOKED.swap(true, SeqCst) {
        return;
    }
    let previous = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        // Neither while the thread ends, nor in the middle of a change.
        let _ = THREAD.try_with(|thread| {
            if let Ok(Some((heartbeat, life))) = thread.try_borrow().as_deref() {
                look_after(heartbeat, life);
            }
        });
        previous(info);
    }));
}

/// Looks before each step of a task, too: tokio writes to a descriptor of its own at each timer.
async fn watched<T>(
    heartbeat: &'static Heartbeat,
    life: Arc<Life>,
    task: impl Future<Output = T>,
) -> T {
    let mut task = pin!(task);
    poll_fn(|context| {
        look_after(heartbeat, &life);
        task.as_mut().poll(context)
    })
    .await
}

/// Does not return once the process has closed this thread's descriptors.
fn look_after(heartbeat: &'static Heartbeat, life: &Arc<Life>) {
    if life.has_lost_descriptors() {
        leave_behind(heartbeat, life);
    }
}

/// Leaves this thread asleep for ever, and everything on its stack as it is.
fn leave_behind(heartbeat: &'static Heartbeat, life: &Arc<Life>) -> ! {
    let mut failures = 0;
    while let Err(e) = heartbeat.succeed(life) {
        // A panic of the logger's within a panic would end the process.
        if failures == 0 && !thread::panicking() {
            log(|| tracing::error!("{e}"));
        }
        thread::sleep(Duration::from_millis(backoff_ms(failures)));
        failures = failures.saturating_add(1);
    }
    loop {
        thread::park();
    }
}

/// The logger itself may be what panics.
fn log(line: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(line));
}

async fn beat(heartbeat: &'static Heartbeat, life: &Arc<Life>, io: IoDriver) -> End {
    let mut due_ms = u64::MAX;
    let mut announcing = JoinSet::new();
    loop {
        // One instant for the whole round: its delay and its duration are known only afterwards,
        // and no agent may be judged by them before they are forgiven.
        let now_ms = clock::mono_ms();
        let gap = gap(due_ms, now_ms);
        let agents = heartbeat.agents();
        let next_ms = agents.iter().map(|agent| agent.attend(now_ms, gap)).min();
        for announcer in heartbeat.announcers() {
            if let IoDriver::From(from_ms) = io {
                if !announcer.is_idle() && now_ms >= from_ms {
                    return End::NeedsIo;
                }
            } else if announcer.start() {
                let own = Arc::clone(life);
                // Agents hear of it in their next pass.
                let answered = move || {
                    look_after(heartbeat, &own);
                    own.wake.notify_one();
                };
                let task = announcer.run(answered);
                announcing.spawn_local(watched(heartbeat, Arc::clone(life), task));
            }
        }
        drop(agents);
        if let Some(gap) = gap {
            say(gap);
        }
        // A round that was held up may have been paused: the next one begins at once, and is late
        // by what this one took.
        let done_ms = clock::mono_ms();
        if done_ms - now_ms > GAP_MS {
            due_ms = now_ms;
            // With very many agents every round takes so long, and announcing needs a turn, too.
            tokio::task::yield_now().await;
            continue;
        }
        due_ms = next_ms.map_or(u64::MAX, |next_ms| next_ms.max(done_ms));
        let pause_ms = due_ms.saturating_sub(done_ms).min(IDLE_MS);
        look_after(heartbeat, life);
        tokio::select! {
            () = sleep(Duration::from_millis(pause_ms)) => {}
            () = life.wake.notified() => {}
            Some(ended) = announcing.join_next() => {
                if ended.is_err() {
                    tracing::error!("announcing restarted: it panicked");
                }
                due_ms = u64::MAX;
            }
        }
    }
}

/// While this thread was late, no agent could have made progress either.
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
