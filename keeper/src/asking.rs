//! Asking, in a process of its own: by the engine, all services at once.
//!
//! What stands in the way of a restart is asked in a second round, of those that do not work.

mod reply;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use futures_util::future::{join, join_all};
use ready_probe::answer::Answer;
use ready_probe::check::{self, Context, file, supervisor};
use ready_probe::event_loop;
use ready_probe::link::connect;
use ready_probe::link::http::CLOSED;
use ready_probe::outcome::Outcome;
use ready_probe::redact::Secrets;
use ready_probe::target::{Kind, Target};
use ready_probe::time_limit::TimeLimit;
use ready_probe_sdk::clock;
use ready_probe_sdk::connect::Endpoint;
use ready_probe_sdk::folder::Folder;
use ready_probe_sdk::freshness::{self, Observed};
use ready_probe_sdk::host::{Epoch, Process};
use ready_probe_sdk::signal::Name;

use crate::container::Sight;
use crate::engine;
use crate::machine::Barrier;
use crate::processes::{Match, Pattern, Running, youngest};
use crate::question::{Question, Reply};
use crate::seen::{Asked, Cause, Heard, Seen, judge_agent};
use crate::stood_still::Ticks;

/// How long somebody who accepts connections takes to do so.
const DOOR: Duration = Duration::from_secs(1);
/// What an answer may take beyond its time until it is told.
const MARGIN: Duration = Duration::from_secs(1);

/// How long all of them may take together: they are asked at once.
pub fn patience(questions: &[Question]) -> Duration {
    // First the checks of all, then what keeps a restart from helping.
    let longest =
        |of: fn(&Question) -> Duration| questions.iter().map(of).max().unwrap_or_default();
    longest(Question::patience)
        + longest(Question::patience_of_barriers)
        + MARGIN
        + DOOR
        + MARGIN
        + MARGIN
}

/// Reads questions, asks them, and writes the replies, in their order.
pub fn answer(mut input: impl Read, mut output: impl Write) -> Result<(), String> {
    let mut text = String::new();
    input
        .read_to_string(&mut text)
        .map_err(|e| format!("questions can't be read: {e}"))?;
    let questions: Vec<Question> =
        serde_json::from_str(&text).map_err(|e| format!("these are no questions: {e}"))?;
    let replies = ask(&questions)?;
    let text = serde_json::to_string(&replies).map_err(|e| e.to_string())?;
    output
        .write_all(text.as_bytes())
        .map_err(|e| format!("replies can't be written: {e}"))
}

/// One check of one service.
struct Asking<'a> {
    /// Whose.
    number: usize,
    target: Target,
    processes: Option<(Pattern, usize)>,
    question: &'a Question,
}

/// What is heard of one check, and of whose life.
struct Word {
    heard: Heard,
    process: Option<(u32, u64)>,
    took: Option<Duration>,
}

fn ask(questions: &[Question]) -> Result<Vec<Reply>, String> {
    let mut secrets = Secrets::default();
    let mut checks = Vec::new();
    for (number, question) in questions.iter().enumerate() {
        for what in &question.checks {
            let target = what.target(question.timeout_ms, &mut secrets)?;
            let processes = what.processes(&target);
            checks.push(Asking {
                number,
                target,
                processes,
                question,
            });
        }
    }
    let folder = Folder::from_env().unwrap_or_default();
    let epoch = Epoch::current();
    let context = Context {
        folder: &folder,
        epoch: &epoch,
        place: None,
        secrets: &secrets,
        supervises: false,
        kept: None,
    };
    let ticks = Ticks::begin();
    let looks = checks.iter().any(|check| check.processes.is_some())
        || questions.iter().any(|question| question.of.is_some());
    let running = look(looks);
    let event_loop = event_loop::start()?;
    let heard = hear(&checks, context, running, &ticks);
    let (sights, (words, running)) =
        event_loop.block_on(join(look_at_containers(questions, &secrets), heard));
    let mut replies: Vec<Reply> = questions
        .iter()
        .zip(&sights)
        .enumerate()
        .map(|(number, (question, sight))| {
            let of_it = checks.iter().zip(&words);
            let of_it: Vec<_> = of_it.filter(|(check, _)| check.number == number).collect();
            reply::all(question, sight.as_ref(), &of_it, running.as_ref())
        })
        .collect();
    let barriers = event_loop.block_on(barriers(questions, &mut replies, context));
    // What still waits, waits for nobody.
    event_loop.shutdown_background();
    barriers.map(|()| replies)
}

/// What their engines say of the containers of these services.
async fn look_at_containers(questions: &[Question], secrets: &Secrets) -> Vec<Option<Sight>> {
    let look = async |question: &Question| match &question.container {
        Some(container) => Some(engine::look(container, question.timeout(), secrets).await),
        None => None,
    };
    join_all(questions.iter().map(look)).await
}

/// Looks at all processes, beside everything else: a process in trouble may hold whoever looks at it.
fn look(is_needed: bool) -> Option<Receiver<Result<Running, String>>> {
    if !is_needed {
        return None;
    }
    let (sender, found) = channel();
    // Nobody listens when time is up.
    let look = move || drop(sender.send(Running::look()));
    std::thread::Builder::new().spawn(look).ok().map(|_| found)
}

