//! `ready-probe --long-poll`: holds the answer back while it stays what its asker has heard, and gives it as soon
//! as it changes.
//!
//! Whoever holds an answer asks, as any probe does, and goes on asking ([`round`]) when something happens or a
//! check's time has come. Whether it may hold is decided in `ready_probe::hold`, and what its asker has surely
//! heard is in the probe's memory.

mod files;
mod round;
mod standing;

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::time::{Duration, Instant};

use ready_probe_sdk::clock::{self, millis};
use ready_probe_sdk::connect::place::Place;
use ready_probe_sdk::freshness::Span;
use ready_probe_sdk::host::Mounts;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::cli::LongPoll;
use crate::exit::Exit;
use crate::run;
use crate::start::Start;
use crate::tell;
use files::Files;
use ready_probe::event_loop;
use ready_probe::grace::Grace;
use ready_probe::hold::{Class, Hold, LONGEST};
use ready_probe::hung_mount;
use ready_probe::link::kept::Kept;
use ready_probe::memory::{Begun, Ending, Holder};
use ready_probe::probe::Probe;
use ready_probe::report::Report;
use ready_probe::role;
use ready_probe::settings::{Flags, Invalid, Origin, Settings};
use ready_probe::signals::Signals;
use ready_probe::time_limit::{self, TimeLimit};
use ready_probe::verdict::Scope;
use ready_probe::watch::{Agents, Watch, Woken};
use round::Round;
pub use standing::{Standing, agents_in, words};

/// Whoever wakes so much later than planned was stopped: what has been heard meanwhile nobody knows.
const STOPPED: Duration = Duration::from_secs(5);
/// How often what nothing tells of is looked at: the files of settings, and who else asks.
const LOOK_AROUND: Duration = Duration::from_secs(15);
/// Where several ask, each has heard an answer that is older than this.
const RECENT_MS: u64 = 60_000;
const MAX_RETRIES: u32 = 1_000;

/// An option that was typed beside another command.
pub fn refused(option: &str) -> Exit {
    Exit::Usage(format!(
        "ready-probe: {option} is an option of the health check alone, not of a command; see \
         ready-probe --help\n"
    ))
}

/// `ready-probe --long-poll DURATION [TARGET...]`
pub fn run(
    targets: &[String],
    typed: &LongPoll,
    file: Option<&Path>,
    options: &Flags,
    start: &Start,
) -> Exit {
    let hold = match parse(typed) {
        Ok(hold) => hold,
        Err(invalid) => return invalid.into(),
    };
    if let Err(exit) = run::relay_probe(file, options, start) {
        return exit;
    }
    start.watch();
    // As they are before they are read.
    let files = Files::now(options);
    let settings = match run::resolve(options, targets, start) {
        Ok(settings) => settings,
        Err(invalid) => return invalid.into(),
    };
    if let Some(exit) = run::answered_parent(&settings, start) {
        return exit;
    }
    let kept = Kept::new();
    let held = Held {
        probe: &Probe::new(&settings, start.far_mounts()).keeping(&kept),
        kept: &kept,
        settings: &settings,
        hold,
        files,
        file,
    };
    held.run(options, start)
}

/// How the answer is to be held.
fn parse(typed: &LongPoll) -> Result<Hold, Invalid> {
    let text = typed.long_poll.as_deref().unwrap_or_default();
    let invalid = |why| Invalid::new(&Origin::Flag("--long-poll"), why);
    let longest = time_limit::parse(text).map_err(invalid)?;
    if longest > LONGEST {
        let why = format!("it is {} at most", Span(millis(LONGEST)));
        return Err(invalid(why));
    }
    let retries = typed.retries.parse().ok();
    let Some(retries) = retries.filter(|n| (1..=MAX_RETRIES).contains(n)) else {
        let why = format!("it must be a number from 1 to {MAX_RETRIES}");
        return Err(Invalid::new(&Origin::Flag("--retries"), why));
    };
    Ok(Hold { longest, retries })
}

/// A probe whose answer may be held.
struct Held<'a> {
    /// What asks.
    probe: &'a Probe<'a>,
    /// The connections that it keeps.
    kept: &'a Kept,
    /// What was resolved.
    settings: &'a Settings,
    /// How long it may be held.
    hold: Hold,
    /// What the settings were read from.
    files: Files,
    /// Where the answer goes, too.
    file: Option<&'a Path>,
}

/// How the last round has ended.
struct Ended {
    report: Report,
    /// How its asker is going to hear it.
    ending: Ending,
}

