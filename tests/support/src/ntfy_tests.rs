use std::{
    io::{Read, Write},
    net::TcpStream,
};

use super::*;

fn post(server: &NtfyServer, headers: &str, body: &str) -> u16 {
    let mut stream = TcpStream::connect(server.http.addr()).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST / HTTP/1.1\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn messages_are_taken_as_the_documentation_says() {
    let server = NtfyServer::start();
    let long = "x".repeat(4097);
    for (body, status) in [
        (
            r#"{"topic":"a","message":"m","title":"t","priority":5,"tags":["x"]}"#,
            200,
        ),
        (r#"{"topic":"a"}"#, 200),
        (r#"{"message":"m"}"#, 400),
        (r#"{"topic":"a b"}"#, 400),
        (r#"{"topic":"a","priority":6}"#, 400),
        (r#"{"topic":"a","tags":"x"}"#, 400),
        ("m", 400),
        (&format!(r#"{{"topic":"a","message":"{long}"}}"#), 400),
        (&format!(r#"{{"topic":"a","message":"{long}{long}"}}"#), 413),
    ] {
        assert_eq!(post(&server, "", body), status, "{body}");
    }
    assert_eq!((server.messages().len(), server.requests()), (2, 9));
}

#[test]
fn who_fails_to_log_in_thirty_times_is_locked_out() {
    let server = NtfyServer::protected("Bearer tk_1", &["a"]);
    let right = "Authorization: Bearer tk_1\r\n";
    assert_eq!(post(&server, right, r#"{"topic":"a"}"#), 200);
    assert_eq!(post(&server, right, r#"{"topic":"b"}"#), 403);
    for _ in 0..30 {
        assert_eq!(post(&server, "", r#"{"topic":"a"}"#), 401);
    }
    assert_eq!(post(&server, right, r#"{"topic":"a"}"#), 429);
}
