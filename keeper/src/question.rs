//! What a service is asked, and asking it: by the engine, in a process of its own.

use std::io::{Read, Write};
use std::time::Duration;

use ready_probe::check::{self, Context};
use ready_probe::event_loop;
use ready_probe::outcome::Outcome;
use ready_probe::redact::{Secrets, one_line};
use ready_probe::target::options::Options;
use ready_probe::target::{Kind, Target};
use ready_probe::time_limit::TimeLimit;
use ready_probe_sdk::clock;
use ready_probe_sdk::connect::Endpoint;
use ready_probe_sdk::connect::address::redacted_url;
use ready_probe_sdk::folder::Folder;
use ready_probe_sdk::host::Epoch;
use regex_lite::Regex;
use serde::{Deserialize, Serialize};

use crate::processes;
use crate::seen::{Asked, Heard, Seen, judge};
use crate::shell;

/// How long somebody who accepts connections takes to do so.
const DOOR: Duration = Duration::from_secs(1);
/// Longer addresses and patterns are cut where people read them.
const MAX_SHOWN_CHARS: usize = 200;
/// What an answer may take beyond its time until it is told.
const MARGIN: Duration = Duration::from_secs(1);

/// One question.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Question {
    /// What.
    pub what: What,
    /// Within which time it has to be answered.
    pub timeout_ms: u64,
}

/// What can be asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Whether a URL answers with a status from 200 to 399.
    Http(String),
    /// Whether somebody accepts connections.
    Tcp {
        /// Where.
        host: String,
        /// At which port.
        port: u16,
    },
    /// Whether a process's command line matches this regular expression.
    Process(String),
    /// Whether a shell command exits with 0.
    Command(String),
}

/// An answer, for the machine and for people.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reply {
    /// For the machine.
    pub seen: Seen,
    /// For people.
    pub text: String,
    /// A process that was found, by id and start: its end is news of the service.
    pub process: Option<(u32, u64)>,
}

impl Question {
    /// Whether it can be asked at all.
    pub fn check(&self) -> Result<(), String> {
        let key = match &self.what {
            What::Http(_) => "endpoint",
            What::Tcp { .. } => "host, port",
            What::Process(pattern) => {
                let parsed = Regex::new(pattern).map(drop);
                return parsed.map_err(|e| format!("process_name: no regular expression: {e}"));
            }
            What::Command(_) => return Ok(()),
        };
        self.target(&mut Secrets::default())
            .map(drop)
            .map_err(|e| format!("{key}: {e}"))
    }

    /// As the engine asks it.
    fn target(&self, secrets: &mut Secrets) -> Result<Target, String> {
        let mut target = match &self.what {
            What::Http(endpoint) => {
                // As curl does: what stands behind # is never sent.
                let sent = endpoint.split('#').next().unwrap_or_default();
                if !["http://", "https://"]
                    .iter()
                    .any(|scheme| sent.starts_with(scheme))
                {
                    return Err("it is written http://HOST:PORT/PATH".to_owned());
                }
                // The service is this container's, whatever its address.
                Target::parse(
                    &format!("{sent}#status=200-399&scope=own"),
                    Options::default(),
                    secrets,
                )?
            }
            What::Tcp { host, port } => {
                let host = if host.contains(':') && !host.starts_with('[') {
                    format!("[{host}]")
                } else {
                    host.clone()
                };
                Target::parse(
                    &format!("tcp://{host}:{port}#scope=own"),
                    Options::default(),
                    secrets,
                )?
            }
            What::Process(pattern) => Target {
                kind: Kind::Process {
                    pattern: pattern.clone(),
                    min: 1,
                },
                ..Target::agents()
            },
            What::Command(command) => Target {
                kind: Kind::Exec(vec![shell::find(), "-c".to_owned(), command.clone()]),
                redacted: "exec:command".to_owned(),
                ..Target::agents()
            },
        };
        target.timeout = Some(Duration::from_millis(self.timeout_ms));
        Ok(target)
    }

    /// For people, without secrets.
    pub fn shown(&self) -> String {
        match &self.what {
            What::Http(endpoint) => {
                let sent = endpoint.split('#').next().unwrap_or_default();
                format!(
                    "HTTP GET {}",
                    one_line(&redacted_url(sent), MAX_SHOWN_CHARS)
                )
            }
            What::Tcp { host, port } => format!("TCP {host}:{port}"),
            What::Process(pattern) => format!("process {}", one_line(pattern, MAX_SHOWN_CHARS)),
            What::Command(command) => format!("command {}", shell::program(command)),
        }
    }

    /// The process that an answer has found.
    fn process(&self, outcome: &Outcome) -> Option<(u32, u64)> {
        match (&self.what, outcome) {
            (What::Process(_), Outcome::Pass(text)) => processes::found(text),
            (
                What::Process(_) | What::Http(_) | What::Tcp { .. } | What::Command(_),
                Outcome::Pass(_) | Outcome::Blemished(_) | Outcome::Fail(_) | Outcome::Unknown(_),
            ) => None,
        }
    }

