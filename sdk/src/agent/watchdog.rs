//! Whether an agent makes progress. Owns the account of its ticks; reads no clock, writes nothing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

/// How often the watchdog looks while it waits: its error after a pause is one such step.
const LOOKS_PER_LIMIT: u64 = 16;

/// A stretch of `CLOCK_MONOTONIC` in which this process did not run: paused, or the host was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) from_ms: u64,
    pub(crate) to_ms: u64,
}

/// The account of one agent's ticks. [`Watchdog::tick`] may be called by any thread, and takes no
/// lock; [`Watchdog::look`] only by the heartbeat.
#[derive(Debug)]
pub(crate) struct Watchdog {
    limit_ms: u64,
    /// `CLOCK_MONOTONIC` at the last tick.
    progress_ms: AtomicU64,
    stalled: AtomicBool,
    /// The gaps since the tick at `forgiven_since_ms`; void when a later tick has come.
    forgiven_ms: AtomicU64,
    forgiven_since_ms: AtomicU64,
}

impl Watchdog {
    pub(crate) fn new(limit_ms: u64, now_ms: u64) -> Self {
        Self {
            limit_ms,
            progress_ms: AtomicU64::new(now_ms),
            stalled: AtomicBool::new(false),
            forgiven_ms: AtomicU64::new(0),
            forgiven_since_ms: AtomicU64::new(0),
        }
    }

    pub(crate) fn limit_ms(&self) -> u64 {
        self.limit_ms
    }

    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled.load(SeqCst)
    }

    /// Notes progress. Says whether this ends a stall.
    pub(crate) fn tick(&self, now_ms: u64) -> bool {
        self.progress_ms.store(now_ms, SeqCst);
        // The swap alone would do, but it claims the cache line each time.
        self.stalled.load(SeqCst) && self.stalled.swap(false, SeqCst)
    }

    /// Looks whether the limit is passed, not counting gaps. Says whether a stall begins.
    pub(crate) fn look(&self, now_ms: u64, gap: Option<Gap>) -> bool {
        if let Some(gap) = gap {
            self.forgive(gap);
        }
        if self.idle_ms(now_ms) <= self.limit_ms || self.stalled.swap(true, SeqCst) {
            return false;
        }
        // A tick that came before the swap saw no stall to end, so it has to be looked for here;
        // one that comes after it ends the stall itself.
        if self.idle_ms(now_ms) > self.limit_ms {
            return true;
        }
        self.stalled.store(false, SeqCst);
        false
    }

    /// When to look again; `None` while stalled: then only a tick changes anything.
    pub(crate) fn next_look_ms(&self, now_ms: u64) -> Option<u64> {
        if self.is_stalled() {
            return None;
        }
        let left_ms = self
            .limit_ms
            .saturating_sub(self.idle_ms(now_ms))
            .saturating_add(1);
        let step_ms = (self.limit_ms / LOOKS_PER_LIMIT).clamp(10, 250);
        Some(now_ms + left_ms.min(step_ms))
    }

    /// Time without a tick in which this process ran.
    pub(crate) fn idle_ms(&self, now_ms: u64) -> u64 {
        let progress_ms = self.progress_ms.load(SeqCst);
        let forgiven_ms = if self.forgiven_since_ms.load(SeqCst) == progress_ms {
            self.forgiven_ms.load(SeqCst)
        } else {
            0
        };
        now_ms
            .saturating_sub(progress_ms)
            .saturating_sub(forgiven_ms)
    }

    /// Only the part of a gap after the last tick may be taken off: threads resume in any order,
    /// and a tick may have come before this one noticed the gap.
    fn forgive(&self, gap: Gap) {
        let progress_ms = self.progress_ms.load(SeqCst);
        if self.forgiven_since_ms.swap(progress_ms, SeqCst) != progress_ms {
            self.forgiven_ms.store(0, SeqCst);
        }
        let part_ms = gap.to_ms.saturating_sub(gap.from_ms.max(progress_ms));
        self.forgiven_ms.fetch_add(part_ms, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 10_000;

    fn gap(from_ms: u64, to_ms: u64) -> Option<Gap> {
        Some(Gap { from_ms, to_ms })
    }

    #[test]
    fn it_fires_once_and_one_millisecond_after_its_limit() {
        let watchdog = Watchdog::new(LIMIT, 5);
        assert!(!watchdog.look(10_005, None));
        assert_eq!(watchdog.next_look_ms(10_005), Some(10_006));
        assert!(watchdog.look(10_006, None));
        assert!(!watchdog.look(10_007, None), "a stall begins once");
        assert_eq!(watchdog.next_look_ms(10_007), None);
    }

    #[test]
    fn a_tick_ends_a_stall_once() {
        let watchdog = Watchdog::new(LIMIT, 0);
        assert!(!watchdog.tick(1));
        assert!(watchdog.look(20_000, None));
        assert!(watchdog.tick(20_001));
        assert!(!watchdog.tick(20_002));
        assert!(!watchdog.look(30_002, None));
        assert!(watchdog.look(30_003, None));
    }

    #[test]
    fn a_pause_is_not_counted_and_the_time_before_and_after_it_is() {
        let watchdog = Watchdog::new(LIMIT, 0);
        assert!(!watchdog.look(64_000, gap(4_000, 64_000)));
        assert_eq!(watchdog.idle_ms(64_000), 4_000);
        assert!(!watchdog.look(70_000, None));
        assert!(watchdog.look(70_001, None));
    }

    #[test]
    fn pauses_add_up() {
        let watchdog = Watchdog::new(LIMIT, 0);
        assert!(!watchdog.look(60_000, gap(1_000, 60_000)));
        assert!(!watchdog.look(120_000, gap(61_000, 120_000)));
        assert_eq!(watchdog.idle_ms(120_000), 2_000);
    }

    #[test]
    fn a_tick_right_after_a_pause_is_not_credited_with_the_pause() {
        let watchdog = Watchdog::new(LIMIT, 0);
        watchdog.tick(64_000);
        assert!(!watchdog.look(64_010, gap(4_000, 64_010)));
        assert!(!watchdog.look(74_010, None));
        assert!(watchdog.look(74_011, None));
    }

    #[test]
    fn a_pause_before_the_last_tick_is_forgotten() {
        let watchdog = Watchdog::new(LIMIT, 0);
        assert!(!watchdog.look(64_000, gap(4_000, 64_000)));
        watchdog.tick(64_001);
        assert_eq!(watchdog.idle_ms(64_101), 100);
        assert!(watchdog.look(74_002, None));
    }

    #[test]
    fn the_longest_limit_does_not_overflow() {
        let watchdog = Watchdog::new(u64::MAX, 0);
        assert!(!watchdog.look(1_000_000, None));
        assert_eq!(watchdog.next_look_ms(1_000_000), Some(1_000_250));
    }

    #[test]
    fn a_tick_at_the_moment_of_the_look_leaves_no_stall_behind() {
        let rounds = 20_000;
        let watchdog = Watchdog::new(10, 0);
        let barrier = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 1..=rounds {
                    barrier.wait();
                    watchdog.tick(round * 100);
                    barrier.wait();
                }
            });
            let left_behind = (1..=rounds).filter(|round| {
                barrier.wait();
                watchdog.look(round * 100, None);
                barrier.wait();
                watchdog.is_stalled()
            });
            assert_eq!(left_behind.count(), 0);
        });
    }
}
