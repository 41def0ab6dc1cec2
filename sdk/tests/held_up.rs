//! A pause that falls into the heartbeat's work, and not into its sleep, is no stall either.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use common::{TempFolder, throughout, until};
use ready_probe_sdk::{Agent, State};

static PAUSED: AtomicBool = AtomicBool::new(false);

/// Holds up the heartbeat for a second, and with [`PAUSED`] the agent: a pause of the process that
/// can be placed.
fn pause(line: &str) {
    if line.contains("can't be written") {
        PAUSED.store(true, SeqCst);
        thread::sleep(Duration::from_secs(1));
        PAUSED.store(false, SeqCst);
    }
}

#[test]
fn a_pause_in_the_middle_of_a_beat_is_no_stall() {
    common::log::on_event(pause);
    let folder = TempFolder::new();
    let watched = Agent::builder("watched")
        .folder(folder.signals())
        .watchdog(Duration::from_millis(500));
    let watched = watched.register().unwrap();
    watched.mark_ready(()).unwrap();
    let end = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !end.load(SeqCst) {
                until("the process runs", || (!PAUSED.load(SeqCst)).then_some(()));
                thread::sleep(Duration::from_millis(50));
                watched.tick().unwrap();
            }
        });
        let elsewhere = TempFolder::new();
        let second = Duration::from_secs(1);
        let builder = Agent::builder("beats")
            .folder(elsewhere.signals())
            .ttl(second);
        let _beats = builder.heartbeat(second / 10).register().unwrap();
        fs::remove_dir_all(elsewhere.path()).unwrap();
        fs::write(elsewhere.path(), "in the way").unwrap();
        until("the pause begins", || PAUSED.load(SeqCst).then_some(()));
        let mut stalled = false;
        throughout(Duration::from_millis(1_500), || {
            stalled |= watched.state() != State::Ready;
        });
        end.store(true, SeqCst);
        assert!(!stalled);
    });
    assert!(!PAUSED.load(SeqCst));
}
