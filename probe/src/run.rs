//! One probe from settings to exit, and what every command needs on that way.

use std::cell::OnceCell;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ready_probe_sdk::clock;
use ready_probe_sdk::host::{Epoch, Mounts};
use ready_probe_sdk::variable;

use crate::cli;
use crate::deadline::Deadline;
use crate::event_loop;
use crate::exit::Exit;
use crate::far;
use crate::far::relay::{self, Relayed};
use crate::probe::Probe;
use crate::report::{MAX_BYTES, Report, Row};
use crate::settings::env::Env;
use crate::settings::{self, DEFAULT_TIMEOUT, Format, Invalid, Origin, Settings};
use crate::target::Kind;
use crate::time_limit::TimeLimit;
use crate::verdict::{self, Verdict};

/// A deadline that can't be missed by reading one agent's records.
const QUICK_TIMEOUT: Duration = Duration::from_secs(1);

/// When this process started to work, and what ends it in time.
#[derive(Debug)]
pub struct Start {
    /// When.
    pub at: Instant,
    deadline: Deadline,
    mounts: OnceCell<Option<Mounts>>,
}

impl Start {
    /// Now; until more is known, the default deadline holds.
    pub fn now() -> Self {
        Self {
            at: clock::instant(),
            deadline: Deadline::new(DEFAULT_TIMEOUT),
            mounts: OnceCell::new(),
        }
    }

    /// What is mounted, if that can be known.
    fn mounts(&self) -> Option<&Mounts> {
        self.mounts.get_or_init(Mounts::current).as_ref()
    }

    /// The same, if any of it may hang.
    pub fn far_mounts(&self) -> Option<&Mounts> {
        self.mounts().filter(|mounts| mounts.may_hang())
    }

    /// Has the deadline hold whatever blocks from now on.
    pub fn watch(&self) {
        self.deadline.watch();
    }

    /// That long after the start.
    pub fn plus(&self, duration: Duration) -> Instant {
        self.at + duration
    }

    /// The end of a run that may take so long, to the last moment.
    fn limit(&self, timeout: Duration) -> TimeLimit {
        TimeLimit {
            at: self.plus(timeout),
            set: timeout,
        }
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

    /// The run is over but for saying so, which may take until its deadline and no longer.
    pub fn finish(&self, exit: Exit) -> ExitCode {
        self.deadline.decide(exit.status());
        exit.print(self.deadline.left())
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
    match relay(options, start) {
        Relayed::No => {}
        Relayed::Done(exit) => return exit,
        Relayed::Failed(why) => return unanswered(&why, options, start),
    }
    let settings = match resolve(options, targets, start) {
        Ok(settings) => settings,
        Err(invalid) => return invalid.into(),
    };
    // Where nobody knows what may hang, anything may.
    if !reads_one_record(&settings) || start.mounts().is_none() {
        start.watch();
    }
    let limit = TimeLimit::from(start.at, settings.timeout.value);
    let probe = Probe::new(&settings, start.far_mounts());
    if let Some(mount) = far::asked::mount() {
        return answer_parent(&probe.asking(mount), limit);
    }
    let mut plan = probe.plan();
    let answers = match probe.ask_now(&plan) {
        Some(answers) => answers,
        None => match event_loop::start() {
            Ok(event_loop) => {
                let answers = event_loop.block_on(probe.ask(&mut plan, limit));
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

/// As the child of a probe. What it has to say is printed by then, and its status is no verdict.
fn answer_parent(probe: &Probe<'_>, limit: TimeLimit) -> Exit {
    let plan = probe.plan();
    match event_loop::start() {
        Ok(event_loop) => {
            event_loop.block_on(probe.answer_parent(&plan, limit));
            event_loop.shutdown_background();
            Exit::Failed(String::new())
        }
        Err(cause) => Exit::Failed(cause),
    }
}

/// Leaves a command to a child, if the files that its settings are in may hang.
pub fn relay(options: &cli::Options, start: &Start) -> Relayed {
    let Some(mounts) = start.far_mounts() else {
        return Relayed::No;
    };
    let lookup = variable::read;
    let env = Env::new(&lookup);
    let signals = settings::store_without_file(options, &env);
    // One that can't be used is told by whoever resolves the settings.
    let timeout = settings::timeout_without_file(options, &env).unwrap_or(DEFAULT_TIMEOUT);
    let files = settings::files(options, &env);
    relay::if_needed(files, &signals, mounts, start.limit(timeout))
}

/// The same for what its settings name: the folder of signals, and the files and sockets of a store.
fn relay_resolved(settings: &Settings, start: &Start) -> Relayed {
    let Some(mounts) = start.far_mounts() else {
        return Relayed::No;
    };
    let signals = &settings.store;
    let dirs = signals.value.dirs().map(Path::to_owned);
    let dirs = dirs.map(|dir| (signals.origin.to_string(), dir));
    let files = settings.remote.iter().flat_map(|remote| {
        let files = remote.value.address.files().into_iter();
        files.map(|file| (remote.origin.to_string(), file))
    });
    let limit = start.limit(settings.timeout.value);
    relay::if_needed(dirs.chain(files), &signals.value, mounts, limit)
}

/// The settings of a command that checks nothing, where nothing that they name may hang. The error is how
/// the command ends.
pub fn resolve_alone(options: &cli::Options, start: &Start) -> Result<Settings, Exit> {
    relay(options, start).here()?;
    let settings = resolve_with(options, start, |env| Settings::resolve_alone(options, env))?;
    relay_resolved(&settings, start).here()?;
    Ok(settings)
}

/// A probe whose settings can't be read.
fn unanswered(why: &str, options: &cli::Options, start: &Start) -> Exit {
    let lookup = variable::read;
    let row = Row::unknown(why);
    let report = Report {
        verdict: verdict::fold(std::iter::once(row.ballot())),
        rows: vec![row],
        notes: Vec::new(),
        epoch: Epoch::current().file_stem(),
    };
    Exit::Failed(
        if settings::format_without_file(options, &Env::new(&lookup)) == Format::Json {
            report.json(start.elapsed())
        } else {
            report.text()
        },
    )
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

fn resolve_with(
    options: &cli::Options,
    start: &Start,
    resolve: impl Fn(&Env<'_>) -> Result<Settings, Invalid>,
) -> Result<Settings, Invalid> {
    let lookup = variable::read;
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
