//! When a bucket ends a record's life, and whether it does. Pure.
//!
//! Each server of a cluster expires records by itself, with one exception: a bucket with
//! `subject_delete_marker_ttl` replaces an expired record by a marker, which its servers must agree on.
//! Without a quorum they can't, and the record stays (seen on nats-server 2.15.1).

use std::time::{Duration, SystemTime};

use super::bucket::{Lifetimes, StreamInfo};
use super::link::Reply;
use crate::clock::millis;
use crate::store::Expiry;

/// How much the clocks of two servers of a cluster may differ, and how late a server may expire records.
/// An agent's beats come several times within a TTL, so that no living one's record is as old.
const SLACK: Duration = Duration::from_secs(5);

/// How a bucket ends the lives of its records, at the moment that it was asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecordLife {
    pub(super) lifetimes: Lifetimes,
    /// The time at the server that leads the stream; nats-server 2.9 does not tell it.
    now: Option<SystemTime>,
}

impl RecordLife {
    pub(super) fn of(info: &StreamInfo) -> Self {
        Self {
            lifetimes: info.lifetimes(),
            now: info.now(),
        }
    }

    /// How long ago an answer's record was written.
    pub(super) fn age_ms(&self, reply: &Reply) -> Option<u64> {
        let age = self.now?.duration_since(reply.time()?);
        age.ok().map(millis)
    }

    /// What becomes of the record that an answer holds, and whose TTL is this.
    pub(super) fn expiry(&self, reply: &Reply, ttl_ms: u64) -> Expiry {
        let Some(kept_ms) = self.lifetimes.kept_ms(reply.ttl_ms()) else {
            return Expiry::Never;
        };
        // Such a bucket keeps all records equally long; writers say so, and refuse a longer TTL.
        let agreed_ms = match self.lifetimes {
            Lifetimes::MaxAge(max_age_ms) => max_age_ms,
            Lifetimes::Own(_) | Lifetimes::Never | Lifetimes::Several => ttl_ms,
        };
        let kept = Expiry::within(kept_ms, agreed_ms);
        if kept != Expiry::Timely {
            return kept;
        }
        let (Some(now), Some(put)) = (self.now, reply.time()) else {
            return Expiry::Timely;
        };
        match now.duration_since(put) {
            Ok(age) if millis(age) > kept_ms.saturating_add(millis(SLACK)) => Expiry::Overdue {
                by_ms: millis(age) - kept_ms,
            },
            // It is kept until its server's clock has come so far once more.
            Err(ahead) if ahead.duration() > SLACK => Expiry::Late {
                left_ms: kept_ms.saturating_add(millis(ahead.duration())),
                ttl_ms: agreed_ms,
            },
            Ok(_) | Err(_) => Expiry::Timely,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;
    const HOUR: u64 = 3_600_000;

    /// A record that was put at noon.
    fn record(ttl: Option<&str>) -> Reply {
        let mut headers = vec![(
            "Nats-Time-Stamp".to_owned(),
            "2026-11-26T12:00:00.25Z".to_owned(),
        )];
        headers.extend(ttl.map(|ttl| ("Nats-TTL".to_owned(), ttl.to_owned())));
        Reply {
            headers,
            ..Reply::default()
        }
    }

    fn at(time: &str) -> Option<SystemTime> {
        humantime::parse_rfc3339(&format!("2026-11-26T{time}Z")).ok()
    }

    #[test]
    fn truth_table() {
        let late = |left_ms, ttl_ms| Expiry::Late { left_ms, ttl_ms };
        let noon = at("12:00:00.25");
        let own = Lifetimes::Own(None);
        type Case = (
            Lifetimes,
            Option<&'static str>,
            Option<SystemTime>,
            u64,
            Expiry,
        );
        let table: Vec<Case> = vec![
            (own, Some("60s"), noon, MINUTE, Expiry::Timely),
            (own, Some("60s"), None, MINUTE, Expiry::Timely),
            (own, Some("60"), noon, MINUTE, Expiry::Timely),
            // Rounded up, as we write it.
            (own, Some("2s"), noon, 1_500, Expiry::Timely),
            (own, Some("1h"), noon, MINUTE, late(HOUR, MINUTE)),
            (own, Some("1h"), None, MINUTE, late(HOUR, MINUTE)),
            (own, Some("never"), noon, MINUTE, Expiry::Never),
            (own, None, noon, MINUTE, Expiry::Never),
            (Lifetimes::Never, Some("60s"), noon, MINUTE, Expiry::Never),
            (Lifetimes::MaxAge(HOUR), None, noon, MINUTE, Expiry::Timely),
            (
                Lifetimes::Own(Some(MINUTE)),
                None,
                noon,
                MINUTE,
                Expiry::Timely,
            ),
            (
                Lifetimes::Own(Some(MINUTE)),
                Some("1h"),
                noon,
                MINUTE,
                Expiry::Timely,
            ),
            (
                Lifetimes::Own(Some(HOUR)),
                None,
                noon,
                MINUTE,
                late(HOUR, MINUTE),
            ),
            // Five seconds for the server, and not more.
            (own, Some("60s"), at("12:01:05.25"), MINUTE, Expiry::Timely),
            (
                own,
                Some("60s"),
                at("12:01:05.5"),
                MINUTE,
                Expiry::Overdue { by_ms: 5_250 },
            ),
            (
                Lifetimes::MaxAge(MINUTE),
                None,
                at("12:03:00.25"),
                1_000,
                Expiry::Overdue { by_ms: 120_000 },
            ),
            // A clock that was set back.
            (own, Some("60s"), at("11:59:56"), MINUTE, Expiry::Timely),
            (
                own,
                Some("60s"),
                at("11:00:00.25"),
                MINUTE,
                late(HOUR + MINUTE, MINUTE),
            ),
        ];
        for (lifetimes, ttl, now, ttl_ms, want) in table {
            let life = RecordLife { lifetimes, now };
            let got = life.expiry(&record(ttl), ttl_ms);
            assert_eq!(got, want, "{lifetimes:?} {ttl:?} {now:?} {ttl_ms}");
        }
    }
}
