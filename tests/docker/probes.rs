//! All probes of a container, where the engine itself remembers the last five.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ready_probe_test_support::docker::{Container, HealthLog};

use crate::fixture::{LIMIT, says};

const POLL: Duration = Duration::from_millis(250);

/// Whoever looks whether there are new ones does so all the time, whatever the test is at.
pub struct Probes {
    seen: Arc<Mutex<Vec<HealthLog>>>,
    judged: usize,
    stop: Arc<AtomicBool>,
    watcher: Option<JoinHandle<()>>,
}

impl Probes {
    /// From the container's first probe on, if it has not had many yet.
    pub fn of(container: &Container) -> Self {
        let (seen, stop): (Arc<Mutex<Vec<_>>>, Arc<AtomicBool>) = Default::default();
        let watcher = {
            let (container, seen, stop) = (container.alias(), Arc::clone(&seen), Arc::clone(&stop));
            thread::spawn(move || {
                while !stop.load(Ordering::Acquire) {
                    let log = container.health().log;
                    add(&mut seen.lock().unwrap(), &log);
                    thread::park_timeout(POLL);
                }
            })
        };
        Self {
            seen,
            judged: 0,
            stop,
            watcher: Some(watcher),
        }
    }

    /// Waits for a probe that `wanted` accepts, skipping those that ended before an earlier one that was
    /// waited for. Every probe on the way must pass `bearable`.
    #[track_caller]
    pub fn wait(
        &mut self,
        what: &str,
        bearable: impl Fn(&HealthLog) -> bool,
        wanted: impl Fn(&HealthLog) -> bool,
    ) -> HealthLog {
        let deadline = Instant::now() + LIMIT;
        loop {
            let late = Instant::now() > deadline;
            let seen = self.all();
            while let Some(probe) = seen.get(self.judged) {
                self.judged += 1;
                if wanted(probe) {
                    return probe.clone();
                }
                assert!(
                    bearable(probe),
                    "while waiting for {what}: {probe:#?}\nbefore: {seen:#?}"
                );
            }
            let watched = self.watcher.as_ref().is_some_and(|it| !it.is_finished());
            assert!(watched, "probes can't be seen any more: {seen:#?}");
            assert!(!late, "waited {LIMIT:?} in vain for {what}: {seen:#?}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits for a healthy probe; until then only starting ones are borne.
    #[track_caller]
    pub fn wait_healthy(&mut self) -> HealthLog {
        self.wait(
            "a healthy probe",
            |probe| says(probe, "starting: "),
            |probe| says(probe, "healthy: "),
        )
    }

    /// Waits for `count` more probes, each of which `wanted` must accept.
    #[track_caller]
    pub fn wait_each(&mut self, count: usize, what: &str, wanted: impl Fn(&HealthLog) -> bool) {
        for _ in 0..count {
            self.wait(what, |_| false, &wanted);
        }
    }

    /// All that have been seen so far.
    pub fn all(&self) -> Vec<HealthLog> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(watcher) = self.watcher.take() {
            watcher.thread().unpark();
            // What it died of has been printed.
            let _ = watcher.join();
        }
    }
}

/// Adds the probes of the engine's log that have not been seen.
#[track_caller]
fn add(seen: &mut Vec<HealthLog>, log: &[HealthLog]) {
    let new = match seen.last() {
        None => 0,
        Some(last) => match log.iter().position(|probe| probe.start == last.start) {
            Some(at) => at + 1,
            None => panic!("probes were missed between {last:?} and {log:?}"),
        },
    };
    seen.extend_from_slice(&log[new..]);
}
