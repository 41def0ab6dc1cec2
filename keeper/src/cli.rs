//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::markers;

/// Brings back what is proven down.
#[derive(Debug, Parser)]
#[command(
    name = "ready-keeper",
    version,
    about = "Asks the services of this container whether they work, and restarts what is proven gone, hung or wrong. \
             Where it can't know, it holds and says so.",
    after_help = AFTER,
    disable_help_subcommand = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Verb,
}

const AFTER: &str = "\
Exit status: 0 every service works, or was stopped by a person, or another keeper is at work; 1 one does not work;
64 wrong usage; 78 the file of services or the folder for its state can't be used, and nothing was restarted.

docs/keeper.md tells when a service is restarted, and when it is not.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// One pass over all services, for cron
    #[command(
        after_help = "Example: */5 * * * * ready-keeper once --config /etc/services.json >> /var/log/keeper.log 2>&1"
    )]
    Once(Once),
    /// Sends one message to every channel, and says what came of it
    #[command(
        after_help = "Exit status: 0 all were delivered; 1 one was not; 78 there is no channel, or its settings can't be used."
    )]
    Alert(Alert),
}

/// Options of `alert`.
#[derive(Debug, Args)]
pub struct Alert {
    /// Sends a message that says that nothing has happened
    #[arg(long, required = true)]
    pub test: bool,
    /// The JSON of services
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// The name of this container: services whose `container` is another are left alone. Without it all are here
    #[arg(long, value_name = "NAME")]
    pub container: Option<String>,
}

/// Options of `once`.
#[derive(Debug, Args)]
pub struct Once {
    /// The JSON of services
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Where restarts are remembered from one pass to the next: a folder that nobody else may write
    #[arg(long, value_name = "DIR", default_value = "/var/lib/ready-keeper")]
    pub state: PathBuf,
    /// The name of this container: services whose `container` is another are left alone. Without it all are here
    #[arg(long, value_name = "NAME")]
    pub container: Option<String>,
    /// Where a file NAME.stopped says that a person has stopped a service
    #[arg(long, value_name = "DIR", default_value = markers::FOLDER)]
    pub manual_stop: PathBuf,
}
