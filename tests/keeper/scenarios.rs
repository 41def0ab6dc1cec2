//! The scenarios of the field: crash, hang, dependency down, crash loop, manual stop, resource exhausted; for an HTTP server, a
//! TCP server, a process and a script.

use std::time::Duration;

use ready_probe_test_support::odd_process::without_main_thread;
use ready_probe_test_support::process::{Signal, free_port, run, wait_until};
use serde_json::json;

use crate::host::{Host, assert_says, http};

const SOON: Duration = Duration::from_secs(20);

fn wait_for_start(host: &Host, port: u16) {
    wait_until(SOON, "the server to start", || {
        (host.starts(port) > 0).then_some(())
    });
}

#[test]
fn what_crashed_is_started_and_what_works_is_left_alone() {
    let (host, port) = (Host::new(), free_port());
    let minio = json!({"health_check": http(port), "restart_cmd": host.server(port), "log_path": "/var/log/minio.log", "startup_delay_seconds": 1});
    host.services(&[("minio", minio)]);
    // It was never there: that is a crash, too.
    let first = host.once();
    assert_eq!((first.code(), host.starts(port)), (0, 1), "{first:?}");
    assert_says(
        &first,
        "WARNING Health check failed for minio: connection refused",
    );
    assert_says(&first, "INFO Executing restart command for minio");
    assert_says(&first, "INFO Successfully recovered minio");
    let second = host.once();
    assert_eq!((second.code(), host.starts(port)), (0, 1), "{second:?}");
    assert_says(&second, "INFO Health check passed for minio");
    host.signal(port, Signal::KILL);
    let third = host.once();
    assert_eq!((third.code(), host.starts(port)), (0, 2), "{third:?}");
}

#[test]
fn what_hangs_in_two_passes_is_killed_and_started() {
    let (host, port) = (Host::new(), free_port());
    // As the field report advises: the pattern of pkill stands in the restart command itself.
    let kill = format!(
        "pkill -9 -f 'server.py {port}' || true; {}",
        host.server(port)
    );
    host.services(&[(
        "svc",
        json!({"health_check": http(port), "restart_cmd": kill}),
    )]);
    assert_eq!(host.once().code(), 0);
    host.signal(port, Signal::STOP);
    let first = host.once();
    assert_eq!((first.code(), host.starts(port)), (1, 1), "{first:?}");
    assert_says(&first, "Health check failed for svc: no answer within 2s");
    // Somebody looks at once: it has not hung for long.
    let at_once = host.once();
    assert_eq!((at_once.code(), host.starts(port)), (1, 1), "{at_once:?}");
    host.age(60_000);
    let second = host.once();
    assert_eq!((second.code(), host.starts(port)), (0, 2), "{second:?}");
    assert_says(&second, "Successfully recovered svc");
}

#[test]
fn what_is_needed_is_recovered_first_and_what_needs_it_is_not_restarted() {
    let (host, db, app) = (Host::new(), free_port(), free_port());
    let tcp = json!({"type": "tcp", "host": "127.0.0.1", "port": db, "timeout_seconds": 1});
    // The database takes until it is known that the application waits.
    let state = host.path("state/state.json").display().to_string();
    let starts_db = format!(
        "until grep -q '\"waiting\"' {state}; do sleep 0.05; done; {}",
        host.server(db)
    );
    // The application works as soon as its database does.
    let asks_db = json!({"type": "custom", "command": format!("exec 3<>/dev/tcp/127.0.0.1/{db}"), "timeout_seconds": 2});
    host.services(&[
        ("app", json!({"health_check": asks_db, "restart_cmd": host.server(app), "dependencies": ["db"]})),
        ("db", json!({"health_check": tcp, "restart_cmd": starts_db})),
    ]);
    let run = host.once();
    assert_eq!(
        (run.code(), host.starts(db), host.starts(app)),
        (0, 1, 0),
        "{run:?}"
    );
    assert_says(&run, "app waits: what it needs does not work");
    assert_says(&run, "Successfully recovered db");
    assert_says(&run, "Health check passed for app");
}

#[test]
fn what_does_not_come_back_is_given_up() {
    let (host, port) = (Host::new(), free_port());
    let restart = format!("echo x >> {}", host.path("tries").display());
    host.services(&[(
        "svc",
        json!({"health_check": http(port), "restart_cmd": restart}),
    )]);
    for attempt in 1..=3 {
        let run = host.once();
        assert_eq!(
            (run.code(), host.read("tries").len()),
            (1, attempt * 2),
            "{run:?}"
        );
        assert_says(
            &run,
            &format!(
                "ERROR Failed to recover svc: connection refused (attempt {attempt} in a row)"
            ),
        );
        // At once it is not tried again.
        let too_soon = host.once();
        assert_eq!(
            (too_soon.code(), host.read("tries").len()),
            (1, attempt * 2),
            "{too_soon:?}"
        );
        host.age(60_000);
    }
    let last = host.once();
    assert_eq!((last.code(), host.read("tries").len()), (1, 6), "{last:?}");
    assert_eq!(last.stdout.matches("Executing").count(), 0, "{last:?}");
}

