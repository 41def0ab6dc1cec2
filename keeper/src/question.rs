//! What a service is asked, and what is asked before it may be restarted.

use std::time::Duration;

use ready_probe::redact::{Secrets, one_line};
use ready_probe::target::options::Options;
use ready_probe::target::variables::Unusable;
use ready_probe::target::{Kind, Target};
use ready_probe::verdict::Scope;
use ready_probe_sdk::connect::address::redacted_url;
use regex_lite::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use crate::container::Life;
use crate::machine::{Barrier, Instance};
use crate::processes::Pattern;
use crate::recovery::{Contained, Whose};
use crate::seen::Seen;
use crate::shell;

/// What begins so is between this program and its children, or its own secret: no check and no command sees it.
pub const OURS: &str = "READY_KEEPER_";
/// Longer addresses and patterns are cut where people read them.
const MAX_SHOWN_CHARS: usize = 200;

/// All that one service is asked in one pass.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Whether it works.
    pub checks: Vec<What>,
    /// Its container, whose engine is asked as well.
    pub container: Option<Contained>,
    /// What it can't work without. Asked where it does not.
    pub needs: Vec<What>,
    /// What has to pass, or a restart would not help. Asked where it does not work.
    pub inhibit: Vec<What>,
    /// Both are asked, even where it works.
    pub always: bool,
    /// Whose life it is, where that is configured.
    pub of: Option<Whose>,
    /// The session of its restart command, as long as a script in it need not be the service.
    pub restart: Option<u32>,
    /// An agent that says `not_ready` is taken at its word.
    pub no_counts: bool,
    /// Within which time each has to be answered that has no time limit of its own.
    pub timeout_ms: u64,
}

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// A target of the probe, as it is written.
    Target(String),
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
    /// Which life of the service was seen.
    pub instance: Option<Instance>,
    /// The same of its container, for whoever restarts it.
    pub life: Option<Life>,
    /// What stands in the way of a restart.
    pub barrier: Barrier,
    /// How long the slowest check took, of those that ask somebody.
    pub took: Option<Duration>,
}

impl Reply {
    /// Nobody could ask.
    pub fn unasked(why: &str) -> Self {
        Self {
            seen: Seen::CouldNotAsk,
            text: format!("it could not be asked: {why}"),
            process: None,
            instance: None,
            life: None,
            barrier: Barrier::Open,
            took: None,
        }
    }
}

impl Question {
    /// Whether it can be asked at all.
    pub fn check(&self) -> Result<(), String> {
        let mut own = usize::from(self.container.is_some());
        for what in &self.checks {
            let target = self.parse(what).map_err(|e| what.placed(&e))?;
            if target.optional {
                return Err(format!(
                    "check: {} decides nothing, it is only reported: it may stand under inhibit",
                    target.label()
                ));
            }
            own += usize::from(target.scope == Scope::Own);
        }
        if own == 0 {
            return Err(
                "check: all of it is about others, and proves nothing of this service: #scope=own says otherwise"
                    .to_owned(),
            );
        }
        for (key, all) in [("needs", &self.needs), ("inhibit", &self.inhibit)] {
            for what in all {
                self.parse(what).map_err(|e| format!("{key}: {e}"))?;
            }
        }
        Ok(())
    }

    /// For people, without secrets.
    pub fn shown(&self) -> String {
        let container = self.container.as_ref();
        let container = container.map(|container| format!("container {}", container.name));
        let shown = self.checks.iter().map(|what| what.shown(self.timeout_ms));
        container
            .into_iter()
            .chain(shown)
            .collect::<Vec<String>>()
            .join(", ")
    }

    fn parse(&self, what: &What) -> Result<Target, String> {
        what.target(self.timeout_ms, &mut Secrets::default())
    }

    /// The longest that its checks take.
    pub fn patience(&self) -> Duration {
        let of_engine = self.container.as_ref().map(|_| self.timeout());
        self.longest(&self.checks)
            .max(of_engine.unwrap_or_default())
    }

    /// Within which time each has to be answered that has no time limit of its own.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// The longest that it takes to ask what stands in the way of a restart.
    pub fn patience_of_barriers(&self) -> Duration {
        self.longest(&self.needs).max(self.longest(&self.inhibit))
    }

    fn longest(&self, all: &[What]) -> Duration {
        let limits = all.iter().filter_map(|what| self.parse(what).ok()?.timeout);
        limits.max().unwrap_or_default()
    }
}

