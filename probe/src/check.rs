//! What each kind of check asks. It knows nothing of verdicts.

mod after_answer;
mod agent;
mod ask_all;
pub mod container;
mod disk;
mod exec;
mod fds;
pub mod file;
mod http;
mod json_pointer;
mod min_instances;
mod nats;
mod peer;
mod pids;
pub mod process;
mod redis;
mod share;
pub mod supervisor;
mod zombies;

use std::path::Path;
use std::pin::Pin;

use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use ready_probe_sdk::clock;
use ready_probe_sdk::connect::place::Place;
use ready_probe_sdk::connect::{Endpoint, stage};
use ready_probe_sdk::folder::Folder;
use ready_probe_sdk::host::Epoch;
use ready_probe_sdk::signal::Name;
use ready_probe_sdk::thread;

use self::after_answer::Rests;
use self::ask_all::{ask, finish};
pub use self::ask_all::{ask_all, ask_each, ask_now};
use crate::answer::Answer;
use crate::fleet::Fleet;
use crate::link::connect;
use crate::link::kept::{self, Kept, KeptFor};
use crate::link::nats::NatsLink;
use crate::link::redis::RedisLink;
use crate::outcome::{self, Outcome};
use crate::redact::Secrets;
use crate::target::{Kind, Resource, Target};
use crate::time_limit::TimeLimit;
use crate::verdict::Scope;

/// How long the reason for a missing answer may be.
const MAX_CAUSE_CHARS: usize = 400;

/// What is added to a word: nothing, or `: ` and the text.
fn after_colon(text: &str) -> String {
    match text {
        "" => String::new(),
        text => format!(": {text}"),
    }
}

/// Where checks are asked from.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// This container's signals.
    pub folder: &'a Folder,
    /// This container's life.
    pub epoch: &'a Epoch,
    /// The store of everybody's signals, if there is one.
    pub place: Option<&'a Place>,
    /// What must not be quoted.
    pub secrets: &'a Secrets,
    /// Whether this process has other children than those of checks, and reaps what ends.
    pub supervises: bool,
    /// The connections that rest, in a process that asks again and again.
    pub kept: Option<&'a Kept>,
}

/// The outcome of a question, and whom it has seen in a store.
type Replied = (Outcome, Vec<Fleet>);

/// The agents that have published in this life of the container, and the answers of their checks:
/// their records have to be read for the one, and need not be read again for the other; nor those of agents
/// whose answers are `known`.
pub fn discover(
    context: Context<'_>,
    known: &dyn Fn(&Name) -> Option<Answer>,
) -> Result<Vec<(Target, Answer)>, String> {
    let names = context.folder.agents().map_err(|e| e.to_string())?;
    let Context {
        folder,
        epoch,
        secrets,
        ..
    } = context;
    let discovered = names.into_iter().filter_map(|name| {
        if let Some(answer) = known(&name) {
            return Some((Target::agent(name), answer));
        }
        let started = clock::instant();
        let outcome = agent::ask_discovered(folder, epoch, secrets, &name)?;
        let target = Target::agent(name);
        let answer = finish(&target, (outcome, Vec::new()), started);
        Some((target, answer))
    });
    Ok(discovered.collect())
}

/// Boxed, because `any` asks targets again.
type Pending<'a> = Pin<Box<dyn Future<Output = Replied> + 'a>>;

