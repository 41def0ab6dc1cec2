//! The options of every target, and what they make of its outcome.

use std::time::Duration;

use ready_probe_test_support::hostile::{Behaviour, Hostile, refused_port};
use ready_probe_test_support::process::{Run, run};
use ready_probe_test_support::servers::Redis;

use crate::container::{Container, assert_mentions, assert_said, assert_starts, row};
use crate::starved::in_time;

fn configured(toml: &str) -> (Container, Run) {
    let container = Container::new();
    let file = container.file("probe.toml", format!("agent = []\n{toml}"));
    let run = run(container.probe([""; 0]).env("READY_CONFIG", file));
    (container, run)
}

#[test]
fn an_optional_check_is_reported_and_never_decides() {
    let container = Container::new();
    let run = container.run(["exec:true", "exec:false#optional"]);
    assert_said(&run, 0, "degraded: exec:false: exit status 1");
    assert_eq!(
        row(&run, "exec:false"),
        ("fail", "(optional) exit status 1")
    );
    let dead = refused_port();
    let run = container.run([format!("redis://127.0.0.1:{}#optional", dead.port())]);
    assert_starts(&run, 0, "degraded: dependency redis://");
    let run = container.run(["exec:false", "exec:true#optional"]);
    assert_said(&run, 1, "unhealthy: exec:false: exit status 1");
}

#[test]
fn not_inverts_pass_and_fail_and_never_unknown() {
    let container = Container::new();
    let (live, dead) = (Hostile::tcp(Behaviour::Silent), refused_port());
    let live = format!("tcp://127.0.0.1:{}#not", live.port());
    assert_said(
        &container.ask(&live),
        1,
        &format!("unhealthy: {live}: it passes, and must not"),
    );
    let gone = format!("tcp://127.0.0.1:{}#not", dead.port());
    let run = container.ask(&gone);
    assert_said(&run, 0, "healthy: 1 check passes");
    assert_eq!(row(&run, &gone), ("pass", "connection refused"));
    let unknown = format!("redis://127.0.0.1:{}#key=k&not", dead.port());
    assert_mentions(
        &container.ask(&unknown),
        1,
        &["connection refused; it has never passed"],
    );
    assert_mentions(
        &container.ask("exec:sleep 9#not&timeout=100ms&name=slow"),
        1,
        &[
            "unhealthy: slow: no answer within 100ms",
            "; it has never passed",
        ],
    );
}

#[test]
fn a_name_takes_the_place_of_the_target_in_reports() {
    let container = Container::new();
    let run = container.ask("exec:false#name=the%20model%20%26%20its%20data");
    assert_said(&run, 1, "unhealthy: the model & its data: exit status 1");
    let json = container.json(["exec:false#name=model"]);
    assert_eq!(json["checks"][0]["name"], "model");
    assert_eq!(json["checks"][0]["target"], "exec:false");
}

#[test]
fn a_scope_decides_what_silence_means() {
    let container = Container::new();
    let dead = refused_port();
    let target = format!("tcp://127.0.0.1:{}", dead.port());
    assert_said(
        &container.ask(format!("{target}#scope=own")),
        1,
        &format!("unhealthy: {target}: connection refused"),
    );
    let other = Container::new();
    assert_said(
        &other.ask(format!("{target}#scope=dependency")),
        1,
        &format!("unhealthy: dependency {target}: connection refused; it has never passed"),
    );
}

#[test]
fn the_time_of_one_check_is_within_that_of_all() {
    let container = Container::new();
    let mut probe = container.probe(["exec:sleep 9#timeout=20s"]);
    probe.env("READY_TIMEOUT", "200ms");
    let run = in_time(Duration::from_secs(5), || run(&mut probe));
    assert_mentions(&run, 1, &["no answer within 200ms"]);
}

#[test]
fn options_in_the_file_are_those_of_the_fragment() {
    let redis = Redis::with(&["--requirepass", "hUnTeR2"]);
    redis.command(&["SET", "k", "a & b"]);
    let url = format!("redis://:hUnTeR2@127.0.0.1:{}", redis.port());
    let (_container, run) = configured(&format!(
        "[[check]]\ntarget = \"{url}\"\nkey = \"k\"\nvalue = \"a & b\"\nname = \"state\"\n\
         [[check]]\ntarget = \"exec:false\"\noptional = true\nnot = false\n\
         [[check]]\ntarget = \"exec:false\"\nnot = true\ntimeout = \"1s\"\n"
    ));
    assert_eq!(row(&run, "state").0, "pass");
    assert_said(&run, 0, "degraded: exec:false: exit status 1");
    assert!(
        !run.stdout.contains("hUnTeR2") && !run.stdout.contains("a & b"),
        "{run:?}"
    );
}

#[test]
fn headers_of_the_file_are_a_list() {
    use ready_probe_test_support::http::{HttpServer, Response};
    let server = HttpServer::start(|_| Response::new(200));
    let (_container, run) = configured(&format!(
        "[[check]]\ntarget = \"{}\"\nheader = [\"A: 1\", \"B: 2\"]\nstatus = 200\n",
        server.url("/")
    ));
    assert_said(&run, 0, "healthy: 1 check passes");
    let request = &server.requests()[0];
    assert_eq!(
        (request.header("a"), request.header("b")),
        (Some("1"), Some("2"))
    );
}

