//! This host as a reader sees it: the container's epoch, the life of processes, what is mounted.
//!
//! The only reader of `/proc`. It says so when it can't determine something (`None`,
//! [`Process::Unreadable`]), and decides nothing.

mod container;
mod epoch;
mod mounts;
mod process;

use std::fs;
use std::io::{self, Read};
use std::path::Path;

pub use container::container_id;
pub use epoch::Epoch;
pub use mounts::{Mount, Mounts};
pub use process::{Process, Stat, myself, parse_stat, pids, stat_of};

/// `/proc/PID/stat` and `status` are short; more than this is not what we asked for.
const PROC_FILE_MAX: u64 = 16 * 1024;

/// The signals that the calling process ignores, one bit each: `SigIgn` of `/proc/self/status`. None
/// where that can't be read.
#[must_use]
pub fn ignored_signals() -> u64 {
    let status = read_small(Path::new("/proc/self/status")).unwrap_or_default();
    let mut masks = status
        .lines()
        .filter_map(|line| line.strip_prefix("SigIgn:"));
    masks
        .next()
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

/// The effective user of the calling process.
#[must_use]
pub fn my_euid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The host name of the calling process's UTS namespace.
#[must_use]
pub fn name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

fn read_small(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::with_capacity(1024);
    fs::File::open(path)?
        .take(PROC_FILE_MAX)
        .read_to_end(&mut bytes)?;
    // A process's name may hold any bytes; only digits after it matter.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
