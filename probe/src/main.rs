//! `ready-probe`: a run of the engine, from exec to exit.

mod cli;
mod config;
mod deadline;
mod exit;
mod hung_settings;
mod install;
mod instances;
mod list;
mod long_poll;
mod mark;
mod metrics;
mod run;
mod run_command;
mod start;
mod tell;
mod typed;
mod verbose;
mod wait;

use std::process::ExitCode;

use cli::{Cli, Command};
use start::Start;

fn main() -> ExitCode {
    let start = Start::now();
    let exit = match typed::parse() {
        Ok(Cli {
            command,
            targets,
            long_poll,
            output,
            options,
        }) => match command {
            None if long_poll.long_poll.is_some() => {
                let file = output.file.as_deref();
                long_poll::run(&targets.targets, &long_poll, file, &options, &start)
            }
            None => run::probe(&targets.targets, output.file.as_deref(), &options, &start),
            Some(command) => {
                start.watch();
                match command {
                    _ if long_poll.long_poll.is_some() => long_poll::refused("--long-poll"),
                    _ if output.file.is_some() => long_poll::refused("--output"),
                    Command::Wait(args) => wait::run(&args, &options, &start),
                    Command::Mark(args) => mark::run(&args, &options, &start),
                    Command::Run(args) => run_command::run(&args, &options, &start),
                    Command::NamePid(args) => run_command::name_pid(&args),
                    Command::List(args) => list::run(&args, &options, &start),
                    Command::Config(args) => config::run(&args, &options, &start),
                    Command::Install(args) => install::run(&args, &options, &start),
                }
            }
        },
        Err(exit) => {
            // A help text is longer than what a reader takes at once.
            start.watch();
            exit
        }
    };
    start.finish(exit)
}
