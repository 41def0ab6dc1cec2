//! How a store is going to end a record's life, and so whether the record proves anything about its
//! agent's life. Pure.

use std::fmt;

use crate::freshness::Span;

/// How much longer than its TTL a store may keep a record: NATS counts whole seconds, rounded up.
const ROUNDING_MS: u64 = 1_000;

/// How a store is going to end a record's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// In time: while the record is there, its agent lives.
    Timely,
    /// Never: nothing will ever remove it.
    Never,
    /// Only after `left_ms`, which is longer than the record's TTL: the store's clock was set back, or
    /// whoever wrote the record asked for another TTL than it names.
    Late {
        /// How long the store would keep it from now on, in milliseconds.
        left_ms: u64,
        /// The record's TTL, in milliseconds.
        ttl_ms: u64,
    },
    /// It should have ended `by_ms` ago: the store ends nothing, as without a quorum.
    Overdue {
        /// For how long it has been overdue, in milliseconds.
        by_ms: u64,
    },
}

impl Expiry {
    /// What becomes of a record with this TTL that a store keeps for `left_ms` from now on.
    pub(crate) fn within(left_ms: u64, ttl_ms: u64) -> Self {
        if left_ms > ttl_ms + ROUNDING_MS {
            return Self::Late { left_ms, ttl_ms };
        }
        Self::Timely
    }

    /// Whether the record's presence proves nothing: its agent may be long dead, or alive and about
    /// to replace it.
    #[must_use]
    pub fn is_doubtful(self) -> bool {
        match self {
            Self::Late { .. } | Self::Overdue { .. } => true,
            Self::Timely | Self::Never => false,
        }
    }
}

/// Why a record is not believed.
impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timely => f.write_str("its record ends in time"),
            Self::Never => f.write_str("its record has no TTL"),
            Self::Late { left_ms, ttl_ms } => write!(
                f,
                "the store would keep its record for {}; its TTL is {}",
                Span(*left_ms),
                Span(*ttl_ms)
            ),
            Self::Overdue { by_ms } => write!(
                f,
                "the store still has its record, which should have expired {} ago",
                Span(*by_ms)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_may_keep_a_record_for_its_ttl_and_a_second() {
        let late = |left_ms| Expiry::Late {
            left_ms,
            ttl_ms: 60_000,
        };
        for (left_ms, want) in [
            (0, Expiry::Timely),
            (60_000, Expiry::Timely),
            (61_000, Expiry::Timely),
            (61_001, late(61_001)),
            (3_660_000, late(3_660_000)),
        ] {
            assert_eq!(Expiry::within(left_ms, 60_000), want, "{left_ms}");
        }
    }
}
