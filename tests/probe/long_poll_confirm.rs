//! `--long-poll`: who was healthy is forgiven what does not last, except what an agent says of itself.

use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::{Duration, Instant};

use ready_probe_test_support::http::{HttpServer, Response};
use ready_probe_test_support::process::{Guard, Run, Signal, free_port, wait_until};
use ready_probe_test_support::servers::Redis;

use crate::container::{Container, assert_mentions, assert_starts, row};
use crate::long_poll::{Caller, SOON, tell, unless_late, was_at_once};

/// Answers with this status; 0 is no answer at all.
struct Server {
    http: HttpServer,
    status: Arc<AtomicU16>,
    last_pass: Arc<Mutex<Instant>>,
}

impl Server {
    fn start() -> Self {
        let status = Arc::new(AtomicU16::new(200));
        let last_pass = Arc::new(Mutex::new(Instant::now()));
        let (answers, passed) = (Arc::clone(&status), Arc::clone(&last_pass));
        let http = HttpServer::start(move |_| match answers.load(Ordering::SeqCst) {
            0 => Response::new(200).delay(Duration::from_secs(600)),
            status => {
                if status == 200 {
                    *passed.lock().unwrap() = Instant::now();
                }
                Response::new(status)
            }
        });
        Self {
            http,
            status,
            last_pass,
        }
    }

    fn target(&self, options: &str) -> String {
        format!("{}#name=service&{options}", self.http.url("/"))
    }

    /// From now on; comes back when it has been asked for the second time since.
    fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
        let before = self.http.requests().len();
        wait_until(SOON, "two questions", || {
            (self.http.requests().len() >= before + 2).then_some(())
        });
    }

    fn passed_ago(&self) -> Duration {
        self.last_pass.lock().unwrap().elapsed()
    }
}

#[test]
fn what_does_not_last_is_no_news() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let server = Server::start();
    let caller = Caller::new(&container, &["agent:a", &server.target("recheck=100ms")]);
    let mut hold = caller.hold();
    for _ in 0..3 {
        server.answer(500);
        server.answer(200);
    }
    hold.goes_on(Duration::from_secs(1));
    server.answer(500);
    let run = hold.cut(Signal::TERM);
    assert_mentions(&run, 0, &["degraded: service: ", "500"]);
    assert_eq!(row(&run, "service").0, "fail", "{run:?}");
}

#[test]
fn an_agents_own_word_is_news_while_something_else_is_forgiven() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let server = Server::start();
    let targets = ["agent:a", &server.target("recheck=100ms&confirm=1h")];
    let hold = Caller::new(&container, &targets).hold();
    server.answer(500);
    tell(&container, "a", "not_ready");
    assert_starts(&hold.ends(), 1, "unhealthy: ");
}

const CONFIRM: Duration = Duration::from_secs(3);
const OPTIONS: &str = "confirm=3s&recheck=100ms";

/// Who holds on a target that then breaks says so when it has been broken for long enough.
#[track_caller]
fn assert_confirmed(target: &str, mend: impl Fn(), break_it: impl Fn()) {
    unless_late(|| {
        let container = Container::new();
        tell(&container, "a", "ready");
        mend();
        let caller = Caller::new(&container, &["agent:a", target]);
        let hold = caller.hold();
        break_it();
        let broken = Instant::now();
        let run = hold.ends();
        let lasted = broken.elapsed();
        assert_starts(&run, 1, "unhealthy: ");
        // The last pass was a recheck before, at most, on a machine that is not late.
        let limits = CONFIRM - Duration::from_secs(1)..CONFIRM + Duration::from_secs(5);
        if !limits.contains(&lasted) {
            return Err(format!("{target}: after {lasted:?}: {run:?}"));
        }
        mend();
        assert_starts(&caller.at_once(), 0, "healthy");
        Ok(())
    });
}

