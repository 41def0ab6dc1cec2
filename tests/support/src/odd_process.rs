//! Processes that /proc shows in a way that is easily taken for another.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::process::{Guard, wait_until};

/// A process whose main thread has ended while another one works on, with a word of the caller's on its command line.
///
/// # Panics
/// When it does not come so far.
#[must_use]
#[track_caller]
pub fn without_main_thread(word: &str) -> Guard {
    // SYS_exit ends the calling thread alone, see exit(2).
    let program = format!(
        "import ctypes, threading, time\n\
         threading.Thread(target=lambda: time.sleep(1000)).start()\n\
         ctypes.CDLL(None).syscall(60, 0)  # {word}"
    );
    let worker = Guard::spawn(Command::new("python3").args(["-c", &program]));
    wait_until(Duration::from_secs(10), "its main thread to end", || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", worker.pid())).ok()?;
        let (_, rest) = stat.rsplit_once(')')?;
        rest.trim_start().starts_with('Z').then_some(())
    });
    worker
}
