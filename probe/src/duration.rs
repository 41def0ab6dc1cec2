//! Durations and graces as people write them: `500ms`, `5s`, `2m`; a number alone has no meaning.

use std::fmt;
use std::time::Duration;

use ready_probe_sdk::clock::millis;
use ready_probe_sdk::duration::parse;
use ready_probe_sdk::freshness::Span;

use crate::redact::shown;

/// How long `Unknown` is tolerated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grace {
    /// That long, from the first `Unknown` after a `Pass`.
    For(Duration),
    /// Without end.
    Forever,
}

impl Grace {
    /// The same, but no longer than so many milliseconds.
    pub fn at_most_ms(self, most_ms: u64) -> Self {
        let most = Duration::from_millis(most_ms);
        match self {
            Self::For(grace) => Self::For(grace.min(most)),
            Self::Forever => Self::For(most),
        }
    }
}

impl fmt::Display for Grace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::For(duration) => write!(f, "{}", Span(millis(*duration))),
            Self::Forever => f.write_str("forever"),
        }
    }
}

/// Parses a duration with its unit, by the SDK's grammar.
pub fn duration(text: &str) -> Result<Duration, String> {
    parse(text).map_err(|why| format!("{} {why}", shown(text)))
}

/// Parses a duration that something can happen in.
pub fn timeout(text: &str) -> Result<Duration, String> {
    let parsed = duration(text)?;
    if parsed < Duration::from_millis(1) {
        return Err(format!("{} leaves no time: at least 1ms", shown(text)));
    }
    Ok(parsed)
}

/// Parses a duration or `forever`.
pub fn grace(text: &str) -> Result<Grace, String> {
    if text == "forever" {
        return Ok(Grace::Forever);
    }
    duration(text)
        .map(Grace::For)
        .map_err(|e| format!("{e}, or forever"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_carries_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        for bad in [
            "5",
            "",
            "x",
            "-5s",
            "5 parsecs",
            "1.5",
            "99999999999999h",
            "5M",
            "1y",
            "5months",
            "2000000h",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert!(timeout("0s").is_err());
        assert_eq!(grace("forever"), Ok(Grace::Forever));
        assert!(grace("never").is_err());
    }
}
