//! Is a file there, and as expected? Is the process of a pid file alive?

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use ready_probe_sdk::clock;
use ready_probe_sdk::clock::millis;
use ready_probe_sdk::freshness::Span;
use ready_probe_sdk::host::Process;

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
    let mut outcome = Outcome::pass();
    if let Some(max_age) = target.max_age {
        outcome = match modified {
            // A time in the future is younger than any limit.
            Ok(modified) => judge_age(age(modified), max_age, target.not),
            Err(e) => return Outcome::unknown(format!("its age can't be told: {e}")),
        };
    }
    if target.contains.is_empty() || !outcome.passes() {
        return outcome;
    }
    match read(&target.path, MAX_FILE_BYTES) {
        Ok((bytes, all)) => {
            judge_content(&target.contains, &bytes, all, target.not).with_first_note(outcome.text())
        }
        Err(e) => missing(&e),
    }
}

fn judge_age(age: Duration, max_age: Duration, not: bool) -> Outcome {
    let (is, limit) = (Span(millis(age)), Span(millis(max_age)));
    let is_old = format!("last modified {is} ago (limit {limit})");
    match (age > max_age, not) {
        (false, false) => Outcome::pass(),
        (true, false) => Outcome::fail(is_old),
        (true, true) => Outcome::Pass(is_old),
        (false, true) => Outcome::fail(format!(
            "last modified {is} ago, and must not be within {limit}"
        )),
    }
}

/// All texts must be there; with `not`, none may. `all` says whether these bytes are the whole
/// file.
fn judge_content(texts: &[String], bytes: &[u8], all: bool, not: bool) -> Outcome {
    let is_there = |text: &String| {
        let text = text.as_bytes();
        bytes.windows(text.len()).any(|part| part == text)
    };
    let (found, missing): (Vec<bool>, Vec<bool>) =
        texts.iter().map(is_there).partition(|is_there| *is_there);
    let part = "it is larger than 1 MiB, and the text is not in the first";
    match (not, found.is_empty(), missing.is_empty(), all) {
        (false, _, true, _) => Outcome::pass(),
        (true, false, _, _) => Outcome::fail("it contains the text, and must not"),
        (false, _, false, true) => Outcome::fail("it does not contain the text"),
        (true, true, _, true) => Outcome::Pass("it does not contain the text".to_owned()),
        (false, _, false, false) | (true, true, _, false) => Outcome::unknown(part),
    }
}

/// `pid:`
pub fn ask_pid(path: &Path) -> Outcome {
    match process_of(path) {
        Ok(_) => Outcome::pass(),
        Err(outcome) => outcome,
    }
}

/// The living process of a pid file, by id and start, or why there is none.
pub fn process_of(path: &Path) -> Result<(u32, u64), Outcome> {
    let (bytes, file_age) = match read(path, MAX_PID_FILE_BYTES)
        .and_then(|(bytes, _)| Ok((bytes, age(std::fs::metadata(path)?.modified()?))))
    {
        Ok(read) => read,
        Err(e) => return Err(missing(&e)),
    };
    let text = String::from_utf8_lossy(&bytes);
    // Some servers write more after it, PostgreSQL for one.
    let first = text.split_ascii_whitespace().next().unwrap_or_default();
    let Some(pid) = first.parse::<u32>().ok().filter(|pid| *pid > 0) else {
        return Err(Outcome::fail("it holds no process id"));
    };
    let process = Process::of(pid);
    match (
        judge_pid(pid, process, process_age, file_age),
        process.start(),
    ) {
        (outcome, Some(start)) if outcome.passes() => Ok((pid, start)),
        (outcome, Some(_) | None) => Err(outcome),
    }
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

/// A short text, such as the kernel's. More than the bound is not read.
pub(super) fn read_text(path: &Path, max: u64) -> io::Result<String> {
    let (bytes, _) = read(path, max)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
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
    fn truth_table_of_ages() {
        let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3_600));
        for (age, max_age, not, want) in [
            (minute, hour, false, "pass"),
            (hour, minute, false, "fail"),
            (minute, hour, true, "fail"),
            (hour, minute, true, "pass"),
        ] {
            assert_eq!(judge_age(age, max_age, not).word(), want, "{age:?} {not}");
        }
    }

    #[test]
    fn truth_table_of_contents() {
        let judge = |texts: &[&str], all, not| {
            let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
            judge_content(&texts, b"red green", all, not).word()
        };
        for (texts, all, not, want) in [
            (&["red"][..], true, false, "pass"),
            (&["red", "green"], true, false, "pass"),
            (&["red", "blue"], true, false, "fail"),
            (&["red", "blue"], false, false, "unknown"),
            (&["red", "green"], false, false, "pass"),
            (&["red"], true, true, "fail"),
            (&["red", "blue"], true, true, "fail"),
            (&["red", "blue"], false, true, "fail"),
            (&["blue", "black"], true, true, "pass"),
            (&["blue"], false, true, "unknown"),
        ] {
            assert_eq!(judge(texts, all, not), want, "{texts:?} {all} {not}");
        }
    }

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
