//! A TCP proxy that injects faults, also into connections already open.
//!
//! One thread moves all bytes, so that a fault holds for every connection from the moment that
//! [`Proxy::set`] returns.

mod link;

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::{fd::AsFd, unix::net::UnixStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, Sender, SyncSender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags},
    net::listen,
};

use self::link::Link;
use crate::{listener::poll, process::free_port};

/// What goes wrong between client and server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// New connections are refused and open ones closed, as if the server had ended.
    Refuse,
    /// New connections are accepted, and nothing moves in either direction, not even an end; as if the
    /// network had been cut. What was under way arrives when the fault is over.
    Blackhole,
    /// Everything arrives so much later, in either direction.
    Delay(Duration),
    /// Open connections are reset, and so is each new one.
    Reset,
    /// What the client sends arrives; what the server sends is lost. The worst case for a write: it
    /// happens, and the client can't know.
    SwallowReplies,
}

/// The proxy. Stops on drop, which closes its connections.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    counters: Arc<Counters>,
    orders: Sender<Order>,
    /// Tells the thread that there is an order. Its end tells it to stop.
    bell: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

struct Order {
    fault: Fault,
    done: SyncSender<()>,
}

#[derive(Debug, Default)]
struct Counters {
    connections: AtomicU64,
    open: AtomicU64,
    to_server: AtomicU64,
    to_client: AtomicU64,
    swallowed: AtomicU64,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 and forwards to `upstream`.
    pub fn start(upstream: SocketAddr) -> Self {
        let listener = loop {
            // With a port of its own choice the kernel would take it back while nobody listens.
            if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, free_port())) {
                break listener;
            }
        };
        listener
            .set_nonblocking(true)
            .expect("a listener can be made non-blocking");
        let addr = listener
            .local_addr()
            .expect("a bound socket has an address");
        let (bell, heard) = UnixStream::pair().expect("a socket pair");
        heard
            .set_nonblocking(true)
            .expect("a socket can be made non-blocking");
        let (orders, to_do) = mpsc::channel();
        let counters = Arc::new(Counters::default());
        let mover = Mover {
            upstream,
            listener,
            heard,
            orders: to_do,
            counters: Arc::clone(&counters),
            fault: Fault::None,
            links: Vec::new(),
        };
        let thread = thread::Builder::new().name(format!("proxy-{}", addr.port()));
        let thread = Some(thread.spawn(move || mover.run()).expect("a thread"));
        Self {
            addr,
            counters,
            orders,
            bell: Some(bell),
            thread,
        }
    }

    /// Injects a fault in place of the one before. It holds when this returns.
    pub fn set(&self, fault: Fault) {
        let (done, is_done) = mpsc::sync_channel(1);
        let told = self.orders.send(Order { fault, done });
        told.expect("the proxy's thread lives as long as the proxy");
        self.bell
            .as_ref()
            .expect("it is taken by drop only")
            .write_all(&[0])
            .expect("the bell works");
        is_done
            .recv()
            .expect("the proxy's thread lives as long as the proxy");
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// How many connections it has accepted.
    pub fn connections(&self) -> u64 {
        self.counters.connections.load(Ordering::SeqCst)
    }

    /// How many connections are open.
    pub fn open(&self) -> u64 {
        self.counters.open.load(Ordering::SeqCst)
    }

    /// How many bytes went from clients to the server.
    pub fn bytes_to_server(&self) -> u64 {
        self.counters.to_server.load(Ordering::SeqCst)
    }

    /// How many bytes went from the server to clients.
    pub fn bytes_to_client(&self) -> u64 {
        self.counters.to_client.load(Ordering::SeqCst)
    }

    /// How many bytes of replies were lost.
    pub fn bytes_swallowed(&self) -> u64 {
        self.counters.swallowed.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.bell.take();
        if let Some(thread) = self.thread.take() {
            // Drop must not panic, even if the thread has.
            let _ = thread.join();
        }
    }
}

/// What the thread works with.
struct Mover {
    upstream: SocketAddr,
    listener: TcpListener,
    heard: UnixStream,
    orders: Receiver<Order>,
    counters: Arc<Counters>,
    fault: Fault,
    links: Vec<Link>,
}

impl Mover {
    fn run(mut self) {
        while self.wait() {
            while let Ok(order) = self.orders.try_recv() {
                self.obey(order.fault);
                // The one who ordered may have been interrupted by a panic.
                let _ = order.done.send(());
            }
            self.accept();
            let (fault, upstream, counters) = (self.fault, self.upstream, &self.counters);
            self.links
                .retain_mut(|link| link.go_on(fault, upstream, counters));
            self.counters
                .open
                .store(self.links.len() as u64, Ordering::SeqCst);
        }
        // Closing alone is too late if a child between fork and exec has the sockets as well.
        self.stop_listening();
        self.links.drain(..).for_each(Link::close);
    }

    fn stop_listening(&self) {
        // It can only fail on a socket that doesn't listen.
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Read);
    }

    /// Until something can be moved, or is due; false when it is time to stop.
    fn wait(&mut self) -> bool {
        let mut fds = vec![PollFd::new(&self.heard, PollFlags::IN)];
        // A listener that doesn't listen would be ready all the time.
        if self.fault != Fault::Refuse {
            fds.push(PollFd::new(&self.listener, PollFlags::IN));
        }
        let now = Instant::now();
        for link in &self.links {
            link.interests(self.fault, now, |socket, flags| {
                fds.push(PollFd::from_borrowed_fd(socket.as_fd(), flags));
            });
        }
        let due = self
            .links
            .iter()
            .filter_map(|link| link.next_due(self.fault))
            .min();
        poll(&mut fds, due.map(|due| due.saturating_duration_since(now)));
        let rung = !fds[0].revents().is_empty();
        drop(fds);
        !rung || (&self.heard).read(&mut [0; 64]).is_ok_and(|n| n > 0)
    }

    fn obey(&mut self, fault: Fault) {
        if fault == Fault::Refuse && self.fault != Fault::Refuse {
            // Nobody can take the port meanwhile, as the socket still has it.
            self.stop_listening();
        }
        if fault != Fault::Refuse && self.fault == Fault::Refuse {
            listen(&self.listener, 128).expect("the port is still bound");
        }
        self.fault = fault;
        match fault {
            Fault::Refuse => self.links.drain(..).for_each(Link::close),
            Fault::Reset => self.links.drain(..).for_each(Link::reset),
            Fault::None | Fault::Blackhole | Fault::Delay(_) | Fault::SwallowReplies => {}
        }
        self.counters
            .open
            .store(self.links.len() as u64, Ordering::SeqCst);
    }

    fn accept(&mut self) {
        if self.fault == Fault::Refuse {
            return;
        }
        while let Ok((client, _)) = self.listener.accept() {
            self.counters.connections.fetch_add(1, Ordering::SeqCst);
            let link = Link::new(client);
            if self.fault == Fault::Reset {
                link.reset();
            } else {
                self.links.push(link);
            }
        }
    }
}

#[cfg(test)]
#[path = "proxy_tests.rs"]
mod tests;
