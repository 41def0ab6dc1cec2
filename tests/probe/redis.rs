//! Redis and Valkey: what they answer, and what a probe makes of it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use ready_probe_test_support::hostile::{Behaviour, Hostile, refused_port};
use ready_probe_test_support::process::wait_until;
use ready_probe_test_support::servers::{Redis, RedisBinary};

use crate::container::{Container, assert_mentions, assert_said};

const HEALTHY: &str = "healthy: 1 check passes";
const PASSWORD: &str = "hUnTeR2";

fn both(args: &[&str]) -> [Redis; 2] {
    [RedisBinary::Debian, RedisBinary::Valkey]
        .map(|binary| Redis::builder().binary(binary).args(args).start())
}

/// `unhealthy: TARGET: CAUSE; it has never passed`, exit 1.
#[track_caller]
fn assert_unknown(target: &str, shown: &str, cause: &str) {
    let run = Container::new().ask(target);
    assert_said(
        &run,
        1,
        &format!("unhealthy: dependency {shown}: {cause}; it has never passed"),
    );
    assert!(!run.stdout.contains(PASSWORD), "{run:?}");
}

/// `unhealthy: TARGET: REASON`, exit 1.
#[track_caller]
fn assert_fails(target: &str, shown: &str, reason: &str) {
    assert_said(
        &Container::new().ask(target),
        1,
        &format!("unhealthy: dependency {shown}: {reason}"),
    );
}

#[track_caller]
fn assert_passes(target: &str) {
    assert_said(&Container::new().ask(target), 0, HEALTHY);
}

#[test]
fn a_server_that_answers_passes() {
    for redis in both(&[]) {
        assert_passes(&redis.url());
        assert_passes(&format!("{}/3", redis.url()));
        assert_passes(&format!("redis+unix://{}", redis.unix_socket().display()));
        assert_passes(&format!(
            "redis+unix://{}?db=2",
            redis.unix_socket().display()
        ));
    }
}

#[test]
fn a_password_is_needed_where_the_server_wants_one() {
    for redis in both(&["--requirepass", PASSWORD]) {
        let port = redis.port();
        assert_passes(&format!("redis://:{PASSWORD}@127.0.0.1:{port}"));
        assert_passes(&format!("redis://default:{PASSWORD}@127.0.0.1:{port}/1"));
        assert_passes(&format!("redis://127.0.0.1:{port}?password={PASSWORD}"));
        assert_unknown(
            &redis.url(),
            &redis.url(),
            "NOAUTH Authentication required.",
        );
        assert_unknown(
            &format!("redis://:{PASSWORD}x@127.0.0.1:{port}"),
            &format!("redis://***@127.0.0.1:{port}"),
            "WRONGPASS invalid username-password pair or user is disabled.",
        );
    }
}

#[test]
fn a_password_that_nobody_asked_for_is_told() {
    let redis = Redis::start();
    let run = Container::new().ask(format!("redis://:{PASSWORD}@127.0.0.1:{}", redis.port()));
    assert_mentions(
        &run,
        1,
        &["ERR AUTH <password> called without any password configured"],
    );
    assert!(!run.stdout.contains(PASSWORD), "{run:?}");
}

#[test]
fn a_user_needs_no_more_than_the_commands_of_its_check() {
    let narrow = ["--user", "probe", "on", ">hUnTeR2", "-@all", "+ping"];
    for redis in both(&narrow) {
        let url = format!("redis://probe:{PASSWORD}@127.0.0.1:{}", redis.port());
        let shown = format!("redis://***@127.0.0.1:{}", redis.port());
        assert_passes(&url);
        let run = Container::new().ask(format!("{url}#key=k"));
        assert_mentions(&run, 1, &[&shown, "#key=k: NOPERM ", "it has never passed"]);
        let run = Container::new().ask(format!("{url}#role=master"));
        assert_mentions(&run, 1, &["NOPERM ", "role"]);
    }
}

#[test]
fn a_user_without_ping_is_not_an_answer() {
    let redis = Redis::with(&["--user", "probe", "on", ">hUnTeR2", "-@all"]);
    let run = Container::new().ask(format!(
        "redis://probe:{PASSWORD}@127.0.0.1:{}",
        redis.port()
    ));
    assert_mentions(&run, 1, &["NOPERM ", "it has never passed"]);
}

