//! A process that closes all its descriptors, as a daemonizer does, and opens others under the same
//! numbers: it lives on, its own are left alone, and its agents are published as before.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../../common/log.rs"]
pub mod log;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use ready_probe_fork_tests::{close_descriptors, replace_descriptors};
use ready_probe_sdk::connect::store::StoreAddress;
use ready_probe_sdk::folder::Folder;
use ready_probe_sdk::freshness::{Observed, judge};
use ready_probe_sdk::host::Epoch;
use ready_probe_sdk::signal::{Name, Signal};
use ready_probe_sdk::store::{Store, connected};
use ready_probe_sdk::{Agent, clock};
use ready_probe_test_support::process::free_port;
use ready_probe_test_support::servers::{Nats, NatsVersion, Redis};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const ASKED: &str = "READY_PROBE_TEST_DAEMON";
/// libtest writes to the same output.
const ANSWER: &str = "answer: ";
/// When the descriptors are closed.
const IN_THE_LOG: &str = "in the log";
/// None are closed: there are enough for the agent's record, and too few for a store.
const SCARCE: &str = "scarce";
const PATIENCE: Duration = Duration::from_secs(20);
/// Longer than a machine stands still.
const TTL: Duration = Duration::from_secs(6);
const BEAT: Duration = Duration::from_millis(200);
/// How often a process is started anew whose heartbeat was at work while its descriptors were closed.
const TRIES: u32 = 50;
/// What such a process says.
const DISTURBED: &str = "the heartbeat was at work";

/// What closes the descriptors is the logger, called by the heartbeat.
static CLOSES: AtomicBool = AtomicBool::new(false);

fn close_once(line: &str) {
    if line.contains("can't be announced") && CLOSES.swap(false, SeqCst) {
        close_descriptors();
    }
}

/// The address of a store that is away.
fn nowhere() -> String {
    format!("redis://127.0.0.1:{}", free_port())
}

/// A process with an agent, told line by line what to do; killed on drop.
struct Daemon {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    dir: tempfile::TempDir,
}

impl Daemon {
    fn start(store: Option<&str>) -> Self {
        Self::start_with(store, "as it is told")
    }

    fn start_with(store: Option<&str>, closes: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["program", "--exact", "--nocapture", "--test-threads=1"])
            .env(ASKED, closes)
            .env("READY_DIR", dir.path())
            .envs(store.map(|store| ("READY_STORE", store)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            stdin,
            stdout,
            dir,
        }
    }

    /// Closes all its descriptors; says whether its heartbeat rested all the while.
    fn replaces(&mut self) -> bool {
        let said = self.ask("replace");
        assert!(said == "ok" || said == DISTURBED, "{said}");
        said == "ok"
    }

    fn tell(&mut self, line: &str) {
        let said = self.ask(line);
        if said != "ok" {
            panic!("{line}: {said}, {}", self.end());
        }
    }

    fn ask(&mut self, line: &str) -> String {
        writeln!(self.stdin, "{line}").unwrap();
        let mut said = String::new();
        loop {
            said.clear();
            if self.stdout.read_line(&mut said).unwrap() == 0 {
                panic!("it ended at {line:?}: {}", self.end());
            }
            if let Some((_, answer)) = said.split_once(ANSWER) {
                return answer.trim_end().to_owned();
            }
        }
    }

    /// Its one record in its own container.
    fn record(&self) -> Signal {
        let store = Folder::at(self.dir.path()).unwrap();
        let found = store.read(&Name::new("daemon").unwrap()).unwrap();
        let [record] = found.believed.try_into().unwrap();
        let signal = record.signal.unwrap();
        let observed = Observed {
            epoch: &Epoch::current(),
            process: record.process,
            now_ms: clock::mono_ms(),
        };
        assert!(judge(&signal, &observed).is_ok(), "it is not ready");
        signal
    }

    /// Watches it until it has beaten for a second.
    fn watch(&mut self) {
        let after_ms = clock::mono_ms() + 1_000;
        until("it beats", || {
            (self.record().mono_ms > Some(after_ms)).then_some(())
        });
        self.tell("look");
    }

