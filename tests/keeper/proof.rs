//! What looks like a failure, and proves nothing.

use std::fs;
use std::process::Command;
use std::time::Duration;

use ready_probe_test_support::hostile::{Behaviour, Hostile};
use ready_probe_test_support::http::{HttpServer, Response};
use ready_probe_test_support::process::{Guard, Signal, run_within, wait_until};
use ready_probe_test_support::tls::ServerIdentity;
use rustix::process::{Pid, kill_process};
use serde_json::json;

use crate::host::{Host, assert_says};

const SOON: Duration = Duration::from_secs(20);

/// A service whose restart leaves a mark.
fn marked(host: &Host, check: &serde_json::Value) {
    let restart = format!("touch {}", host.path("restarted").display());
    host.services(&[(
        "svc",
        json!({"health_check": check, "restart_cmd": restart}),
    )]);
}

#[test]
fn a_certificate_that_is_not_trusted_is_no_hung_server() {
    let host = Host::new();
    let identity = ServerIdentity::self_signed(&["localhost"]);
    let server = HttpServer::tls(&identity, |_| Response::new(200));
    marked(
        &host,
        &json!({"type": "http", "endpoint": server.url("/"), "timeout_seconds": 2}),
    );
    for _ in 0..2 {
        let run = host.once();
        assert_says(&run, "svc could not be asked, which proves nothing: ");
        assert!(!host.path("restarted").exists(), "{run:?}");
        host.age(60_000);
    }
}

#[test]
fn a_server_that_speaks_something_else_is_no_hung_server_and_one_that_breaks_off_is() {
    for (behaviour, is_hung) in [
        (
            Behaviour::Garbage(b"220 smtp.example.com ESMTP\r\n".to_vec()),
            false,
        ),
        (Behaviour::CloseAfter(Vec::new()), true),
        (Behaviour::Reset, true),
        (Behaviour::Silent, true),
    ] {
        let host = Host::new();
        let server = Hostile::tcp(behaviour.clone());
        let endpoint = format!("http://{}/", server.addr());
        marked(
            &host,
            &json!({"type": "http", "endpoint": endpoint, "timeout_seconds": 1}),
        );
        host.once();
        host.age(60_000);
        let run = host.once();
        assert_eq!(
            host.path("restarted").exists(),
            is_hung,
            "{behaviour:?} {run:?}"
        );
    }
}

/// A service that starts the keeper itself, as cron and supervisord do.
#[test]
fn what_started_the_keeper_is_not_gone() {
    let host = Host::new();
    marked(
        &host,
        &json!({"type": "process", "process_name": "worker[.]py$"}),
    );
    let pass = host.command();
    let args: Vec<String> = std::iter::once(pass.get_program())
        .chain(pass.get_args())
        .map(|arg| format!("{:?}", arg.to_string_lossy()))
        .collect();
    let text = format!(
        "import subprocess, sys\nsys.exit(subprocess.run([{}]).returncode)\n",
        args.join(",")
    );
    host.write("worker.py", &text);
    let run = run_within(
        Command::new("python3").arg(host.path("worker.py")),
        Duration::from_secs(60),
    );
    assert_eq!(run.code(), 0, "{run:?}");
    assert_says(&run, "Health check passed for svc");
    assert!(!host.path("restarted").exists(), "{run:?}");
    // A script may be the service, or look after it.
    let words: Vec<String> = args.iter().map(|arg| arg.replace('"', "'")).collect();
    host.write("worker.py", &format!("{}\nexit $?\n", words.join(" ")));
    let run = run_within(
        Command::new("sh").arg(host.path("worker.py")),
        Duration::from_secs(60),
    );
    assert_says(
        &run,
        "could not be asked, which proves nothing: no process matches but ",
    );
    assert!(!host.path("restarted").exists(), "{run:?}");
}

#[test]
fn a_line_end_in_a_command_line_is_a_character_as_any_other() {
    let host = Host::new();
    let word = format!("worker-of-{}", std::process::id());
    marked(
        &host,
        &json!({"type": "process", "process_name": format!("time.*{word}$")}),
    );
    let program = format!("import time\ntime.sleep(1000) # {word}");
    let _worker = Guard::spawn(Command::new("python3").arg("-c").arg(program));
    let run = host.once();
    assert_eq!(run.code(), 0, "{run:?}");
    assert!(!host.path("restarted").exists(), "{run:?}");
}

/// The child of a process that asks.
fn asker(keeper: u32) -> Option<Pid> {
    // Whichever of its threads has started it.
    let tasks = fs::read_dir(format!("/proc/{keeper}/task")).ok()?.flatten();
    let children = tasks.map(|task| fs::read_to_string(task.path().join("children")));
    let children: String = children.map(Result::unwrap_or_default).collect();
    children.split_whitespace().find_map(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let asks = String::from_utf8_lossy(&line).ends_with("--role\0ask\0");
        asks.then(|| Pid::from_raw(pid.parse().ok()?)).flatten()
    })
}

#[test]
fn nothing_hangs_while_the_asker_itself_stands_still() {
    let host = Host::new();
    let server = Hostile::tcp(Behaviour::Silent);
    let endpoint = format!("http://{}/", server.addr());
    marked(
        &host,
        &json!({"type": "http", "endpoint": endpoint, "timeout_seconds": 3}),
    );
    for _ in 0..3 {
        let connections = server.connections();
        let output = host.path("log");
        let mut command = host.command();
        command.stdout(fs::File::create(&output).unwrap());
        let mut keeper = Guard::spawn(&mut command);
        // It asks: from now on the server is silent.
        wait_until(SOON, "the question", || {
            (server.connections() > connections).then_some(())
        });
        let asker = wait_until(SOON, "who asks", || asker(keeper.pid()));
        kill_process(asker, Signal::STOP).unwrap();
        // As long as a busy machine may stand still.
        let since = std::time::Instant::now();
        wait_until(SOON, "time to pass", || {
            (since.elapsed() > Duration::from_millis(1_300)).then_some(())
        });
        kill_process(asker, Signal::CONT).unwrap();
        keeper.wait_within(SOON);
        let said = host.read("log");
        assert!(
            said.contains("svc could not be asked, which proves nothing: "),
            "{said}"
        );
        assert!(said.contains("ready-keeper itself stood still"), "{said}");
        host.age(60_000);
    }
    assert!(!host.path("restarted").exists());
}
