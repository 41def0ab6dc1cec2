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
mod config;
mod container;
mod discovery;
mod engine;
mod exit;
mod keeper;
mod machine;
mod markers;
mod memory;
mod metrics;
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
mod scrapes;
mod seen;
mod services;
mod shell;
mod status;
mod stood_still;
mod stop;
mod voice;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};
use ready_probe_sdk::clock;

use alert::Alerts;
use cli::{Alert, Cli, Keep, Typed, Verb};
use discovery::Discovery;
use engine::{Labelled, Listed};
use exit::{LATER, NOT_RUN, NOT_WORKING, OK, Refusal, USAGE, print};
use keeper::{Keeper, Manner};
use memory::{Keeps, Memory, NoMemory};
use people::People;
use schedule::Pace;
use services::{Services, Source};
use voice::Level;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == children::ROLE) {
        let role = args.next();
        return ExitCode::from(role_of(role.as_deref().and_then(|role| role.to_str())));
    }
    let parsed = Cli::command().try_get_matches();
    ExitCode::from(
        match parsed.and_then(|typed| Ok((Cli::from_arg_matches(&typed)?, typed))) {
            Ok((cli, typed)) => obey(cli, &Typed::of(&typed)),
            Err(e) => {
                let is_help =
                    matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
                // Nobody reads it: the status says enough.
                let _ = e.print();
                if is_help { OK } else { USAGE }
            }
        },
    )
}

fn obey(cli: Cli, typed: &Typed) -> u8 {
    let done = match cli.command.unwrap_or(Verb::Run(cli.run)) {
        Verb::Run(options) => keep(&options.keep, Keeps::On, options.metrics_listen),
        Verb::Once(options) => keep(&options, Keeps::Once, None),
        Verb::Status(options) => status::run(&options),
        Verb::Pause(options) => person::pause(&options),
        Verb::Resume(options) => person::resume(&options),
        Verb::Restart(options) => person::order(&options, orders::Order::Restart),
        Verb::Reset(options) => person::order(&options, orders::Order::Reset),
        Verb::Config(options) => config::run(&options, typed),
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
        Some(children::START) => match children::carry_out() {
            Ok(()) => return OK,
            Err(why) => why,
        },
        Some(children::LIST) => match engine::answer(io::stdin(), io::stdout()) {
            Ok(()) => return OK,
            Err(why) => why,
        },
        Some(_) | None => format!("{} is for its own children", children::ROLE),
    };
    eprintln!("ready-keeper: {why}");
    NOT_RUN
}

fn keep(options: &Keep, keeps: Keeps, listen: Option<SocketAddr>) -> Result<u8, Refusal> {
    if keeps == Keeps::On && std::process::id() == 1 {
        return Err("it never is process 1, with which the container ends and which reaps nobody's children: start the \
                    container with --init, or by ready-probe run"
            .to_owned()
            .into());
    }
    let config = options.file()?;
    let container = options.container.as_deref();
    let source = Source::read(config)?;
    let services = source.services(container, &Labelled::new())?;
    let (labelled, unlisted) = labelled(services.engine.as_ref())?;
    let services = source.services(container, &labelled)?;
    let dry_run = options.dry_run || services.dry_run;
    let memory = match Memory::open(&options.state.dir, keeps, dry_run) {
        Ok(memory) => memory,
        Err(NoMemory::Unusable(why)) => return Err(why.into()),
        Err(NoMemory::Taken) => return Ok(taken(options, keeps)),
    };
    let bound = listen.map(scrapes::bind).transpose()?;
    for note in &services.notes {
        voice::say(Level::Warning, note);
    }
    if let Some(at) = listen.filter(|at| !at.ip().is_loopback()) {
        let text =
            format!("--metrics-listen {at}: whoever reaches this address can read the metrics");
        voice::say(Level::Warning, &text);
    }
    let output_of = |name: &str| memory::output_of(&options.state.dir, name);
    let find = |services: &Services| people(services, output_of);
    let told = find(&services)?;
    let mut alerts = Alerts::new(&options.state.dir);
    // What is only tried is nobody's concern.
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
    let is_listed = unlisted.is_none();
    let wanted = services.engine.clone();
    let mut discovery = Discovery::new(wanted, labelled, unlisted, clock::mono_ms());
    let mut keeper = Keeper::open(services, memory, alerts, manner)?;
    keeper.know_listing(discovery.trouble());
    let works = match keeps {
        Keeps::On => {
            let read = || Source::read(config);
            let parse = |source: &Source, labelled: &Labelled| {
                let services = source.services(container, labelled)?;
                let told = find(&services)?;
                Ok((services, told))
            };
            run::run(&mut keeper, bound, &mut discovery, source, read, parse)?;
            true
        }
        Keeps::Once => once::run(&mut keeper) && is_listed,
    };
    keeper.finish();
    Ok(if works { OK } else { NOT_WORKING })
}

/// The containers that have a label which the settings name, and why the engine has not told them, if so. An error if there is no
/// engine at all.
fn labelled(wanted: Option<&engine::Use>) -> Result<(Labelled, Option<String>), Refusal> {
    match wanted.map(discovery::look) {
        None => Ok((Labelled::new(), None)),
        Some(Listed::Found(labelled)) => Ok((labelled, None)),
        Some(Listed::Trouble(why)) => {
            let text = format!("which containers there are can't be told: {why}");
            voice::say(Level::Warning, &text);
            Ok((Labelled::new(), Some(why)))
        }
        Some(Listed::Nobody(why)) => Err(format!(
            "the engine of the containers can't be reached: {why}: look at engine in the settings, or at DOCKER_HOST"
        )
        .into()),
    }
}

/// Sends one message to each channel, and says what came of it.
fn test_alerts(options: &Alert) -> Result<u8, Refusal> {
    let path = &options.config;
    let (source, container) = (Source::read(path)?, options.container.as_deref());
    // Whoever is told of containers with a label, whether there are any now or not.
    let services = source.services_of_any(container)?;
    let people = people(&services, |name| PathBuf::from(name))?;
    if people.channels.is_empty() {
        let path = path.display();
        return Err(format!("{path}: there is no channel: nobody is ever told").into());
    }
    let mut status = OK;
    for (channel, came) in alert::test(&people.channels) {
        match came {
            Ok(()) => print(&format!("{channel}: delivered\n"))?,
            Err(why) => {
                print(&format!("{channel}: not delivered: {why}\n"))?;
                status = NOT_WORKING;
            }
        }
    }
    Ok(status)
}

/// Who is told, and of what; those who can't be are named.
fn people(services: &Services, output_of: impl Fn(&str) -> PathBuf) -> Result<People, String> {
    let people = people::find(services, output_of, &|name| std::env::var_os(name))?;
    for note in &people.notes {
        voice::say(Level::Warning, note);
    }
    Ok(people)
}

/// Another one holds the memory.
fn taken(options: &Keep, keeps: Keeps) -> u8 {
    let dir = &options.state.dir;
    let holder = memory::holder(dir);
    let process = holder.as_ref().map_or_else(String::new, |holder| {
        let how = if holder.is_dry { ", a dry run" } else { "" };
        format!(" (process {}{how})", holder.process.pid)
    });
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