#[test]
fn an_http_service_that_fails_for_long_is_news() {
    let server = Server::start();
    let status = |status| server.status.store(status, Ordering::SeqCst);
    let target = server.target(&format!("{OPTIONS}&timeout=200ms"));
    assert_confirmed(&target, || status(200), || status(500));
    assert_confirmed(&target, || status(200), || status(0));
}

#[test]
fn a_file_that_is_gone_for_long_is_news() {
    let container = Container::new();
    let flag = container.path("flag");
    let mend = || fs::write(&flag, "").unwrap();
    let break_it = || fs::remove_file(&flag).unwrap();
    let file = format!("file:{}#{OPTIONS}", flag.display());
    assert_confirmed(&file, mend, break_it);
    let exec = format!("exec:test -e {}#{OPTIONS}", flag.display());
    assert_confirmed(&exec, mend, break_it);
}

#[test]
fn a_port_that_is_closed_for_long_is_news() {
    let port = free_port();
    let listener = Mutex::new(None);
    let open = || *listener.lock().unwrap() = Some(TcpListener::bind(("127.0.0.1", port)).unwrap());
    let close = || {
        let listener = listener.lock().unwrap().take().unwrap();
        // A child between fork and exec may have the socket, too: listening must end before it does.
        rustix::net::shutdown(&listener, rustix::net::Shutdown::Read).unwrap();
    };
    assert_confirmed(&format!("tcp://127.0.0.1:{port}#{OPTIONS}"), open, close);
}

#[test]
fn a_process_that_is_gone_for_long_is_news() {
    let time = format!("1000.{}", std::process::id());
    let process: Mutex<Option<Guard>> = Mutex::new(None);
    let start = || {
        *process.lock().unwrap() = Some(Guard::spawn(Command::new("sleep").arg(&time)));
        wait_until(SOON, "the program", || {
            let pid = process.lock().unwrap().as_ref().unwrap().pid();
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
            line.starts_with(b"sleep").then_some(())
        });
    };
    let end = || drop(process.lock().unwrap().take());
    assert_confirmed(&format!("process:sleep {time}#{OPTIONS}"), start, end);
}

#[test]
fn a_redis_that_says_no_for_long_is_news() {
    let redis = Mutex::new(Redis::start());
    let set = || drop(redis.lock().unwrap().command(&["SET", "k", "v"]));
    let unset = || drop(redis.lock().unwrap().command(&["DEL", "k"]));
    let url = redis.lock().unwrap().url();
    assert_confirmed(&format!("{url}#key=k&{OPTIONS}"), set, unset);
    // Nobody knows, and there is no grace.
    let is_up = AtomicBool::new(true);
    let stop = || {
        redis.lock().unwrap().kill();
        is_up.store(false, Ordering::SeqCst);
    };
    let target = format!("{url}#{OPTIONS}&grace=0");
    let start = || {
        if !is_up.swap(true, Ordering::SeqCst) {
            redis.lock().unwrap().restart();
        }
    };
    assert_confirmed(&target, start, stop);
}

#[test]
fn it_is_counted_from_the_last_pass_whatever_comes_after() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let server = Server::start();
    let options = "confirm=4s&recheck=100ms&timeout=100ms";
    let caller = Caller::new(&container, &["agent:a", &server.target(options)]);
    let mut hold = caller.hold();
    let mut states = [500, 0].into_iter().cycle();
    wait_until(SOON, "the end of a flapping service", || {
        server.status.store(states.next()?, Ordering::SeqCst);
        let asked = server.http.requests().len();
        wait_until(SOON, "a question", || {
            let is_asked = server.http.requests().len() > asked;
            (is_asked || hold.probe.ended().is_some()).then_some(())
        });
        hold.probe.ended()
    });
    assert!(server.passed_ago() >= Duration::from_secs(4));
    assert_starts(&hold.ends(), 1, "unhealthy: service: ");
}

