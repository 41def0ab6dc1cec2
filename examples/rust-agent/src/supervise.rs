//! A supervisor that only starts and reaps, and passes on that it is to stop: what a container's PID 1
//! often is.

use std::io;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::mpsc;
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use crate::settings::parse_port;
use crate::{Failure, USAGE, stop};

/// Starts one agent a name. Returns when it was told to stop and all of them have ended, and never when
/// they have died by themselves.
pub(crate) fn run(names: &[String]) -> Result<(), Failure> {
    if names.is_empty() {
        return Err(Failure::Usage(format!("supervise needs a name; {USAGE}")));
    }
    let agents: Vec<(&str, u16)> = names
        .iter()
        .map(|name| parse(name))
        .collect::<Result<_, _>>()?;
    let program = std::env::current_exe()
        .map_err(|e| Failure::Start(format!("can't find this program: {e}; is /proc there?")))?;
    let (stop, stopped) = mpsc::channel();
    stop::on_signal(stop::catch()?, move || {
        let _ = stop.send(());
    });
    let mut children = Vec::new();
    for (name, port) in agents {
        let child = start(&program, name, port)
            .map_err(|e| Failure::Start(format!("can't start agent {name}: {e}")))?;
        println!("started {name} pid {}", child.id());
        let pid = Pid::from_child(&child);
        children.push((pid, thread::spawn(move || reap(child))));
    }
    // The sender lives as long as the thread that waits for signals, which is for ever.
    let _ = stopped.recv();
    for (pid, reaper) in &children {
        // A pid is an agent's until it has been reaped.
        if !reaper.is_finished() {
            let _ = kill_process(*pid, Signal::TERM);
        }
    }
    for (_, reaper) in children {
        let _ = reaper.join();
    }
    Ok(())
}

/// `NAME` or `NAME=PORT`. Without a port the agent serves none: two could not share the default.
fn parse(arg: &str) -> Result<(&str, u16), Failure> {
    let Some((name, port)) = arg.split_once('=') else {
        return Ok((arg, 0));
    };
    match parse_port(port) {
        Some(port) => Ok((name, port)),
        None => Err(Failure::Usage(format!(
            "{arg:?}: a port is a number from 0 (none) to 65535; {USAGE}"
        ))),
    }
}

fn start(program: &Path, name: &str, port: u16) -> io::Result<Child> {
    Command::new(program)
        .env("AGENT_NAME", name)
        .env("AGENT_PORT", port.to_string())
        .spawn()
}

/// Waits for a child, so that it does not stay a zombie. It is not started again.
fn reap(mut child: Child) {
    match child.wait() {
        Ok(status) => eprintln!("pid {} has ended: {status}", child.id()),
        Err(e) => eprintln!("pid {} can't be waited for: {e}", child.id()),
    }
}
