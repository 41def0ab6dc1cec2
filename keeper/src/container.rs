//! What an engine's word about a container means for recovery. Pure: no I/O, and no clock but to tell how old a life is.
//!
//! The engine restarts what crashes, and people stop what they want stopped. What is left to a keeper is what runs and
//! is unhealthy, and by settings what has ended.

use hyper::StatusCode;
use ready_probe::check::container::{is_meant, judge};
use ready_probe::outcome::Outcome;
use ready_probe::redact::Secrets;
use ready_probe_sdk::clock;
use serde::{Deserialize, Serialize};

use crate::machine::{Barrier, Instance};
use crate::recovery::Contained;
use crate::seen::{Cause, Seen};

/// How Docker says that a check took too long: daemon/health.go of moby.
const TOO_LONG: &str = "Health check exceeded timeout";
/// The exit status of a check that Docker could not run, or ended; and those of a program that is not there.
const NOT_RUN: [i64; 3] = [-1, 126, 127];
/// How long a container has to end, unless it says so itself: Docker's own default.
const STOP_S: u64 = 10;
/// Nobody waits longer.
pub const MAX_STOP_S: u64 = 600;

/// A container in one of its lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// Its id.
    pub id: String,
    started_at: String,
    runs: bool,
}

/// What was seen of a container.
#[derive(Debug, Clone)]
pub struct Sight {
    /// For the machine.
    pub seen: Seen,
    /// For people.
    pub text: String,
    /// The life that a restart would end.
    pub life: Option<Life>,
    /// The same for the machine.
    pub instance: Option<Instance>,
    /// What stands in the way of a restart.
    pub barrier: Barrier,
}

