//! `ready-probe run`: starting a program, its signals, its end, and what it leaves.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use ready_probe_test_support::process::{Guard, Signal, copy_program, probe, run, wait_until};

use crate::container::Container;
use crate::speaker::{LIMIT, PYTHON, Speaker, lives, records, signal, wait_for};

const NOBODY: u32 = 65_534;

#[test]
fn the_commands_status_is_its_own() {
    let container = Container::new();
    for (script, code) in [
        ("exit 0", 0),
        ("exit 42", 42),
        ("kill -KILL $$", 137),
        ("kill -TERM $$", 143),
    ] {
        let run = container.run(["run", "worker", "--", "sh", "-c", script]);
        assert_eq!((run.code(), run.stdout.as_str()), (code, ""), "{script}");
    }
}

#[test]
fn a_command_that_cannot_be_run_is_126_or_127() {
    let container = Container::new();
    let script = container.file("script", "#!/bin/sh\n");
    let table = [
        (
            "/no/such/command",
            127,
            "No such file or directory (os error 2)",
        ),
        (
            "no-such-command",
            127,
            "No such file or directory (os error 2)",
        ),
        (
            script.to_str().unwrap(),
            126,
            "Permission denied (os error 13)",
        ),
        ("/", 126, "Permission denied (os error 13)"),
    ];
    for (command, code, why) in table {
        for start in [&["run", "worker"][..], &["wait", "exec:true"]] {
            let run = container.run(start.iter().chain(&["--", command]));
            let said = format!("ready-probe: the command {command} can't be run: {why}\n");
            assert_eq!((run.code(), run.stderr), (code, said), "{start:?}");
        }
    }
    assert!(records(&container).is_empty());
    let run = container.run(["run", "worker"]);
    assert_eq!(run.code(), 64, "{run:?}");
    for wrong in [
        &["run", "off", "--", "true"][..],
        &["run", "worker", "--ttl=1ms", "--", "true"],
        &["run", "worker", "--ready-line=*", "--", "true"],
        &["run", "worker", "--notify-from=me", "--", "true"],
        &["run", "worker", "--when=htp://x", "--", "true"],
        &["run", "worker", "--watchdog=5", "--", "true"],
    ] {
        let run = container.run(wrong);
        assert_eq!(run.code(), 64, "{run:?}");
        assert_eq!(run.stderr.lines().count(), 1, "{run:?}");
    }
}

#[test]
fn a_crash_is_named_until_the_agent_is_started_anew() {
    let container = Container::new();
    for (script, how) in [
        ("echo $$; exit 3", "exited with 3"),
        ("echo $$; kill -KILL $$", "killed by SIGKILL"),
    ] {
        let run = container.run(["run", "worker", "--", "sh", "-c", script]);
        let gone = format!("process {} is gone: {how}", run.stdout.trim());
        wait_for(&container, &format!("unhealthy: agent worker: {gone}"));
        assert_eq!(records(&container).len(), 1);
    }
    // What ends well leaves nothing behind, its predecessors included.
    assert_eq!(container.run(["run", "worker", "--", "true"]).code(), 0);
    assert!(records(&container).is_empty());
}

#[test]
fn what_could_not_be_written_is_written_soon_and_not_with_the_next_beat() {
    // Which is ten minutes away.
    let program = Speaker::start_with(&["--ttl=1h"], |command| {
        let settings: Vec<_> = command.get_envs().collect();
        let folder = settings.iter().find(|(name, _)| *name == "READY_DIR");
        // No folder can be made in the place of a file.
        fs::write(folder.unwrap().1.unwrap(), "").unwrap();
    });
    program.wait_said("the signal of agent worker can't be written");
    fs::remove_file(program.container.ready_dir()).unwrap();
    assert_eq!(program.record()["state"], "starting");
}

#[test]
fn sigterm_ends_a_program_that_is_not_ready_yet() {
    let mut program = Speaker::start(&[]);
    program.wait_for("starting: agent worker: starting: no READY=1 yet");
    program.guard.signal(Signal::TERM);
    assert_eq!(program.code(), Some(143));
    assert!(records(&program.container).is_empty());
    assert_eq!(program.stderr(), "");
}

#[test]
fn a_program_that_drains_is_stopping_meanwhile() {
    let mut program = Speaker::start(&[]);
    program.does("say('READY=1')");
    program.does("signal.signal(signal.SIGTERM, lambda *_: tell('draining'))");
    program.wait_ready();
    program.guard.signal(Signal::TERM);
    assert_eq!(program.line(), "draining");
    program.wait_for("unhealthy: agent worker: stopping: SIGTERM");
    program.does("sys.exit(5)");
    assert_eq!(program.code(), Some(5));
    // It was asked to end: that is no crash.
    assert!(records(&program.container).is_empty());
}

