//! How many descriptors are open, of those that may be?

use std::fs;
use std::io;
use std::path::Path;

use super::file;
use super::process;
use super::share::Share;
use crate::outcome::Outcome;
use crate::target::Opener;

/// Files of `/proc` about limits are short.
const MAX_BYTES: u64 = 8 * 1024;

/// `fds:`
pub fn ask(of: &Opener, limit: Option<u8>) -> Outcome {
    match of {
        Opener::System => match of_system() {
            Ok(open) => judge(&[(None, open)], false, limit),
            Err(cause) => Outcome::Unknown(cause),
        },
        Opener::Processes(pattern) => match process::matching(pattern) {
            Ok(found) => {
                let looked_at: Vec<_> = found
                    .pids
                    .iter()
                    .map(|pid| (*pid, of_process(*pid)))
                    .collect();
                let hidden = looked_at.iter().any(|(_, open)| is_hidden(open));
                let open: Vec<_> = looked_at
                    .into_iter()
                    .filter_map(|(pid, open)| Some((Some(pid), open.ok()?)))
                    .collect();
                judge(&open, hidden || found.hidden, limit)
            }
            Err(cause) => Outcome::Unknown(cause),
        },
    }
}

/// `hidden` says that there are others, which can't be looked at.
fn judge(all: &[(Option<u32>, Share)], hidden: bool, limit: Option<u8>) -> Outcome {
    let Some((pid, most)) = all.iter().max_by_key(|(_, open)| open.percent_used()) else {
        return match hidden {
            true => Outcome::unknown("its descriptors can't be looked at"),
            // The one that is missing is another check's business.
            false => Outcome::Blemished("no process matches".to_owned()),
        };
    };
    let Share { part, whole } = most;
    let whose = pid.map_or_else(String::new, |pid| format!("process {pid} has "));
    let said = format!(
        "{whose}{part} of {whole} descriptors open ({}%)",
        most.percent_used()
    );
    match most.judge_used(limit, said) {
        Outcome::Pass(said) if hidden => {
            Outcome::unknown(format!("{said}, and others can't be looked at"))
        }
        outcome => outcome,
    }
}

/// Those of everybody on this machine: how many are allocated, how many of these are free, how many may be, see
/// proc_sys_fs(5).
fn of_system() -> Result<Share, String> {
    let path = Path::new("/proc/sys/fs/file-nr");
    let told = file::read_text(path, MAX_BYTES).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut numbers = told.split_ascii_whitespace().map(str::parse);
    match (numbers.next(), numbers.next(), numbers.next()) {
        (Some(Ok(allocated)), Some(Ok(free)), Some(Ok(whole))) => Ok(Share {
            part: u64::saturating_sub(allocated, free),
            whole,
        }),
        _ => Err(format!("{} does not tell", path.display())),
    }
}

fn of_process(pid: u32) -> io::Result<Share> {
    let whole = soft_limit(&file::read_text(
        Path::new(&format!("/proc/{pid}/limits")),
        MAX_BYTES,
    )?);
    let folder = format!("/proc/{pid}/fd");
    // Since Linux 6.2 its size is their number, which everybody may know, see proc_pid_fd(5).
    let part = match fs::metadata(&folder)?.len() {
        0 => fs::read_dir(&folder)?.count() as u64,
        size => size,
    };
    Ok(Share { part, whole })
}

/// The soft limit of `/proc/PID/limits`; "unlimited" is a number, too.
fn soft_limit(limits: &str) -> u64 {
    let mut lines = limits.lines();
    lines
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|numbers| numbers.split_ascii_whitespace().next()?.parse().ok())
        .unwrap_or(u64::MAX)
}

/// Whether it is there and can't be looked at. One that ends meanwhile is not there.
fn is_hidden(open: &io::Result<Share>) -> bool {
    open.as_ref()
        .is_err_and(|e| e.kind() == io::ErrorKind::PermissionDenied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth_table() {
        let share = |part, whole| Share { part, whole };
        let judge = |all: &[(Option<u32>, Share)], hidden, limit| {
            let outcome = judge(all, hidden, limit);
            format!("{} {}", outcome.word(), outcome.text())
        };
        let two = [(Some(7), share(10, 1_024)), (Some(8), share(950, 1_024))];
        for (all, hidden, limit, want) in [
            (
                &two[..],
                false,
                Some(90),
                "fail process 8 has 950 of 1024 descriptors open (93%), limit 90%",
            ),
            (
                &two,
                true,
                Some(90),
                "fail process 8 has 950 of 1024 descriptors open (93%), limit 90%",
            ),
            (
                &two,
                false,
                Some(93),
                "pass process 8 has 950 of 1024 descriptors open (93%)",
            ),
            (
                &two,
                false,
                None,
                "pass process 8 has 950 of 1024 descriptors open (93%)",
            ),
            (
                &two,
                true,
                Some(93),
                "unknown process 8 has 950 of 1024 descriptors open (93%), and others can't be looked at",
            ),
            (&[], false, Some(90), "pass no process matches"),
            (
                &[],
                true,
                Some(90),
                "unknown its descriptors can't be looked at",
            ),
            (
                &[(None, share(3, 4))],
                false,
                Some(90),
                "pass 3 of 4 descriptors open (75%)",
            ),
        ] {
            assert_eq!(judge(all, hidden, limit), want);
        }
    }

    #[test]
    fn the_soft_limit_is_read() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max processes             unlimited            unlimited            processes \n\
                      Max open files            1024                 524288               files     \n";
        assert_eq!(soft_limit(limits), 1_024);
        assert_eq!(
            soft_limit("Max open files  unlimited  unlimited  files"),
            u64::MAX
        );
        assert_eq!(soft_limit(""), u64::MAX);
    }
}
