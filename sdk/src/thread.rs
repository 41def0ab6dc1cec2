//! Calls that may block for longer than anybody wants to wait: name resolution, files on somebody
//! else's disk, `/proc` of a process in trouble.
//!
//! Each has a thread of its own and is abandoned at the deadline: the process ends without it.

use std::thread;

use tokio::sync::oneshot;

/// glibc's resolver keeps buffers of 64 KiB on its stack.
const STACK_BYTES: usize = 512 * 1024;

/// Runs `work` on a thread of its own.
///
/// # Errors
/// Why there is no such thread, or that it panicked.
pub async fn run<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let (answer, answered) = oneshot::channel();
    thread::Builder::new()
        .stack_size(STACK_BYTES)
        .spawn(move || {
            // Nobody listens after the deadline.
            let _ = answer.send(work());
        })
        .map_err(|e| format!("no thread to be had: {e}"))?;
    answered.await.map_err(|_| "the thread died".to_owned())
}
