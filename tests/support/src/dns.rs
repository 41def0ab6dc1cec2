//! Name servers, and a private `/etc/resolv.conf` to point a program at them.
//!
//! resolv.conf(5) knows no ports, so these listen on port 53 of a loopback address that nobody uses.
//! That, and the mounts, need root.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv4Addr, UdpSocket},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

/// A name server that takes every question and answers none.
#[derive(Debug)]
pub struct SilentNameServer(Server);

impl SilentNameServer {
    /// Listens on port 53 of a loopback address of its own.
    ///
    /// # Panics
    /// Without the right to use port 53.
    pub fn start() -> Self {
        Self(Server::start(|_| None))
    }

    /// Its address; the port is 53.
    pub fn ip(&self) -> Ipv4Addr {
        self.0.ip
    }

    /// A `resolv.conf` that knows this server only.
    pub fn resolv_conf(&self) -> String {
        self.0.resolv_conf()
    }

    /// The names asked for so far.
    pub fn queries(&self) -> Vec<String> {
        self.0.queries()
    }
}

/// A name server that knows a few hosts and says of all others that they don't exist.
#[derive(Debug)]
pub struct NameServer {
    server: Server,
    hosts: Hosts,
}

type Hosts = Arc<Mutex<HashMap<String, Vec<IpAddr>>>>;

impl NameServer {
    /// Listens on port 53 of a loopback address of its own. Answers keep the order of the addresses; the
    /// resolver may sort them by its own rules.
    ///
    /// # Panics
    /// Without the right to use port 53.
    pub fn start(hosts: &[(&str, &[IpAddr])]) -> Self {
        Self::failing(hosts, |_, _| false)
    }

    /// The same, but questions for IPv6 addresses are never answered.
    ///
    /// # Panics
    /// Without the right to use port 53.
    pub fn silent_for_ipv6(hosts: &[(&str, &[IpAddr])]) -> Self {
        Self::failing(hosts, |query, _| query.kind == AAAA)
    }

    /// The same, but the first question for each name and family is lost.
    ///
    /// # Panics
    /// Without the right to use port 53.
    pub fn losing_the_first(hosts: &[(&str, &[IpAddr])]) -> Self {
        Self::failing(hosts, |_, asked_before| asked_before == 0)
    }

    /// The same, but the first two are lost.
    ///
    /// # Panics
    /// Without the right to use port 53.
    pub fn losing_the_first_two(hosts: &[(&str, &[IpAddr])]) -> Self {
        Self::failing(hosts, |_, asked_before| asked_before < 2)
    }

    /// Does not answer those questions; it is told how often the same was asked before.
    fn failing(
        hosts: &[(&str, &[IpAddr])],
        ignores: impl Fn(&Query<'_>, usize) -> bool + Send + 'static,
    ) -> Self {
        let known = Hosts::default();
        let asked: Mutex<HashMap<(String, u16), usize>> = Mutex::default();
        let server = Server::start({
            let known = Arc::clone(&known);
            move |query| {
                let mut asked = asked.lock().expect("nobody panics here");
                let times = asked.entry((query.name.clone(), query.kind)).or_default();
                let ignored = ignores(query, *times);
                *times += 1;
                let known = known.lock().expect("nobody panics here");
                (!ignored).then(|| answer(query, &known))
            }
        });
        let server = Self {
            server,
            hosts: known,
        };
        for (name, addresses) in hosts {
            server.point(name, addresses);
        }
        server
    }

    /// Has a name lead to these addresses from now on.
    pub fn point(&self, name: &str, addresses: &[IpAddr]) {
        let mut hosts = self.hosts.lock().expect("nobody panics here");
        hosts.insert(name.to_lowercase(), addresses.to_vec());
    }

    /// Its address; the port is 53.
    pub fn ip(&self) -> Ipv4Addr {
        self.server.ip
    }

    /// A `resolv.conf` that knows this server only.
    pub fn resolv_conf(&self) -> String {
        self.server.resolv_conf()
    }

    /// The names asked for so far.
    pub fn queries(&self) -> Vec<String> {
        self.server.queries()
    }
}

#[derive(Debug)]
struct Server {
    ip: Ipv4Addr,
    queries: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(reply: impl Fn(&Query<'_>) -> Option<Vec<u8>> + Send + 'static) -> Self {
        let (socket, ip) = bind();
        let (queries, stop) = (
            Arc::new(Mutex::new(Vec::new())),
            Arc::new(AtomicBool::new(false)),
        );
        let thread = thread::spawn({
            let (queries, stop) = (Arc::clone(&queries), Arc::clone(&stop));
            move || {
                let mut packet = [0; 4096];
                while let Ok((n, from)) = socket.recv_from(&mut packet) {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let Some(query) = Query::parse(&packet[..n]) else {
                        continue;
                    };
                    queries
                        .lock()
                        .expect("nobody panics here")
                        .push(query.name.clone());
                    if let Some(reply) = reply(&query) {
                        // Fails when the one who asked is gone.
                        let _ = socket.send_to(&reply, from);
                    }
                }
            }
        });
        Self {
            ip,
            queries,
            stop,
            thread: Some(thread),
        }
    }

    fn resolv_conf(&self) -> String {
        format!("nameserver {}\n", self.ip)
    }

    fn queries(&self) -> Vec<String> {
        self.queries.lock().expect("nobody panics here").clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // An empty packet wakes the thread. Without one it stays until the process ends, which does no harm.
        let woken = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|socket| socket.send_to(&[], (self.ip, 53)));
        if let (Ok(_), Some(thread)) = (woken, self.thread.take()) {
            let _ = thread.join();
        }
    }
}

fn bind() -> (UdpSocket, Ipv4Addr) {
    let mut refused = None;
    for attempt in 0..20_u64 {
        // Any address of 127/8 is local. Not 127.0.x.y, where systemd-resolved (127.0.0.53), Docker (127.0.0.11)
        // and others have theirs.
        let [b, c, d, ..] = RandomState::new().hash_one(attempt).to_le_bytes();
        let ip = Ipv4Addr::new(127, b.max(1), c, d.clamp(1, 254));
        match UdpSocket::bind((ip, 53)) {
            Ok(socket) => return (socket, ip),
            Err(e) => refused = Some(e),
        }
    }
    panic!("no port 53 on any loopback address, for which one must be root: {refused:?}");
}

/// The one question of a packet (RFC 1035, section 4.1).
struct Query<'a> {
    id: &'a [u8],
    /// Name, type and class as sent.
    question: &'a [u8],
    name: String,
    kind: u16,
}