#[test]
fn a_user_sees_only_its_keys() {
    let acl = [
        "--user",
        "probe",
        "on",
        ">p4ss",
        "~app:*",
        "+ping",
        "+exists",
        "+getrange",
    ];
    let redis = Redis::with(&acl);
    redis.command(&["SET", "app:x", "1"]);
    let url = format!("redis://probe:p4ss@127.0.0.1:{}", redis.port());
    assert_passes(&format!("{url}#key=app:x&value=1"));
    let run = Container::new().ask(format!("{url}#key=other"));
    assert_mentions(&run, 1, &["NOPERM ", "it has never passed"]);
}

#[test]
fn credentials_are_percent_decoded() {
    let redis = Redis::with(&["--requirepass", "p@ss/w#rd%"]);
    assert_passes(&format!(
        "redis://:p%40ss%2Fw%23rd%25@127.0.0.1:{}",
        redis.port()
    ));
}

#[test]
fn a_database_must_exist() {
    let redis = Redis::start();
    let url = format!("{}/99", redis.url());
    assert_unknown(&url, &url, "ERR DB index is out of range");
    let url = format!("{}?db=99", redis.url());
    assert_unknown(
        &url,
        &format!("{}?***", redis.url()),
        "ERR DB index is out of range",
    );
}

#[test]
fn a_key_is_looked_for_in_its_database() {
    let redis = Redis::start();
    redis.command(&["SET", "k", "v"]);
    for (target, passes) in [
        (format!("{}#key=k", redis.url()), true),
        (format!("{}/0#key=k", redis.url()), true),
        (format!("{}/1#key=k", redis.url()), false),
        (format!("{}?db=1#key=k", redis.url()), false),
    ] {
        assert_eq!(
            Container::new().ask(&target).code() == 0,
            passes,
            "{target}"
        );
    }
}

#[test]
fn a_key_must_exist_and_hold_its_value() {
    for redis in both(&[]) {
        redis.command(&["SET", "state", "on & off"]);
        redis.command(&["SET", "empty", ""]);
        redis.command(&["RPUSH", "list", "a"]);
        let url = redis.url();
        assert_passes(&format!("{url}#key=state"));
        assert_passes(&format!("{url}#key=list"));
        assert_passes(&format!("{url}#key=state&value=on%20%26%20off"));
        assert_passes(&format!("{url}#key=empty&value="));
        let table = [
            ("key=nosuch", "key=nosuch", "key nosuch does not exist"),
            (
                "key=nosuch&value=",
                "key=nosuch&value=***",
                "key nosuch does not exist",
            ),
            (
                "key=state&value=on",
                "key=state&value=***",
                "key state holds another value",
            ),
            (
                "key=state&value=",
                "key=state&value=***",
                "key state holds another value",
            ),
            (
                "key=empty&value=x",
                "key=empty&value=***",
                "key empty holds another value",
            ),
            (
                "key=list&value=a",
                "key=list&value=***",
                "key list holds no text",
            ),
        ];
        for (options, shown, reason) in table {
            assert_fails(
                &format!("{url}#{options}"),
                &format!("{url}#{shown}"),
                reason,
            );
        }
    }
}

#[test]
fn a_value_far_larger_than_expected_is_not_read() {
    let redis = Redis::start();
    redis.command(&["SETRANGE", "big", "50000000", "x"]);
    let target = format!("{}#key=big&value=x", redis.url());
    let run = Container::new().ask(&target);
    assert_mentions(&run, 1, &["key big holds another value"]);
    assert!(run.peak_rss_kib < 8 * 1024, "{run:?}");
}

#[test]
fn a_replica_and_its_master_have_their_roles() {
    for master in both(&[]) {
        let replica = Redis::with(&["--replicaof", "127.0.0.1", &master.port().to_string()]);
        assert_passes(&format!("{}#role=master", master.url()));
        assert_passes(&format!("{}#role=replica", replica.url()));
        let target = format!("{}#role=master", replica.url());
        assert_fails(&target, &target, "it is a replica, not a master");
        let target = format!("{}#role=slave", master.url());
        assert_fails(&target, &target, "it is a master, not a replica");
    }
}