    /// Its status and whatever it wrote to stderr.
    fn end(&mut self) -> String {
        let _ = writeln!(self.stdin, "exit");
        let status = self.child.wait().unwrap();
        let mut said = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut said).unwrap();
        format!("{status} {said}").trim().to_owned()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = clock::mono_ms() + clock::millis(PATIENCE);
    loop {
        let late = clock::mono_ms() > deadline;
        if let Some(found) = look() {
            return found;
        }
        assert!(!late, "never: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A process that has closed its descriptors while its heartbeat rested: whoever closes one in the middle of
/// somebody's call hits that call, and a busy machine leaves few moments without one.
fn undisturbed(attempt: impl Fn() -> Option<Daemon>) -> Daemon {
    (0..TRIES)
        .find_map(|_| attempt())
        .expect("its heartbeat rests once")
}

/// The same, of one that closes them when it has done these things.
fn replaced(store: Option<&str>, before: &[&str]) -> Daemon {
    undisturbed(|| {
        let mut daemon = Daemon::start(store);
        before.iter().for_each(|line| daemon.tell(line));
        daemon.replaces().then_some(daemon)
    })
}

#[test]
fn without_a_store_the_agent_beats_on() {
    let mut daemon = replaced(None, &[]);
    daemon.watch();
    daemon.tell("mark");
    daemon.watch();
    assert_eq!(daemon.end(), "exit status: 0");
}

#[test]
fn with_a_store_that_is_away_the_agent_beats_on() {
    let mut daemon = replaced(Some(&nowhere()), &[]);
    daemon.tell("mark");
    daemon.watch();
    assert_eq!(daemon.end(), "exit status: 0");
}

#[test]
fn descriptors_that_are_closed_while_the_heartbeat_is_at_work_do_not_end_the_process() {
    let mut daemon = Daemon::start_with(Some(&nowhere()), IN_THE_LOG);
    daemon.tell("wait_closed");
    daemon.watch();
    daemon.tell("mark");
    daemon.watch();
    assert_eq!(daemon.end(), "exit status: 0");
}

#[test]
fn with_a_store_that_hangs_the_agent_beats_on_and_is_announced_once_it_answers() {
    let mut redis = Redis::start();
    redis.pause();
    let url = redis.url();
    let mut daemon = replaced(Some(&url), &[]);
    daemon.watch();
    redis.resume();
    daemon.tell("wait_announced");
    assert_is_announced_anew(&mut daemon, &url);
}

#[test]
fn with_too_few_descriptors_for_a_store_the_agent_beats_on_and_is_announced_once_there_are_more() {
    let redis = Redis::start();
    let mut daemon = Daemon::start_with(Some(&redis.url()), SCARCE);
    daemon.tell("mark");
    daemon.watch();
    daemon.tell("lift_limit");
    daemon.tell("wait_announced");
    daemon.watch();
    let said = daemon.end();
    assert!(said.starts_with("exit status: 0"), "{said}");
}

#[test]
fn with_redis_the_agent_is_announced_anew() {
    let redis = Redis::start();
    announced_anew(&redis.url());
}

#[test]
fn with_nats_the_agent_is_announced_anew() {
    let nats = Nats::builder(NatsVersion::V2_15).jetstream().start();
    announced_anew(&nats.url());
}

#[test]
fn it_may_do_so_again_and_again() {
    let redis = Redis::start();
    let mut daemon = undisturbed(|| {
        let mut daemon = Daemon::start(Some(&redis.url()));
        for _ in 0..5 {
            daemon.tell("wait_announced");
            if !daemon.replaces() {
                return None;
            }
            daemon.tell("mark");
        }
        Some(daemon)
    });
    daemon.tell("wait_announced");
    daemon.tell("look");
    assert_eq!(daemon.end(), "exit status: 0");
}

fn announced_anew(url: &str) {
    // Found by the heartbeat itself.
    let mut daemon = replaced(Some(url), &["wait_announced"]);
    assert_is_announced_anew(&mut daemon, url);
    // Found by a thread of the application's that has something to say.
    let mut daemon = replaced(Some(url), &["wait_announced"]);
    daemon.tell("mark");
    daemon.tell("wait_announced");
    assert_is_announced_anew(&mut daemon, url);
}

/// The store hears its beats.
fn assert_is_announced_anew(daemon: &mut Daemon, url: &str) {
    let begun_ms = clock::mono_ms();
    daemon.watch();
    until("a beat comes to the store", || {
        announced_by(url, daemon.child.id()).filter(|signal| signal.mono_ms > Some(begun_ms))
    });
    daemon.tell("mark");
    daemon.tell("wait_announced");
    daemon.tell("look");
    // What it takes back when it ends well.
    let beat_ms = clock::mono_ms();
    daemon.tell("close");
    until("it is taken back", || {
        announced_by(url, daemon.child.id()).is_none().then_some(())
    });
    let took_ms = clock::mono_ms() - beat_ms;
    assert!(took_ms < clock::millis(TTL - BEAT), "it ended by itself");
    assert_eq!(daemon.end(), "exit status: 0");
}

/// What a process says in the store.
fn announced_by(url: &str, pid: u32) -> Option<Signal> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let address = StoreAddress::parse(url).unwrap();
        let namespace = Name::new("default").unwrap();
        let mut store = connected::connect(&address, &namespace).await.unwrap();
        let seen = store.read(&[Name::new("daemon").unwrap()]).await.unwrap();
        let signals = seen.into_iter().map(|seen| seen.signal.unwrap());
        signals.into_iter().find(|signal| signal.pid == Some(pid))
    })
}

