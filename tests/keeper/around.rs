//! `run`, the loop: it goes on, hears what happens at once, and leaves to the next what it has begun.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use ready_probe_test_support::process::{
    Guard, Run, Signal, free_port, keeper_binary, probe, run, run_within, wait_until,
};
use serde_json::{Value, json};

use crate::host::{Host, assert_says, http};

const SOON: Duration = Duration::from_secs(40);
const LOG: &str = "log";

/// A check that is asked every second.
fn every_second(port: u16) -> Value {
    let mut check = http(port);
    check["interval_seconds"] = json!(1);
    check
}

/// One server that works, and is asked every second.
fn works() -> (Host, u16) {
    let (host, port) = (Host::new(), free_port());
    host.services(&[(
        "svc",
        json!({"health_check": every_second(port), "restart_cmd": host.server(port)}),
    )]);
    let run = host.once();
    assert_eq!((run.code(), host.starts(port)), (0, 1), "{run:?}");
    (host, port)
}

fn wait_for_starts(host: &Host, port: u16, starts: usize) {
    wait_until(SOON, "the server to be started", || {
        (host.starts(port) >= starts).then_some(())
    });
}

/// Ends a loop as a person does.
fn end(mut keeper: Guard) {
    keeper.signal(Signal::TERM);
    assert_eq!(keeper.wait_within(SOON).code(), Some(0));
}

#[test]
fn what_crashes_is_started_again_and_again() {
    let (host, port) = works();
    let keeper = host.loop_with(LOG, &[]);
    host.wait_for(LOG, "Health check passed for svc");
    for starts in 2..=3 {
        host.signal(port, Signal::KILL);
        wait_for_starts(&host, port, starts);
        wait_until(SOON, "its verification", || {
            let recovered = host.read(LOG).matches("Successfully recovered svc").count();
            (recovered == starts - 1).then_some(())
        });
    }
    end(keeper);
    assert_eq!(host.starts(port), 3, "{}", host.read(LOG));
    // It says what is new, and not each of its answers.
    let log = host.read(LOG);
    assert!(log.matches("Health check passed").count() <= 4, "{log}");
}

#[test]
fn the_crash_of_a_process_is_noticed_long_before_it_is_asked_again() {
    let (host, port) = (Host::new(), free_port());
    let check = json!({"type": "process", "process_name": format!("server[.]py {port}"), "interval_seconds": 3_600});
    host.services(&[(
        "svc",
        json!({"health_check": check, "restart_cmd": host.server(port)}),
    )]);
    assert_eq!(host.once().code(), 0);
    let keeper = host.loop_with(LOG, &[]);
    host.wait_for(LOG, "Health check passed for svc");
    host.signal(port, Signal::KILL);
    host.wait_for(LOG, "Successfully recovered svc");
    end(keeper);
    assert_eq!(host.starts(port), 2);
}

#[test]
fn the_crash_of_a_service_that_a_keeper_has_started_in_the_foreground_is_noticed() {
    let (host, port) = (Host::new(), free_port());
    let mut check = http(port);
    check["interval_seconds"] = json!(3_600);
    host.services(&[(
        "svc",
        json!({"health_check": check, "restart_cmd": host.foreground(port)}),
    )]);
    let keeper = host.loop_with(LOG, &[]);
    for starts in 1..=2 {
        wait_for_starts(&host, port, starts);
        wait_until(SOON, "its verification", || {
            let recovered = host.read(LOG).matches("Successfully recovered svc").count();
            (recovered == starts).then_some(())
        });
        host.signal(port, Signal::KILL);
    }
    wait_for_starts(&host, port, 3);
    // What has ended is no zombie of the keeper.
    let children = zombies_of(keeper.pid());
    assert_eq!(children, Vec::<u32>::new());
    end(keeper);
}

/// The children of a process that have ended and that nobody has reaped.
fn zombies_of(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_zombie = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let mut fields = fields.split_whitespace();
        (fields.next(), fields.next()) == (Some("Z"), Some(&parent.to_string()))
    };
    pids.filter(is_zombie).collect()
}

