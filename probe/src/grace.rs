//! Grace: how long an `Unknown` is tolerated after a `Pass`. How people write it, and when it is over.

use std::fmt;
use std::time::Duration;

use ready_probe_sdk::clock::millis;
use ready_probe_sdk::freshness::Span;

use crate::duration::duration;
use crate::verdict::Tolerance;

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

    /// Whether what has lasted since then is within it.
    pub fn tolerance(self, since_ms: u64, now_ms: u64) -> Tolerance {
        let until_ms = match self {
            Self::Forever => None,
            Self::For(grace) => Some(since_ms.saturating_add(millis(grace))),
        };
        if until_ms.is_none_or(|until_ms| now_ms < until_ms) {
            Tolerance::Tolerated { until_ms }
        } else {
            Tolerance::Exhausted
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

/// Parses a duration or `forever`.
pub fn parse(text: &str) -> Result<Grace, String> {
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
    fn a_grace_is_a_duration_or_forever() {
        assert_eq!(parse("3m"), Ok(Grace::For(Duration::from_secs(180))));
        assert_eq!(parse("forever"), Ok(Grace::Forever));
        assert!(parse("never").is_err());
    }

    #[test]
    fn it_is_over_once_it_has_lasted() {
        let grace = Grace::For(Duration::from_millis(10));
        let until_ms = Some(15);
        assert_eq!(grace.tolerance(5, 14), Tolerance::Tolerated { until_ms });
        assert_eq!(grace.tolerance(5, 15), Tolerance::Exhausted);
        let forever = Tolerance::Tolerated { until_ms: None };
        assert_eq!(Grace::Forever.tolerance(5, u64::MAX), forever);
    }
}
