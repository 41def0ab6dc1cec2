//! Whether an agent makes progress: its own account, and one for each call that is under way. Reads no
//! clock, writes nothing.
//!
//! The agent is stalled while any watched account is expired. Those of calls are watched while the
//! calls are under way; its own is watched from the beginning, but after the first call or
//! [`Watchdog::disarm`] only while it is armed.

mod last_progress;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use last_progress::{Account, Forgiven};
pub(crate) use last_progress::{Call, Gap};

use crate::freshness::Span;

/// How often the watchdog looks while it waits: its error after a pause is one such step.
const LOOKS_PER_LIMIT: u64 = 16;

/// The accounts of one agent. Ticks may come from any thread, and take no lock unless they end a stall;
/// [`Watchdog::look`] is the heartbeat's alone.
#[derive(Debug)]
pub(crate) struct Watchdog {
    limit_ms: u64,
    /// `CLOCK_MONOTONIC` at the last tick that counts for all accounts, save those of [`Call::proof`].
    all_ms: AtomicU64,
    own: Account,
    /// How often its own account was armed, less how often it was disarmed; never below 0.
    arms: AtomicU64,
    /// A call has begun, or it was disarmed: its own account is watched only while it is armed.
    on_demand: AtomicBool,
    /// Changed only while `ledger` is locked.
    stalled: AtomicBool,
    ledger: Mutex<Ledger>,
}

/// What matters only to looks, beginnings, ends and recoveries.
#[derive(Debug, Default)]
struct Ledger {
    last_gap: Gap,
    own: Forgiven,
    calls: BTreeMap<usize, (Arc<Call>, Forgiven)>,
}

/// How an agent is stalled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stall {
    /// The longest time without progress.
    pub(crate) idle_ms: u64,
    pub(crate) limit_ms: u64,
    /// How many calls hang, and how many are under way. Of nested calls, the innermost count; that
    /// something runs is no call.
    pub(crate) hung: usize,
    pub(crate) calls: usize,
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stalled: no progress for {}", Span(self.idle_ms))?;
        if self.calls > 1 && self.hung > 0 {
            write!(f, " in {} of {} calls", self.hung, self.calls)?;
        }
        write!(f, " (limit {})", Span(self.limit_ms))
    }
}

