//! One probe from settings to exit, and what every command needs on that way.

use std::io::IsTerminal;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use ready_probe_sdk::clock;
use ready_probe_sdk::host::Mounts;
use ready_probe_sdk::store::local::DEFAULT_DIRS;
use ready_probe_sdk::variable;

use crate::cli;
use crate::deadline::Deadline;
use crate::exit::Exit;
use crate::probe::Probe;
use crate::report::{MAX_BYTES, Report};
use crate::settings::env::Env;
use crate::settings::{self, DEFAULT_FILE, DEFAULT_TIMEOUT, Format, Invalid, Origin, Settings};
use crate::target::Kind;
use crate::time_limit::TimeLimit;
use crate::verdict::Verdict;

/// A deadline that can't be missed by reading one agent's records.
const QUICK_TIMEOUT: Duration = Duration::from_secs(1);

/// File systems that wait for nobody but this machine's memory and disks. Any other one may ask a
/// server, or a process, that does not answer.
const NEVER_STUCK: [&str; 6] = ["tmpfs", "devtmpfs", "overlay", "ext4", "xfs", "btrfs"];

/// The folders on the way to those that are looked at by default.
const ON_THE_WAY: [&str; 4] = ["/etc", "/dev", "/dev/shm", "/tmp"];

/// When this process started to work, and what ends it in time.
#[derive(Debug)]
pub struct Start {
    /// When.
    pub at: Instant,
    deadline: Deadline,
}

impl Start {
    /// Now; until more is known, the default deadline holds.
    pub fn now() -> Self {
        Self {
            at: clock::instant(),
            deadline: Deadline::new(DEFAULT_TIMEOUT),
        }
    }

    /// Has the deadline hold whatever blocks from now on.
    pub fn watch(&self) {
        self.deadline.watch();
    }

    /// That long after the start.
    pub fn plus(&self, duration: Duration) -> Instant {
        self.at + duration
    }

    /// The time since.
    pub fn elapsed(&self) -> Duration {
        clock::instant().saturating_duration_since(self.at)
    }

    /// Has the process end by then, whatever blocks it; returns that instant.
    pub fn end_by(&self, timeout: Duration) -> Instant {
        self.deadline.reset(timeout.saturating_sub(self.elapsed()));
        self.plus(timeout)
    }

    /// The run is over but for saying so.
    pub fn decide(&self, exit: &Exit) {
        self.deadline.decide(exit.status());
    }
}

impl From<Invalid> for Exit {
    fn from(invalid: Invalid) -> Self {
        let line = format!("ready-probe: {invalid}\n");
        if invalid.is_usage() {
            Self::Usage(line)
        } else {
            Self::Config(line)
        }
    }
}

/// `ready-probe [TARGET...]`
pub fn probe(targets: &[String], options: &cli::Options, start: &Start) -> Exit {
    if !is_near() {
        start.watch();
    }
    let settings = match resolve(options, targets, start) {
        Ok(settings) => settings,
        Err(invalid) => return invalid.into(),
    };
    if !reads_one_record(&settings) {
        start.watch();
    }
    let limit = TimeLimit::from(start.at, settings.timeout.value);
    let probe = Probe::new(&settings);
    let plan = probe.plan();
    let answers = match probe.ask_now(&plan) {
        Some(answers) => answers,
        None => match event_loop() {
            Ok(event_loop) => {
                let answers = event_loop.block_on(probe.ask(&plan, limit));
                // What still waits, waits for nobody.
                event_loop.shutdown_background();
                answers
            }
            Err(cause) => Probe::unasked(&plan, &cause),
        },
    };
    let report = probe.judge(plan, answers);
    finish(&report, &settings, start)
}

/// What is printed of a report, and how the run ends.
pub fn finish(report: &Report, settings: &Settings, start: &Start) -> Exit {
    let healthy = report.verdict.is_healthy();
    let text = match (settings.quiet.value, settings.format.value) {
        (true, Format::Text | Format::Json) if healthy => String::new(),
        (true, Format::Text) => report.first_line() + "\n",
        (false, Format::Text) => coloured(report.text(), report.verdict),
        (true | false, Format::Json) => report.json(start.elapsed()),
    };
    if healthy {
        Exit::Done(text)
    } else {
        Exit::Failed(text)
    }
}

