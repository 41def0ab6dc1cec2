//! A real partition: what the kernel delivers for a connection that its process has given up.

use std::io::{BufRead, BufReader, Write};
use std::iter;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use ready_probe_sdk::signal::State;
use ready_probe_test_support::process::free_port;
use ready_probe_test_support::servers::Redis;

use crate::common::program::Program;
use crate::common::{PATIENCE, TempFolder, until};
use crate::fixture::{SLACK, record};

/// When everything is told again for the third time, counted from when the store is back.
const THIRD: Duration = Duration::from_secs(15);
/// When the kernel tries again: late enough for the next connection, and before [`THIRD`]. It doubles its pauses, so one
/// of them begins so.
const PAUSE: Range<Duration> = Duration::from_secs(5)..Duration::from_secs(10);
/// States of connections as `/proc/net/tcp` has them: established; closed by its process, with something
/// unacknowledged (TCP_FIN_WAIT1).
const OPEN: &str = "01";
const GIVEN_UP: &str = "04";
/// The timer that runs, see proc_net_tcp.rst in the kernel's Documentation: that of a retransmission.
const TRIES_AGAIN: &str = "01";

/// A network namespace with a cable into ours.
struct Namespace {
    name: String,
    here: Ipv4Addr,
}

impl Namespace {
    fn new() -> Self {
        // A port is nobody else's, and names a network of four addresses.
        let [high, low] = free_port().to_be_bytes();
        let address = |host: u8| Ipv4Addr::new(10, 231, high, (low & 0xfc) + host);
        let name = format!("rp{}", u16::from_be_bytes([high, low]));
        let (here, there) = (address(1), address(2));
        let namespace = Self { name, here };
        let name = &namespace.name;
        ip(&["netns", "add", name]);
        ip(&[
            "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name,
        ]);
        ip(&["addr", "add", &format!("{here}/30"), "dev", name]);
        ip(&["link", "set", name, "up"]);
        ip(&[
            "-n",
            name,
            "addr",
            "add",
            &format!("{there}/30"),
            "dev",
            "eth0",
        ]);
        ip(&["-n", name, "link", "set", "eth0", "up"]);
        // A cut must not cost the other side's address, as no cut further away does.
        let mac = std::fs::read_to_string(format!("/sys/class/net/{name}/address")).unwrap();
        let here = here.to_string();
        ip(&[
            "-n",
            name,
            "neigh",
            "replace",
            &here,
            "lladdr",
            mac.trim(),
            "dev",
            "eth0",
        ]);
        namespace
    }

    fn cut(&self) {
        ip(&["link", "set", &self.name, "down"]);
    }

    fn mend(&self) {
        ip(&["link", "set", &self.name, "up"]);
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The cable goes with it, as soon as no process is there.
        let _ = Command::new("ip")
            .args(["link", "del", &self.name])
            .status();
        let _ = Command::new("ip")
            .args(["netns", "del", &self.name])
            .status();
    }
}

fn ip(args: &[&str]) {
    let ran = Command::new("ip").args(args).output().unwrap();
    assert!(ran.status.success(), "ip {args:?}: {ran:?}");
}

/// A process's connections to a port.
fn connections(pid: u32, port: u16) -> Vec<Connection> {
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
    let rows = table.lines().map(|row| row.split_whitespace().collect());
    let to_port = rows.filter(|row: &Vec<&str>| row[2].ends_with(&format!(":{port:04X}")));
    let parsed = to_port.map(|row| {
        let (_, from) = row[1].split_once(':').unwrap();
        let (timer, left) = row[5].split_once(':').unwrap();
        let left = u64::from_str_radix(left, 16).unwrap() * 10;
        Connection {
            from: u16::from_str_radix(from, 16).unwrap(),
            state: row[3].to_owned(),
            tries_again: (timer == TRIES_AGAIN).then(|| Duration::from_millis(left)),
        }
    });
    parsed.collect()
}

