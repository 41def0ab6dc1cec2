//! Probes that a busy machine kept from its processors: they are late through no fault of their own.

use std::thread;
use std::time::Duration;

use ready_probe_test_support::process::Run;

/// A probe that is late by itself is late each time.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// What the probe says when its last resort ends it: its checks were kept waiting for a processor. With
/// `-v`, also when those whom it has killed were.
pub fn is_starved(run: &Run) -> bool {
    run.first_line().contains("no answer by the deadline: ")
        || run.stderr.contains("processes of exec: could not be ended")
}

/// Asks until a probe had its say.
#[track_caller]
pub fn unless_starved(ask: impl FnMut() -> Run) -> Run {
    in_time(Duration::MAX, ask)
}

/// Asks until a probe was done within the limit, and had its say.
#[track_caller]
pub fn in_time(limit: Duration, mut ask: impl FnMut() -> Run) -> Run {
    let mut late = Vec::new();
    for _ in 0..TRIES {
        let run = ask();
        if run.elapsed <= limit && !is_starved(&run) {
            return run;
        }
        late.push((run.elapsed, run.first_line().to_owned()));
        thread::sleep(PAUSE);
    }
    panic!("never within {limit:?}: {late:?}");
}
