use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use super::{Fault, Proxy};
use crate::{
    hostile::{Behaviour, Hostile, refused_port},
    process::wait_until,
    servers::Redis,
};

const SOON: Duration = Duration::from_secs(5);
const A_WHILE: Duration = Duration::from_millis(150);

/// A Redis, so that both ends are real, and a proxy before it.
fn redis() -> (Redis, Proxy) {
    let redis = Redis::start();
    let proxy = Proxy::start(([127, 0, 0, 1], redis.port()).into());
    (redis, proxy)
}

fn connect(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.addr()).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

fn ask(mut stream: &TcpStream, command: &str) -> io::Result<String> {
    stream.write_all(format!("{command}\r\n").as_bytes())?;
    answer(stream)
}

fn answer(mut stream: &TcpStream) -> io::Result<String> {
    let mut reply = [0; 256];
    let n = stream.read(&mut reply)?;
    Ok(String::from_utf8_lossy(&reply[..n]).into_owned())
}

fn quiet(stream: &TcpStream) -> bool {
    stream.set_read_timeout(Some(A_WHILE)).unwrap();
    let quiet = answer(stream).is_err_and(|e| e.kind() == ErrorKind::WouldBlock);
    stream.set_read_timeout(Some(SOON)).unwrap();
    quiet
}

#[test]
fn without_a_fault_everything_passes_and_is_counted() {
    let (_redis, proxy) = redis();
    let stream = connect(&proxy);
    assert_eq!(ask(&stream, "PING").unwrap(), "+PONG\r\n");
    assert_eq!(proxy.connections(), 1);
    wait_until(SOON, "the connection to be counted", || {
        (proxy.open() == 1).then_some(())
    });
    // A reply can be here before the proxy has counted it.
    wait_until(SOON, "the count", || {
        (proxy.bytes_to_client() == 7).then_some(())
    });
    assert_eq!((proxy.bytes_to_server(), proxy.bytes_swallowed()), (6, 0));
    drop(stream);
    wait_until(SOON, "the connection to close", || {
        (proxy.open() == 0).then_some(())
    });
}

#[test]
fn much_passes_unchanged_and_ends_pass_too() {
    let echo = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(echo.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = echo.accept().unwrap();
        io::copy(&mut stream.try_clone().unwrap(), &mut stream).unwrap();
    });
    let sent: Vec<u8> = (0..5_000_000_u32).map(|i| (i % 251) as u8).collect();
    let stream = connect(&proxy);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (&stream).write_all(&sent).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        });
        let mut back = Vec::new();
        (&stream).read_to_end(&mut back).unwrap();
        assert!(back == sent);
    });
    server.join().unwrap();
}

#[test]
fn refuse_ends_what_is_open_and_keeps_the_port() {
    let (_redis, proxy) = redis();
    let stream = connect(&proxy);
    ask(&stream, "PING").unwrap();
    for _ in 0..3 {
        proxy.set(Fault::Refuse);
        assert_eq!(
            TcpStream::connect(proxy.addr()).unwrap_err().kind(),
            ErrorKind::ConnectionRefused
        );
        proxy.set(Fault::None);
        assert_eq!(ask(&connect(&proxy), "PING").unwrap(), "+PONG\r\n");
    }
    assert_eq!(answer(&stream).unwrap(), "");
}

#[test]
fn blackhole_moves_nothing_until_it_is_over() {
    let (mut redis, proxy) = redis();
    let old = connect(&proxy);
    ask(&old, "PING").unwrap();
    proxy.set(Fault::Blackhole);
    (&old).write_all(b"SET k v\r\n").unwrap();
    let new = connect(&proxy);
    (&new).write_all(b"PING\r\n").unwrap();
    assert!(quiet(&old) && quiet(&new));
    assert_eq!(redis.command(&["GET", "k"]), "(nil)");
    proxy.set(Fault::None);
    assert_eq!(answer(&old).unwrap(), "+OK\r\n");
    assert_eq!(answer(&new).unwrap(), "+PONG\r\n");
    assert_eq!(redis.command(&["GET", "k"]), "v");

    // Not even the end of the server gets through.
    proxy.set(Fault::Blackhole);
    redis.stop();
    assert!(quiet(&old) && quiet(&connect(&proxy)));
    proxy.set(Fault::None);
    assert!(matches!(answer(&old), Ok(end) if end.is_empty()));
}

