//! The example agent as its users run it: a process, its environment, its port, its signal.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use ready_probe_sdk::clock;
use ready_probe_sdk::folder::Folder;
use ready_probe_sdk::freshness::{Observed, judge};
use ready_probe_sdk::host::Epoch;
use ready_probe_sdk::signal::Name;
use ready_probe_test_support::process::free_port;
use rustix::process::{Pid, Signal, kill_process};

const PROGRAM: &str = env!("CARGO_BIN_EXE_rust-agent");
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program that is killed when the test ends.
struct Running {
    child: Child,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(dir: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .env_clear()
        .env("READY_DIR", dir)
        .stdin(Stdio::null());
    command
}

fn start(command: &mut Command) -> Running {
    Running {
        child: command.spawn().unwrap(),
    }
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = clock::since_boot() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(clock::since_boot() < deadline, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// What a probe would say of each instance of the agent.
fn verdicts(dir: &Path, agent: &str) -> Vec<String> {
    let found = Folder::at(dir)
        .unwrap()
        .read(&Name::new(agent).unwrap())
        .unwrap();
    let epoch = Epoch::current();
    let judged = found.believed.iter().map(|record| match &record.signal {
        Ok(signal) => {
            let observed = Observed {
                epoch: &epoch,
                process: record.process,
                now_ms: clock::mono_ms(),
            };
            judge(signal, &observed).map_or_else(|why| why.to_string(), |_| "ready".to_owned())
        }
        Err(e) => e.to_string(),
    });
    judged.collect()
}

fn until_says(dir: &Path, agent: &str, want: &str) {
    until(&format!("{agent} says {want:?}"), || {
        let said = verdicts(dir, agent);
        (said.len() == 1 && said[0].starts_with(want)).then_some(())
    });
}

struct Client {
    lines: BufReader<TcpStream>,
}

impl Client {
    fn connect(port: u16) -> Self {
        let stream = until("the port answers", || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            lines: BufReader::new(stream),
        }
    }

    fn ask(&mut self, line: &str) -> String {
        self.lines
            .get_mut()
            .write_all(format!("{line}\n").as_bytes())
            .unwrap();
        let mut answer = String::new();
        self.lines.read_line(&mut answer).unwrap();
        answer.trim_end().to_owned()
    }
}

#[test]
fn it_says_starting_while_it_loads() {
    let dir = tempfile::tempdir().unwrap();
    let environment = [("AGENT_LOAD", "1h"), ("AGENT_PORT", "0")];
    let _agent = start(command(dir.path()).envs(environment));
    until_says(dir.path(), "translator", "starting");
}

#[test]
fn its_port_accepts_clients_while_it_loads_and_it_is_ready_when_it_serves_them() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let environment = [("AGENT_LOAD", "1s"), ("AGENT_PORT", &port.to_string())];
    let _agent = start(command(dir.path()).envs(environment));
    let mut client = Client::connect(port);
    assert_eq!(client.ask("translate a"), "A");
    assert_eq!(verdicts(dir.path(), "translator"), ["ready"]);
}

#[test]
fn it_answers_each_command_with_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut agent = start(command(dir.path()).env("AGENT_PORT", port.to_string()));
    let mut client = Client::connect(port);
    assert_eq!(client.ask("translate guten Tag"), "NETUG GAT");
    assert_eq!(client.ask("reload a new model"), "not_ready");
    until_says(dir.path(), "translator", "not_ready: a new model");
    assert_eq!(client.ask("resume"), "ready");
    until_says(dir.path(), "translator", "ready");
    assert_eq!(
        client.ask("sing"),
        "error: unknown command \"sing\"; commands: translate TEXT, reload REASON, resume, \
         hang DURATION, quit"
    );
    assert!(client.ask("hang 5").starts_with("error: \"5\": "));
    assert_eq!(client.ask("quit"), "bye");
    assert!(agent.child.wait().unwrap().success());
    assert_eq!(verdicts(dir.path(), "translator"), [""; 0]);
}

#[test]
fn it_is_stalled_while_its_work_loop_hangs_and_ready_again_after() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let port_text = port.to_string();
    let environment = [
        ("AGENT_PORT", port_text.as_str()),
        ("AGENT_WATCHDOG", "300ms"),
    ];
    let _agent = start(command(dir.path()).envs(environment));
    let mut client = Client::connect(port);
    assert_eq!(client.ask("translate a"), "A");
    assert_eq!(client.ask("hang 2s"), "hanging for 2s");
    until_says(
        dir.path(),
        "translator",
        "not_ready: stalled: no progress for ",
    );
    assert_eq!(client.ask("translate b"), "B");
    until_says(dir.path(), "translator", "ready");
}

