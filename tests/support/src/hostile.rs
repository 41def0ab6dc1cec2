//! Listeners that misbehave in one exact way.

mod sender;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4},
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};

use self::sender::{Seen, Sender};
use crate::{
    listener::{Acceptor, Connection, Stop},
    process::free_port,
};

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

impl Hostile {
    /// Listens on a free port of 127.0.0.1.
    pub fn tcp(behaviour: Behaviour) -> Self {
        Self::tcp_on(Ipv4Addr::LOCALHOST.into(), behaviour)
    }

    /// Listens on a free port of another local address, such as `::1` or `127.0.0.2`.
    pub fn tcp_on(ip: IpAddr, behaviour: Behaviour) -> Self {
        let seen = Arc::new(Seen::default());
        Self {
            acceptor: Acceptor::tcp(ip, serving(behaviour, Arc::clone(&seen))),
            seen,
        }
    }

    /// Listens on a Unix socket in a directory of its own.
    pub fn unix(behaviour: Behaviour) -> Self {
        let seen = Arc::new(Seen::default());
        Self {
            acceptor: Acceptor::unix(serving(behaviour, Arc::clone(&seen))),
            seen,
        }
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
    pub fn path(&self) -> PathBuf {
        self.acceptor.address.path()
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.acceptor.accepted()
    }

    /// What clients have sent so far, in the order of arrival, up to a megabyte.
    pub fn received(&self) -> Vec<u8> {
        self.seen
            .received
            .lock()
            .expect("nobody panics here")
            .clone()
    }

    /// How many bytes it has got rid of: what clients have read, and what their kernel holds for them.
    pub fn sent(&self) -> u64 {
        self.seen.sent.load(Ordering::SeqCst)
    }
}

fn serving(
    behaviour: Behaviour,
    seen: Arc<Seen>,
) -> impl Fn(Connection, &Stop) + Send + Sync + 'static {
    move |connection, stop| Sender::new(&behaviour).serve(connection, stop, &seen)
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
    loop {
        if let Some(refused) = refuse(free_port()) {
            return refused;
        }
    }
}

/// Has 127.0.0.1 refuse connections to this port, unless somebody else has it.
pub fn refuse(port: u16) -> Option<RefusedPort> {
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .expect("a socket");
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).ok()?;
    Some(RefusedPort {
        port,
        _bound: socket,
    })
}

#[cfg(test)]
#[path = "hostile_tests.rs"]
mod tests;
