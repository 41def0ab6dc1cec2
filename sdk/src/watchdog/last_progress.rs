//! One account of progress: when it was last proved, and how long ago that is, less what does not
//! count.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use arc_swap::ArcSwapOption;

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

/// What has to make progress. Written by any thread, without a lock.
#[derive(Debug)]
pub(super) struct Account {
    /// `CLOCK_MONOTONIC` at the last proof of its own.
    progress_ms: AtomicU64,
    /// The last look found it beyond the limit.
    expired: AtomicBool,
    /// That something runs, such as an event loop: renewed by its own ticks only, whoever else gets on.
    is_proof: bool,
}

impl Account {
    pub(super) fn new(now_ms: u64) -> Self {
        Self {
            progress_ms: AtomicU64::new(now_ms),
            expired: AtomicBool::new(false),
            is_proof: false,
        }
    }

    pub(super) fn is_proof(&self) -> bool {
        self.is_proof
    }

    pub(super) fn renew(&self, now_ms: u64) {
        self.progress_ms.store(now_ms, SeqCst);
    }

    pub(super) fn progress_ms(&self) -> u64 {
        self.progress_ms.load(SeqCst)
    }

    pub(super) fn is_expired(&self) -> bool {
        self.expired.load(SeqCst)
    }

    pub(super) fn set_expired(&self, expired: bool) {
        self.expired.store(expired, SeqCst);
    }
}

/// A call that is under way: an account of its own, within that of the call around it.
#[derive(Debug)]
pub(crate) struct Call {
    pub(super) account: Account,
    ended: AtomicBool,
    around: ArcSwapOption<Call>,
}

impl Call {
    pub(super) fn new(now_ms: u64, around: Option<Arc<Self>>) -> Self {
        Self {
            account: Account::new(now_ms),
            ended: AtomicBool::new(false),
            around: ArcSwapOption::new(around),
        }
    }

    /// One that is around no other, and that no other renews.
    pub(super) fn proof(now_ms: u64) -> Self {
        let mut call = Self::new(now_ms, None);
        call.account.is_proof = true;
        call
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(SeqCst)
    }

    /// It keeps no ended call alive: otherwise tasks that start one another would keep all those
    /// before them.
    pub(super) fn end(&self) {
        self.ended.store(true, SeqCst);
        self.around.store(self.around().and_then(Self::under_way));
    }

    /// This call or, if it has ended, the innermost one around it that has not.
    pub(super) fn under_way(self: Arc<Self>) -> Option<Arc<Self>> {
        let mut call = self;
        while call.has_ended() {
            call = call.around()?;
        }
        Some(call)
    }

    /// The call around it.
    pub(super) fn around(&self) -> Option<Arc<Self>> {
        self.around.load_full()
    }

    /// This call and those around it.
    pub(super) fn each(&self, mut visit: impl FnMut(&Self)) {
        visit(self);
        let mut next = self.around();
        while let Some(call) = next {
            visit(&call);
            next = call.around();
        }
    }
}

/// The time that does not count against an account.
#[derive(Debug, Default)]
pub(super) struct Forgiven {
    /// The proof after which it was not counted; void when a later one has come.
    since_ms: u64,
    sum_ms: u64,
}

impl Forgiven {
    /// Only the part of a gap after the last proof is taken off: threads resume in any order, and a
    /// tick may have come before the heartbeat noticed the gap, or after it with an earlier time.
    pub(super) fn forgive(&mut self, progress_ms: u64, last: Gap, gap: Option<Gap>) {
        if self.since_ms != progress_ms {
            self.since_ms = progress_ms;
            self.sum_ms = last.after(progress_ms);
        }
        self.sum_ms += gap.map_or(0, |gap| gap.after(progress_ms));
    }

    /// Time without a proof in which this process ran.
    pub(super) fn idle_ms(&self, progress_ms: u64, now_ms: u64) -> u64 {
        let forgiven_ms = if self.since_ms == progress_ms {
            self.sum_ms
        } else {
            0
        };
        now_ms
            .saturating_sub(progress_ms)
            .saturating_sub(forgiven_ms)
    }
}