/// The parts of an inspection that are needed here. <https://docs.docker.com/reference/api/engine/>
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Inspection {
    id: String,
    name: String,
    state: Condition,
    host_config: HostConfig,
    config: ContainerConfig,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Condition {
    status: String,
    started_at: String,
    finished_at: String,
    health: Option<Health>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Health {
    log: Option<Vec<HealthRun>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct HealthRun {
    exit_code: i64,
    output: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct HostConfig {
    restart_policy: RestartPolicy,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct RestartPolicy {
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ContainerConfig {
    /// Without an end if it is negative.
    stop_timeout: Option<i64>,
}

/// The headline of a report as JSON.
#[derive(Deserialize)]
struct Headline {
    verdict: String,
    reason: String,
}

impl Sight {
    /// Nobody knows.
    pub fn unknown(why: impl Into<String>) -> Self {
        Self {
            seen: Seen::CouldNotAsk,
            text: why.into(),
            life: None,
            instance: None,
            barrier: Barrier::Open,
        }
    }
}

/// What an answer to the question for a container means.
pub fn sight(container: &Contained, status: StatusCode, body: &[u8], secrets: &Secrets) -> Sight {
    let outcome = judge(&container.name, status, body, secrets);
    if let Outcome::Unknown(why) = outcome {
        return Sight::unknown(why);
    }
    let inspection = match read(&container.name, status, body) {
        Ok(Some(inspection)) => inspection,
        Ok(None) => {
            return Sight {
                seen: Seen::Bad(Cause::Gone),
                text: outcome.text().to_owned(),
                life: None,
                instance: Some(instance("no such container", "", None)),
                barrier: Barrier::Absent,
            };
        }
        Err(why) => return Sight::unknown(why),
    };
    let Inspection { id, state, .. } = &inspection;
    let life = inspection.life();
    let lives = instance(id, &state.started_at, Some(&state.started_at));
    // Its end is news as its beginning is: whoever ended it may be about to make another one.
    let has_ended = instance(id, &state.finished_at, Some(&state.finished_at));
    let policy = inspection.host_config.restart_policy.name.as_str();
    let text = outcome.text().to_owned();
    let (seen, text, instance, barrier) = match state.status.as_str() {
        "exited" | "stopped" | "created" if container.restart_exited => {
            (Seen::Bad(Cause::Gone), text, lives, Barrier::Open)
        }
        // The engine would have started it, had nobody stopped it.
        "exited" | "stopped" if matches!(policy, "always" | "unless-stopped") => {
            let text =
                format!("{text}; somebody has stopped it, since its restart policy is {policy}");
            (Seen::NotNow, text, has_ended, Barrier::Open)
        }
        "exited" | "stopped" | "created" => {
            (Seen::Bad(Cause::Gone), text, has_ended, Barrier::Exited)
        }
        "dead" | "removing" => (Seen::Bad(Cause::Gone), text, has_ended, Barrier::Absent),
        _ => (of_life(&outcome, state), text, lives, Barrier::Open),
    };
    Sight {
        seen,
        text,
        life: Some(life),
        instance: Some(instance),
        barrier,
    }
}

/// Of one that runs, or is paused, or about to be started by its engine.
fn of_life(outcome: &Outcome, state: &Condition) -> Seen {
    match outcome {
        Outcome::Pass(_) | Outcome::Blemished(_) => Seen::Pass,
        Outcome::Fail(fault) if fault.starting || fault.by_hand => Seen::NotNow,
        Outcome::Fail(_) => {
            let log = state.health.as_ref().and_then(|health| health.log.as_ref());
            log.and_then(|log| log.last())
                .map_or(Seen::Bad(Cause::SaysNo), of_health)
        }
        Outcome::Unknown(_) => Seen::CouldNotAsk,
    }
}

/// What the last run of its health check proves.
fn of_health(run: &HealthRun) -> Seen {
    if run.output.starts_with(TOO_LONG) {
        return Seen::Bad(Cause::Hung);
    }
    if NOT_RUN.contains(&run.exit_code) {
        return Seen::CouldNotAsk;
    }
    let first = run.output.lines().next().unwrap_or_default();
    match serde_json::from_str::<Headline>(run.output.trim()) {
        Ok(headline) => of_headline(&headline.verdict, &headline.reason),
        Err(_) => match first.split_once(": ") {
            Some((verdict, reason)) => of_headline(verdict, reason),
            None => Seen::Bad(Cause::SaysNo),
        },
    }
}

/// What a report of ours proves; any other text is a plain no. A report that blames a dependency first has nothing
/// graver to say of its own container: a restart would not help.
fn of_headline(verdict: &str, reason: &str) -> Seen {
    let says = |word: &str| {
        reason.contains(&format!(": {word}: ")) || reason.ends_with(&format!(": {word}"))
    };
    match verdict {
        "starting" => Seen::NotNow,
        "unhealthy" if reason.starts_with("dependency ") => Seen::CouldNotAsk,
        "unhealthy" if says("not_ready") && !says("not_ready: stalled") => Seen::NotNow,
        "unhealthy" if reason.starts_with("agent ") && (says("stopping") || says("starting")) => {
            Seen::NotNow
        }
        _ => Seen::Bad(Cause::SaysNo),
    }
}

impl Inspection {
    fn life(&self) -> Life {
        Life {
            id: self.id.clone(),
            started_at: self.state.started_at.clone(),
            runs: self.state.status == "running",
        }
    }
}

/// The container that was asked for, if there is one.
fn read(asked: &str, status: StatusCode, body: &[u8]) -> Result<Option<Inspection>, String> {
    if status != StatusCode::OK {
        return Ok(None);
    }
    let inspection: Inspection = serde_json::from_slice(body)
        .map_err(|e| format!("the engine's answer can't be understood: {e}"))?;
    Ok(is_meant(asked, &inspection.name, &inspection.id).then_some(inspection))
}

/// Whether it still is what was decided on; then its id, and how many seconds it has to end.
pub fn may_be_restarted(
    asked: &str,
    decided: Option<&Life>,
    (status, body): (StatusCode, &[u8]),
) -> Result<(String, u64), String> {
    let outcome = judge(asked, status, body, &Secrets::default());
    let Some(now) = read(asked, status, body)? else {
        return Err(outcome.text().to_owned());
    };
    let state = now.state.status.as_str();
    if !matches!(state, "running" | "exited" | "stopped" | "created") {
        return Err(format!("it is {state} now, and is left alone"));
    }
    let life = now.life();
    match decided {
        Some(decided) if decided.runs && !life.runs => {
            return Err(format!("somebody has stopped it meanwhile: it is {state}"));
        }
        Some(decided) if decided.started_at != life.started_at => {
            return Err("somebody else has started it meanwhile".to_owned());
        }
        Some(_) | None => {}
    }
    let stop_s = now.config.stop_timeout.map_or(STOP_S, |asked| {
        u64::try_from(asked).map_or(MAX_STOP_S, |asked| asked.min(MAX_STOP_S))
    });
    Ok((now.id, stop_s))
}

/// A life of its own for each id and moment. How old it is tells only how much of its startup is left; whether it is
/// another one than before is told by the moment's text, whatever the engine's clock says.
fn instance(id: &str, moment: &str, began: Option<&str>) -> Instance {
    // FNV-1a, which is the same in every version of this program: it is remembered.
    let bytes = id.bytes().chain([0]).chain(moment.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let age_ms = began.and_then(clock::age_of).map_or(0, clock::millis);
    Instance {
        id: hash,
        began_ms: clock::mono_ms().saturating_sub(age_ms),
        is_alone: true,
    }
}

#[cfg(test)]
#[path = "container_tests.rs"]
mod tests;