#[test]
fn one_that_hangs_does_not_delay_the_recovery_of_another() {
    let (host, slow, port) = (Host::new(), free_port(), free_port());
    let mut hangs = every_second(slow);
    hangs["timeout_seconds"] = json!(20);
    host.services(&[
        (
            "slow",
            json!({"health_check": hangs, "restart_cmd": host.server(slow)}),
        ),
        (
            "svc",
            json!({"health_check": every_second(port), "restart_cmd": host.server(port)}),
        ),
    ]);
    assert_eq!(host.once().code(), 0);
    host.signal(slow, Signal::STOP);
    let keeper = host.loop_with(LOG, &[]);
    host.wait_for(LOG, "Health check failed for slow");
    let killed = Instant::now();
    host.signal(port, Signal::KILL);
    host.wait_for(LOG, "Successfully recovered svc");
    assert!(
        killed.elapsed() < Duration::from_secs(18),
        "{:?}: {}",
        killed.elapsed(),
        host.read(LOG)
    );
    host.signal(slow, Signal::CONT);
    end(keeper);
    assert_eq!(host.starts(slow), 1);
}

/// It is only watched, and held: what works is asked without it.
#[test]
fn one_that_hangs_for_good_does_not_delay_those_that_work() {
    let (host, slow, port) = (Host::new(), free_port(), free_port());
    let mut hangs = every_second(slow);
    hangs["timeout_seconds"] = json!(10);
    host.services(&[
        ("slow", json!({"health_check": hangs})),
        (
            "svc",
            json!({"health_check": every_second(port), "restart_cmd": host.server(port)}),
        ),
    ]);
    assert_eq!(host.once().code(), 1);
    assert_eq!(host.status("slow")["services"][0]["state"], "held");
    let mut server = Command::new("sh");
    assert_eq!(run(server.arg("-c").arg(host.server(slow))).code(), 0);
    host.signal(slow, Signal::STOP);
    let keeper = host.loop_with(LOG, &[]);
    host.wait_for(LOG, "Health check passed for svc");
    let killed = Instant::now();
    host.signal(port, Signal::KILL);
    host.wait_for(LOG, "Successfully recovered svc");
    assert!(
        killed.elapsed() < Duration::from_secs(13),
        "{:?}: {}",
        killed.elapsed(),
        host.read(LOG)
    );
    end(keeper);
}

#[test]
fn a_second_one_leaves_at_once() {
    let (host, _) = works();
    let keeper = host.loop_with(LOG, &[]);
    host.wait_for(LOG, "Health check passed for svc");
    let second = run_within(&mut host.keep("run"), SOON);
    assert_eq!(second.code(), 75, "{second:?}");
    let state = host.path("state").display().to_string();
    let said = format!(
        "another ready-keeper is at work with {state} (process {})",
        keeper.pid()
    );
    assert!(second.stderr.contains(&said), "{second:?}");
    let once = host.once();
    assert_eq!(once.code(), 0, "{once:?}");
    assert_says(&once, "another ready-keeper");
    end(keeper);
    assert_eq!(host.once().code(), 0);
}

/// A restart that takes its time, and says each time that it begins.
fn slow_restart(host: &Host, port: u16, seconds: u32) {
    let command = format!(
        "echo x >> {}; sleep {seconds}; {}",
        host.path("tries").display(),
        host.server(port)
    );
    host.services(&[(
        "svc",
        json!({"health_check": every_second(port), "restart_cmd": command}),
    )]);
}

