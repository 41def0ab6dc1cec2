//! What is asked of this container itself: sockets, processes, pid files, files.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use ready_probe_test_support::hostile::{Behaviour, Hostile, refused_port};
use ready_probe_test_support::process::{Guard, Signal, run, wait_until};

use crate::container::{Container, assert_mentions, assert_said, through};

const HEALTHY: &str = "healthy: 1 check passes";

fn ask(target: &str) -> String {
    let report = Container::new().json([target]);
    let check = &report["checks"][0];
    let (word, reason) = (
        check["outcome"].as_str().unwrap(),
        check["reason"].as_str().unwrap(),
    );
    format!("{word} {reason}").trim_end().to_owned()
}

/// A process that nobody else's pattern matches.
fn sleeper(mark: &str) -> Guard {
    let mut command = Command::new("sleep");
    command.arg("1000").arg0(mark);
    Guard::spawn(&mut command)
}

#[test]
fn somebody_accepts_or_not() {
    let tcp = Hostile::tcp(Behaviour::Silent);
    let unix = Hostile::unix(Behaviour::Silent);
    assert_eq!(ask(&format!("tcp://127.0.0.1:{}", tcp.port())), "pass");
    assert_eq!(ask(&format!("unix://{}", unix.path().display())), "pass");
    let dead = refused_port();
    let target = format!("tcp://127.0.0.1:{}", dead.port());
    assert_eq!(ask(&target), "fail connection refused");
    let unknown = "unknown connection refused; it has never passed";
    assert_eq!(ask(&format!("{target}#scope=dependency")), unknown);
    assert_eq!(ask("unix:///no/such.sock"), "fail no such socket");
    let container = Container::new();
    let socket = container.path("left.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert_eq!(
        ask(&format!("unix://{}", socket.display())),
        "fail connection refused"
    );
}

#[test]
fn a_process_matches_by_a_part_of_its_arguments() {
    let _sleeper = sleeper("rp-match-one");
    assert_eq!(ask("process:rp-match-one"), "pass");
    assert_eq!(ask("process:match-one 1000"), "pass");
    assert_eq!(ask("process:rp-match-one 1001"), "fail no process matches");
    let target = "process:rp-match-one#min=2";
    assert_eq!(ask(target), "fail 1 processes match, 2 needed");
    let _second = sleeper("rp-match-one");
    assert_eq!(ask(target), "pass");
}

#[test]
fn a_process_that_has_ended_does_not_match_even_as_a_zombie() {
    let mut sleeper = sleeper("rp-match-dead");
    assert_eq!(ask("process:rp-match-dead"), "pass");
    sleeper.signal(Signal::KILL);
    let stat = format!("/proc/{}/stat", sleeper.pid());
    wait_until(Duration::from_secs(5), "a zombie", || {
        fs::read_to_string(&stat)
            .unwrap()
            .contains(") Z ")
            .then_some(())
    });
    assert_eq!(ask("process:rp-match-dead"), "fail no process matches");
}

#[test]
fn a_process_that_cannot_be_seen_is_not_absent() {
    let container = Container::new();
    let as_nobody = "exec setpriv --reuid=65534 --regid=65534 --clear-groups \"$0\" \"$@\"";
    for (proc, said) in [
        (
            "mount -t proc -o hidepid=2 none /proc",
            "0 of 1 processes match, and others can't be looked at",
        ),
        (
            "mount -t tmpfs none /proc",
            "/proc does not show the processes of this container",
        ),
    ] {
        for target in ["process:rp-match-hidden", "process:rp-match-hidden#not"] {
            let script = format!("{proc} && {as_nobody}");
            let probe = container.probe([target]);
            let unshare = ["--mount", "sh", "-c", &script];
            let run = run(&mut through("unshare", &unshare, &probe));
            assert_mentions(&run, 1, &["unhealthy: ", said]);
        }
    }
}

