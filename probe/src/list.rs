//! `ready-probe list`: the signals in the store, or those of this container; one row an instance, the worst
//! first.

mod expected;
mod json;
mod text;

use ready_probe_sdk::connect::place::Place;
use ready_probe_sdk::signal::Name;
use ready_probe_sdk::store::{Failure, Seen, Store};

use crate::cli;
use crate::exit::Exit;
use crate::instances::{self, ListRow, ListStanding};
use crate::run;
use crate::start::Start;
use expected::Unmet;
use ready_probe::event_loop;
use ready_probe::link::store::{self, LinkedStore};
use ready_probe::newest::newest;
use ready_probe::settings::{Flags, Format, Invalid, Origin, Settings};
use ready_probe::time_limit::TimeLimit;

/// How much of what others say is quoted.
const MAX_QUOTE_CHARS: usize = 300;
/// How many agents are read at once.
const CHUNK: usize = 256;
/// A chunk of agents with the largest records, several instances each.
const MAX_REPLY_BYTES: usize = 16 * 1024 * 1024;

/// What was found.
#[derive(Debug, Default)]
struct Listing {
    rows: Vec<ListRow>,
    /// Why servers of a store did not answer, if another one did.
    unanswered: Vec<String>,
    /// Why the store does not answer; then the rows are those of this container.
    away: Option<String>,
    unmet: Unmet,
    /// Ready instances are not shown.
    only_not_ready: bool,
}

impl Listing {
    fn shown(&self) -> impl Iterator<Item = &ListRow> {
        let hides = |row: &&ListRow| self.only_not_ready && row.standing == ListStanding::Ready;
        self.rows.iter().filter(move |row| !hides(row))
    }
}

/// Runs the command.
pub fn run(args: &cli::List, options: &Flags, start: &Start) -> Exit {
    let settings = match run::resolve_alone(options, start) {
        Ok(settings) => settings,
        Err(exit) => return exit,
    };
    let asked =
        names("NAME", &args.names).and_then(|asked| Ok((asked, names("--expect", &args.expect)?)));
    let (asked, expected) = match asked {
        Ok(asked) => asked,
        Err(invalid) => return invalid.into(),
    };
    let mut wanted = asked;
    if !wanted.is_empty() {
        wanted.extend(expected.iter().cloned());
        wanted.sort();
        wanted.dedup();
    }
    let mut listing = match list(&wanted, &settings, start) {
        Ok(listing) => listing,
        Err(why) => return Exit::failed(settings.secrets.quote(&why, MAX_QUOTE_CHARS)),
    };
    instances::sort(&mut listing.rows);
    listing.only_not_ready = args.not_ready;
    // While the store is away, nobody knows who else is ready.
    if listing.away.is_none() {
        listing.unmet = Unmet::of(&expected, &listing.rows);
    }
    let text = match settings.format.value {
        Format::Text => text::text(&listing, args.wide, &settings),
        Format::Json => json::json(&listing, &settings),
        Format::Prometheus => return no_metrics(&settings),
    };
    if listing.away.is_none() && listing.unmet.is_empty() {
        Exit::Done(text)
    } else {
        Exit::Failed(text)
    }
}

/// What is to be listed is a report of nothing that was asked.
fn no_metrics(settings: &Settings) -> Exit {
    let why = "list has no metrics; a probe has them: ready-probe --format prometheus";
    Invalid::new(&settings.format.origin, why).into()
}

fn names(origin: &'static str, typed: &[String]) -> Result<Vec<Name>, Invalid> {
    let invalid = |e: ready_probe_sdk::Error| Invalid::new(&Origin::Flag(origin), e);
    let names = typed.iter().map(|name| Name::new(name.trim()));
    names.map(|name| name.map_err(invalid)).collect()
}

fn list(names: &[Name], settings: &Settings, start: &Start) -> Result<Listing, String> {
    let folder = &settings.folder.value;
    let Some(place) = &settings.place else {
        return Ok(Listing {
            rows: instances::of_folder(folder, names)?,
            ..Listing::default()
        });
    };
    match list_remote(&place.value, names, settings, start) {
        Ok(listing) => Ok(listing),
        Err(why) => Ok(Listing {
            rows: instances::of_folder(folder, names).map_err(|e| format!("{why}; {e}"))?,
            away: Some(why),
            ..Listing::default()
        }),
    }
}

fn list_remote(
    place: &Place,
    names: &[Name],
    settings: &Settings,
    start: &Start,
) -> Result<Listing, String> {
    let event_loop = event_loop::start()?;
    let limit = TimeLimit::from(start.at, settings.timeout.value);
    let quote = |why: &str| store::quote(place, why, &settings.secrets, MAX_QUOTE_CHARS);
    let listing = event_loop.block_on(async {
        let read = store::each(place, async |endpoint| {
            let read = limit.hold(async {
                let mut store =
                    store::open(place, endpoint, MAX_REPLY_BYTES, &settings.secrets).await?;
                let (agents, seen) = read_all(&mut store, names).await.map_err(|e| e.cause)?;
                Ok((store, agents, seen))
            });
            let (mut store, agents, seen) = read.await?;
            store::tidy(place, &mut store, &agents, limit, &settings.secrets).await;
            Ok(seen)
        });
        let (read, failures) = read.await.map_err(|why| quote(&why))?;
        let all: Vec<Seen> = read.into_iter().flatten().collect();
        Ok(Listing {
            rows: newest(&all).into_iter().map(ListRow::seen).collect(),
            unanswered: failures.iter().map(|why| quote(why)).collect(),
            ..Listing::default()
        })
    });
    // Nobody waits for a resolver that still waits.
    event_loop.shutdown_background();
    listing
}

/// The agents, and their instances.
async fn read_all(
    store: &mut LinkedStore,
    names: &[Name],
) -> Result<(Vec<Name>, Vec<Seen>), Failure> {
    let agents = match names {
        [] => store.agents().await?,
        names => names.to_vec(),
    };
    let mut seen = Vec::new();
    for some in agents.chunks(CHUNK) {
        seen.extend(store.read(some).await?);
    }
    Ok((agents, seen))
}

/// The place that was searched, for people.
fn place(settings: &Settings) -> String {
    match &settings.place {
        Some(place) => format!(
            "{}, namespace {}",
            place.value.store.redacted(),
            place.value.namespace
        ),
        None => folder(settings),
    }
}

fn folder(settings: &Settings) -> String {
    let dirs = settings.folder.value.dirs();
    let dirs: Vec<String> = dirs.map(|dir| dir.display().to_string()).collect();
    dirs.join(", ")
}
