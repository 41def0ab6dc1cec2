//! "I could not find out" after a pass: tolerated for a while, and said aloud.

use std::thread;
use std::time::Duration;

use ready_probe_test_support::hostile::refused_port;
use ready_probe_test_support::process::{run, wait_until};
use ready_probe_test_support::servers::{Nats, NatsVersion, Redis};

use crate::container::{Container, assert_mentions, assert_said, assert_starts, row};

const HEALTHY: &str = "healthy: 1 check passes";

#[test]
fn a_dependency_that_passed_before_is_tolerated_and_heals() {
    let mut redis = Redis::start();
    let container = Container::new();
    let target = redis.url();
    assert_said(&container.ask(&target), 0, HEALTHY);

    redis.kill();
    let refused = "connection refused for 0ms of 3m grace";
    assert_said(
        &container.ask(&target),
        0,
        &format!("degraded: dependency {target}: {refused}"),
    );
    let run = wait_until(Duration::from_secs(5), "a second of grace", || {
        let run = container.ask(&target);
        run.first_line()
            .contains("for 1s of 3m grace")
            .then_some(run)
    });
    assert_eq!(run.code(), 0);
    assert_eq!(
        row(&run, &target),
        ("unknown", "connection refused for 1s of 3m grace")
    );

    redis.restart();
    assert_said(&container.ask(&target), 0, HEALTHY);
    redis.kill();
    assert_said(
        &container.ask(&target),
        0,
        &format!("degraded: dependency {target}: {refused}"),
    );
}

#[test]
fn after_its_grace_it_is_unhealthy_until_it_answers_again() {
    let mut nats = Nats::start(NatsVersion::V2_15);
    let container = Container::new();
    let url = nats.url();
    let target = format!("{url}#grace=400ms");
    assert_said(&container.ask(&target), 0, HEALTHY);
    nats.kill();
    assert_starts(
        &container.ask(&target),
        0,
        &format!("degraded: dependency {url}: connection refused for "),
    );
    let run = wait_until(Duration::from_secs(5), "the end of the grace", || {
        let run = container.ask(&target);
        (run.code() != 0).then_some(run)
    });
    assert_starts(
        &run,
        1,
        &format!("unhealthy: dependency {url}: connection refused for "),
    );
    assert!(
        run.first_line().ends_with("ms, beyond its grace of 400ms"),
        "{run:?}"
    );
    nats.restart();
    assert_said(&container.ask(&target), 0, HEALTHY);
}

#[test]
fn who_has_never_passed_has_no_grace() {
    let dead = refused_port();
    let container = Container::new();
    let target = format!("redis://127.0.0.1:{}", dead.port());
    for _ in 0..2 {
        let said =
            format!("unhealthy: dependency {target}: connection refused; it has never passed");
        assert_said(
            &container.run([format!("{target}#grace=forever")]),
            1,
            &said,
        );
    }
}

#[test]
fn an_unknown_after_a_no_is_not_tolerated() {
    let mut redis = Redis::start();
    redis.command(&["SET", "leader", "me"]);
    let container = Container::new();
    let target = format!("{}#key=leader", redis.url());
    assert_said(&container.ask(&target), 0, HEALTHY);
    redis.command(&["DEL", "leader"]);
    let fails = format!("unhealthy: dependency {target}: key leader does not exist");
    assert_said(&container.ask(&target), 1, &fails);
    redis.kill();
    let run = container.ask(&target);
    assert_said(
        &run,
        1,
        &format!("unhealthy: dependency {target}: connection refused; its last answer was no"),
    );
}

#[test]
fn a_failure_says_how_long_it_has_lasted() {
    let redis = Redis::start();
    let container = Container::new();
    let target = format!("{}#key=k", redis.url());
    wait_until(Duration::from_secs(5), "a second of failing", || {
        let run = container.ask(&target);
        run.first_line()
            .ends_with("key k does not exist, for 1s")
            .then_some(())
    });
}

#[test]
fn grace_is_counted_from_the_first_unknown_not_from_the_last_pass() {
    let mut redis = Redis::start();
    let container = Container::new();
    let target = format!("{}#grace=30s", redis.url());
    assert_said(&container.ask(&target), 0, HEALTHY);
    // As if the last probe had been when the host started.
    let memory = container.memory();
    let text = std::fs::read_to_string(&memory).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    for past in json["checks"].as_object_mut().unwrap().values_mut() {
        past["since_ms"] = 1.into();
    }
    std::fs::write(&memory, json.to_string()).unwrap();
    redis.kill();
    let said = format!(
        "degraded: dependency {}: connection refused for 0ms of 30s grace",
        redis.url()
    );
    assert_said(&container.ask(&target), 0, &said);
}

