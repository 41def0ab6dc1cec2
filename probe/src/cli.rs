//! The command line as typed. What it means is decided in [`ready_probe::settings`].

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser, Subcommand};

use ready_probe::settings::Flags;

use crate::exit::Exit;
use ready_probe::redact;

/// Answers whether this container is ready: exit status 0 when healthy, 1 when not.
#[derive(Debug, Parser)]
#[command(
    name = "ready-probe",
    version,
    about = "Container health that means readiness. Asks this container's agents, Redis, NATS and any \
             endpoint; exits 0 or 1 with one clear reason.",
    after_long_help = AFTER_HELP,
    disable_help_subcommand = true
)]
pub struct Cli {
    /// What to do instead of one probe.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What to check.
    #[command(flatten)]
    pub targets: Targets,
    /// How to check it.
    #[command(flatten)]
    pub options: Flags,
}

/// The commands besides the bare one.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Wait until healthy, then run a command in place of this process
    ///
    /// Without targets it waits for everything; if there is a command to run, for the dependencies
    /// only, since the agent is what that command starts. Exits 1 with the reason when time is up.
    Wait(Wait),
    /// Publish an agent's signal from a shell
    ///
    /// The signal lives as long as a process does: --pid, or the parent of this command, or process 1
    /// if the parent is outside of the container, as in `docker exec`. --ttl ends it earlier. With a
    /// store it is announced there as well, for its TTL (60s without --ttl). If the store does not take
    /// it, mark says so and still succeeds: the signal stands in this container.
    Mark(Mark),
    /// List signals, the worst first: those in the store, or those of this container where no store is set
    ///
    /// Exits 1 if the store does not answer, and then shows what this container has.
    List(List),
    /// Print what would be checked, and where each setting came from
    Config(Config),
}

/// Targets of a probe.
#[derive(Debug, Default, Args)]
pub struct Targets {
    /// What to check, instead of everything that the environment and the file name
    ///
    /// agent:NAME, peer:NAME, redis://…, rediss://…, redis+unix:///…, nats://…, tls://…, http://…,
    /// https://…, http+unix://…, tcp://HOST:PORT, unix:///PATH, process:PATTERN (a part of a command
    /// line, not a regular expression), pid:/FILE, exec:CMD ARG… (without a shell; for one, write
    /// exec:sh -c '…'), file:/PATH; each may end in #option=value&option=value
    ///
    /// ${NAME} and ${NAME:-default} stand for environment variables, except in exec:
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,
}

/// `ready-probe wait`.
#[derive(Debug, Args)]
pub struct Wait {
    /// How long to wait at most
    #[arg(long = "for", value_name = "DURATION", default_value = "120s")]
    pub limit: String,
    /// What to wait for.
    #[command(flatten)]
    pub targets: Targets,
    /// The command to run, in place of this process and under its id
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// `ready-probe mark`.
#[derive(Debug, Args)]
pub struct Mark {
    /// The agent's name
    pub name: String,
    /// Say that the agent is not ready, and why
    #[arg(long, value_name = "REASON")]
    pub not_ready: Option<String>,
    /// A detail to publish, as text; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub detail: Vec<String>,
    /// The process whose life the signal follows
    #[arg(long, value_name = "PID")]
    pub pid: Option<String>,
    /// How long the signal lives, 1s to 1h; by default as long as its process
    #[arg(long, value_name = "DURATION")]
    pub ttl: Option<String>,
}

/// `ready-probe list`.
#[derive(Debug, Args)]
pub struct List {
    /// The agents to list, by default all
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Leave out what is ready
    #[arg(long)]
    pub not_ready: bool,
    /// Agents that must be ready, comma separated; exits 1 and names those that are missing or not
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub expect: Vec<String>,
    /// Show host, process, TTL and details as well
    #[arg(long)]
    pub wide: bool,
}

/// `ready-probe config`.
#[derive(Debug, Args)]
pub struct Config {
    /// What would be checked.
    #[command(flatten)]
    pub targets: Targets,
}

/// How long a message may be.
const MAX_MESSAGE_CHARS: usize = 300;
/// The longest word that is repeated of what was typed.
const MAX_WORD_BYTES: usize = 24;

const AFTER_HELP: &str = "\
Without targets it checks the agents of this container (all that have published a signal, or those
of READY_AGENT), Redis if REDIS_URL is set, NATS if NATS_URL is set (READY_REDIS=off and
READY_NATS=off leave them alone), and whatever READY_CHECKS and the configuration file name.

Options of every target: timeout=, grace=, name=, optional, not, scope=own|dependency
peer:NAME asks READY_STORE whether an agent of another container is ready.
READY_NATS_MAX_AGE is how long a new bucket keeps signals on a nats-server before 2.11.
Secrets can come from files: REDIS_URL_FILE, NATS_URL_FILE, READY_STORE_FILE.

Exit status:
  0   healthy, or degraded (worth a look, not a restart)
  1   starting or unhealthy
  64  the command line can't be used
  78  the environment or the configuration file can't be used
  130, 143  SIGINT or SIGTERM ended wait

Examples:
  HEALTHCHECK CMD [\"/ready-probe\"]
  ready-probe agent:translator redis://redis:6379 'http://localhost:8080/health#json=/status=ok'
  ready-probe wait redis://redis:6379 peer:memory-system -- ./agent";

/// Parses the command line. Help and version are answers, not errors; clap's own status for a
/// usage error is 2, which Docker reserves.
pub fn parse() -> Result<Cli, Exit> {
    if std::env::args_os().len() == 1 {
        // The whole of `HEALTHCHECK CMD ready-probe`.
        return Ok(Cli {
            command: None,
            targets: Targets::default(),
            options: Flags::default(),
        });
    }
    Cli::try_parse().map_err(|e| match e.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Done(e.to_string()),
        _ => Exit::Usage(one_line(&e)),
    })
}

/// What is wrong, in one line. clap quotes what was typed, which may be an address with a
/// password: what is more than a word is not repeated.
fn one_line(e: &clap::Error) -> String {
    let mut text = e.to_string();
    let mut hide = |kind, shown: fn(&str) -> String| {
        if let Some(ContextValue::String(typed)) = e.get(kind) {
            text = text.replace(&format!("'{typed}'"), &format!("'{}'", shown(typed)));
        }
    };
    if e.kind() == ErrorKind::UnknownArgument {
        hide(ContextKind::InvalidArg, word);
    }
    hide(ContextKind::InvalidValue, |_| "…".to_owned());
    // What is missing stands on lines of its own; usage and tips follow behind an empty one.
    let what: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).collect();
    let what = what.join(" ");
    let what = what.strip_prefix("error: ").unwrap_or(&what);
    let what = redact::one_line(what, MAX_MESSAGE_CHARS);
    format!("ready-probe: {what}; see ready-probe --help\n")
}

/// The word that an argument begins with: the name of an option, or a scheme.
fn word(typed: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+');
    let end = typed.find(|c| !is_word(c)).unwrap_or(typed.len());
    match typed.split_at(end) {
        (word, "") if word.len() <= MAX_WORD_BYTES => word.to_owned(),
        (word, rest) if word.len() <= MAX_WORD_BYTES && rest.starts_with([':', '=']) => {
            format!("{word}…")
        }
        _ => "…".to_owned(),
    }
}
