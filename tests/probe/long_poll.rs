//! The caller of a health check that holds, as a container engine is one: the same command again and
//! again. And the agents of such a container.

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ready_probe_sdk::folder::Folder;
use ready_probe_sdk::{Agent, AgentBuilder};
use ready_probe_test_support::process::{Guard, Run, Signal, run_within};
use serde_json::Value;

use crate::container::{Container, through};
use crate::records;

/// No test waits for the end of such a hold: who ends before it was not holding, or has heard news.
pub const LONG: &str = "10m";
/// What ends at once, or by news, has ended by then, however slow the machine is.
pub const SOON: Duration = Duration::from_secs(25);
/// After an answer, the next one may hold this long only.
pub const SHORT_HOLD: Duration = Duration::from_secs(5);
/// The engine's pause between two answers.
const INTERVAL: Duration = Duration::from_millis(100);
const LOOK: Duration = Duration::from_millis(2);

/// One command line with its environment. Flags and targets are what an answer is remembered by.
#[derive(Clone)]
pub struct Caller<'a> {
    container: &'a Container,
    args: Vec<String>,
    env: Vec<(String, String)>,
    /// A program with its arguments that becomes the health check.
    through: Option<(&'static str, Vec<String>)>,
}

impl<'a> Caller<'a> {
    /// A health check that holds for as long as it may.
    pub fn new(container: &'a Container, targets: &[&str]) -> Self {
        Self::with(container, &["--long-poll", LONG], targets)
    }

    /// As [`Caller::new`], with `--retries`.
    pub fn retrying(container: &'a Container, retries: &str, targets: &[&str]) -> Self {
        let flags = ["--long-poll", LONG, "--retries", retries];
        Self::with(container, &flags, targets)
    }

    /// A health check with these flags.
    pub fn with(container: &'a Container, flags: &[&str], targets: &[&str]) -> Self {
        let args = flags.iter().chain(targets);
        Self {
            container,
            args: args.map(|arg| (*arg).to_owned()).collect(),
            env: Vec::new(),
            through: None,
        }
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same, which another program becomes: `prlimit --nofile=64 COMMAND`.
    pub fn through(mut self, program: &'static str, args: &[&str]) -> Self {
        let args = args.iter().map(|arg| (*arg).to_owned());
        self.through = Some((program, args.collect()));
        self
    }

    pub fn command(&self) -> Command {
        let mut command = self.container.probe(&self.args);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        match &self.through {
            Some((program, args)) => {
                let args: Vec<&str> = args.iter().map(String::as_str).collect();
                through(program, &args, &command)
            }
            None => command,
        }
    }

    /// Calls it. One that holds fails the test.
    #[track_caller]
    pub fn at_once(&self) -> Run {
        run_within(&mut self.command(), SOON)
    }

    /// Calls it once.
    pub fn begin(&self) -> Hold {
        let mut command = self.command();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Hold {
            began: Instant::now(),
            probe: Guard::spawn(&mut command),
        }
    }

    /// Calls it until one holds. A machine that was late may have kept two answers too far apart.
    #[track_caller]
    pub fn hold(&self) -> Hold {
        let mut said = Vec::new();
        for _ in 0..8 {
            let mut hold = self.begin();
            if hold.seems_to_hold() {
                return hold;
            }
            said.push(hold.ends());
            thread::sleep(INTERVAL);
        }
        panic!("it never holds: {said:#?}");
    }
}

/// A health check that is under way.
pub struct Hold {
    pub probe: Guard,
    pub began: Instant,
}

impl Hold {
    /// Whether it is still there after a while that is long enough for any answer. It is counted in looks:
    /// a machine that stands still does not look.
    fn seems_to_hold(&mut self) -> bool {
        (0..300).all(|_| {
            thread::sleep(LOOK);
            self.probe.ended().is_none()
        })
    }

    /// It goes on for that time.
    #[track_caller]
    pub fn goes_on(&mut self, time: Duration) {
        let since = Instant::now();
        while since.elapsed() < time {
            if self.probe.ended().is_some() {
                let lasted = since.elapsed();
                let run = self.collect();
                panic!("it ended after {lasted:?}, and had no reason to: {run:?}");
            }
            thread::sleep(LOOK);
        }
    }