#[test]
fn signals_go_to_the_command_alone() {
    let mut program = Speaker::start(&[]);
    program.does("names = [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH, signal.SIGALRM]");
    program.does("[signal.signal(n, lambda n, _: tell(signal.Signals(n).name)) for n in names]");
    program.does("child = fork('tell(\"child\")')");
    assert_eq!(program.line(), "child");
    for (sent, name) in [
        (Signal::HUP, "SIGHUP"),
        (Signal::INT, "SIGINT"),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::USR1, "SIGUSR1"),
        (Signal::USR2, "SIGUSR2"),
        (Signal::WINCH, "SIGWINCH"),
        (Signal::ALARM, "SIGALRM"),
    ] {
        program.guard.signal(sent);
        assert_eq!(program.line(), name);
    }
    // Each came once, and to nobody else.
    assert_eq!(program.tells("tell('that is all')"), "that is all");
}

/// A terminal that hangs up tells the leader of its session alone: see tty_signal_session_leader() in
/// drivers/tty/tty_jobctrl.c.
#[test]
fn where_run_leads_the_session_the_end_of_its_terminal_reaches_the_command() {
    let container = Container::new();
    let begun = container.path("begun");
    // It outlives no test that fails.
    let heeds = "import pathlib, signal, sys\n\
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])\n\
        signal.alarm(60)\n\
        pathlib.Path('begun').touch()\n\
        sys.exit(7 if signal.sigwait([signal.SIGHUP]) else 1)";
    let on_a_terminal = "import os, pathlib, pty, sys, time\n\
        pid, terminal = pty.fork()\n\
        if pid == 0: os.execv(sys.argv[1], sys.argv[1:])\n\
        while not pathlib.Path('begun').exists(): time.sleep(0.01)\n\
        os.close(terminal)\n\
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))";
    let probe = container.probe(["run", "worker", "--", PYTHON, "-c", heeds]);
    let mut python = Command::new(PYTHON);
    python
        .args(["-c", on_a_terminal])
        .arg(probe.get_program())
        .args(probe.get_args())
        .env("READY_DIR", container.ready_dir())
        .current_dir(container.path(""));
    let ended = run(&mut python);
    assert!(begun.exists(), "{ended:?}");
    assert_eq!(ended.code(), 7, "{ended:?}");
}

#[test]
fn the_command_stays_in_our_group_and_session() {
    let mut program = Speaker::start(&[]);
    let mine =
        "tell(os.getpgrp() == os.getpgid(os.getppid()), os.getsid(0) == os.getsid(os.getppid()))";
    assert_eq!(program.tells(mine), "True True");
    let parent = program.tells("tell(os.getppid())");
    assert_eq!(parent, program.guard.pid().to_string());
}

#[test]
fn what_is_left_over_is_ended_with_the_command() {
    let container = Container::new();
    let script = "sleep 1000 & echo $!; (trap '' TERM; exec setsid sleep 1000) & echo $!; \
                  (sh -c 'sleep 1000 & echo $!; exit 0')";
    let run = container.run(["run", "worker", "--", "sh", "-c", script]);
    assert_eq!(run.code(), 0, "{run:?}");
    let left: Vec<u32> = run.stdout.lines().map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(left.len(), 3);
    assert!(left.iter().all(|pid| !lives(*pid)), "{left:?}");
    assert!(
        run.stderr
            .contains("left 3 processes, which have been ended"),
        "{run:?}"
    );
    assert!(run.stderr.contains("MAINPID"), "{run:?}");
}

#[test]
fn a_check_that_is_under_way_is_not_left_by_the_command() {
    let container = Container::new();
    let begun = container.path("begun");
    let when = format!(
        "--when=exec:sh -c 'touch {}; exec sleep 1000'",
        begun.display()
    );
    let script = format!(
        "until [ -e {} ]; do sleep 0.05; done; exit 0",
        begun.display()
    );
    let options = ["run", "worker", &when, "--timeout=1h", "--"];
    let run = container.run(options.into_iter().chain(["sh", "-c", &script]));
    assert_eq!((run.code(), run.stderr.as_str()), (0, ""));
}

#[test]
fn what_was_there_before_is_left_alone() {
    let container = Container::new();
    let probe = container.probe(["run", "worker", "--", "true"]);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "sleep 1000 & echo $!; exec \"$0\" \"$@\""])
        .arg(probe.get_program())
        .args(probe.get_args())
        .env("READY_DIR", container.ready_dir())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut guard = Guard::spawn(&mut shell);
    let mut line = String::new();
    let mut stdout = std::io::BufReader::new(guard.child().stdout.take().unwrap());
    std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
    assert_eq!(guard.wait_within(LIMIT).code(), Some(0));
    let server: u32 = line.trim().parse().unwrap();
    let still = lives(server);
    signal(server, Signal::KILL);
    assert!(still);
}

