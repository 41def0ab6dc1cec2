//! HTTP over TCP and unix sockets: what is asked, and what is an answer.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv6Addr, TcpListener};
use std::thread;

use ready_probe_test_support::hostile::{refuse, refused_port};
use ready_probe_test_support::http::{HttpServer, Response};

use crate::container::{Container, assert_mentions, assert_said, assert_starts};

const HEALTHY: &str = "healthy: 1 check passes";

pub fn answering(status: u16, body: &'static str) -> HttpServer {
    HttpServer::start(move |_| Response::new(status).body(body))
}

/// Asks and says `pass`, `fail REASON` or `unknown CAUSE`.
pub fn outcome(target: &str) -> String {
    let report = Container::new().json([target]);
    let check = &report["checks"][0];
    let (word, reason) = (
        check["outcome"].as_str().unwrap(),
        check["reason"].as_str().unwrap(),
    );
    format!("{word} {reason}").trim_end().to_owned()
}

#[test]
fn statuses_are_as_expected_or_not() {
    let server = HttpServer::start(|request| Response::new(request.path[1..].parse().unwrap()));
    let table = [
        ("200", "", "pass"),
        ("299", "", "pass"),
        ("204", "", "pass"),
        ("301", "", "fail status 301 Moved Permanently"),
        ("404", "", "fail status 404 Not Found"),
        ("500", "", "fail status 500 Internal Server Error"),
        ("599", "", "fail status 599"),
        ("404", "#status=404", "pass"),
        ("200", "#status=404", "fail status 200 OK"),
        ("302", "#status=200,301-302", "pass"),
        (
            "300",
            "#status=200,301-302",
            "fail status 300 Multiple Choices",
        ),
        ("500", "#status=100-599", "pass"),
    ];
    for (status, options, want) in table {
        assert_eq!(
            outcome(&format!("{}{options}", server.url(&format!("/{status}")))),
            want
        );
    }
}

#[test]
fn an_overloaded_dependency_is_not_an_answer_and_our_own_is() {
    let server = HttpServer::start(|request| Response::new(request.path[1..].parse().unwrap()));
    for (status, text) in [
        (429, "status 429 Too Many Requests"),
        (502, "status 502 Bad Gateway"),
        (503, "status 503 Service Unavailable"),
        (504, "status 504 Gateway Timeout"),
    ] {
        let url = server.url(&format!("/{status}"));
        assert_eq!(outcome(&url), format!("fail {text}"));
        let unknown = format!("unknown {text}; it has never passed");
        assert_eq!(outcome(&format!("{url}#scope=dependency")), unknown);
        // Who expects it gets it.
        assert_eq!(
            outcome(&format!("{url}#scope=dependency&status={status}")),
            "pass"
        );
    }
    let url = server.url("/500");
    let fails = "fail status 500 Internal Server Error";
    assert_eq!(outcome(&format!("{url}#scope=dependency")), fails);
}

#[test]
fn nobody_there_is_our_own_failure_and_not_a_dependencys_answer() {
    let dead = refused_port();
    let url = format!("http://127.0.0.1:{}", dead.port());
    assert_eq!(outcome(&url), "fail connection refused");
    let unknown = "unknown connection refused; it has never passed";
    assert_eq!(outcome(&format!("{url}#scope=dependency")), unknown);
    assert_eq!(
        outcome(&format!("http://localhost:{}", dead.port())),
        "fail connection refused"
    );
    assert_eq!(
        outcome("http+unix://%2Fno%2Fsuch.sock/"),
        "fail no such socket"
    );
}

#[test]
fn the_scope_is_our_own_on_this_machine_and_a_dependencys_elsewhere() {
    let container = Container::new();
    let table = [
        ("http://127.0.0.1:1", "own"),
        ("http://127.5.5.5:1", "own"),
        ("http://[::1]:1", "own"),
        ("http://LOCALHOST:1", "own"),
        ("http+unix://%2Fx/", "own"),
        ("tcp://localhost:1", "own"),
        ("unix:///x", "own"),
        ("http://10.0.0.1:1", "dependency"),
        ("https://example.internal", "dependency"),
        ("tcp://[2001:db8::1]:1", "dependency"),
        ("redis://localhost", "dependency"),
        ("nats://localhost", "dependency"),
        ("process:x", "own"),
        ("agent:x", "own"),
        ("http://10.0.0.1:1#scope=own", "own"),
        ("process:x#scope=dependency", "dependency"),
    ];
    for (target, scope) in table {
        let json = container.json(["config", target]);
        assert_eq!(json["checks"][0]["scope"], scope, "{target}");
    }
}

