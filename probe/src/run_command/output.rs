//! The command's output where a line of it is looked for: passed on unchanged and at once.
//!
//! A thread for each stream: whoever reads our output may be slow, and the command then waits for them as
//! it would without us, while everything else here goes on.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use ready_probe_sdk::clock;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tokio::sync::mpsc::UnboundedSender;

use super::ready_line::{Pattern, Search};
use super::terminal::Terminal;

/// After the command's end: how long nothing has to come, and how long that may take.
const QUIET_MS: u64 = 100;
const DRAIN_MS: u64 = 2_000;
const LOOK_EVERY: Duration = Duration::from_millis(5);
const STACK_BYTES: usize = 128 * 1024;
const PIECE_BYTES: usize = 32 * 1024;

/// The command's output on its way through this process.
#[derive(Debug)]
pub struct Outputs {
    streams: Vec<Arc<Progress>>,
    /// Where ours is one.
    pub terminal: Option<Terminal>,
}

#[derive(Debug)]
struct Progress {
    /// What is read, until that has ended.
    from: Weak<File>,
    last_ms: AtomicU64,
    writing: AtomicBool,
    ended: AtomicBool,
}

/// The ends that the command writes to.
pub type Ends = (Stdio, Stdio);

impl Outputs {
    /// Prepares both streams, and looks for the line in each; `seen` is told when it has come. Where our
    /// output is a terminal, the command's is one, too.
    pub fn pass_on(pattern: &Pattern, seen: &UnboundedSender<()>) -> io::Result<(Self, Ends)> {
        let terminal = Terminal::like_ours()?;
        let mut outputs = Self {
            streams: Vec::new(),
            terminal: None,
        };
        let (stdout, stderr) = (io::stdout(), io::stderr());
        let on_terminal = (stdout.is_terminal(), stderr.is_terminal());
        let Some((terminal, read_end, write_end)) = terminal else {
            let stdout = outputs.pipe(Stream::Stdout, pattern, seen)?;
            let stderr = outputs.pipe(Stream::Stderr, pattern, seen)?;
            return Ok((outputs, (stdout, stderr)));
        };
        outputs.terminal = Some(terminal);
        // One terminal for both keeps their order.
        let (stdout, stderr) = match on_terminal {
            (true, true) => {
                outputs.spawn(read_end, Stream::Stdout, pattern, seen)?;
                (write_end.try_clone()?.into(), write_end.into())
            }
            (true, false) => {
                outputs.spawn(read_end, Stream::Stdout, pattern, seen)?;
                (
                    write_end.into(),
                    outputs.pipe(Stream::Stderr, pattern, seen)?,
                )
            }
            (false, _) => {
                outputs.spawn(read_end, Stream::Stderr, pattern, seen)?;
                (
                    outputs.pipe(Stream::Stdout, pattern, seen)?,
                    write_end.into(),
                )
            }
        };
        Ok((outputs, (stdout, stderr)))
    }

    fn pipe(
        &mut self,
        to: Stream,
        pattern: &Pattern,
        seen: &UnboundedSender<()>,
    ) -> io::Result<Stdio> {
        let (reader, writer) = io::pipe()?;
        self.spawn(reader.into(), to, pattern, seen)?;
        Ok(writer.into())
    }

    fn spawn(
        &mut self,
        from: OwnedFd,
        to: Stream,
        pattern: &Pattern,
        seen: &UnboundedSender<()>,
    ) -> io::Result<()> {
        let from = Arc::new(File::from(from));
        let progress = Arc::new(Progress {
            from: Arc::downgrade(&from),
            last_ms: AtomicU64::new(clock::mono_ms()),
            writing: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        self.streams.push(Arc::clone(&progress));
        let (search, seen) = (pattern.search(), seen.clone());
        thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn(move || {
                carry(&from, to, search, &seen, &progress);
                drop(from);
                progress.ended.store(true, Ordering::Release);
            })?;
        Ok(())
    }

    /// Waits until what the command has left behind is passed on: others may hold its output open and go
    /// on writing, or nobody may read ours.
    pub async fn drain(&self) {
        let began_ms = clock::mono_ms();
        loop {
            let now_ms = clock::mono_ms();
            let is_done = |progress: &Arc<Progress>| {
                let last_ms = progress.last_ms.load(Ordering::Acquire).max(began_ms);
                let quiet = now_ms.saturating_sub(last_ms) >= QUIET_MS;
                // In this order: what is not there any more to be read is being written.
                let readable = progress.is_readable();
                let writing = progress.writing.load(Ordering::Acquire);
                progress.ended.load(Ordering::Acquire) || (quiet && !readable && !writing)
            };
            if self.streams.iter().all(is_done) || now_ms >= began_ms + DRAIN_MS {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl Progress {
    fn is_readable(&self) -> bool {
        let Some(from) = self.from.upgrade() else {
            return false;
        };
        let mut waited = [PollFd::new(&*from, PollFlags::IN)];
        let now = Timespec::default();
        poll(&mut waited, Some(&now)).is_ok_and(|_| {
            let [waited] = &waited;
            waited.revents().contains(PollFlags::IN)
        })
    }
}

#[derive(Debug, Clone, Copy)]
enum Stream {
    Stdout,
    Stderr,
}

/// Ends with the stream. If nobody takes what is written any more, the command is to hear so as it would
/// without us: its end is closed.
fn carry(
    mut from: &File,
    to: Stream,
    mut search: Search,
    seen: &UnboundedSender<()>,
    progress: &Progress,
) {
    let mut piece = vec![0; PIECE_BYTES];
    let mut looking = true;
    loop {
        let mut waited = [PollFd::new(&from, PollFlags::IN)];
        // What fails here fails when it is read, too.
        let _ = poll(&mut waited, None);
        progress.writing.store(true, Ordering::Release);
        // A terminal says EIO when nobody has its other side open any more.
        let read = match from.read(&mut piece) {
            Ok(0) => return,
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        let text = piece.get(..read).unwrap_or_default();
        let written = match to {
            Stream::Stdout => write_all(io::stdout(), text),
            Stream::Stderr => write_all(io::stderr(), text),
        };
        progress.last_ms.store(clock::mono_ms(), Ordering::Release);
        progress.writing.store(false, Ordering::Release);
        if looking && search.feed(text) {
            looking = false;
            // Nobody is left to be told.
            let _ = seen.send(());
        }
        if written.is_err() {
            return;
        }
    }
}

/// Our output may be set to non-blocking by somebody who shares it.
fn write_all(to: impl AsFd, mut text: &[u8]) -> Result<(), Errno> {
    while !text.is_empty() {
        match rustix::io::write(&to, text) {
            Ok(written) => text = text.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let mut waited = [PollFd::new(&to, PollFlags::OUT)];
                poll(&mut waited, None)?;
            }
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
