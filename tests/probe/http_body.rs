//! What a body has to hold, and how much of it is read.

use ready_probe_test_support::http::{HttpServer, Response};
use ready_probe_test_support::process::Run;

use crate::container::{Container, assert_mentions};
use crate::http::{answering, closing_after, outcome};

#[test]
fn a_body_contains_a_text_also_across_chunks() {
    for chunked in [false, true] {
        let server = HttpServer::start(move |_| {
            let response = Response::new(200).body("all systems are go & <ready>\n");
            if chunked {
                response.chunked()
            } else {
                response
            }
        });
        let url = server.url("/");
        assert_eq!(
            outcome(&format!("{url}#contains=go%20%26%20<ready>")),
            "pass"
        );
        let reason = r#"fail the body does not contain "stop""#;
        assert_eq!(outcome(&format!("{url}#contains=stop")), reason);
    }
}

#[test]
fn a_body_holds_a_value_at_a_json_pointer() {
    let body = r#"{"status":"ok","n":5,"ready":true,"none":null,"a":[{"b/c":"x y"}],"":"e"}"#;
    let server = answering(200, body);
    let url = server.url("/health");
    for json in [
        "/status=ok",
        "/n=5",
        "/ready=true",
        "/none=null",
        "/a/0/b~1c=x%20y",
        "/=e",
        "/a=[{\"b/c\":\"x y\"}]",
    ] {
        assert_eq!(outcome(&format!("{url}#json={json}")), "pass", "{json}");
    }
    let table = [
        ("/status=down", r#"fail /status is "ok", not "down""#),
        ("/n=5.0", r#"fail /n is "5", not "5.0""#),
        ("/nothing=1", "fail the body has nothing at /nothing"),
        ("/a/1=x", "fail the body has nothing at /a/1"),
    ];
    for (json, want) in table {
        assert_eq!(outcome(&format!("{url}#json={json}")), want);
    }
    let other = answering(200, "<html>");
    assert_eq!(
        outcome(&format!("{}#json=/a=1", other.url("/"))),
        "fail the body is not JSON"
    );
    let both = format!("{url}#json=/n=5&contains=status&status=200");
    assert_eq!(outcome(&both), "pass");
}

#[test]
fn a_large_body_is_read_up_to_a_bound_and_no_further() {
    let large = HttpServer::start(|_| {
        let mut body = vec![b'x'; 300 * 1024];
        body[..6].copy_from_slice(b"early!");
        let end = body.len() - 5;
        body[end..].copy_from_slice(b"late!");
        Response::new(200).body(body)
    });
    let container = Container::new();
    let ask = |options: &str| container.ask(large.url("/") + options);
    let small = |run: &Run| run.peak_rss_kib < 8 * 1024;
    let run = ask("");
    assert!(run.code() == 0 && small(&run), "{run:?}");
    let run = ask("#contains=early!");
    assert!(run.code() == 0 && small(&run), "{run:?}");
    let run = ask("#contains=late!");
    assert_mentions(&run, 1, &["it sends without end; it has never passed"]);
    assert!(small(&run), "{run:?}");
}

#[test]
fn a_body_just_within_the_bound_is_read_whole() {
    let server = HttpServer::start(|_| {
        let mut body = vec![b'x'; 250 * 1024];
        let end = body.len() - 5;
        body[end..].copy_from_slice(b"late!");
        Response::new(200).body(body)
    });
    assert_eq!(outcome(&(server.url("/") + "#contains=late!")), "pass");
}

#[test]
fn a_body_that_ends_early_is_not_an_answer() {
    let early = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nready";
    for (options, want) in [
        // Only the status is asked for.
        ("", "pass"),
        (
            "#json=/a=1",
            "unknown connection closed; it has never passed",
        ),
        ("#contains=ready", "pass"),
    ] {
        let (port, server) = closing_after(early);
        assert_eq!(outcome(&format!("http://127.0.0.1:{port}/{options}")), want);
        server.join().unwrap();
    }
}

#[test]
fn a_body_without_a_length_ends_with_the_connection() {
    let (port, server) = closing_after(b"HTTP/1.0 200 OK\r\n\r\nready");
    assert_eq!(
        outcome(&format!("http://127.0.0.1:{port}/#json=/a=1")),
        "fail the body is not JSON"
    );
    server.join().unwrap();
}
