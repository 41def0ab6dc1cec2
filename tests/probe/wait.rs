//! `ready-probe wait`: until healthy, then a command in its own place.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use ready_probe_test_support::hostile::refused_port;
use ready_probe_test_support::process::{Guard, Run, Signal, free_port, run, wait_until};
use ready_probe_test_support::servers::Redis;

use crate::container::{Container, assert_mentions, assert_said, through};
use crate::starved::in_time;

const HEALTHY: &str = "healthy: 1 check passes";

/// Starts it, and comes back when it has said that it waits: from then on it handles signals.
fn waiting(mut command: Command) -> Guard {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut guard = Guard::spawn(&mut command);
    let mut stderr = BufReader::new(guard.child().stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert!(line.starts_with("waiting: unhealthy: "), "{line:?}");
    guard
}

fn stdout(guard: &mut Guard) -> String {
    let mut text = String::new();
    guard
        .child()
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    text
}

#[test]
fn it_waits_until_somebody_accepts() {
    let container = Container::new();
    let port = free_port();
    let target = format!("tcp://127.0.0.1:{port}");
    let mut guard = waiting(container.probe(["wait", "--for=20s", &target]));
    let _listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    assert_eq!(guard.wait_within(Duration::from_secs(10)).code(), Some(0));
    assert!(stdout(&mut guard).starts_with(HEALTHY));
}

#[test]
fn the_command_takes_its_place_under_its_id() {
    let container = Container::new();
    let script = "echo $$; printf '[%s]' \"$@\"; echo; echo $MODEL; pwd";
    let mut probe = container.probe(["wait", "exec:true", "--", "sh", "-c", script, "name"]);
    probe
        .args(["a b", "", "--timeout", "ü", "exec:false"])
        .env("MODEL", "large");
    let mut guard = Guard::spawn(probe.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let said = stdout(&mut guard);
    let lines: Vec<&str> = said.lines().collect();
    let here = container.path("").canonicalize().unwrap();
    assert_eq!(
        lines,
        [
            guard.pid().to_string().as_str(),
            "[a b][][--timeout][ü][exec:false]",
            "large",
            here.to_str().unwrap(),
        ]
    );
    assert_eq!(guard.wait_within(Duration::from_secs(5)).code(), Some(0));
}

#[test]
fn the_commands_exit_status_is_its_own() {
    let container = Container::new();
    let run = container.run(["wait", "exec:true", "--", "sh", "-c", "exit 42"]);
    assert_eq!(
        (run.code(), run.stdout.as_str(), run.stderr.as_str()),
        (42, "", "")
    );
}

#[test]
fn the_command_inherits_nothing_of_the_probe() {
    let container = Container::new();
    // An orphan's parent tells who reaps it: not the command, which knows nothing of that.
    let script = "\
        grep SigIgn /proc/self/status; grep SigBlk /proc/self/status; ls /proc/self/fd | wc -l;\
        orphan=$(sh -c 'sleep 3 >/dev/null & echo $!');\
        test $(cut -d' ' -f4 /proc/$orphan/stat) != $$ && echo free; kill $orphan";
    // An exec: check makes the probe a reaper of orphans, a server's an event loop with descriptors.
    let redis = Redis::start();
    let direct = run(through("sh", &["-c", script], &Command::new("x")).env("PATH", path()));
    let after = container.run(["wait", "exec:true", &redis.url(), "--", "sh", "-c", script]);
    assert!(direct.stdout.ends_with("free\n"), "{direct:?}");
    assert_eq!(without_glibcs(&after), without_glibcs(&direct), "{after:?}");
}

/// What it printed, without signals 32 and 33 among the ignored ones: they are glibc's own, and its
/// posix_spawn has children ignore them where the parent has used them.
fn without_glibcs(run: &Run) -> String {
    let masked = |line: &str| match line.strip_prefix("SigIgn:\t") {
        Some(ignored) => {
            let ignored = u64::from_str_radix(ignored, 16).unwrap() & !(0b11 << 31);
            format!("SigIgn:\t{ignored:016x}\n")
        }
        None => format!("{line}\n"),
    };
    run.stdout.lines().map(masked).collect()
}

fn path() -> String {
    std::env::var("PATH").unwrap()
}

#[test]
fn when_time_is_up_it_says_what_is_missing_and_starts_nothing() {
    let container = Container::new();
    let witness = container.path("witness");
    let dead = refused_port();
    let target = format!("redis://127.0.0.1:{}", dead.port());
    let touch = ["--", "touch", witness.to_str().unwrap()];
    let args = ["wait", "--for", "300ms", target.as_str()]
        .into_iter()
        .chain(touch);
    let run = in_time(Duration::from_secs(2), || container.run(args.clone()));
    let said = format!("unhealthy: dependency {target}: connection refused");
    assert_said(&run, 1, &said);
    assert!(
        run.stdout.ends_with(" note     gave up after 300ms\n"),
        "{run:?}"
    );
    assert_eq!(run.stderr, format!("waiting: {said}\n"), "it is said once");
    assert!(run.elapsed >= Duration::from_millis(300), "{run:?}");
    assert!(!witness.exists());
}

#[test]
fn what_passed_before_is_no_reason_to_start() {
    let mut redis = Redis::start();
    let container = Container::new();
    assert_said(&container.ask(redis.url()), 0, HEALTHY);
    redis.kill();
    assert_mentions(&container.ask(redis.url()), 0, &["degraded: "]);
    let run = container.run(["wait", "--for=200ms", &redis.url(), "--", "echo", "started"]);
    assert_mentions(&run, 1, &["unhealthy: ", "connection refused"]);
    assert!(!run.stdout.contains("started"), "{run:?}");
}

#[test]
fn before_a_command_it_waits_for_dependencies_only() {
    let redis = Redis::start();
    let container = Container::new();
    let probe = |args: &[&str]| {
        let mut probe = container.probe(args);
        probe
            .env("READY_AGENT", "not-yet")
            .env("READY_CHECKS", "process:no-such-process-anywhere")
            .env("REDIS_URL", redis.url());
        run(&mut probe)
    };
    let run = probe(&["wait", "--for=5s", "--", "echo", "started"]);
    assert_said(&run, 0, "started");
    // Nobody else is to be started: then everything is waited for.
    let run = probe(&["wait", "--for=200ms"]);
    assert_mentions(&run, 1, &["unhealthy: process:"]);
    // Targets replace them all, whatever their scope.
    let run = probe(&[
        "wait",
        "--for=200ms",
        "agent:not-yet",
        "--",
        "echo",
        "started",
    ]);
    assert_said(&run, 1, "starting: agent not-yet: no signal published");
}

#[test]
fn with_nothing_to_wait_for_the_command_starts_at_once() {
    let container = Container::new();
    assert_said(
        &container.run(["wait", "--", "echo", "started"]),
        0,
        "started",
    );
}

/// A shell has what it starts in the background ignore INT, and these tests may run there.
const HEED: &str = "--default-signal=INT,TERM";

#[test]
fn a_signal_ends_it_as_a_shell_expects() {
    let dead = refused_port();
    let target = format!("tcp://127.0.0.1:{}", dead.port());
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let container = Container::new();
        let probe = container.probe(["wait", &target, "--", "echo", "started"]);
        let mut guard = waiting(through("env", &[HEED], &probe));
        guard.signal(signal);
        let status = guard.wait_within(Duration::from_secs(5));
        assert_eq!(status.code(), Some(code));
        assert_eq!(stdout(&mut guard), "");
    }
}

#[test]
fn a_signal_ends_it_as_process_1_too() {
    let dead = refused_port();
    let target = format!("tcp://127.0.0.1:{}", dead.port());
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let container = Container::new();
        let probe = container.probe(["wait", &target]);
        let mut guard = waiting(through(
            "unshare",
            &["--pid", "--fork", "--kill-child", "env", HEED],
            &probe,
        ));
        let children = format!("/proc/{0}/task/{0}/children", guard.pid());
        let init = std::fs::read_to_string(children).unwrap();
        let init = rustix::process::Pid::from_raw(init.trim().parse().unwrap()).unwrap();
        rustix::process::kill_process(init, signal).unwrap();
        assert_eq!(guard.wait_within(Duration::from_secs(5)).code(), Some(code));
    }
}

