//! How long an asker waits for a held answer before it gives up, as far as its cuts have shown: three in a row
//! after the same time mean a limit of its own. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Holds that were cut off after the same time, give or take this, met the same limit.
const SAME_LENGTH_MS: u64 = 500;
/// So many in a row are needed to believe that: people and pauses cut holds, too.
const CUTS_OF_A_LIMIT: u32 = 3;
/// An engine asks again this long after the end of the last check at least, or nothing is ever held for it.
const INTERVAL_MS: u64 = 1_000;

/// What the cuts of one asker have shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskerLimit {
    /// After how long the last one that was cut off was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cut_after_ms: Option<u64>,
    /// So many in a row were cut off after the same time.
    #[serde(default)]
    cuts: u32,
    /// Holds must be shorter: their asker gives up before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limit_ms: Option<u64>,
}

impl AskerLimit {
    /// Its asker gives up not much later than this; nothing if no cuts have shown it.
    pub fn known(&self) -> Option<Duration> {
        self.limit_ms.map(Duration::from_millis)
    }

    /// Whether there is nothing to remember.
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }

    /// A hold was cut off by a signal after so long.
    pub fn cut(&mut self, ms: u64) {
        self.cut_off(ms, ms);
    }

    /// A hold has ended without a word, as the next one that began `ms` later has found. Docker kills a check at its
    /// timeout, and asks again an interval later.
    pub fn killed(&mut self, ms: u64) {
        self.cut_off(ms, ms.saturating_sub(INTERVAL_MS));
    }

    /// A hold was `ms` long as far as that can be seen; what cuts it comes not before `least_ms`. Once may be
    /// chance, and twice as well. The third time after the same time it is its asker's own limit.
    fn cut_off(&mut self, ms: u64, least_ms: u64) {
        let is_same = |last_ms: u64| last_ms.abs_diff(ms) <= SAME_LENGTH_MS;
        let is_again = self.cut_after_ms.is_some_and(is_same);
        self.cuts = if is_again {
            self.cuts.saturating_add(1)
        } else {
            1
        };
        if self.cuts >= CUTS_OF_A_LIMIT {
            let shorter_ms = self.limit_ms.map_or(u64::MAX, |limit_ms| limit_ms / 2);
            self.limit_ms = Some(shorter_ms.min(least_ms / 2));
            self.cuts = 0;
        }
        self.cut_after_ms = Some(ms);
    }

    /// An answer was taken in full after so long: if that is longer than the last cut, nothing cuts it there.
    pub fn outlasted(&mut self, ms: u64) {
        let is_shorter = |cut_ms: u64| cut_ms.saturating_add(SAME_LENGTH_MS) < ms;
        if self.cut_after_ms.is_some_and(is_shorter) {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_cuts_of_one_length_are_a_limit() {
        let mut limit = AskerLimit::default();
        for (after_ms, want) in [
            (10_000, None),
            (10_100, None),
            (4_000, None),
            (10_100, None),
            (10_600, None),
            (10_200, Some(5_100)),
            (5_000, Some(5_100)),
            (5_000, Some(5_100)),
            (5_000, Some(2_500)),
        ] {
            limit.cut(after_ms);
            assert_eq!(limit.limit_ms, want, "{after_ms}");
            // Each is followed by an answer that is given at once.
            limit.outlasted(0);
        }
        assert_eq!(limit.known(), Some(Duration::from_millis(2_500)));
    }

    #[test]
    fn whoever_outlasts_a_limit_shows_that_there_is_none() {
        let mut limit = AskerLimit::default();
        for _ in 0..3 {
            limit.cut(10_000);
        }
        assert_eq!(limit.limit_ms, Some(5_000));
        limit.outlasted(5_000);
        limit.outlasted(10_500);
        assert_eq!(limit.limit_ms, Some(5_000));
        assert!(!limit.is_unknown());
        limit.outlasted(10_501);
        assert!(limit.is_unknown());
    }
}
