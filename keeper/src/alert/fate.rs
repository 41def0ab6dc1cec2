//! What becomes of a message, by the answer of who was to take it. Pure.

use serde::{Deserialize, Serialize};

/// Longer pauses than this are not kept: a server may have meant milliseconds.
const MAX_PAUSE_MS: u64 = 3_600_000;

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It was taken.
    Delivered,
    /// It was not, and would not be the next time. Why, for people.
    Refused(String),
    /// It was not, and may be later.
    Later {
        /// Why, for people.
        why: String,
        /// Nothing before that, says the server.
        after_ms: Option<u64>,
    },
}

/// What a status means. `after` is the header Retry-After; `said` is what the server says, without secrets.
pub fn judge(status: u16, after: Option<&str>, said: &str, wall_ms: u64) -> Fate {
    let answer = match said {
        "" => format!("status {status}"),
        said => format!("status {status}: {said}"),
    };
    match status {
        200..=299 => Fate::Delivered,
        // The same credentials are not tried again: ntfy locks out who fails 30 times.
        401 | 403 => Fate::Refused(format!("{answer}; look at its token or password")),
        300..=399 => Fate::Refused(format!(
            "{answer}; it sends us elsewhere: write the address that it means"
        )),
        404 | 410 => Fate::Refused(format!("{answer}; look at its address")),
        // Too early, too slow, too many.
        408 | 425 | 429 | 500..=599 => Fate::Later {
            why: answer,
            after_ms: after.and_then(|after| pause(after, wall_ms)),
        },
        _ => Fate::Refused(answer),
    }
}

/// Seconds, or a time of day (RFC 9110, 10.2.3).
fn pause(after: &str, wall_ms: u64) -> Option<u64> {
    let after = after.trim();
    let ms = match after.parse::<u64>() {
        Ok(seconds) => seconds.saturating_mul(1_000),
        // Discord's may have a fraction.
        Err(_) => match after.parse::<f64>() {
            Ok(seconds) if seconds >= 0.0 => (seconds.min(1e9) * 1_000.0).ceil() as u64,
            Ok(_) => return None,
            Err(_) => date_ms(after)?.saturating_sub(wall_ms),
        },
    };
    Some(ms.min(MAX_PAUSE_MS))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7).
fn date_ms(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let mut words = text.strip_suffix(" GMT")?.split(' ').skip(1);
    let (day, month) = (words.next()?.parse::<u64>().ok()?, words.next()?);
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let year = words
        .next()?
        .parse::<u64>()
        .ok()
        .filter(|year| (1970..=9999).contains(year))?;
    let mut clock = words
        .next()?
        .split(':')
        .map(|part| part.parse::<u64>().ok());
    let (hours, minutes, seconds) = (clock.next()??, clock.next()??, clock.next()??);
    // Days since 1970, counted in years that begin in March, so that a leap day comes last.
    let (years, months) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days =
        years * 365 + years / 4 - years / 100 + years / 400 + (153 * months + 2) / 5 + day - 1;
    let days = days.checked_sub(719_468)?;
    Some((((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth_table() {
        let later = |status: u16, after: Option<&str>| match judge(status, after, "", 0) {
            Fate::Later { after_ms, .. } => after_ms,
            other => panic!("{status}: {other:?}"),
        };
        for status in [200, 201, 204, 299] {
            assert_eq!(judge(status, None, "", 0), Fate::Delivered);
        }
        for status in [301, 400, 401, 403, 404, 405, 410, 413, 422, 600] {
            assert!(
                matches!(judge(status, Some("1"), "", 0), Fate::Refused(_)),
                "{status}"
            );
        }
        for status in [408, 425, 429, 500, 502, 503, 504, 599] {
            assert_eq!(later(status, None), None);
        }
        for (after, want) in [
            ("7", Some(7_000)),
            (" 0 ", Some(0)),
            ("0.25", Some(250)),
            ("999999999999", Some(MAX_PAUSE_MS)),
            ("-1", None),
            ("soon", None),
            ("Thu, 01 Jan 1970 00:00:09 GMT", Some(9_000)),
            ("Wed, 31 Dec 1969 00:00:09 GMT", None),
        ] {
            assert_eq!(later(429, Some(after)), want, "{after}");
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (text, want) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            ("Tue, 29 Feb 2000 12:00:00 GMT", 951_825_600),
            ("Sat, 28 Nov 2026 09:00:00 GMT", 1_795_856_400),
        ] {
            assert_eq!(date_ms(text), Some(want * 1_000), "{text}");
        }
    }

    #[test]
    fn what_the_server_says_is_passed_on_with_what_to_do() {
        let Fate::Refused(why) = judge(401, None, "unauthorized", 0) else {
            panic!("it is refused")
        };
        assert_eq!(
            why,
            "status 401: unauthorized; look at its token or password"
        );
    }
}