#[test]
fn what_is_sent_is_what_the_target_says() {
    let server = HttpServer::start(|_| Response::new(200));
    let container = Container::new();
    let target = server.url("/a%20b/c?x=1&y=%26")
        + "#method=post&header=X-Token:%20hUnTeR2&header=x-token:two&header=User-Agent:me";
    let run = container.run(["--verbose", &target]);
    assert_said(&run, 0, HEALTHY);
    assert!(!format!("{run:?}").contains("hUnTeR2"), "{run:?}");
    assert!(
        run.stdout
            .contains("#method=post&header=***&header=***&header=***"),
        "{run:?}"
    );
    let [request] = server.requests().try_into().unwrap();
    assert_eq!(
        (request.method.as_str(), request.path.as_str()),
        ("POST", "/a%20b/c?x=1&y=%26")
    );
    let tokens: Vec<&str> = request
        .headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("x-token"))
        .map(|(_, value)| value.as_str())
        .collect();
    assert_eq!(tokens, ["hUnTeR2", "two"]);
    assert_eq!(request.header("user-agent"), Some("me"));
    assert_eq!(
        request.header("host"),
        Some(format!("127.0.0.1:{}", server.port()).as_str())
    );
    assert_eq!(request.header("connection"), Some("close"));
}

#[test]
fn the_fragment_is_not_sent_and_a_literal_hash_is_encoded() {
    let server = HttpServer::start(|_| Response::new(200));
    assert_eq!(outcome(&(server.url("/a%23b") + "#name=hash")), "pass");
    assert_eq!(server.requests()[0].path, "/a%23b");
}

#[test]
fn the_host_may_be_said() {
    let server = HttpServer::start(|_| Response::new(200));
    assert_eq!(
        outcome(&(server.url("/") + "#header=Host:app.example")),
        "pass"
    );
    assert_eq!(server.requests()[0].header("host"), Some("app.example"));
}

#[test]
fn userinfo_becomes_basic_authentication() {
    let server = HttpServer::start(|request| {
        // us@er:p:ss wörd
        let right = request.header("authorization") == Some("Basic dXNAZXI6cDpzcyB3w7ZyZA==");
        Response::new(if right { 200 } else { 401 })
    });
    let container = Container::new();
    let port = server.port();
    let ask =
        |userinfo: &str| container.run(["-v", &format!("http://{userinfo}127.0.0.1:{port}/")]);
    assert_said(&ask("us%40er:p%3Ass%20w%C3%B6rd@"), 0, HEALTHY);
    let run = ask("us%40er:hUnTeR2@");
    assert_mentions(
        &run,
        1,
        &["http://***@127.0.0.1", "status 401 Unauthorized"],
    );
    // Neither as it is written, nor as it is sent.
    for secret in ["hUnTeR2", "dXNAZXI6aFVuVGVSMg=="] {
        assert!(!format!("{run:?}").contains(secret), "{run:?}");
    }
}

#[test]
fn a_redirect_is_an_answer_and_is_not_followed() {
    let elsewhere = answering(200, "");
    let to = elsewhere.url("/");
    let server = HttpServer::start(move |_| Response::new(302).header("Location", &to));
    assert_eq!(outcome(&server.url("/")), "fail status 302 Found");
    assert_eq!(outcome(&(server.url("/") + "#status=200,302")), "pass");
    assert_eq!(elsewhere.connections(), 0);
}

/// A server that reads one request, sends these bytes and closes.
pub fn closing_after(answer: &'static [u8]) -> (u16, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let (client, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(&client).lines();
        while lines
            .next()
            .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
        {}
        (&client).write_all(answer).unwrap();
    });
    (port, server)
}

#[test]
fn an_informational_answer_precedes_the_final_one() {
    let (port, server) = closing_after(
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    );
    assert_eq!(outcome(&format!("http://127.0.0.1:{port}/")), "pass");
    server.join().unwrap();
}