#[test]
fn a_signal_in_the_middle_of_a_command_leaves_nothing_of_it() {
    let container = Container::new();
    let witness = container.path("pid");
    let target = format!(
        "exec:sh -c 'echo $$ >{}; exec sleep 1000'",
        witness.display()
    );
    let mut probe = container.probe(["wait", &target]);
    let mut guard = Guard::spawn(probe.stdout(Stdio::null()).stderr(Stdio::null()));
    let pid = wait_until(Duration::from_secs(5), "the command", || {
        let text = std::fs::read_to_string(&witness).ok()?;
        text.trim().parse::<u32>().ok()
    });
    guard.signal(Signal::TERM);
    assert_eq!(guard.wait_within(Duration::from_secs(5)).code(), Some(143));
    let gone = || !std::path::Path::new(&format!("/proc/{pid}")).exists();
    assert!(gone(), "process {pid} is left");
}

#[test]
fn each_probe_of_it_has_the_time_of_one_probe() {
    let container = Container::new();
    let count = container.path("count");
    let target = format!("exec:sh -c 'echo x >>{}; sleep 100'", count.display());
    let mut probe = container.probe(["wait", "--for=1500ms", &target]);
    let run = in_time(Duration::from_secs(3), || {
        std::fs::write(&count, "").unwrap();
        run(probe.env("READY_TIMEOUT", "100ms"))
    });
    assert_mentions(&run, 1, &["no answer within "]);
    let asked = std::fs::read_to_string(&count).unwrap().lines().count();
    assert!(asked >= 2, "asked {asked} times");
}

#[test]
fn quiet_says_nothing_while_it_waits() {
    let container = Container::new();
    let run = container.run(["wait", "-q", "--for=150ms", "exec:false"]);
    assert_eq!((run.code(), run.stderr.as_str()), (1, ""), "{run:?}");
    assert_eq!(run.stdout.lines().count(), 1, "{run:?}");
}
