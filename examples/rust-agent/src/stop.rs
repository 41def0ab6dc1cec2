//! SIGTERM and SIGINT, as whoever stops a container sends them.

use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::Failure;

/// Catches them from now on. To be called before anybody can see the agent: whoever sees it may end it at once.
pub(crate) fn catch() -> Result<Signals, Failure> {
    Signals::new([SIGTERM, SIGINT])
        .map_err(|e| Failure::Start(format!("SIGTERM can't be handled: {e}")))
}

/// Has a thread call `stop` at the first signal. A second one ends the process.
pub(crate) fn on_signal(mut signals: Signals, stop: impl FnOnce() + Send + 'static) {
    thread::spawn(move || {
        let mut signals = signals.forever();
        if signals.next().is_some() {
            stop();
        }
        if let Some(signal) = signals.next() {
            std::process::exit(128 + signal);
        }
    });
}
