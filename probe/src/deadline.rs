//! The deadline itself: ends the process when something that it reads or writes blocks.
//!
//! Checks have time limits of their own, and are all over by the deadline. What is left are calls
//! that no event loop can give up: files on a disk that hangs, `/proc` of a process in trouble, a
//! reader of our output that does not read. A thread waits for these; where none can be had, the
//! process goes on without it.

use std::io;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use ready_probe_sdk::clock;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long after the deadline the process is ended: the checks' own answers come first.
const SLACK_MS: u64 = 35;
const STACK_BYTES: usize = 64 * 1024;
/// What is said when nobody else says anything.
const REASON: &str = "no answer by the deadline: a file or folder this probe reads, or the reader \
                      of its output, is stuck";

/// Ends the process some time after its deadline.
#[derive(Debug)]
pub struct Deadline {
    shared: Arc<Shared>,
    thread: Option<Thread>,
}

#[derive(Debug)]
struct Shared {
    at_ms: AtomicU64,
    status: AtomicU8,
    decided: AtomicBool,
    json: AtomicBool,
}

impl Deadline {
    /// Ends the process with status 1 once `timeout` has passed from now.
    pub fn start(timeout: Duration) -> Self {
        let shared = Arc::new(Shared {
            at_ms: AtomicU64::new(in_future(timeout)),
            status: AtomicU8::new(1),
            decided: AtomicBool::new(false),
            json: AtomicBool::new(false),
        });
        let watched = Arc::clone(&shared);
        let watcher = thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn(move || watched.end());
        Self {
            shared,
            thread: watcher.ok().map(|handle| handle.thread().clone()),
        }
    }

    /// Ends it once `timeout` has passed from now, instead of when it was said before.
    pub fn reset(&self, timeout: Duration) {
        self.shared
            .at_ms
            .store(in_future(timeout), Ordering::Release);
        if let Some(thread) = &self.thread {
            thread.unpark();
        }
    }

    /// What is said, if anything, is to be JSON.
    pub fn speak_json(&self) {
        self.shared.json.store(true, Ordering::Release);
    }

    /// The answer is known: this is the status to end with, however long it takes to say it.
    pub fn decide(&self, status: u8) {
        self.shared.status.store(status, Ordering::Release);
        self.shared.decided.store(true, Ordering::Release);
    }
}

impl Shared {
    fn end(&self) {
        loop {
            let at_ms = self.at_ms.load(Ordering::Acquire);
            let left_ms = at_ms.saturating_sub(clock::mono_ms());
            if left_ms == 0 {
                break;
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
        let line = if self.json.load(Ordering::Acquire) {
            format!(
                "{{\"verdict\":\"unhealthy\",\"reason\":\"{REASON}\",\"schema\":1,\"epoch\":\"\",\
                 \"elapsed_ms\":0,\"checks\":[]}}\n"
            )
        } else {
            format!("unhealthy: {REASON}\n")
        };
        let stdout = io::stdout();
        let mut ready = [PollFd::new(&stdout, PollFlags::OUT)];
        let at_once = Timespec::default();
        if matches!(poll(&mut ready, Some(&at_once)), Ok(1)) {
            // Nobody is left to be told when it fails.
            let _ = rustix::io::write(&stdout, line.as_bytes());
        }
    }
}

fn in_future(timeout: Duration) -> u64 {
    let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    clock::mono_ms()
        .saturating_add(timeout_ms)
        .saturating_add(SLACK_MS)
}