#[test]
fn a_restart_goes_on_when_its_keeper_is_ended_and_the_next_waits_for_it() {
    for signal in [Signal::TERM, Signal::KILL] {
        let (host, port) = (Host::new(), free_port());
        slow_restart(&host, port, 12);
        let mut keeper = host.loop_with("first", &[]);
        wait_until(SOON, "the restart to begin", || {
            (!host.read("tries").is_empty()).then_some(())
        });
        keeper.signal(signal);
        keeper.wait_within(SOON);
        let keeper = host.loop_with(LOG, &[]);
        host.wait_for(LOG, "Successfully recovered svc");
        end(keeper);
        assert_eq!(
            (host.read("tries").as_str(), host.starts(port)),
            ("x\n", 1),
            "{}",
            host.read(LOG)
        );
        assert_eq!(host.status("svc")["services"][0]["restarts"]["total"], 1);
    }
}

#[test]
fn a_pass_of_cron_begins_no_second_restart_beside_one_that_its_keeper_has_left() {
    let (host, port) = (Host::new(), free_port());
    slow_restart(&host, port, 12);
    let mut keeper = Guard::spawn(&mut host.command());
    wait_until(SOON, "the restart to begin", || {
        (!host.read("tries").is_empty()).then_some(())
    });
    keeper.signal(Signal::KILL);
    keeper.wait_within(SOON);
    let run = host.once();
    assert_eq!(
        (run.code(), host.read("tries").as_str(), host.starts(port)),
        (0, "x\n", 1),
        "{run:?}"
    );
}

#[test]
fn what_can_not_be_remembered_is_not_done_and_does_not_count() {
    let (host, port) = works();
    let keeper = host.loop_with(LOG, &[]);
    host.wait_for(LOG, "Health check passed for svc");
    fs::rename(host.path("state"), host.path("elsewhere")).unwrap();
    host.signal(port, Signal::KILL);
    host.wait_for(
        LOG,
        "svc: its restart command is not run: it could not be remembered",
    );
    assert_eq!(host.starts(port), 1);
    fs::rename(host.path("elsewhere"), host.path("state")).unwrap();
    wait_for_starts(&host, port, 2);
    host.wait_for(LOG, "Successfully recovered svc");
    end(keeper);
    let log = host.read(LOG);
    assert!(!log.contains("Failed to recover"), "{log}");
    assert_eq!(log.matches("Executing restart command").count(), 1, "{log}");
}

#[test]
fn a_log_that_nobody_reads_stops_no_restart() {
    let (host, port) = works();
    let (reader, writer) = std::io::pipe().unwrap();
    fill(&writer);
    let mut command = host.keep("run");
    command.stdout(writer);
    let keeper = Guard::spawn(&mut command);
    wait_until(SOON, "the keeper to ask", || {
        let passed = host.status("svc")["services"][0]["checks"]["passed"].as_u64();
        (passed >= Some(2)).then_some(())
    });
    host.signal(port, Signal::KILL);
    wait_for_starts(&host, port, 2);
    end(keeper);
    drop(reader);
}

