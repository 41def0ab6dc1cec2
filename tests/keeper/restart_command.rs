//! How a restart command is run: apart from the keeper, and with nothing of its own.

use std::fs;
use std::time::Duration;

use ready_probe_test_support::process::{Guard, Signal, free_port, run, run_within, wait_until};
use serde_json::json;

use crate::host::{Host, assert_says, http};

const SOON: Duration = Duration::from_secs(20);

/// What a process is told by `/proc/PID/stat`: its session.
fn session(pid: i32) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    fields[3].parse().unwrap()
}

/// What this process has open, and passes on.
fn inherited() -> Vec<String> {
    let descriptors = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let passed_on = descriptors.filter(|descriptor| {
        let number = descriptor.file_name();
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", number.display()));
        let flags = info.unwrap_or_default().lines().find_map(|line| {
            let flags = line.strip_prefix("flags:")?;
            u64::from_str_radix(flags.trim(), 8).ok()
        });
        // O_CLOEXEC, see proc_pid_fdinfo(5).
        flags.is_some_and(|flags| flags & 0o2_000_000 == 0)
    });
    let target = |descriptor: fs::DirEntry| fs::read_link(descriptor.path()).ok();
    passed_on
        .filter_map(target)
        .map(|target| target.display().to_string())
        .collect()
}

#[test]
fn a_service_has_its_own_session_no_input_no_descriptor_and_no_secret_of_the_keeper() {
    let (host, port) = (Host::new(), free_port());
    host.services(&[(
        "svc",
        json!({"health_check": http(port), "restart_cmd": host.server(port)}),
    )]);
    let mut command = host.command();
    command
        .env("READY_KEEPER_NTFY_URL", "https://secret")
        .env("APPLICATION", "its own");
    let keeper = run(&mut command);
    assert_eq!(keeper.code(), 0, "{keeper:?}");
    // It answers, so it is what it is going to be.
    let pid = host.pid(port).unwrap().as_raw_nonzero().get();
    assert_ne!(
        session(pid),
        session(std::process::id().try_into().unwrap())
    );
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
    let environment = String::from_utf8_lossy(&environment);
    assert!(environment.contains("APPLICATION=its own"), "{environment}");
    assert!(!environment.contains("READY_KEEPER"), "{environment}");
    // What whoever started this test gave to all that it starts, such as the pipe of make's jobs.
    let inherited = inherited();
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    for descriptor in descriptors {
        let target = fs::read_link(descriptor.path()).unwrap_or_default();
        let target = target.display().to_string();
        assert!(!target.contains("/state/lock"), "{target}");
        let is_ours = target.starts_with("pipe:") && !inherited.contains(&target);
        assert!(!is_ours, "{target}");
        if descriptor.file_name() == "0" {
            assert_eq!(target, "/dev/null");
        }
    }
}

#[test]
fn a_service_in_the_foreground_outlives_the_keeper() {
    let (host, port) = (Host::new(), free_port());
    let foreground = host.foreground(port);
    host.services(&[(
        "svc",
        json!({"health_check": http(port), "restart_cmd": foreground}),
    )]);
    let run = host.once();
    assert_eq!(run.code(), 0, "{run:?}");
    assert_says(&run, "Successfully recovered svc");
    let again = host.once();
    assert_eq!((again.code(), host.starts(port)), (0, 1), "{again:?}");
}

#[test]
fn bash_reads_the_command_as_the_old_script_did() {
    let host = Host::new();
    let up = host.path("up").display().to_string();
    let restart = format!("[[ -n $BASH_VERSION ]] && echo said &> {up}");
    let check = json!({"type": "custom", "command": format!("[[ -s {up} ]]")});
    host.services(&[(
        "svc",
        json!({"health_check": check, "restart_cmd": restart}),
    )]);
    let run = host.once();
    assert_eq!(
        (run.code(), host.read("up").as_str()),
        (0, "said\n"),
        "{run:?}"
    );
}

#[test]
fn a_keeper_that_is_killed_in_mid_restart_has_not_forgotten_it() {
    let (host, port) = (Host::new(), free_port());
    let slow = format!(
        "echo x >> {}; sleep 1.5; {}",
        host.path("tries").display(),
        host.server(port)
    );
    host.services(&[(
        "svc",
        json!({"health_check": http(port), "restart_cmd": slow}),
    )]);
    let mut keeper = Guard::spawn(&mut host.command());
    wait_until(SOON, "the restart to begin", || {
        (!host.read("tries").is_empty()).then_some(())
    });
    keeper.signal(Signal::KILL);
    keeper.wait_within(SOON);
    wait_until(SOON, "the service to start", || {
        (host.starts(port) > 0).then_some(())
    });
    let run = host.once();
    assert_eq!(
        (run.code(), host.read("tries").as_str()),
        (0, "x\n"),
        "{run:?}"
    );
    assert_says(&run, "Successfully recovered svc");
}

#[test]
fn a_second_keeper_leaves_the_pass_to_the_first() {
    let (host, port) = (Host::new(), free_port());
    host.services(&[(
        "svc",
        json!({"health_check": http(port), "restart_cmd": host.server(port)}),
    )]);
    let mut first = Guard::spawn(&mut host.command());
    wait_until(SOON, "the first to begin", || {
        host.path("state/state.json").exists().then_some(())
    });
    let second = run_within(&mut host.command(), SOON);
    assert_eq!(second.code(), 0, "{second:?}");
    assert_says(&second, "another ready-keeper is at work");
    assert_eq!(first.wait_within(SOON).code(), Some(0));
    assert_eq!(host.starts(port), 1);
}

#[test]
fn a_check_that_never_ends_is_ended() {
    let host = Host::new();
    let check = json!({"type": "custom", "command": "trap '' TERM; while :; do sleep 1000; done", "timeout_seconds": 1});
    let restart = format!("touch {}", host.path("restarted").display());
    host.services(&[(
        "svc",
        json!({"health_check": check, "restart_cmd": restart}),
    )]);
    let run = host.once();
    assert_eq!(run.code(), 1, "{run:?}");
    assert!(run.elapsed < Duration::from_secs(10), "{run:?}");
    assert!(
        !host.path("restarted").exists(),
        "hung counts in two passes"
    );
}
