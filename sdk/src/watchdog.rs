//! Whether an agent makes progress. Owns the account of its ticks; reads no clock, writes nothing.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How often the watchdog looks while it waits: its error after a pause is one such step.
const LOOKS_PER_LIMIT: u64 = 16;

/// A stretch of `CLOCK_MONOTONIC` in which this process did not run: paused, or the host was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) from_ms: u64,
    pub(crate) to_ms: u64,
}

impl Gap {
    /// How much of it came after `progress_ms`.
    fn after(self, progress_ms: u64) -> u64 {
        self.to_ms.saturating_sub(self.from_ms.max(progress_ms))
    }
}

/// The account of one agent's ticks. [`Watchdog::tick`] may be called by any thread, and takes no
/// lock; [`Watchdog::look`] only by the heartbeat.
#[derive(Debug)]
pub(crate) struct Watchdog {
    limit_ms: u64,
    /// `CLOCK_MONOTONIC` at the last tick.
    progress_ms: AtomicU64,
    stalled: AtomicBool,
    /// How often it was armed, less how often it was disarmed.
    arms: AtomicI64,
    forgiven: Mutex<Forgiven>,
}

/// What is not counted against the agent.
#[derive(Debug, Default)]
struct Forgiven {
    /// The tick after which it was not counted; void when a later one has come.
    since_ms: u64,
    sum_ms: u64,
    last: Gap,
}

impl Watchdog {
    pub(crate) fn new(limit_ms: u64, now_ms: u64) -> Self {
        Self {
            limit_ms,
            progress_ms: AtomicU64::new(now_ms),
            stalled: AtomicBool::new(false),
            arms: AtomicI64::new(1),
            forgiven: Mutex::default(),
        }
    }

    pub(crate) fn limit_ms(&self) -> u64 {
        self.limit_ms
    }

    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled.load(SeqCst)
    }

    pub(crate) fn is_armed(&self) -> bool {
        self.arms.load(SeqCst) > 0
    }

    /// To be called after a tick.
    pub(crate) fn arm(&self) {
        self.arms.fetch_add(1, SeqCst);
    }

    /// To be called before a tick, which ends a stall that begins at this moment.
    pub(crate) fn disarm(&self) {
        self.arms.fetch_sub(1, SeqCst);
    }

    /// Notes progress. Says whether this ends a stall.
    pub(crate) fn tick(&self, now_ms: u64) -> bool {
        self.progress_ms.store(now_ms, SeqCst);
        // The swap alone would do, but it claims the cache line each time.
        self.stalled.load(SeqCst) && self.stalled.swap(false, SeqCst)
    }

    /// Looks whether the limit is passed, not counting gaps. Says whether a stall begins.
    pub(crate) fn look(&self, now_ms: u64, gap: Option<Gap>) -> bool {
        self.forgive(gap);
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

    /// When to look again: at the expiry, and often before. What is forgiven of a pause is as exact
    /// as the looks are frequent, so they go on while nothing is watched: a pause may follow at
    /// once when the agent gets ready or a stall ends.
    pub(crate) fn next_look_ms(&self, now_ms: u64) -> u64 {
        let step_ms = (self.limit_ms / LOOKS_PER_LIMIT).clamp(10, 250);
        match self.limit_ms.checked_sub(self.idle_ms(now_ms)) {
            Some(left_ms) => now_ms + step_ms.min(left_ms.saturating_add(1)),
            None => now_ms + step_ms,
        }
    }

    /// Time without a tick in which this process ran.
    pub(crate) fn idle_ms(&self, now_ms: u64) -> u64 {
        let progress_ms = self.progress_ms.load(SeqCst);
        let forgiven = self.forgiven();
        let forgiven_ms = if forgiven.since_ms == progress_ms {
            forgiven.sum_ms
        } else {
            0
        };
        now_ms
            .saturating_sub(progress_ms)
            .saturating_sub(forgiven_ms)
    }

    /// Only the part of a gap after the last tick is taken off: threads resume in any order, and a
    /// tick may have come before this one noticed the gap; or after it, with the time of before.
    fn forgive(&self, gap: Option<Gap>) {
        let progress_ms = self.progress_ms.load(SeqCst);
        let mut forgiven = self.forgiven();
        if forgiven.since_ms != progress_ms {
            forgiven.since_ms = progress_ms;
            forgiven.sum_ms = forgiven.last.after(progress_ms);
        }
        if let Some(gap) = gap {
            forgiven.sum_ms += gap.after(progress_ms);
            forgiven.last = gap;
        }
    }

    /// Held for a moment only, and never while waiting.
    fn forgiven(&self) -> MutexGuard<'_, Forgiven> {
        self.forgiven.lock().unwrap_or_else(PoisonError::into_inner)
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
        assert_eq!(watchdog.next_look_ms(10_005), 10_006);
        assert!(watchdog.look(10_006, None));
        assert!(!watchdog.look(10_007, None), "a stall begins once");
        assert_eq!(watchdog.next_look_ms(10_007), 10_257);
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
    fn a_tick_that_read_the_clock_before_a_pause_and_counts_after_it_is_credited() {
        let watchdog = Watchdog::new(LIMIT, 0);
        assert!(!watchdog.look(64_000, gap(4_000, 64_000)));
        watchdog.tick(3_999);
        assert!(!watchdog.look(64_001, None));
        assert!(!watchdog.look(73_999, None));
        assert!(watchdog.look(74_000, None));
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
    fn it_goes_on_looking_at_its_pace_when_the_limit_is_passed() {
        let unwatched = Watchdog::new(LIMIT, 0);
        assert_eq!(unwatched.next_look_ms(20_000), 20_250);
        let stalled = Watchdog::new(100, 0);
        assert!(stalled.look(101, None));
        assert_eq!(stalled.next_look_ms(102), 112);
    }

    #[test]
    fn the_longest_limit_does_not_overflow() {
        let watchdog = Watchdog::new(u64::MAX, 0);
        assert!(!watchdog.look(1_000_000, None));
        assert_eq!(watchdog.next_look_ms(1_000_000), 1_000_250);
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
                    // Sweeps the tick over the look.
                    (0..round % 97).for_each(|_| std::hint::spin_loop());
                    watchdog.tick(round * 100);
                    barrier.wait();
                }
            });
            let left_behind = (1..=rounds).filter(|round| {
                barrier.wait();
                (0..round % 89).for_each(|_| std::hint::spin_loop());
                watchdog.look(round * 100, None);
                barrier.wait();
                watchdog.is_stalled()
            });
            assert_eq!(left_behind.count(), 0);
        });
    }
}
