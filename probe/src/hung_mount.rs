//! A child asks whatever lies on a file system that may hang.
//!
//! A thread that waits for such a file system can't be ended, and the process can't end before its
//! threads: its health check would be recorded as timed out, and its reason lost. A child that is
//! stuck can be left alone. It is killed, which takes effect once the file system answers, and
//! remembered by its mount, so that no second one is started while it lives.
//!
//! [`ready_probe_sdk::host::Mounts`] tells which mounts may hang. For all others no child is
//! started: it costs as much as a whole probe.
//!
//! - `paths`: which of them a question has to ask.
//! - `ask`: asking a child all questions about one mount.
//! - `answer`: the other side of that, in the child.

pub mod answer;
pub mod ask;
pub mod paths;

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use ready_probe_sdk::clock;
use ready_probe_sdk::freshness::Span;
use ready_probe_sdk::host::Process;
use ready_probe_sdk::signal::clean;

use crate::role::VARIABLE;
use crate::stuck_child::StuckChild;
use crate::time_limit::TimeLimit;

const MAX_SHOWN_CHARS: usize = 200;

/// This very program, started again with the same arguments, for `role`. Its output goes into
/// pipes, so that it holds none of ours; not to `/dev/null`, which may hang as well.
fn start(role: &str, hears_stderr: bool) -> io::Result<Child> {
    // A pipe without a writer is at its end, and what nobody reads is thrown away.
    let (no_input, _) = io::pipe()?;
    let (_, no_reader) = io::pipe()?;
    let stderr = if hears_stderr {
        Stdio::piped()
    } else {
        Stdio::from(no_reader)
    };
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_else(|| OsString::from("ready-probe"));
    Command::new("/proc/self/exe")
        .arg0(name)
        .args(args)
        .env(VARIABLE, format!("{}:{role}", std::process::id()))
        .process_group(0)
        .stdin(no_input)
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
}

/// Starts a child for a mount, unless the last one still waits there. The error says why there is
/// none.
pub fn start_for(
    point: &Path,
    before: Option<&StuckChild>,
    role: &str,
    hears_stderr: bool,
) -> Result<Child, String> {
    let shown = shown(point);
    if let Some(stuck) = before.filter(|stuck| stuck.lives()) {
        let waited = Span(clock::mono_ms().saturating_sub(stuck.since_ms));
        return Err(format!(
            "{shown} does not answer: process {} has waited for it for {waited}",
            stuck.pid
        ));
    }
    start(role, hears_stderr)
        .map_err(|e| format!("{shown} may hang, and no process can be had to ask it: {e}"))
}

/// What to say about a mount that has not answered by then.
pub fn unanswered(point: &Path, limit: TimeLimit) -> String {
    format!("{} does not answer within {}", shown(point), limit.shown())
}

fn shown(point: &Path) -> String {
    clean(&point.display().to_string(), MAX_SHOWN_CHARS)
}

/// Kills a child that does not answer, and tells how to recognize it later. `None` if it has ended.
pub fn leave(child: &mut Child) -> Option<StuckChild> {
    // It is gone already, or goes when the file system answers.
    let _ = child.kill();
    let pid = child.id();
    let start = Process::of(pid).start()?;
    let stuck = StuckChild {
        pid,
        start,
        since_ms: clock::mono_ms(),
    };
    // One that waits for nothing takes a moment to end.
    for _ in 0..ENDING_LOOKS {
        if child.try_wait().is_ok_and(|ended| ended.is_some()) {
            return None;
        }
        std::thread::sleep(ENDING_PAUSE);
    }
    stuck.lives().then_some(stuck)
}

const ENDING_LOOKS: u32 = 10;
const ENDING_PAUSE: std::time::Duration = std::time::Duration::from_millis(1);
