//! HTTP/1.1, whose servers say whether they go on.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use ready_probe_test_support::hostile::{Behaviour, Hostile};
use ready_probe_test_support::http::{HttpServer, Response};
use ready_probe_test_support::process::{Guard, free_port};
use ready_probe_test_support::tls::Ca;

use super::*;

/// How many connections a server sees in three rounds, all of which pass.
fn connections(server: &HttpServer, target: &str) -> usize {
    let asking = Asking::new(&[target]);
    let before = server.connections();
    for _ in 0..3 {
        asking.passes();
    }
    server.connections() - before
}

#[test]
fn a_connection_to_a_web_server_is_used_for_all_rounds() {
    let plain = HttpServer::start(|_| Response::new(200).body("hello"));
    assert_eq!(connections(&plain, &plain.url("/")), 1);
    assert_eq!(
        connections(&plain, &format!("{}#method=HEAD", plain.url("/"))),
        1
    );
    let asked = plain.requests();
    assert_eq!(asked.len(), 6);
    assert!(
        asked
            .iter()
            .all(|asked| asked.header("connection").is_none())
    );
    let socket = HttpServer::unix(|_| Response::new(204));
    assert_eq!(connections(&socket, &socket.url("/")), 1);
    let identity = Ca::new().server(&["localhost"]);
    let secure = HttpServer::tls(&identity, |_| Response::new(200).body("hello"));
    let target = format!("{}#ca={}", secure.url("/"), identity.ca.display());
    assert_eq!(connections(&secure, &target), 1);
}

#[test]
fn a_body_is_read_to_its_end_before_the_next_question() {
    let text = format!("ready{}", " and more".repeat(10_000));
    let chunked = {
        let text = text.clone();
        HttpServer::start(move |_| Response::new(200).body(text.clone()).chunked())
    };
    let sized = HttpServer::start(move |_| Response::new(200).body(text.clone()));
    for server in [&chunked, &sized] {
        for options in ["", "#contains=ready"] {
            let target = format!("{}{options}", server.url("/"));
            // A machine that stands still may take longer to send the rest than anybody waits for it.
            let reused = (0..50).any(|_| connections(server, &target) == 1);
            assert!(reused, "{target}");
        }
    }
}

#[test]
fn whoever_says_close_is_believed() {
    let server = HttpServer::start(|_| Response::new(200).header("Connection", "close"));
    assert_eq!(connections(&server, &server.url("/")), 3);
}

#[test]
fn what_may_not_be_asked_twice_has_a_connection_of_its_own() {
    let server = HttpServer::start(|_| Response::new(200));
    for options in ["method=POST&body=x", "header=Connection:close"] {
        let target = format!("{}#{options}", server.url("/"));
        assert_eq!(connections(&server, &target), 3, "{options}");
    }
    for asked in server.requests() {
        assert_eq!(asked.header("connection"), Some("close"));
    }
}

#[test]
fn a_body_that_is_longer_than_anybody_reads_ends_the_connection() {
    let long = vec![b'x'; 300 * 1024];
    let sized = HttpServer::start(move |_| Response::new(200).body(long.clone()));
    assert_eq!(connections(&sized, &sized.url("/")), 3);
}

#[test]
fn an_answer_whose_end_is_the_end_of_the_connection_is_the_last_one() {
    for answer in [
        "HTTP/1.1 200 OK\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ] {
        let server = Hostile::tcp(Behaviour::Script(vec![answer.as_bytes().to_vec()]));
        let target = format!("http://127.0.0.1:{}/#status=100-299", server.port());
        let asking = Asking::new(&[&target]);
        for round in 1..=3 {
            asking.passes();
            assert_eq!(server.connections(), round, "{answer:?}");
        }
    }
}

#[test]
fn whoever_says_more_than_it_is_asked_is_not_asked_there_again() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    for more in [answer, "x", "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"] {
        let said = format!("{answer}{more}").into_bytes();
        let server = Hostile::tcp(Behaviour::Script(vec![said.clone(), said]));
        let asking = Asking::new(&[&format!("http://127.0.0.1:{}/", server.port())]);
        for round in 1..=3 {
            asking.passes();
            assert_eq!(server.connections(), round, "{more:?}");
        }
    }
}

#[test]
fn a_no_on_a_kept_connection_is_asked_anew() {
    let status = Arc::new(AtomicU16::new(200));
    let server = {
        let status = Arc::clone(&status);
        HttpServer::start(move |_| Response::new(status.load(Ordering::SeqCst)).body("hello"))
    };
    let asking = Asking::new(&[&server.url("/")]);
    asking.passes();
    asking.passes();
    assert_eq!(server.connections(), 1);
    status.store(503, Ordering::SeqCst);
    assert!(asking.round()[0].contains("503"));
    assert_eq!(server.connections(), 2);
    // A connection that was told no is not kept.
    assert!(asking.round()[0].contains("503"));
    assert_eq!(server.connections(), 3);
    status.store(200, Ordering::SeqCst);
    asking.passes();
    asking.passes();
    assert_eq!(server.connections(), 4);
}

#[test]
fn a_silent_connection_to_a_web_server_costs_a_part_of_the_time() {
    let server = HttpServer::start(|_| Response::new(200).body("hello"));
    let proxy = Proxy::start(server.addr());
    let asking = Asking::new(&[&format!("http://127.0.0.1:{}/", proxy.port())]);
    asking.passes_past_a_silence(&proxy);
}

#[test]
fn nginx_may_end_a_connection_that_rests() {
    let nginx = "/usr/sbin/nginx";
    assert!(
        Path::new(nginx).exists(),
        "nginx is missing: `apt-get install nginx-light` installs it"
    );
    let folder = tempfile::tempdir().unwrap();
    let (path, port) = (folder.path().display(), free_port());
    let config = folder.path().join("nginx.conf");
    let text = format!(
        "daemon off; master_process off; pid {path}/pid; error_log stderr; events {{}}\n\
         http {{ access_log {path}/log; keepalive_timeout 2s; log_format own $connection;\n\
         server {{ listen 127.0.0.1:{port}; access_log {path}/log own; return 200 hello; }} }}"
    );
    std::fs::write(&config, text).unwrap();
    let _nginx = Guard::spawn(Command::new(nginx).arg("-c").arg(&config));
    let asking = Asking::new(&[&format!("http://127.0.0.1:{port}/")]);
    wait_until(PATIENCE, "nginx to answer", || {
        asking.round()[0].starts_with("pass").then_some(())
    });
    asking.passes();
    asking.has_news_after(|| {});
    asking.passes();
    // One line a request, with the number of its connection: the first two had the same.
    let log = folder.path().join("log");
    let numbers = wait_until(PATIENCE, "all requests to be logged", || {
        let log = std::fs::read_to_string(&log).unwrap();
        let numbers: Vec<String> = log.lines().map(str::to_owned).collect();
        (numbers.len() >= 3).then_some(numbers)
    });
    let [first, again, .., last] = &numbers[..] else {
        panic!("{numbers:?}")
    };
    assert_eq!(first, again);
    assert_ne!(again, last);
}
