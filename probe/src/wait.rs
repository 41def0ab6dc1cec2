//! `ready-probe wait`: probes until healthy, then runs a command in its own place.
//!
//! Servers are asked again after a pause, agents as soon as they have something new to say ([`news`]).

mod news;

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use ready_probe_sdk::clock;
use ready_probe_sdk::clock::millis;
use ready_probe_sdk::freshness::Span;
use ready_probe_sdk::host::Mounts;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::cli;
use crate::exit::Exit;
use crate::run;
use crate::start::Start;
use crate::tell;
use news::AgentNews;
use ready_probe::event_loop;
use ready_probe::probe::Probe;
use ready_probe::report::Report;
use ready_probe::settings::{Flags, Invalid, Origin, Settings};
use ready_probe::signals::Signals;
use ready_probe::time_limit::{self, TimeLimit};
use ready_probe::verdict::Scope;

/// How long to pause between probes: short while things come up, longer when it takes long.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_LAST: Duration = Duration::from_secs(1);
/// What a probe needs to be worth asking.
const TIME_TO_ANSWER: Duration = Duration::from_millis(50);

/// Runs the command.
pub fn run(args: &cli::Wait, options: &Flags, start: &Start) -> Exit {
    let limit = match time_limit::parse(&args.limit) {
        Ok(limit) => limit,
        Err(why) => return Invalid::new(&Origin::Flag("--for"), why).into(),
    };
    let mut settings = match run::resolve_tried(options, &args.targets.targets, start) {
        Ok(settings) => settings,
        Err(exit) => return exit,
    };
    if args.targets.targets.is_empty() && !args.command.is_empty() {
        only_dependencies(&mut settings);
    }
    if let Some(exit) = run::answered_parent(&settings, start) {
        return exit;
    }
    let end = start.end_by(limit);
    let waited = match event_loop::start() {
        Ok(event_loop) => event_loop.block_on(until_healthy(&settings, start.far_mounts(), end)),
        Err(cause) => return Exit::failed(cause),
    };
    match waited {
        Ok(Waited::Interrupted(number)) => Exit::Signal(number),
        Ok(Waited::Healthy(report)) if args.command.is_empty() => {
            tell::finish(&report, &settings, start)
        }
        Ok(Waited::Healthy(_)) => replace_myself(&args.command),
        Ok(Waited::TimeIsUp(mut report)) => {
            report
                .notes
                .push(format!("gave up after {}", Span(millis(limit))));
            tell::finish(&report, &settings, start)
        }
        Err(why) => Exit::failed(why),
    }
}

/// The agent is what the command starts: nobody else can have it ready before. What was typed
/// beside the command is meant.
fn only_dependencies(settings: &mut Settings) {
    settings.discover = false;
    settings
        .checks
        .retain(|check| check.value.scope == Scope::Dependency || check.origin.is_typed());
}

enum Waited {
    Healthy(Report),
    TimeIsUp(Report),
    Interrupted(i32),
}

async fn until_healthy(
    settings: &Settings,
    mounts: Option<&Mounts>,
    end: Instant,
) -> Result<Waited, String> {
    // As process 1 of a container, TERM and INT are ignored unless somebody handles them.
    let mut signals =
        Signals::catch(&[SIGTERM, SIGINT]).map_err(|e| format!("signals can't be caught: {e}"))?;
    let probe = Probe::new(settings, mounts).without_grace();
    let mut pause = PAUSE_FIRST;
    let mut said = String::new();
    // Who is healthy at once needs none.
    let mut news: Option<AgentNews<'_>> = None;
    loop {
        if let Some(news) = &mut news {
            news.begin();
        }
        let now = clock::instant();
        let set = settings
            .timeout
            .value
            .min(end.saturating_duration_since(now));
        let limit = TimeLimit { at: now + set, set };
        let mut plan = probe.plan();
        let answers = tokio::select! {
            answers = probe.ask(&mut plan, limit) => answers,
            caught = signals.next() => return Ok(Waited::Interrupted(caught.number)),
        };
        let report = probe.judge(plan, answers);
        if report.verdict.is_healthy() {
            return Ok(Waited::Healthy(report));
        }
        say_once(&mut said, &report, settings.quiet.value);
        let left = end.saturating_duration_since(clock::instant());
        // The last probe must have time to be answered, or its report would say no more than that.
        let is_last = left < TIME_TO_ANSWER;
        let pause_now = if is_last { left } else { pause.min(left / 2) };
        if news.is_none() && !is_last {
            news = AgentNews::of(settings, mounts, &probe);
        }
        tokio::select! {
            () = tokio::time::sleep(pause_now) => pause = (pause * 2).min(PAUSE_LAST),
            () = next(news.as_mut()), if !is_last => {}
            caught = signals.next() => return Ok(Waited::Interrupted(caught.number)),
        }
        if is_last {
            return Ok(Waited::TimeIsUp(report));
        }
    }
}

/// For ever where nothing tells of agents.
async fn next(news: Option<&mut AgentNews<'_>>) {
    match news {
        Some(news) => news.next().await,
        None => std::future::pending().await,
    }
}

/// Says on stderr what is waited for, when that changes. Times in it change always.
fn say_once(said: &mut String, report: &Report, quiet: bool) {
    let line = report.first_line();
    let timeless: String = line.chars().filter(|c| !c.is_ascii_digit()).collect();
    if quiet || *said == timeless {
        return;
    }
    *said = timeless;
    // Nobody is left to be told when stderr is closed.
    let _ = writeln!(std::io::stderr(), "waiting: {line}");
}

/// Returns only if the command can't be run.
fn replace_myself(command: &[OsString]) -> Exit {
    let Some((program, args)) = command.split_first() else {
        return Exit::failed("no command");
    };
    // An `exec:` check made us the reaper of orphans; that would outlive execve(2).
    if let Err(e) = rustix::process::set_child_subreaper(None) {
        tracing::warn!("still a subreaper: {e}");
    }
    let error = Command::new(program).args(args).exec();
    Exit::not_run(program, &error)
}
