//! `ready-probe`: settings → checks → outcomes → verdict → report → exit.

mod check;
mod cli;
mod config;
mod deadline;
mod duration;
mod event_loop;
mod exit;
mod far;
mod fleet;
mod last_pass;
mod link;
mod list;
mod mark;
mod newest;
mod outcome;
mod plan;
mod probe;
mod redact;
mod report;
mod run;
mod settings;
mod target;
mod text_file;
mod time_limit;
mod verdict;
mod wait;

use std::process::ExitCode;

use cli::{Cli, Command};
use run::Start;

fn main() -> ExitCode {
    let start = Start::now();
    let exit = match cli::parse() {
        Ok(Cli {
            command,
            targets,
            options,
        }) => match command {
            None => run::probe(&targets.targets, &options, &start),
            Some(command) => {
                start.watch();
                match command {
                    Command::Wait(args) => wait::run(&args, &options, &start),
                    Command::Mark(args) => mark::run(&args, &options, &start),
                    Command::List(args) => list::run(&args, &options, &start),
                    Command::Config(args) => config::run(&args, &options, &start),
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
