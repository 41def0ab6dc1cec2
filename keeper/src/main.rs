//! `ready-keeper`: asks services through the engine of `ready-probe`, and restarts what is proven not to work.
//!
//! The probe knows nothing of it. Decisions are pure (`seen`, `machine`); `once` is the edge that asks, writes and starts.

mod children;
mod cli;
mod machine;
mod markers;
mod memory;
mod once;
mod processes;
mod question;
mod rules;
mod seen;
mod services;
mod shell;
mod voice;

use std::io;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use cli::{Cli, Once, Verb};
use memory::{Memory, NoMemory};
use voice::Level;

const OK: u8 = 0;
const NOT_WORKING: u8 = 1;
const USAGE: u8 = 64;
const CONFIG: u8 = 78;
/// A restart command that could not be started, as shells say it.
const NOT_RUN: u8 = 126;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() == Some(children::ROLE) {
        return ExitCode::from(role(args.next().as_deref()));
    }
    let status = match Cli::try_parse() {
        Ok(Cli {
            command: Verb::Once(options),
        }) => match once(&options) {
            Ok(status) => status,
            Err(why) => {
                eprintln!("ready-keeper: {why}");
                CONFIG
            }
        },
        Err(e) => {
            let is_help = matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // Nobody reads it: the status says enough.
            let _ = e.print();
            if is_help { OK } else { USAGE }
        }
    };
    ExitCode::from(status)
}

fn role(name: Option<&str>) -> u8 {
    let why = match name {
        Some(children::ASK) => match question::answer(io::stdin(), io::stdout()) {
            Ok(()) => return OK,
            Err(why) => why,
        },
        Some(children::START) => children::become_command(),
        Some(_) | None => format!("{} is for its own children", children::ROLE),
    };
    eprintln!("ready-keeper: {why}");
    NOT_RUN
}

fn once(options: &Once) -> Result<u8, String> {
    let path = services::named(options.config.clone())?;
    let services = services::read(&path, options.container.as_deref())?;
    let memory = match Memory::open(&options.state) {
        Ok(memory) => memory,
        Err(NoMemory::Unusable(why)) => return Err(why),
        Err(NoMemory::Taken) => {
            let state = options.state.display();
            voice::say(
                Level::Info,
                &format!("another ready-keeper is at work with {state}: this pass is left to it"),
            );
            return Ok(OK);
        }
    };
    for note in &services.notes {
        voice::say(Level::Warning, note);
    }
    let works = once::run(&services, &memory, &options.manual_stop)?;
    Ok(if works { OK } else { NOT_WORKING })
}
