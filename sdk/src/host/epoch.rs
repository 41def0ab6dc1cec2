//! The epoch: this life of this container.

use std::fs;
use std::path::Path;

use super::{read_small, stat_of};

/// This life of this container. Docker reuses the number of the PID namespace across a restart,
/// so the start time of PID 1 is part of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Epoch {
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: Option<String>,
    /// The inode of `/proc/self/ns/pid`.
    pub pid_ns: Option<u64>,
    /// Field 22 of `/proc/1/stat`, in clock ticks since boot.
    pub init_start: Option<u64>,
    /// The inode of `/proc/self/ns/time`, since Linux 5.6. Two processes that differ in it can
    /// compare neither their clocks nor the start times they read, see time_namespaces(7).
    pub time_ns: Option<u64>,
}

impl Epoch {
    /// Reads the epoch of the calling process.
    #[must_use]
    pub fn current() -> Self {
        let boot_id = read_small(Path::new("/proc/sys/kernel/random/boot_id"))
            .ok()
            .map(|id| id.trim().to_owned())
            .filter(|id| !id.is_empty());
        let init_start = stat_of(1).map(|stat| stat.start);
        Self {
            boot_id,
            pid_ns: namespace("pid"),
            init_start,
            time_ns: namespace("time"),
        }
    }

    /// The epoch as part of a file name.
    #[must_use]
    pub fn file_stem(&self) -> String {
        let boot: String = self
            .boot_id
            .iter()
            .flat_map(|id| id.chars())
            .filter(char::is_ascii_alphanumeric)
            .take(32)
            .collect();
        let number = |n: Option<u64>| n.map_or_else(|| "x".to_owned(), |n| n.to_string());
        format!(
            "{}-{}-{}",
            if boot.is_empty() { "x" } else { &boot },
            number(self.pid_ns),
            number(self.init_start)
        )
    }
}

/// The inode of one of the calling process's namespaces: the link is `pid:[4026531836]`.
fn namespace(kind: &str) -> Option<u64> {
    let link = fs::read_link(format!("/proc/self/ns/{kind}")).ok()?;
    let inode = link.to_str()?.strip_prefix(kind)?.strip_prefix(":[")?;
    inode.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_epoch_is_stable_and_complete_here() {
        let epoch = Epoch::current();
        assert_eq!(epoch, Epoch::current());
        assert!(epoch.boot_id.is_some() && epoch.pid_ns.is_some() && epoch.init_start.is_some());
    }
}