#[test]
fn any_passes_when_one_of_several_does() {
    let redis = Redis::start();
    let dead = refused_port();
    let gone = format!("redis://127.0.0.1:{}", dead.port());
    let any = |targets: &[&str], more: &str| {
        let list: Vec<String> = targets.iter().map(|t| format!("'{t}'")).collect();
        configured(&format!(
            "[[check]]\nany = [{}]\nname = 'any'\n{more}",
            list.join(", ")
        ))
        .1
    };
    let run = any(&[&gone, &redis.url()], "");
    assert_said(&run, 0, "healthy: 1 check passes");
    assert_eq!(
        row(&run, "any"),
        ("pass", format!("by {}", redis.url()).as_str())
    );

    let fails = any(&["exec:false", "file:/no/such"], "");
    assert_said(
        &fails,
        1,
        "starting: any: exec:false: exit status 1; file:/no/such: no such file",
    );
    let unknown = any(&["exec:false", &gone], "");
    assert_mentions(
        &unknown,
        1,
        &[
            "exec:false: exit status 1; ",
            "refused; it has never passed",
        ],
    );
    assert_eq!(row(&unknown, "any").0, "unknown");
    assert_said(
        &any(&["exec:false"], "optional = true\n"),
        0,
        "degraded: any: exec:false: exit status 1",
    );
}

#[test]
fn options_within_any_are_their_own() {
    let (_container, run) = configured(
        "[[check]]\nany = ['exec:sleep 9#timeout=100ms&name=slow', 'exec:false#not']\nname = 'any'\n",
    );
    assert_said(&run, 0, "healthy: 1 check passes");
    assert_eq!(
        row(&run, "any"),
        ("pass", "by exec:false#not: exit status 1")
    );
    let (_container, run) = configured(
        "[[check]]\nany = ['exec:sleep 9#name=slow']\ntimeout = '150ms'\nname = 'any'\n",
    );
    assert_mentions(&run, 1, &["starting: any: ", "150ms"]);
}

#[test]
fn the_first_of_the_heaviest_explains_the_verdict() {
    let container = Container::new();
    let dead = refused_port();
    let unknown = format!("redis://127.0.0.1:{}", dead.port());
    let run = container.run([
        "exec:true",
        "exec:false#optional&name=o",
        &unknown,
        "exec:false#name=f",
        "file:/x",
    ]);
    assert_said(&run, 1, "unhealthy: f: exit status 1");
    let run = container.run(["exec:true", "exec:false#optional&name=o", &unknown]);
    assert_starts(&run, 1, &format!("unhealthy: dependency {unknown}: "));
}

#[test]
fn a_file_that_is_not_there_is_named_also_where_nobody_answers() {
    let dead = refused_port().port();
    let container = Container::new();
    for (scheme, option) in [
        ("rediss", "ca"),
        ("tls", "ca"),
        ("https", "ca"),
        ("nats", "ca"),
        ("nats", "creds"),
        ("nats", "nkey"),
        ("nats", "token_file"),
    ] {
        let target = format!("{scheme}://127.0.0.1:{dead}#{option}=/no/such.file");
        let run = container.ask(&target);
        assert_mentions(&run, 1, &["/no/such.file: No such file"]);
    }
}

#[test]
fn a_scheme_is_the_same_in_capitals() {
    let redis = Redis::start();
    let port = redis.port();
    let container = Container::new();
    for target in [
        format!("REDIS://127.0.0.1:{port}"),
        format!("Tcp://127.0.0.1:{port}"),
        "FILE:/etc/passwd".to_owned(),
        "Exec:true".to_owned(),
        "PROCESS:no-such-process#not".to_owned(),
    ] {
        let run = container.ask(&target);
        assert_said(&run, 0, "healthy: 1 check passes");
        let (scheme, rest) = target.split_once(':').unwrap();
        row(&run, &format!("{}:{rest}", scheme.to_lowercase()));
    }
    for store in [
        format!("REDIS://127.0.0.1:{port}"),
        "Nats://127.0.0.1:1".to_owned(),
    ] {
        let run = container.run(["config", "--store", &store]);
        assert_eq!(run.code(), 0, "{run:?}");
    }
    let mut probe = container.probe([""; 0]);
    let run = run(probe
        .env("REDIS_URL", format!("REDIS://127.0.0.1:{port}"))
        .env("READY_CHECKS", "exec:true"));
    assert!(
        run.stdout
            .lines()
            .filter(|line| line.starts_with(" pass"))
            .count()
            == 2,
        "{run:?}"
    );
}

#[test]
fn names_under_localhost_are_this_machine() {
    let redis = Redis::start();
    let port = redis.port();
    let container = Container::new();
    for host in ["localhost.", "LOCALHOST", "app.localhost", "a.b.localhost."] {
        let run = container.ask(format!("tcp://{host}:{port}"));
        assert_said(&run, 0, "healthy: 1 check passes");
        let config = container.run(["config", &format!("http://{host}:{port}/")]);
        assert!(config.stdout.contains(" own "), "{config:?}");
    }
    let config = container.run(["config", "http://notlocalhost:1/"]);
    assert!(config.stdout.contains(" dependency "), "{config:?}");
}

#[test]
fn every_scheme_is_in_the_error_that_lists_them() {
    let container = Container::new();
    for (variable, value) in [("REDIS_URL", "mongo://h"), ("READY_STORE", "mongo://h")] {
        let run = run(container.probe([""; 0]).env(variable, value));
        let is_scheme = |c: char| c.is_ascii_alphanumeric() || c == '+';
        let words: Vec<&str> = run.stderr.split(|c| !is_scheme(c)).collect();
        for scheme in ["redis", "rediss", "redis+unix", "unix", "valkey", "valkeys"] {
            assert!(words.contains(&scheme), "{scheme}: {run:?}");
        }
    }
}

#[test]
fn help_says_that_a_pattern_is_no_regular_expression() {
    let run = Container::new().run(["--help"]);
    assert!(run.stdout.contains("not a regular expression"), "{run:?}");
}
