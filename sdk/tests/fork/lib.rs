//! Calls that change the process itself, for tests. A package of its own, since the SDK forbids
//! unsafe code and these calls are nothing else.
#![allow(
    clippy::disallowed_methods,
    reason = "a deadline of a test decides nothing"
)]

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

/// A forked process that does something, and says how it went.
#[derive(Debug)]
pub struct Child {
    pid: libc::pid_t,
    answer: PipeReader,
}

/// Forks a process that runs `work` and ends without running anything else.
///
/// # Panics
/// When no process can be made.
#[must_use]
pub fn fork(work: impl FnOnce() -> String) -> Child {
    let (answer, mut writer) = io::pipe().expect("a pipe");
    // SAFETY: the child runs `work`, which is what the test is about, and ends in _exit: neither
    // the parent's threads nor its destructors and exit handlers are needed there.
    match unsafe { libc::fork() } {
        -1 => panic!("fork: {}", io::Error::last_os_error()),
        0 => {
            let said = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| "panicked".into());
            let _ = writer.write_all(said.as_bytes());
            // SAFETY: _exit is always safe to call; it runs nothing.
            unsafe { libc::_exit(0) }
        }
        pid => Child { pid, answer },
    }
}

impl Child {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.cast_unsigned()
    }

    /// Waits for its end, and returns what it said.
    ///
    /// # Panics
    /// When it has not ended within `limit`; then it is killed.
    #[must_use]
    pub fn answer(mut self, limit: Duration) -> String {
        let deadline = Instant::now() + limit;
        loop {
            let mut status = 0;
            // SAFETY: `status` outlives the call, and the child is ours and not yet reaped.
            if unsafe { libc::waitpid(self.pid, &raw mut status, libc::WNOHANG) } == self.pid {
                break;
            }
            if Instant::now() > deadline {
                // SAFETY: as above: the id can't belong to another process before it is reaped.
                unsafe {
                    libc::kill(self.pid, libc::SIGKILL);
                    libc::waitpid(self.pid, &raw mut status, 0);
                }
                panic!("the child hangs");
            }
            thread::sleep(Duration::from_millis(1));
        }
        let mut said = String::new();
        self.answer.read_to_string(&mut said).expect("its answer");
        said
    }
}

/// Gives up root for good, in all threads of the calling process.
///
/// # Panics
/// When the process is not root.
pub fn become_user(user: u32) {
    // SAFETY: setresuid takes numbers only.
    let done = unsafe { libc::setresuid(user, user, user) };
    assert_eq!(
        done,
        0,
        "this test needs root (sudo -E cargo test): {}",
        io::Error::last_os_error()
    );
}

/// A pipe of the application's that holds one byte.
#[derive(Debug)]
pub struct Pipe {
    reader: PipeReader,
    writer: PipeWriter,
}

/// Closes every descriptor above 2, as a daemonizer does. Returns the highest that was open.
///
/// # Panics
/// When `/proc` can't be read.
pub fn close_descriptors() -> RawFd {
    let entries = std::fs::read_dir("/proc/self/fd").expect("/proc");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let numbers = names.filter_map(|name| name.to_str()?.parse::<RawFd>().ok());
    let last = numbers.max().expect("a descriptor");
    for number in 3..=last {
        // SAFETY: close takes a number only. That others own what it closes is what the test is
        // about.
        unsafe { libc::close(number) };
    }
    last
}

/// Closes them, and opens pipes under the same numbers.
///
/// # Panics
/// When `/proc` can't be read or a pipe can't be made.
#[must_use]
pub fn replace_descriptors() -> Vec<Pipe> {
    let last = close_descriptors();
    let mut pipes = Vec::new();
    loop {
        let (reader, writer) = io::pipe().expect("a pipe");
        // SAFETY: fcntl takes numbers only, and the descriptor is open.
        unsafe { libc::fcntl(reader.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
        let is_last = reader.as_raw_fd() > last;
        let mut pipe = Pipe { reader, writer };
        pipe.fill();
        pipes.push(pipe);
        if is_last {
            return pipes;
        }
    }
}

impl Pipe {
    fn fill(&mut self) {
        self.writer.write_all(b"x").expect("the pipe is open");
    }

    /// What has become of it, if it does not hold its one byte any more.
    ///
    /// # Panics
    /// When it can't be filled again.
    pub fn look(&mut self) -> Option<String> {
        let mut held = [0; 256];
        match self.reader.read(&mut held) {
            Ok(1) if held[0] == b'x' => {
                self.fill();
                None
            }
            Ok(count) => Some(format!("{self:?} held {:?}", &held[..count])),
            Err(e) => Some(format!("{self:?}: {e}")),
        }
    }
}
