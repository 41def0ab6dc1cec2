//! Sockets of either kind, and the thread that accepts on one.
//!
//! What the servers of this crate share. Knows no protocol.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::PathBuf,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    io::Errno,
};
use tempfile::TempDir;

/// Waits for one of the descriptors. At the timeout, or when interrupted, none of them is ready.
pub(crate) fn poll(fds: &mut [PollFd<'_>], timeout: Option<Duration>) {
    let timeout =
        timeout.map(|t| Timespec::try_from(t).expect("a test's timeout is not centuries"));
    match rustix::event::poll(fds, timeout.as_ref()) {
        Ok(_) => {}
        Err(Errno::INTR) => fds.iter_mut().for_each(PollFd::clear_revents),
        Err(e) => panic!("poll: {e}"),
    }
}

/// Told once, by drop; heard by any number of threads, also in the middle of a poll.
#[derive(Debug)]
pub(crate) struct Stop {
    told: Mutex<Option<UnixStream>>,
    heard: UnixStream,
}

impl Stop {
    fn new() -> Self {
        let (told, heard) = UnixStream::pair().expect("a socket pair");
        Self {
            told: Mutex::new(Some(told)),
            heard,
        }
    }

    fn tell(&self) {
        // Closing one end makes the other readable for ever, for everybody.
        self.told.lock().expect("nobody panics here").take();
    }

    /// Waits so long; true as soon as the fixture is being dropped.
    pub(crate) fn wait(&self, limit: Duration) -> bool {
        let mut fds = [self.interest()];
        poll(&mut fds, Some(limit));
        !fds[0].revents().is_empty()
    }

    /// For a poll of one's own.
    pub(crate) fn interest(&self) -> PollFd<'_> {
        PollFd::new(&self.heard, PollFlags::IN)
    }
}

/// One accepted connection. Clones are the same socket, which closes with the last of them.
#[derive(Debug, Clone)]
pub(crate) struct Connection(Arc<Socket>);

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Connection {
    pub(crate) fn tcp(stream: TcpStream) -> Self {
        Self(Arc::new(Socket::Tcp(stream)))
    }

    pub(crate) fn shutdown(&self, how: Shutdown) {
        // Fails on a peer that is gone, for whom there is nothing left to say.
        let _ = match &*self.0 {
            Socket::Tcp(s) => s.shutdown(how),
            Socket::Unix(s) => s.shutdown(how),
        };
    }

    pub(crate) fn set_nonblocking(&self) {
        match &*self.0 {
            Socket::Tcp(s) => s.set_nonblocking(true),
            Socket::Unix(s) => s.set_nonblocking(true),
        }
        .expect("an open socket can be made non-blocking");
    }

    /// Makes the close to come an RST. A Unix socket has none and just closes.
    pub(crate) fn reset_on_close(&self) {
        if let Socket::Tcp(s) = &*self.0 {
            rustix::net::sockopt::set_socket_linger(s, Some(Duration::ZERO)).expect("SO_LINGER");
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &*self.0 {
            Socket::Tcp(s) => s.as_fd(),
            Socket::Unix(s) => s.as_fd(),
        }
    }
}

impl Read for Connection {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &*self.0 {
            Socket::Tcp(s) => (&mut &*s).read(into),
            Socket::Unix(s) => (&mut &*s).read(into),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &*self.0 {
            Socket::Tcp(s) => (&mut &*s).write(bytes),
            Socket::Unix(s) => (&mut &*s).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where a fixture listens.
#[derive(Debug)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    /// The directory is the socket's own, and goes with it.
    Unix(TempDir),
}

impl Address {
    /// # Panics
    /// On a Unix socket.
    pub(crate) fn socket(&self) -> SocketAddr {
        match self {
            Self::Tcp(address) => *address,
            Self::Unix(_) => panic!("it listens on the Unix socket {}", self.path().display()),
        }
    }

    /// # Panics
    /// On a TCP socket.
    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Self::Unix(dir) => dir.path().join("socket"),
            Self::Tcp(address) => panic!("it listens on TCP {address}"),
        }
    }
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(l) => l.as_fd(),
            Self::Unix(l) => l.as_fd(),
        }
    }

    /// Ends the listening now. Closing alone may not: between fork and exec, a child that another test
    /// starts at this moment has the socket as well, and clients would go on connecting to it.
    fn refuse(&self) {
        // It can only fail on a socket that doesn't listen.
        let _ = rustix::net::shutdown(self.fd(), rustix::net::Shutdown::Read);
    }

    fn accept(&self) -> io::Result<Connection> {
        Ok(match self {
            Self::Tcp(l) => {
                let (stream, _) = l.accept()?;
                // A fixture's small writes are meant to arrive one by one.
                stream.set_nodelay(true)?;
                Connection::tcp(stream)
            }
            Self::Unix(l) => Connection(Arc::new(Socket::Unix(l.accept()?.0))),
        })
    }
}