fn question<'a>(
    target: &'a Target,
    context: Context<'a>,
    kept: Option<KeptFor<'a>>,
    limit: TimeLimit,
    rests: &'a Rests,
) -> Pending<'a> {
    let secrets = context.secrets;
    match &target.kind {
        // The plan has looked already.
        Kind::Agents => outside_stores(std::future::ready(Outcome::pass())),
        Kind::Agent { name, min } => outside_stores(async move {
            agent::ask(context.folder, context.epoch, context.secrets, name, *min)
        }),
        Kind::Peer { name, min } => match context.place {
            Some(place) => Box::pin(async move {
                let (outcome, fleet) = peer::ask(place, kept, limit, secrets, name, *min).await;
                (outcome, fleet.into_iter().collect())
            }),
            // Settings refuse such a target.
            None => outside_stores(std::future::ready(Outcome::unknown(
                "READY_STORE is not set",
            ))),
        },
        Kind::Redis(redis) => {
            let endpoints = &redis.address.endpoints;
            let anew = any_endpoint(endpoints, limit, secrets, move |endpoint| {
                redis::ask(redis, endpoint, kept, secrets)
            });
            outside_stores(kept::ask(
                kept,
                || redis::opened(redis),
                limit,
                async |link: &mut RedisLink| redis::ask_again(redis, link, secrets).await,
                Outcome::passes,
                anew,
            ))
        }
        Kind::Nats(nats) => {
            let endpoints = &nats.address.endpoints;
            let anew = any_endpoint(endpoints, limit, secrets, move |endpoint| {
                nats::ask(nats, endpoint, kept, secrets)
            });
            outside_stores(kept::ask(
                kept,
                || nats::opened(nats),
                limit,
                async |link: &mut NatsLink| nats::ask_again(nats, link, secrets).await,
                Outcome::passes,
                anew,
            ))
        }
        Kind::Http(http) => outside_stores(async move {
            let (outcome, rest) = http::ask(http, target.scope, kept, limit, secrets).await;
            if let Some(rest) = rest {
                rests.add(rest, limit);
            }
            outcome
        }),
        Kind::Connect(endpoint) => outside_stores(ask_connect(endpoint, target.scope)),
        Kind::Process { pattern, min } => {
            let (pattern, min) = (pattern.clone(), *min);
            let ask = move || process::ask(&pattern, min);
            outside_stores(blocking(Path::new("/proc"), ask))
        }
        Kind::Pid(path) => {
            let asked = path.clone();
            outside_stores(blocking(path, move || file::ask_pid(&asked)))
        }
        Kind::Exec(argv) => outside_stores(exec::ask(argv, secrets)),
        Kind::File(file) => {
            let asked = file.clone();
            outside_stores(blocking(&file.path, move || file::ask(&asked)))
        }
        Kind::Resource(resource) => {
            let asked = resource.clone();
            let ask = move || match &asked {
                Resource::Disk { path, free, inodes } => disk::ask(path, *free, *inodes),
                Resource::Descriptors { of, used } => fds::ask(of, *used),
                Resource::Pids { used } => pids::ask(*used),
                Resource::Zombies { max } => zombies::ask(*max),
            };
            let path = resource.path().unwrap_or(Path::new("/proc"));
            outside_stores(blocking(path, ask))
        }
        Kind::Supervisor(supervisor) => outside_stores(supervisor::ask(supervisor, secrets)),
        Kind::Container(container) => outside_stores(container::ask(container, secrets)),
        Kind::Any(targets) => Box::pin(async move {
            let answers =
                join_all(targets.iter().map(|t| ask(t, context, kept, limit, rests))).await;
            any(targets, answers)
        }),
    }
}

fn outside_stores<'a>(asked: impl Future<Output = Outcome> + 'a) -> Pending<'a> {
    Box::pin(async { (asked.await, Vec::new()) })
}

/// The answer of one of several, and whom all of them have seen.
fn any(targets: &[Target], answers: Vec<Answer>) -> Replied {
    let labels = targets.iter().map(|t| t.label().to_owned());
    let (outcomes, fleets): (Vec<Outcome>, Vec<Vec<Fleet>>) =
        answers.into_iter().map(|a| (a.outcome, a.fleets)).unzip();
    let outcome = outcome::any(labels.zip(outcomes).collect());
    let fleets = match outcome {
        // Not an answer.
        Outcome::Unknown(_) => Vec::new(),
        Outcome::Pass(_) | Outcome::Blemished(_) | Outcome::Fail(_) => {
            fleets.into_iter().flatten().collect()
        }
    };
    (outcome, fleets)
}

/// Reads what may block.
async fn blocking(path: &Path, work: impl FnOnce() -> Outcome + Send + 'static) -> Outcome {
    stage::doing(|| format!("reading {}", path.display()));
    thread::run(work).await.unwrap_or_else(Outcome::Unknown)
}

/// Asks every server of a list at once; the first that passes answers for all. (What is announced in a
/// store has no such answer: see `peer`.)
async fn any_endpoint<'a, F: Future<Output = Outcome>>(
    endpoints: &'a [Endpoint],
    limit: TimeLimit,
    secrets: &Secrets,
    ask: impl Fn(&'a Endpoint) -> F,
) -> Outcome {
    let labelled = |endpoint: &'a Endpoint| {
        let asked = ask(endpoint);
        async move {
            // Each with its own limit, so that each is told for itself.
            let outcome = limit.hold(async { Ok(asked.await) }).await;
            let unanswered =
                |cause: String| Outcome::Unknown(secrets.quote(&cause, MAX_CAUSE_CHARS));
            (endpoint, outcome.unwrap_or_else(unanswered))
        }
    };
    let mut asked: FuturesUnordered<_> = endpoints.iter().map(labelled).collect();
    let mut outcomes = Vec::new();
    while let Some((endpoint, outcome)) = asked.next().await {
        if endpoints.len() == 1 {
            return outcome;
        }
        let passed = outcome.passes();
        outcomes.push((endpoint.to_string(), outcome));
        if passed {
            break;
        }
    }
    outcome::any(outcomes)
}

async fn ask_connect(endpoint: &Endpoint, scope: Scope) -> Outcome {
    match (connect::open(endpoint).await, scope) {
        (Ok(_), _) => Outcome::pass(),
        (Err(connect::NoConnection::Refused(text)), Scope::Own) => Outcome::fail(text),
        (Err(e), Scope::Own | Scope::Dependency) => Outcome::Unknown(e.text()),
    }
}

#[cfg(test)]
mod kept_tests;