#[test]
fn a_replica_that_serves_nothing_is_not_an_answer() {
    let dead = refused_port();
    let args = ["--replicaof", "127.0.0.1", &dead.port().to_string()];
    let redis = Redis::with(&args);
    redis.command(&["CONFIG", "SET", "replica-serve-stale-data", "no"]);
    let target = format!("{}#key=k", redis.url());
    let run = Container::new().ask(&target);
    assert_mentions(&run, 1, &["MASTERDOWN ", "it has never passed"]);
}

#[test]
fn a_cluster_that_is_down_is_not_an_answer() {
    let redis = Redis::with(&["--cluster-enabled", "yes"]);
    let target = format!("{}#key=k", redis.url());
    assert_unknown(&target, &target, "CLUSTERDOWN Hash slot not served");
}

#[test]
fn a_server_with_too_many_clients_is_not_an_answer() {
    let redis = Redis::with(&["--maxclients", "1"]);
    // The server learns late that the fixture's own connections have closed.
    let taken = wait_until(Duration::from_secs(5), "the only place", || {
        let mut stream = TcpStream::connect(("127.0.0.1", redis.port())).unwrap();
        stream.write_all(b"PING\r\n").ok()?;
        let mut reply = [0; 5];
        stream.read_exact(&mut reply).ok()?;
        (&reply == b"+PONG").then_some(stream)
    });
    let container = Container::new();
    let run = container.ask(redis.url());
    assert_mentions(
        &run,
        1,
        &["ERR max number of clients reached; it has never passed"],
    );
    drop(taken);
    wait_until(Duration::from_secs(5), "a free place", || {
        (container.ask(redis.url()).code() == 0).then_some(())
    });
}

#[test]
fn a_server_that_is_loading_is_not_an_answer() {
    let redis = Redis::with(&[
        "--enable-debug-command",
        "yes",
        "--loading-process-events-interval-bytes",
        "1024",
    ]);
    for key in 0..50 {
        redis.command(&["SETRANGE", &format!("k{key}"), "2000", "x"]);
    }
    // Microseconds a key, for tests like this one.
    redis.command(&[
        "CONFIG",
        "SET",
        "key-load-delay",
        "20000",
        "rdbcompression",
        "no",
    ]);
    thread::scope(|scope| {
        scope.spawn(|| redis.command(&["DEBUG", "RELOAD"]));
        let container = Container::new();
        let run = wait_until(Duration::from_secs(5), "the server to load", || {
            let run = container.ask(redis.url());
            (run.code() != 0).then_some(run)
        });
        assert!(run.stdout.contains("LOADING "), "{run:?}");
    });
}

#[test]
fn what_is_no_redis_is_told() {
    let container = Container::new();
    for bytes in [
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "+NOPE\r\n",
        ":1\r\n",
        "*1\r\n+PONG\r\n",
        "$4\r\nPONG\r\n",
    ] {
        let server = Hostile::tcp(Behaviour::CloseAfter(bytes.into()));
        let run = container.ask(format!("redis://127.0.0.1:{}", server.port()));
        assert_mentions(
            &run,
            1,
            &["it does not speak the Redis protocol; it has never passed"],
        );
    }
}

#[test]
fn a_server_cannot_put_anything_into_the_report_but_a_line_of_text() {
    let mut message = b"-ERR \x1b[2J\r\x07 hUnTeR2 redis://u:hUnTeR2@h ".to_vec();
    message.extend([b'x'; 5_000]);
    message.extend(b"\r\n");
    let server = Hostile::tcp(Behaviour::CloseAfter(message));
    let run = Container::new().ask(format!("redis://:{PASSWORD}@127.0.0.1:{}", server.port()));
    assert_mentions(&run, 1, &["[2J", "*** redis://***@h xxx"]);
    assert!(
        run.first_line().len() <= 500 && run.stdout.lines().count() == 2,
        "{run:?}"
    );
    assert!(
        !run.stdout.contains([char::from(27), char::from(7), '\r']),
        "{run:?}"
    );
    assert!(!run.stdout.contains(PASSWORD), "{run:?}");
}