/// Leaves no room for a line.
fn fill(pipe: &std::io::PipeWriter) {
    rustix::io::ioctl_fionbio(pipe, true).unwrap();
    while rustix::io::write(pipe, &[b'x'; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(pipe, false).unwrap();
}

#[test]
fn hup_reads_the_services_again_and_keeps_them_where_they_can_not_be_read() {
    let (host, port) = works();
    let mut keeper = host.loop_with(LOG, &[]);
    host.wait_for(LOG, "Health check passed for svc");
    let services = host.read("services.json");
    host.write("services.json", "{");
    keeper.signal(Signal::HUP);
    host.wait_for(
        LOG,
        "ERROR the services stay as they are, since they can't be read",
    );
    host.write("services.json", &services.replace("\"svc\"", "\"renamed\""));
    keeper.signal(Signal::HUP);
    host.wait_for(LOG, "Health check passed for renamed");
    host.signal(port, Signal::KILL);
    host.wait_for(LOG, "Successfully recovered renamed");
    end(keeper);
}

#[test]
fn a_dry_run_does_nothing_and_says_what_it_would_do() {
    let (host, port) = works();
    host.signal(port, Signal::KILL);
    let keeper = host.loop_with(LOG, &["--dry-run"]);
    host.wait_for(LOG, "This is a dry run, in which svc is not restarted; otherwise it would be: connection refused");
    // It goes on without, and says it once.
    wait_until(SOON, "more answers", || {
        let checks = host.status("svc")["services"][0]["checks"]["failed"].as_u64();
        (checks >= Some(8)).then_some(())
    });
    let log = host.read(LOG);
    assert_eq!(log.matches("dry run").count(), 1, "{log}");
    assert_eq!(log.matches("Executing").count(), 0, "{log}");
    end(keeper);
    let once = run_within(host.command().arg("--dry-run"), SOON);
    assert_eq!((once.code(), host.starts(port)), (1, 1), "{once:?}");
    // Nothing of it counts.
    let once = host.once();
    assert_eq!((once.code(), host.starts(port)), (0, 2), "{once:?}");
}

#[test]
fn the_probe_watches_the_keeper() {
    let (host, _) = works();
    let ask = || {
        let mut probe = probe();
        probe
            .env("READY_DIR", host.path("signals"))
            .args(["agent:ready-keeper", "--grace", "0"]);
        run(&mut probe)
    };
    let mut keeper = host.loop_with(LOG, &[]);
    host.wait_for(LOG, "Health check passed for svc");
    assert_eq!(ask().code(), 0, "{:?}", ask());
    keeper.signal(Signal::KILL);
    keeper.wait_within(SOON);
    let dead = ask();
    assert_eq!(dead.code(), 1, "{dead:?}");
    let keeper = host.loop_with(LOG, &[]);
    host.wait_for(LOG, "Health check passed for svc");
    assert_eq!(ask().code(), 0, "{:?}", ask());
    end(keeper);
    assert_eq!(ask().code(), 1);
}

/// A process 1 that runs one program, and reaps nothing else; it says how many zombies there are in the end.
const PROCESS_1: &str = r#"
import os, subprocess, sys
for _ in range(int(sys.argv[1])):
    code = subprocess.run(sys.argv[2:]).returncode
    if code: sys.exit(code)
states = []
for pid in filter(str.isdigit, os.listdir("/proc")):
    try: states.append(open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0])
    except FileNotFoundError: pass
print("zombies", states.count("Z"), "processes", len(states))
"#;

fn as_process_1(program: &[&str]) -> Command {
    let mut unshare = Command::new("unshare");
    unshare
        .args(["--fork", "--pid", "--mount-proc"])
        .args(program);
    unshare
}

#[test]
fn it_never_is_process_1() {
    let (host, _) = works();
    let keeper = keeper_binary();
    let config = host.path("services.json");
    let state = host.path("other");
    let args = [
        keeper.to_str().unwrap(),
        "run",
        "--config",
        config.to_str().unwrap(),
        "--state",
        state.to_str().unwrap(),
    ];
    let run: Run = run_within(&mut as_process_1(&args), SOON);
    assert_eq!(run.code(), 78, "{run:?}");
    assert!(
        run.stderr.contains("process 1") && run.stderr.contains("--init"),
        "{run:?}"
    );
}

#[test]
fn passes_leave_no_zombie_to_a_process_1_that_reaps_none() {
    let host = Host::new();
    let works = json!({"type": "custom", "command": "true & (sleep 0.1 &) ; true"});
    let process = json!({"type": "process", "process_name": "python3"});
    host.services(&[
        ("command", json!({"health_check": works})),
        ("process", json!({"health_check": process})),
    ]);
    let keeper = host.command();
    let mut args = vec![
        "python3".to_owned(),
        "-c".to_owned(),
        PROCESS_1.to_owned(),
        "20".to_owned(),
    ];
    args.push(keeper.get_program().display().to_string());
    args.extend(keeper.get_args().map(|arg| arg.display().to_string()));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let run = run_within(&mut as_process_1(&args), Duration::from_secs(120));
    assert_eq!(run.code(), 0, "{run:?}");
    assert_says(&run, "zombies 0 processes 1");
}
