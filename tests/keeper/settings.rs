//! Settings in TOML: what only they can do.

use std::fs;
use std::process::Command;
use std::time::Duration;

use ready_probe_test_support::process::{
    Guard, Run, Signal, free_port, run, run_within, wait_until,
};

use crate::host::{Host, assert_says};

const SOON: Duration = Duration::from_secs(20);

/// The command of a pass over the service `svc`, with these keys beside its name.
fn pass_over(host: &Host, keys: &str) -> Command {
    let text = format!(
        "[[service]]\nname = \"svc\"\nstartup = \"0s\"\nstartup_delay = \"0s\"\ntimeout = \"2s\"\n{keys}\n"
    );
    host.write("services.toml", &text);
    let mut command = host.command();
    let mut args: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    for arg in &mut args {
        if arg.to_string_lossy().ends_with("services.json") {
            *arg = host.path("services.toml").into();
        }
    }
    let mut toml = Command::new(command.get_program());
    toml.args(args);
    toml.env_clear();
    toml.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command = toml;
    command
}

fn once(host: &Host, keys: &str) -> Run {
    run_within(&mut pass_over(host, keys), Duration::from_secs(60))
}

fn check(port: u16) -> String {
    format!("check = [\"http://localhost:{port}/\", \"process:server.py {port}\"]\n")
}

/// How often the command was run that writes a letter each time.
fn tries(host: &Host) -> usize {
    host.read("tries").len()
}

fn a_try(host: &Host) -> String {
    format!("echo -n x >> {}", host.path("tries").display())
}

fn start(host: &Host, port: u16) {
    let before = host.starts(port);
    let started = run(Command::new("sh").arg("-c").arg(host.server(port)));
    assert_eq!(started.code(), 0);
    wait_until(SOON, "the server to start", || {
        (host.starts(port) > before).then_some(())
    });
}

#[test]
fn what_is_gone_is_started_by_sh() {
    let (host, port) = (Host::new(), free_port());
    let server = host.server(port);
    let keys = format!(
        "{}restart = '''[ -z \"$BASH_VERSION\" ] && {{ {server}; }}'''",
        check(port)
    );
    let first = once(&host, &keys);
    assert_eq!((first.code(), host.starts(port)), (0, 1), "{first:?}");
    assert_says(&first, "Health check failed for svc: http://localhost:");
    assert_says(&first, "Successfully recovered svc");
    let second = once(&host, &keys);
    assert_eq!((second.code(), host.starts(port)), (0, 1), "{second:?}");
}

#[test]
fn what_hangs_and_is_deaf_to_term_is_killed_before_its_successor_starts() {
    let (host, port) = (Host::new(), free_port());
    let keys = format!(
        "{}restart = '''{}'''\nstop = {{ process = \"server.py {port}\", wait = \"300ms\" }}",
        check(port),
        host.server(port)
    );
    host.write("deaf", "");
    start(&host, port);
    let old = host.pid(port).unwrap();
    host.signal(port, Signal::STOP);
    // What hangs in one pass may only be slow.
    assert_eq!(once(&host, &keys).code(), 1);
    host.signal(port, Signal::STOP);
    host.age(60_000);
    let second = once(&host, &keys);
    assert_eq!((second.code(), host.starts(port)), (0, 2), "{second:?}");
    assert_ne!(host.pid(port), Some(old));
    let said = host.read("state/svc.out");
    assert!(
        said.contains(&format!("process {old} is asked to end")),
        "{said}"
    );
    assert!(said.contains(&format!("process {old} is killed")), "{said}");
}

#[test]
fn what_can_not_be_ended_has_no_successor_beside_it() {
    let (host, port) = (Host::new(), free_port());
    // A service that is the ancestor of whoever is to end it.
    let parent = host.path("parent.py").display().to_string();
    let keys = format!(
        "check = [\"http://localhost:{port}/\"]\nrestart = '''{}'''\nstop = {{ process = \"parent.py\" }}",
        a_try(&host)
    );
    let pass = pass_over(&host, &keys);
    let args: Vec<String> = std::iter::once(pass.get_program())
        .chain(pass.get_args())
        .map(|arg| format!("{:?}", arg.to_string_lossy()))
        .collect();
    host.write(
        "parent.py",
        &format!(
            "import subprocess, sys\nsys.exit(subprocess.run([{}]).returncode)\n",
            args.join(",")
        ),
    );
    let run = run_within(
        Command::new("python3").arg(&parent),
        Duration::from_secs(60),
    );
    assert_eq!((run.code(), tries(&host)), (1, 0), "{run:?}");
    let said = host.read("state/svc.out");
    assert!(
        said.contains("started ready-keeper or is process 1, and is not ended"),
        "{said}"
    );
}

