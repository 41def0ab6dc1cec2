//! No check answers for itself: what nobody answered does not pass, with `not` either, and a command
//! that looks for a process does not find the probe that started it.

use ready_probe_test_support::hostile::refused_port;
use ready_probe_test_support::http::{HttpServer, Response};
use ready_probe_test_support::process::run;
use ready_probe_test_support::servers::{Nats, NatsVersion, Redis};

use crate::container::{Container, assert_said, assert_starts};
use crate::problems::{CONFIG, Problems, USAGE};

const HEALTHY: &str = "healthy: 1 check passes";

/// Asks and says `pass`, `fail REASON` or `unknown CAUSE`.
fn outcome(target: &str) -> String {
    let report = Container::new().json([target]);
    let check = &report["checks"][0];
    let said = [&check["outcome"], &check["reason"]].map(|part| part.as_str().unwrap());
    said.join(" ").trim_end().to_owned()
}

#[test]
fn an_expectation_turned_round_still_needs_an_answer() {
    let dead = refused_port().port();
    let redis = Redis::start();
    redis.command(&["SET", "k", "v"]);
    let nats = Nats::builder(NatsVersion::V2_15).jetstream().start();
    let server = HttpServer::start(|request| {
        let status = request.path[1..].parse().unwrap();
        Response::new(status).body(r#"{"status":"green"}"#)
    });
    let http = |path: &str| server.url(path);
    let file = Container::new().file("f", "red");
    let container = Container::new();
    let file = container.file(file.file_name().unwrap().to_str().unwrap(), "red");
    let file = file.display();
    let table = [
        (
            format!("http://127.0.0.1:{dead}/#json=/status=red&not"),
            "fail connection refused",
        ),
        (
            format!("http://127.0.0.1:{dead}/#contains=red&not"),
            "fail connection refused",
        ),
        (
            format!("http://127.0.0.1:{dead}/#status=500&not"),
            "fail connection refused",
        ),
        (
            format!("{}#json=/status=red&not", http("/500")),
            "fail status 500 Internal Server Error",
        ),
        (
            format!("{}#json=/status=red&not", http("/200")),
            r#"pass /status is "green", not "red""#,
        ),
        (
            format!("{}#json=/status=green&not", http("/200")),
            r#"fail /status is "green", and must not be"#,
        ),
        (
            format!("{}#contains=green&not", http("/200")),
            r#"fail the body contains "green", and must not"#,
        ),
        (
            format!("{}#status=500&not", http("/200")),
            "pass status 200 OK",
        ),
        (
            format!("{}#status=200&not", http("/200")),
            "fail status 200 OK, and must not be",
        ),
        (
            format!("{}#not", http("/500")),
            "pass status 500 Internal Server Error",
        ),
        (
            format!("{}#not", http("/200")),
            "fail it passes, and must not",
        ),
        (
            format!("redis://127.0.0.1:{dead}#key=k&not"),
            "unknown connection refused; it has never passed",
        ),
        (
            format!("{}#key=k&not", redis.url()),
            "fail key k exists, and must not",
        ),
        (
            format!("{}#key=none&not", redis.url()),
            "pass key none does not exist",
        ),
        (
            format!("{}#key=k&value=v&not", redis.url()),
            "fail key k holds that value, and must not",
        ),
        (
            format!("{}#key=k&value=w&not", redis.url()),
            "pass key k holds another value",
        ),
        (
            format!("{}#role=master&not", redis.url()),
            "fail it is a master, and must not be",
        ),
        (
            format!("{}#bucket=none&not", nats.url()),
            "pass bucket none does not exist",
        ),
        (
            format!("{}#jetstream&not", nats.url()),
            "fail JetStream is enabled, and must not be",
        ),
        (
            "file:/no/such#max_age=1h&not".to_owned(),
            "fail no such file",
        ),
        (
            "file:/no/such#contains=red&not".to_owned(),
            "fail no such file",
        ),
        ("file:/no/such#not".to_owned(), "pass no such file"),
        (
            format!("file:{file}#contains=red&not"),
            "fail it contains the text, and must not",
        ),
        (
            format!("file:{file}#contains=green&not"),
            "pass it does not contain the text",
        ),
        (format!("file:{file}#max_age=1h&not"), "fail last modified "),
    ];
    let mut wrong = Vec::new();
    for (target, want) in table {
        let is = outcome(&target);
        if !is.starts_with(want) {
            wrong.push(format!("{target}: {is}, not {want}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_server_that_is_to_be_away_is_no_question() {
    let container = Container::new();
    let mut problems = Problems::default();
    for target in [
        "redis://127.0.0.1:1#not",
        "nats://127.0.0.1:1#not",
        "redis://h#not&timeout=1s",
        // The empty one would hide the key of the other.
        "redis://a,b#key=lock&not",
    ] {
        let what = "not needs";
        problems.one_line(&container.ask(target), USAGE, "TARGET", what);
        let said = run(container.probe([""; 0]).env("READY_CHECKS", target));
        problems.one_line(&said, CONFIG, "READY_CHECKS", what);
    }
}

#[test]
fn a_command_that_finds_its_own_pattern_is_refused() {
    let container = Container::new();
    let mut problems = Problems::default();
    let typed = [
        "exec:pgrep -f no-such-agent",
        "exec:/usr/bin/pgrep -af no-such-agent",
        "exec:pgrep --full no-such-agent",
        "exec:pkill -0 -f no-such-agent",
        "exec:timeout 3 pgrep -f no-such-agent",
        "exec:sh -c 'pgrep -f no-such-agent'",
        "exec:/bin/bash -ec 'pgrep -f no-such-agent >/dev/null'",
        "${NO_SUCH_VARIABLE:-exec:pgrep -f no-such-agent}",
    ];
    let anywhere = [
        "exec:sh -c 'pgrep -f no-such-agent || exit 1'",
        "exec:sh -c 'ps aux | grep no-such-agent'",
    ];
    for target in typed.into_iter().chain(anywhere) {
        problems.one_line(&container.ask(target), USAGE, "TARGET", "process:");
        let said = container.run(["wait", "--for", "1s", target]);
        problems.one_line(&said, USAGE, "TARGET", "process:");
    }
    for target in anywhere {
        let toml = container.file("probe.toml", format!("[[check]]\ntarget = {target:?}\n"));
        let said = run(container.probe([""; 0]).env("READY_CONFIG", toml));
        problems.one_line(&said, CONFIG, "check 1", "process:");
    }
    for target in [
        "exec:pgrep -f '[n]o-such-agent'",
        "exec:pgrep no-such-agent",
        "exec:sh -c 'ps aux | grep [n]o-such-agent'",
        "exec:sh -c 'ps aux | grep no-such-agent | grep -v grep'",
        "exec:grep -f file",
    ] {
        let said = container.run(["config", target]);
        assert_eq!(said.code(), 0, "{said:?}");
    }
    // It does not stand on the probe's own command line there.
    let checks = format!("'exec:pgrep -f no-such-agent-of-{}'", std::process::id());
    let said = run(container.probe(["config"]).env("READY_CHECKS", &checks));
    assert_eq!(said.code(), 0, "{said:?}");
    let said = run(container
        .probe([""; 0])
        .env("READY_CHECKS", checks)
        .env("READY_AGENT", "a"));
    assert_starts(&said, 1, "");
    assert!(said.stdout.contains("fail     exec:pgrep"), "{said:?}");
    assert_said(&container.ask("process:no-such-agent#not"), 0, HEALTHY);
}
