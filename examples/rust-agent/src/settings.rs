//! The environment, checked before anything starts.

use std::time::Duration;

use crate::Failure;

/// What the environment says.
pub(crate) struct Settings {
    /// `AGENT_NAME`: the agent's name, `translator` by default.
    pub(crate) name: String,
    /// `AGENT_LOAD`: how long the model takes to load.
    pub(crate) load: Duration,
    /// `AGENT_TTL`: how long the signal outlives its last beat.
    pub(crate) ttl: Option<Duration>,
    /// `AGENT_HEARTBEAT`: the interval of the beats.
    pub(crate) heartbeat: Option<Duration>,
    /// `AGENT_WATCHDOG`: the longest time without progress.
    pub(crate) watchdog: Option<Duration>,
    /// `AGENT_PORT`: where it serves, 5555 by default; 0 is nowhere.
    pub(crate) port: u16,
}

impl Settings {
    pub(crate) fn from_env() -> Result<Self, Failure> {
        Ok(Self {
            name: text("AGENT_NAME")?.unwrap_or_else(|| "translator".to_owned()),
            load: duration("AGENT_LOAD")?.unwrap_or_default(),
            ttl: duration("AGENT_TTL")?,
            heartbeat: duration("AGENT_HEARTBEAT")?,
            watchdog: duration("AGENT_WATCHDOG")?,
            port: text("AGENT_PORT")?.map_or(Ok(5555), |port| {
                parse_port(&port).ok_or_else(|| {
                    invalid(
                        "AGENT_PORT",
                        &port,
                        "a port is a number from 0 (none) to 65535",
                    )
                })
            })?,
        })
    }
}

pub(crate) fn parse_port(text: &str) -> Option<u16> {
    // `parse` takes "+80" as well.
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())?
}

/// A variable that is set; empty counts as not set.
fn text(variable: &str) -> Result<Option<String>, Failure> {
    let Some(value) = std::env::var_os(variable).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    value
        .into_string()
        .map(Some)
        .map_err(|value| invalid(variable, &value.to_string_lossy(), "it must be UTF-8"))
}

fn duration(variable: &str) -> Result<Option<Duration>, Failure> {
    text(variable)?
        .map(|value| {
            humantime::parse_duration(&value).map_err(|e| {
                invalid(
                    variable,
                    &value,
                    &format!("{e}; write a duration as 500ms, 10s or 2m"),
                )
            })
        })
        .transpose()
}

fn invalid(variable: &str, value: &str, why: &str) -> Failure {
    Failure::Config(format!("{variable}={value:?} (environment): {why}"))
}
