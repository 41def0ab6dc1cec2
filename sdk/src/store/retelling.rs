//! When everything is told again after a store was away.
//!
//! A connection that was given up may still speak: the kernel goes on delivering what it holds, and
//! a server that was paused reads what is in its queue, even after a reset. So an old `ready` can
//! arrive behind the `not_ready` that the next connection has told, and stay until the next beat,
//! or for a TTL if no beat follows. The store can't tell them apart; telling it again puts that
//! right.
//!
//! Knows neither clock nor store.

/// Everything is told again so long after the store is back. A paused server, or a brief cut,
/// delivers late messages within seconds. After a longer cut the kernel retries at doubling
/// intervals, and gives up a connection that its process has closed after eight tries, a good 100 s
/// (`tcp_orphan_retries` in the kernel's ip-sysctl.rst). By default beats come every 10 s, and
/// bound what falls between.
const AFTER_MS: [u64; 5] = [1_000, 5_000, 15_000, 45_000, 120_000];

/// What an outage of a store leaves to be told again.
#[derive(Debug, Default)]
pub struct Retelling {
    /// The store has failed, and nothing has come through since.
    is_broken: bool,
    back: Option<Back>,
}

/// The store is back.
#[derive(Debug)]
struct Back {
    since_ms: u64,
    /// How often everything was told again since.
    told: usize,
}

impl Back {
    fn due_ms(&self) -> Option<u64> {
        let after_ms = AFTER_MS.get(self.told)?;
        Some(self.since_ms.saturating_add(*after_ms))
    }
}

impl Retelling {
    /// A turn has failed. Whether that cost a connection does not matter: a process without one may
    /// follow one that had, and that left something under way.
    pub fn broke(&mut self) {
        self.is_broken = true;
    }

    /// A turn has come through: what was due when it was taken is told.
    pub fn came_through(&mut self, taken_ms: u64, now_ms: u64) {
        if std::mem::take(&mut self.is_broken) {
            self.back = Some(Back {
                since_ms: now_ms,
                told: 0,
            });
            return;
        }
        let Some(back) = &mut self.back else { return };
        while back.due_ms().is_some_and(|due_ms| due_ms <= taken_ms) {
            back.told += 1;
        }
        if back.due_ms().is_none() {
            self.back = None;
        }
    }

    /// When everything is told again; `None` while the store is away, since everything waits for it
    /// anyway.
    #[must_use]
    pub fn due_ms(&self) -> Option<u64> {
        let back = self.back.as_ref().filter(|_| !self.is_broken)?;
        back.due_ms()
    }

    /// Whether everything is told again now.
    #[must_use]
    pub fn is_due(&self, now_ms: u64) -> bool {
        self.due_ms().is_some_and(|due_ms| due_ms <= now_ms)
    }

    /// What is told now may have to be told again.
    #[must_use]
    pub fn is_going_on(&self) -> bool {
        self.is_broken || self.back.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_never_failed_tells_nothing_again() {
        let mut retelling = Retelling::default();
        for now_ms in [0, 1_000, 1_000_000] {
            retelling.came_through(now_ms, now_ms);
            assert_eq!(retelling.due_ms(), None);
            assert!(!retelling.is_going_on());
        }
    }

    #[test]
    fn after_a_failure_everything_is_told_again_and_again_and_then_no_more() {
        let mut retelling = Retelling::default();
        retelling.broke();
        assert!(retelling.is_going_on());
        assert_eq!(retelling.due_ms(), None, "it is away");
        // Counted from the answer: until then it was away.
        retelling.came_through(9_000, 10_000);
        for due_ms in [11_000, 15_000, 25_000, 55_000, 130_000] {
            assert_eq!(retelling.due_ms(), Some(due_ms));
            assert!(!retelling.is_due(due_ms - 1) && retelling.is_due(due_ms));
            // A beat that began before it was due, and was answered after.
            retelling.came_through(due_ms - 1, due_ms + 5);
            assert!(retelling.is_going_on());
            assert_eq!(retelling.due_ms(), Some(due_ms));
            retelling.came_through(due_ms, due_ms + 5);
        }
        assert!(!retelling.is_going_on());
        assert_eq!(retelling.due_ms(), None);
    }

    #[test]
    fn a_turn_that_comes_late_counts_for_all_that_were_due() {
        let mut retelling = Retelling::default();
        retelling.broke();
        retelling.came_through(0, 0);
        retelling.came_through(20_000, 20_000);
        assert_eq!(retelling.due_ms(), Some(45_000));
        retelling.came_through(500_000, 500_000);
        assert!(!retelling.is_going_on());
    }

    #[test]
    fn who_fails_again_begins_again() {
        let mut retelling = Retelling::default();
        retelling.broke();
        retelling.came_through(0, 0);
        retelling.came_through(5_000, 5_000);
        retelling.broke();
        assert!(!retelling.is_due(u64::MAX));
        retelling.came_through(60_000, 60_000);
        assert_eq!(retelling.due_ms(), Some(61_000));
    }
}
