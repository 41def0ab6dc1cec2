//! What is in the folder of signals was written by anybody: a record counts only if all of it holds.

use std::fs;
use std::process::Command;
use std::time::Duration;

use ready_probe_test_support::process::{Guard, Signal, run, wait_until};
use serde_json::{Value, json};

use crate::container::{Container, assert_mentions, assert_said, assert_starts, row};
use crate::records::{mono_ms, path, publish, ready, start_of};

const PASSES: &str = "healthy: 1 check passes";

fn sleeper() -> Guard {
    Guard::spawn(Command::new("sleep").arg("1000"))
}

#[test]
fn a_record_written_by_hand_is_ready() {
    let container = Container::new();
    let process = sleeper();
    publish(&container, "hand", process.pid(), |_| {});
    assert_said(&container.ask("agent:hand"), 0, PASSES);
    // Without all that is not needed.
    publish(&container, "hand", process.pid(), |record| {
        for key in [
            "reason", "details", "beat_ms", "seq", "host", "since", "sdk",
        ] {
            record.as_object_mut().unwrap().remove(key);
        }
    });
    assert_said(&container.ask("agent:hand"), 0, PASSES);
}

#[test]
fn every_defect_of_a_record_is_never_ready() {
    type Change = fn(&mut Value);
    let table: &[(Change, &str)] = &[
        (
            |r| r["state"] = json!("starting"),
            "starting: agent a: starting",
        ),
        (
            |r| r["state"] = json!("not_ready"),
            "unhealthy: agent a: not_ready",
        ),
        (
            |r| r["state"] = json!("stopping"),
            "unhealthy: agent a: stopping",
        ),
        (
            |r| r["state"] = json!("READY"),
            "unhealthy: agent a: malformed record: unknown variant",
        ),
        (
            |r| r["state"] = json!(null),
            "unhealthy: agent a: malformed record: ",
        ),
        (
            |r| r["v"] = json!(2),
            "unhealthy: agent a: record of version 2; this reader knows",
        ),
        (
            |r| r["v"] = json!("1"),
            "unhealthy: agent a: malformed record: ",
        ),
        (
            |r| r["agent"] = json!("b"),
            "unhealthy: agent a: malformed record: it names agent b",
        ),
        (
            |r| r["agent"] = json!("../b"),
            "unhealthy: agent a: malformed record: ",
        ),
        (
            |r| r["instance"] = json!(""),
            "unhealthy: agent a: malformed record: invalid instance",
        ),
        (
            |r| r["ttl_ms"] = json!(999),
            "unhealthy: agent a: malformed record: a TTL of 999ms",
        ),
        (
            |r| r["ttl_ms"] = json!(3_600_001),
            "unhealthy: agent a: malformed record: a TTL of",
        ),
        (
            |r| r["pid"] = json!(1),
            "unhealthy: agent a: malformed record: it names process 1",
        ),
        (
            |r| r["pid_start"] = json!(1),
            "unhealthy: agent a: malformed record: it names a process",
        ),
        (
            |r| r["boot_id"] = json!("another"),
            "starting: agent a: no signal in this life of the",
        ),
        (
            |r| r["pid_ns"] = json!(1),
            "starting: agent a: no signal in this life of the container",
        ),
        (
            |r| r["init_start"] = json!(1),
            "starting: agent a: no signal in this life of the",
        ),
        (
            |r| r["mono_ms"] = json!(u64::MAX),
            "unhealthy: agent a: malformed record: its beat lies",
        ),
        (
            |r| r["reason"] = json!("x".repeat(257)),
            "unhealthy: agent a: malformed record: reason",
        ),
        (
            |r| r["details"] = json!([1]),
            "unhealthy: agent a: malformed record: ",
        ),
        (
            |r| r["details"] = json!({"x": "y".repeat(4_096)}),
            "unhealthy: agent a: record larger",
        ),
        (
            |r| *r = json!([r.clone()]),
            "unhealthy: agent a: malformed record: ",
        ),
    ];
    let process = sleeper();
    for (change, said) in table {
        let container = Container::new();
        publish(&container, "a", process.pid(), change);
        assert_starts(&container.ask("agent:a"), 1, said);
    }
    let needed = [
        "v",
        "agent",
        "instance",
        "state",
        "ttl_ms",
        "pid",
        "pid_start",
        "boot_id",
    ];
    for key in needed.iter().chain(&["pid_ns", "mono_ms"]) {
        let container = Container::new();
        publish(&container, "a", process.pid(), |record| {
            record.as_object_mut().unwrap().remove(*key);
        });
        assert_mentions(
            &container.ask("agent:a"),
            1,
            &["unhealthy: agent a: malformed record: "],
        );
    }
}

