//! Speaking on to whoever has started this process with a `NOTIFY_SOCKET` of its own: systemd, or an engine
//! that passes it into the container.

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use ready_probe_sdk::clock;
use ready_probe_sdk::signal::State;

use super::readiness::Word;

/// The variable of sd_notify(3).
pub const SOCKET_VARIABLE: &str = "NOTIFY_SOCKET";

/// The socket outside, and what it has not been told yet.
#[derive(Debug)]
pub struct Outer {
    socket: UnixDatagram,
    due: Option<String>,
}

impl Outer {
    /// The socket that the environment names, if it does.
    pub fn from_env() -> Result<Option<Self>, String> {
        match std::env::var_os(SOCKET_VARIABLE).filter(|named| !named.is_empty()) {
            None => Ok(None),
            Some(named) => Self::connect(&named).map(Some).map_err(|e| {
                format!(
                    "NOTIFY_SOCKET {} can't be told: {e}",
                    named.to_string_lossy()
                )
            }),
        }
    }

    fn connect(named: &OsString) -> std::io::Result<Self> {
        let address = match named.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(named)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, due: None })
    }

    /// Tells a word. The state comes first: runc looks at the beginning of a datagram only.
    pub fn tell(&mut self, word: &Word) {
        self.due = Some(lines(word, clock::mono_ms()));
        self.tell_due();
    }

    /// Tells what could not be told before.
    pub fn tell_due(&mut self) {
        if let Some(due) = self.due.take()
            && !self.send(&due)
        {
            self.due = Some(due);
        }
    }

    /// Passes on what the program says of its progress.
    pub fn pass_on(&self, line: &str) {
        // Lost where nobody takes it: the next one comes soon.
        self.send(line);
    }

    /// Whether that is done: it was taken, or nobody is there any more.
    fn send(&self, text: &str) -> bool {
        match self.socket.send(text.as_bytes()) {
            Ok(_) => true,
            Err(e) => e.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}

fn lines(word: &Word, now_ms: u64) -> String {
    let status = match (&word.reason, &word.status) {
        (Some(reason), _) => format!("{}: {reason}", word.state),
        (None, Some(status)) => status.clone(),
        (None, None) => word.state.to_string(),
    };
    let status = status.replace('\n', " ");
    match word.state {
        State::Ready => format!("READY=1\nSTATUS={status}"),
        State::Stopping => format!("STOPPING=1\nSTATUS={status}"),
        State::NotReady if word.reloading => {
            format!(
                "RELOADING=1\nMONOTONIC_USEC={}\nSTATUS={status}",
                now_ms * 1_000
            )
        }
        State::Starting | State::NotReady => format!("STATUS={status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_comes_first() {
        let word = |state, reason: &str, reloading| Word {
            state,
            reason: Some(reason.to_owned()).filter(|reason| !reason.is_empty()),
            status: None,
            reloading,
        };
        let table = [
            (word(State::Ready, "", false), "READY=1\nSTATUS=ready"),
            (word(State::Starting, "no", false), "STATUS=starting: no"),
            (word(State::NotReady, "no", false), "STATUS=not_ready: no"),
            (
                word(State::NotReady, "reloading", true),
                "RELOADING=1\nMONOTONIC_USEC=5000\nSTATUS=not_ready: reloading",
            ),
            (
                word(State::Stopping, "a\nb", false),
                "STOPPING=1\nSTATUS=stopping: a b",
            ),
        ];
        for (word, want) in table {
            assert_eq!(lines(&word, 5), want);
        }
    }
}