    fn asked(&self) -> Asked {
        match self.what {
            What::Http(_) => Asked::Server,
            What::Tcp { .. } => Asked::Door,
            What::Process(_) => Asked::Process,
            What::Command(_) => Asked::Command,
        }
    }
}

/// How long all of them may take together: they are asked at once.
pub fn patience(questions: &[Question]) -> Duration {
    let longest = questions.iter().map(|question| question.timeout_ms).max();
    Duration::from_millis(longest.unwrap_or(0)) + MARGIN + DOOR + MARGIN
}

/// The other side: reads questions, asks them, and writes the replies, in their order.
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

fn ask(questions: &[Question]) -> Result<Vec<Reply>, String> {
    let mut secrets = Secrets::default();
    let targets: Vec<Target> = questions
        .iter()
        .map(|question| question.target(&mut secrets))
        .collect::<Result<_, _>>()?;
    let (folder, epoch) = (Folder::default(), Epoch::default());
    let context = Context {
        folder: &folder,
        epoch: &epoch,
        place: None,
        secrets: &secrets,
        supervises: false,
        kept: None,
    };
    let event_loop = event_loop::start()?;
    let heard = event_loop.block_on(hear(questions, &targets, context));
    // What still waits, waits for nobody.
    event_loop.shutdown_background();
    let reply = |(heard, question): (&Heard, &Question)| Reply {
        seen: judge(heard),
        text: heard.outcome.text().to_owned(),
        process: question.process(&heard.outcome),
    };
    Ok(heard.iter().zip(questions).map(reply).collect())
}

async fn hear(questions: &[Question], targets: &[Target], context: Context<'_>) -> Vec<Heard> {
    let longest = questions
        .iter()
        .map(|question| question.timeout_ms)
        .max()
        .unwrap_or(0);
    let limit = TimeLimit::from(clock::instant(), Duration::from_millis(longest) + MARGIN);
    let by_engine: Vec<&Target> = targets
        .iter()
        .filter(|target| !is_process(target))
        .collect();
    let mut answers = check::ask_all(&by_engine, context, limit).await.into_iter();
    let mut heard: Vec<Heard> = Vec::new();
    for (question, target) in questions.iter().zip(targets) {
        let (outcome, timed_out) = match &question.what {
            What::Process(pattern) => (processes::ask(pattern), false),
            What::Http(_) | What::Tcp { .. } | What::Command(_) => match answers.next() {
                Some(answer) => {
                    let timed_out = answer.elapsed >= Duration::from_millis(question.timeout_ms);
                    (answer.outcome, timed_out)
                }
                None => (Outcome::unknown("it was not asked"), false),
            },
        };
        let is_here = endpoint(target).is_none_or(is_here);
        heard.push(Heard {
            asked: question.asked(),
            outcome,
            timed_out,
            is_here,
            door: None,
        });
    }
    knock(targets, &mut heard, context).await;
    heard
}

/// Where a server does not pass, whether it accepts connections tells one that says no from one that hangs.
async fn knock(targets: &[Target], heard: &mut [Heard], context: Context<'_>) {
    let mut doors = Vec::new();
    for (number, (target, heard)) in targets.iter().zip(heard.iter()).enumerate() {
        if let (Kind::Http(http), false) = (&target.kind, heard.outcome.passes()) {
            let door = Target {
                kind: Kind::Connect(http.endpoint.clone()),
                timeout: Some(DOOR),
                ..target.clone()
            };
            doors.push((number, door));
        }
    }
    let asked: Vec<&Target> = doors.iter().map(|(_, door)| door).collect();
    let limit = TimeLimit::from(clock::instant(), DOOR + MARGIN);
    let answers = check::ask_all(&asked, context, limit).await;
    for ((number, _), answer) in doors.iter().zip(answers) {
        if let Some(heard) = heard.get_mut(*number) {
            heard.door = Some(answer.outcome);
        }
    }
}

fn is_process(target: &Target) -> bool {
    target.asks(|kind| matches!(kind, Kind::Process { .. }))
}

fn endpoint(target: &Target) -> Option<&Endpoint> {
    match &target.kind {
        Kind::Http(http) => Some(&http.endpoint),
        Kind::Connect(endpoint) => Some(endpoint),
        Kind::Supervisor(supervisor) => Some(&supervisor.at),
        // What is asked about is elsewhere.
        Kind::Container(_) => None,
        Kind::Agents
        | Kind::Agent { .. }
        | Kind::Peer { .. }
        | Kind::Redis(_)
        | Kind::Nats(_)
        | Kind::Process { .. }
        | Kind::Pid(_)
        | Kind::Exec(_)
        | Kind::File(_)
        | Kind::Resource(_)
        | Kind::Any(_) => None,
    }
}

/// Whether an address is this container's own, so that no network stands between.
fn is_here(endpoint: &Endpoint) -> bool {
    endpoint.is_loopback()
}