#[test]
fn a_pidfile_names_who_is_ended() {
    let (host, port) = (Host::new(), free_port());
    start(&host, port);
    let bystander = free_port();
    start(&host, bystander);
    host.write("status", "503");
    let status = host.path("status").display().to_string();
    let keys = format!(
        "check = [\"http://localhost:{port}/\"]\nrestart = '''rm {status}; {}'''\nstop = {{ pidfile = \"{}\" }}",
        host.server(port),
        host.path(&format!("pid.{port}")).display()
    );
    let run = once(&host, &keys);
    assert_eq!((run.code(), host.starts(port)), (0, 2), "{run:?}");
    assert_eq!(host.starts(bystander), 1);
    assert!(fs::exists(format!("/proc/{}", host.pid(bystander).unwrap())).unwrap());
}

#[test]
fn what_would_not_help_is_not_done() {
    let (host, port) = (Host::new(), free_port());
    let mounted = host.path("mounted").display().to_string();
    let keys = format!(
        "{}restart = '''{}'''\ninhibit = [\"file:{mounted}\"]",
        check(port),
        host.server(port)
    );
    let held = once(&host, &keys);
    assert_eq!((held.code(), host.starts(port)), (1, 0), "{held:?}");
    assert_says(&held, &format!("inhibited by file:{mounted}: no such file"));
    host.write("mounted", "");
    let run = once(&host, &keys);
    assert_eq!((run.code(), host.starts(port)), (0, 1), "{run:?}");
}

#[test]
fn what_is_needed_need_not_be_a_service() {
    let (host, port, db) = (Host::new(), free_port(), free_port());
    let keys = format!(
        "{}restart = '''{}'''\nneeds = [\"tcp://127.0.0.1:{db}\"]",
        check(port),
        host.server(port)
    );
    let waits = once(&host, &keys);
    assert_eq!((waits.code(), host.starts(port)), (1, 0), "{waits:?}");
    assert_says(&waits, "svc waits: what it needs does not work");
    start(&host, db);
    let run = once(&host, &keys);
    assert_eq!((run.code(), host.starts(port)), (0, 1), "{run:?}");
}

#[test]
fn what_somebody_else_restarts_is_left_alone() {
    let (host, port) = (Host::new(), free_port());
    start(&host, port);
    host.write("status", "503");
    let keys = format!("{}restart = '''{}'''", check(port), a_try(&host));
    let mut command = pass_over(&host, &keys);
    let text = host
        .read("services.toml")
        .replace("startup = \"0s\"", "startup = \"20s\"");
    host.write("services.toml", &text);
    // It works first: its startup is over.
    host.write("status", "200");
    assert_eq!(run(&mut command).code(), 0);
    host.write("status", "503");
    let mut keeper = Guard::spawn(&mut command);
    let phase = |wanted: &str| {
        wait_until(SOON, wanted, || {
            host.read("state/state.json").contains(wanted).then_some(())
        });
    };
    phase("\"phase\":\"suspect\"");
    // A deploy: its new process is there, and says 503 for a while.
    let name = format!("server.py {port}");
    let _new =
        Guard::spawn(Command::new("python3").args(["-c", "import time; time.sleep(60)", &name]));
    phase("\"phase\":\"starting\"");
    host.write("status", "200");
    assert_eq!(keeper.wait_within(SOON).code(), Some(0));
    assert_eq!(tries(&host), 0);
}

#[test]
fn a_restart_that_changed_nothing_is_said_and_counted() {
    let (host, port) = (Host::new(), free_port());
    start(&host, port);
    host.write("status", "503");
    let restart = format!("rm {}", host.path("status").display());
    let run = once(&host, &format!("{}restart = '''{restart}'''", check(port)));
    assert_eq!(run.code(), 0, "{run:?}");
    assert_says(&run, "The restart of svc changed nothing");
    assert!(
        host.read("state/state.json").contains("\"attempts\":1"),
        "{run:?}"
    );
}

#[test]
fn a_service_does_not_hear_what_systemd_says_to_the_keeper() {
    let host = Host::new();
    let up = host.path("up").display().to_string();
    let keys = format!("check = [\"file:{up}\"]\nrestart = '''env > {up}'''");
    let mut command = pass_over(&host, &keys);
    command
        .env("NOTIFY_SOCKET", "/run/notify")
        .env("WATCHDOG_USEC", "1")
        .env("READY_STORE", "redis://its-own")
        .env("ready_keeper", "exported by somebody");
    let run = run(&mut command);
    assert_eq!(run.code(), 0, "{run:?}");
    let environment = host.read("up");
    assert!(
        environment.contains("READY_STORE=redis://its-own"),
        "{environment}"
    );
    for ours in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "READY_KEEPER_"] {
        assert!(!environment.contains(ours), "{environment}");
    }
}

