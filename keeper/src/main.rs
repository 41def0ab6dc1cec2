//! `ready-keeper`: asks services through the engine of `ready-probe`, and restarts what is proven not to work.
//!
//! The probe knows nothing of it. Decisions are pure (`seen`, `machine`, `schedule`); `keeper` is the edge that says,
//! remembers and starts; `once` and `run` are how long it goes on.

mod account;
mod alert;
mod askers;
mod asking;
mod children;
mod cli;
mod commands;
mod exit;
mod keeper;
mod machine;
mod markers;
mod memory;
mod once;
mod orders;
mod people;
mod person;
mod process_one;
mod processes;
mod question;
mod recovery;
mod replace_file;
mod rules;
mod run;
mod schedule;
mod seen;
mod services;
mod shell;
mod status;
mod stood_still;
mod stop;
mod voice;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use ready_probe_sdk::clock;

use alert::Alerts;
use cli::{Alert, Cli, Keep, Verb};
use exit::{LATER, NOT_RUN, NOT_WORKING, OK, Refusal, USAGE};
use keeper::{Keeper, Manner};
use memory::{Keeps, Memory, NoMemory};
use people::People;
use schedule::Pace;
use services::Services;
use voice::Level;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == children::ROLE) {
        let role = args.next();
        return ExitCode::from(role_of(role.as_deref().and_then(|role| role.to_str())));
    }
    ExitCode::from(match Cli::try_parse() {
        Ok(cli) => obey(cli),
        Err(e) => {
            let is_help = matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // Nobody reads it: the status says enough.
            let _ = e.print();
            if is_help { OK } else { USAGE }
        }
    })
}

fn obey(cli: Cli) -> u8 {
    let done = match cli.command.unwrap_or(Verb::Run(cli.run)) {
        Verb::Run(options) => keep(&options, Keeps::On),
        Verb::Once(options) => keep(&options, Keeps::Once),
        Verb::Status(options) => status::run(&options),
        Verb::Pause(options) => person::pause(&options),
        Verb::Resume(options) => person::resume(&options),
        Verb::Restart(options) => person::order(&options, orders::Order::Restart),
        Verb::Reset(options) => person::order(&options, orders::Order::Reset),
        Verb::Alert(options) => test_alerts(&options),
    };
    done.unwrap_or_else(|Refusal { status, why }| {
        eprintln!("ready-keeper: {why}");
        status
    })
}

fn role_of(name: Option<&str>) -> u8 {
    let why = match name {
        Some(children::ASK) => match asking::answer(io::stdin(), io::stdout()) {
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

fn keep(options: &Keep, keeps: Keeps) -> Result<u8, Refusal> {
    if keeps == Keeps::On && std::process::id() == 1 {
        return Err("it never is process 1, with which the container ends and which reaps nobody's children: start the \
                    container with --init, or by ready-probe run"
            .to_owned()
            .into());
    }
    let Some(config) = &options.config else {
        return Err(Refusal::usage(
            "--config is missing: it names the file of services",
        ));
    };
    let read = || services::read(config, options.container.as_deref());
    let services = read()?;
    let memory = match Memory::open(&options.state.dir, keeps) {
        Ok(memory) => memory,
        Err(NoMemory::Unusable(why)) => return Err(why.into()),
        Err(NoMemory::Taken) => return Ok(taken(options, keeps)),
    };
    for note in &services.notes {
        voice::say(Level::Warning, note);
    }
    let container = options.container.as_deref();
    let output_of = |name: &str| memory::output_of(&options.state.dir, name);
    let find = |services: &Services| people(services, container, output_of);
    let told = find(&services)?;
    let mut alerts = Alerts::new(&options.state.dir);
    // What is only tried is nobody's concern.
    let dry_run = options.dry_run || services.dry_run;
    if !dry_run {
        alerts.tell_to(told.channels, told.subjects);
    }
    let manner = Manner {
        pace: match keeps {
            Keeps::On => Pace::Loop {
                began_ms: clock::mono_ms(),
            },
            Keeps::Once => Pace::OnePass,
        },
        markers: options.markers.dir.clone(),
        dry_run,
    };
    let mut keeper = Keeper::open(services, memory, alerts, manner)?;
    let works = match keeps {
        Keeps::On => {
            run::run(&mut keeper, || {
                let services = read()?;
                let told = find(&services)?;
                Ok((services, told))
            })?;
            true
        }
        Keeps::Once => once::run(&mut keeper),
    };
    keeper.finish();
    Ok(if works { OK } else { NOT_WORKING })
}

/// Sends one message to each channel, and says what came of it.
fn test_alerts(options: &Alert) -> Result<u8, Refusal> {
    let path = &options.config;
    let services = services::read(path, options.container.as_deref())?;
    let people = people(&services, options.container.as_deref(), |name| {
        PathBuf::from(name)
    })?;
    if people.channels.is_empty() {
        let path = path.display();
        return Err(format!("{path}: there is no channel: nobody is ever told").into());
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

/// Another one holds the memory.
fn taken(options: &Keep, keeps: Keeps) -> u8 {
    let dir = &options.state.dir;
    let holder = memory::holder(dir);
    let process = holder.as_ref().map(|holder| holder.process.pid);
    let process = process.map_or(String::new(), |pid| format!(" (process {pid})"));
    let text = format!(
        "another ready-keeper is at work with {}{process}",
        dir.display()
    );
    match keeps {
        Keeps::On => {
            eprintln!(
                "ready-keeper: {text}: one is enough; for other services give this one its own --state"
            );
            LATER
        }
        Keeps::Once if holder.is_some_and(|holder| holder.is_stuck(clock::mono_ms())) => {
            let text = format!("{text}, for so long that it must be stuck: look at it, and end it");
            voice::say(Level::Error, &text);
            NOT_WORKING
        }
        Keeps::Once => {
            voice::say(Level::Info, &format!("{text}: this pass is left to it"));
            OK
        }
    }
}
