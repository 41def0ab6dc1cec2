//! Listeners that misbehave in one exact way.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4},
    os::fd::OwnedFd,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags},
    net::{AddressFamily, SocketFlags, SocketType, bind, socket_with},
};

use crate::{
    listener::{Acceptor, Connection, Stop, poll},
    process::free_port,
};

/// Of what clients send, no more than this is kept.
const KEPT: usize = 1 << 20;

/// How long a close waits for the client to close first. Closing while bytes of the client are unread
/// would make it an RST, and which of the two a client saw would be chance.
const LINGER: Duration = Duration::from_secs(2);

/// What a [`Hostile`] does with each connection. All of them accept, and take in what the client sends.
#[derive(Debug, Clone)]
pub enum Behaviour {
    /// Never answers.
    Silent,
    /// Sends the bytes one at a time, over and over. The first goes at once.
    Drip {
        /// What to send.
        bytes: Vec<u8>,
        /// The pause between two bytes.
        every: Duration,
    },
    /// Sends the pattern for ever, as fast as the client takes it.
    Endless(Vec<u8>),
    /// Sends something once, so that the client gets past its greeting, then a pattern for ever.
    EndlessAfter {
        /// Sent once, at once.
        first: Vec<u8>,
        /// Sent for ever.
        then: Vec<u8>,
    },
    /// Resets the connection at once. On a Unix socket, which knows no reset, closes it.
    Reset,
    /// Resets the connection after having sent the bytes.
    ResetAfter(Vec<u8>),
    /// Ends its own side at once, and keeps reading.
    HalfClose,
    /// Sends the bytes once and keeps the connection open.
    Garbage(Vec<u8>),
    /// Sends one reply for each thing it reads, then nothing more. What arrives in one read is one
    /// thing, however many commands it holds.
    Script(Vec<Vec<u8>>),
    /// Sends the bytes, then closes in good order.
    CloseAfter(Vec<u8>),
}

/// A listener on 127.0.0.1 or a Unix socket. Stops on drop, which closes its connections.
#[derive(Debug)]
pub struct Hostile {
    acceptor: Acceptor,
    seen: Arc<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    received: Mutex<Vec<u8>>,
    sent: AtomicU64,
}

impl Hostile {
    /// Listens on a free port of 127.0.0.1.
    pub fn tcp(behaviour: Behaviour) -> Self {
        Self::tcp_on(Ipv4Addr::LOCALHOST.into(), behaviour)
    }

    /// Listens on a free port of another local address, such as `::1` or `127.0.0.2`.
    pub fn tcp_on(ip: IpAddr, behaviour: Behaviour) -> Self {
        let seen = Arc::new(Seen::default());
        Self { acceptor: Acceptor::tcp(ip, serving(behaviour, Arc::clone(&seen))), seen }
    }

    /// Listens on a Unix socket in a directory of its own.
    pub fn unix(behaviour: Behaviour) -> Self {
        let seen = Arc::new(Seen::default());
        Self { acceptor: Acceptor::unix(serving(behaviour, Arc::clone(&seen))), seen }
    }

    /// Where it listens.
    ///
    /// # Panics
    /// On a Unix socket.
    pub fn addr(&self) -> SocketAddr {
        self.acceptor.address.socket()
    }

    /// The port it listens on.
    ///
    /// # Panics
    /// On a Unix socket.
    pub fn port(&self) -> u16 {
        self.addr().port()
    }

    /// The Unix socket it listens on.
    ///
    /// # Panics
    /// On a TCP socket.
    pub fn path(&self) -> &Path {
        self.acceptor.address.path()
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.acceptor.accepted()
    }

    /// What clients have sent so far, in the order of arrival, up to a megabyte.
    pub fn received(&self) -> Vec<u8> {
        self.seen.received.lock().expect("nobody panics here").clone()
    }

    /// How many bytes it has got rid of: what clients have read, and what their kernel holds for them.
    pub fn sent(&self) -> u64 {
        self.seen.sent.load(Ordering::SeqCst)
    }
}

fn serving(behaviour: Behaviour, seen: Arc<Seen>) -> impl Fn(Connection, &Stop) + Send + Sync + 'static {
    move |connection, stop| Sender::new(&behaviour).serve(connection, stop, &seen)
}

/// What is still to be sent on one connection, and what comes then.
struct Sender {
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
    fn new(behaviour: &Behaviour) -> Self {
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
            Behaviour::Drip { bytes, every } => Self { endlessly: bytes, every: Some(every), ..plan },
            Behaviour::Endless(pattern) => Self { endlessly: large(&pattern), ..plan },
            Behaviour::EndlessAfter { first, then } => Self { once: first, endlessly: large(&then), ..plan },
            Behaviour::Reset => Self { ending: Ending::Reset, ..plan },
            Behaviour::ResetAfter(bytes) => Self { once: bytes, ending: Ending::Reset, ..plan },
            Behaviour::HalfClose => Self { ending: Ending::HalfClose, ..plan },
            Behaviour::Garbage(bytes) => Self { once: bytes, ..plan },
            Behaviour::Script(replies) => Self { replies: replies.into(), ..plan },
            Behaviour::CloseAfter(bytes) => Self { once: bytes, ending: Ending::Close, ..plan },
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

    fn serve(mut self, mut connection: Connection, stop: &Stop, seen: &Seen) {
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
            let pause = self.every.map(|_| self.due.saturating_duration_since(Instant::now()));
            let mut fds = [stop.interest(), PollFd::new(&connection, interest)];
            poll(&mut fds, pause.filter(|_| !pending));
            let (stopped, events) = (!fds[0].revents().is_empty(), fds[1].revents());
            if stopped || events.contains(PollFlags::ERR) {
                return;
            }
            if client_open && events.intersects(PollFlags::IN | PollFlags::HUP) {
                match seen.read(&mut connection) {
                    Some(0) => client_open = false,
                    Some(_) => self.once.extend(self.replies.pop_front().unwrap_or_default()),
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

/// The pattern often enough that one write fills a socket's buffer.
fn large(pattern: &[u8]) -> Vec<u8> {
    let times = (256 * 1024_usize).checked_div(pattern.len()).unwrap_or(0).max(1);
    pattern.repeat(times)
}

/// A TCP port of 127.0.0.1 that refuses connections, and that nobody can take while this lives.
#[derive(Debug)]
pub struct RefusedPort {
    port: u16,
    _bound: OwnedFd,
}

impl RefusedPort {
    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address.
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }
}

/// A port that is bound but not listened on.
pub fn refused_port() -> RefusedPort {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).expect("a socket");
    loop {
        let port = free_port();
        if bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).is_ok() {
            return RefusedPort { port, _bound: socket };
        }
    }
}

#[cfg(test)]
#[path = "hostile_tests.rs"]
mod tests;
