//! `ready-keeper`: asks services through the engine of `ready-probe`, and restarts what is proven not to work.
//!
//! The probe knows nothing of it. Decisions are pure (`seen`, `machine`); `once` is the edge that asks, writes and starts.

mod alert;
mod children;
mod cli;
mod machine;
mod markers;
mod memory;
mod once;
mod people;
mod processes;
mod question;
mod rules;
mod seen;
mod services;
mod shell;
mod voice;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use alert::Alerts;
use cli::{Alert, Cli, Once, Verb};
use memory::{Memory, NoMemory};
use people::People;
use services::Services;
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
        }) => or_config(once(&options)),
        Ok(Cli {
            command: Verb::Alert(options),
        }) => or_config(test_alerts(&options)),
        Err(e) => {
            let is_help = matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // Nobody reads it: the status says enough.
            let _ = e.print();
            if is_help { OK } else { USAGE }
        }
    };
    ExitCode::from(status)
}

fn or_config(status: Result<u8, String>) -> u8 {
    status.unwrap_or_else(|why| {
        eprintln!("ready-keeper: {why}");
        CONFIG
    })
}

fn role(name: Option<&str>) -> u8 {
    let why = match name {
        Some(children::ASK) => match question::answer(io::stdin(), io::stdout()) {
            Ok(()) => return OK,
            Err(why) => why,
        },
        Some(children::SEND) => match alert::sender::answer(io::stdin(), io::stdout()) {
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
    let people = people(&services, options.container.as_deref(), |name| {
        memory.output_of(name)
    })?;
    let mut alerts = Alerts::new(&options.state);
    alerts.tell_to(people.channels, people.subjects);
    let works = once::run(&services, &memory, &options.manual_stop, &alerts)?;
    alerts.finish();
    Ok(if works { OK } else { NOT_WORKING })
}

/// Sends one message to each channel, and says what came of it.
fn test_alerts(options: &Alert) -> Result<u8, String> {
    let path = services::named(options.config.clone())?;
    let services = services::read(&path, options.container.as_deref())?;
    let people = people(&services, options.container.as_deref(), |name| {
        PathBuf::from(name)
    })?;
    if people.channels.is_empty() {
        return Err(format!(
            "{}: there is no channel: nobody is ever told",
            path.display()
        ));
    }
    let mut status = OK;
    for (channel, came) in alert::test(&people.channels) {
        match came {
            Ok(()) => println!("{channel}: delivered"),
            Err(why) => {
                println!("{channel}: not delivered: {why}");
                status = NOT_WORKING;
            }
        }
    }
    Ok(status)
}

/// Who is told, and of what; those who can't be are named.
fn people(
    services: &Services,
    container: Option<&str>,
    output_of: impl Fn(&str) -> PathBuf,
) -> Result<People, String> {
    let people = people::find(services, container, output_of, &|name| {
        std::env::var_os(name)
    })?;
    for note in &people.notes {
        voice::say(Level::Warning, note);
    }
    Ok(people)
}