#[test]
fn a_check_that_runs_commands_ends_nothing_of_the_programs() {
    let container = Container::new();
    let options = ["--when=exec:sh -c 'sleep 0.05'", "--recheck=50ms"];
    let mut command = container.probe(["run", "worker"]);
    // Each of them loses its parent at once, and is this process's child then.
    let script = "for i in 1 2 3 4 5 6 7 8 9 10; do sh -c 'setsid sleep 1000 & echo $!'; sleep 0.1; done; read end";
    command.args(options).args(["--", "sh", "-c", script]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut guard = Guard::spawn(&mut command);
    let mut stdout = std::io::BufReader::new(guard.child().stdout.take().unwrap());
    let mut pids = Vec::new();
    for _ in 0..10 {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
        pids.push(line.trim().parse().unwrap());
    }
    wait_for(&container, "healthy: 1 check passes");
    assert!(pids.iter().all(|pid| lives(*pid)), "{pids:?}");
    drop(guard.child().stdin.take());
    guard.wait_within(LIMIT);
    assert!(pids.iter().all(|pid| !lives(*pid)), "{pids:?}");
}

#[test]
fn killed_it_leaves_the_program_and_the_signal_ends_with_its_ttl() {
    let mut program = Speaker::start(&["--ttl", "1s"]);
    program.does("say('READY=1')");
    program.wait_ready();
    let pid: u32 = program.tells("tell(os.getpid())").parse().unwrap();
    program.guard.signal(Signal::KILL);
    wait_until(LIMIT, "the signal to expire", || {
        let said = program.ask();
        said.first_line()
            .contains("worker: expired: last beat ")
            .then_some(())
    });
    assert!(lives(pid));
    signal(pid, Signal::KILL);
}

#[test]
fn sockets_that_were_handed_over_are_the_commands() {
    let container = Container::new();
    let file = container.file("listening", "");
    let probe = container.probe(["run", "worker", "--watchdog=5s", "--", "sh", "-c"]);
    let told = "echo $$ $LISTEN_PID $WATCHDOG_PID $LISTEN_FDS; readlink /proc/$$/fd/3";
    let mut shell = Command::new("sh");
    shell
        .args([
            "-c",
            "exec 3<listening; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\"",
        ])
        .arg(probe.get_program())
        .args(probe.get_args())
        .arg(told)
        .env("READY_DIR", container.ready_dir())
        .current_dir(container.path(""));
    let run = run(&mut shell);
    let lines: Vec<&str> = run.stdout.lines().collect();
    let [pids, listening] = lines.as_slice() else {
        panic!("{run:?}")
    };
    let words: Vec<&str> = pids.split(' ').collect();
    assert_eq!(words, [words[0], words[0], words[0], "1"], "{run:?}");
    assert_eq!(*listening, file.canonicalize().unwrap().to_str().unwrap());
    let missing = container.run(["run", "worker", "--watchdog=5s", "--", "/no/such/command"]);
    assert_eq!(missing.code(), 127, "{missing:?}");
    assert!(
        missing.stderr.contains("/no/such/command can't be run"),
        "{missing:?}"
    );
}

#[test]
fn a_program_that_has_become_another_user_is_told_to_be_out_of_reach() {
    let container = Container::new();
    // A program that becomes root whoever starts it.
    let setpriv = container.path("setpriv");
    copy_program(Path::new("/usr/bin/setpriv"), &setpriv);
    fs::set_permissions(&setpriv, fs::Permissions::from_mode(0o4755)).unwrap();
    fs::create_dir(container.ready_dir()).unwrap();
    fs::set_permissions(container.ready_dir(), fs::Permissions::from_mode(0o1777)).unwrap();
    let stderr = fs::File::create(container.path("stderr")).unwrap();
    let mut command = probe();
    command
        .args(["run", "worker", "--"])
        .arg(&setpriv)
        .args([
            "--reuid=0",
            "--regid=0",
            "--clear-groups",
            "sh",
            "-c",
            "echo $$; exec sleep 1000",
        ])
        .env("READY_DIR", container.ready_dir())
        .uid(NOBODY)
        .gid(NOBODY)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(stderr);
    let mut guard = Guard::spawn(&mut command);
    let mut line = String::new();
    let mut stdout = std::io::BufReader::new(guard.child().stdout.take().unwrap());
    std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
    let pid: u32 = line.trim().parse().unwrap();
    let said = || fs::read_to_string(container.path("stderr")).unwrap();
    wait_until(LIMIT, "run to say that nobody believes it", || {
        let ignored = "its file belongs to user 65534, the process to user 0";
        said().contains(ignored).then_some(())
    });
    guard.signal(Signal::TERM);
    wait_until(LIMIT, "run to say that it may not", || {
        let refused =
            format!("SIGTERM can't be passed on to process {pid}, which runs as another user");
        said().contains(&refused).then_some(())
    });
    assert!(lives(pid));
    signal(pid, Signal::TERM);
    assert_eq!(guard.wait_within(LIMIT).code(), Some(143));
}
