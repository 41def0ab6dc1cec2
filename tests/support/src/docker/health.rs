//! What the engine remembers of a container's health: its word, and the last probes.

use std::time::{Duration, SystemTime};

use serde_json::Value;

/// A container's health, as `docker inspect` shows it.
#[derive(Clone, Debug)]
pub struct Health {
    /// `starting`, `healthy`, `unhealthy`, or `none` where there is no HEALTHCHECK.
    pub status: String,
    /// Consecutive failures.
    pub failing_streak: u64,
    /// The last five probes that ended, oldest first.
    pub log: Vec<HealthLog>,
}

/// One probe that has ended.
#[derive(Clone, Debug)]
pub struct HealthLog {
    /// Its exit status; -1 when it ran into its timeout.
    pub exit_code: i64,
    /// The first 4096 bytes of its stdout and stderr.
    pub output: String,
    /// When the engine began it, on the engine's clock.
    pub start: SystemTime,
    /// When it ended: at the end of its output.
    pub end: SystemTime,
}

impl HealthLog {
    /// What it took, the engine's own work for the exec included.
    pub fn elapsed(&self) -> Duration {
        self.end.duration_since(self.start).unwrap_or_default()
    }
}

impl Health {
    /// `State.Health`, which is null without a HEALTHCHECK.
    pub(super) fn from_state(health: &Value) -> Self {
        Self {
            status: health["Status"].as_str().unwrap_or("none").to_owned(),
            failing_streak: health["FailingStreak"].as_u64().unwrap_or(0),
            log: health["Log"]
                .as_array()
                .into_iter()
                .flatten()
                .map(HealthLog::from_entry)
                .collect(),
        }
    }
}

impl HealthLog {
    fn from_entry(entry: &Value) -> Self {
        let time = |key: &str| {
            let text = entry[key].as_str().unwrap_or_default();
            timestamp(text)
                .unwrap_or_else(|| panic!("the {key} of a check is not a time: `{text}`"))
        };
        Self {
            exit_code: entry["ExitCode"].as_i64().unwrap_or(-1),
            output: entry["Output"].as_str().unwrap_or_default().to_owned(),
            start: time("Start"),
            end: time("End"),
        }
    }
}

/// RFC 3339 as Go prints it: `2024-02-29T23:59:59.123456789Z`, `…+01:00`; the fraction may be
/// absent or short.
pub(super) fn timestamp(text: &str) -> Option<SystemTime> {
    let (date, rest) = text.split_once('T')?;
    let zone_at = rest.find(['Z', '+', '-'])?;
    let (time, zone) = rest.split_at(zone_at);
    let [year, month, day] = numbers(date, '-')?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [hour, minute, second] = numbers(time, ':')?;
    let nanos: u32 = format!("{fraction:0<9}").parse().ok()?;
    let offset = match zone.strip_prefix('Z') {
        Some(_) => 0,
        None => {
            let [hours, minutes] = numbers(&zone[1..], ':')?;
            let seconds = hours * 3600 + minutes * 60;
            if zone.starts_with('-') {
                -seconds
            } else {
                seconds
            }
        }
    };
    let seconds =
        days_since_1970(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset;
    Some(SystemTime::UNIX_EPOCH + Duration::new(u64::try_from(seconds).ok()?, nanos))
}

fn numbers<const N: usize>(text: &str, separator: char) -> Option<[i64; N]> {
    let numbers: Option<Vec<i64>> = text
        .split(separator)
        .map(|part| part.parse().ok())
        .collect();
    numbers?.try_into().ok()
}

/// Counted in years that begin in March, so that the leap day is the last one.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_of_every_form_are_understood() {
        for (text, seconds, nanos) in [
            ("1970-01-01T00:00:00Z", 0, 0),
            ("2024-02-29T23:59:59.5Z", 1_709_251_199, 500_000_000),
            ("2024-03-01T00:00:00+01:00", 1_709_247_600, 0),
            ("2026-11-22T05:57:34.026643368Z", 1_795_327_054, 26_643_368),
            ("2025-12-31T20:30:00-03:30", 1_767_225_600, 0),
        ] {
            let expected = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
            assert_eq!(timestamp(text), Some(expected), "{text}");
        }
        assert_eq!(timestamp("yesterday"), None);
    }
}