#[test]
fn an_idle_agent_is_not_stalled() {
    let dir = tempfile::tempdir().unwrap();
    let environment = [("AGENT_PORT", "0"), ("AGENT_WATCHDOG", "1s")];
    let _agent = start(command(dir.path()).envs(environment));
    until_says(dir.path(), "translator", "ready");
    let end = clock::mono_ms() + 2_500;
    while clock::mono_ms() < end {
        assert_eq!(verdicts(dir.path(), "translator"), ["ready"]);
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_supervisor_outlives_its_agents_and_reaps_them() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut supervisor = start(
        command(dir.path())
            .args(["supervise", "reader", &format!("writer={port}")])
            .stdout(Stdio::piped()),
    );
    let mut lines = BufReader::new(supervisor.child.stdout.take().unwrap()).lines();
    let mut pid_of = |name: &str| -> i32 {
        let wanted = format!("started {name} pid ");
        lines
            .by_ref()
            .map(Result::unwrap)
            .find_map(|line| line.strip_prefix(&wanted).map(|pid| pid.parse().unwrap()))
            .unwrap()
    };
    let reader = Pid::from_raw(pid_of("reader")).unwrap();
    let writer = Pid::from_raw(pid_of("writer")).unwrap();
    until_says(dir.path(), "reader", "ready");
    until_says(dir.path(), "writer", "ready");

    kill_process(reader, Signal::KILL).unwrap();
    until_says(
        dir.path(),
        "reader",
        &format!("process {} is gone", reader.as_raw_nonzero()),
    );
    assert_eq!(Client::connect(port).ask("quit"), "bye");
    until("the writer is reaped", || {
        rustix::process::test_kill_process(writer).err()
    });
    assert!(
        supervisor.child.try_wait().unwrap().is_none(),
        "the supervisor has ended"
    );
}

/// Waits for its end, and returns its status.
fn end_of(running: &mut Running) -> Option<i32> {
    until("it has ended", || running.child.try_wait().unwrap()).code()
}

fn tell(running: &Running, signal: Signal) {
    kill_process(Pid::from_child(&running.child), signal).unwrap();
}

#[test]
fn sigterm_ends_it_while_it_works_and_while_it_loads() {
    for (load, says) in [("0s", "ready"), ("1h", "starting")] {
        let dir = tempfile::tempdir().unwrap();
        let environment = [("AGENT_LOAD", load), ("AGENT_PORT", "0")];
        let mut agent = start(command(dir.path()).envs(environment));
        until_says(dir.path(), "translator", says);
        tell(&agent, Signal::TERM);
        assert_eq!(end_of(&mut agent), Some(0), "{says}");
        assert_eq!(verdicts(dir.path(), "translator"), [""; 0]);
    }
}

#[test]
fn it_says_stopping_from_sigterm_on_while_it_finishes_and_a_second_one_ends_it() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut agent = start(command(dir.path()).env("AGENT_PORT", port.to_string()));
    let mut client = Client::connect(port);
    assert_eq!(client.ask("hang 1h"), "hanging for 1h");
    tell(&agent, Signal::TERM);
    until_says(dir.path(), "translator", "stopping: told to stop");
    tell(&agent, Signal::INT);
    assert_eq!(end_of(&mut agent), Some(130));
}

#[test]
fn a_supervisor_passes_sigterm_on_and_ends_when_its_agents_have() {
    let dir = tempfile::tempdir().unwrap();
    let mut supervisor = start(command(dir.path()).args(["supervise", "reader", "writer"]));
    until_says(dir.path(), "reader", "ready");
    until_says(dir.path(), "writer", "ready");
    tell(&supervisor, Signal::TERM);
    assert_eq!(end_of(&mut supervisor), Some(0));
    for agent in ["reader", "writer"] {
        assert_eq!(verdicts(dir.path(), agent), [""; 0]);
    }
}

fn refused(change: impl Fn(&mut Command) -> &mut Command) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    let mut command = command(dir.path());
    let Output { status, stderr, .. } = change(&mut command).output().unwrap();
    assert_eq!(
        Folder::at(dir.path()).unwrap().agents().unwrap().len(),
        0,
        "it published"
    );
    (
        status.code(),
        String::from_utf8(stderr).unwrap().trim_end().to_owned(),
    )
}

#[test]
fn what_it_cannot_use_is_named_with_its_place_and_what_to_do() {
    let hint = "; check AGENT_* and READY_* in the environment";
    let table = [
        (
            ("AGENT_LOAD", "2"),
            "AGENT_LOAD=\"2\" (environment): time unit needed, for example 2sec or 2ms; \
             write a duration as 500ms, 10s or 2m"
                .to_owned(),
        ),
        (
            ("AGENT_PORT", "+80"),
            "AGENT_PORT=\"+80\" (environment): a port is a number from 0 (none) to 65535"
                .to_owned(),
        ),
        (
            ("AGENT_NAME", "a b"),
            format!(
                "invalid name \"a b\": a name is a letter or digit, then letters, digits, '.', \
                 '_' or '-', at most 128 characters in all{hint}"
            ),
        ),
        (
            ("AGENT_TTL", "500ms"),
            format!("a TTL of 500ms is out of range: at least 1s, at most 1h{hint}"),
        ),
        (
            ("AGENT_WATCHDOG", "1ms"),
            format!("a watchdog of 1ms is too short: at least 100ms{hint}"),
        ),
    ];
    for ((variable, value), want) in table {
        let answer = refused(|command| command.env(variable, value));
        assert_eq!(answer, (Some(78), format!("rust-agent: {want}")));
    }
}

#[test]
fn a_wrong_call_is_told_apart_from_a_wrong_environment() {
    let usage = "usage: rust-agent | rust-agent supervise NAME[=PORT]...";
    for (args, want) in [
        (vec!["run"], format!("unknown argument \"run\"; {usage}")),
        (
            vec!["supervise"],
            format!("supervise needs a name; {usage}"),
        ),
        (
            vec!["supervise", "a=x"],
            format!("\"a=x\": a port is a number from 0 (none) to 65535; {usage}"),
        ),
    ] {
        let answer = refused(|command| command.args(&args));
        assert_eq!(answer, (Some(64), format!("rust-agent: {want}")));
    }
}

#[test]
fn a_taken_port_ends_it_and_its_signal_is_removed() {
    let listener = TcpListener::bind(("0.0.0.0", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let dir = tempfile::tempdir().unwrap();
    let output = command(dir.path())
        .env("AGENT_PORT", port.to_string())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("set AGENT_PORT to a free port"),
        "{output:?}"
    );
    assert_eq!(verdicts(dir.path(), "translator"), [""; 0]);
}