async fn hear(
    checks: &[Asking<'_>],
    context: Context<'_>,
    running: Option<Receiver<Result<Running, String>>>,
    ticks: &Ticks,
) -> (Vec<Word>, Option<Running>) {
    let limit = limit(checks.iter().map(|check| &check.target));
    let by_engine = checks.iter().filter(|check| check.processes.is_none());
    let by_engine: Vec<&Target> = by_engine.map(|check| &check.target).collect();
    let mut answers = check::ask_all(&by_engine, context, limit).await.into_iter();
    let running = running.map_or_else(
        || Err("there was no thread to look at processes".to_owned()),
        |running| {
            let left = limit.at.saturating_duration_since(clock::instant());
            let looked = running.recv_timeout(left.max(Duration::from_millis(1)));
            looked.unwrap_or_else(|_| Err("looking at all processes took too long".to_owned()))
        },
    );
    let mut words: Vec<Word> = checks
        .iter()
        .map(|check| match &check.processes {
            Some((pattern, min)) => of_processes(check, pattern, *min, &running),
            None => of_engine(check, answers.next(), context),
        })
        .collect();
    knock(checks, &mut words, context).await;
    let stood_still = ticks.were_late();
    for word in &mut words {
        word.heard.stood_still = stood_still;
    }
    (words, running.ok())
}

fn limit<'a>(targets: impl Iterator<Item = &'a Target>) -> TimeLimit {
    let longest = targets.filter_map(|target| target.timeout).max();
    TimeLimit::from(clock::instant(), longest.unwrap_or_default() + MARGIN)
}

fn of_processes(
    check: &Asking<'_>,
    pattern: &Pattern,
    min: usize,
    running: &Result<Running, String>,
) -> Word {
    let (outcome, found) = match running {
        Ok(running) => running.ask(pattern, min, check.question.restart),
        Err(why) => (Outcome::unknown(why.as_str()), Vec::new()),
    };
    let (outcome, asked) = if check.target.not {
        (outcome.inverted(), Asked::Other)
    } else {
        (outcome, Asked::Process)
    };
    let found = youngest(&found).filter(|_| !check.target.not);
    Word {
        heard: Heard {
            asked,
            outcome,
            timed_out: false,
            stood_still: false,
            is_here: true,
            broke_off: false,
            door: None,
        },
        process: found.map(|Match { pid, start, .. }| (pid, start)),
        took: None,
    }
}

fn of_engine(check: &Asking<'_>, answer: Option<Answer>, context: Context<'_>) -> Word {
    let target = &check.target;
    let answer = answer.unwrap_or_else(|| Answer::unasked(Outcome::unknown("it was not asked")));
    let limit = target.timeout.unwrap_or_default();
    let is_http = matches!(&target.kind, Kind::Http(http) if http.tls.is_none());
    let (asked, process) = match &target.kind {
        _ if target.not => (Asked::Other, None),
        Kind::Http(_) | Kind::Redis(_) | Kind::Nats(_) => (Asked::Server, None),
        Kind::Connect(_) => (Asked::Door, None),
        // Whoever says FATAL or EXITED knows.
        Kind::Supervisor(supervisor) => {
            let process = supervisor::process_of(supervisor, &answer.outcome);
            (Asked::Process, process)
        }
        Kind::Process { .. } => (Asked::Process, None),
        Kind::Pid(path) => (Asked::Process, file::process_of(path).ok()),
        Kind::Exec(_) => (Asked::Command, None),
        Kind::Agent { name, .. } => agent(name, check.question.no_counts, context),
        Kind::Agents
        | Kind::Peer { .. }
        | Kind::File(_)
        | Kind::Resource(_)
        | Kind::Container(_)
        | Kind::Any(_) => (Asked::Other, None),
    };
    Word {
        took: Some(answer.elapsed),
        heard: Heard {
            asked,
            timed_out: answer.elapsed >= limit,
            stood_still: false,
            is_here: match endpoint(target) {
                Some(endpoint) => endpoint.is_loopback(),
                None => !matches!(target.kind, Kind::Redis(_) | Kind::Nats(_)),
            },
            broke_off: is_http && breaks_off(&answer.outcome),
            outcome: answer.outcome,
            door: None,
        },
        process,
    }
}

/// Whether the server closed the connection, or reset it, without an answer.
fn breaks_off(outcome: &Outcome) -> bool {
    let reset = connect::plain(&io::Error::from(io::ErrorKind::ConnectionReset));
    let text = outcome.text();
    matches!(outcome, Outcome::Unknown(_)) && (text == CLOSED || text == reset)
}

