//! The command line as it is defined: parser, help, man pages and completions come from here. What was typed is
//! read in `typed`, and what it means is decided in [`ready_probe::settings`].
//!
//! `packaging/` includes this file to print the pages and completions, so it names nothing of this program.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};

use ready_probe::settings::Flags;

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
    /// Whether the answer may be held.
    #[command(flatten)]
    pub long_poll: LongPoll,
    /// Where it goes, too.
    #[command(flatten)]
    pub output: OutputFile,
    /// How to check it.
    #[command(flatten)]
    pub options: Flags,
}

/// The definition. Options of every command may be typed everywhere; the help of a command shows those that mean
/// something to it, in its own words where they mean something else.
pub fn definition() -> clap::Command {
    let mut definition = Cli::command();
    for (command, ignored) in IGNORED {
        let own: Vec<_> = definition
            .get_arguments()
            .filter_map(|arg| {
                let id = arg.get_id().as_str();
                if ignored.contains(&id) {
                    return Some(arg.clone().hide(true));
                }
                let mut meant = MEANT.iter();
                let (_, _, help) = meant.find(|meant| (meant.0, meant.1) == (command, id))?;
                Some(arg.clone().help(*help))
            })
            .collect();
        // An option that a command has already is not taken over from those of every command.
        definition = definition.mut_subcommand(command, |command| command.args(own));
    }
    definition
}

/// The commands, and the options of [`Flags`] that change nothing there.
const IGNORED: [(&str, &[&str]); 5] = [
    ("wait", &["grace"]),
    ("mark", &["grace", "agent", "format"]),
    ("run", &["grace", "agent", "format"]),
    ("list", &["grace", "agent", "quiet"]),
    (
        "install",
        &[
            "grace",
            "agent",
            "dir",
            "store",
            "namespace",
            "config",
            "format",
            "verbose",
        ],
    ),
];

/// The commands, the options of [`Flags`] that mean something else there than to a probe, and what.
const MEANT: [(&str, &str, &str); 10] = [
    (
        "wait",
        "timeout",
        "How long one probe may take, 5s by default; --for limits them all [env: READY_TIMEOUT]",
    ),
    (
        "wait",
        "agent",
        "The agents to wait for, comma separated, or off if there are none; by default all that have \
         published, and none if there is a command to run [env: READY_AGENT]",
    ),
    (
        "wait",
        "quiet",
        "Print nothing but one line when time is up [env: READY_QUIET]",
    ),
    (
        "mark",
        "timeout",
        "How long it may take, the store's answer included; 5s by default [env: READY_TIMEOUT]",
    ),
    (
        "mark",
        "quiet",
        "Print nothing, unless the store does not take the signal [env: READY_QUIET]",
    ),
    (
        "run",
        "timeout",
        "How long one round of --when may take, and telling the store once; 5s by default [env: READY_TIMEOUT]",
    ),
    (
        "run",
        "quiet",
        "Leave out what this command itself says on stderr [env: READY_QUIET]",
    ),
    (
        "list",
        "timeout",
        "Overall deadline, 5s by default [env: READY_TIMEOUT]",
    ),
    ("install", "timeout", "How long it may take, 60s by default"),
    ("install", "quiet", "Print nothing when it is done"),
];

/// Options of the health check alone.
#[derive(Debug, Default, Args)]
pub struct LongPoll {
    /// Hold the answer back until it changes, this long at most (up to 1h), if the caller has surely heard
    /// the last one: for HEALTHCHECK with --interval=1s and a --timeout that is 10s longer
    #[arg(long, value_name = "DURATION")]
    pub long_poll: Option<String>,
    /// What HEALTHCHECK's --retries says: so many failures are told at once before one is held back
    #[arg(long, value_name = "N", default_value = "3", requires = "long_poll")]
    pub retries: String,
}

/// Where a report goes, too.
#[derive(Debug, Default, Args)]
pub struct OutputFile {
    /// Write the report to this file in the format of --format, whole or not at all, and print it as text: for
    /// the textfile collector of node_exporter
    #[arg(long = "output", value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// The commands besides the bare one.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Wait until healthy, then run a command in place of this process
    ///
    /// Without targets it waits for everything; if there is a command to run, for the dependencies
    /// only, since the agent is what that command starts. Exits 1 with the reason when time is up.
    #[command(after_long_help = WAIT_EXAMPLES)]
    Wait(Wait),
    /// Publish an agent's signal from a shell
    ///
    /// The signal lives as long as a process does: --pid, or the parent of this command, or process 1
    /// if the parent is outside of the container, as in `docker exec`. --ttl ends it earlier. With a
    /// store it is announced there as well, for its TTL (60s without --ttl). If the store does not take
    /// it, mark says so and still succeeds: the signal stands in this container.
    #[command(after_long_help = MARK_EXAMPLES)]
    Mark(Mark),
    /// Start a command and publish its signal: for programs that can't call an SDK
    ///
    /// The agent is starting, ready when every condition holds that is given here, and gone with the
    /// command's end, whose status is this command's: 128 + n after signal n, 126 if it can't be run, 127
    /// if it is not there. Without a condition the program says READY=1 itself (sd_notify). docs/run.md
    /// tells the rest.
    #[command(after_long_help = RUN_EXAMPLES)]
    Run(Run),
    /// What `run` starts a command by that has to know its own process id
    #[command(hide = true)]
    NamePid(NamePid),
    /// List signals, the worst first: those in the store, or those of this container where no store is set
    ///
    /// Exits 1 if the store does not answer, and then shows what this container has.
    #[command(after_long_help = LIST_EXAMPLES)]
    List(List),
    /// Print what would be checked, and where each setting came from
    #[command(after_long_help = CONFIG_EXAMPLES)]
    Config(Config),
    /// Copy this program to DIR/ready-probe
    ///
    /// For a volume that containers share: an init container fills it, from an image that holds nothing but
    /// this program. DIR is made if need be. The copy replaces an earlier one at once and whole, also while
    /// that one runs, and everybody may run it (mode 755). It reads no variable and no file.
    #[command(after_long_help = INSTALL_EXAMPLES)]
    Install(Install),
}

