//! A program run to its end: what it said, how long it took, what memory it needed.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::process::ExitStatusExt,
    },
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags},
    process::{PidfdFlags, pidfd_open},
};

use super::Guard;
use crate::listener::poll;

/// Longer than any program in a test may take; [`run`] gives up there, so that a hang is a failure
/// with a message instead of a job that is cancelled.
const LONGEST_RUN: Duration = Duration::from_secs(60);

/// How much the kernel's counts of one memory may differ, since each CPU collects some of its own.
const COUNTERS_LAG_KIB: u64 = 2 * 1024;

/// A program that has run to its end.
#[derive(Debug)]
pub struct Run {
    /// How it ended.
    pub status: ExitStatus,
    /// All of its standard output; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// All of its standard error; bytes that are not UTF-8 are replaced.
    pub stderr: String,
    /// From before the start until it was gone *and* nobody held its output open any more. That is
    /// when Docker considers a health check over.
    pub elapsed: Duration,
    /// The most memory it had resident, in KiB.
    ///
    /// The kernel counts what the process held before `execve`, which is the memory of whoever started
    /// it, so its figure is used only well above that; below, the figure is the highest one sampled
    /// while the program ran, every millisecond or so, and may miss the last moments.
    pub peak_rss_kib: u64,
}

impl Run {
    /// The exit code as a shell would give it: 128 + n after signal n.
    pub fn code(&self) -> i32 {
        code(self.status)
    }

    /// The first line of standard output, without its end; empty if there is none.
    pub fn first_line(&self) -> &str {
        self.stdout.lines().next().unwrap_or_default()
    }
}

/// Runs a program to its end, without standard input.
///
/// # Panics
/// When it can't be started, or has not ended after a minute.
pub fn run(command: &mut Command) -> Run {
    run_within(command, LONGEST_RUN)
}

/// [`run`], but with `input` on standard input, which then ends.
///
/// # Panics
/// As [`run`]; also when `input` does not fit the pipe (64 KiB) while the program reads nothing.
pub fn run_with_input(command: &mut Command, input: &[u8]) -> Run {
    finish(command, Some(input), LONGEST_RUN)
}

/// [`run`] with a limit of one's own.
///
/// # Panics
/// At the limit, after the program has been killed; the message holds what it had printed.
pub fn run_within(command: &mut Command, limit: Duration) -> Run {
    finish(command, None, limit)
}

fn finish(command: &mut Command, input: Option<&[u8]>, limit: Duration) -> Run {
    let shown = format!("{command:?}");
    command
        .stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let start = Instant::now();
    let mut child = Guard::spawn(command);
    if let Some(input) = input {
        let mut stdin = child.0.stdin.take().expect("it was asked for");
        match stdin.write_all(input) {
            Err(e) if e.kind() != ErrorKind::BrokenPipe => panic!("writing to {shown}: {e}"),
            _ => {}
        }
    }

    let before_exec_kib = high_water_kib("self").unwrap_or(0) + COUNTERS_LAG_KIB;
    let mut sampled_kib = 0;
    let pid = child.pid();
    let mut runs = false;
    let exit = pidfd_open(child.rustix_pid(), PidfdFlags::empty()).expect("pidfd of our own child");
    let mut outputs = [
        Output::new(child.0.stdout.take().expect("it was asked for")),
        Output::new(child.0.stderr.take().expect("it was asked for")),
    ];
    let mut running = true;
    while running || outputs.iter().any(|o| o.pipe.is_some()) {
        // posix_spawn(3) may return when the program's memory is still ours.
        runs = runs || program(&pid.to_string()) != program("self");
        if runs {
            sampled_kib = sampled_kib.max(high_water_kib(&pid.to_string()).unwrap_or(0));
        }
        if start.elapsed() > limit {
            let [out, err] = outputs.map(Output::text);
            let why = if running {
                "has not ended"
            } else {
                "has left its output open to another process"
            };
            drop(child);
            panic!("{shown} {why} after {limit:?}\nstdout: {out}\nstderr: {err}");
        }
        let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(3);
        if running {
            fds.push(PollFd::new(&exit, PollFlags::IN));
        }
        for output in &outputs {
            fds.extend(
                output
                    .pipe
                    .as_ref()
                    .map(|p| PollFd::from_borrowed_fd(p.fd(), PollFlags::IN)),
            );
        }
        poll(&mut fds, Some(Duration::from_millis(1)));
        let mut ready = fds
            .iter()
            .map(|fd| !fd.revents().is_empty())
            .collect::<Vec<_>>()
            .into_iter();
        if running && ready.next() == Some(true) {
            running = false;
        }
        for output in outputs.iter_mut().filter(|o| o.pipe.is_some()) {
            if ready.next() == Some(true) {
                output.read();
            }
        }
    }
    let elapsed = start.elapsed();
    let usage = child.reap();
    let counted_kib = usage.rusage.maxrss / 1024;
    let [stdout, stderr] = outputs.map(Output::text);
    Run {
        status: usage.status,
        stdout,
        stderr,
        elapsed,
        peak_rss_kib: if counted_kib > before_exec_kib || !runs {
            counted_kib
        } else {
            sampled_kib
        },
    }
}

/// The end of a pipe that a child writes to, and what has come out of it.
struct Output {
    pipe: Option<Box<dyn Pipe>>,
    bytes: Vec<u8>,
}

trait Pipe: Read {
    fn fd(&self) -> BorrowedFd<'_>;
}

impl<T: Read + AsFd> Pipe for T {
    fn fd(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }
}

impl Output {
    fn new(pipe: impl Pipe + 'static) -> Self {
        Self {
            pipe: Some(Box::new(pipe)),
            bytes: Vec::new(),
        }
    }

    /// Reads what is there. Called when poll says that something is, so it doesn't block.
    fn read(&mut self) {
        let mut chunk = [0; 64 * 1024];
        let Some(pipe) = &mut self.pipe else { return };
        match pipe.read(&mut chunk) {
            Ok(0) => self.pipe = None,
            Ok(n) => self.bytes.extend_from_slice(&chunk[..n]),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => panic!("reading a child's output: {e}"),
        }
    }

    fn text(self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// The peak of a process's memory since its `execve`; none for a zombie, which has no memory left.
fn high_water_kib(pid: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// The program that a process runs, which changes together with its memory.
fn program(pid: &str) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/exe")).ok()
}

fn code(status: ExitStatus) -> i32 {
    status
        .code()
        .or_else(|| status.signal().map(|n| 128 + n))
        .expect("it exited or was killed")
}
