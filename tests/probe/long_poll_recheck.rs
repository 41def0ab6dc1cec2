//! `--long-poll`: what nothing wakes for is asked again when it is due, and no more often.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ready_probe_test_support::hostile::{Behaviour, Hostile};
use ready_probe_test_support::http::{HttpServer, Response};
use ready_probe_test_support::process::{Guard, Signal, wait_until};
use ready_probe_test_support::proxy::Proxy;
use ready_probe_test_support::servers::{Nats, NatsVersion, Redis};
use serde_json::json;

use crate::container::{Container, assert_mentions, assert_starts};
use crate::long_poll::{Caller, Hold, LONG, SOON, agent, tell, unless_late};

/// No two questions of a hold are closer than `every`, so that many of them take a while. A machine that
/// was late sees two at once; a probe that asks too often does so each time.
#[track_caller]
fn assert_paced(mut hold: Hold, every: Duration, count: u32, asked: impl Fn() -> usize) {
    let mut measured = Vec::new();
    for _ in 0..3 {
        let (before, since) = (asked(), Instant::now());
        let found = wait_until(every * count + SOON, "questions", || {
            hold.goes_on(Duration::from_millis(1));
            let more = u32::try_from(asked() - before).unwrap();
            (more >= count).then_some(more)
        });
        let lasted = since.elapsed();
        if lasted + every / 4 >= every * (found - 1) {
            assert_starts(&hold.cut(Signal::TERM), 0, "healthy");
            return;
        }
        measured.push((found, lasted));
    }
    panic!("questions are closer than {every:?}: {measured:?}");
}

fn server() -> HttpServer {
    HttpServer::start(|_| Response::new(200))
}

#[test]
fn a_service_is_asked_as_often_as_its_recheck_says() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let server = server();
    for (recheck, every) in [("300ms", 300), ("1s", 1_000)] {
        let target = format!("{}#recheck={recheck}", server.url("/"));
        let hold = Caller::new(&container, &["agent:a", &target]).hold();
        let asked = || server.requests().len();
        assert_paced(hold, Duration::from_millis(every), 4, asked);
    }
}

#[test]
fn each_kind_has_an_interval_of_its_own() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let listener = Hostile::tcp(Behaviour::Silent);
    let tcp = format!("tcp://127.0.0.1:{}", listener.port());
    let hold = Caller::new(&container, &["agent:a", &tcp]).hold();
    assert_paced(hold, Duration::from_secs(1), 3, || listener.connections());

    let socket = Hostile::unix(Behaviour::Silent);
    let unix = format!("unix://{}", socket.path().display());
    let hold = Caller::new(&container, &["agent:a", &unix]).hold();
    assert_paced(hold, Duration::from_secs(1), 3, || socket.connections());
}

#[test]
fn http_is_asked_every_five_seconds() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let server = server();
    let hold = Caller::new(&container, &["agent:a", &server.url("/")]).hold();
    assert_paced(hold, Duration::from_secs(5), 2, || server.requests().len());
}

#[test]
fn redis_is_asked_every_five_seconds() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let redis = Redis::start();
    let proxy = Proxy::start(std::net::SocketAddr::from(([127, 0, 0, 1], redis.port())));
    let target = format!("redis://127.0.0.1:{}", proxy.port());
    let mut hold = Caller::new(&container, &["agent:a", &target]).hold();
    let before = proxy.bytes_to_server();
    hold.goes_on(Duration::from_secs(3));
    wait_until(SOON, "a second question", || {
        hold.goes_on(Duration::from_millis(1));
        (proxy.bytes_to_server() > before).then_some(())
    });
    assert!(
        hold.began.elapsed() >= Duration::from_millis(4_900),
        "after {:?}",
        hold.began.elapsed()
    );
    assert_starts(&hold.cut(Signal::TERM), 0, "healthy");
}

#[test]
fn a_command_is_run_every_ten_seconds() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let count = container.file("count", "");
    let target = format!("exec:sh -c 'echo x >>{}'", count.display());
    let hold = Caller::new(&container, &["agent:a", &target]).hold();
    let asked = || fs::read_to_string(&count).unwrap().lines().count();
    assert_paced(hold, Duration::from_secs(10), 2, asked);
}