#[test]
fn neither_the_probe_nor_its_shells_nor_other_probes_match() {
    let container = Container::new();
    let pattern = "process:rp-match-nobody";
    assert_mentions(&container.ask(pattern), 1, &["no process matches"]);
    // A health check in shell form, in two shells even.
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        "sh -c '\"$0\" \"$1\"; exit $?' \"$0\" \"$1\"; exit $?",
    ]);
    shell
        .arg(ready_probe_test_support::process::probe_binary())
        .arg(pattern);
    shell.env("READY_DIR", container.ready_dir());
    assert_mentions(&run(&mut shell), 1, &["no process matches"]);
    // Another probe, which hangs, at the same time.
    let silent = Hostile::tcp(Behaviour::Silent);
    let mut other = container.probe([format!("redis://127.0.0.1:{}", silent.port())]);
    let _other = Guard::spawn(other.arg(pattern).stdout(Stdio::null()));
    wait_until(Duration::from_secs(5), "the other probe", || {
        (silent.connections() == 1).then_some(())
    });
    assert_mentions(&container.ask(pattern), 1, &["no process matches"]);
}

#[test]
fn an_init_wrapper_does_not_match_and_what_it_runs_does() {
    for wrapper in ["tini", "/sbin/docker-init", "dumb-init", "catatonit"] {
        let mut command = Command::new("sh");
        // It repeats its child's arguments, as all of them do.
        command
            .arg0(wrapper)
            .args(["-c", "read _", "rp-match-init"]);
        let mut guard = Guard::spawn(command.stdin(Stdio::piped()).stdout(Stdio::null()));
        assert_eq!(
            ask("process:rp-match-init"),
            "fail no process matches",
            "{wrapper}"
        );
        guard.signal(Signal::KILL);
    }
    let mut command = Command::new("sh");
    command
        .arg0("titania")
        .args(["-c", "read _", "rp-match-init"]);
    let _guard = Guard::spawn(command.stdin(Stdio::piped()).stdout(Stdio::null()));
    assert_eq!(ask("process:rp-match-init"), "pass");
}

#[test]
fn a_pattern_may_hold_a_hash() {
    let _sleeper = sleeper("rp-match#1");
    assert_eq!(ask("process:rp-match#1"), "pass");
    assert_eq!(ask("process:rp-match#1#min=1"), "pass");
    assert_eq!(
        ask("process:rp-match#1#min=2"),
        "fail 1 processes match, 2 needed"
    );
    assert_eq!(ask("process:rp-match#2"), "fail no process matches");
    assert_eq!(ask("process:rp-match#2#not"), "pass no process matches");
}

#[test]
fn the_process_of_a_pid_file_is_alive() {
    let container = Container::new();
    let mut sleeper = sleeper("rp-pid");
    for text in [
        format!("{}", sleeper.pid()),
        format!("  {}\n\n", sleeper.pid()),
    ] {
        let file = container.file("pid", text);
        assert_eq!(ask(&format!("pid:{}", file.display())), "pass");
    }
    let pid = sleeper.pid();
    sleeper.signal(Signal::KILL);
    let target = format!("pid:{}", container.path("pid").display());
    wait_until(Duration::from_secs(5), "a zombie", || {
        (ask(&target) == format!("fail process {pid} has died and is a zombie")).then_some(())
    });
    sleeper.wait_within(Duration::from_secs(5));
    assert_eq!(ask(&target), format!("fail process {pid} is gone"));
}

#[test]
fn a_pid_file_older_than_its_process_was_left_by_another() {
    let container = Container::new();
    let sleeper = sleeper("rp-pid-young");
    let path = container.file("pid", sleeper.pid().to_string());
    let set = |age: Duration| {
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    };
    let target = format!("pid:{}", path.display());
    set(Duration::from_secs(60));
    let younger = "is younger than the file: another one has its id";
    assert_eq!(
        ask(&target),
        format!("fail process {} {younger}", sleeper.pid())
    );
    // A file system's clock may be coarse.
    set(Duration::from_secs(1));
    assert_eq!(ask(&target), "pass");
}

