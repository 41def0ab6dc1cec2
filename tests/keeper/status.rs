//! What `status` tells.

use ready_probe_test_support::process::free_port;
use serde_json::json;

use crate::host::{Host, assert_says, http};

#[test]
fn it_tells_what_was_asked_and_what_helped_with_a_keeper_and_without() {
    let (host, port) = (Host::new(), free_port());
    let unknown = host.order(&["status"]);
    assert_eq!(unknown.code(), 78, "{unknown:?}");
    assert!(
        unknown.stderr.contains("nothing is known yet"),
        "{unknown:?}"
    );
    let watched = json!({"health_check": {"type": "custom", "command": "exit 127"}});
    host.services(&[
        (
            "svc",
            json!({"health_check": http(port), "restart_cmd": host.server(port)}),
        ),
        ("unasked", watched),
    ]);
    host.once();
    let status = host.status("svc");
    assert_eq!(status["keeper"]["at_work"], false);
    let svc = &status["services"][0];
    assert_eq!(
        (&svc["name"], &svc["state"], &svc["attempts"]),
        (&json!("svc"), &json!("probation"), &json!(0))
    );
    assert_eq!(
        svc["restarts"],
        json!({"total": 1, "helped": 1, "did_not_help": 0, "rate": 1.0})
    );
    let checks = &svc["checks"];
    assert!(
        checks["passed"].as_u64() >= Some(1) && checks["failed"].as_u64() >= Some(3),
        "{svc}"
    );
    assert!(
        checks["rate"]
            .as_f64()
            .is_some_and(|rate| rate > 0.0 && rate < 1.0),
        "{svc}"
    );
    assert_eq!(
        svc["since"].as_str().map(str::len),
        Some("2026-11-28T03:00:00Z".len())
    );
    // Never asked with an answer, never restarted: no rate, and no division by nothing.
    let unasked = &host.status("unasked")["services"][0];
    assert_eq!(
        (&unasked["checks"]["rate"], &unasked["restarts"]["rate"]),
        (&json!(null), &json!(null))
    );
    let text = host.order(&["status"]);
    assert_eq!(text.code(), 0, "{text:?}");
    assert_says(&text, "no ready-keeper is at work; this was known at 2");
    assert_says(&text, "1, 100.0% helped");
    let keeper = host.loop_with("log", &[]);
    host.wait_for("log", "Health check passed for svc");
    assert_says(
        &host.order(&["status"]),
        &format!("ready-keeper is at work (process {})", keeper.pid()),
    );
    assert_eq!(
        host.status("svc")["keeper"],
        json!({"at_work": true, "dry_run": false, "loop": true, "pid": keeper.pid(), "unlisted": null, "written": host.status("svc")["keeper"]["written"]})
    );
    assert_eq!(host.order(&["status", "nosuch"]).code(), 64);
}

#[test]
fn one_that_is_held_or_given_up_makes_it_1() {
    let (host, port) = (Host::new(), free_port());
    host.services(&[("watched", json!({"health_check": http(port)}))]);
    host.once();
    let status = host.order(&["status"]);
    assert_eq!(status.code(), 1, "{status:?}");
    assert_says(&status, "held");
    assert_says(&status, "connection refused");
}

#[test]
fn another_file_of_services_leaves_what_is_known_of_the_first() {
    let (host, port) = (Host::new(), free_port());
    let restart = format!("echo x >> {}", host.path("tries").display());
    let first = [(
        "svc",
        json!({"health_check": http(port), "restart_cmd": restart}),
    )];
    host.services(&first);
    for _ in 1..=3 {
        host.services(&first);
        assert_eq!(host.once().code(), 1);
        host.services(&[(
            "other",
            json!({"health_check": {"type": "custom", "command": "true"}}),
        )]);
        assert_eq!(host.once().code(), 0);
        host.age(400_000);
    }
    assert_eq!(host.read("tries").len(), 6);
    host.services(&first);
    let run = host.once();
    assert_eq!((run.code(), host.read("tries").len()), (1, 6), "{run:?}");
}

#[test]
fn what_is_no_longer_in_the_file_is_not_told() {
    let host = Host::new();
    let check = |command: &str| json!({"health_check": {"type": "custom", "command": command}});
    host.services(&[("fails", check("false")), ("works", check("true"))]);
    assert_eq!(host.once().code(), 1);
    assert_eq!(host.order(&["status"]).code(), 1);
    host.services(&[("works", check("true"))]);
    assert_eq!(host.once().code(), 0);
    let status = host.order(&["status"]);
    assert_eq!(status.code(), 0, "{status:?}");
    assert!(!status.stdout.contains("fails"), "{status:?}");
    let pause = host.order(&["pause", "fails"]);
    assert_eq!(pause.code(), 64, "{pause:?}");
    assert!(pause.stderr.contains("there are: works"), "{pause:?}");
}
