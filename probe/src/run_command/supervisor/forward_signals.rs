//! Which signals are passed on to the program, and which have reached it already.

use ready_probe::child::pid_of;
use ready_probe::signals::Caught;
use ready_probe_sdk::clock;
use rustix::io::Errno;
use rustix::process::{Signal, getpgid, getpgrp, getpid, getsid, kill_process};
use signal_hook::consts::{
    SIGALRM, SIGCHLD, SIGHUP, SIGINT, SIGIO, SIGQUIT, SIGTERM, SIGURG, SIGUSR1, SIGUSR2, SIGVTALRM,
    SIGWINCH,
};

use super::Supervisor;
use crate::run_command::end::signal_name;
use crate::run_command::readiness::Event;

/// What is passed on, and what tells of children. Not those that stop and continue a job, which the shell
/// sends to all of it.
pub const CAUGHT: [i32; 13] = [
    SIGHUP,
    SIGINT,
    SIGQUIT,
    SIGTERM,
    SIGUSR1,
    SIGUSR2,
    SIGWINCH,
    SIGALRM,
    SIGVTALRM,
    SIGIO,
    Signal::POWER.as_raw(),
    SIGURG,
    SIGCHLD,
];

impl Supervisor {
    /// Passes a signal on to the program's main process.
    pub fn pass_on(&mut self, caught: Caught) {
        let Caught { number, by_kernel } = caught;
        if number == SIGCHLD {
            return;
        }
        let owner = self.publisher.owner();
        let Some(pid) = pid_of(owner.pid) else {
            return;
        };
        if let (SIGWINCH, Some(outputs)) = (number, &self.outputs)
            && let Some(terminal) = &outputs.terminal
        {
            terminal.follow_size();
        } else if by_kernel && goes_to_group(number) && getpgid(Some(pid)) == Ok(getpgrp()) {
            // It has reached the program, and may have ended it by now.
            return self.has_reached(number);
        }
        let Some(signal) = Signal::from_named_raw(number).filter(|_| owner.lives()) else {
            return;
        };
        let name = signal_name(number);
        match kill_process(pid, signal) {
            Ok(()) => self.has_reached(number),
            // It has just ended.
            Err(Errno::SRCH) => {}
            Err(Errno::PERM) => self.voice.say_once(&format!(
                "{name} can't be passed on to process {}, which runs as another user: run this \
                 command as root, or the program as this user",
                owner.pid
            )),
            Err(e) => {
                let e = std::io::Error::from(e);
                self.voice.say_once(&format!(
                    "{name} can't be passed on to process {}: {e}",
                    owner.pid
                ));
            }
        }
    }

    fn has_reached(&mut self, number: i32) {
        self.asked.note(number, clock::mono_ms());
        if matches!(number, SIGTERM | SIGINT) {
            self.take(Event::Terminated(signal_name(number)));
            self.publish();
        }
    }
}

/// Whether the terminal sends it to its whole foreground group. One that hangs up tells the leader of its
/// session alone.
fn goes_to_group(number: i32) -> bool {
    match number {
        SIGINT | SIGQUIT | SIGWINCH => true,
        SIGHUP => getsid(None) != Ok(getpid()),
        _ => false,
    }
}
