//! Programs of a real supervisord, and a supervisord that can't be asked.

use std::time::Duration;

use ready_probe_test_support::hostile::{Behaviour, Hostile};
use ready_probe_test_support::http::{HttpServer, Response};
use ready_probe_test_support::process::{Run, Signal, free_port, wait_until};
use ready_probe_test_support::servers::Supervisord;
use rustix::process::{Pid, kill_process};

use crate::container::{Container, assert_mentions, assert_said, assert_starts, row};
use crate::long_poll::Caller;

const LIMIT: Duration = Duration::from_secs(20);
const RUNS: (&str, &str) = ("runs", "command=sleep 1000\nstartsecs=0");

fn ask(supervisord: &Supervisord, program: &str) -> Run {
    Container::new().ask(target(supervisord, program))
}

fn target(supervisord: &Supervisord, program: &str) -> String {
    format!(
        "supervisor:{program}#socket={}",
        supervisord.socket().display()
    )
}

/// `fail FATAL: …`
fn said(run: &Run) -> String {
    let line = run.stdout.lines().nth(1).unwrap().trim_start();
    let (word, rest) = line.split_once(' ').unwrap();
    let (_, text) = rest.trim_start().split_once(' ').unwrap();
    format!("{word} {}", text.trim_start())
}

#[test]
fn each_state_of_a_program_is_what_supervisorctl_shows() {
    let supervisord = Supervisord::start(
        "",
        &[
            RUNS,
            ("starts", "command=sleep 1000\nstartsecs=1000"),
            ("stays", "command=sleep 1000\nautostart=false"),
            (
                "ends",
                "command=sh -c 'exit 3'\nstartsecs=0\nautorestart=false",
            ),
            ("missing", "command=/no/such/program\nstartretries=0"),
            ("again", "command=/no/such/program\nstartretries=1000"),
            (
                "many",
                "command=sleep 1000\nstartsecs=0\nnumprocs=2\nprocess_name=%(program_name)s_%(process_num)s",
            ),
        ],
    );
    for (program, state, wanted) in [
        ("runs", "RUNNING", "pass "),
        ("many:many_1", "RUNNING", "pass "),
        ("starts", "STARTING", "fail STARTING"),
        ("stays", "STOPPED", "fail STOPPED: Not started"),
        ("ends", "EXITED", "fail EXITED with status 3"),
        (
            "missing",
            "FATAL",
            "fail FATAL: can't find command '/no/such/program'",
        ),
        (
            "again",
            "BACKOFF",
            "fail BACKOFF: can't find command '/no/such/program'",
        ),
        (
            "many",
            "no such process",
            "unknown supervisord knows no program of this name",
        ),
        (
            "nobody",
            "no such process",
            "unknown supervisord knows no program of this name",
        ),
    ] {
        supervisord.wait_for(program, state);
        let run = ask(&supervisord, program);
        assert!(said(&run).starts_with(wanted), "{program}: {run:?}");
    }
    // It has not come up yet.
    assert_starts(
        &ask(&supervisord, "starts"),
        1,
        "starting: supervisor:starts#socket=",
    );
    assert_starts(
        &ask(&supervisord, "missing"),
        1,
        "unhealthy: supervisor:missing#socket=",
    );
}

#[test]
fn a_program_that_a_person_has_stopped_says_so() {
    let supervisord = Supervisord::start("", &[RUNS]);
    supervisord.wait_for("runs", "RUNNING");
    supervisord.ctl(&["stop", "runs"]);
    let run = ask(&supervisord, "runs");
    assert_mentions(&run, 1, &["unhealthy: ", ": STOPPED: "]);
    supervisord.ctl(&["start", "runs"]);
    assert_said(&ask(&supervisord, "runs"), 0, "healthy: 1 check passes");
}

#[test]
fn a_supervisord_that_cannot_be_asked_is_no_program_that_is_down() {
    let mut supervisord = Supervisord::start("", &[RUNS]);
    supervisord.wait_for("runs", "RUNNING");
    let container = Container::new();
    let target = format!("{}&timeout=700ms", target(&supervisord, "runs"));
    let socket = supervisord.socket().display().to_string();
    assert_said(&container.ask(&target), 0, "healthy: 1 check passes");
    supervisord.pause();
    let hangs = container.ask(&target);
    assert_mentions(
        &hangs,
        1,
        &[&format!(
            "no answer within 700ms (connected to {socket}, no answer)"
        )],
    );
    assert_eq!(said(&hangs).split_once(' ').unwrap().0, "unknown");
    supervisord.resume();
    wait_until(LIMIT, "it to answer again", || {
        (container.ask(&target).code() == 0).then_some(())
    });
    supervisord.kill();
    let run = container.ask(&target);
    assert_mentions(
        &run,
        1,
        &["unhealthy: ", &format!("{socket}: connection refused")],
    );
    assert_starts(
        &container.ask("supervisor:runs#socket=/no/such.sock"),
        1,
        "unhealthy: supervisor:runs#socket=/no/such.sock: /no/such.sock: no such socket",
    );
}

