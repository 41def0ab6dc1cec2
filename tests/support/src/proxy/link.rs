//! One connection through the proxy: two sockets, and a queue for each direction.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use rustix::{event::PollFlags, net::sockopt::set_socket_linger};

use super::{Counters, Fault};

/// A direction holds no more; beyond, the sender is left to wait, as TCP would have it.
const QUEUED: usize = 1 << 20;

/// For a server whose queue of connections is full.
const CONNECT: Duration = Duration::from_secs(1);

pub(super) struct Link {
    client: TcpStream,
    /// None until the first byte may pass: a blackhole answers for servers that are down, too.
    server: Option<TcpStream>,
    up: Flow,
    down: Flow,
}

/// What is under way in one direction.
#[derive(Default)]
struct Flow {
    queue: VecDeque<(Instant, Vec<u8>)>,
    queued: usize,
    /// When the end that the source has sent is to arrive.
    end: Option<Instant>,
    ended: bool,
}

impl Link {
    pub(super) fn new(client: TcpStream) -> Self {
        prepare(&client);
        Self {
            client,
            server: None,
            up: Flow::default(),
            down: Flow::default(),
        }
    }

    /// Closes both sides in good order.
    pub(super) fn close(self) {
        for socket in self.sockets() {
            // Fails on a side that is gone.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Closes both sides with an RST.
    pub(super) fn reset(self) {
        self.reset_on_close();
    }

    fn reset_on_close(&self) {
        for socket in self.sockets() {
            set_socket_linger(socket, Some(Duration::ZERO)).expect("SO_LINGER");
        }
    }

    fn sockets(&self) -> impl Iterator<Item = &TcpStream> {
        [Some(&self.client), self.server.as_ref()]
            .into_iter()
            .flatten()
    }

    /// What to poll for. Sockets of no interest are left out, as poll reports their errors regardless.
    pub(super) fn interests<'a>(
        &'a self,
        fault: Fault,
        now: Instant,
        mut add: impl FnMut(&'a TcpStream, PollFlags),
    ) {
        if fault == Fault::Blackhole {
            return;
        }
        let Some(server) = &self.server else { return };
        for (socket, from, to) in [
            (&self.client, &self.up, &self.down),
            (server, &self.down, &self.up),
        ] {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, from.takes_more());
            flags.set(
                PollFlags::OUT,
                to.queue.front().is_some_and(|(due, _)| *due <= now),
            );
            if !flags.is_empty() {
                add(socket, flags);
            }
        }
    }

    /// When something is to be moved though no socket says so.
    pub(super) fn next_due(&self, fault: Fault) -> Option<Instant> {
        if fault == Fault::Blackhole {
            return None;
        }
        if self.server.is_none() {
            return Some(Instant::now());
        }
        let now = Instant::now();
        let data = [&self.up, &self.down]
            .into_iter()
            .filter_map(|flow| flow.queue.front().map(|(due, _)| *due));
        let ends = [&self.up, &self.down]
            .into_iter()
            .filter(|flow| flow.queue.is_empty() && !flow.ended);
        // What is due already waits for its socket, which is polled. A swallowed end is not waited for.
        data.filter(|due| *due > now)
            .chain(
                ends.filter_map(|flow| flow.end)
                    .filter(|due| fault != Fault::SwallowReplies || *due > now),
            )
            .min()
    }

    /// Moves what can be moved; false when the connection is over.
    pub(super) fn go_on(
        &mut self,
        fault: Fault,
        upstream: SocketAddr,
        counters: &Counters,
    ) -> bool {
        if fault == Fault::Blackhole {
            return true;
        }
        let moved = self.move_bytes(fault, upstream, counters);
        if moved.is_err() {
            // One side is gone: so is the connection, for both.
            self.reset_on_close();
        }
        moved.is_ok() && !(self.up.ended && self.down.ended)
    }

    fn move_bytes(
        &mut self,
        fault: Fault,
        upstream: SocketAddr,
        counters: &Counters,
    ) -> io::Result<()> {
        let server = match &self.server {
            Some(server) => server,
            None => {
                let server = TcpStream::connect_timeout(&upstream, CONNECT)?;
                prepare(&server);
                self.server.insert(server)
            }
        };
        let delay = match fault {
            Fault::Delay(delay) => delay,
            Fault::None
            | Fault::Refuse
            | Fault::Blackhole
            | Fault::Reset
            | Fault::SwallowReplies => Duration::ZERO,
        };
        self.up.take_from(&self.client, delay)?;
        self.up.give_to(server, &counters.to_server)?;
        self.down.take_from(server, delay)?;
        if fault == Fault::SwallowReplies {
            self.down.swallow(&counters.swallowed);
            return Ok(());
        }
        self.down.give_to(&self.client, &counters.to_client)
    }
}

impl Flow {
    fn takes_more(&self) -> bool {
        self.end.is_none() && self.queued < QUEUED
    }

    fn take_from(&mut self, mut source: &TcpStream, delay: Duration) -> io::Result<()> {
        while self.takes_more() {
            let mut chunk = vec![0; 64 * 1024];
            match source.read(&mut chunk) {
                Ok(0) => self.end = Some(Instant::now() + delay),
                Ok(n) => {
                    chunk.truncate(n);
                    self.queued += n;
                    self.queue.push_back((Instant::now() + delay, chunk));
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn give_to(&mut self, mut sink: &TcpStream, counter: &AtomicU64) -> io::Result<()> {
        let now = Instant::now();
        while let Some((due, chunk)) = self.queue.front_mut() {
            if *due > now {
                return Ok(());
            }
            match sink.write(chunk) {
                Ok(n) => {
                    counter.fetch_add(n as u64, Ordering::SeqCst);
                    self.queued -= n;
                    chunk.drain(..n);
                    if chunk.is_empty() {
                        self.queue.pop_front();
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        if !self.ended && self.end.is_some_and(|due| due <= now) {
            self.ended = true;
            // Fails when the sink is gone, which then shows in the other direction.
            let _ = sink.shutdown(Shutdown::Write);
        }
        Ok(())
    }

    /// Loses everything but the end, which arrives when the fault is over.
    fn swallow(&mut self, counter: &AtomicU64) {
        counter.fetch_add(self.queued as u64, Ordering::SeqCst);
        self.queue.clear();
        self.queued = 0;
    }
}

fn prepare(socket: &TcpStream) {
    socket
        .set_nonblocking(true)
        .expect("a socket can be made non-blocking");
    // The proxy must not add delays of its own.
    socket.set_nodelay(true).expect("TCP_NODELAY");
}