#[test]
fn delay_counts_in_both_directions_and_keeps_the_order() {
    let (_redis, proxy) = redis();
    let stream = connect(&proxy);
    ask(&stream, "PING").unwrap();
    let there_and_back = |fault| {
        proxy.set(fault);
        let start = Instant::now();
        assert_eq!(ask(&stream, "PING").unwrap(), "+PONG\r\n");
        start.elapsed()
    };
    let slow = there_and_back(Fault::Delay(Duration::from_millis(100)));
    assert!((200..1000).contains(&slow.as_millis()), "{slow:?}");
    let fast = there_and_back(Fault::None);
    assert!(fast < Duration::from_millis(100), "{fast:?}");
}

#[test]
fn reset_hits_old_connections_and_new_ones() {
    let (_redis, proxy) = redis();
    let old = connect(&proxy);
    ask(&old, "PING").unwrap();
    proxy.set(Fault::Reset);
    assert_eq!(answer(&old).unwrap_err().kind(), ErrorKind::ConnectionReset);
    let new = TcpStream::connect(proxy.addr()).and_then(|stream| answer(&stream));
    assert_eq!(new.unwrap_err().kind(), ErrorKind::ConnectionReset);
    proxy.set(Fault::None);
    assert_eq!(ask(&connect(&proxy), "PING").unwrap(), "+PONG\r\n");
}

#[test]
fn swallowed_replies_are_lost_while_commands_arrive() {
    let (redis, proxy) = redis();
    let stream = connect(&proxy);
    ask(&stream, "PING").unwrap();
    proxy.set(Fault::SwallowReplies);
    (&stream).write_all(b"SET k v\r\n").unwrap();
    assert!(quiet(&stream));
    wait_until(SOON, "the write", || {
        (redis.command(&["GET", "k"]) == "v").then_some(())
    });
    wait_until(SOON, "the reply to be lost", || {
        (proxy.bytes_swallowed() == 5).then_some(())
    });
    proxy.set(Fault::None);
    assert_eq!(ask(&stream, "GET k").unwrap(), "$1\r\nv\r\n");
}

#[test]
fn a_server_that_cannot_be_reached_is_a_reset() {
    let refused = refused_port();
    let proxy = Proxy::start(refused.addr());
    assert_eq!(
        answer(&connect(&proxy)).unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
}

#[test]
fn a_client_that_does_not_read_holds_the_server_back() {
    let flood = Hostile::tcp(Behaviour::Endless(b"x".into()));
    let proxy = Proxy::start(flood.addr());
    let stream = connect(&proxy);
    let mut before = u64::MAX;
    let stalled = wait_until(SOON, "the flood to stall", || {
        let now = flood.sent();
        std::thread::sleep(Duration::from_millis(50));
        (std::mem::replace(&mut before, now) == now && now > 0).then_some(now)
    });
    assert!(stalled < 64 << 20, "{stalled}");
    drop(stream);
    wait_until(SOON, "the connection to close", || {
        (proxy.open() == 0).then_some(())
    });
}

#[test]
fn an_idle_proxy_does_not_spin() {
    let (_redis, proxy) = redis();
    let stream = connect(&proxy);
    ask(&stream, "PING").unwrap();
    for fault in [
        Fault::None,
        Fault::Blackhole,
        Fault::SwallowReplies,
        Fault::Delay(SOON),
        Fault::Refuse,
    ] {
        proxy.set(fault);
        let before = thread_cpu(&proxy);
        std::thread::sleep(A_WHILE);
        let used = thread_cpu(&proxy) - before;
        assert!(used <= 3, "{fault:?} took {used} ticks");
    }
}

/// Clock ticks that the proxy's thread has used: fields 14 and 15 of proc_pid_stat(5).
fn thread_cpu(proxy: &Proxy) -> u64 {
    let name = format!("(proxy-{})", proxy.port());
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let stats = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
    let stat = stats
        .into_iter()
        .find(|stat| stat.contains(&name))
        .expect("the proxy's thread");
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn drop_closes_everything() {
    let (_redis, proxy) = redis();
    let stream = connect(&proxy);
    ask(&stream, "PING").unwrap();
    let addr = proxy.addr();
    drop(proxy);
    assert!(TcpStream::connect(addr).is_err());
    assert_eq!(answer(&stream).unwrap(), "");
}