#[test]
fn what_is_no_supervisord_answers_nothing() {
    for behaviour in [
        Behaviour::Reset,
        Behaviour::Garbage(b"SSH-2.0-OpenSSH\r\n".to_vec()),
        Behaviour::CloseAfter(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n<name>".to_vec()),
        Behaviour::EndlessAfter {
            first: b"HTTP/1.1 200 OK\r\n\r\n".to_vec(),
            then: b"<name>statename</name>".to_vec(),
        },
    ] {
        let hostile = Hostile::unix(behaviour);
        let target = format!(
            "supervisor:x#timeout=2s&socket={}",
            hostile.path().display()
        );
        let run = Container::new().ask(&target);
        assert!(
            run.code() == 1 && said(&run).starts_with("unknown "),
            "{run:?}"
        );
    }
    let server = HttpServer::start(|_| Response::new(404));
    let address = server.addr().to_string();
    let run = Container::new().ask(format!("supervisor:x#inet={address}"));
    assert_mentions(
        &run,
        1,
        &["status 404 Not Found, which is not supervisord's"],
    );
}

#[test]
fn user_and_password_are_sent_and_never_printed() {
    let port = free_port();
    let server = format!(
        "username=u\npassword=hUnTeR2\n[inet_http_server]\nport=127.0.0.1:{port}\nusername=u\npassword=hUnTeR2"
    );
    let supervisord = Supervisord::start(&server, &[RUNS]);
    let container = Container::new();
    // Whether supervisord itself works can be told without them.
    let run = container.ask(format!("http://127.0.0.1:{port}/#status=200-499"));
    assert_said(&run, 0, "healthy: 1 check passes");
    for place in [
        format!("socket={}", supervisord.socket().display()),
        format!("inet=127.0.0.1:{port}"),
    ] {
        let run = container.ask(format!("supervisor:runs#{place}"));
        assert_mentions(&run, 1, &["supervisord wants another user and password"]);
        let run = container.ask(format!("supervisor:runs#{place}&user=u&password=wrong"));
        assert_mentions(&run, 1, &["supervisord wants another user and password"]);
        let run = container.ask(format!("supervisor:runs#{place}&user=u&password=hUnTeR2"));
        assert_said(&run, 0, "healthy: 1 check passes");
        let label = format!("supervisor:runs#{place}&user=u&password=***");
        assert_eq!(row(&run, &label).0, "pass");
        assert!(!run.stdout.contains("hUnTeR2"), "{run:?}");
    }
}

/// Its end is told within a recheck, not by the next look of an engine.
#[test]
fn a_held_answer_ends_when_a_program_does() {
    let supervisord = Supervisord::start(
        "",
        &[("dies", "command=sleep 1000\nstartsecs=0\nautorestart=false")],
    );
    supervisord.wait_for("dies", "RUNNING");
    let container = Container::new();
    let target = format!("{}&recheck=100ms&confirm=0", target(&supervisord, "dies"));
    let caller = Caller::new(&container, &["--agent", "off", &target]);
    let hold = caller.hold();
    let pid = i32::try_from(supervisord.pid("dies")).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    let run = hold.ends();
    assert_mentions(&run, 1, &["unhealthy: ", "EXITED with status"]);
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (target, why) in [
        ("supervisor:", "it needs a program"),
        ("supervisor:x#socket=run.sock", "absolute path"),
        ("supervisor:x#inet=nowhere", "inet=HOST:PORT"),
        ("supervisor:x#user=u", "need each other"),
        ("supervisor:x#socket=/a&inet=a:1", "exclude each other"),
        ("supervisor:x#host=a", "is no option of supervisor"),
    ] {
        let run = Container::new().ask(target);
        assert!(
            run.code() == 64 && run.stderr.contains(why),
            "{target}: {run:?}"
        );
    }
}
