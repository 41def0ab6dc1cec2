//! The command line.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Id, Parser, Subcommand, ValueEnum};
use ready_probe::duration::duration;

use crate::exit::Refusal;
use crate::markers;

/// Brings back what is proven down.
#[derive(Debug, Parser)]
#[command(
    name = "ready-keeper",
    version,
    about = "Asks the services of this container whether they work, and restarts what is proven gone, hung or wrong. \
             Where it can't know, it holds and says so. Without a command: run.",
    after_help = AFTER,
    disable_help_subcommand = true,
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Verb>,
    /// Without a command.
    #[command(flatten)]
    pub run: RunOptions,
}

const AFTER: &str = "\
Exit status: 0 done; of once: every service works, or was stopped by a person, or another keeper is at work; 1 of once: one
does not work or could not be asked, or another pass is stuck, of status: one is failed or held, or which containers have the
label can't be told, of restart: it is paused, of resume: a marker still stops it; 64 wrong usage; 74 standard output can't be
written; 75 another keeper is at work with the same folder, or an order has not been taken yet; 78 nothing was restarted: the
file of services, the folder for its state, the port for metrics or the engine of its containers can't be used,
give_up = \"exit\" is refused, or run is process 1.

docs/keeper.md tells when a service is restarted, and when it is not.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Ask on and on, until TERM or INT; HUP reads the file of services again
    #[command(after_help = "Example: ready-keeper run --config /etc/services.json")]
    Run(RunOptions),
    /// One pass over all services, for cron
    #[command(
        after_help = "Example: */5 * * * * ready-keeper once --config /etc/services.json >> /var/log/keeper.log 2>&1"
    )]
    Once(Keep),
    /// Tell where services stand, whether a keeper is at work or not
    #[command(after_help = "Example: ready-keeper status minio --format json")]
    Status(Status),
    /// Leave a service alone until it is resumed, or for a time
    #[command(
        after_help = "Example: ready-keeper pause minio --for 2h --reason 'disk is being replaced'"
    )]
    Pause(PauseOptions),
    /// Look after a paused service again
    Resume(Resume),
    /// Restart a service now, whatever it says: its restarts and failures so far are forgotten
    Restart(Named),
    /// Forget a service's restarts and failures: one that was given up is tried again
    Reset(Named),
    /// Print what would be looked after and how, and where each setting came from
    #[command(after_help = "Example: ready-keeper config --config /etc/services.toml")]
    Config(ConfigOptions),
    /// Send one message to every channel that a service names, and say what came of it
    #[command(
        after_help = "Exit status: 0 all were delivered; 1 one was not; 78 there is no channel, or its settings can't be used."
    )]
    Alert(Alert),
}

/// Options of `alert`.
#[derive(Debug, Args)]
pub struct Alert {
    /// Send a message that says that nothing has happened
    #[arg(long, required = true)]
    pub test: bool,
    /// The file of services: JSON, or settings in TOML
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// The name of this container: services whose `container` is another are left alone. Without it all are here,
    /// but a JSON file that names several is refused
    #[arg(long, value_name = "NAME")]
    pub container: Option<String>,
}

/// Options of `config`: those of `run`, and how it is printed.
#[derive(Debug, Args)]
pub struct ConfigOptions {
    /// What would be done.
    #[command(flatten)]
    pub run: RunOptions,
    /// text or json
    #[arg(long, value_enum, default_value_t = Format::Text, hide_possible_values = true)]
    pub format: Format,
}

/// Which options were typed, and have no default value.
#[derive(Debug, Default)]
pub struct Typed(Vec<String>);

impl Typed {
    /// Those of the command.
    pub fn of(matches: &ArgMatches) -> Self {
        let Some((_, command)) = matches.subcommand() else {
            return Self::default();
        };
        let is_typed = |id: &&str| command.value_source(id) == Some(ValueSource::CommandLine);
        let ids = command.ids().map(Id::as_str).filter(is_typed);
        Self(
            ids.map(|id| format!("--{}", id.replace('_', "-")))
                .collect(),
        )
    }