impl Held<'_> {
    /// From the first question to the end.
    fn run(self, options: &Flags, start: &Start) -> Exit {
        let event_loop = match event_loop::start() {
            Ok(event_loop) => event_loop,
            Err(cause) => return run::unanswered(&cause, self.file, options, start),
        };
        let key = key(self.settings, self.hold);
        let mounts = start.far_mounts();
        let begun = self.begin(&key, mounts);
        let (begun, note) = match begun {
            Ok((me, begun)) => (Some((me, begun)), None),
            Err(why) => (None, Some(format!("not held: {why}"))),
        };
        let seen = begun.map(|(_, begun)| begun).unwrap_or_default();
        let asked = self.ask(&key, seen, start, mounts);
        let ended = event_loop.block_on(asked);
        event_loop.shutdown_background();
        // Nothing was asked in full, so there is nothing to say, and nothing that is remembered.
        let Ended { mut report, ending } = match ended {
            Ok(ended) => ended,
            Err(signal) => return Exit::Signal(signal),
        };
        report.notes.extend(note);
        if let Some(limit) = seen.limit {
            report.notes.push(format!(
                "held for {} at most: HEALTHCHECK's --timeout has ended the last holds; it must be longer than \
                 --long-poll",
                Span(millis(limit))
            ));
        }
        // The hold may have left the deadline far away.
        start.end_by(start.elapsed() + self.settings.timeout.value);
        let class = Class::from(report.verdict);
        let (exit, is_whole) = match self.file {
            None => start.say(tell::finish(&report, self.settings, start)),
            Some(file) => tell::in_file(&report, self.settings, file, start),
        };
        if let Some((me, begun)) = begun {
            let ending = if is_whole { ending } else { Ending::Doubtful };
            // Then the next one answers at once.
            if let Err(why) = self.probe.end(&key, me, begun.beside, (class, ending)) {
                tracing::debug!("{why}");
            }
        }
        exit
    }

    /// Tells the memory. The error is why nothing can be held.
    fn begin(&self, key: &str, mounts: Option<&Mounts>) -> Result<(Holder, Begun), String> {
        if role::role().is_some() {
            return Err("the settings are on a file system that may hang".to_owned());
        }
        let is_far = |mounts| hung_mount::paths::of_folder(mounts, &self.settings.folder.value);
        if let Some(point) = mounts.and_then(is_far) {
            return Err(format!("{} may hang", point.display()));
        }
        let me = Holder::myself().ok_or("/proc does not show this process")?;
        let begun = self.probe.begin(key, me);
        Ok((
            me,
            begun.map_err(|why| format!("this can't be remembered: {why}"))?,
        ))
    }

    /// Asks until there is something to say. The error is the signal that has come before.
    async fn ask(
        &self,
        key: &str,
        begun: Begun,
        start: &Start,
        mounts: Option<&Mounts>,
    ) -> Result<Ended, i32> {
        let settings = self.settings;
        let signals = Signals::catch(&[SIGTERM, SIGINT]);
        let is_healthy = begun
            .heard
            .is_some_and(|heard| heard.class == Class::Healthy);
        let mut round = Round::new(self.probe, settings, key, is_healthy);
        let timeout = settings.timeout.value;
        let limit = TimeLimit::from(start.at, timeout);
        let mut signals = match signals {
            Ok(signals) => signals,
            Err(e) => {
                let mut report = round.ask_all(limit).await;
                report
                    .notes
                    .push(format!("not held: signals can't be caught: {e}"));
                return Ok(Ended {
                    report,
                    ending: Ending::Whole,
                });
            }
        };
        let mut report = tokio::select! {
            biased;
            caught = signals.next() => return Err(caught.number),
            report = round.ask_all(limit) => report,
        };
        // Whoever does not hold need not watch: to end that takes the kernel some 10 ms.
        let mut watching: Option<Watching> = None;
        let longest = begun
            .limit
            .map_or(self.hold.longest, |limit| limit.min(self.hold.longest));
        let hold = Hold {
            longest,
            ..self.hold
        };
        start.resume_with(timeout);
        let mut extended = None;
        let mut look_around = clock::instant() + LOOK_AROUND;
        let ending = loop {
            let Some(held) = hold.of(begun.heard, Class::from(report.verdict)) else {
                break Ending::Whole;
            };
            if extended.replace(held) != Some(held) {
                start.end_by(held + timeout);
            }
            let end = start.plus(held);
            if clock::instant() >= end {
                report = round.report_now();
                break Ending::Whole;
            }
            // Where the answer was another one not long ago, somebody else may have been told.
            let is_recent = clock::mono_ms().saturating_sub(begun.since_ms) < RECENT_MS;
            let looks_around = self.files.are_there() || (is_recent && !begun.several);
            let until = if looks_around {
                end.min(look_around)
            } else {
                end
            };
            let planned = planned(until, round.due_ms());
            let watch = match &mut watching {
                Some(watch) => watch,
                None => {
                    let watch = watching.insert(Watching(watch_agents(settings, mounts)));
                    // What has happened in between is not told.
                    report = round.report_now();
                    watch.follow(&round);
                    continue;
                }
            };
            // What has changed is looked at in a moment; until then the kernel keeps what else happens.
            let listens = !round.has_changed();
            let caught = tokio::select! {
                biased;
                caught = signals.next() => Some(caught.number),
                woken = watch.next(), if listens => {
                    round.note(woken);
                    None
                }
                targets = self.kept.ended() => {
                    round.note_ended(&targets);
                    None
                }
                // After all that is rare: of many checks there may always be one that has answered.
                () = round.answered() => None,
                () = tokio::time::sleep_until(planned.into()) => None,
            };
            if let Some(signal) = caught {
                report = round.report_now();
                // A person's Ctrl-C tells nothing of how long the engine waits.
                break match signal {
                    SIGINT => Ending::Doubtful,
                    _ => Ending::Cut(start.elapsed()),
                };
            }
            if clock::instant().saturating_duration_since(planned) > STOPPED {
                start.end_by(start.elapsed() + timeout);
                let limit = TimeLimit::from(clock::instant(), timeout);
                report = round.ask_all(limit).await;
                break Ending::Doubtful;
            }
            let news = match round.look() {
                None if looks_around && clock::instant() >= look_around => round.judge_again(),
                None => continue,
                Some(news) => news,
            };
            look_around = clock::instant() + LOOK_AROUND;
            watch.follow(&round);
            report = news;
            let has_company = !begun.several && round.has_company();
            if has_company || self.files.have_changed() {
                report = round.report_now();
                break Ending::Doubtful;
            }
        };
        let note = watching.as_ref().and_then(Watching::note);
        report.notes.extend(note.map(str::to_owned));
        Ok(Ended { report, ending })
    }
}