#[test]
fn a_unix_socket_and_an_ipv6_address_are_asked_alike() {
    let unix = HttpServer::unix(|_| Response::new(200).body("unix"));
    assert_eq!(
        outcome(&(unix.url("/health?x=1") + "#contains=unix")),
        "pass"
    );
    let [request] = unix.requests().try_into().unwrap();
    assert_eq!(request.path, "/health?x=1");
    assert_eq!(request.header("host"), Some("localhost"));

    // Only there, and on 127.0.0.1 nobody: another test's server might have that port.
    let (ipv6, _refused) = loop {
        let ipv6 = HttpServer::start_on(Ipv6Addr::LOCALHOST.into(), |_| Response::new(200));
        if let Some(refused) = refuse(ipv6.port()) {
            break (ipv6, refused);
        }
    };
    assert_eq!(outcome(&format!("http://[::1]:{}/", ipv6.port())), "pass");
    assert_eq!(
        outcome(&format!("http://localhost:{}/", ipv6.port())),
        "pass"
    );
    assert_eq!(
        ipv6.requests()[0].header("host"),
        Some(format!("[::1]:{}", ipv6.port()).as_str())
    );
}

#[test]
fn what_a_server_says_cannot_put_a_secret_into_the_report() {
    let server = HttpServer::start(|request| {
        let token = request
            .header("authorization")
            .unwrap_or_default()
            .to_owned();
        Response::new(200).body(format!("{{\"you_sent\":\"{token}\"}}"))
    });
    let target = server.url("/") + "#header=Authorization:Bearer%20hUnTeR2&json=/you_sent=ok";
    let run = Container::new().ask(target);
    assert_mentions(&run, 1, &["/you_sent is \"***\", not \"ok\""]);
    assert!(!run.stdout.contains("hUnTeR2"), "{run:?}");
}

#[test]
fn a_body_is_posted_and_never_printed() {
    let server = HttpServer::start(|request| {
        let is_asked = request.method == "POST"
            && request.body == br#"{"query":"{ health & more }","token":"hUnTeR2"}"#
            && request.header("content-length") == Some("47");
        Response::new(if is_asked { 200 } else { 400 })
    });
    let body = r#"{"query":"{ health & more }","token":"hUnTeR2"}"#;
    let encoded = r#"{"query":"{ health %26 more }","token":"hUnTeR2"}"#;
    let container = Container::new();
    let file = container.file("body.json", body);
    let url = server.url("/");
    let header = "header=Content-Type:application/json";
    for target in [
        format!("{url}#body={encoded}&{header}"),
        format!("{url}#body_file={}&{header}", file.display()),
        format!("{url}#method=POST&body={encoded}"),
    ] {
        let run = container.ask(&target);
        assert_said(&run, 0, HEALTHY);
        assert!(!run.stdout.contains("hUnTeR2"), "{run:?}");
    }
    let put = container.ask(format!("{url}#method=PUT&body={encoded}"));
    assert_mentions(&put, 1, &["status 400"]);
    assert_eq!(server.requests().last().unwrap().method, "PUT");
    assert!(!put.stdout.contains("hUnTeR2"), "{put:?}");
    assert_eq!(
        outcome(&format!("{url}#body_file=/no/such")),
        "unknown body_file: /no/such: No such file or directory (os error 2); it has never passed"
    );
    let run = container.ask(format!("{url}#body=x&body_file=/x"));
    assert_starts(&run, 64, "");
    assert!(run.stderr.contains("body and body_file"), "{run:?}");
    // A server that repeats what it was sent.
    let echo = HttpServer::start(|request| {
        let said = String::from_utf8_lossy(&request.body).into_owned();
        Response::new(200).body(serde_json::json!({ "said": said }).to_string())
    });
    let run = container.ask(format!("{}#body={encoded}&json=/said=x", echo.url("/")));
    assert_mentions(&run, 1, &["/said is"]);
    assert!(!run.stdout.contains("hUnTeR2"), "{run:?}");
}

#[test]
fn expectations_and_headers_may_be_several() {
    let server = HttpServer::start(|request| {
        let both = request.header("a") == Some("one") && request.header("b") == Some("two");
        let body = r#"{"a":1,"b":2}"#;
        Response::new(if both { 200 } else { 400 }).body(body)
    });
    let url = format!("{}#header=A:one&header=B:two", server.url("/"));
    assert_eq!(outcome(&format!("{url}&json=/a=1&json=/b=2")), "pass");
    assert_eq!(
        outcome(&format!("{url}&json=/a=1&json=/b=3")),
        "fail /b is \"2\", not \"3\""
    );
    assert_eq!(outcome(&format!("{url}&contains=a&contains=b")), "pass");
    assert_eq!(
        outcome(&format!("{url}&contains=a&contains=c")),
        "fail the body does not contain \"c\""
    );
}
