//! One probe from settings to exit, and what every command needs on that way.

use std::path::Path;
use std::time::Duration;

use ready_probe_sdk::connect::file;
use ready_probe_sdk::host::Epoch;
use ready_probe_sdk::trimmed_variable;

use crate::exit::Exit;
use crate::hung_settings::{self, Relayed, Task};
use crate::metrics;
use crate::start::Start;
use crate::tell;
use crate::verbose;
use ready_probe::event_loop;
use ready_probe::hung_mount;
use ready_probe::probe::Probe;
use ready_probe::report::{Report, Row};
use ready_probe::settings::env::Env;
use ready_probe::settings::{
    DEFAULT_TIMEOUT, Flags, Format, Invalid, Origin, Settings, without_file,
};
use ready_probe::target::Kind;
use ready_probe::time_limit::{LATER, TimeLimit};
use ready_probe::verdict;

/// A deadline that can't be missed by reading one agent's records.
const QUICK_TIMEOUT: Duration = Duration::from_secs(1);

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
pub fn probe(targets: &[String], file: Option<&Path>, options: &Flags, start: &Start) -> Exit {
    if let Err(exit) = relay_probe(file, options, start) {
        return exit;
    }
    let settings = match resolve(options, targets, start) {
        Ok(settings) => settings,
        Err(invalid) => return invalid.into(),
    };
    // Where nobody knows what may hang, anything may.
    if !reads_one_record(&settings) || start.mounts().is_none() {
        start.watch();
    }
    if let Some(exit) = answered_parent(&settings, start) {
        return exit;
    }
    let limit = TimeLimit::from(start.at, settings.timeout.value);
    let probe = Probe::new(&settings, start.far_mounts());
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
    match file {
        None => tell::finish(&report, &settings, start),
        Some(file) => tell::in_file(&report, &settings, file, start).0,
    }
}

/// Leaves a probe to a child, if the files that its settings are in may hang. The error is how it has ended then.
pub fn relay_probe(file: Option<&Path>, options: &Flags, start: &Start) -> Result<(), Exit> {
    if file.is_some() {
        // What is printed beside a file is text.
        start.speak(Format::Text);
    }
    match relay(Task::Whole, options, start) {
        Relayed::No => Ok(()),
        Relayed::Done(exit) => Err(exit),
        Relayed::Failed(why) => Err(unanswered(&why, file, options, start)),
    }
}

/// If this process is the child of a probe, whatever the command: asks what concerns its mount, or tries what its
/// settings name, and nothing else. It has its parent's arguments, so every command that asks checks or starts a
/// program begins with this once it knows them.
pub fn answered_parent(settings: &Settings, start: &Start) -> Option<Exit> {
    if let Some(task) = hung_settings::trial() {
        if task == Task::Named {
            try_named(settings);
        }
        return Some(Exit::Done(String::new()));
    }
    let mount = hung_mount::answer::mount()?;
    let timeout = settings.timeout.value;
    start.end_by(timeout + LATER);
    let probe = Probe::new(settings, start.far_mounts()).asking(mount);
    Some(answer_parent(&probe, TimeLimit::from(start.at, timeout)))
}

/// What it has to say is printed by then, and its status is no verdict.
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

/// Reads what settings name, as [`relay_resolved`] finds it. What can't be read is told by whoever needs it.
fn try_named(settings: &Settings) {
    for dir in settings.folder.value.dirs() {
        let _ = std::fs::read_dir(dir).map(|mut entries| entries.next().is_some());
    }
    if let Some(place) = &settings.place {
        for path in place.value.store.files() {
            let _ = file::read_text(&path);
        }
    }
}

/// Leaves a command to a child, or a part of it, if the files that its settings are in may hang.
pub fn relay(task: Task, options: &Flags, start: &Start) -> Relayed {
    let Some(mounts) = start.far_mounts() else {
        return Relayed::No;
    };
    let lookup = trimmed_variable::read;
    let env = Env::new(&lookup);
    let signals = without_file::folder(options, &env);
    // One that can't be used is told by whoever resolves the settings.
    let timeout = without_file::timeout(options, &env).unwrap_or(DEFAULT_TIMEOUT);
    let files = without_file::files(options, &env);
    let limit = start.limit(timeout);
    hung_settings::if_needed(task, files, &signals, mounts, start.at, limit)
}

