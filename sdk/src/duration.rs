//! Durations as people write them: `500ms`, `5s`, `2m`, `1min`; a number alone has no meaning.

use std::time::Duration;

const A_YEAR: Duration = Duration::from_secs(366 * 24 * 3_600);

/// Parses a duration with its unit.
///
/// ```
/// use std::time::Duration;
/// use ready_probe_sdk::duration;
///
/// assert_eq!(duration::parse("1min 30s"), Ok(Duration::from_secs(90)));
/// assert_eq!(duration::parse("5"), Err("has no unit: write it as 500ms, 5s or 2m"));
/// ```
///
/// # Errors
/// What is wrong with the text, to be put behind it.
pub fn parse(text: &str) -> Result<Duration, &'static str> {
    let number_alone = text.chars().all(|c| c.is_ascii_digit() || c == '.');
    if number_alone && text != "0" {
        return Err("has no unit: write it as 500ms, 5s or 2m");
    }
    // humantime takes months too, as `M`, and years. Nobody means these here.
    let mut units = text.split(|c: char| !c.is_ascii_alphabetic());
    let has_months =
        units.any(|unit| unit == "M" || unit.starts_with("month") || unit.starts_with('y'));
    match humantime::parse_duration(text) {
        Ok(parsed) if parsed > A_YEAR => Err("is longer than a year"),
        Ok(parsed) if !has_months => Ok(parsed),
        Ok(_) | Err(_) => Err("is not a duration: write it as 500ms, 5s or 2m"),
    }
}