#[test]
fn what_is_no_pid_file_is_told() {
    let container = Container::new();
    for text in ["", "x", "-1", "0", "99999999999"] {
        let file = container.file("pid", text);
        assert_eq!(
            ask(&format!("pid:{}", file.display())),
            "fail it holds no process id",
            "{text}"
        );
    }
    assert_eq!(ask("pid:/no/such.pid"), "fail no such file");
    let folder = "unknown not a regular file; it has never passed";
    assert_eq!(ask("pid:/proc"), folder);
    let gone = container.file("pid", "4194304");
    assert_eq!(
        ask(&format!("pid:{}", gone.display())),
        "fail process 4194304 is gone"
    );
}

#[test]
fn a_file_exists_is_young_and_contains_a_text() {
    let container = Container::new();
    let path = container.file("beat", "state=ready\n");
    let target = format!("file:{}", path.display());
    assert_eq!(ask(&target), "pass");
    assert_eq!(ask("file:/no/such/file"), "fail no such file");
    assert_eq!(ask("file:/etc/passwd/x"), "fail no such file");
    assert_eq!(ask("file:/proc"), "pass", "a folder is there as well");
    assert_eq!(ask(&format!("{target}#contains=state%3Dready")), "pass");
    assert_eq!(
        ask(&format!("{target}#contains=stopped")),
        "fail it does not contain the text"
    );
    assert_eq!(ask(&format!("{target}#max_age=1m")), "pass");
    let file = File::options().write(true).open(&path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(3_600))
        .unwrap();
    let old = "fail last modified 1h ago (limit 1m)";
    assert_eq!(ask(&format!("{target}#max_age=1m&contains=ready")), old);
    file.set_modified(SystemTime::now() + Duration::from_secs(3_600))
        .unwrap();
    assert_eq!(ask(&format!("{target}#max_age=1m")), "pass");
}

#[test]
fn of_a_large_file_the_first_mebibyte_is_searched() {
    let container = Container::new();
    let mut text = vec![b'x'; 1024 * 1024 + 10];
    text[1024 * 1024 - 4..1024 * 1024].copy_from_slice(b"last");
    text[1024 * 1024 + 1..1024 * 1024 + 5].copy_from_slice(b"late");
    let target = format!("file:{}", container.file("large", text).display());
    assert_eq!(ask(&format!("{target}#contains=last")), "pass");
    let run = container.ask(format!("{target}#contains=late"));
    assert_mentions(&run, 1, &["it is larger than 1 MiB"]);
    assert!(run.peak_rss_kib < 8 * 1024, "{run:?}");
    let run = container.ask("file:/dev/zero#contains=x");
    assert_mentions(&run, 1, &["not a regular file"]);
}

#[test]
fn a_file_that_may_not_be_read_is_not_an_answer() {
    let container = Container::new();
    let path = container.file("secret", "text");
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let target = format!("file:{}#contains=text", path.display());
    assert_eq!(container.ask(&target).code(), 0);
    let mut probe = container.probe([&target]);
    assert_mentions(
        &run(probe.uid(65_534).gid(65_534)),
        1,
        &["permission denied"],
    );
}

#[test]
fn a_path_may_hold_a_hash() {
    let container = Container::new();
    let path = container.file("a#1", "");
    let target = format!("file:{}", path.display());
    assert_said(&container.ask(&target), 0, HEALTHY);
    assert_said(&container.ask(format!("{target}#max_age=1m")), 0, HEALTHY);
    let both = container.file("b#max_age=1h", "");
    assert_mentions(
        &container.ask(format!("file:{}", both.display())),
        1,
        &["no such file"],
    );
    assert_said(
        &container.ask(format!("file:{}#optional=false", both.display())),
        0,
        HEALTHY,
    );
}