/// A container's process 1, that ends when it is asked to, if it has a handler.
fn in_a_container(host: &Host, keys: &str, handler: &str) -> Run {
    let words = words(&pass_over(host, keys), "once");
    as_process_one(&format!("{handler}\n{words}\nsleep 0.1\nexit $?"))
}

/// A command as a shell reads it, which keeps the services in this way.
fn words(pass: &Command, way: &str) -> String {
    let words = std::iter::once(pass.get_program()).chain(pass.get_args());
    let word = |word: &std::ffi::OsStr| match word.to_string_lossy() {
        once if once == "once" => way.to_owned(),
        other => format!("'{other}'"),
    };
    words.map(word).collect::<Vec<_>>().join(" ")
}

fn as_process_one(script: &str) -> Run {
    run_within(
        Command::new("unshare")
            .args(["--pid", "--fork", "--mount-proc", "sh", "-c", script])
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path))),
        Duration::from_secs(60),
    )
}

#[test]
fn the_container_is_ended_three_times_a_day_at_most() {
    let (host, port) = (Host::new(), free_port());
    let keys = format!("check = [\"http://localhost:{port}/\"]\ngive_up = \"exit\"");
    for nth in 1..=4 {
        let run = in_a_container(&host, &keys, "trap 'exit 9' TERM");
        let want = if nth <= 3 { 9 } else { 0 };
        assert_eq!(run.code(), want, "{nth}: {run:?}");
        assert_eq!(
            run.stdout.contains("process 1 is asked to end"),
            nth <= 3,
            "{run:?}"
        );
        let fate = match nth {
            1..=3 => "svc is given up after 0 restarts, and the container is ended:",
            _ => {
                "svc is given up after 0 restarts, and left to a person: the container was ended often enough:"
            }
        };
        assert_says(&run, fate);
    }
}

#[test]
fn a_container_that_can_not_be_ended_now_is_ended_later() {
    let (host, port) = (Host::new(), free_port());
    let keys = format!(
        "check = [\"http://localhost:{port}/\"]\ngive_up = \"exit\"\n[keeper]\ninterval = \"1s\""
    );
    let pass = pass_over(&host, &keys);
    let log = host.path("log").display().to_string();
    let words = words(&pass, "run");
    // From its start on it has a handler, then none, and one again.
    let script = format!(
        "trap : TERM\n{words} > {log} 2>&1 &\n\
         until grep -q 'Health check failed' {log}; do sleep 0.05; done\ntrap - TERM\n\
         until grep -q 'the container is not ended: process 1 has no handler' {log}; do sleep 0.05; done\n\
         trap 'exit 9' TERM\nwhile :; do sleep 0.1; done"
    );
    let run = as_process_one(&script);
    let log = host.read("log");
    assert_eq!(run.code(), 9, "{run:?} {log}");
    assert!(
        log.contains("svc is given up after 0 restarts, and the container could not be ended:"),
        "{log}"
    );
}

#[test]
fn a_container_that_can_not_be_ended_is_refused() {
    let (host, port) = (Host::new(), free_port());
    let keys = format!("check = [\"http://localhost:{port}/\"]\ngive_up = \"exit\"");
    let deaf = in_a_container(&host, &keys, "");
    assert!(
        deaf.stderr.contains("process 1 has no handler for TERM"),
        "{deaf:?}"
    );
    // A test runs outside of a container, or in one that has an init.
    if fs::read_link("/proc/self/ns/pid").unwrap().as_os_str() == "pid:[4026531836]" {
        let machine = once(&host, &keys);
        assert_eq!(machine.code(), 78, "{machine:?}");
        assert!(
            machine
                .stderr
                .contains("give_up: exit: here process 1 is the whole machine's"),
            "{machine:?}"
        );
    }
}

#[test]
fn a_wrong_key_is_78_with_its_line() {
    let host = Host::new();
    let run = once(&host, "check = [\"process:x\"]\nrestat = \"x\"");
    assert_eq!(run.code(), 78, "{run:?}");
    assert_eq!(run.stderr.lines().count(), 1, "{run:?}");
    let want = "services.toml: line 7: service svc: there is no key \"restat\": is restart meant?";
    assert!(run.stderr.contains(want), "{run:?}");
}