/// The same for what its settings name: the folder of signals, and the files and sockets of a store.
fn relay_resolved(task: Task, settings: &Settings, start: &Start) -> Relayed {
    let Some(mounts) = start.far_mounts() else {
        return Relayed::No;
    };
    let signals = &settings.folder;
    let dirs = signals.value.dirs().map(Path::to_owned);
    let dirs = dirs.map(|dir| (signals.origin.to_string(), dir));
    let files = settings.place.iter().flat_map(|place| {
        let files = place.value.store.files().into_iter();
        files.map(|file| (place.origin.to_string(), file))
    });
    let limit = start.limit(settings.timeout.value);
    let needed = dirs.chain(files).collect();
    hung_settings::if_needed(task, needed, &signals.value, mounts, start.at, limit)
}

/// The settings of a command that checks nothing, where nothing that they name may hang. The error is how
/// the command ends.
pub fn resolve_alone(options: &Flags, start: &Start) -> Result<Settings, Exit> {
    relay(Task::Whole, options, start).here()?;
    let settings = resolve_without_checks(options, start)?;
    relay_resolved(Task::Whole, &settings, start).here()?;
    Ok(settings)
}

/// The settings of a command that starts a program, which no child can do for it: where the files that they are in may
/// hang, a child resolves them first. The error is how the command ends.
pub fn resolve_tried(options: &Flags, targets: &[String], start: &Start) -> Result<Settings, Exit> {
    relay(Task::Settings, options, start).tried()?;
    Ok(resolve(options, targets, start)?)
}

/// The same for one that asks these targets alone, if any, and uses the folder of signals and the store itself.
pub fn resolve_named_tried(
    options: &Flags,
    targets: &[String],
    start: &Start,
) -> Result<Settings, Exit> {
    relay(Task::Settings, options, start).tried()?;
    let settings = resolve_named(options, targets, start)?;
    relay_resolved(Task::Named, &settings, start).tried()?;
    Ok(settings)
}

/// A probe that could not ask anything.
pub fn unanswered(why: &str, file: Option<&Path>, options: &Flags, start: &Start) -> Exit {
    let lookup = trimmed_variable::read;
    let row = Row::unknown(why);
    let report = Report {
        verdict: verdict::fold(std::iter::once(row.ballot())),
        rows: vec![row],
        notes: Vec::new(),
        epoch: Epoch::current().file_stem(),
    };
    let took = start.elapsed();
    let whole = || match without_file::format(options, &Env::new(&lookup)) {
        Format::Text => report.text(),
        Format::Json => report.json(took),
        Format::Prometheus => metrics::of_checks(&report, took),
    };
    match file {
        None => Exit::Failed(whole()),
        Some(file) => tell::then_write(Exit::Failed(report.text()), file, whole, start).0,
    }
}

/// Resolves the settings, and puts those in force that concern the whole run.
pub fn resolve(options: &Flags, targets: &[String], start: &Start) -> Result<Settings, Invalid> {
    resolve_with(options, start, &|env| {
        Settings::resolve(options, targets, env)
    })
}

/// The same for a command that asks these targets alone, if any.
fn resolve_named(options: &Flags, targets: &[String], start: &Start) -> Result<Settings, Invalid> {
    if targets.is_empty() {
        return resolve_without_checks(options, start);
    }
    resolve(options, targets, start)
}

fn resolve_without_checks(options: &Flags, start: &Start) -> Result<Settings, Invalid> {
    resolve_with(options, start, &|env| Settings::resolve_alone(options, env))
}

fn resolve_with(
    options: &Flags,
    start: &Start,
    resolve: &dyn Fn(&Env<'_>) -> Result<Settings, Invalid>,
) -> Result<Settings, Invalid> {
    let lookup = trimmed_variable::read;
    let env = Env::new(&lookup);
    start.end_by(without_file::timeout(options, &env)?);
    if without_file::reads_files(options, &env) {
        start.watch();
    }
    let settings = resolve(&env)?;
    start.end_by(settings.timeout.value);
    start.speak(settings.format.value);
    if settings.verbose.value {
        verbose::begin();
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
        && settings.folder.origin == Origin::Default
        && settings.timeout.value >= QUICK_TIMEOUT
}