#[test]
fn own_checks_have_no_grace_unless_they_say_so() {
    let container = Container::new();
    let flag = container.file("flag", "");
    let script = format!("test -e {} || sleep 9", flag.display());
    let target = |options: &str| format!("exec:sh -c '{script}'#timeout=300ms{options}");
    for options in ["", "&grace=30s&name=patient"] {
        std::fs::write(&flag, "").unwrap();
        assert_said(&container.ask(target(options)), 0, HEALTHY);
    }
    std::fs::remove_file(&flag).unwrap();
    // Neither timing nor a name makes another check of it: both are remembered as one.
    let run = container.ask(target(""));
    assert_mentions(
        &run,
        1,
        &[
            "unhealthy: exec:sh …: no answer within 300ms",
            " still runs); it has no grace",
        ],
    );
    let run = container.ask(target("&grace=30s&name=patient"));
    assert_starts(&run, 0, "degraded: patient: no answer within 300ms (");
    assert_mentions(&run, 0, &["still runs); unanswered for ", " of 30s grace"]);
}

#[test]
fn the_grace_of_all_is_set_once_and_that_of_one_beats_it() {
    let mut redis = Redis::start();
    let container = Container::new();
    let url = redis.url();
    assert_said(&container.ask(&url), 0, HEALTHY);
    redis.kill();
    let ask = |args: &[&str], grace: &str| {
        let mut probe = container.probe(args);
        run(probe.env("READY_GRACE", grace))
    };
    assert_eq!(ask(&[&url], "").code(), 0);
    let refused = ask(&[&url], "0");
    assert_mentions(&refused, 1, &["connection refused", "; it has no grace"]);
    assert_mentions(&ask(&["--grace", "1h", &url], "0"), 0, &[" of 1h grace"]);
    let forever = format!("{url}#grace=forever");
    assert_mentions(&ask(&[&forever], "0"), 0, &[" of forever grace"]);
}

#[test]
fn checks_that_differ_in_a_secret_only_do_not_share_their_past() {
    let redis = Redis::start();
    redis.command(&["SET", "k", "a"]);
    let container = Container::new();
    let target = |value: &str| format!("{}#key=k&value={value}", redis.url());
    let run = container.run([target("a"), target("b")]);
    let outcomes: Vec<&str> = run
        .stdout
        .lines()
        .skip(1)
        .filter_map(|l| l.split_whitespace().next())
        .collect();
    assert_eq!(outcomes, ["pass", "fail"], "{run:?}");
    let text = std::fs::read_to_string(container.memory()).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["checks"].as_object().unwrap().len(), 2, "{text}");
}

#[test]
fn each_container_has_its_own_past() {
    let mut redis = Redis::start();
    let (one, other) = (Container::new(), Container::new());
    assert_said(&one.ask(redis.url()), 0, HEALTHY);
    redis.kill();
    assert_eq!(one.ask(redis.url()).code(), 0);
    assert_mentions(&other.ask(redis.url()), 1, &["it has never passed"]);
}

#[test]
fn probes_side_by_side_do_not_lose_what_they_remember() {
    let redis = Redis::start();
    let container = Container::new();
    let targets: Vec<String> = (0..8).map(|db| format!("{}/{db}", redis.url())).collect();
    let container = &container;
    thread::scope(|scope| {
        for target in &targets {
            scope.spawn(move || {
                // Who can't have the lock soon says so, and remembers the next time.
                wait_until(Duration::from_secs(20), "a memory", || {
                    let run = container.ask(target);
                    assert_eq!(run.code(), 0, "{run:?}");
                    assert!(!run.stdout.contains("no grace"), "it was torn: {run:?}");
                    (!run.stdout.contains("grace can't be counted")).then_some(())
                });
            });
        }
    });
    let text = std::fs::read_to_string(container.memory()).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut known: Vec<&String> = json["checks"].as_object().unwrap().keys().collect();
    known.sort();
    assert_eq!(known, targets.iter().collect::<Vec<_>>());
}