    /// Whether that one was.
    pub fn has(&self, option: &str) -> bool {
        self.0.iter().any(|typed| typed == option)
    }
}

/// Options of `run`.
#[derive(Debug, Clone, Args)]
pub struct RunOptions {
    /// Those of `once`.
    #[command(flatten)]
    pub keep: Keep,
    /// Serve metrics for Prometheus at /metrics, and /readyz: 9464, which is 127.0.0.1:9464, or another address
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = listen)]
    pub metrics_listen: Option<SocketAddr>,
}

/// A port alone is one of this machine's own.
fn listen(text: &str) -> Result<SocketAddr, String> {
    let local = text
        .parse()
        .map(|port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let at = local.or_else(|_| text.parse());
    at.map_err(|_| "a port, or an address with one: 127.0.0.1:9464, [::1]:9464".to_owned())
}

/// Options of `run` and `once`.
#[derive(Debug, Clone, Args)]
pub struct Keep {
    /// The file of services: JSON, or settings in TOML
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The state's folder.
    #[command(flatten)]
    pub state: StateFolder,
    /// The name of this container: services whose `container` is another are left alone. Without it all are here,
    /// but a JSON file that names several is refused
    #[arg(long, value_name = "NAME")]
    pub container: Option<String>,
    /// Where the markers are.
    #[command(flatten)]
    pub markers: Markers,
    /// Restart nothing, and say what would be restarted
    #[arg(long)]
    pub dry_run: bool,
}

impl Keep {
    /// The file of services.
    pub fn file(&self) -> Result<&Path, Refusal> {
        self.config
            .as_deref()
            .ok_or_else(|| Refusal::usage("--config is missing: it names the file of services"))
    }
}

/// Where the state is.
#[derive(Debug, Clone, Args)]
pub struct StateFolder {
    /// Where restarts are remembered from one pass to the next: a folder that nobody else may write
    #[arg(
        id = "state",
        long = "state",
        value_name = "DIR",
        default_value = "/var/lib/ready-keeper"
    )]
    pub dir: PathBuf,
}

/// Where the markers are.
#[derive(Debug, Clone, Args)]
pub struct Markers {
    /// Where a file NAME.stopped says that a person has stopped a service
    #[arg(id = "manual-stop", long = "manual-stop", value_name = "DIR", default_value = markers::FOLDER, value_parser = absolute)]
    pub dir: PathBuf,
}

fn absolute(path: &str) -> Result<PathBuf, String> {
    match path.starts_with('/') {
        true => Ok(PathBuf::from(path)),
        false => Err(
            "an absolute path is needed: cron and a shell have different working directories"
                .to_owned(),
        ),
    }
}

/// Options of `status`.
#[derive(Debug, Args)]
pub struct Status {
    /// One service; all without it
    pub name: Option<String>,
    /// text or json
    #[arg(long, value_enum, default_value_t = Format::Text, hide_possible_values = true)]
    pub format: Format,
    /// The state's folder.
    #[command(flatten)]
    pub state: StateFolder,
}

/// How it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Options of `pause`.
#[derive(Debug, Args)]
pub struct PauseOptions {
    /// The service.
    #[command(flatten)]
    pub named: Named,
    /// For how long: 30m, 2h
    #[arg(long = "for", value_name = "DURATION", value_parser = pause)]
    pub duration: Option<Duration>,
    /// Why, for whoever asks for the status
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

fn pause(text: &str) -> Result<Duration, String> {
    let least = Duration::from_secs(1);
    match duration(text)? {
        short if short < least => Err("at least 1s is needed: 30m, 2h".to_owned()),
        duration => Ok(duration),
    }
}

/// Options of `resume`.
#[derive(Debug, Args)]
pub struct Resume {
    /// The service.
    #[command(flatten)]
    pub named: Named,
    /// Where the markers are.
    #[command(flatten)]
    pub markers: Markers,
}

/// A service.
#[derive(Debug, Args)]
pub struct Named {
    /// The service
    pub name: String,
    /// The state's folder.
    #[command(flatten)]
    pub state: StateFolder,
}
