//! What one connection to a hostile listener goes through.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read, Write},
    net::Shutdown,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags};

use super::Behaviour;
use crate::listener::{Connection, Stop, poll};

/// Of what clients send, no more than this is kept.
const KEPT: usize = 1 << 20;

/// How long a close waits for the client to close first. Closing while bytes of the client are unread
/// would make it an RST, and which of the two a client saw would be chance.
const LINGER: Duration = Duration::from_secs(2);

/// What all connections of a listener add up to.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) received: Mutex<Vec<u8>>,
    pub(super) sent: AtomicU64,
}

impl Seen {
    /// How much there was to read; nothing at the client's end, none if the connection broke.
    fn read(&self, connection: &mut Connection) -> Option<usize> {
        let mut chunk = [0; 64 * 1024];
        let n = connection.read(&mut chunk).ok()?;
        let mut received = self.received.lock().expect("nobody panics here");
        let room = KEPT.saturating_sub(received.len());
        received.extend_from_slice(&chunk[..n.min(room)]);
        Some(n)
    }
}

/// What is still to be sent on one connection, and what comes then.
pub(super) struct Sender {
    once: Vec<u8>,
    endlessly: Vec<u8>,
    position: usize,
    every: Option<Duration>,
    due: Instant,
    replies: VecDeque<Vec<u8>>,
    ending: Ending,
}

enum Ending {
    StayOpen,
    HalfClose,
    Close,
    Reset,
}

impl Sender {
    pub(super) fn new(behaviour: &Behaviour) -> Self {
        let plan = Self {
            once: Vec::new(),
            endlessly: Vec::new(),
            position: 0,
            every: None,
            due: Instant::now(),
            replies: VecDeque::new(),
            ending: Ending::StayOpen,
        };
        match behaviour.clone() {
            Behaviour::Silent => plan,
            Behaviour::Drip { bytes, every } => Self {
                endlessly: bytes,
                every: Some(every),
                ..plan
            },
            Behaviour::Endless(pattern) => Self {
                endlessly: large(&pattern),
                ..plan
            },
            Behaviour::EndlessAfter { first, then } => Self {
                once: first,
                endlessly: large(&then),
                ..plan
            },
            Behaviour::Reset => Self {
                ending: Ending::Reset,
                ..plan
            },
            Behaviour::ResetAfter(bytes) => Self {
                once: bytes,
                ending: Ending::Reset,
                ..plan
            },
            Behaviour::HalfClose => Self {
                ending: Ending::HalfClose,
                ..plan
            },
            Behaviour::Garbage(bytes) => Self {
                once: bytes,
                ..plan
            },
            Behaviour::Script(replies) => Self {
                replies: replies.into(),
                ..plan
            },
            Behaviour::CloseAfter(bytes) => Self {
                once: bytes,
                ending: Ending::Close,
                ..plan
            },
        }
    }

    /// What can be written now.
    fn pending(&self) -> &[u8] {
        let rest = match self.position.checked_sub(self.once.len()) {
            None => &self.once[self.position..],
            Some(_) if self.endlessly.is_empty() => &[],
            Some(past) => &self.endlessly[past % self.endlessly.len()..],
        };
        match self.every {
            None => rest,
            Some(_) if rest.is_empty() || Instant::now() < self.due => &[],
            Some(_) => &rest[..1],
        }
    }

    fn sent(&mut self, bytes: usize) {
        self.position += bytes;
        if let Some(every) = self.every {
            self.due += every;
        }
    }

    pub(super) fn serve(mut self, mut connection: Connection, stop: &Stop, seen: &Seen) {
        connection.set_nonblocking();
        let mut client_open = true;
        loop {
            let pending = !self.pending().is_empty();
            if !pending && self.endlessly.is_empty() {
                match self.ending {
                    Ending::StayOpen => {}
                    Ending::Reset => return connection.reset_on_close(),
                    Ending::HalfClose => return half_close(connection, None, stop, seen),
                    Ending::Close => return half_close(connection, Some(LINGER), stop, seen),
                }
            }
            // A connection without interests is still watched for its end.
            let mut interest = PollFlags::empty();
            interest.set(PollFlags::IN, client_open);
            interest.set(PollFlags::OUT, pending);
            let pause = self
                .every
                .map(|_| self.due.saturating_duration_since(Instant::now()));
            let mut fds = [stop.interest(), PollFd::new(&connection, interest)];
            poll(&mut fds, pause.filter(|_| !pending));
            let (stopped, events) = (!fds[0].revents().is_empty(), fds[1].revents());
            if stopped || events.contains(PollFlags::ERR) {
                return;
            }
            if client_open && events.intersects(PollFlags::IN | PollFlags::HUP) {
                match seen.read(&mut connection) {
                    Some(0) => client_open = false,
                    Some(_) => self
                        .once
                        .extend(self.replies.pop_front().unwrap_or_default()),
                    None => return,
                }
            } else if events.contains(PollFlags::HUP) {
                return;
            }
            if events.contains(PollFlags::OUT) {
                match connection.write(self.pending()) {
                    Ok(n) => {
                        self.sent(n);
                        seen.sent.fetch_add(n as u64, Ordering::SeqCst);
                    }
                    Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => return,
                }
            }
        }
    }
}

/// Ends our side, then takes in what the client still sends until it ends its own, or our patience does.
fn half_close(mut connection: Connection, patience: Option<Duration>, stop: &Stop, seen: &Seen) {
    connection.shutdown(Shutdown::Write);
    let until = patience.map(|patience| Instant::now() + patience);
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let mut fds = [stop.interest(), PollFd::new(&connection, PollFlags::IN)];
        poll(&mut fds, left);
        let (stopped, readable) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
        if stopped || left == Some(Duration::ZERO) {
            return;
        }
        if readable && matches!(seen.read(&mut connection), Some(0) | None) {
            return;
        }
    }
}

/// The pattern often enough that one write fills a socket's buffer.
fn large(pattern: &[u8]) -> Vec<u8> {
    let times = (256 * 1024_usize)
        .checked_div(pattern.len())
        .unwrap_or(0)
        .max(1);
    pattern.repeat(times)
}