/// How often the heartbeat's threads have stopped running; nothing while one of them runs, or waits to.
fn resting() -> Option<Vec<String>> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let statuses = tasks.flat_map(|task| std::fs::read_to_string(task.path().join("status")));
    let own = statuses.filter(|status| status.starts_with("Name:\tready-probe\n"));
    own.map(|status| {
        let (_, switches) = status.split_once("voluntary_ctxt")?;
        status.contains("\nState:\tS ").then(|| switches.to_owned())
    })
    .collect()
}

/// Waits until the heartbeat does nothing for a while, and says how often it has stopped till then.
fn until_the_heartbeat_rests() -> Vec<String> {
    until("it rests", || {
        let before = resting()?;
        thread::sleep(BEAT / 10);
        resting().filter(|now| *now == before)
    })
}

#[test]
fn program() {
    let Ok(closes) = std::env::var(ASKED) else {
        return;
    };
    CLOSES.store(closes == IN_THE_LOG, SeqCst);
    log::on_event(close_once);
    let limit = getrlimit(Resource::Nofile);
    if closes == SCARCE {
        let open = std::fs::read_dir("/proc/self/fd").unwrap().count();
        let current = Some(u64::try_from(open).unwrap() + 2);
        setrlimit(Resource::Nofile, Rlimit { current, ..limit }).unwrap();
    }
    let agent = Agent::builder("daemon").ttl(TTL).heartbeat(BEAT);
    let mut agent = Some(agent.register().unwrap());
    if closes == SCARCE {
        // While it tries whether there are enough for a store, there are none for the signal.
        until_the_heartbeat_rests();
    }
    agent.as_ref().unwrap().mark_ready(()).unwrap();
    let mut pipes = Vec::new();
    for line in std::io::stdin().lines() {
        let held = || agent.as_ref().unwrap();
        let said = match line.unwrap().as_str() {
            "replace" => {
                let before = until_the_heartbeat_rests();
                // Those of the last time are closed already: their owners must not close others.
                std::mem::forget(std::mem::replace(&mut pipes, replace_descriptors()));
                // One that was woken since has found its descriptors closed, or was too early for that.
                let rested = resting() == Some(before);
                rested.then_some(()).ok_or_else(|| DISTURBED.to_owned())
            }
            "look" => pipes
                .iter_mut()
                .try_for_each(|pipe| pipe.look().map_or(Ok(()), Err)),
            "mark" => {
                held().mark_not_ready("daemonized").unwrap();
                held().mark_ready(()).map_err(|e| e.to_string())
            }
            "wait_closed" => {
                let deadline = clock::mono_ms() + 20_000;
                while CLOSES.load(SeqCst) && clock::mono_ms() < deadline {
                    thread::sleep(Duration::from_millis(5));
                }
                Ok(())
            }
            "wait_announced" => held().wait_announced(PATIENCE).map_err(|e| e.to_string()),
            "lift_limit" => {
                setrlimit(Resource::Nofile, limit).unwrap();
                Ok(())
            }
            "close" => {
                agent = None;
                Ok(())
            }
            "exit" => std::process::exit(0),
            line => panic!("unknown: {line}"),
        };
        println!("{ANSWER}{}", said.err().unwrap_or_else(|| "ok".to_owned()));
    }
}