/// What breaks and wakes nobody is found at the next question; the first one comes that long after a hold began.
#[track_caller]
fn assert_found_after(seconds: u64, caller: &Caller<'_>, mend: impl Fn(), break_it: impl Fn()) {
    let every = Duration::from_secs(seconds);
    unless_late(|| {
        mend();
        let hold = caller.hold();
        break_it();
        let broken = Instant::now();
        let run = hold.ends();
        let lasted = broken.elapsed();
        assert_starts(&run, 1, "unhealthy: ");
        (run.elapsed >= every.mul_f32(0.98) && lasted <= every + Duration::from_secs(1))
            .then_some(())
            .ok_or_else(|| format!("after {lasted:?}, not within {every:?}: {run:?}"))
    });
}

#[test]
fn a_file_and_the_process_of_a_pid_file_are_looked_at_every_second() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let flag = container.path("flag");
    let file = format!("file:{}#confirm=0", flag.display());
    assert_found_after(
        1,
        &Caller::new(&container, &["agent:a", &file]),
        || fs::write(&flag, "").unwrap(),
        || fs::remove_file(&flag).unwrap(),
    );
    let path = container.path("pid");
    let process: Mutex<Option<Guard>> = Mutex::new(None);
    let pid = format!("pid:{}#confirm=0", path.display());
    assert_found_after(
        1,
        &Caller::new(&container, &["agent:a", &pid]),
        || {
            let started = Guard::spawn(Command::new("sleep").arg("1000"));
            fs::write(&path, started.pid().to_string()).unwrap();
            *process.lock().unwrap() = Some(started);
        },
        || drop(process.lock().unwrap().take()),
    );
}

#[test]
fn servers_and_processes_are_asked_every_five_seconds() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let process = || {
        let time = format!("1000.5{}", std::process::id());
        let process: Mutex<Option<Guard>> = Mutex::new(None);
        let target = format!("process:sleep {time}#confirm=0");
        let start = || {
            let started = Guard::spawn(Command::new("sleep").arg(&time));
            wait_until(SOON, "the program", || {
                let line = fs::read(format!("/proc/{}/cmdline", started.pid())).unwrap();
                line.starts_with(b"sleep").then_some(())
            });
            *process.lock().unwrap() = Some(started);
        };
        let caller = Caller::new(&container, &["agent:a", &target]);
        assert_found_after(5, &caller, start, || drop(process.lock().unwrap().take()));
    };
    let redis = || {
        let redis = Redis::start();
        let target = format!("{}#key=k&confirm=0", redis.url());
        let caller = Caller::new(&container, &["agent:a", &target]);
        let set = || drop(redis.command(&["SET", "k", "v"]));
        assert_found_after(5, &caller, set, || drop(redis.command(&["DEL", "k"])));
    };
    let nats = || {
        let nats = Nats::builder(NatsVersion::V2_15).jetstream().start();
        let target = format!("{}#bucket=ready&confirm=0", nats.url());
        let caller = Caller::new(&container, &["agent:a", &target]);
        let make = || {
            let bucket = json!({ "name": "KV_ready", "subjects": ["$KV.ready.>"], "max_msgs_per_subject": 1 });
            nats.api("STREAM.CREATE.KV_ready", &bucket).unwrap();
        };
        assert_found_after(5, &caller, make, || {
            nats.api("STREAM.DELETE.KV_ready", &json!({})).unwrap();
        });
    };
    let peer = || {
        let redis = Redis::start();
        let peer = agent(&container, "recheck-every")
            .store(&redis.url())
            .register()
            .unwrap();
        let elsewhere = Container::new();
        let flags = ["--long-poll", LONG, "--store", &redis.url()];
        let caller = Caller::with(&elsewhere, &flags, &["peer:recheck-every#confirm=0"]);
        let caller = caller.env("READY_AGENT", "off");
        let ready = || {
            peer.mark_ready(()).unwrap();
            peer.wait_announced(SOON).unwrap();
        };
        assert_found_after(5, &caller, ready, || peer.mark_not_ready("no").unwrap());
    };
    // Each of them waits most of the time.
    thread::scope(|scope| {
        scope.spawn(process);
        scope.spawn(redis);
        scope.spawn(nats);
        scope.spawn(peer);
    });
}