#[test]
fn the_end_of_a_hold_does_not_begin_it_anew() {
    unless_late(|| {
        let container = Container::new();
        tell(&container, "a", "ready");
        let server = Server::start();
        let target = server.target("confirm=5s&recheck=100ms");
        let flags = ["--long-poll", "700ms", "--retries", "1"];
        let caller = Caller::with(&container, &flags, &["agent:a", &target]);
        caller.at_once();
        let hold = caller.begin();
        server.answer(500);
        assert_starts(&hold.ends(), 0, "degraded: service: ");
        let (run, forgiven): (Run, u32) = {
            let mut forgiven = 0;
            wait_until(SOON, "the end of the confirmation", || {
                let run = caller.at_once();
                forgiven += u32::from(run.code() == 0);
                (run.code() == 1).then_some((run, forgiven))
            })
        };
        assert_starts(&run, 1, "unhealthy: service: ");
        let passed = server.passed_ago();
        (forgiven >= 1 && passed >= Duration::from_secs(5) && passed < Duration::from_secs(12))
            .then_some(())
            .ok_or_else(|| format!("after {passed:?}, forgiven {forgiven} times: {run:?}"))
    });
}

#[test]
fn who_has_not_heard_healthy_is_forgiven_nothing() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let server = Server::start();
    let target = server.target("confirm=1h&recheck=100ms");
    let caller = Caller::retrying(&container, "1", &["agent:a", &target]);
    server.status.store(500, Ordering::SeqCst);
    assert_starts(&caller.at_once(), 1, "unhealthy: service: ");
    server.status.store(200, Ordering::SeqCst);
    assert_starts(&container.run(["agent:a", &target]), 0, "healthy");
    server.status.store(500, Ordering::SeqCst);
    // Said twice, and not healthy in between as far as this caller knows.
    assert_starts(&caller.at_once(), 1, "unhealthy: service: ");
}

#[test]
fn who_recovers_is_healthy_at_the_next_question() {
    unless_late(|| {
        let container = Container::new();
        let server = Server::start();
        server.status.store(500, Ordering::SeqCst);
        let target = server.target("recheck=100ms");
        let caller = Caller::retrying(&container, "1", &[&target]);
        let caller = caller.env("READY_AGENT", "off");
        let first = caller.at_once();
        assert_eq!(first.code(), 1, "{first:?}");
        let mut hold = caller.begin();
        hold.goes_on(Duration::from_millis(500));
        server.status.store(200, Ordering::SeqCst);
        was_at_once(&hold.ends(), 0, "healthy")
    });
}

#[test]
fn a_dependency_within_its_grace_is_no_news_and_asked_again_at_its_end() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let mut redis = Redis::start();
    let target = format!("{}#grace=5s&confirm=500ms&recheck=200ms", redis.url());
    let mut hold = Caller::new(&container, &["agent:a", &target]).hold();
    redis.kill();
    let gone = Instant::now();
    hold.goes_on(Duration::from_secs(3));
    redis.restart();
    hold.goes_on(Duration::from_secs(5));
    redis.kill();
    let gone_again = Instant::now();
    let run = hold.ends();
    assert_mentions(
        &run,
        1,
        &["unhealthy: dependency ", "beyond its grace of 5s"],
    );
    assert!(
        gone_again.elapsed() >= Duration::from_millis(4_900),
        "{run:?}"
    );
    assert!(gone.elapsed() < Duration::from_secs(35), "{run:?}");
}

#[test]
fn a_dependency_is_asked_again_at_the_end_of_its_grace_although_no_recheck_is_due() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let mut redis = Redis::start();
    let target = format!("{}#grace=4s&recheck=1h", redis.url());
    assert_starts(&container.run(["agent:a", &target]), 0, "healthy");
    redis.kill();
    assert_starts(&container.run(["agent:a", &target]), 0, "degraded");
    let mut hold = Caller::new(&container, &["agent:a", &target]).hold();
    redis.restart();
    // It would be beyond its grace by now.
    hold.goes_on(Duration::from_secs(6));
    let run = hold.cut(Signal::TERM);
    assert_starts(&run, 0, "healthy");
}
