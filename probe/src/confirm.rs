//! `confirm=`: how long a check that has passed has not to pass before that counts. Until then it is tolerated,
//! and the container is degraded. Pure.
//!
//! Only while an answer is held: nobody counts retries meanwhile. [`crate::judge`] asks here whenever a check
//! does not pass and has no grace left.

use std::time::Duration;

use ready_probe_sdk::clock::millis;
use ready_probe_sdk::freshness::Span;

use crate::grace::Grace;
use crate::memory::{Answered, Past};
use crate::target::{Kind, Target};
use crate::verdict::Tolerance;

/// How long, if the target does not say. HEALTHCHECK's own default forgives as much: two failures, 30 s apart, of
/// three.
const DEFAULT: Duration = Duration::from_secs(10);

/// Whether it is tolerated that a check does not pass: it has passed before, and not failed to for long enough.
/// It was asked at `asked_ms`, and nothing is over before it has been asked again.
pub fn tolerance(target: &Target, past: &Past, asked_ms: u64, now_ms: u64) -> Tolerance {
    if counts_at_once(target) {
        return Tolerance::Exhausted;
    }
    match (past.last, past.no_pass_since_ms) {
        // Somebody else has heard a yes since: it is asked again before anything is said.
        (Answered::Pass, _) => Tolerance::Tolerated {
            until_ms: Some(now_ms),
        },
        (Answered::Fail | Answered::Unknown, Some(since_ms)) if past.passed => {
            Grace::For(time_of(target)).tolerance(since_ms, asked_ms)
        }
        (Answered::Fail | Answered::Unknown, Some(_) | None) => Tolerance::Exhausted,
    }
}

/// What is said while it is tolerated.
pub fn said(text: &str, target: &Target) -> String {
    let time = Span(millis(time_of(target)));
    format!("{text}; counts once it has not passed for {time}")
}

fn time_of(target: &Target) -> Duration {
    target.confirm.unwrap_or(DEFAULT)
}

/// Of an agent's own word, its death, stall or end of its TTL nobody doubts.
fn counts_at_once(target: &Target) -> bool {
    !target.asks(|kind| !matches!(kind, Kind::Agents | Kind::Agent { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact::Secrets;
    use crate::target::options::Options;

    fn target(text: &str) -> Target {
        Target::parse(text, Options::default(), &mut Secrets::default()).unwrap()
    }

    fn any(texts: &[&str]) -> Target {
        let targets = texts.iter().map(|text| target(text)).collect();
        Target::any(targets, Options::default()).unwrap()
    }

    /// It has not passed since 1,000, and passed before that.
    const FAILED: Past = Past {
        passed: true,
        definite: Some(Answered::Fail),
        last: Answered::Fail,
        since_ms: 1_000,
        no_pass_since_ms: Some(1_000),
    };

    #[test]
    fn what_has_passed_has_not_to_pass_for_a_while_before_that_counts() {
        let never_passed = Past {
            passed: false,
            ..FAILED
        };
        let not_answered = Past {
            definite: Some(Answered::Pass),
            last: Answered::Unknown,
            since_ms: 5_000,
            ..FAILED
        };
        let passed_since = Past {
            definite: Some(Answered::Pass),
            last: Answered::Pass,
            since_ms: 2_000,
            no_pass_since_ms: None,
            ..FAILED
        };
        let until = |ms| Tolerance::Tolerated { until_ms: Some(ms) };
        let over = Tolerance::Exhausted;
        let port = "tcp://127.0.0.1:1";
        for (text, past, asked_ms, want) in [
            (port, FAILED, 1_000, until(11_000)),
            (port, FAILED, 10_999, until(11_000)),
            (port, FAILED, 11_000, over),
            ("tcp://127.0.0.1:1#confirm=3s", FAILED, 3_999, until(4_000)),
            ("tcp://127.0.0.1:1#confirm=3s", FAILED, 4_000, over),
            ("tcp://127.0.0.1:1#confirm=0", FAILED, 1_000, over),
            // Whatever it answers instead, and how often that changes.
            (port, not_answered, 5_000, until(11_000)),
            (port, not_answered, 11_000, over),
            (port, never_passed, 1_000, over),
            // Asked before somebody else has heard the yes.
            (port, passed_since, 1_500, until(30_000)),
        ] {
            let got = tolerance(&target(text), &past, asked_ms, 30_000);
            assert_eq!(got, want, "{text} {past:?} asked at {asked_ms}");
        }
    }

    #[test]
    fn an_agents_own_word_counts_at_once() {
        for (target, want) in [
            (Target::agents(), true),
            (target("agent:a"), true),
            (any(&["agent:a", "agent:b"]), true),
            (any(&["agent:a", "pid:/run/b.pid"]), false),
            (target("peer:a"), false),
            (target("redis://127.0.0.1"), false),
            (target("nats://127.0.0.1"), false),
            (target("http://127.0.0.1"), false),
            (target("tcp://127.0.0.1:1"), false),
            (target("process:a"), false),
            (target("pid:/run/a.pid"), false),
            (target("exec:true"), false),
            (target("file:/a"), false),
        ] {
            assert_eq!(counts_at_once(&target), want, "{}", target.redacted);
            let got = tolerance(&target, &FAILED, 1_000, 1_000);
            assert_eq!(got == Tolerance::Exhausted, want, "{}", target.redacted);
        }
    }

    #[test]
    fn what_is_tolerated_says_until_when() {
        let target = target("tcp://127.0.0.1:1#confirm=90s");
        let want = "connection refused; counts once it has not passed for 1m30s";
        assert_eq!(said("connection refused", &target), want);
    }
}
