use std::{
    io::{self, Read, Write},
    net::{Ipv6Addr, TcpStream},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use super::{HttpServer, Request, Response};
use crate::{
    tls::{Ca, ClientIdentity},
    tls_client::tls_client,
};

/// Sends a request that asks for the connection to be closed, and gives all that comes back.
fn exchange(mut stream: impl Read + Write, request: &str) -> io::Result<String> {
    stream.write_all(
        request
            .replacen("\r\n", "\r\nConnection: close\r\n", 1)
            .as_bytes(),
    )?;
    let mut all = String::new();
    stream.read_to_string(&mut all)?;
    Ok(all)
}

fn tcp(server: &HttpServer) -> TcpStream {
    TcpStream::connect(server.addr()).unwrap()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
}

fn by_path(request: &Request) -> Response {
    match request.path.as_str() {
        "/ok" => Response::new(200).header("X-A", "b").body("all is well"),
        "/chunked" => Response::new(200).body("all is well").chunked(),
        "/slow" => Response::new(200).delay(Duration::from_millis(200)),
        "/none" => Response::new(204),
        _ => Response::new(404),
    }
}

#[test]
fn the_closure_decides_the_answer() {
    let server = HttpServer::start(by_path);
    let ok = exchange(tcp(&server), &get("/ok")).unwrap();
    assert_eq!(
        ok,
        "HTTP/1.1 200 Status\r\nX-A: b\r\nContent-Length: 11\r\n\r\nall is well"
    );
    assert!(
        exchange(tcp(&server), &get("/what?x=1"))
            .unwrap()
            .starts_with("HTTP/1.1 404")
    );
    assert_eq!(
        exchange(tcp(&server), &get("/none")).unwrap(),
        "HTTP/1.1 204 Status\r\n\r\n"
    );
    let asked: Vec<String> = server
        .requests()
        .into_iter()
        .map(|request| request.path)
        .collect();
    assert_eq!(asked, ["/ok", "/what?x=1", "/none"]);
    assert_eq!(
        server.url("/ok"),
        format!("http://127.0.0.1:{}/ok", server.port())
    );
}

#[test]
fn the_closure_sees_the_request_whole() {
    let server = HttpServer::start(|request| {
        let text = format!(
            "{} {:?} {:?}",
            request.method,
            request.header("x-key"),
            request.body
        );
        Response::new(200).body(text)
    });
    let request = "POST / HTTP/1.1\r\nX-Key:  v \r\nContent-Length: 2\r\n\r\nhi";
    assert!(
        exchange(tcp(&server), request)
            .unwrap()
            .ends_with(r#"POST Some("v") [104, 105]"#)
    );
}

#[test]
fn bodies_come_in_chunks_when_asked() {
    let server = HttpServer::start(by_path);
    let answer = exchange(tcp(&server), &get("/chunked")).unwrap();
    assert!(
        answer.ends_with("chunked\r\n\r\n5\r\nall i\r\n5\r\ns wel\r\n1\r\nl\r\n0\r\n\r\n"),
        "{answer}"
    );
}

#[test]
fn head_has_the_headers_of_get_and_no_body() {
    let server = HttpServer::start(by_path);
    let answer = exchange(tcp(&server), "HEAD /ok HTTP/1.1\r\n\r\n").unwrap();
    assert!(answer.ends_with("Content-Length: 11\r\n\r\n"), "{answer}");
}

#[test]
fn a_delay_is_kept_and_does_not_outlive_the_server() {
    let server = HttpServer::start(by_path);
    let start = Instant::now();
    exchange(tcp(&server), &get("/slow")).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(200));

    let server = HttpServer::start(|_| Response::new(200).delay(Duration::from_secs(100)));
    let mut stream = tcp(&server);
    stream.write_all(get("/").as_bytes()).unwrap();
    crate::process::wait_until(Duration::from_secs(5), "the request", || {
        server.requests().pop()
    });
    drop(server);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

#[test]
fn connections_are_kept_for_the_next_request() {
    let server = HttpServer::start(by_path);
    let mut stream = tcp(&server);
    let mut answer = [0; 21];
    for _ in 0..2 {
        stream.write_all(get("/none").as_bytes()).unwrap();
        stream.read_exact(&mut answer).unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 204"));
        // The rest of the head.
        stream.read_exact(&mut [0; 2]).unwrap();
    }
    assert_eq!((server.connections(), server.requests().len()), (1, 2));
}

#[test]
fn unix_sockets_and_ipv6_work_alike() {
    let server = HttpServer::unix(by_path);
    let stream = UnixStream::connect(server.socket_path()).unwrap();
    assert!(
        exchange(stream, &get("/ok"))
            .unwrap()
            .ends_with("all is well")
    );
    assert!(
        server.url("/ok").starts_with("http+unix://%2F")
            && server.url("/ok").ends_with("%2Fsocket/ok")
    );
    let server = HttpServer::start_on(Ipv6Addr::LOCALHOST.into(), by_path);
    assert!(
        exchange(tcp(&server), &get("/ok"))
            .unwrap()
            .ends_with("all is well")
    );
    assert!(server.url("/").starts_with("http://[::1]:"));
}

fn over_tls(server: &HttpServer, ca: &Ca, client: Option<&ClientIdentity>) -> io::Result<String> {
    exchange(
        tls_client(tcp(server), "localhost", ca.path(), client),
        &get("/ok"),
    )
}

#[test]
fn tls_with_and_without_client_certificates() {
    let ca = Ca::new();
    let server = HttpServer::tls(&ca.server(&["localhost"]), by_path);
    assert!(
        over_tls(&server, &ca, None)
            .unwrap()
            .ends_with("all is well")
    );
    assert!(over_tls(&server, &Ca::new(), None).is_err());
    assert!(server.url("/").starts_with("https://localhost:"));

    let server = HttpServer::mutual_tls(&ca.server(&["localhost"]), by_path);
    assert!(
        over_tls(&server, &ca, Some(&ca.client("probe")))
            .unwrap()
            .ends_with("all is well")
    );
    assert!(over_tls(&server, &ca, None).is_err());
    assert!(over_tls(&server, &ca, Some(&Ca::new().client("probe"))).is_err());

    let server = HttpServer::tls(&ca.expired_server(&["localhost"]), by_path);
    let error = over_tls(&server, &ca, None).unwrap_err().to_string();
    assert!(error.contains("expired"), "{error}");
}
