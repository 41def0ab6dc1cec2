//! Containers, as asked of an engine that has trouble.

use std::os::unix::net::UnixListener;
use std::time::Duration;

use ready_probe_test_support::hostile::{Behaviour, Hostile};
use ready_probe_test_support::http::{HttpServer, Response};

use crate::container::{Container, assert_mentions, assert_said, assert_starts, row};
use crate::long_poll::Caller;

const WELL: &str =
    r#"{"Name":"/web","State":{"Status":"running","Running":true,"Health":{"Status":"healthy"}}}"#;

const OTHER: &str =
    r#"{"Name":"/web-1.x_y","State":{"Status":"running","Health":{"Status":"healthy"}}}"#;

fn json(status: u16, body: &'static str) -> Response {
    Response::new(status)
        .header("Content-Type", "application/json")
        .body(body)
}

/// What is said of an engine at this socket, which had said that the container is well.
fn after_a_pass(socket: &str) -> (i32, String, String) {
    let container = Container::new();
    let place = container.path("engine.sock");
    let target = format!("container:web#timeout=500ms&socket={}", place.display());
    let shown = format!("container:web#socket={}", place.display());
    let well = HttpServer::unix(|_| json(200, WELL));
    std::os::unix::fs::symlink(well.socket_path(), &place).unwrap();
    assert_said(&container.ask(&target), 0, "healthy: 1 check passes");
    std::fs::remove_file(&place).unwrap();
    std::os::unix::fs::symlink(socket, &place).unwrap();
    let run = container.ask(&target);
    let (word, text) = row(&run, &shown);
    (run.code(), word.to_owned(), text.to_owned())
}

