//! A real partition: what the kernel delivers for a connection that its process has given up.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};

use ready_probe_sdk::signal::State;
use ready_probe_test_support::process::free_port;
use ready_probe_test_support::servers::Redis;

use crate::common::program::Program;
use crate::common::{TempFolder, until};
use crate::fixture::{SLACK, record};

/// When everything is told again for the third time, counted from when the store is back.
const THIRD: Duration = Duration::from_secs(15);
/// After so many tries of the kernel the next one comes 6.4 s later: time enough for the next connection.
const TRIES: u64 = 5;
/// TCP_FIN_WAIT1, as `/proc/net/tcp` has it: closed by its process, with something unacknowledged.
const GIVEN_UP: &str = "04";

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

/// A process's connections to a port: local address, state, how often the kernel has tried again.
fn connections(pid: u32, port: u16) -> Vec<(String, String, u64)> {
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
    let rows = table.lines().map(|row| row.split_whitespace().collect());
    let to_port = rows.filter(|row: &Vec<&str>| row[2].ends_with(&format!(":{port:04X}")));
    let parsed = to_port.map(|row| {
        let tries = u64::from_str_radix(row[6], 16).unwrap();
        (row[1].to_owned(), row[3].to_owned(), tries)
    });
    parsed.collect()
}

#[test]
fn what_the_kernel_delivers_after_a_partition_does_not_stand_until_the_next_beat() {
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
    let [(old, ..)] = connections(program.pid(), redis.port()).try_into().unwrap();

    namespace.cut();
    program.tell("ready");
    let pid = program.pid();
    let given_up = || {
        let all = connections(pid, redis.port()).into_iter();
        let mut given_up = all.filter(|(local, state, _)| *local == old && state == GIVEN_UP);
        given_up.next().map(|(_, _, tries)| tries)
    };
    until("the connection is given up", given_up);
    program.tell("not_ready overloaded");
    until("the kernel has tried often enough", || {
        given_up().filter(|tries| *tries >= TRIES)
    });
    namespace.mend();
    let told = |wanted: State| (state() == Some(wanted)).then_some(());
    until("the next connection tells", || told(State::NotReady));
    let start = Instant::now();
    until("the old one tells", || told(State::Ready));
    until("it is told again", || told(State::NotReady));
    let took = start.elapsed();
    assert!(took < THIRD + SLACK, "{took:?}");
}
