//! The deadline itself: ends the process if something that it reads or writes blocks.
//!
//! Checks have time limits of their own, and are all over by the deadline. What is left are calls
//! that no event loop can give up: files on a hanging disk, `/proc` of a process in trouble, a
//! reader of our output that does not read. A thread waits for the deadline; if there can be none,
//! the process goes on without it.

use std::cell::OnceCell;
use std::io;
use std::process;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::Duration;

use ready_probe::settings::Format;
use ready_probe_sdk::clock;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long after the deadline the process is ended: the checks' own answers come first.
const SLACK_MS: u64 = 35;
/// Whoever wakes so much later than the deadline was stopped, and so was the main thread.
const STOOD_STILL_MS: u64 = 1_000;
const STACK_BYTES: usize = 64 * 1024;
/// What to say if nobody else says anything.
const REASON: &str = "no answer by the deadline: a file or folder this probe reads, or the reader \
                      of its output, is stuck";

/// Ends the process some time after its deadline.
#[derive(Debug)]
pub struct Deadline {
    watched: Arc<Watched>,
    watcher: OnceCell<Option<Thread>>,
}

#[derive(Debug)]
struct Watched {
    at_ms: AtomicU64,
    status: AtomicU8,
    decided: AtomicBool,
    format: OnceLock<Format>,
    /// How long it gets once more if the whole process has stood still beyond its deadline; 0 for none.
    resumed_ms: AtomicU64,
}

impl Deadline {
    /// Status 1 once `timeout` has passed from now, if anything blocks from [`Deadline::watch`] on.
    pub fn new(timeout: Duration) -> Self {
        Self {
            watched: Arc::new(Watched {
                at_ms: AtomicU64::new(in_future(timeout)),
                status: AtomicU8::new(1),
                decided: AtomicBool::new(false),
                format: OnceLock::new(),
                resumed_ms: AtomicU64::new(0),
            }),
            watcher: OnceCell::new(),
        }
    }

    /// To be called before anything that may block. Starts the thread that ends the process.
    pub fn watch(&self) {
        self.watcher.get_or_init(|| {
            let watched = Arc::clone(&self.watched);
            let watcher = thread::Builder::new()
                .stack_size(STACK_BYTES)
                .spawn(move || watched.end());
            watcher.ok().map(|handle| handle.thread().clone())
        });
    }

    /// The process ends once `timeout` has passed from now, instead of the time set before.
    pub fn reset(&self, timeout: Duration) {
        self.watched
            .at_ms
            .store(in_future(timeout), Ordering::Release);
        if let Some(Some(thread)) = self.watcher.get() {
            thread.unpark();
        }
    }

    /// If the process was stopped and goes on beyond its deadline, it has so long from then on: what it asked
    /// before that is no answer.
    pub fn resume_with(&self, timeout: Duration) {
        let timeout_ms = clock::millis(timeout);
        self.watched.resumed_ms.store(timeout_ms, Ordering::Release);
    }

    /// If anything is said, it is in this format; what was set first counts.
    pub fn speak(&self, format: Format) {
        let _ = self.watched.format.set(format);
    }

    /// The answer is known: the process ends with this status, however long it takes to say it.
    pub fn decide(&self, status: u8) {
        self.watched.status.store(status, Ordering::Release);
        self.watched.decided.store(true, Ordering::Release);
    }

    /// How long it is until the process is ended.
    pub fn left(&self) -> Duration {
        let at_ms = self.watched.at_ms.load(Ordering::Acquire);
        Duration::from_millis(at_ms.saturating_sub(clock::mono_ms()))
    }
}

impl Watched {
    fn end(&self) {
        loop {
            let at_ms = self.at_ms.load(Ordering::Acquire);
            let now_ms = clock::mono_ms();
            let left_ms = at_ms.saturating_sub(now_ms);
            if left_ms == 0 {
                let resumed_ms = self.resumed_ms.load(Ordering::Acquire);
                if resumed_ms == 0 || now_ms.saturating_sub(at_ms) < STOOD_STILL_MS {
                    break;
                }
                // Unless the main thread has set another one meanwhile.
                let again_ms = now_ms.saturating_add(resumed_ms);
                let (set, read) = (Ordering::AcqRel, Ordering::Acquire);
                let _ = self.at_ms.compare_exchange(at_ms, again_ms, set, read);
                continue;
            }
            thread::park_timeout(Duration::from_millis(left_ms));
        }
        if !self.decided.load(Ordering::Acquire) {
            self.say();
        }
        process::exit(i32::from(self.status.load(Ordering::Acquire)));
    }

    /// Says why, if stdout takes it at once.
    fn say(&self) {
        let line = match self.format.get() {
            Some(Format::Json) => format!(
                "{{\"verdict\":\"unhealthy\",\"reason\":\"{REASON}\",\"schema\":1,\"epoch\":\"\",\
                 \"elapsed_ms\":0,\"checks\":[]}}\n"
            ),
            // A comment: whoever reads metrics has none.
            Some(Format::Prometheus) => format!("# unhealthy: {REASON}\n"),
            Some(Format::Text) | None => format!("unhealthy: {REASON}\n"),
        };
        if is_heard_at_once() {
            // Nobody is left to be told when it fails.
            let _ = rustix::io::write(io::stdout(), line.as_bytes());
        }
    }
}

/// Whether the readers of our output take a report now. A pipe that takes anything takes up to
/// `PIPE_BUF` bytes without blocking, and no report is longer, see pipe(7).
fn is_heard_at_once() -> bool {
    let (stdout, stderr) = (io::stdout(), io::stderr());
    let mut outputs = [
        PollFd::new(&stdout, PollFlags::OUT),
        PollFd::new(&stderr, PollFlags::OUT),
    ];
    let at_once = Timespec::default();
    matches!(poll(&mut outputs, Some(&at_once)), Ok(2))
}

fn in_future(timeout: Duration) -> u64 {
    clock::mono_ms()
        .saturating_add(clock::millis(timeout))
        .saturating_add(SLACK_MS)
}