    /// Its answer, which comes by itself.
    #[track_caller]
    pub fn ends(self) -> Run {
        self.ends_within(SOON)
    }

    #[track_caller]
    pub fn ends_within(mut self, limit: Duration) -> Run {
        self.probe.wait_within(limit);
        self.collect()
    }

    /// Its answer to a signal.
    #[track_caller]
    pub fn cut(mut self, signal: Signal) -> Run {
        self.probe.signal(signal);
        self.ends()
    }

    /// Kills it, so that it can say nothing.
    pub fn kill(mut self) {
        self.probe.signal(Signal::KILL);
        self.probe.wait_within(SOON);
    }

    fn collect(&mut self) -> Run {
        let elapsed = self.began.elapsed();
        let status = self.probe.wait_within(SOON);
        let mut said = (String::new(), String::new());
        let child = self.probe.child();
        if let Some(mut stdout) = child.stdout.take() {
            stdout.read_to_string(&mut said.0).unwrap();
        }
        if let Some(mut stderr) = child.stderr.take() {
            stderr.read_to_string(&mut said.1).unwrap();
        }
        Run {
            status,
            stdout: said.0,
            stderr: said.1,
            elapsed,
            peak_rss_kib: 0,
        }
    }
}

/// An agent of this process. It registers a name once, and all tests are one process: each has names of
/// its own.
pub fn agent(container: &Container, name: &str) -> AgentBuilder {
    Agent::builder(name).folder(Folder::at(&container.ready_dir()).unwrap())
}

/// An agent that is ready.
pub fn ready(container: &Container, name: &str) -> Agent {
    let agent = agent(container, name).register().unwrap();
    agent.mark_ready(()).unwrap();
    agent
}

/// Writes a record of this process by hand, as an agent does: first beside, then in its place.
pub fn tell(container: &Container, agent: &str, state: &str) {
    publish(container, agent, std::process::id(), |record| {
        record["state"] = state.into();
        if state != "ready" {
            record["details"] = Value::Object(serde_json::Map::new());
        }
        if state == "not_ready" {
            record["reason"] = "told so".into();
        }
    });
}

/// As [`records::publish`], and never half a record.
pub fn publish(container: &Container, agent: &str, pid: u32, change: impl FnOnce(&mut Value)) {
    let mut record = records::ready(agent, pid);
    record["ttl_ms"] = 3_600_000.into();
    change(&mut record);
    let path = records::path(container, agent, pid);
    let stem = path.file_stem().unwrap().to_str().unwrap();
    let beside = path.with_file_name(format!(".{stem}.tmp"));
    fs::write(&beside, record.to_string()).unwrap();
    fs::rename(&beside, &path).unwrap();
}

/// Tries a scene in which answers must follow each other quickly, until the machine was not late. A probe
/// that is late by itself is late each time.
#[track_caller]
pub fn unless_late(scene: impl Fn() -> Result<(), String>) {
    let mut late = Vec::new();
    for _ in 0..4 {
        match scene() {
            Ok(()) => return,
            Err(why) => late.push(why),
        }
    }
    panic!("each time: {late:#?}");
}

/// An answer that was given at once, where a hold would have been a short one.
pub fn was_at_once(run: &Run, code: i32, start: &str) -> Result<(), String> {
    said(run, code, start)?;
    let limit = SHORT_HOLD.mul_f32(0.9);
    (run.elapsed < limit)
        .then_some(())
        .ok_or_else(|| format!("it took {:?}: {run:?}", run.elapsed))
}

/// An answer after a short hold that ended by itself.
pub fn was_held(run: &Run, code: i32, start: &str) -> Result<(), String> {
    said(run, code, start)?;
    let limit = SHORT_HOLD.mul_f32(0.95);
    (run.elapsed >= limit)
        .then_some(())
        .ok_or_else(|| format!("it took {:?} only: {run:?}", run.elapsed))
}

fn said(run: &Run, code: i32, start: &str) -> Result<(), String> {
    (run.code() == code && run.first_line().starts_with(start))
        .then_some(())
        .ok_or_else(|| format!("wanted {code} {start:?}: {run:?}"))
}