/// Resolves the settings, and puts those in force that concern the whole run.
pub fn resolve(
    options: &cli::Options,
    targets: &[String],
    start: &Start,
) -> Result<Settings, Invalid> {
    resolve_with(options, start, |env| {
        Settings::resolve(options, targets, env)
    })
}

/// The same for a command that checks nothing.
pub fn resolve_alone(options: &cli::Options, start: &Start) -> Result<Settings, Invalid> {
    resolve_with(options, start, |env| Settings::resolve_alone(options, env))
}

fn resolve_with(
    options: &cli::Options,
    start: &Start,
    resolve: impl Fn(&Env<'_>) -> Result<Settings, Invalid>,
) -> Result<Settings, Invalid> {
    let lookup = |name: &str| std::env::var_os(name);
    let env = Env::new(&lookup);
    start.end_by(settings::timeout_without_file(options, &env)?);
    if settings::reads_files(options, &env) {
        start.watch();
    }
    let settings = resolve(&env)?;
    start.end_by(settings.timeout.value);
    if settings.format.value == Format::Json {
        start.deadline.speak_json();
    }
    if settings.verbose.value {
        log_to_stderr();
    }
    Ok(settings)
}

/// Whether the whole run is to look up one named agent in the container's shared memory: nothing of
/// that blocks, nor takes longer than a few milliseconds however full the folder is.
fn reads_one_record(settings: &Settings) -> bool {
    let one_agent = match settings.checks.as_slice() {
        [check] => matches!(check.value.kind, Kind::Agent { .. }),
        _ => false,
    };
    one_agent
        && !settings.discover
        && !settings.verbose.value
        && settings.store.origin == Origin::Default
        && settings.timeout.value >= QUICK_TIMEOUT
}

/// Whether what is looked at when nothing is set lies where nothing can hang: the configuration
/// file, which need not be there, and the folders of signals.
fn is_near() -> bool {
    let [first_dir, second_dir] = DEFAULT_DIRS;
    let Some(mounts) = Mounts::current() else {
        return false;
    };
    let Some(types) = mounts.types_around(&[DEFAULT_FILE, first_dir, second_dir]) else {
        return false;
    };
    // A link on the way leads elsewhere; at the end of it, none is followed.
    let is_link =
        |path: &&str| std::fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
    !types.is_empty()
        && types.iter().all(|kind| NEVER_STUCK.contains(kind))
        && !ON_THE_WAY.iter().any(is_link)
}

/// The event loop, on this thread.
pub fn event_loop() -> Result<tokio::runtime::Runtime, String> {
    enough_descriptors()
        .and_then(|()| {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
        })
        .map_err(|e| format!("no event loop to be had: {e}"))
}

/// Whether there are the descriptors that the event loop takes, and some for what runs on it: where
/// its part for signals finds none, tokio panics (signal/unix.rs).
fn enough_descriptors() -> std::io::Result<()> {
    let spare: std::io::Result<Vec<_>> = (0..4).map(|_| UnixStream::pair()).collect();
    spare.map(drop)
}

fn log_to_stderr() {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .without_time()
        .init();
}

/// Colours the verdict where a person looks at it.
fn coloured(text: String, verdict: Verdict) -> String {
    if !std::io::stdout().is_terminal() || variable::read("NO_COLOR").is_some() {
        debug_assert!(text.len() <= MAX_BYTES);
        return text;
    }
    let colour = match verdict {
        Verdict::Healthy => 32,
        Verdict::Degraded | Verdict::Starting => 33,
        Verdict::Unhealthy => 31,
    };
    let word = verdict.word();
    text.replacen(word, &format!("\u{1b}[{colour}m{word}\u{1b}[0m"), 1)
}
