//! `ready-keeper run`: asks on and on, until it is told to end.
//!
//! It never waits for an answer, so that whatever happens is heard at once. What it has begun is left to whoever comes
//! next: a restart command goes on when this ends, and is remembered.

use std::net::TcpListener as Bound;
use std::time::Duration;

use ready_probe::event_loop;
use ready_probe::signals::Signals;
use ready_probe::watch::Watch;
use ready_probe_sdk::{Agent, clock};
use rustix::process::Signal;
use tokio::sync::mpsc::unbounded_channel;

use crate::askers;
use crate::discovery::Discovery;
use crate::engine::Labelled;
use crate::keeper::Keeper;
use crate::people::People;
use crate::scrapes::{Page, Scrapes, Wanted};
use crate::services::{Services, Source};
use crate::voice::{self, Level};

/// How often markers, pauses and orders are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// The name under which the probe finds this program.
pub const AGENT: &str = "ready-keeper";
/// A round takes milliseconds. One that does not end is told of by the probe.
const STALLED_AFTER: Duration = Duration::from_secs(30);

/// Keeps services until TERM or INT. HUP reads their file again; with other containers it means other services.
pub fn run(
    keeper: &mut Keeper,
    bound: Option<Bound>,
    discovery: &mut Discovery,
    source: Source,
    read: impl Fn() -> Result<Source, String>,
    parse: impl Fn(&Source, &Labelled) -> Result<(Services, People), String>,
) -> Result<(), String> {
    let event_loop = event_loop::start()?;
    event_loop.block_on(go_on(keeper, bound, discovery, source, read, parse))?;
    // Who still asks, asks for nobody.
    event_loop.shutdown_background();
    Ok(())
}

async fn go_on(
    keeper: &mut Keeper,
    bound: Option<Bound>,
    discovery: &mut Discovery,
    mut source: Source,
    read: impl Fn() -> Result<Source, String>,
    parse: impl Fn(&Source, &Labelled) -> Result<(Services, People), String>,
) -> Result<(), String> {
    let caught = [Signal::TERM, Signal::INT, Signal::HUP].map(Signal::as_raw);
    let mut signals =
        Signals::catch(&caught).map_err(|e| format!("signals can't be caught: {e}"))?;
    let mut watch = Watch::of_processes();
    let (sender, mut answers) = unbounded_channel();
    let (lister, mut lists) = unbounded_channel();
    let mut scrapes = bound.map(Scrapes::new).transpose()?;
    let agent = publish();
    loop {
        if let Some(agent) = &agent {
            // A signal that can't be written is written by the next beat.
            let _ = agent.tick();
        }
        for ask in keeper.due() {
            let sender = sender.clone();
            askers::ask(ask, move |answered| drop(sender.send(answered)));
        }
        if let Some(wanted) = discovery.due(clock::mono_ms()) {
            let lister = lister.clone();
            askers::list(wanted, move |listed| drop(lister.send(listed)));
        }
        watch.follow(&keeper.processes());
        let until = clock::instant() + pause(keeper);
        let answered = loop {
            tokio::select! {
                // Whoever wants metrics comes last, and changes nothing.
                biased;
                caught = signals.next() => {
                    if caught.number != Signal::HUP.as_raw() {
                        voice::say(Level::Info, "ready-keeper ends; what it has restarted goes on");
                        return Ok(());
                    }
                    match read().and_then(|read| Ok((parse(&read, &discovery.labelled)?, read))) {
                        Ok(((services, people), read)) => {
                            source = read;
                            discovery.want(services.engine.clone());
                            keeper.has_read(true);
                            keeper.know_listing(discovery.trouble());
                            take(keeper, services, people, "the services are read again");
                        }
                        Err(why) => {
                            keeper.has_read(false);
                            stay(&why);
                        }
                    }
                    break None;
                }
                Some(listed) = lists.recv() => {
                    let heard = discovery.hear(listed);
                    keeper.know_listing(discovery.trouble());
                    relist(keeper, heard, || parse(&source, &discovery.labelled));
                    break None;
                }
                heard = answers.recv() => break heard,
                _ = watch.next() => {
                    keeper.look_for_ended();
                    break None;
                }
                () = tokio::time::sleep_until(until.into()) => break None,
                wanted = wanted(&mut scrapes) => match wanted.page {
                    Page::Metrics => wanted.give(Ok(keeper.metrics())),
                    Page::Ready => wanted.give(keeper.ready()),
                },
            }
        };
        keeper.round(answered);
    }
}

/// For ever where nobody can ask.
async fn wanted(scrapes: &mut Option<Scrapes>) -> Wanted {
    match scrapes {
        Some(scrapes) => scrapes.next().await,
        None => std::future::pending().await,
    }
}

/// Whether other containers have the label now; then there are other services.
fn relist(
    keeper: &mut Keeper,
    heard: Result<bool, String>,
    parse: impl FnOnce() -> Result<(Services, People), String>,
) {
    match heard {
        Ok(true) => match parse() {
            Ok((services, people)) => {
                take(
                    keeper,
                    services,
                    people,
                    "other containers have the label now",
                );
            }
            Err(why) => stay(&why),
        },
        Ok(false) => {}
        Err(why) => {
            let text = format!(
                "which containers there are can't be told, and those that were there are looked after: {why}"
            );
            voice::say(Level::Warning, &text);
        }
    }
}

fn pause(keeper: &Keeper) -> Duration {
    let left_ms = |next: u64| next.saturating_sub(clock::mono_ms());
    let left = keeper.next_ms().map_or(u64::MAX, left_ms);
    Duration::from_millis(left).min(LOOK)
}

fn take(keeper: &mut Keeper, services: Services, people: People, why: &str) {
    voice::say(Level::Info, why);
    for note in &services.notes {
        voice::say(Level::Warning, note);
    }
    keeper.replace(services, people);
}

fn stay(why: &str) {
    let text = format!("the services stay as they are, since they can't be read: {why}");
    voice::say(Level::Error, &text);
}

/// Says that this program runs, so that it is watched itself.
fn publish() -> Option<Agent> {
    let agent = Agent::builder(AGENT).watchdog(STALLED_AFTER).local();
    let agent = agent.register().and_then(|agent| {
        agent.mark_ready(())?;
        Ok(agent)
    });
    match agent {
        Ok(agent) => Some(agent),
        Err(e) => {
            let text = format!("nobody can ask whether this program works: {e}");
            voice::say(Level::Warning, &text);
            None
        }
    }
}