impl What {
    /// As the engine asks it.
    pub fn target(&self, timeout_ms: u64, secrets: &mut Secrets) -> Result<Target, String> {
        let mut target = match self {
            Self::Http(endpoint) => {
                // As curl does: what stands behind # is never sent.
                let sent = endpoint.split('#').next().unwrap_or_default();
                // The service is this container's, whatever its address.
                let text = format!("{sent}#status=200-399&scope=own");
                Target::parse(&text, Options::default(), secrets)?
            }
            Self::Tcp { host, port } => {
                let host = if host.contains(':') && !host.starts_with('[') {
                    format!("[{host}]")
                } else {
                    host.clone()
                };
                let text = format!("tcp://{host}:{port}#scope=own");
                Target::parse(&text, Options::default(), secrets)?
            }
            Self::Process(pattern) => {
                regex(pattern)?;
                Target {
                    kind: Kind::Process {
                        pattern: pattern.clone(),
                        min: 1,
                    },
                    redacted: "process".to_owned(),
                    ..Target::agents()
                }
            }
            Self::Command(command) => Target {
                kind: Kind::Exec(vec![shell::find(), "-c".to_owned(), command.clone()]),
                redacted: "exec:command".to_owned(),
                ..Target::agents()
            },
            Self::Target(text) => configured(text, secrets)?,
        };
        target
            .timeout
            .get_or_insert(Duration::from_millis(timeout_ms));
        Ok(target)
    }

    /// For people, without secrets.
    pub fn shown(&self, timeout_ms: u64) -> String {
        match self {
            Self::Http(endpoint) => {
                let sent = endpoint.split('#').next().unwrap_or_default();
                format!(
                    "HTTP GET {}",
                    one_line(&redacted_url(sent), MAX_SHOWN_CHARS)
                )
            }
            Self::Tcp { host, port } => format!("TCP {host}:{port}"),
            Self::Process(pattern) => format!("process {}", one_line(pattern, MAX_SHOWN_CHARS)),
            Self::Command(command) => format!("command {}", shell::program(command)),
            Self::Target(_) => self
                .target(timeout_ms, &mut Secrets::default())
                .map_or_else(|why| why, |target| target.redacted),
        }
    }

    /// Which processes it is about, and how many of them.
    pub fn processes(&self, target: &Target) -> Option<(Pattern, usize)> {
        match (self, &target.kind) {
            (Self::Process(pattern), _) => Some((Pattern::Regex(regex(pattern).ok()?), 1)),
            (_, Kind::Process { pattern, min }) => Some((Pattern::Part(pattern.clone()), *min)),
            (Self::Http(_) | Self::Tcp { .. } | Self::Command(_) | Self::Target(_), _) => None,
        }
    }

    /// An error, with the key at which it stands.
    fn placed(&self, e: &str) -> String {
        match self {
            Self::Http(_) => format!("health_check: endpoint: {e}"),
            Self::Tcp { .. } => format!("health_check: host, port: {e}"),
            Self::Process(_) => format!("health_check: process_name: {e}"),
            Self::Command(_) => format!("health_check: command: {e}"),
            Self::Target(_) => format!("check: {e}"),
        }
    }
}

/// A regular expression as `pgrep -f` reads it: a dot may be the end of a line.
fn regex(pattern: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(pattern)
        .dot_matches_new_line(true)
        .build();
    built.map_err(|e| format!("no regular expression: {e}"))
}

fn configured(text: &str, secrets: &mut Secrets) -> Result<Target, String> {
    let lookup = |name: &str| match std::env::var(name) {
        _ if name.starts_with(OURS) => {
            Err("it is ready-keeper's own, and no check sees it".to_owned())
        }
        Ok(value) => Ok(Some(value)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err("its value is not UTF-8".to_owned()),
    };
    let target = Target::parse_configured(text, Options::default(), &lookup, secrets);
    let target = target.map_err(|e| match e {
        Unusable::Variable(name, why) => format!("{name}: {why}"),
        Unusable::Text(why) => why,
    })?;
    if target.asks_store() {
        return Err("peer: ready-keeper restarts what is here, and asks no store".to_owned());
    }
    let lasts = [
        ("grace", target.grace.is_some()),
        ("confirm", target.confirm.is_some()),
        ("recheck", target.recheck.is_some()),
    ];
    match lasts.iter().find(|(_, is_set)| *is_set) {
        Some((option, _)) => Err(format!(
            "{option} means nothing here: hung_after, startup and their like say how long something is tolerated"
        )),
        None => Ok(target),
    }
}
