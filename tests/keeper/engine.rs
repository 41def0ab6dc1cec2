//! Containers whose engine has trouble: nothing is restarted, and nothing counts.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ready_probe_test_support::hostile::{Behaviour, Hostile};
use ready_probe_test_support::http::{HttpServer, Request, Response};
use ready_probe_test_support::process::{Guard, Run, Signal, free_port, run_within, wait_until};
use ready_probe_test_support::servers::prometheus::http_get;
use serde_json::{Value, json};

use crate::host::{Host, assert_says};

const SOON: Duration = Duration::from_secs(40);
const LOG: &str = "log";

/// An engine with one container that works.
fn well(request: &Request) -> Response {
    let body = match request.path.as_str() {
        "/_ping" => json!("OK"),
        path if path.starts_with("/containers/json?all=1&filters=") => json!([{"Names": ["/web"]}]),
        _ => inspection("running", Some("healthy")),
    };
    Response::new(200).body(body.to_string())
}

fn inspection(status: &str, health: Option<&str>) -> Value {
    json!({
        "Id": "4d8e0c1b2a3f", "Name": "/web",
        "State": {
            "Status": status, "ExitCode": 3, "StartedAt": "2026-11-28T03:00:00Z", "FinishedAt": "2026-11-28T04:00:00Z",
            "Health": health.map(|status| json!({"Status": status, "Log": [{"ExitCode": 1, "Output": "no"}]})),
        },
        "HostConfig": {"RestartPolicy": {"Name": "no"}},
    })
}

/// A keeper of one container, whose engine is behind a path that a test can point elsewhere.
fn keeper(host: &Host, keys: &str) -> Guard {
    keeper_with(host, keys, &[])
}

fn keeper_with(host: &Host, keys: &str, args: &[&str]) -> Guard {
    let text = format!(
        "[keeper]\ninterval = \"1s\"\nengine = \"unix://{}\"\n[[service]]\n{keys}\ntimeout = \"500ms\"\nstartup = \"1s\"\nhung_after = \"1s\"\nrestart_exited = true\n",
        host.path("engine.sock").display()
    );
    host.write("services.toml", &text);
    let log = std::fs::File::create(host.path(LOG)).unwrap();
    let mut command = host.keeper(&["run"]);
    command
        .arg("--config")
        .arg(host.path("services.toml"))
        .arg("--manual-stop")
        .arg(host.path("stopped"))
        .args(args)
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    Guard::spawn(&mut command)
}

fn point(host: &Host, socket: &std::path::Path) {
    let (new, place) = (host.path("engine.new"), host.path("engine.sock"));
    symlink(socket, &new).unwrap();
    std::fs::rename(new, place).unwrap();
}

/// What counts: all of the service's state but where its clocks stand, and its account.
fn counters(host: &Host) -> Value {
    let kept: Value = serde_json::from_str(&host.read("state/state.json")).unwrap();
    let state = &kept["services"]["web"];
    let account = &kept["accounts"]["web"];
    let of = |value: &Value, keys: &[&str]| -> Vec<Value> {
        keys.iter().map(|key| value[key].clone()).collect()
    };
    let of_state = [
        "phase",
        "streaks",
        "attempts",
        "restarts",
        "in_phase_ms",
        "cause",
    ];
    let of_account = ["passed", "failed", "restarts", "helped", "helped_not"];
    json!([of(state, &of_state), of(account, &of_account)])
}

fn unasked(host: &Host) -> u64 {
    let kept: Value = serde_json::from_str(&host.read("state/state.json")).unwrap_or_default();
    kept["accounts"]["web"]["unasked"].as_u64().unwrap_or(0)
}

