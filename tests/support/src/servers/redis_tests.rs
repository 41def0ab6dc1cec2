use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    time::{Duration, Instant},
};

use super::{Redis, RedisBinary};
use crate::{
    process::wait_until,
    tls::{Ca, ClientIdentity},
    tls_client::tls_client,
};

/// What the server says to an inline PING; nothing if it says nothing for a while.
fn ping(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    stream.write_all(b"PING\r\n").unwrap();
    let mut reply = [0; 64];
    let n = stream.read(&mut reply).ok()?;
    Some(String::from_utf8_lossy(&reply[..n]).into_owned())
}

fn tls_ping(
    redis: &Redis,
    ca: &Ca,
    name: &str,
    client: Option<&ClientIdentity>,
) -> std::io::Result<String> {
    let mut stream = tls_client(
        TcpStream::connect(("127.0.0.1", redis.tls_port()))?,
        name,
        ca.path(),
        client,
    );
    stream.write_all(b"PING\r\n")?;
    let mut reply = [0; 7];
    stream.read_exact(&mut reply)?;
    Ok(String::from_utf8_lossy(&reply).into_owned())
}

#[test]
fn both_binaries_answer_on_port_and_socket() {
    for (binary, version) in [
        (RedisBinary::Debian, "redis_version:7."),
        (RedisBinary::Valkey, "valkey_version:9."),
    ] {
        let redis = Redis::builder().binary(binary).start();
        assert_eq!(ping(redis.port()).as_deref(), Some("+PONG\r\n"));
        assert_eq!(redis.command(&["SET", "k", "v v"]), "OK");
        assert_eq!(redis.command(&["GET", "k"]), "v v");
        assert_eq!(redis.command(&["GET", "none"]), "(nil)");
        let info = redis.command(&["INFO", "server"]);
        assert!(info.contains(version), "{info}");
        assert!(
            info.contains(&format!("process_id:{}\r", redis.pid())),
            "{info}"
        );
        assert_eq!(redis.url(), format!("redis://127.0.0.1:{}", redis.port()));
    }
}

#[test]
fn commands_know_the_password_of_arguments_and_of_the_file() {
    let by_args = Redis::with(&["--requirepass", "x"]);
    assert!(ping(by_args.port()).unwrap().starts_with("-NOAUTH"));
    assert_eq!(by_args.command(&["PING"]), "PONG");
    let by_file = Redis::builder()
        .config_file_text("requirepass \"y z\"\n")
        .start();
    assert!(ping(by_file.port()).unwrap().starts_with("-NOAUTH"));
    assert_eq!(by_file.command(&["PING"]), "PONG");
}

#[test]
fn other_users_can_be_had() {
    let rules = "user default off\nuser root on >pw ~* +@all\nuser reader on >r ~a* +get +ping\n";
    let redis = Redis::builder()
        .config_file_text(rules)
        .login("root", "pw")
        .start();
    assert_eq!(redis.command(&["SET", "a", "1"]), "OK");
    assert_eq!(redis.command_as("reader", "r", &["GET", "a"]), "1");
    assert!(
        redis
            .command_as("reader", "r", &["SET", "a", "2"])
            .starts_with("(error) NOPERM")
    );
    assert!(
        redis
            .command_as("reader", "no", &["PING"])
            .starts_with("(error) WRONGPASS")
    );
}

#[test]
fn stopped_it_refuses_and_restarted_it_is_empty_on_the_same_port() {
    let mut redis = Redis::with(&["--requirepass", "x"]);
    let (port, pid) = (redis.port(), redis.pid());
    redis.command(&["SET", "k", "v"]);
    redis.stop();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    redis.restart();
    assert_eq!(
        (redis.port(), redis.command(&["GET", "k"]).as_str()),
        (port, "(nil)")
    );
    assert_ne!(redis.pid(), pid);
    redis.kill();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    redis.restart();
    redis.restart();
    assert_eq!(redis.command(&["PING"]), "PONG");
}

#[test]
fn paused_it_accepts_and_says_nothing_until_resumed() {
    let mut redis = Redis::start();
    redis.pause();
    assert_eq!(ping(redis.port()), None);
    redis.resume();
    assert_eq!(ping(redis.port()).as_deref(), Some("+PONG\r\n"));
    redis.pause();
    let start = Instant::now();
    redis.stop();
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn tls_stands_beside_plain_text() {
    let ca = Ca::new();
    let redis = Redis::builder()
        .tls(&ca.server(&["localhost", "127.0.0.1"]))
        .start();
    for name in ["localhost", "127.0.0.1"] {
        assert_eq!(tls_ping(&redis, &ca, name, None).unwrap(), "+PONG\r\n");
    }
    assert_eq!(ping(redis.port()).as_deref(), Some("+PONG\r\n"));
    assert!(tls_ping(&redis, &Ca::new(), "localhost", None).is_err());
    assert!(tls_ping(&redis, &ca, "example.org", None).is_err());
    assert_eq!(redis.command(&["PING"]), "PONG");
}

#[test]
fn expired_certificates_are_noticed() {
    let ca = Ca::new();
    let redis = Redis::builder()
        .tls(&ca.expired_server(&["localhost"]))
        .start();
    let error = tls_ping(&redis, &ca, "localhost", None)
        .unwrap_err()
        .to_string();
    assert!(error.contains("expired"), "{error}");
}

#[test]
fn client_certificates_can_be_required() {
    let ca = Ca::new();
    let redis = Redis::builder()
        .tls(&ca.server(&["localhost"]))
        .require_client_certificate()
        .start();
    assert_eq!(
        tls_ping(&redis, &ca, "localhost", Some(&ca.client("probe"))).unwrap(),
        "+PONG\r\n"
    );
    assert!(tls_ping(&redis, &ca, "localhost", None).is_err());
    assert!(tls_ping(&redis, &ca, "localhost", Some(&Ca::new().client("probe"))).is_err());
}

#[test]
fn a_port_that_is_taken_is_given_up_for_another() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let redis = Redis::builder().port(port).start();
    assert_ne!(redis.port(), port);
    assert_eq!(redis.command(&["PING"]), "PONG");
}

#[test]
fn a_server_that_does_not_start_shows_its_log() {
    let payload =
        std::panic::catch_unwind(|| Redis::with(&["--no-such-directive", "x"])).unwrap_err();
    let message = payload.downcast_ref::<String>().unwrap();
    assert!(
        message.contains("no-such-directive") && message.contains("FATAL CONFIG FILE ERROR"),
        "{message}"
    );
}

#[test]
fn drop_leaves_neither_process_nor_files() {
    let mut redis = Redis::start();
    redis.pause();
    let (pid, dir) = (redis.pid(), redis.dir.path().to_owned());
    drop(redis);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    assert!(!dir.exists());
}

#[test]
fn many_start_at_once() {
    let servers: Vec<Redis> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(Redis::start)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    for redis in &servers {
        wait_until(Duration::from_secs(5), "a PONG", || ping(redis.port()));
    }
}

#[test]
fn a_clock_of_its_own_is_set_and_keys_expire_by_it() {
    let redis = Redis::builder().own_clock().start();
    redis.command(&["SET", "k", "v", "PX", "60000"]);
    let left_ms = || redis.command(&["PTTL", "k"]).parse::<i64>().unwrap();
    assert!(left_ms() <= 60_000);
    redis.set_clock(-3_600);
    assert!(left_ms() > 3_600_000);
    redis.set_clock(3_600);
    assert_eq!(redis.command(&["GET", "k"]), "(nil)");
}
