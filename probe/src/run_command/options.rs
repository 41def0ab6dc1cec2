//! What was typed behind `run`, checked.

use std::time::Duration;

use ready_probe_sdk::clock::millis;
use ready_probe_sdk::signal::{self, Name};

use super::readiness::Conditions;
use super::ready_line::Pattern;
use super::speakers::From;
use crate::cli;
use ready_probe::redact::shown;
use ready_probe::settings::{Invalid, Origin};
use ready_probe::{duration, time_limit};

/// What was typed, checked.
#[derive(Debug)]
pub struct RunOptions {
    /// Whose signal it is.
    pub name: Name,
    /// When it is ready.
    pub conditions: Conditions,
    /// The line that it is to say.
    pub line: Option<Pattern>,
    /// How often `--when` is asked once it has passed.
    pub recheck: Duration,
    /// Whose messages count.
    pub from: From,
    /// How often `WATCHDOG=1` has to come.
    pub watchdog_ms: Option<u64>,
    /// How long the signal lives without a beat.
    pub ttl_ms: u64,
}

impl RunOptions {
    /// Checks it.
    pub fn parse(args: &cli::Run) -> Result<Self, Invalid> {
        let at = |flag, why: String| Invalid::new(&Origin::Flag(flag), why);
        let line = args.ready_line.as_deref().map(Pattern::parse).transpose();
        let line = line.map_err(|e| at("--ready-line", e))?;
        let ttl_ms = millis(duration::duration(&args.ttl).map_err(|e| at("--ttl", e))?);
        signal::check_ttl_ms(ttl_ms).map_err(|e| at("--ttl", e.to_string()))?;
        let watchdog = args.watchdog.as_deref().map(time_limit::parse).transpose();
        Ok(Self {
            name: Name::of_agent(&args.name).map_err(|e| at("NAME", e.to_string()))?,
            conditions: Conditions {
                when: !args.when.is_empty(),
                line: line.as_ref().map(|line| line.typed.clone()),
                notify: args.notify,
            },
            line,
            recheck: time_limit::parse(&args.recheck).map_err(|e| at("--recheck", e))?,
            from: match args.notify_from.as_str() {
                "main" => From::Main,
                "all" => From::All,
                other => {
                    let why = format!("{} is not one of main, all", shown(other));
                    return Err(at("--notify-from", why));
                }
            },
            watchdog_ms: watchdog.map_err(|e| at("--watchdog", e))?.map(millis),
            ttl_ms,
        })
    }
}