/// When to wake, if nothing happens before.
fn planned(end: Instant, due_ms: Option<u64>) -> Instant {
    let Some(due_ms) = due_ms else { return end };
    let left = Duration::from_millis(due_ms.saturating_sub(clock::mono_ms()));
    (clock::instant() + left).min(end)
}

/// Watches the agents that are asked about, if any.
pub fn watch_agents(settings: &Settings, mounts: Option<&Mounts>) -> Option<Watch> {
    let folder = &settings.folder.value;
    if settings.discover {
        return Some(Watch::new(folder, mounts, Agents::All));
    }
    let targets = settings.checks.iter().map(|check| &check.value);
    let names: BTreeSet<_> = targets.flat_map(agents_in).collect();
    let named = (!names.is_empty()).then_some(Agents::Named(&names));
    named.map(|agents| Watch::new(folder, mounts, agents))
}

/// The agents that are asked about, if any.
struct Watching(Option<Watch>);

impl Watching {
    fn follow(&mut self, round: &Round<'_>) {
        if let Some(watch) = &mut self.0 {
            watch.follow(&round.processes());
        }
    }

    async fn next(&mut self) -> Woken {
        match &mut self.0 {
            Some(watch) => watch.next().await,
            None => std::future::pending().await,
        }
    }

    fn note(&self) -> Option<&str> {
        self.0.as_ref()?.note()
    }
}

/// Who asks the same: it is told apart by what is asked, where, and how it is held.
fn key(settings: &Settings, hold: Hold) -> String {
    let mut hasher = DefaultHasher::new();
    (hold.longest, hold.retries, settings.discover).hash(&mut hasher);
    let grace = |grace: &Grace| grace.to_string();
    (grace(&settings.grace.value), settings.timeout.value).hash(&mut hasher);
    settings
        .folder
        .value
        .dirs()
        .for_each(|dir| dir.hash(&mut hasher));
    if let Some(place) = &settings.place {
        let Place { store, namespace } = &place.value;
        (store.redacted(), namespace.as_str()).hash(&mut hasher);
    }
    for check in &settings.checks {
        let target = &check.value;
        (
            &target.redacted,
            target.optional,
            target.scope == Scope::Own,
        )
            .hash(&mut hasher);
        (target.timeout, target.confirm, target.recheck).hash(&mut hasher);
        target.grace.as_ref().map(grace).hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}
