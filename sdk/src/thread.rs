//! Calls that may block for longer than anybody wants to wait: name resolution, files on somebody
//! else's disk, `/proc` of a process in trouble.
//!
//! Each has a thread of its own and is abandoned at the deadline: the process ends without it.

use std::cell::RefCell;
use std::sync::Arc;
use std::thread;

use tokio::sync::oneshot;

/// glibc's resolver keeps buffers of 64 KiB on its stack.
const STACK_BYTES: usize = 512 * 1024;

type IsAbandoned = Arc<dyn Fn() -> bool + Send + Sync>;

thread_local! {
    static ABANDONED: RefCell<Option<IsAbandoned>> = const { RefCell::new(None) };
}

/// Tells whether the calling thread's runtime is abandoned: then what ends on another thread must
/// not wake it, which writes to a descriptor that belongs to somebody else by now.
#[cfg(feature = "agent")]
pub(crate) fn abandoned_if(question: impl Fn() -> bool + Send + Sync + 'static) {
    ABANDONED.set(Some(Arc::new(question)));
}

/// Runs `work` on a thread of its own.
///
/// # Errors
/// Why there is no such thread, or that it panicked.
pub async fn run<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let (answer, answered) = oneshot::channel();
    let abandoned = ABANDONED.with_borrow(Clone::clone);
    thread::Builder::new()
        .stack_size(STACK_BYTES)
        .spawn(move || {
            let done = work();
            if abandoned.is_some_and(|abandoned| abandoned()) {
                // Dropping it would wake it, too.
                std::mem::forget(answer);
            } else {
                // Nobody listens after the deadline.
                let _ = answer.send(done);
            }
        })
        .map_err(|e| format!("no thread available: {e}"))?;
    answered.await.map_err(|_| "the thread died".to_owned())
}
