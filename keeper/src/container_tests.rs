use serde_json::{Value, json};

use super::*;

fn contained(restart_exited: bool) -> Contained {
    Contained {
        engine: "/run/docker.sock".to_owned(),
        name: "web".to_owned(),
        restart_exited,
    }
}

/// An inspection with this state and restart policy.
fn inspection(state: &Value, policy: &str) -> Vec<u8> {
    json!({
        "Id": "4d8e0c1b2a3f",
        "Name": "/web",
        "State": state,
        "HostConfig": {"RestartPolicy": {"Name": policy, "MaximumRetryCount": 0}},
        "Config": {"StopTimeout": null},
    })
    .to_string()
    .into_bytes()
}

fn state(status: &str) -> Value {
    json!({
        "Status": status,
        "ExitCode": 137,
        "StartedAt": "2026-11-28T03:00:00.123456789Z",
        "FinishedAt": "2026-11-28T03:10:00.123456789Z",
    })
}

fn see(state: &Value, policy: &str, restart_exited: bool) -> Sight {
    let body = inspection(state, policy);
    sight(
        &contained(restart_exited),
        StatusCode::OK,
        &body,
        &Secrets::default(),
    )
}

const GONE: Seen = Seen::Bad(Cause::Gone);

#[test]
fn truth_table_of_states() {
    let table = [
        // state, policy, restart_exited, seen, barrier
        ("running", "no", false, Seen::Pass, Barrier::Open),
        ("paused", "no", true, Seen::NotNow, Barrier::Open),
        ("restarting", "always", true, Seen::NotNow, Barrier::Open),
        ("exited", "no", false, GONE, Barrier::Exited),
        ("exited", "on-failure", false, GONE, Barrier::Exited),
        // The engine starts it, unless somebody has stopped it.
        ("exited", "always", false, Seen::NotNow, Barrier::Open),
        (
            "exited",
            "unless-stopped",
            false,
            Seen::NotNow,
            Barrier::Open,
        ),
        ("exited", "always", true, GONE, Barrier::Open),
        ("exited", "no", true, GONE, Barrier::Open),
        ("stopped", "no", false, GONE, Barrier::Exited),
        ("created", "always", false, GONE, Barrier::Exited),
        ("created", "no", true, GONE, Barrier::Open),
        ("dead", "no", true, GONE, Barrier::Absent),
        ("removing", "no", true, GONE, Barrier::Absent),
        ("new", "no", true, Seen::CouldNotAsk, Barrier::Open),
    ];
    for (status, policy, restart_exited, seen, barrier) in table {
        let sight = see(&state(status), policy, restart_exited);
        let said = (sight.seen, sight.barrier);
        assert_eq!(said, (seen, barrier), "{status} {policy}: {}", sight.text);
    }
}