#[test]
fn an_agent_that_could_not_see_process_1_is_known_by_its_own_start() {
    let container = Container::new();
    let mut process = sleeper();
    publish(&container, "blind", process.pid(), |record| {
        record.as_object_mut().unwrap().remove("init_start");
    });
    assert_said(&container.ask("agent:blind"), 0, PASSES);
    process.signal(Signal::KILL);
    process.wait_within(Duration::from_secs(5));
    assert_starts(&container.ask("agent:blind"), 1, "unhealthy: agent blind: ");
}

#[test]
fn an_old_beat_has_expired() {
    let container = Container::new();
    let process = sleeper();
    publish(&container, "old", process.pid(), |record| {
        record["mono_ms"] = (mono_ms() - 61_500).into();
    });
    let said = "unhealthy: agent old: expired: last beat 1m1s ago (TTL 1m)";
    assert_said(&container.ask("agent:old"), 1, said);
}

#[test]
fn a_record_without_a_ttl_lives_as_long_as_its_process() {
    let container = Container::new();
    let mut process = sleeper();
    publish(&container, "bound", process.pid(), |record| {
        record["ttl_ms"] = Value::Null;
        record["mono_ms"] = 1.into();
    });
    assert_said(&container.ask("agent:bound"), 0, PASSES);
    process.signal(Signal::KILL);
    process.wait_within(Duration::from_secs(5));
    assert_mentions(
        &container.ask("agent:bound"),
        1,
        &["unhealthy: agent bound: process ", " is gone"],
    );
}

#[test]
fn bytes_that_are_no_record_are_never_ready() {
    let process = sleeper();
    for bytes in [&b"{"[..], b"null", b"\xff\xfe", b"ready", &[b' '; 5_000]] {
        let container = Container::new();
        fs::write(path(&container, "a", process.pid()), bytes).unwrap();
        let run = container.ask("agent:a");
        assert_starts(&run, 1, "unhealthy: agent a: ");
        assert!(run.first_line().contains("record"), "{run:?}");
    }
    // What a process that may not remove its record any more leaves: none.
    let container = Container::new();
    fs::write(path(&container, "a", process.pid()), "").unwrap();
    assert_said(
        &container.ask("agent:a"),
        1,
        "starting: agent a: no signal published",
    );
}

#[test]
fn the_newest_record_of_a_process_counts() {
    let container = Container::new();
    let process = sleeper();
    publish(&container, "a", process.pid(), |record| {
        record["seq"] = 7.into();
    });
    let other = path(&container, "a", process.pid()).with_extension("0.json");
    let mut newer = ready("a", process.pid());
    newer["seq"] = 8.into();
    newer["state"] = json!("not_ready");
    newer["mono_ms"] = mono_ms().into();
    fs::write(&other, newer.to_string()).unwrap();
    assert_said(
        &container.ask("agent:a"),
        1,
        "unhealthy: agent a: not_ready",
    );
}

#[test]
fn a_process_that_has_another_ones_id_is_not_it() {
    let container = Container::new();
    let process = sleeper();
    let (pid, earlier) = (process.pid(), start_of(process.pid()) - 1);
    let mut record = ready("a", pid);
    record["pid_start"] = earlier.into();
    fs::create_dir_all(container.ready_dir().join("a")).unwrap();
    let place = container
        .ready_dir()
        .join(format!("a/{pid}-{earlier}.json"));
    fs::write(place, record.to_string()).unwrap();
    let said = format!("unhealthy: agent a: process {pid} is gone, another one has its id");
    assert_said(&container.ask("agent:a"), 1, &said);
}