/// What an agent's signals mean where it is not ready, and whose they are.
fn agent(name: &Name, no_counts: bool, context: Context<'_>) -> (Asked, Option<(u32, u64)>) {
    let Ok(found) = context.folder.read(name) else {
        return (Asked::Agent(Seen::CouldNotAsk), None);
    };
    let now_ms = clock::mono_ms();
    let mut not_ready = Vec::new();
    let mut processes = Vec::new();
    for record in &found.believed {
        if let Process::Alive { start, .. } = record.process {
            processes.push((record.pid, start));
        }
        let observed = Observed {
            epoch: context.epoch,
            process: record.process,
            now_ms,
        };
        let judged = record.signal.as_ref();
        if let Ok(Err(why)) = judged.map(|signal| freshness::judge(signal, &observed)) {
            not_ready.push(why);
        }
    }
    let newest = processes.into_iter().max_by_key(|(_, start)| *start);
    (Asked::Agent(judge_agent(&not_ready, no_counts)), newest)
}

/// Where a server does not pass, whether it accepts connections tells one that says no from one that hangs.
async fn knock(checks: &[Asking<'_>], words: &mut [Word], context: Context<'_>) {
    let mut doors = Vec::new();
    for (number, (check, word)) in checks.iter().zip(words.iter()).enumerate() {
        let Heard { asked, outcome, .. } = &word.heard;
        if *asked == Asked::Server
            && !outcome.passes()
            && let Some(endpoint) = endpoint(&check.target)
        {
            let door = Target {
                kind: Kind::Connect(endpoint.clone()),
                timeout: Some(DOOR),
                ..check.target.clone()
            };
            doors.push((number, door));
        }
    }
    let asked: Vec<&Target> = doors.iter().map(|(_, door)| door).collect();
    let limit = TimeLimit::from(clock::instant(), DOOR + MARGIN);
    let answers = check::ask_all(&asked, context, limit).await;
    for ((number, _), answer) in doors.iter().zip(answers) {
        if let Some(word) = words.get_mut(*number) {
            word.heard.door = Some(answer.outcome);
        }
    }
}

/// Where a server is, if it is at one place.
fn endpoint(target: &Target) -> Option<&Endpoint> {
    let one = |endpoints: &'_ [Endpoint]| endpoints.len() == 1;
    match &target.kind {
        Kind::Http(http) => Some(&http.endpoint),
        Kind::Connect(endpoint) => Some(endpoint),
        Kind::Supervisor(supervisor) => Some(&supervisor.at),
        Kind::Redis(redis) if one(&redis.address.endpoints) => redis.address.endpoints.first(),
        Kind::Nats(nats) if one(&nats.address.endpoints) => nats.address.endpoints.first(),
        Kind::Redis(_)
        | Kind::Nats(_)
        | Kind::Agents
        | Kind::Agent { .. }
        | Kind::Peer { .. }
        | Kind::Process { .. }
        | Kind::Pid(_)
        | Kind::Exec(_)
        | Kind::File(_)
        | Kind::Resource(_)
        // What is asked about is elsewhere.
        | Kind::Container(_)
        | Kind::Any(_) => None,
    }
}

/// Asks what stands in the way of a restart, of services that may need one.
async fn barriers(
    questions: &[Question],
    replies: &mut [Reply],
    context: Context<'_>,
) -> Result<(), String> {
    let mut secrets = context.secrets.clone();
    let mut asked: Vec<(usize, Barrier, Target)> = Vec::new();
    for (number, (question, reply)) in questions.iter().zip(replies.iter()).enumerate() {
        if !question.always && !matches!(reply.seen, Seen::Bad(_)) {
            continue;
        }
        let kinds = [
            (Barrier::Needs, &question.needs),
            (Barrier::Inhibited, &question.inhibit),
        ];
        for (barrier, all) in kinds {
            for what in all {
                let target = what.target(question.timeout_ms, &mut secrets)?;
                asked.push((number, barrier, target));
            }
        }
    }
    let targets: Vec<&Target> = asked.iter().map(|(.., target)| target).collect();
    let limit = limit(targets.iter().copied());
    let context = Context {
        secrets: &secrets,
        ..context
    };
    let answers = check::ask_all(&targets, context, limit).await;
    let mut closed: BTreeMap<usize, (Barrier, String)> = BTreeMap::new();
    for ((number, barrier, target), answer) in asked.iter().zip(&answers) {
        if !answer.outcome.passes() {
            let why = format!("{}: {}", target.label(), answer.outcome.text());
            // What it needs comes first.
            closed.entry(*number).or_insert((*barrier, why));
        }
    }
    for (number, (barrier, why)) in closed {
        let Some(reply) = replies.get_mut(number) else {
            continue;
        };
        match reply.barrier {
            Barrier::Open | Barrier::Inhibited => {}
            Barrier::Needs | Barrier::Exited | Barrier::Absent => continue,
        }
        reply.barrier = barrier;
        if let Seen::Bad(Cause::Gone | Cause::SaysNo | Cause::Hung) = reply.seen {
            let what = match barrier {
                Barrier::Needs => "it needs",
                Barrier::Inhibited | Barrier::Open | Barrier::Exited | Barrier::Absent => {
                    "inhibited by"
                }
            };
            reply.text = format!("{}; {what} {why}", reply.text);
        }
    }
    Ok(())
}
