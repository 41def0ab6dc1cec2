//! Restart commands that are under way: no second one begins beside them, whatever happens meanwhile.

use std::fs;
use std::time::Duration;

use ready_probe_test_support::fuse::Fuse;
use ready_probe_test_support::process::{Guard, Signal, free_port, wait_until};
use serde_json::json;

use crate::host::{Host, assert_says, http};

const SOON: Duration = Duration::from_secs(40);
const LOG: &str = "log";

/// A service that is not there, and a restart that says each time that it begins, and then does this first.
fn restarts_after(host: &Host, port: u16, first: &str) {
    let mut check = http(port);
    check["interval_seconds"] = json!(1);
    let tries = host.path("tries").display().to_string();
    let restart = format!("echo x >> {tries}; {first}; {}", host.server(port));
    host.services(&[(
        "svc",
        json!({"health_check": check, "restart_cmd": restart}),
    )]);
}

fn wait_for_restart(host: &Host) {
    wait_until(SOON, "the restart to begin", || {
        (!host.read("tries").is_empty()).then_some(())
    });
}

fn end(mut keeper: Guard) {
    keeper.signal(Signal::TERM);
    assert_eq!(keeper.wait_within(SOON).code(), Some(0));
}

/// Who waits for a file system that hangs can't be killed.
#[test]
fn what_kill_does_not_end_is_remembered_and_nothing_begins_beside_it() {
    let (host, port) = (Host::new(), free_port());
    for folder in ["behind", "far"] {
        fs::create_dir(host.path(folder)).unwrap();
    }
    host.write("behind/data", "");
    let fuse = Fuse::mount(&host.path("behind"), &host.path("far"));
    let data = host.path("far/data").display().to_string();
    restarts_after(&host, port, &format!("cat {data}"));
    fuse.hang();
    let keeper = host.loop_with("first", &[]);
    wait_for_restart(&host);
    assert_eq!(host.order(&["pause", "svc"]).code(), 0);
    host.wait_for(
        "first",
        "of its restart command does not end, even after KILL",
    );
    assert_eq!(host.order(&["resume", "svc"]).code(), 0);
    let not_run = "svc: its restart command is not run: process";
    host.wait_for("first", not_run);
    wait_until(SOON, "the service to be held", || {
        (host.status("svc")["services"][0]["state"] == "held").then_some(())
    });
    end(keeper);
    // Nor does the next one begin any.
    let keeper = host.loop_with(LOG, &[]);
    host.wait_for(LOG, not_run);
    assert_eq!(host.read("tries"), "x\n");
    fuse.go_on();
    host.wait_for(LOG, "Successfully recovered svc");
    end(keeper);
    assert_eq!(
        (host.read("tries").as_str(), host.starts(port)),
        ("x\nx\n", 1)
    );
}

#[test]
fn a_service_that_leaves_the_file_in_mid_restart_and_comes_back_is_not_restarted_twice() {
    let (host, port) = (Host::new(), free_port());
    restarts_after(&host, port, "sleep 8");
    let mut keeper = host.loop_with(LOG, &[]);
    wait_for_restart(&host);
    let services = host.read("services.json");
    let mut wait_for_reading = |times: usize| {
        keeper.signal(Signal::HUP);
        wait_until(SOON, "the services to be read", || {
            let read = host
                .read(LOG)
                .matches("the services are read again")
                .count();
            (read == times).then_some(())
        });
    };
    host.write("services.json", "{\"services\": {}}");
    wait_for_reading(1);
    host.write("services.json", &services);
    wait_for_reading(2);
    host.wait_for(LOG, "Successfully recovered svc");
    end(keeper);
    let log = host.read(LOG);
    assert_eq!(
        (host.read("tries").as_str(), host.starts(port)),
        ("x\n", 1),
        "{log}"
    );
    assert!(!log.contains("Failed to recover"), "{log}");
}

#[test]
fn a_script_that_restarts_a_service_is_not_taken_for_it() {
    let host = Host::new();
    let word = format!("worker-{}", std::process::id());
    let script = host
        .path(&format!("restart-{word}.sh"))
        .display()
        .to_string();
    host.write(&format!("restart-{word}.sh"), "sleep 5; exit 1");
    let check = json!({"type": "process", "process_name": word});
    host.services(&[(
        "svc",
        json!({"health_check": check, "restart_cmd": format!("bash {script}")}),
    )]);
    let run = host.once();
    assert_eq!(run.code(), 1, "{run:?}");
    assert!(!run.stdout.contains("Successfully recovered"), "{run:?}");
    assert_says(&run, "Failed to recover svc: no process matches");
}
