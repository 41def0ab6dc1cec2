//! Asking a child all questions about one mount.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use ready_probe_sdk::clock;
use ready_probe_sdk::signal::Name;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;

use super::answer::AnswerLine;
use crate::answer::Answer;
use crate::outcome::Outcome;
use crate::stuck_child::StuckChild;
use crate::time_limit::TimeLimit;

/// More than a thousand agents and as many checks say.
const MAX_BYTES: u64 = 4 * 1024 * 1024;
/// A child that has answered everything ends at once, unless part of it hangs.
const ENDING: Duration = Duration::from_millis(100);

/// A mount, and how its questions are asked.
pub struct Asking {
    point: PathBuf,
    /// Or why there is none.
    child: Result<Child, String>,
}

/// What came of asking about one mount.
#[derive(Debug)]
pub struct Hearing {
    /// Where it is mounted.
    pub point: PathBuf,
    /// The answers with their questions' keys, in the order in which they came.
    pub lines: Vec<AnswerLine>,
    /// The answer to every other question.
    pub otherwise: Outcome,
    /// The child, if it is stuck.
    pub stuck: Option<StuckChild>,
    /// Whether somebody was asked at all.
    pub asked: bool,
    /// How long that took.
    pub elapsed: Duration,
}

impl Asking {
    /// Starts a child for a mount, unless the last one still waits there.
    pub fn start(point: &Path, before: Option<&StuckChild>) -> Self {
        Self {
            point: point.to_owned(),
            child: super::start_for(point, before, &role(point), false),
        }
    }

    /// Hears the child out, until so many questions are answered or the limit has come.
    pub async fn hear(self, questions: usize, limit: TimeLimit) -> Hearing {
        let mut heard = Hearing {
            otherwise: Outcome::unknown(super::unanswered(&self.point, limit)),
            point: self.point,
            lines: Vec::new(),
            stuck: None,
            asked: false,
            elapsed: Duration::ZERO,
        };
        let started = clock::instant();
        let mut child = match self.child {
            Ok(child) => child,
            Err(why) => {
                heard.otherwise = Outcome::unknown(why);
                return heard;
            }
        };
        heard.asked = true;
        let listened = listen(&mut child, questions, &mut heard.lines, limit).await;
        match listened {
            Ok(true) => {
                // It has ended, but for being reaped.
                while child.try_wait().is_ok_and(|ended| ended.is_none()) {
                    tokio::time::sleep(Duration::from_micros(200)).await;
                }
                if heard.lines.len() < questions {
                    heard.otherwise = Outcome::unknown("the process that was to ask has died");
                }
            }
            Ok(false) => heard.stuck = super::leave(&mut child),
            Err(e) => {
                heard.otherwise = Outcome::unknown(format!("its answer can't be read: {e}"));
                heard.stuck = super::leave(&mut child);
            }
        }
        heard.elapsed = clock::instant().saturating_duration_since(started);
        heard
    }
}

/// Says whether the child has ended.
async fn listen(
    child: &mut Child,
    questions: usize,
    lines: &mut Vec<AnswerLine>,
    limit: TimeLimit,
) -> std::io::Result<bool> {
    let Some(output) = child.stdout.take() else {
        return Ok(false);
    };
    let output = pipe::Receiver::from_owned_fd(output.into())?;
    let mut output = BufReader::new(output.take(MAX_BYTES)).lines();
    let mut until = limit.at;
    loop {
        let line = match tokio::time::timeout_at(until.into(), output.next_line()).await {
            Ok(line) => line?,
            Err(_) => return Ok(false),
        };
        let Some(line) = line else { return Ok(true) };
        let line: AnswerLine = serde_json::from_str(&line)?;
        lines.push(line);
        let answered = lines.iter().filter(|line| !line.discovered).count();
        if answered == questions {
            until = until.min(clock::instant() + ENDING);
        }
    }
}

/// What came of asking about all such mounts.
pub struct Hearings(Vec<Hearing>);

impl Hearings {
    /// Of each mount.
    pub fn new(heard: Vec<Hearing>) -> Self {
        Self(heard)
    }

    /// The mounts that were asked, and the children that are stuck.
    pub fn children(&self) -> Vec<(String, Option<StuckChild>)> {
        let asked = self.0.iter().filter(|heard| heard.asked);
        asked
            .map(|heard| (heard.point.display().to_string(), heard.stuck))
            .collect()
    }

    /// The answer to one question.
    pub fn answer(&mut self, point: &Path, key: &str) -> Answer {
        let Some(heard) = self.0.iter_mut().find(|heard| heard.point == point) else {
            return Answer::unasked(Outcome::unknown("nobody has asked"));
        };
        let is_it = |line: &AnswerLine| line.key == key && !line.discovered;
        match heard.lines.iter().position(is_it) {
            Some(place) => heard.lines.swap_remove(place).answer(),
            None => Answer {
                outcome: heard.otherwise.clone(),
                elapsed: heard.elapsed,
                fleets: Vec::new(),
            },
        }
    }

    /// The agents that were found, and what became of them.
    pub fn discovered(self) -> Vec<(Name, Answer)> {
        let lines = self.0.into_iter().flat_map(|heard| heard.lines);
        let found = lines.filter(|line| line.discovered).filter_map(|line| {
            let name = line.key.strip_prefix("agent:")?;
            Some((Name::new(name).ok()?, line.clone().answer()))
        });
        let mut agents: Vec<(Name, Answer)> = Vec::new();
        for (name, answer) in found {
            let place = agents.partition_point(|(before, _)| *before <= name);
            agents.insert(place, (name, answer));
        }
        agents
    }
}

/// The child's task, as it is told.
fn role(point: &Path) -> String {
    format!("asks {}", point.display())
}
