//! How soon the asker of a held answer usually comes again.
//!
//! An engine asks an interval after each answer. When it comes later than that, something may have happened in
//! between: `docker pause` makes a container's status `unhealthy` without asking, and the interval begins anew at
//! its end (seen on 20.10). So whoever comes late may believe something else than it was told.

use serde::{Deserialize, Serialize};

/// So many unusual gaps in a row, and it is another asker, or another interval.
const UNUSUAL: u32 = 4;
/// How much later than usual an engine comes on a busy host.
const SLACK_MS: u64 = 300;
/// How late it may come before anything is known: an interval of 1 s, and starting a check.
const FIRST_MS: u64 = 1_500;

/// What the gaps between an answer and the next question have shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskerPace {
    /// The shortest of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    usual_ms: Option<u64>,
    /// So many in a row were longer.
    #[serde(default)]
    unusual: u32,
}

impl AskerPace {
    /// Nothing is known.
    pub fn is_unknown(&self) -> bool {
        self.usual_ms.is_none()
    }

    /// Whether nothing else can have happened within such a gap.
    pub fn is_usual(&self, gap_ms: u64) -> bool {
        let most_ms = self.usual_ms.map(|ms| ms.saturating_add(SLACK_MS));
        gap_ms <= most_ms.unwrap_or(FIRST_MS)
    }

    /// It came again after so long.
    pub fn came(&mut self, gap_ms: u64) {
        match self.usual_ms {
            Some(usual_ms) if !self.is_usual(gap_ms) => {
                let unusual = self.unusual + 1;
                // What was usual is forgotten; a row of pauses is not usual either.
                let usual_ms = Some(usual_ms).filter(|_| unusual < UNUSUAL);
                *self = Self { usual_ms, unusual };
            }
            usual_ms => {
                *self = Self {
                    usual_ms: Some(usual_ms.map_or(gap_ms, |usual_ms| usual_ms.min(gap_ms))),
                    unusual: 0,
                }
            }
        }
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
