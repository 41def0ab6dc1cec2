//! One value a process: a forked child has its own.
//!
//! It is reached without a lock: one that another thread held at the fork would stay locked in the
//! child for ever. What the child has inherited is never freed: another thread of the parent may
//! have been changing it at that moment.

use once_cell::race::OnceBox;

/// A value of the calling process, made when it is first asked for.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use ready_probe_sdk::per_process::PerProcess;
///
/// static CALLS: PerProcess<AtomicU64> = PerProcess::new();
///
/// let calls = CALLS.get(|_parents| AtomicU64::new(0));
/// calls.fetch_add(1, Ordering::SeqCst);
/// assert_eq!(CALLS.get(|_parents| AtomicU64::new(0)).load(Ordering::SeqCst), 1);
/// ```
pub struct PerProcess<T: 'static> {
    first: OnceBox<Generation<T>>,
}

/// The process that asked first, or one forked from the generation before.
struct Generation<T> {
    pid: u32,
    value: T,
    forked: OnceBox<Generation<T>>,
}

impl<T> Generation<T> {
    fn current(value: T) -> Box<Self> {
        Box::new(Self {
            pid: std::process::id(),
            value,
            forked: OnceBox::new(),
        })
    }
}

impl<T> PerProcess<T> {
    /// Nobody's yet.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "it is for statics")]
    pub const fn new() -> Self {
        Self {
            first: OnceBox::new(),
        }
    }

    /// The calling process's value. `make` gets the value of the process that this one was forked
    /// from, if it had one. Two threads may race and both call `make`; the first value counts for
    /// both.
    pub fn get(&'static self, make: impl Fn(Option<&T>) -> T) -> &'static T {
        let mut generation = self.first.get_or_init(|| Generation::current(make(None)));
        loop {
            match generation.forked.get() {
                Some(forked) => generation = forked,
                None if generation.pid == std::process::id() => return &generation.value,
                None => {
                    let parent = &generation.value;
                    generation = generation
                        .forked
                        .get_or_init(|| Generation::current(make(Some(parent))));
                }
            }
        }
    }
}