#[test]
fn beats_and_other_rechecks_ask_nobody_else() {
    let container = Container::new();
    let beating = agent(&container, "recheck-beats")
        .heartbeat(Duration::from_millis(50))
        .register()
        .unwrap();
    beating.mark_ready(()).unwrap();
    let server = server();
    let slow = format!("{}#recheck=1h", server.url("/slow"));
    let quick = format!("{}#recheck=100ms", server.url("/quick"));
    let targets = ["agent:recheck-beats", &slow, &quick];
    let mut hold = Caller::new(&container, &targets).hold();
    let count = |path: &str| {
        let requests = server.requests();
        requests.iter().filter(|r| r.path == path).count()
    };
    let before = count("/slow");
    wait_until(SOON, "many questions", || {
        hold.goes_on(Duration::from_millis(1));
        (count("/quick") >= 20).then_some(())
    });
    assert_eq!(count("/slow"), before);
    beating.mark_not_ready("no").unwrap();
    assert_starts(&hold.ends(), 1, "unhealthy: agent recheck-beats");
    assert_eq!(count("/slow"), before, "its answer was at hand");
}

#[test]
fn an_alternative_is_asked_when_the_agent_beside_it_changes() {
    let container = Container::new();
    let beating = agent(&container, "recheck-any")
        .heartbeat(Duration::from_millis(50))
        .register()
        .unwrap();
    beating.mark_ready(()).unwrap();
    let status = Arc::new(AtomicU16::new(200));
    let answer = Arc::clone(&status);
    let server = HttpServer::start(move |_| Response::new(answer.load(Ordering::SeqCst)));
    let file = format!(
        "agent = []\n[[check]]\nany = ['agent:recheck-any', '{}']\nrecheck = '1h'\n",
        server.url("/")
    );
    let file = container.file("probe.toml", file);
    let caller = Caller::new(&container, &["--config", file.to_str().unwrap()]);
    let mut hold = caller.hold();
    let before = server.requests().len();
    hold.goes_on(Duration::from_secs(2));
    let after = server.requests().len();
    assert_eq!(after, before, "beats are no reason to ask");
    beating.mark_not_ready("no").unwrap();
    wait_until(SOON, "a question", || {
        hold.goes_on(Duration::from_millis(1));
        (server.requests().len() > before).then_some(())
    });
    hold.goes_on(Duration::from_millis(500));
    assert_eq!(hold.cut(Signal::TERM).code(), 0);
}

#[test]
fn a_connection_that_ends_is_a_reason_to_ask() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let mut redis = Redis::start();
    let mut nats = Nats::start(NatsVersion::V2_15);
    let mut http = Some(server());
    let urls = [redis.url(), nats.url(), http.as_ref().unwrap().url("/")];
    let ends: [&mut dyn FnMut(); 3] = [&mut || redis.kill(), &mut || nats.kill(), &mut || {
        drop(http.take());
    }];
    for (url, end) in urls.iter().zip(ends) {
        let target = format!("{url}#grace=0&confirm=500ms&recheck=1h");
        let mut hold = Caller::new(&container, &["agent:a", &target]).hold();
        hold.goes_on(Duration::from_millis(500));
        end();
        assert_starts(&hold.ends(), 1, "unhealthy: ");
    }
}

#[test]
fn the_connection_to_a_store_that_ends_is_a_reason_to_ask() {
    let container = Container::new();
    let mut redis = Redis::start();
    let peer = agent(&container, "recheck-store")
        .store(&redis.url())
        .register()
        .unwrap();
    peer.mark_ready(()).unwrap();
    peer.wait_announced(SOON).unwrap();
    let elsewhere = Container::new();
    let flags = ["--long-poll", LONG, "--store", &redis.url()];
    let target = "peer:recheck-store#grace=0&confirm=500ms&recheck=1h";
    let caller = Caller::with(&elsewhere, &flags, &[target]).env("READY_AGENT", "off");
    let mut hold = caller.hold();
    hold.goes_on(Duration::from_millis(500));
    redis.kill();
    assert_starts(&hold.ends(), 1, "unhealthy: ");
}

#[test]
fn a_peer_that_is_not_ready_any_more_is_found() {
    let container = Container::new();
    let redis = Redis::start();
    let peer = agent(&container, "recheck-peer")
        .store(&redis.url())
        .register()
        .unwrap();
    peer.mark_ready(()).unwrap();
    peer.wait_announced(SOON).unwrap();
    let target = "peer:recheck-peer#confirm=100ms&recheck=200ms";
    let elsewhere = Container::new();
    let flags = ["--long-poll", LONG, "--store", &redis.url()];
    let caller = Caller::with(&elsewhere, &flags, &[target]).env("READY_AGENT", "off");
    let mut hold = caller.hold();
    hold.goes_on(Duration::from_millis(500));
    peer.mark_not_ready("elsewhere").unwrap();
    let run = hold.ends();
    assert_mentions(&run, 1, &["unhealthy: ", "recheck-peer", "elsewhere"]);
}
