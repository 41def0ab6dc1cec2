//! What this process is for, if a probe has started it as its child.

use std::ffi::OsString;

use ready_probe_sdk::host;

/// In the environment of a child: its parent's process id, a colon, and its task. A process that
/// has it but another parent is no child of a probe.
pub const VARIABLE: &str = "READY_PROBE_CHILD";

/// What this process is for, if a probe has started it as its child.
pub fn role() -> Option<OsString> {
    let set = std::env::var_os(VARIABLE)?;
    let set = set.to_str()?;
    let (parent, role) = set.split_once(':')?;
    let is_child = host::stat_of(std::process::id())
        .is_some_and(|stat| stat.ppid > 0 && parent.parse() == Ok(stat.ppid));
    is_child.then(|| OsString::from(role))
}