/// A thread that accepts, with one thread for each connection. Stops on drop, and closes what is open.
#[derive(Debug)]
pub(crate) struct Acceptor {
    pub(crate) address: Address,
    accepted: Arc<AtomicUsize>,
    live: Arc<Mutex<Vec<Weak<Socket>>>>,
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

impl Acceptor {
    pub(crate) fn tcp(
        ip: IpAddr,
        serve: impl Fn(Connection, &Stop) + Send + Sync + 'static,
    ) -> Self {
        let listener =
            TcpListener::bind((ip, 0)).unwrap_or_else(|e| panic!("can't listen on {ip}: {e}"));
        let address = Address::Tcp(
            listener
                .local_addr()
                .expect("a bound socket has an address"),
        );
        Self::spawn(Listener::Tcp(listener), address, serve)
    }

    pub(crate) fn unix(serve: impl Fn(Connection, &Stop) + Send + Sync + 'static) -> Self {
        let dir = TempDir::with_prefix("rp-").expect("a temporary directory");
        let address = Address::Unix(dir);
        let path = address.path();
        let listener = UnixListener::bind(&path)
            .unwrap_or_else(|e| panic!("can't listen on {}: {e}", path.display()));
        Self::spawn(Listener::Unix(listener), address, serve)
    }

    fn spawn(
        listener: Listener,
        address: Address,
        serve: impl Fn(Connection, &Stop) + Send + Sync + 'static,
    ) -> Self {
        let accepted = Arc::new(AtomicUsize::new(0));
        let live = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(Stop::new());
        let serve = Arc::new(serve);
        let thread = thread::spawn({
            let (accepted, live, stop) =
                (Arc::clone(&accepted), Arc::clone(&live), Arc::clone(&stop));
            move || {
                loop {
                    let mut fds = [
                        stop.interest(),
                        PollFd::from_borrowed_fd(listener.fd(), PollFlags::IN),
                    ];
                    poll(&mut fds, None);
                    if !fds[0].revents().is_empty() {
                        return listener.refuse();
                    }
                    if fds[1].revents().is_empty() {
                        continue;
                    }
                    // A client that gave up while it was queued is not worth a failure.
                    let Ok(connection) = listener.accept() else {
                        continue;
                    };
                    let mut live = live.lock().expect("nobody panics here");
                    live.retain(|socket: &Weak<Socket>| socket.strong_count() > 0);
                    live.push(Arc::downgrade(&connection.0));
                    drop(live);
                    accepted.fetch_add(1, Ordering::SeqCst);
                    let (serve, stop) = (Arc::clone(&serve), Arc::clone(&stop));
                    thread::spawn(move || serve(connection, &stop));
                }
            }
        });
        Self {
            address,
            accepted,
            live,
            stop,
            thread: Some(thread),
        }
    }

    /// How many connections there have been.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.stop.tell();
        if let Some(thread) = self.thread.take() {
            // It panics only if poll does, and drop must not.
            let _ = thread.join();
        }
        // A thread that is in the middle of a read or a write ends with it.
        for socket in self.live.lock().expect("nobody panics here").drain(..) {
            if let Some(socket) = socket.upgrade() {
                Connection(socket).shutdown(Shutdown::Both);
            }
        }
    }
}
