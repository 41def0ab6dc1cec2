//! `ready-probe mark`: publishes an agent's signal from a shell, bound to a process.

use std::hash::{DefaultHasher, Hash, Hasher};

use ready_probe_sdk::clock;
use ready_probe_sdk::clock::millis;
use ready_probe_sdk::connect::place::Place;
use ready_probe_sdk::folder::Publication;
use ready_probe_sdk::freshness::Span;
use ready_probe_sdk::host::{self, Epoch, Process};
use ready_probe_sdk::signal::{self, DEFAULT_TTL_MS, Instance, Name, Signal, State, VERSION};
use ready_probe_sdk::store::predecessor::Successor;
use ready_probe_sdk::store::{Record, Store};
use serde_json::{Map, Value};

use crate::cli;
use crate::exit::Exit;
use crate::run;
use crate::start::Start;
use ready_probe::duration;
use ready_probe::event_loop;
use ready_probe::link::store;
use ready_probe::redact::shown;
use ready_probe::settings::{Flags, Invalid, Origin, Settings};
use ready_probe::time_limit::TimeLimit;

/// What wrote the record.
const WRITER: &str = concat!("ready-probe/", env!("CARGO_PKG_VERSION"));

/// How much of what a server says is quoted.
const MAX_QUOTE_CHARS: usize = 200;
/// The most that a server may answer: to a record, and about what others have left.
const MAX_REPLY_BYTES: usize = 1024 * 1024;

/// Runs the command.
pub fn run(args: &cli::Mark, options: &Flags, start: &Start) -> Exit {
    let marked = match Marked::parse(args) {
        Ok(marked) => marked,
        Err(invalid) => return invalid.into(),
    };
    let settings = match run::resolve_alone(options, start) {
        Ok(settings) => settings,
        Err(exit) => return exit,
    };
    let pid_start = match believable(marked.pid, marked.ttl_ms) {
        Ok(pid_start) => pid_start,
        Err(why) => return Exit::failed(why),
    };
    let signal = marked.signal(pid_start);
    let record = match signal.encode() {
        Ok(record) => record,
        Err(e) => return Invalid::usage(e.to_string()).into(),
    };
    let name = marked.name.clone();
    let local = settings.folder.value.clone();
    let mut publication =
        Publication::new(local, name, marked.pid, pid_start).succeeding(Epoch::current());
    if let Err(e) = publication.write(&record) {
        return Exit::failed(e);
    }
    let announced = settings.place.as_ref().map(|place| {
        let announced = announce(&place.value, &signal, &settings, start);
        said_of(&place.value, &signal, announced, &settings)
    });
    let failed = matches!(announced, Some(Err(_)));
    let state = marked.state();
    let Marked { name, pid, .. } = marked;
    let mut text = format!("{name}: {state}, bound to process {pid}\n");
    if let Some(Ok(said) | Err(said)) = announced {
        text.push_str(&format!("{name}: {said}\n"));
    }
    // The signal counts in this container, whatever became of it elsewhere.
    Exit::Done(if settings.quiet.value && !failed {
        String::new()
    } else {
        text
    })
}

/// Announces the signal to the first of the store's servers that takes it. Returns a reservation,
/// if there is one; the error is for people.
fn announce(
    place: &Place,
    signal: &Signal,
    settings: &Settings,
    start: &Start,
) -> Result<Option<String>, String> {
    let record = Record::of(&elsewhere(signal)).map_err(|e| e.to_string())?;
    let limit = TimeLimit::from(start.at, settings.timeout.value);
    event_loop::start()?.block_on(async {
        let put = store::first(place, limit, async |endpoint| {
            let mut store =
                store::open(place, endpoint, MAX_REPLY_BYTES, &settings.secrets).await?;
            let records = std::slice::from_ref(&record);
            let stored = store.put(records).await.map_err(|e| e.cause)?;
            let stored = stored.into_iter().next().ok_or("it did not answer")?;
            Ok((store, stored?))
        });
        let (mut store, reservation) = put.await?;
        // A job that marks itself each time it runs is a new instance each time.
        let agents = std::slice::from_ref(&signal.agent);
        let successor = (&Successor::current(), agents);
        // What is left of the dead ends with its TTL.
        let _ = store::succeed(place, &mut store, successor, limit, &settings.secrets).await;
        Ok(reservation)
    })
}

/// The signal as others see it: with a TTL, since nobody renews it, and as an instance that no
/// other container has and the next mark of the same process has again.
fn elsewhere(signal: &Signal) -> Signal {
    let mut hasher = DefaultHasher::new();
    (&signal.boot_id, signal.pid_ns, signal.init_start).hash(&mut hasher);
    let nonce = format!("{:08x}", hasher.finish() >> 32);
    Signal {
        ttl_ms: Some(signal.ttl_ms.unwrap_or(DEFAULT_TTL_MS)),
        instance: signal.instance.clone().with_nonce(&nonce),
        container: host::container_id(),
        ..signal.clone()
    }
}

