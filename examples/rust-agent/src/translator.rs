//! The agent itself: a work loop that takes jobs from TCP clients, one line each.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use ready_probe_sdk::{Agent, ErrorKind, Result, State};
use serde_json::json;

use crate::settings::Settings;
use crate::{Failure, stop};

const COMMANDS: &str = "translate TEXT, reload REASON, resume, hang DURATION, quit";

/// Runs the agent until somebody says `quit`, or a signal that it is to stop.
pub(crate) fn run(settings: &Settings) -> std::result::Result<(), Failure> {
    let signals = stop::catch()?;
    // From here on the container's health check says `starting`.
    let agent = Arc::new(register(settings)?);
    let (tasks, queue) = mpsc::channel();
    let (stopping, stop) = (Arc::downgrade(&agent), tasks.clone());
    stop::on_signal(signals, move || {
        // At once, whatever the work loop is doing: between this and its end an agent finishes what it
        // has accepted.
        if let Some(agent) = stopping.upgrade() {
            say_stopping(&agent, "told to stop");
        }
        let _ = stop.send(Task::Stop);
    });
    if settings.port != 0 {
        listen(settings.port, &tasks)?;
    }
    load_model(settings.load, &agent);
    match agent.mark_ready(json!({ "port": settings.port })) {
        Ok(()) => {
            println!("{}: ready", settings.name);
            work(&agent, settings, &queue);
            say_stopping(&agent, "quit");
        }
        // It was told to stop while it was loading, by a thread that holds the agent until it has said so.
        Err(e) if e.kind() == ErrorKind::Closed => {
            queue.iter().find(|task| matches!(task, Task::Stop));
        }
        Err(e) => return Err(e.into()),
    }
    // The agent is dropped here, and its signal removed.
    Ok(())
}

/// The first reason stands.
fn say_stopping(agent: &Agent, reason: &str) {
    if agent.state() == State::Stopping {
        return;
    }
    match agent.mark_stopping(reason) {
        Ok(()) => println!("{}: stopping", agent.name()),
        Err(e) => eprintln!("{}: {e}", agent.name()),
    }
}

fn register(settings: &Settings) -> Result<Agent> {
    let mut builder = Agent::builder(&settings.name);
    if let Some(ttl) = settings.ttl {
        builder = builder.ttl(ttl);
    }
    if let Some(interval) = settings.heartbeat {
        builder = builder.heartbeat(interval);
    }
    if let Some(limit) = settings.watchdog {
        builder = builder.watchdog(limit);
    }
    builder.register()
}

/// Stands for the minutes that a real agent reads gigabytes in. Ends early when it is told to stop.
fn load_model(time: Duration, agent: &Agent) {
    let mut left = time;
    while !left.is_zero() && agent.state() != State::Stopping {
        let step = left.min(Duration::from_millis(50));
        thread::sleep(step);
        left -= step;
    }
}

/// What the work loop is to do next.
enum Task {
    Do(Job),
    Stop,
}

/// One line of a client, and where its answer goes.
struct Job {
    line: String,
    client: Arc<TcpStream>,
}

/// The work loop. It ticks after every job and, when there is none, often enough for the watchdog:
/// an idle agent is not a stalled one.
fn work(agent: &Agent, settings: &Settings, queue: &Receiver<Task>) {
    let idle = settings
        .watchdog
        .map_or(Duration::from_secs(1), |limit| limit / 4);
    loop {
        match queue.recv_timeout(idle) {
            Ok(Task::Stop) => return,
            Ok(Task::Do(job)) if job.line.trim() == "quit" => return job.answer("bye"),
            Ok(Task::Do(job)) => handle(agent, settings.port, &job),
            Err(RecvTimeoutError::Timeout) => {}
            // `run` holds a sender, so that an agent without a port idles.
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if let Err(e) = agent.tick() {
            eprintln!("{}: {e}", settings.name);
        }
    }
}

fn handle(agent: &Agent, port: u16, job: &Job) {
    let (verb, rest) = job
        .line
        .trim()
        .split_once(' ')
        .unwrap_or((job.line.trim(), ""));
    match (verb, rest.trim()) {
        ("translate", text) => job.answer(&translate(text)),
        ("reload", reason) => job.confirm("not_ready", agent.mark_not_ready(reason)),
        ("resume", _) => job.confirm("ready", agent.mark_ready(json!({ "port": port }))),
        ("hang", time) => match humantime::parse_duration(time) {
            Ok(time) => {
                job.answer(&format!("hanging for {}", humantime::format_duration(time)));
                thread::sleep(time);
            }
            Err(e) => job.answer(&format!("error: {time:?}: {e}; write a duration as 5s")),
        },
        (verb, _) => job.answer(&format!(
            "error: unknown command {verb:?}; commands: {COMMANDS}"
        )),
    }
}

fn translate(text: &str) -> String {
    let words = text.split_whitespace();
    let words = words.map(|word| word.to_uppercase().chars().rev().collect::<String>());
    words.collect::<Vec<_>>().join(" ")
}

impl Job {
    fn answer(&self, line: &str) {
        // A client that has gone does not want its answer.
        let _ = (&*self.client).write_all(format!("{line}\n").as_bytes());
    }

    /// What is not written to the folder now is written by a later beat, so the agent goes on.
    fn confirm(&self, done: &str, result: Result<()>) {
        match result {
            Ok(()) => self.answer(done),
            Err(e) => self.answer(&format!("error: {e}")),
        }
    }
}

/// Takes clients in threads of their own, so that a slow one does not hold up the work loop.
fn listen(port: u16, tasks: &Sender<Task>) -> std::result::Result<(), Failure> {
    let listener = TcpListener::bind(("0.0.0.0", port)).map_err(|e| {
        let hint = "set AGENT_PORT to a free port above 1023, or to 0";
        Failure::Start(format!("can't listen on 0.0.0.0:{port}: {e}; {hint}"))
    })?;
    let tasks = tasks.clone();
    thread::spawn(move || {
        for client in listener.incoming() {
            match client {
                Ok(client) => {
                    let tasks = tasks.clone();
                    thread::spawn(move || read_lines(client, &tasks));
                }
                // No file descriptor is left, say: trying again at once would only burn time.
                Err(_) => thread::sleep(Duration::from_millis(100)),
            }
        }
    });
    Ok(())
}

fn read_lines(client: TcpStream, tasks: &Sender<Task>) {
    let client = Arc::new(client);
    // An answer that nobody reads must not stall the work loop.
    let _ = client.set_write_timeout(Some(Duration::from_secs(1)));
    for line in BufReader::new(&*client).lines() {
        let Ok(line) = line else { return };
        let job = Job {
            line,
            client: Arc::clone(&client),
        };
        if tasks.send(Task::Do(job)).is_err() {
            return;
        }
    }
}
