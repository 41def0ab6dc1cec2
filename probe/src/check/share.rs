//! A part of a whole, compared and shown in percent. Pure.

use crate::outcome::Outcome;

/// So much of so much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// This much.
    pub part: u64,
    /// Of this.
    pub whole: u64,
}

impl Share {
    /// Whether it is less than so many percent. Of nothing it never is.
    pub fn is_below(self, percent: u8) -> bool {
        self.hundredfold() < u128::from(percent) * u128::from(self.whole)
    }

    /// Whether it is more than so many percent.
    pub fn is_above(self, percent: u8) -> bool {
        self.hundredfold() > u128::from(percent) * u128::from(self.whole)
    }

    /// In percent, for what is left: rounded down, so that it is below each limit that it is below of.
    pub fn percent_left(self) -> u128 {
        self.hundredfold() / u128::from(self.whole.max(1))
    }

    /// In percent, for what is used: rounded up.
    pub fn percent_used(self) -> u128 {
        self.hundredfold().div_ceil(u128::from(self.whole.max(1)))
    }

    /// Whether more is used than a limit allows; `said` tells how much is.
    pub fn judge_used(self, limit: Option<u8>, said: String) -> Outcome {
        match limit {
            Some(limit) if self.is_above(limit) => Outcome::fail(format!("{said}, limit {limit}%")),
            Some(_) | None => Outcome::Pass(said),
        }
    }

    fn hundredfold(self) -> u128 {
        u128::from(self.part) * 100
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_never_contradicts_what_is_judged() {
        for (part, whole) in [
            (0, 0),
            (0, 7),
            (1, 3),
            (2, 3),
            (7, 7),
            (899, 1_000),
            (900, 1_000),
            (901, 1_000),
            (u64::MAX - 1, u64::MAX),
        ] {
            let share = Share { part, whole };
            for percent in [0, 1, 33, 34, 66, 67, 89, 90, 91, 99, 100] {
                let limit = u128::from(percent);
                assert_eq!(
                    share.is_below(percent),
                    whole > 0 && share.percent_left() < limit
                );
                assert_eq!(share.is_above(percent), share.percent_used() > limit);
            }
        }
    }
}
