//! Whether this program stood still: stopped, or on a machine with too much to do. What did not answer meanwhile may have
//! been heard by nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ready_probe_sdk::clock;

/// From so much on, a pause is not the service's.
const TOO_LATE_MS: u64 = 1_000;
const TICK_MS: u64 = 50;

/// A thread that looks at the clock again and again.
#[derive(Debug, Clone)]
pub struct Ticks(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    last_ms: AtomicU64,
    latest_by_ms: AtomicU64,
}

impl Ticks {
    /// Begins. Without a thread nothing is noticed.
    pub fn begin() -> Self {
        let ticks = Self(Arc::new(Counts {
            last_ms: AtomicU64::new(clock::mono_ms()),
            latest_by_ms: AtomicU64::new(0),
        }));
        let counts = ticks.clone();
        let tick = move || {
            // Until nobody asks any longer.
            while Arc::strong_count(&counts.0) > 1 {
                std::thread::sleep(Duration::from_millis(TICK_MS));
                counts.tick();
            }
        };
        if std::thread::Builder::new().spawn(tick).is_err() {
            ticks.0.last_ms.store(u64::MAX, Ordering::Relaxed);
        }
        ticks
    }

    fn tick(&self) {
        let late = self.late_ms();
        self.0.latest_by_ms.fetch_max(late, Ordering::Relaxed);
        self.0.last_ms.store(clock::mono_ms(), Ordering::Relaxed);
    }

    fn late_ms(&self) -> u64 {
        let last = self.0.last_ms.load(Ordering::Relaxed);
        clock::mono_ms().saturating_sub(last.saturating_add(TICK_MS))
    }

    /// Whether a tick came too late, or is too late by now.
    pub fn were_late(&self) -> bool {
        let latest = self.0.latest_by_ms.load(Ordering::Relaxed);
        latest.max(self.late_ms()) > TOO_LATE_MS
    }
}