#[test]
fn no_error_of_an_engine_proves_anything() {
    for (status, body, seen) in [
        (404, r#"{"message":"No such container: web"}"#, GONE),
        (404, r#"{"message":"page not found"}"#, Seen::CouldNotAsk),
        (404, "", Seen::CouldNotAsk),
        (403, "Forbidden", Seen::CouldNotAsk),
        (
            500,
            r#"{"message":"No such container: web"}"#,
            Seen::CouldNotAsk,
        ),
        (
            500,
            r#"{"message":"context deadline exceeded"}"#,
            Seen::CouldNotAsk,
        ),
        (200, "", Seen::CouldNotAsk),
        (
            200,
            "{\"Name\":\"/web\",\"State\":{\"Status\":\"exited\"",
            Seen::CouldNotAsk,
        ),
        (200, r#"{"Name":"/web","State":7}"#, Seen::CouldNotAsk),
        // What its name is the beginning of.
        (
            200,
            r#"{"Id":"web0c1b","Name":"/other","State":{"Status":"running"}}"#,
            GONE,
        ),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        let sight = sight(
            &contained(true),
            status,
            body.as_bytes(),
            &Secrets::default(),
        );
        let barrier = if seen == GONE {
            Barrier::Absent
        } else {
            Barrier::Open
        };
        assert_eq!(
            (sight.seen, sight.barrier),
            (seen, barrier),
            "{status} {body}: {}",
            sight.text
        );
        assert!(sight.life.is_none());
    }
}

#[test]
fn what_the_last_run_of_its_health_check_proves() {
    let (no, hung) = (Seen::Bad(Cause::SaysNo), Seen::Bad(Cause::Hung));
    let json = |reason: &str| {
        format!(r#"{{"verdict":"unhealthy","reason":"{reason}","schema":1,"checks":[]}}"#)
    };
    let table = [
        ("curl: (7) Failed to connect", 1, no),
        ("", 1, no),
        ("unhealthy", 1, no),
        (
            "unhealthy: agent translator: process 17 is gone, last beat 4s ago\n fail agent:translator\n",
            1,
            no,
        ),
        (
            "unhealthy: agent translator: not_ready: stalled: no progress for 12s (limit 10s)\n",
            1,
            no,
        ),
        (
            "unhealthy: agent translator: expired: last beat 2m ago (TTL 1m)\n",
            1,
            no,
        ),
        (
            "unhealthy: http://localhost:80/: connection refused\n",
            1,
            no,
        ),
        // Our report: it works on something,
        ("starting: agent translator: starting\n", 1, Seen::NotNow),
        ("unhealthy: agent translator: starting\n", 1, Seen::NotNow),
        (
            "unhealthy: agent translator: not_ready: loads a model\n",
            1,
            Seen::NotNow,
        ),
        ("unhealthy: agent translator: not_ready\n", 1, Seen::NotNow),
        ("unhealthy: agent translator: stopping\n", 1, Seen::NotNow),
        (
            "unhealthy: agent translator: stopping: drains\n",
            1,
            Seen::NotNow,
        ),
        // or it is another one's fault.
        (
            "unhealthy: dependency redis://redis:6379: no such host\n fail x\n",
            1,
            Seen::CouldNotAsk,
        ),
        (
            &json("dependency redis://redis:6379: refused"),
            1,
            Seen::CouldNotAsk,
        ),
        (
            &json("agent translator: not_ready: reload"),
            1,
            Seen::NotNow,
        ),
        (&json("agent translator: process 17 is gone"), 1, no),
        // Docker's own words: the check did not end, or was not run.
        ("Health check exceeded timeout (5s)", -1, hung),
        ("Health check exceeded timeout (5s): half a line", -1, hung),
        (
            "OCI runtime exec failed: exec failed: unable to start",
            -1,
            Seen::CouldNotAsk,
        ),
        ("/bin/sh: curl: not found\n", 127, Seen::CouldNotAsk),
    ];
    for (output, exit_code, seen) in table {
        let mut unhealthy = state("running");
        unhealthy["Health"] = json!({
            "Status": "unhealthy",
            "FailingStreak": 3,
            "Log": [{"ExitCode": 1, "Output": "older"}, {"ExitCode": exit_code, "Output": output}],
        });
        assert_eq!(see(&unhealthy, "no", false).seen, seen, "{output}");
        // Until Docker has counted its retries, it says nothing of it.
        unhealthy["Health"]["Status"] = json!("healthy");
        assert_eq!(see(&unhealthy, "no", false).seen, Seen::Pass, "{output}");
    }
    let mut starting = state("running");
    starting["Health"] = json!({"Status": "starting", "Log": null});
    assert_eq!(see(&starting, "no", false).seen, Seen::NotNow);
}

#[test]
fn another_start_is_another_life_and_so_is_its_end() {
    let life = |state: &Value, restart_exited| see(state, "no", restart_exited).instance.unwrap();
    let runs = life(&state("running"), false);
    assert_eq!(runs.id, life(&state("running"), false).id);
    assert!(runs.is_alone && runs.began_ms <= clock::mono_ms());
    let mut again = state("running");
    again["StartedAt"] = json!("2026-11-28T03:20:00Z");
    assert_ne!(runs.id, life(&again, false).id);
    let ended = life(&state("exited"), false);
    assert_ne!(runs.id, ended.id);
    assert_eq!(runs.id, life(&state("exited"), true).id);
    // An engine whose clock is ahead of ours.
    again["StartedAt"] = json!("2999-11-28T03:20:00Z");
    assert!(life(&again, false).began_ms <= clock::mono_ms());
}

#[test]
fn only_the_life_that_was_decided_on_is_restarted() {
    let decided = see(&state("running"), "no", true).life.unwrap();
    let exited = see(&state("exited"), "no", true).life.unwrap();
    let try_now = |state: &Value, decided: Option<&Life>| {
        let body = inspection(state, "no");
        may_be_restarted("4d8e0c1b2a3f", decided, (StatusCode::OK, &body))
    };
    let id = "4d8e0c1b2a3f".to_owned();
    for life in [None, Some(&decided)] {
        assert_eq!(try_now(&state("running"), life), Ok((id.clone(), 10)));
    }
    for life in [None, Some(&exited)] {
        assert_eq!(try_now(&state("exited"), life), Ok((id.clone(), 10)));
    }
    let mut again = state("running");
    again["StartedAt"] = json!("2026-11-28T03:20:00Z");
    for (state, why) in [
        (state("paused"), "it is paused now"),
        (state("restarting"), "it is restarting now"),
        (state("removing"), "it is removing now"),
        (state("exited"), "somebody has stopped it meanwhile"),
        (again, "somebody else has started it meanwhile"),
    ] {
        let said = try_now(&state, Some(&decided)).unwrap_err();
        assert!(said.starts_with(why), "{said}");
    }
    let absent = r#"{"message":"No such container: 4d8e0c1b2a3f"}"#;
    let gone = (StatusCode::NOT_FOUND, absent.as_bytes());
    let said = may_be_restarted("4d8e0c1b2a3f", Some(&decided), gone);
    assert_eq!(said, Err("no such container".to_owned()));
    // As long as it says itself that it needs, up to ten minutes.
    for (stop_timeout, stop_s) in [(90, 90), (86_400, 600), (-1, 600), (0, 0)] {
        let mut body: Value = serde_json::from_slice(&inspection(&state("running"), "no")).unwrap();
        body["Config"]["StopTimeout"] = json!(stop_timeout);
        let body = body.to_string().into_bytes();
        let may = may_be_restarted("web", None, (StatusCode::OK, &body));
        assert_eq!(may, Ok((id.clone(), stop_s)));
    }
}