/// One engine that is busy once had six containers restarted that worked: every error was taken for "it is not
/// there". Only the engine's own word for that is one.
#[test]
fn no_error_of_an_engine_is_a_container_that_is_down() {
    let dropped = Container::new();
    let refusing = dropped.path("refusing.sock");
    drop(UnixListener::bind(&refusing).unwrap());
    let refusing = refusing.display().to_string();
    let absent = dropped.path("absent.sock").display().to_string();
    let hostile = |behaviour| Hostile::unix(behaviour);
    let head = |head: &str| head.replace('\n', "\r\n").into_bytes();
    let broken = [
        // It accepts and says nothing: a deadline that is over.
        hostile(Behaviour::Silent),
        // The end of the file, before and in the middle of an answer.
        hostile(Behaviour::Reset),
        hostile(Behaviour::CloseAfter(head(
            "HTTP/1.1 200 OK\nContent-Length: 999\n\n{\"State\":{\"Status\":\"exited\"",
        ))),
        // Never the end of one.
        hostile(Behaviour::Garbage(head(
            "HTTP/1.1 200 OK\nContent-Length: 999\n\n{\"State\":{\"Status\":\"exited\"}",
        ))),
        hostile(Behaviour::Garbage(head(
            "HTTP/1.1 404 Not Found\nContent-Length: 99\n\n",
        ))),
        hostile(Behaviour::Garbage(head("ERR unknown command\n"))),
        hostile(Behaviour::EndlessAfter {
            first: head("HTTP/1.1 200 OK\n\n"),
            then: b" ".to_vec(),
        }),
    ];
    let sockets = broken
        .iter()
        .map(|hostile| hostile.path().display().to_string());
    for socket in sockets.chain([refusing, absent]) {
        let (code, word, text) = after_a_pass(&socket);
        // Within the grace of a dependency.
        assert_eq!((code, word.as_str()), (0, "unknown"), "{text}");
        assert!(text.ends_with("of 3m grace"), "{text}");
    }
    for (status, body) in [
        (500, r#"{"message":"context deadline exceeded"}"#),
        (500, r#"{"message":"No such container: web"}"#),
        (503, ""),
        (429, ""),
        (403, "<html>Forbidden</html>"),
        (404, r#"{"message":"page not found"}"#),
        (404, "404 page not found\n"),
        (404, ""),
        (301, ""),
        (200, ""),
        (200, "{}"),
        (200, "{\"Name\":\"/web\",\"State\":{\"Status\":\"exited\"}"),
        (200, r#"{"State":{"Status":"exited"}}"#),
    ] {
        let engine = HttpServer::unix(move |_| json(status, body));
        let (code, word, text) = after_a_pass(&engine.socket_path().display().to_string());
        assert_eq!(
            (code, word.as_str()),
            (0, "unknown"),
            "{status} {body}: {text}"
        );
    }
}

#[test]
fn what_the_engine_says_of_a_container_counts_at_once() {
    for (status, body, said) in [
        (
            404,
            r#"{"message":"No such container: web"}"#,
            "no such container",
        ),
        (
            404,
            r#"{"cause":"no such container","message":"no container with name or ID \"web\" found: no such container","response":404}"#,
            "no such container",
        ),
        (
            200,
            r#"{"Name":"/web","State":{"Status":"exited","ExitCode":3}}"#,
            "exited with status 3",
        ),
        (
            200,
            r#"{"Id":"web0c1b","Name":"/other","State":{"Status":"running"}}"#,
            "no such container",
        ),
        (
            200,
            r#"{"Name":"/web","State":{"Status":"paused","Running":true}}"#,
            "paused",
        ),
        (
            200,
            r#"{"Name":"/web","State":{"Status":"running","Health":{"Status":"unhealthy","Log":[{"Output":"curl: (7)\n"}]}}}"#,
            "unhealthy: curl: (7)",
        ),
    ] {
        let engine = HttpServer::unix(move |_| json(status, body));
        assert_eq!(
            after_a_pass(&engine.socket_path().display().to_string()),
            (1, "fail".to_owned(), said.to_owned()),
        );
    }
}

#[test]
fn one_request_asks_for_one_container() {
    let engine = HttpServer::start(|_| json(200, OTHER));
    let address = engine.addr().to_string();
    let run = Container::new().ask(format!("container:web-1.x_y#inet={address}"));
    assert_said(&run, 0, "healthy: 1 check passes");
    let requests = engine.requests();
    let [request] = requests.as_slice() else {
        panic!("{requests:?}")
    };
    assert_eq!(
        (request.method.as_str(), request.path.as_str()),
        ("GET", "/containers/web-1.x_y/json")
    );
    assert_eq!(request.header("host"), Some("localhost"));
}

#[test]
fn a_held_answer_ends_when_the_engine_says_no() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    let is_down = Arc::new(AtomicBool::new(false));
    let engine = {
        let is_down = Arc::clone(&is_down);
        HttpServer::unix(move |_| match is_down.load(Ordering::SeqCst) {
            false => json(200, WELL),
            true => json(
                200,
                r#"{"Name":"/web","State":{"Status":"exited","ExitCode":3}}"#,
            ),
        })
    };
    let container = Container::new();
    let options = "recheck=100ms&confirm=0";
    let target = format!(
        "container:web#{options}&socket={}",
        engine.socket_path().display()
    );
    let hold = Caller::new(&container, &["--agent", "off", &target]).hold();
    is_down.store(true, Ordering::SeqCst);
    assert_mentions(&hold.ends(), 1, &["unhealthy: ", "exited with status 3"]);
}

#[test]
fn wait_waits_for_a_container() {
    let started = std::time::Instant::now();
    let engine = HttpServer::unix(move |_| {
        if started.elapsed() > Duration::from_millis(600) {
            return json(200, WELL);
        }
        let starting =
            r#"{"Name":"/web","State":{"Status":"running","Health":{"Status":"starting"}}}"#;
        json(200, starting)
    });
    let target = format!("container:web#socket={}", engine.socket_path().display());
    let run = Container::new().run(["wait", "--for", "20s", &target]);
    assert_said(&run, 0, "healthy: 1 check passes");
    assert!(
        run.stderr.contains("its health check has not passed yet"),
        "{run:?}"
    );
}

#[test]
fn what_is_no_name_is_refused() {
    for (target, why) in [
        ("container:", "it needs the name of a container"),
        ("container:../images", "it needs the name of a container"),
        ("container:a/json?x", "it needs the name of a container"),
        ("container:web#inet=a", "inet=HOST:PORT"),
        ("container:web#sockt=/a", "is no option of container"),
    ] {
        let run = Container::new().ask(target);
        assert!(
            run.code() == 64 && run.stderr.contains(why),
            "{target}: {run:?}"
        );
    }
    assert_starts(
        &Container::new().ask("container:web#socket=/no/such.sock"),
        1,
        "unhealthy: dependency container:web#socket=/no/such.sock: /no/such.sock: no such socket",
    );
}
