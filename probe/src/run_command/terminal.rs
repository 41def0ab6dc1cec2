//! A terminal for the command's output where ours is one: as wide, and as its programs expect it.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{
    LocalModes, OptionalActions, OutputModes, Termios, tcgetattr, tcgetpgrp, tcgetwinsize,
    tcsetattr, tcsetwinsize,
};

/// A pseudoterminal, and what ours was like before.
#[derive(Debug)]
pub struct Terminal {
    master: OwnedFd,
    before: Termios,
}

impl Terminal {
    /// One that is like ours, if our output is one: its two ends are read and written.
    pub fn like_ours() -> io::Result<Option<(Self, OwnedFd, OwnedFd)>> {
        let (stdout, stderr) = (io::stdout(), io::stderr());
        let Some(ours) = ours(&stdout, &stderr) else {
            return Ok(None);
        };
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let slave = ioctl_tiocgptpeer(&master, flags)?;
        let before = tcgetattr(ours)?;
        let mut like = before.clone();
        // What is written to it is passed on unchanged; our terminal makes of it what it always does.
        like.output_modes.remove(OutputModes::OPOST);
        like.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&slave, OptionalActions::Now, &like)?;
        tcsetwinsize(&master, tcgetwinsize(ours)?)?;
        let reader = master.try_clone()?;
        Ok(Some((Self { master, before }, reader, slave)))
    }

    /// As wide as ours is by now.
    pub fn follow_size(&self) {
        let (stdout, stderr) = (io::stdout(), io::stderr());
        let size = ours(&stdout, &stderr).map(tcgetwinsize);
        if let Some(Ok(size)) = size {
            // It keeps the size that it had.
            let _ = tcsetwinsize(&self.master, size);
        }
    }

    /// Leaves our terminal as it was, if it is still ours: in the background, setting it would stop us.
    pub fn restore(&self) {
        let (stdout, stderr) = (io::stdout(), io::stderr());
        if let Some(ours) = ours(&stdout, &stderr)
            && tcgetpgrp(ours) == Ok(rustix::process::getpgrp())
        {
            // It is gone, then.
            let _ = tcsetattr(ours, OptionalActions::Drain, &self.before);
        }
    }
}

fn ours<'a>(stdout: &'a io::Stdout, stderr: &'a io::Stderr) -> Option<BorrowedFd<'a>> {
    if stdout.is_terminal() {
        return Some(stdout.as_fd());
    }
    stderr.is_terminal().then(|| stderr.as_fd())
}