impl Watchdog {
    pub(crate) fn new(limit_ms: u64, now_ms: u64) -> Self {
        Self {
            limit_ms,
            all_ms: AtomicU64::new(now_ms),
            own: Account::new(now_ms),
            arms: AtomicU64::new(0),
            on_demand: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            ledger: Mutex::default(),
        }
    }

    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled.load(SeqCst)
    }

    /// All begins anew, whatever was late. Like all that follow, says whether this ends a stall.
    pub(crate) fn begin_anew(&self, now_ms: u64) -> bool {
        let ledger = self.ledger();
        let calls = ledger.calls.values().map(|(call, _)| call);
        for proof in calls.filter(|call| call.account.is_proof()) {
            proof.account.renew(now_ms);
        }
        drop(ledger);
        self.tick(now_ms)
    }

    /// Progress of all work. That a runtime runs is not proved by it.
    pub(crate) fn tick(&self, now_ms: u64) -> bool {
        self.all_ms.store(now_ms, SeqCst);
        self.is_stalled() && self.recover(now_ms)
    }

    /// Progress of a call and of those around it, and of the agent's own account.
    pub(crate) fn tick_call(&self, call: &Call, now_ms: u64) -> bool {
        let mut expired = self.renew_own(now_ms);
        call.each(|call| {
            call.account.renew(now_ms);
            expired |= call.account.is_expired();
        });
        expired && self.recover(now_ms)
    }

    /// Progress of a call, and of nothing else.
    pub(crate) fn tick_alone(&self, call: &Call, now_ms: u64) -> bool {
        call.account.renew(now_ms);
        call.account.is_expired() && self.recover(now_ms)
    }

    /// Whether the agent is stalled by this call, or by its own account.
    pub(crate) fn is_stalled_by(&self, call: &Call) -> bool {
        let mut expired = self.own.is_expired();
        call.each(|call| expired |= call.account.is_expired());
        expired
    }

    /// The agent says again that it is ready: progress, but of no work under way.
    pub(crate) fn mark(&self, now_ms: u64) -> bool {
        let is_default = !self.on_demand.load(SeqCst) && self.arms.load(SeqCst) == 0;
        is_default && self.renew_own(now_ms) && self.recover(now_ms)
    }

    pub(crate) fn arm(&self, now_ms: u64) -> bool {
        // The time before does not count: it is progress first, and watched then.
        let expired = self.renew_own(now_ms);
        self.arms.fetch_add(1, SeqCst);
        expired && self.recover(now_ms)
    }

    pub(crate) fn disarm(&self, now_ms: u64) -> bool {
        self.on_demand.store(true, SeqCst);
        // Never an error: the closure always has an answer.
        let _ = self
            .arms
            .fetch_update(SeqCst, SeqCst, |arms| Some(arms.saturating_sub(1)));
        // A look that finds it armed finds it renewed.
        self.renew_own(now_ms) && self.recover(now_ms)
    }

    /// A call begins, within another one or not. That is progress of the one around it.
    pub(crate) fn begin(&self, around: Option<&Arc<Call>>, now_ms: u64) -> (Arc<Call>, bool) {
        self.on_demand.store(true, SeqCst);
        let around = (around.and_then(|around| Arc::clone(around).under_way()))
            .filter(|around| !around.account.is_proof());
        let ends_stall = match &around {
            Some(around) => self.tick_call(around, now_ms),
            None => self.renew_own(now_ms) && self.recover(now_ms),
        };
        (self.enter(Call::new(now_ms, around)), ends_stall)
    }

    /// Something begins to prove that it runs, such as an event loop, until it ends as a call does.
    pub(crate) fn begin_proof(&self, now_ms: u64) -> (Arc<Call>, bool) {
        self.on_demand.store(true, SeqCst);
        let ends_stall = self.renew_own(now_ms) && self.recover(now_ms);
        (self.enter(Call::proof(now_ms)), ends_stall)
    }

    fn enter(&self, call: Call) -> Arc<Call> {
        let call = Arc::new(call);
        let entry = (Arc::clone(&call), Forgiven::default());
        self.ledger().calls.insert(key(&call), entry);
        call
    }

    /// A call ends, which is progress of the one around it.
    pub(crate) fn end(&self, call: &Call, now_ms: u64) -> bool {
        self.ledger().calls.remove(&key(call));
        let mut expired = self.renew_own(now_ms);
        call.each(|call| {
            call.account.renew(now_ms);
            expired |= call.account.is_expired();
        });
        call.end();
        expired && self.recover(now_ms)
    }

    /// Looks for accounts beyond the limit, not counting gaps. Says whether a stall begins.
    pub(crate) fn look(&self, now_ms: u64, gap: Option<Gap>) -> bool {
        let mut ledger = self.ledger();
        self.forgive(&mut ledger, gap);
        let is_late = |account: &Account, forgiven: &Forgiven| {
            self.idle_ms(account, forgiven, now_ms) > self.limit_ms
        };
        let late: Vec<(&Account, &Forgiven)> = self
            .watched(&ledger)
            .filter(|(account, forgiven)| !account.is_expired() && is_late(account, forgiven))
            .collect();
        if late.is_empty() {
            return false;
        }
        for (account, _) in &late {
            account.set_expired(true);
        }
        let was_stalled = self.stalled.swap(true, SeqCst);
        // A tick that came before this saw no stall to end, so look for it here; a later one ends
        // the stall itself. Accounts that were expired before need no look: whoever renews them
        // sees it.
        let mut still_late = false;
        for (account, forgiven) in late {
            let is_late = is_late(account, forgiven);
            account.set_expired(is_late);
            still_late |= is_late;
        }
        if !was_stalled && !still_late {
            self.stalled.store(false, SeqCst);
        }
        !was_stalled && still_late
    }

    /// When to look again: at the first expiry, and often before. Forgiving a pause is as exact as
    /// the looks are frequent, so they go on while nothing is watched: a pause may follow right
    /// after the agent gets ready or a stall ends.
    pub(crate) fn next_look_ms(&self, now_ms: u64) -> u64 {
        let step_ms = (self.limit_ms / LOOKS_PER_LIMIT).clamp(10, 250);
        let ledger = self.ledger();
        let left_ms = self
            .watched(&ledger)
            .filter_map(|(account, forgiven)| {
                (self.limit_ms).checked_sub(self.idle_ms(account, forgiven, now_ms))
            })
            .min();
        now_ms + left_ms.map_or(step_ms, |left_ms| step_ms.min(left_ms.saturating_add(1)))
    }

    /// How it is stalled, if it is.
    pub(crate) fn stall(&self, now_ms: u64) -> Option<Stall> {
        if !self.is_stalled() {
            return None;
        }
        let ledger = self.ledger();
        let idle_ms = self
            .watched(&ledger)
            .filter(|(account, _)| account.is_expired())
            .map(|(account, forgiven)| self.idle_ms(account, forgiven, now_ms))
            .max();
        let calls = || {
            let calls = ledger.calls.values().map(|(call, _)| call);
            calls.filter(|call| !call.account.is_proof())
        };
        let around: BTreeSet<usize> = calls()
            .filter_map(|call| call.around().as_deref().map(key))
            .collect();
        let innermost = || calls().filter(|call| !around.contains(&key(call)));
        Some(Stall {
            idle_ms: idle_ms.unwrap_or(self.limit_ms),
            limit_ms: self.limit_ms,
            hung: innermost().filter(|c| c.account.is_expired()).count(),
            calls: innermost().count(),
        })
    }

    /// Ends the stall if no account is expired any more. Says whether it does.
    fn recover(&self, now_ms: u64) -> bool {
        let ledger = self.ledger();
        if !self.is_own_watched() {
            self.own.set_expired(false);
        }
        let mut expired = false;
        for (account, forgiven) in self.watched(&ledger) {
            if account.is_expired() {
                let is_late = self.idle_ms(account, forgiven, now_ms) > self.limit_ms;
                account.set_expired(is_late);
                expired |= is_late;
            }
        }
        !expired && self.stalled.swap(false, SeqCst)
    }

    /// Says whether it was expired.
    fn renew_own(&self, now_ms: u64) -> bool {
        self.own.renew(now_ms);
        self.own.is_expired()
    }

    fn is_own_watched(&self) -> bool {
        self.arms.load(SeqCst) > 0 || !self.on_demand.load(SeqCst)
    }

    fn watched<'a>(
        &'a self,
        ledger: &'a Ledger,
    ) -> impl Iterator<Item = (&'a Account, &'a Forgiven)> {
        let own = self.is_own_watched().then_some((&self.own, &ledger.own));
        let calls = ledger.calls.values();
        own.into_iter()
            .chain(calls.map(|(call, forgiven)| (&call.account, forgiven)))
    }

    fn forgive(&self, ledger: &mut Ledger, gap: Option<Gap>) {
        let last_gap = ledger.last_gap;
        (ledger.own).forgive(self.progress_ms(&self.own), last_gap, gap);
        for (call, forgiven) in ledger.calls.values_mut() {
            forgiven.forgive(self.progress_ms(&call.account), last_gap, gap);
        }
        ledger.last_gap = gap.unwrap_or(last_gap);
    }

    fn idle_ms(&self, account: &Account, forgiven: &Forgiven, now_ms: u64) -> u64 {
        forgiven.idle_ms(self.progress_ms(account), now_ms)
    }

    fn progress_ms(&self, account: &Account) -> u64 {
        if account.is_proof() {
            return account.progress_ms();
        }
        account.progress_ms().max(self.all_ms.load(SeqCst))
    }

    /// Held for a moment only, and never while waiting.
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How calls are told apart: by where they are, as long as the ledger has them.
fn key(call: &Call) -> usize {
    std::ptr::from_ref(call).addr()
}

#[cfg(test)]
mod oracle_tests;
#[cfg(test)]
mod tests;