fn said_of(
    place: &Place,
    signal: &Signal,
    announced: Result<Option<String>, String>,
    settings: &Settings,
) -> Result<String, String> {
    let store = place.store.redacted();
    match announced {
        Ok(reservation) => {
            let ttl = Span(signal.ttl_ms.unwrap_or(DEFAULT_TTL_MS));
            let reservation = reservation.map_or_else(String::new, |r| format!(" ({r})"));
            Ok(format!("announced to {store} for {ttl}{reservation}"))
        }
        Err(why) => {
            let why = store::quote(place, &why, &settings.secrets, MAX_QUOTE_CHARS);
            Err(format!("not announced to {store}: {why}"))
        }
    }
}

/// What was typed, checked.
struct Marked {
    name: Name,
    not_ready: Option<String>,
    details: Map<String, Value>,
    pid: u32,
    ttl_ms: Option<u64>,
}

impl Marked {
    fn parse(args: &cli::Mark) -> Result<Self, Invalid> {
        let at = |flag, why: String| Invalid::new(&Origin::Flag(flag), why);
        let ttl_ms = match &args.ttl {
            None => None,
            Some(text) => {
                let ttl_ms = millis(duration::duration(text).map_err(|e| at("--ttl", e))?);
                signal::check_ttl_ms(ttl_ms).map_err(|e| at("--ttl", e.to_string()))?;
                Some(ttl_ms)
            }
        };
        Ok(Self {
            name: Name::of_agent(&args.name).map_err(|e| at("NAME", e.to_string()))?,
            not_ready: match &args.not_ready {
                Some(reason) if reason.trim().is_empty() => {
                    return Err(at("--not-ready", "it needs a reason".to_owned()));
                }
                reason => reason.clone(),
            },
            details: details(&args.detail).map_err(|e| at("--detail", e))?,
            pid: match &args.pid {
                Some(text) => process_id(text).map_err(|e| at("--pid", e))?,
                None => parent(),
            },
            ttl_ms,
        })
    }

    fn state(&self) -> State {
        if self.not_ready.is_some() {
            State::NotReady
        } else {
            State::Ready
        }
    }

    fn signal(&self, pid_start: Option<u64>) -> Signal {
        let epoch = Epoch::current();
        let host = host::name();
        Signal {
            v: VERSION,
            agent: self.name.clone(),
            instance: Instance::of_process(&host, self.pid, pid_start),
            state: self.state(),
            reason: self.not_ready.as_deref().map(signal::clean_reason),
            details: self.details.clone(),
            ttl_ms: self.ttl_ms,
            beat_ms: None,
            seq: 0,
            host: Some(host),
            pid: Some(self.pid),
            pid_start,
            boot_id: epoch.boot_id,
            pid_ns: epoch.pid_ns,
            init_start: epoch.init_start,
            time_ns: epoch.time_ns,
            container: None,
            mono_ms: Some(clock::mono_ms()),
            since: Some(clock::wall_rfc3339()),
            sdk: Some(WRITER.to_owned()),
            announced: None,
        }
    }
}

/// The parent of this command; process 1 if that is outside of the container.
fn parent() -> u32 {
    match host::stat_of(std::process::id()) {
        Some(stat) if stat.ppid > 0 => stat.ppid,
        Some(_) | None => 1,
    }
}

fn process_id(text: &str) -> Result<u32, String> {
    text.parse()
        .ok()
        .filter(|pid| (1..=0x7fff_ffff).contains(pid))
        .ok_or_else(|| format!("{} is not a process id", shown(text)))
}

/// When that process started, provided that a probe would believe us.
fn believable(pid: u32, ttl_ms: Option<u64>) -> Result<Option<u64>, String> {
    match Process::of(pid) {
        Process::Gone => Err(format!(
            "there is no process {pid}; --pid names another one"
        )),
        Process::Zombie { .. } => Err(format!("process {pid} has ended; --pid names another one")),
        Process::Unreadable if ttl_ms.is_none() => Err(format!(
            "process {pid} can't be looked at, so a signal can't follow its life: give --ttl"
        )),
        Process::Unreadable => Ok(None),
        Process::Alive { start, euid } => {
            let me = host::my_euid();
            match euid {
                Some(euid) if me != 0 && me != euid => Err(format!(
                    "process {pid} belongs to user {euid}, and no probe believes user {me} what \
                     it says of it: run this command as user {euid} or as root"
                )),
                Some(_) | None => Ok(Some(start)),
            }
        }
    }
}

fn details(pairs: &[String]) -> Result<Map<String, Value>, String> {
    let mut details = Map::new();
    for pair in pairs {
        let (key, value) = match pair.split_once('=') {
            Some((key, value)) if !key.is_empty() => (key, value),
            Some(_) | None => return Err("it is written KEY=VALUE".to_owned()),
        };
        let before = details.insert(key.to_owned(), Value::String(value.to_owned()));
        if before.is_some() {
            return Err(format!("{} is given twice", shown(key)));
        }
    }
    Ok(details)
}