/// A container that works, an engine that then answers nothing any more for several passes, and one that does again.
fn survives(name: &str, socket: &std::path::Path) {
    let host = Host::new();
    let engine = HttpServer::unix(well);
    point(&host, &engine.socket_path());
    let keys = match name.len() % 2 {
        0 => "name = \"web\"\ncontainer = \"web\"",
        _ => "label = \"ready-keeper=true\"",
    };
    let _keeper = keeper(&host, keys);
    host.wait_for(LOG, "Health check passed for web");
    point(&host, socket);
    wait_until(SOON, "the engine to be in trouble", || {
        (unasked(&host) >= 1).then_some(())
    });
    let before = counters(&host);
    wait_until(SOON, "several passes", || {
        (unasked(&host) >= 5).then_some(())
    });
    assert_eq!(counters(&host), before, "{name}: {}", host.read(LOG));
    let log = host.read(LOG);
    assert!(
        log.contains("web could not be asked, which proves nothing"),
        "{name}: {log}"
    );
    point(&host, &engine.socket_path());
    wait_until(SOON, "it to be asked again", || {
        let kept: Value = serde_json::from_str(&host.read("state/state.json")).ok()?;
        (kept["services"]["web"]["last"] == "pass").then_some(())
    });
    let log = host.read(LOG);
    assert!(
        !log.contains("Executing") && !log.contains("Health check failed"),
        "{name}: {log}"
    );
    assert_eq!(posts(&engine), 0, "{name}");
    assert_eq!(host.status("web")["services"][0]["state"], "healthy");
}

