//! Starts the command: its environment, and the variables that hold its own process id.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use super::outer::SOCKET_VARIABLE;
use crate::cli;
use crate::exit::Exit;
use ready_probe::role;

/// Sockets that were handed over: the process that they are for, see sd_listen_fds(3).
const LISTEN_PID: &str = "LISTEN_PID";
/// Who has to say `WATCHDOG=1`, and how often, see sd_watchdog_enabled(3).
const WATCHDOG_PID: &str = "WATCHDOG_PID";
const WATCHDOG_USEC: &str = "WATCHDOG_USEC";

/// What the command is told.
#[derive(Debug)]
pub struct Environment<'a> {
    /// Where it is heard.
    pub socket: &'a str,
    /// How often it has to say `WATCHDOG=1`.
    pub watchdog_ms: Option<u64>,
}

/// How often whoever has started this process wants to hear `WATCHDOG=1` from it.
pub fn outer_watchdog_ms() -> Option<u64> {
    let is_ours = std::env::var_os(WATCHDOG_PID).is_none() || is_own(WATCHDOG_PID);
    let usec = std::env::var(WATCHDOG_USEC).ok()?;
    let usec: u64 = usec.parse().ok()?;
    (is_ours && usec > 0).then(|| usec.div_ceil(1_000))
}

/// Starts it, in this process's group and session; returns its process id.
pub fn start(
    command: &[OsString],
    environment: &Environment<'_>,
    outputs: Option<(Stdio, Stdio)>,
) -> io::Result<u32> {
    let (program, args) = command
        .split_first()
        .ok_or_else(|| io::Error::other("no command"))?;
    let mut own_pid = Vec::new();
    if is_own(LISTEN_PID) {
        own_pid.push(LISTEN_PID);
    }
    if environment.watchdog_ms.is_some() {
        own_pid.push(WATCHDOG_PID);
    }
    // Only the process itself knows its id before it runs: it begins as this program.
    let mut start = if own_pid.is_empty() {
        let mut start = Command::new(program);
        start.args(args);
        start
    } else {
        let mut start = Command::new("/proc/self/exe");
        start
            .args(["name-pid", &own_pid.join(","), "--"])
            .args(command);
        start
    };
    start
        .env(SOCKET_VARIABLE, environment.socket)
        // A probe among its processes is nobody's child that asks or relays.
        .env_remove(role::VARIABLE)
        .env_remove(WATCHDOG_PID)
        .env_remove(WATCHDOG_USEC);
    if let Some(watchdog_ms) = environment.watchdog_ms {
        start.env(WATCHDOG_USEC, (watchdog_ms * 1_000).to_string());
    }
    if let Some((stdout, stderr)) = outputs {
        start.stdout(stdout).stderr(stderr);
    }
    start.spawn().map(|child| child.id())
}

fn is_own(variable: &str) -> bool {
    let own = std::process::id().to_string();
    std::env::var_os(variable).is_some_and(|set| set == *own)
}

/// `ready-probe name-pid VARIABLE,… -- CMD`: sets these variables to the id of this process, and becomes
/// the command, which keeps it. Returns only if it can't be run.
pub fn name_pid(args: &cli::NamePid) -> Exit {
    let Some((program, rest)) = args.command.split_first() else {
        return Exit::failed("no command");
    };
    let own = std::process::id().to_string();
    let variables = args.variables.split(',').map(|name| (name, own.as_str()));
    let error = Command::new(program).args(rest).envs(variables).exec();
    Exit::not_run(program, &error)
}
