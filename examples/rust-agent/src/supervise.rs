//! A supervisor that only starts and reaps: what a container's PID 1 often is.

use std::io;
use std::path::Path;
use std::process::{Child, Command};
use std::thread;

use crate::settings::parse_port;
use crate::{Failure, USAGE};

/// Starts one agent a name and never returns, also when all of them have died.
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
    for (name, port) in agents {
        let child = start(&program, name, port)
            .map_err(|e| Failure::Start(format!("can't start agent {name}: {e}")))?;
        println!("started {name} pid {}", child.id());
        thread::spawn(move || reap(child));
    }
    loop {
        thread::park();
    }
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