/// One engine that was busy for a moment had six containers restarted that worked. These are the answers that were
/// taken for "it is not there".
#[test]
fn no_error_of_an_engine_restarts_a_container_or_counts() {
    let folder = tempfile::tempdir().unwrap();
    let refusing = folder.path().join("refusing.sock");
    drop(UnixListener::bind(&refusing).unwrap());
    let hostile = |behaviour| Hostile::unix(behaviour);
    let head = |head: &str| head.replace('\n', "\r\n").into_bytes();
    let silent = hostile(Behaviour::Silent);
    let closes = hostile(Behaviour::Reset);
    let half = hostile(Behaviour::CloseAfter(head(
        "HTTP/1.1 200 OK\nContent-Length: 999\n\n{\"Name\":\"/web\",\"State\":{\"Status\":\"exited\"",
    )));
    let stuck = hostile(Behaviour::Garbage(head(
        "HTTP/1.1 404 Not Found\nContent-Length: 99\n\n",
    )));
    let answers = |status: u16, body: &'static str| {
        HttpServer::unix(move |_| Response::new(status).body(body))
    };
    let deadline = answers(500, r#"{"message":"context deadline exceeded"}"#);
    let lies = answers(500, r#"{"message":"No such container: web"}"#);
    let forbids = answers(403, "Forbidden");
    let path = answers(404, r#"{"message":"page not found"}"#);
    std::thread::scope(|scope| {
        for (name, socket) in [
            ("deadline that is over", silent.path()),
            ("end of file", closes.path()),
            ("end of file in mid-answer", half.path()),
            ("no end of an answer", stuck.path()),
            ("connection refused", refusing.clone()),
            ("socket gone", folder.path().join("absent.sock")),
            ("status 500", deadline.socket_path()),
            ("status 500 with the words of 404", lies.socket_path()),
            ("status 403 of a proxy", forbids.socket_path()),
            ("status 404 of a path", path.socket_path()),
        ] {
            scope.spawn(move || survives(name, &socket));
        }
    });
}

#[test]
fn an_engine_that_is_not_there_is_one_line_and_nothing_is_kept() {
    let host = Host::new();
    let refusing = host.path("engine.sock");
    drop(UnixListener::bind(&refusing).unwrap());
    let absent = host.path("nowhere.sock").display().to_string();
    for (engine, why) in [
        (format!("unix://{absent}"), "no such socket"),
        (
            format!("unix://{}", refusing.display()),
            "connection refused",
        ),
        ("tcp://127.0.0.1:1".to_owned(), "connection refused"),
    ] {
        let text = format!(
            "[keeper]\nengine = \"{engine}\"\n[[service]]\nname = \"web\"\ncontainer = \"web\"\n"
        );
        host.write("services.toml", &text);
        for verb in ["run", "once"] {
            let mut command = host.keeper(&[verb]);
            let run = run_within(
                command.arg("--config").arg(host.path("services.toml")),
                SOON,
            );
            let lines: Vec<&str> = run.stderr.lines().collect();
            assert_eq!(
                (run.code(), lines.len(), run.stdout.as_str()),
                (78, 1, ""),
                "{run:?}"
            );
            assert!(
                lines[0].contains(why) && lines[0].contains("DOCKER_HOST"),
                "{run:?}"
            );
        }
    }
    // As Docker's client finds it.
    host.write(
        "services.toml",
        "[[service]]\nname = \"web\"\ncontainer = \"web\"\n",
    );
    for (at, why) in [
        (format!("unix://{absent}"), "no such socket"),
        ("ssh://me@host".to_owned(), "DOCKER_HOST (environment)"),
    ] {
        let mut command = host.keeper(&["once"]);
        command
            .env("DOCKER_HOST", at)
            .arg("--config")
            .arg(host.path("services.toml"));
        let run = run_within(&mut command, SOON);
        assert!(run.code() == 78 && run.stderr.contains(why), "{run:?}");
        assert!(!run.stderr.contains("me@"), "{run:?}");
    }
    assert!(!host.path("state").exists());
}

/// A pass over an unhealthy container of this engine, whose second question about an id is that of whoever restarts it.
fn pass_over(engine: &HttpServer) -> (Host, Run) {
    let host = Host::new();
    let text = format!(
        "[keeper]\nengine = \"{}\"\n[[service]]\nname = \"web\"\ncontainer = \"web\"\nstartup = \"0s\"\nstartup_delay = \"0s\"\n",
        engine.socket_path().display()
    );
    host.write("services.toml", &text);
    let mut keeper = host.keeper(&["once"]);
    let run = run_within(keeper.arg("--config").arg(host.path("services.toml")), SOON);
    (host, run)
}

fn posts(engine: &HttpServer) -> usize {
    let requests = engine.requests().into_iter();
    requests.filter(|request| request.method == "POST").count()
}

#[test]
fn what_somebody_else_has_started_meanwhile_is_not_restarted() {
    let count = AtomicU32::new(0);
    let engine = HttpServer::unix(move |request| {
        if request.path == "/_ping" {
            return Response::new(200);
        }
        let mut body = inspection("running", Some("unhealthy"));
        if request.path.contains("4d8e0c1b2a3f") {
            let n = count.fetch_add(1, Ordering::SeqCst);
            body["State"]["StartedAt"] = json!(format!("2026-11-28T05:00:0{n}Z"));
        }
        Response::new(200).body(body.to_string())
    });
    let (_host, run) = pass_over(&engine);
    assert_eq!((run.code(), posts(&engine)), (1, 0), "{run:?}");
    assert_says(
        &run,
        "web: the engine has not restarted it: somebody else has started it meanwhile",
    );
}

#[test]
fn why_an_engine_restarts_nothing_is_said() {
    let engine = HttpServer::unix(|request| match request.method.as_str() {
        "POST" => Response::new(403).body("Forbidden by the proxy"),
        _ if request.path == "/_ping" => Response::new(200),
        _ => Response::new(200).body(inspection("running", Some("unhealthy")).to_string()),
    });
    let (_host, run) = pass_over(&engine);
    assert_eq!((run.code(), posts(&engine)), (1, 1), "{run:?}");
    assert_says(
        &run,
        "web: the engine has not restarted it: the engine says status 403 Forbidden: Forbidden by the proxy",
    );
}

#[test]
fn containers_with_the_label_come_and_go() {
    let names = Arc::new(Mutex::new(Some(vec!["/web", "/web-2"])));
    let engine = {
        let names = Arc::clone(&names);
        HttpServer::unix(move |request| {
            let names = names.lock().unwrap();
            let name = request.path.trim_start_matches("/containers");
            let body = match (name, &*names) {
                ("/_ping", _) => json!("OK"),
                (name, None) if name.starts_with("/json?") => return Response::new(500),
                (name, Some(names)) if name.starts_with("/json?") => {
                    // Together more than any other answer may be.
                    let one = |name: &&str| json!({"Names": [name], "Labels": {"a": "x".repeat(200_000)}});
                    Value::from_iter(names.iter().map(one))
                }
                (name, _) => {
                    let mut body = inspection("running", Some("healthy"));
                    body["Name"] = json!(name.trim_end_matches("/json"));
                    body
                }
            };
            Response::new(200).body(body.to_string())
        })
    };
    let host = Host::new();
    point(&host, &engine.socket_path());
    let at = free_port().to_string();
    let args = ["--metrics-listen", &at];
    let mut keeper = keeper_with(&host, "label = \"ready-keeper=true\"", &args);
    let is_unread = || {
        let (_, metrics) = http_get(at.parse().unwrap(), "/metrics").unwrap();
        metrics.contains("\nready_keeper_services_file_readable{} 0\n")
    };
    let services = || -> Vec<String> {
        let kept: Value = serde_json::from_str(&host.read("state/state.json")).unwrap_or_default();
        let accounts = kept["accounts"].as_object().into_iter().flatten();
        // Whoever was asked within the last seconds.
        let written = kept["written_ms"].as_u64().unwrap_or(0);
        let is_asked = |account: &Value| account["seen_ms"].as_u64().unwrap_or(0) + 1_500 > written;
        accounts
            .filter(|(_, account)| is_asked(account))
            .map(|(name, _)| name.clone())
            .collect()
    };
    let become_these = |wanted: &[&str]| {
        wait_until(SOON, &format!("{wanted:?}"), || {
            (services() == wanted).then_some(())
        });
    };
    become_these(&["web", "web-2"]);
    host.wait_for(LOG, "Health check passed for web-2");
    // Other containers make no file readable.
    host.write("services.toml", "[");
    keeper.signal(Signal::HUP);
    wait_until(SOON, "the file to be read", || is_unread().then_some(()));
    *names.lock().unwrap() = Some(vec!["/web-2", "/web-3"]);
    become_these(&["web-2", "web-3"]);
    assert!(is_unread());
    // Where nobody knows, they are looked after as before.
    *names.lock().unwrap() = None;
    host.wait_for(
        LOG,
        "which containers there are can't be told, and those that were there are looked after",
    );
    become_these(&["web-2", "web-3"]);
    let status = host.order(&["status"]);
    assert_eq!(status.code(), 1, "{status:?}");
    assert_says(&status, "which containers have the label can't be told: ");
    assert_says(&status, "the engine says status 500");
    *names.lock().unwrap() = Some(vec![]);
    wait_until(SOON, "them to be gone", || {
        let told = host
            .read(LOG)
            .matches("other containers have the label now")
            .count();
        (told == 2).then_some(())
    });
    let status = host.order(&["status"]);
    assert_eq!(status.code(), 0, "{status:?}");
    let asked = |part: &str| {
        let requests = engine.requests().into_iter();
        requests
            .filter(|request| request.path.contains(part))
            .count()
    };
    let listings = |more: usize| {
        let wanted = asked("/json?") + more;
        wait_until(SOON, "more lists", || {
            (asked("/json?") >= wanted).then_some(())
        });
        asked("/web-")
    };
    // A question may have been under way.
    assert_eq!(listings(1), listings(2));
    let log = host.read(LOG);
    assert_eq!(
        log.matches("other containers have the label now").count(),
        2,
        "{log}"
    );
    assert_eq!(log.matches("can't be told").count(), 1, "{log}");
    // It was there all the time: what it has answered is not forgotten with the others.
    let (passed, unasked) = ("Health check passed for web-2", "web-2 could not be asked");
    let unasked = log.matches(unasked).count();
    assert!(log.matches(passed).count() <= 1 + unasked, "{log}");
    assert_eq!(posts(&engine), 0);
}