#[test]
fn what_a_person_stopped_stays_stopped() {
    let (host, port) = (Host::new(), free_port());
    host.services(&[(
        "svc",
        json!({"health_check": http(port), "restart_cmd": host.server(port)}),
    )]);
    host.write("stopped/svc.stopped", "");
    for _ in 0..2 {
        assert_eq!((host.once().code(), host.starts(port)), (0, 0));
    }
    std::fs::remove_file(host.path("stopped/svc.stopped")).unwrap();
    let run = host.once();
    assert_eq!((run.code(), host.starts(port)), (0, 1), "{run:?}");
}

#[test]
fn a_person_is_heard_until_the_last_moment() {
    let (host, port) = (Host::new(), free_port());
    host.services(&[(
        "svc",
        json!({"health_check": http(port), "restart_cmd": host.server(port)}),
    )]);
    let mut command = host.command();
    let keeper = std::thread::scope(|scope| {
        let keeper = scope.spawn(|| run(&mut command));
        // It suspects, and is not sure yet.
        wait_until(SOON, "the keeper to begin", || {
            host.read("state/state.json")
                .contains("suspect\"")
                .then_some(())
        });
        host.write("stopped/svc.stopped", "");
        keeper.join().unwrap()
    });
    assert_eq!((keeper.code(), host.starts(port)), (0, 0), "{keeper:?}");
    assert_says(&keeper, "svc manually stopped");
}

#[test]
fn a_restart_that_fails_for_want_of_room_says_why() {
    let host = Host::new();
    // A disk of one full page.
    let restart = format!(
        "echo room > /dev/full || exit 28; touch {}",
        host.path("up").display()
    );
    let check =
        json!({"type": "custom", "command": format!("test -e {}", host.path("up").display())});
    host.services(&[(
        "svc",
        json!({"health_check": check, "restart_cmd": restart, "log_path": "/var/log/svc.log"}),
    )]);
    let run = host.once();
    assert_eq!(run.code(), 1, "{run:?}");
    assert_says(
        &run,
        "svc: the command ended with exit status: 28; what it said is in",
    );
    assert_says(&run, "ERROR Failed to recover svc: exit status 1");
    assert_says(&run, "View logs: tail -50 /var/log/svc.log");
    assert!(
        host.read("state/svc.out").contains("No space left"),
        "{run:?}"
    );
    // Somebody made room.
    host.write("up", "");
    let run = host.once();
    assert_eq!(run.code(), 0, "{run:?}");
}

#[test]
fn a_process_is_found_by_a_regular_expression() {
    let (host, port) = (Host::new(), free_port());
    let pattern = format!("server[.]py {port} .*$");
    let check = json!({"type": "process", "process_name": pattern});
    host.services(&[(
        "svc",
        json!({"health_check": check, "restart_cmd": host.server(port)}),
    )]);
    let run = host.once();
    assert_eq!((run.code(), host.starts(port)), (0, 1), "{run:?}");
    assert_says(&run, "Health check failed for svc: no process matches");
    assert_eq!((host.once().code(), host.starts(port)), (0, 1));
    wait_for_start(&host, port);
}

/// It has no arguments of its own any more; its other threads still have them.
#[test]
fn a_process_that_works_without_its_main_thread_is_not_gone() {
    let host = Host::new();
    let word = format!("worker-of-{}", std::process::id());
    let check = json!({"type": "process", "process_name": format!("{word}$")});
    let restart = format!("touch {}", host.path("restarted").display());
    host.services(&[(
        "svc",
        json!({"health_check": check, "restart_cmd": restart}),
    )]);
    let worker = without_main_thread(&word);
    let run = host.once();
    assert_eq!(run.code(), 0, "{run:?}");
    assert!(!host.path("restarted").exists(), "{run:?}");
    drop(worker);
    let run = host.once();
    assert_says(&run, "Health check failed for svc: no process matches");
    assert!(host.path("restarted").exists(), "{run:?}");
}

#[test]
fn a_server_that_says_no_is_restarted_and_one_that_says_no_once_is_not() {
    let (host, port) = (Host::new(), free_port());
    let restart = format!("rm {}", host.path("status").display());
    host.services(&[(
        "svc",
        json!({"health_check": http(port), "restart_cmd": restart}),
    )]);
    let started = run(std::process::Command::new("sh")
        .arg("-c")
        .arg(host.server(port)));
    assert_eq!(started.code(), 0);
    wait_for_start(&host, port);
    host.write("status", "503");
    let run = host.once();
    assert_eq!(run.code(), 0, "{run:?}");
    assert_says(
        &run,
        "Health check failed for svc: status 503 Service Unavailable",
    );
    assert!(!host.path("status").exists());
    // A redirect is an answer, as it is to curl -f.
    host.write("status", "302");
    assert_says(&host.once(), "Health check passed for svc");
}

#[test]
fn a_check_that_can_not_be_asked_proves_nothing() {
    let (host, port) = (Host::new(), free_port());
    let missing = json!({"type": "custom", "command": "/nowhere/check-my-service"});
    host.services(&[(
        "svc",
        json!({"health_check": missing, "restart_cmd": host.server(port)}),
    )]);
    for _ in 0..2 {
        let run = host.once();
        assert_eq!(host.starts(port), 0, "{run:?}");
        assert_says(
            &run,
            "svc could not be asked, which proves nothing: exit status 127",
        );
    }
}