struct Connection {
    /// Its port on the side of the process.
    from: u16,
    state: String,
    /// So long until the kernel tries again to deliver what it holds.
    tries_again: Option<Duration>,
}

/// What Redis is told of an agent from now on: from which port, and which state.
fn told_of(agent: &str, redis: &Redis) -> Receiver<(u16, State)> {
    let (teller, told) = channel();
    let mut stream = UnixStream::connect(redis.unix_socket()).unwrap();
    stream.write_all(b"MONITOR\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    assert_eq!(lines.next().as_deref(), Some("+OK"));
    let key = format!("\"SET\" \"ready:default:{{{agent}}}:");
    let states = [
        (r#"\"state\":\"ready\""#, State::Ready),
        (r#"\"state\":\"not_ready\""#, State::NotReady),
    ];
    // `+TIME [DATABASE ADDRESS:PORT] "COMMAND" "ARGUMENT"…`, until Redis ends.
    let parse = move |line: String| {
        let (client, _) = line.split_once(']').filter(|_| line.contains(&key))?;
        let port = client.rsplit(':').next()?.parse().ok()?;
        let (_, state) = states.iter().find(|(text, _)| line.contains(text))?;
        Some((port, *state))
    };
    thread::spawn(move || {
        lines
            .filter_map(parse)
            .try_for_each(|said| teller.send(said))
    });
    told
}

#[test]
fn what_the_kernel_delivers_after_a_partition_does_not_stand_until_the_next_beat() {
    let is_put_right = (0..5).any(|_| old_word_is_put_right());
    assert!(is_put_right, "the old connection was first each time");
}

/// Whether an old connection has told something behind the next one's back, and was put right; otherwise the old one
/// was first.
fn old_word_is_put_right() -> bool {
    let (namespace, folder) = (Namespace::new(), TempFolder::new());
    let here = namespace.here.to_string();
    let redis = Redis::with(&["--bind", "127.0.0.1", &here, "--protected-mode", "no"]);
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &namespace.name]);
    command.arg(std::env::current_exe().unwrap());
    command.env("READY_STORE", format!("redis://{here}:{}", redis.port()));
    let mut program = Program::start_with(&folder.path(), command);
    // Its beats make the announcer notice within seconds that the store is away; the other one's come far
    // too late to put anything right.
    program.tell("also quick 6000");
    program.tell("register slow 600000 100000");
    for _ in 0..2 {
        program.tell("ready");
        program.tell("wait_announced");
    }
    let state = || record(&redis, "slow").map(|record| record.state);
    assert_eq!(state(), Some(State::Ready));
    let (pid, port) = (program.pid(), redis.port());
    let old = until("it has one connection", || {
        let all = connections(pid, port).into_iter();
        let open: Vec<_> = all.filter(|one| one.state == OPEN).collect();
        (open.len() == 1).then(|| open[0].from)
    });

    namespace.cut();
    program.tell("ready");
    let given_up = || {
        let mut all = connections(pid, port).into_iter();
        all.find(|one| one.from == old && one.state == GIVEN_UP)
    };
    until("the connection is given up", given_up);
    program.tell("not_ready overloaded");
    until("the kernel leaves the next connection its time", || {
        let tries_again = given_up()?.tries_again?;
        PAUSE.contains(&tries_again).then_some(())
    });
    let told = told_of("slow", &redis);
    let next = || told.recv_timeout(PATIENCE).expect("it is told");
    namespace.mend();
    let (from, said) = next();
    if from == old {
        return false;
    }
    assert_eq!(said, State::NotReady);
    let start = Instant::now();
    let late = iter::repeat_with(next).find(|(from, _)| *from == old);
    assert_eq!(late, Some((old, State::Ready)));
    let again = iter::repeat_with(next).find(|(from, _)| *from != old);
    assert_eq!(again.map(|(_, said)| said), Some(State::NotReady));
    let took = start.elapsed();
    assert!(took < THIRD + SLACK, "{took:?}");
    until("that stands", || {
        (state() == Some(State::NotReady)).then_some(())
    });
    true
}
