//! Is a file there, and as expected? Is the process of a pid file alive?

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use ready_probe_sdk::clock;
use ready_probe_sdk::freshness::Span;
use ready_probe_sdk::host::Process;

use crate::duration::millis;
use crate::outcome::Outcome;
use crate::target::FileTarget;

/// How much of a file is searched.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// A pid file begins with a number.
const MAX_PID_FILE_BYTES: u64 = 4_096;
/// `/proc` counts a process's start in ticks, and file systems their times in whole seconds.
const PID_FILE_SLACK: Duration = Duration::from_secs(2);

/// `file:`
pub fn ask(target: &FileTarget) -> Outcome {
    let modified = match std::fs::metadata(&target.path) {
        Ok(metadata) => metadata.modified(),
        Err(e) => return missing(&e),
    };
    if let Some(max_age) = target.max_age {
        let modified = match modified {
            Ok(modified) => modified,
            Err(e) => return Outcome::unknown(format!("its age can't be told: {e}")),
        };
        // A time in the future is younger than any limit.
        let age = age(modified);
        if age > max_age {
            return Outcome::fail(format!(
                "last modified {} ago (limit {})",
                Span(millis(age)),
                Span(millis(max_age))
            ));
        }
    }
    match &target.contains {
        None => Outcome::pass(),
        Some(text) => match read(&target.path, MAX_FILE_BYTES) {
            Ok((bytes, _))
                if bytes
                    .windows(text.len())
                    .any(|part| part == text.as_bytes()) =>
            {
                Outcome::pass()
            }
            Ok((_, true)) => Outcome::fail("it does not contain the text"),
            Ok((_, false)) => {
                Outcome::unknown("it is larger than 1 MiB, and the text is not in the first")
            }
            Err(e) => missing(&e),
        },
    }
}

/// `pid:`
pub fn ask_pid(path: &Path) -> Outcome {
    let (bytes, file_age) = match read(path, MAX_PID_FILE_BYTES)
        .and_then(|(bytes, _)| Ok((bytes, age(std::fs::metadata(path)?.modified()?))))
    {
        Ok(read) => read,
        Err(e) => return missing(&e),
    };
    let text = String::from_utf8_lossy(&bytes);
    // Some servers write more below it, PostgreSQL for one.
    let first = text.split_ascii_whitespace().next().unwrap_or_default();
    let Some(pid) = first.parse::<u32>().ok().filter(|pid| *pid > 0) else {
        return Outcome::fail("it holds no process id");
    };
    judge_pid(pid, Process::of(pid), process_age, file_age)
}

fn judge_pid(
    pid: u32,
    process: Process,
    process_age: impl Fn(u64) -> Duration,
    file_age: Duration,
) -> Outcome {
    match process {
        Process::Gone => Outcome::fail(format!("process {pid} is gone")),
        Process::Zombie { .. } => Outcome::fail(format!("process {pid} has died and is a zombie")),
        Process::Unreadable => Outcome::unknown(format!("process {pid} can't be looked at")),
        Process::Alive { start, .. } if process_age(start) + PID_FILE_SLACK < file_age => {
            Outcome::fail(format!(
                "process {pid} is younger than the file: another one has its id"
            ))
        }
        Process::Alive { .. } => Outcome::pass(),
    }
}

fn process_age(start_ticks: u64) -> Duration {
    let ticks_per_second = rustix::param::clock_ticks_per_second().max(1);
    let started = Duration::from_millis(start_ticks * 1_000 / ticks_per_second);
    clock::since_boot().saturating_sub(started)
}

fn age(modified: SystemTime) -> Duration {
    clock::wall()
        .duration_since(modified)
        .unwrap_or(Duration::ZERO)
}

fn missing(e: &io::Error) -> Outcome {
    match e.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Outcome::fail("no such file"),
        _ => Outcome::unknown(crate::link::connect::plain(e)),
    }
}

/// Reads up to a bound, and says whether that was all. A FIFO is not waited for.
fn read(path: &Path, max: u64) -> io::Result<(Vec<u8>, bool)> {
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options()
        .read(true)
        .custom_flags(nonblock)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes)?;
    let all = bytes.len() as u64 <= max;
    bytes.truncate(usize::try_from(max).unwrap_or(usize::MAX));
    Ok((bytes, all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth_table_of_pid_files() {
        let alive = Process::Alive {
            start: 1,
            euid: None,
        };
        let hour = Duration::from_secs(3_600);
        let judge = |process, process_age: Duration, file_age| {
            judge_pid(7, process, |_| process_age, file_age).word()
        };
        assert_eq!(judge(Process::Gone, hour, hour), "fail");
        assert_eq!(judge(Process::Zombie { start: 1 }, hour, hour), "fail");
        assert_eq!(judge(alive, hour, Duration::ZERO), "pass");
        assert_eq!(judge(alive, hour, hour), "pass");
        assert_eq!(judge(alive, Duration::ZERO, hour), "fail");
        assert_eq!(judge(Process::Unreadable, hour, hour), "unknown");
    }
}
