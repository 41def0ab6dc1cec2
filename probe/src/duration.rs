//! Durations as people write them: `500ms`, `5s`, `2m`; a number alone has no meaning.

use std::time::Duration;

use ready_probe_sdk::duration::parse;

use crate::redact::shown;

/// Parses a duration with its unit, by the SDK's grammar.
pub fn duration(text: &str) -> Result<Duration, String> {
    parse(text).map_err(|why| format!("{} {why}", shown(text)))
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
    }
}