const A: u16 = 1;
const AAAA: u16 = 28;

impl<'a> Query<'a> {
    fn parse(packet: &'a [u8]) -> Option<Self> {
        let mut labels = Vec::new();
        let mut at = 12;
        loop {
            let length = usize::from(*packet.get(at)?);
            at += 1;
            if length == 0 {
                break;
            }
            labels.push(String::from_utf8_lossy(packet.get(at..at + length)?).to_lowercase());
            at += length;
        }
        let kind = packet.get(at..at + 2)?;
        Some(Self {
            id: &packet[..2],
            question: packet.get(12..at + 4)?,
            name: labels.join("."),
            kind: u16::from_be_bytes([kind[0], kind[1]]),
        })
    }
}

fn answer(query: &Query<'_>, hosts: &HashMap<String, Vec<IpAddr>>) -> Vec<u8> {
    let known = hosts.get(&query.name);
    let addresses: Vec<IpAddr> = known
        .into_iter()
        .flatten()
        .filter(|ip| (query.kind == A && ip.is_ipv4()) || (query.kind == AAAA && ip.is_ipv6()))
        .copied()
        .collect();
    let mut out = query.id.to_vec();
    // A response, authoritative, recursion wanted and to be had; then no error, or NXDOMAIN.
    out.extend([0x85, if known.is_some() { 0x80 } else { 0x83 }]);
    let count = u16::try_from(addresses.len()).expect("a packet holds no more");
    for number in [1, count, 0, 0] {
        out.extend(number.to_be_bytes());
    }
    out.extend(query.question);
    for address in addresses {
        // A pointer to the name in the question, the type, class IN, a TTL of 0: nobody may remember it.
        out.extend([0xc0, 12]);
        out.extend(query.kind.to_be_bytes());
        out.extend([0, 1, 0, 0, 0, 0]);
        let bytes = match address {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        out.extend(u16::try_from(bytes.len()).expect("4 or 16").to_be_bytes());
        out.extend(bytes);
    }
    out
}

/// The same command, in a mount namespace where `/etc/resolv.conf` and, if given, `/etc/nsswitch.conf`
/// hold these texts. Its pid and its standard streams stay those of the command that is returned.
///
/// The environment is exactly what the command sets for itself, as [`probe`](crate::process::probe)
/// does, and `PATH`: whether a `Command` inherits the rest can't be asked. User and group are not taken over.
///
/// # Panics
/// When not root. What is missing otherwise, the returned command prints, and ends with 125.
pub fn with_resolv_conf(command: &Command, resolv_conf: &str, nsswitch: Option<&str>) -> Command {
    assert!(
        rustix::process::geteuid().is_root(),
        "mounting a private /etc/resolv.conf needs root"
    );
    // The files are unlinked again at once: their mounts keep them.
    const SCRIPT: &str = r#"
        dir=$(mktemp -d) &&
        printf %s "$1" >"$dir/resolv.conf" && mount --bind "$dir/resolv.conf" /etc/resolv.conf &&
        if [ "$2" = yes ]; then
            printf %s "$3" >"$dir/nsswitch.conf" && mount --bind "$dir/nsswitch.conf" /etc/nsswitch.conf
        fi &&
        chmod -R go+rX "$dir" && rm -rf "$dir" || exit 125
        shift 3
        unset dir PWD OLDPWD SHLVL _
        exec "$@""#;
    let mut wrapped = Command::new("unshare");
    wrapped.args([
        "--mount",
        "sh",
        "-c",
        SCRIPT,
        "with_resolv_conf",
        resolv_conf,
    ]);
    wrapped.args([
        if nsswitch.is_some() { "yes" } else { "no" },
        nsswitch.unwrap_or_default(),
    ]);
    wrapped.arg(command.get_program()).args(command.get_args());
    wrapped
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    wrapped.envs(
        command
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    if let Some(dir) = command.get_current_dir() {
        wrapped.current_dir(dir);
    }
    wrapped
}

#[cfg(test)]
#[path = "dns_tests.rs"]
mod tests;
