//! Files, folders and sockets on a file system that has stopped answering, and that nobody can be ended
//! while waiting for: the probe ends in time, says where it waits, and leaves one process, not one each
//! time.

use std::fs;
use std::process::Command;
use std::time::Duration;

use ready_probe_test_support::hostile::{Behaviour, Hostile};
use ready_probe_test_support::process::{Guard, run, wait_until};
use ready_probe_test_support::servers::Redis;
use ready_probe_test_support::tls::Ca;

use crate::container::{Container, assert_mentions, assert_said, parsed, row};
use crate::hung_mount::{TIMEOUT, World, assert_in_time, unless_starved};
use crate::records::publish;
use crate::starved::{self, in_time};

/// Arguments, and a variable.
type Way = (Vec<String>, Option<(&'static str, String)>);

/// Every way to name something there.
fn ways(world: &World) -> Vec<Way> {
    let target = |text: String| (vec![text], None);
    vec![
        target(format!("file:{}", world.file("file", "x"))),
        target(format!("file:{}#contains=x", world.far("file"))),
        target(format!("pid:{}", world.far("pid"))),
        target(format!("unix://{}", world.far("socket"))),
        target(format!("disk:{}#optional=false", world.far("file"))),
        target(format!("supervisor:x#socket={}", world.far("s"))),
        target(format!("container:x#socket={}", world.far("s"))),
        target(format!(
            "http+unix://{}/",
            world.far("s").replace('/', "%2F")
        )),
        target(format!("redis+unix://{}", world.far("s"))),
        target(format!("https://127.0.0.1:1/#ca={}", world.far("ca"))),
        target(format!(
            "rediss://127.0.0.1:1#cert={0}&key_file={0}",
            world.far("key")
        )),
        // The probe is started beside it.
        target("https://127.0.0.1:1/#ca=far/ca".to_owned()),
        target("exec:far/program x".to_owned()),
        target(format!(
            "http://127.0.0.1:1/#body_file={}",
            world.far("body")
        )),
        target(format!("nats://127.0.0.1:1#creds={}", world.far("creds"))),
        target(format!("nats://127.0.0.1:1#nkey={}", world.far("nkey"))),
        target(format!(
            "nats://127.0.0.1:1#token_file={}",
            world.far("token")
        )),
        (
            vec!["https://127.0.0.1:1/".to_owned()],
            Some(("SSL_CERT_FILE", world.far("ca"))),
        ),
        target(format!("exec:{} x", world.far("program"))),
        (vec!["--config".to_owned(), world.far("toml")], None),
        (Vec::new(), Some(("READY_CONFIG", world.far("toml")))),
        (Vec::new(), Some(("REDIS_URL_FILE", world.far("url")))),
        (Vec::new(), Some(("READY_STORE_FILE", world.far("url")))),
    ]
}

/// The same with the signals themselves; what the probe remembers is elsewhere then.
fn ways_of_signals(world: &World) -> Vec<Way> {
    let ready_dir = || Some(("READY_DIR", world.far("ready")));
    vec![
        (vec!["agent:a".to_owned()], ready_dir()),
        (Vec::new(), ready_dir()),
    ]
}

#[test]
fn whatever_hangs_the_probe_ends_in_time_and_says_where() {
    for ways in [ways, ways_of_signals] {
        let world = World::new();
        let ways = ways(&world);
        world.fuse.hang();
        assert_all_end(&world, &ways);
    }
}

fn assert_all_end(world: &World, ways: &[Way]) {
    let says = format!("{} does not answer", world.point());
    let mut starved = 0;
    for (args, variable) in ways {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut probe = world.probe(&args);
        if let Some((name, value)) = variable {
            probe.env(name, value);
        }
        let run = unless_starved(&mut probe, &mut starved);
        assert_mentions(&run, 1, &["unhealthy: ", &says]);
        assert_in_time(&run);
        let left = world.left().len();
        assert!(
            (1..=1 + starved).contains(&left),
            "after {args:?} {variable:?}: {left}"
        );
    }
}

#[test]
fn one_process_waits_however_often_it_is_asked_and_all_else_is_answered() {
    let world = World::new();
    let redis = Redis::start();
    let target = format!("file:{}", world.file("state", "ready"));
    let process = Guard::spawn(Command::new("sleep").arg("1000"));
    publish(&world.container, "a", process.pid(), |_| {});
    let ask = || run(&mut world.probe(&["agent:a", &redis.url(), &target, "exec:true"]));
    assert_said(&ask(), 0, "healthy: 4 checks pass");
    assert!(world.left().is_empty());

    world.fuse.hang();
    let first = ask();
    assert_mentions(
        &first,
        1,
        &["unhealthy: ", &world.point(), "does not answer within 2s"],
    );
    assert_in_time(&first);
    let again = in_time(TIMEOUT / 2, ask);
    assert!(
        again.stdout.contains(" has waited for it for "),
        "it asked again: {again:?}"
    );
    for _ in 0..5 {
        let again = ask();
        assert_mentions(
            &again,
            1,
            &["does not answer: process ", " has waited for it for "],
        );
        for passing in ["agent:a", &redis.url(), "exec:true"] {
            assert_eq!(row(&again, passing).0, "pass", "{again:?}");
        }
    }
    assert_eq!(world.left().len(), 1);

    world.fuse.go_on();
    wait_until(
        Duration::from_secs(10),
        "the one that waited to end",
        || world.left().is_empty().then_some(()),
    );
    assert_said(&ask(), 0, "healthy: 4 checks pass");
}

/// Its certificates are there and can be read: the server is what does not answer.
#[test]
fn a_server_that_does_not_answer_is_not_the_mounts_fault() {
    let world = World::new();
    let server = Hostile::tcp(Behaviour::Silent);
    let ca = fs::read_to_string(Ca::new().path()).unwrap();
    let ca = world.file("ca", &ca);
    let target = format!("rediss://127.0.0.1:{}#ca={ca}", server.port());
    let mut probe = world.probe(&[&target]);
    probe.env("READY_TIMEOUT", "4s");
    let run = starved::unless_starved(|| run(&mut probe));
    let stage = format!(
        "no answer within 4s (TLS handshake with 127.0.0.1:{})",
        server.port()
    );
    assert_mentions(&run, 1, &["unhealthy: ", &stage]);
}

#[test]
fn what_is_tolerated_is_tolerated_while_it_hangs() {
    let world = World::new();
    let file = world.file("state", "ready");
    let target = format!("file:{file}#grace=1m");
    let own_time = format!("file:{file}#grace=1m&timeout=200ms");
    assert_said(
        &run(&mut world.probe(&[&target])),
        0,
        "healthy: 1 check passes",
    );
    world.fuse.hang();
    let run_of = |target: &str| run(&mut world.probe(&[target]));
    let early = run_of(&own_time);
    assert_mentions(
        &early,
        0,
        &["degraded: ", "no answer within 200ms", " of 1m grace"],
    );
    assert_mentions(
        &run_of(&target),
        0,
        &["degraded: ", "does not answer", " of 1m grace"],
    );
    assert_eq!(world.left().len(), 1);
}

#[test]
fn what_lies_far_and_answers_passes() {
    let world = World::new();
    let redis = Redis::start();
    let process = Guard::spawn(Command::new("sleep").arg("1000"));
    let pid = world.file("pid", &process.pid().to_string());
    let url = world.file("url", &redis.url());
    let toml = world.file("toml", &format!("[[check]]\ntarget = \"pid:{pid}\"\n"));
    // The signals are written behind it, since it can't be written through.
    publish(&world.container, "a", process.pid(), |_| {});
    publish(&world.container, "b", process.pid(), |_| {});
    fs::rename(
        world.container.ready_dir(),
        world.container.path("behind/ready"),
    )
    .unwrap();
    let mut probe = world.probe(&[]);
    probe
        .env("READY_DIR", world.far("ready"))
        .env("READY_CONFIG", toml)
        .env("REDIS_URL_FILE", url);
    let said = run(&mut probe);
    assert_said(
        &said,
        0,
        "healthy: 4 checks pass; 2 agents discovered; READY_AGENT not set",
    );
    let report = parsed(&run(probe.env("READY_FORMAT", "json")));
    let targets: Vec<&str> = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| check["target"].as_str().unwrap())
        .collect();
    assert!(
        ["agents", "agent:a", "agent:b"]
            .iter()
            .all(|t| targets.contains(t)),
        "{report}"
    );
    drop(process);
    let dead = run(probe.env_remove("READY_FORMAT"));
    assert_mentions(&dead, 1, &["unhealthy: ", " is gone"]);
    // What is not there is said as if it were near, in the same words and with the same status.
    let missing = run(&mut world.probe(&["--config", &world.far("nothing")]));
    assert_eq!(missing.code(), 64, "{missing:?}");
    assert!(missing.stderr.contains("No such file"), "{missing:?}");
    let no = run(&mut world.probe(&[&format!("file:{}", world.far("nothing"))]));
    assert_mentions(&no, 1, &["no such file"]);
    assert!(world.left().is_empty());
}

/// A child that asks a mount has its parent's arguments; it must not do what these say.
#[test]
fn a_command_that_asks_what_lies_far_is_run_once() {
    let world = World::new();
    let ready = format!("file:{}", world.file("ready", ""));
    let runs = world.container.path("runs");
    let program = format!("echo run >> {}; sleep 1", runs.display());
    for before in [
        &["wait", "--for=60s", &ready][..],
        &["run", "worker", "--when", &ready],
    ] {
        let said = run(&mut world.probe(&[before, &["--", "sh", "-c", &program]].concat()));
        assert_eq!(said.code(), 0, "{said:?}");
        assert_eq!(fs::read_to_string(&runs).unwrap(), "run\n", "{before:?}");
        fs::remove_file(&runs).unwrap();
    }
    world.fuse.hang();
    let said = run(&mut world.probe(&["wait", "--for=2s", &ready, "--", "sh", "-c", &program]));
    assert_eq!(said.code(), 1, "{said:?}");
    assert!(world.left().len() <= 1, "{:?}", world.left());
    assert!(!runs.exists());
}

#[test]
fn nobody_is_taken_for_a_child_who_is_none() {
    let container = Container::new();
    for value in ["1:asks /", "0:asks /", "x", ":", "relays", "1:relays"] {
        let mut probe = container.probe(["file:/nothing-is-here"]);
        let run = run(probe.env("READY_PROBE_CHILD", value));
        assert_mentions(&run, 1, &["unhealthy: file:/nothing-is-here: no such file"]);
    }
}
