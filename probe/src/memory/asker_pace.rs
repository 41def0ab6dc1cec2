//! How soon the asker of a held answer usually comes again.
//!
//! An engine asks an interval after each answer. When it comes later than that, something may have happened in
//! between: `docker pause` makes a container's status `unhealthy` without asking, and the interval begins anew at
//! its end (seen on 20.10). So whoever comes late may believe something else than it was told.

use serde::{Deserialize, Serialize};

/// How many gaps are remembered. The least of them counts: after a pause the others still tell the interval.
const GAPS: usize = 4;
/// How much later than usual an engine comes on a busy host.
const SLACK_MS: u64 = 300;
/// How late it may come before anything is known: an interval of 1 s, and starting a check.
const FIRST_MS: u64 = 1_500;

/// The latest gaps between an answer and the next question.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AskerPace {
    gaps_ms: Vec<u64>,
}

impl AskerPace {
    /// Nothing is known.
    pub fn is_unknown(&self) -> bool {
        self.gaps_ms.is_empty()
    }

    /// Whether nothing else can have happened within such a gap.
    pub fn is_usual(&self, gap_ms: u64) -> bool {
        let least_ms = self.gaps_ms.iter().min();
        gap_ms <= least_ms.map_or(FIRST_MS, |least_ms| least_ms.saturating_add(SLACK_MS))
    }

    /// It came again after so long.
    pub fn came(&mut self, gap_ms: u64) {
        if self.gaps_ms.len() >= GAPS {
            self.gaps_ms.remove(0);
        }
        self.gaps_ms.push(gap_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_later_than_usual_may_have_heard_something_else() {
        let mut pace = AskerPace::default();
        for (gap_ms, is_usual) in [
            (1_500, true),
            (1_040, true),
            (1_340, true),
            (1_341, false),
            // A pause, and two more.
            (3_400, false),
            (2_100, false),
            (1_041, true),
            // Somebody asked by hand: the engine is usual again once that is forgotten.
            (200, true),
            (1_040, false),
            (1_040, false),
            (1_040, false),
            (1_040, false),
            (1_040, true),
        ] {
            assert_eq!(pace.is_usual(gap_ms), is_usual, "{gap_ms} after {pace:?}");
            pace.came(gap_ms);
        }
        assert!(!AskerPace::default().is_usual(1_501));
    }

    #[test]
    fn another_interval_is_usual_once_it_is_known() {
        let mut pace = AskerPace::default();
        assert!(!pace.is_usual(4_020));
        pace.came(4_020);
        assert!(pace.is_usual(4_300));
    }
}