/// Targets of a probe.
#[derive(Debug, Default, Args)]
pub struct Targets {
    /// What to check, instead of everything that the environment and the file name
    ///
    /// agent:NAME, peer:NAME, redis://…, rediss://…, redis+unix:///…, nats://…, tls://…, http://…,
    /// https://…, http+unix://…, tcp://HOST:PORT, unix:///PATH, process:PATTERN (a part of a command
    /// line, not a regular expression), pid:/FILE, exec:CMD ARG… (without a shell; for one, write
    /// exec:sh -c '…'), file:/PATH, supervisor:NAME, container:NAME; each may end in
    /// #option=value&option=value
    ///
    /// Optional unless they say optional=false: disk:/PATH#free=5%&inodes=5%, fds:PATTERN#used=90%,
    /// fds:system#used=90%, pids:#used=90%, zombies:#max=50
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

/// `ready-probe run`.
#[derive(Debug, Args)]
pub struct Run {
    /// The agent's name
    pub name: String,
    /// Ready while this target passes; may be repeated. Asked every 200ms until it does
    #[arg(long, value_name = "TARGET")]
    pub when: Vec<String>,
    /// How often --when is asked once it has passed
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub recheck: String,
    /// Ready once a line of its output holds this; * stands for any text within the line
    #[arg(long, value_name = "TEXT")]
    pub ready_line: Option<String>,
    /// Ready once it has sent READY=1 (sd_notify); the default if no other condition is given
    #[arg(long)]
    pub notify: bool,
    /// Whose sd_notify messages count: main, the command's process or its MAINPID; all, every process
    /// beneath it as well
    #[arg(long, value_name = "WHO", default_value = "main")]
    pub notify_from: String,
    /// Stalled when no WATCHDOG=1 comes for that long; WATCHDOG_USEC tells the command
    #[arg(long, value_name = "DURATION")]
    pub watchdog: Option<String>,
    /// How long the signal lives if this command is killed, 1s to 1h
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    pub ttl: String,
    /// The command to run
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// `ready-probe name-pid`.
#[derive(Debug, Args)]
pub struct NamePid {
    /// The variables that are to hold it
    pub variables: String,
    /// The command to become
    #[arg(last = true, required = true)]
    pub command: Vec<OsString>,
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

/// `ready-probe install`.
#[derive(Debug, Args)]
pub struct Install {
    /// The folder that gets the copy
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}

const AFTER_HELP: &str = "\
Without targets it checks the agents of this container (all that have published a signal, or those
of READY_AGENT), Redis if REDIS_URL is set, NATS if NATS_URL is set (READY_REDIS=off and
READY_NATS=off leave them alone), and whatever READY_CHECKS and the configuration file name.

Options of every target: timeout=, grace=, name=, optional, not, scope=own|dependency;
with --long-poll, but for agent: also confirm= and recheck=
peer:NAME asks READY_STORE whether an agent of another container is ready.
READY_NATS_MAX_AGE is how long a new bucket keeps signals on a nats-server before 2.11.
Secrets can come from files: REDIS_URL_FILE, NATS_URL_FILE, READY_STORE_FILE.

Exit status:
  0   healthy, or degraded (worth a look, not a restart)
  1   starting or unhealthy; or a command could not do what it was told to
  64  the command line can't be used
  78  the environment or the configuration file can't be used
  126, 127  the command of run or wait can't be run, or is not there
  130, 143  SIGINT or SIGTERM ended wait

Examples:
  HEALTHCHECK CMD [\"/ready-probe\"]
  HEALTHCHECK --interval=1s --timeout=35s CMD [\"/ready-probe\", \"--long-poll\", \"25s\"]
  ready-probe agent:translator redis://redis:6379 'http://localhost:8080/health#json=/status=ok'
  ready-probe wait redis://redis:6379 peer:memory-system -- ./agent";

const WAIT_EXAMPLES: &str = "\
Examples:
  ready-probe wait --for 60s redis://redis:6379 peer:memory-system -- ./agent
  ENTRYPOINT [\"/ready-probe\", \"wait\", \"tcp://db:5432\", \"--\", \"/agent\"]";

const MARK_EXAMPLES: &str = "\
Examples:
  ready-probe mark nightly-job --pid $$ --detail shard=3
  ready-probe mark nightly-job --pid $$ --not-ready 'disk is full'
  docker exec CONTAINER /ready-probe mark agent --ttl 90s";

const RUN_EXAMPLES: &str = "\
Examples:
  ready-probe run cache --when tcp://localhost:6379 -- redis-server
  ready-probe run model --ready-line 'Model loaded in * s' -- sh serve.sh
  ready-probe run worker --notify-from all --watchdog 10s -- ./worker";

const LIST_EXAMPLES: &str = "\
Examples:
  ready-probe list --not-ready
  ready-probe list --expect translator,memory-system
  ready-probe list --store redis://redis:6379 --namespace staging --format json";

const CONFIG_EXAMPLES: &str = "\
Examples:
  ready-probe config
  docker exec CONTAINER /ready-probe config --format json
  ready-probe config --config probe.toml 'tcp://${DB_HOST:-localhost}:5432'";

const INSTALL_EXAMPLES: &str = "\
Examples:
  ready-probe install /shared
  docker run --rm --volume tools:/tools ready-probe install /tools";