#[test]
fn an_instance_that_is_dead_or_hangs_degrades_an_agent_that_has_enough_others() {
    let container = Container::new();
    let (one, two) = (sleeper(), sleeper());
    publish(&container, "w", one.pid(), |_| {});
    for (state, reason, said) in [
        (
            "not_ready",
            "stalled: no progress for 12s (limit 10s)",
            "1 of 2 instances ready; not_ready: stalled: no progress for 12s (limit 10s)",
        ),
        ("ready", "", "1 of 2 instances ready; expired: last beat "),
    ] {
        publish(&container, "w", two.pid(), |record| {
            record["state"] = json!(state);
            record["reason"] = json!(reason);
            if state == "ready" {
                record["mono_ms"] = json!(mono_ms() - 61_000);
            }
        });
        let degraded = format!("degraded: agent w: {said}");
        assert_starts(&container.ask("agent:w"), 0, &degraded);
        let mut probe = container.probe(["agent:w", "--format", "json"]);
        let found: Value = serde_json::from_str(&run(&mut probe).stdout).unwrap();
        assert_eq!(found["checks"][0]["outcome"], "pass", "{found}");
    }
    publish(&container, "w", two.pid(), |_| {});
    let gone = two.pid();
    assert_said(&container.ask("agent:w"), 0, PASSES);
    drop(two);
    let run = container.ask("agent:w");
    let said =
        format!("degraded: agent w: 1 of 2 instances ready; process {gone} is gone, last beat ");
    assert_starts(&run, 0, &said);
    // The same, where nobody has named the agent.
    assert_starts(&container.run([""; 0]), 0, &said);
}

#[test]
fn an_agent_that_is_degraded_twice_names_its_store_first() {
    let container = Container::new();
    let (one, two) = (sleeper(), sleeper());
    publish(&container, "w", one.pid(), |record| {
        record["announced"] = json!({
            "store": "redis://redis:6379", "ok": false, "reason": "connection refused",
        });
    });
    publish(&container, "w", two.pid(), |_| {});
    drop(two);
    assert_starts(
        &container.ask("agent:w"),
        0,
        "degraded: agent w: not announced to redis://redis:6379: connection refused; 1 of 2 \
         instances ready; process ",
    );
}

#[test]
fn a_reason_that_tells_a_time_is_given_no_second_one() {
    let container = Container::new();
    let process = sleeper();
    publish(&container, "w", process.pid(), |record| {
        record["state"] = json!("not_ready");
        record["reason"] = json!("reloading");
    });
    wait_until(Duration::from_secs(20), "the failure to last", || {
        let run = container.ask("agent:w");
        run.first_line().contains("reloading, for ").then_some(())
    });
    publish(&container, "w", process.pid(), |_| {});
    drop(process);
    let run = container.ask("agent:w");
    assert_mentions(&run, 1, &["is gone, last beat "]);
    assert!(run.first_line().ends_with(" ago"), "{run:?}");
}

#[test]
fn as_many_instances_as_are_asked_for_must_be_ready() {
    let container = Container::new();
    let (one, two, three) = (sleeper(), sleeper(), sleeper());
    publish(&container, "w", one.pid(), |_| {});
    publish(&container, "w", two.pid(), |record| {
        record["state"] = json!("not_ready");
        record["reason"] = json!("draining");
    });
    let run = container.ask("agent:w");
    assert_said(&run, 0, PASSES);
    assert_eq!(
        row(&run, "agent:w"),
        ("pass", "1 of 2 instances ready; not_ready: draining")
    );
    let run = container.ask("agent:w#min=2");
    let said = "unhealthy: agent w#min=2: 1 of 2 instances ready, 2 needed; not_ready: draining";
    assert_said(&run, 1, said);
    publish(&container, "w", three.pid(), |_| {});
    assert_said(&container.ask("agent:w#min=2"), 0, PASSES);
    let said = "unhealthy: agent w#min=4: 2 of 3 instances ready, 4 needed; not_ready: draining";
    assert_said(&container.ask("agent:w#min=4"), 1, said);
}

#[test]
fn what_an_earlier_life_left_is_no_agent_of_this_one() {
    let container = Container::new();
    let process = sleeper();
    publish(&container, "past", process.pid(), |record| {
        record["init_start"] = 1.into();
    });
    assert_said(
        &container.run([""; 0]),
        1,
        "starting: no agent has published a signal",
    );
    publish(&container, "now", process.pid(), |_| {});
    let said = "healthy: 1 check passes; 1 agent discovered; READY_AGENT not set";
    assert_said(&container.run([""; 0]), 0, said);
}
