//! `ready-probe run` and a store that was away: what a connection that was given up still delivers, behind what the
//! next one has told, and what dead predecessors have left.

use std::time::{Duration, Instant};

use ready_probe_test_support::process::{Signal, wait_until};
use ready_probe_test_support::proxy::{Fault, Proxy};
use ready_probe_test_support::servers::Redis;
use serde_json::Value;

use crate::speaker::{LIMIT, Speaker, lives, signal};

/// Beats come every ten minutes, give or take: nothing here waits for one.
const TTL: &str = "--ttl=1h";
const SET: &str = "ready:default:{worker}";

/// A program whose signal goes to this store.
fn announcing(ttl: &str, url: &str) -> Speaker {
    Speaker::start_with(&[ttl], |command| {
        command.env("READY_STORE", url);
    })
}

/// The keys of agent `worker`'s records.
fn keys(redis: &Redis) -> Vec<String> {
    let keys = redis.command(&["KEYS", &format!("{SET}:*")]);
    keys.lines().map(ToOwned::to_owned).collect()
}

/// A record as a store holds it.
struct Held {
    key: String,
    text: String,
}

impl Held {
    /// The only one that says that its agent is ready.
    #[track_caller]
    fn ready(redis: &Redis) -> Self {
        wait_until(LIMIT, "it to be announced as ready", || {
            let keys = keys(redis);
            let [key] = keys.as_slice() else { return None };
            let text = redis.command(&["GET", key]);
            let key = key.clone();
            (state(&text)? == "ready").then_some(Self { key, text })
        })
    }

    /// What the store holds in its place.
    fn state(&self, redis: &Redis) -> Option<String> {
        state(&redis.command(&["GET", &self.key]))
    }

    /// Puts it as its own writer would have, some time ago.
    fn arrive_late(&self, redis: &Redis) {
        let instance = self.key.strip_prefix(&format!("{SET}:")).unwrap();
        redis.command(&["SET", &self.key, &self.text, "PX", "3600000"]);
        redis.command(&["SADD", SET, instance]);
        redis.command(&["SADD", "ready:default", "worker"]);
    }

    /// Again and again it arrives late, and that does not stay.
    #[track_caller]
    fn assert_put_right(&self, redis: &Redis, right: Option<&str>) {
        for _ in 0..2 {
            self.arrive_late(redis);
            wait_until(LIMIT, "the store to be told again", || {
                (self.state(redis).as_deref() == right).then_some(())
            });
        }
    }
}

fn state(text: &str) -> Option<String> {
    let record: Value = serde_json::from_str(text).ok()?;
    Some(record["state"].as_str()?.to_owned())
}

/// A store, a network before it that can be cut, and a program that the store holds as ready.
struct Cut {
    redis: Redis,
    proxy: Proxy,
    program: Speaker,
    before: Held,
}

impl Cut {
    fn ready() -> Self {
        let redis = Redis::start();
        let (proxy, url) = before(&redis);
        let mut program = announcing(TTL, &url);
        program.does("say('READY=1')");
        let before = Held::ready(&redis);
        Self {
            redis,
            proxy,
            program,
            before,
        }
    }

    /// The network is cut, and the program has tried to say this.
    fn cut_and_say(&mut self, text: &str) {
        self.proxy.set(Fault::Refuse);
        self.program.does(&format!("say('{text}')"));
        wait_refused(&self.program);
    }
}

/// A network before a store, and the store's address there.
fn before(redis: &Redis) -> (Proxy, String) {
    let proxy = Proxy::start(([127, 0, 0, 1], redis.port()).into());
    let url = format!("redis://127.0.0.1:{}", proxy.port());
    (proxy, url)
}

#[track_caller]
fn wait_refused(program: &Speaker) {
    wait_until(LIMIT, "the store to refuse", || {
        let announced = &program.record()["announced"];
        (announced["ok"] == false).then_some(())
    });
}

#[test]
fn a_ready_that_arrives_behind_a_not_ready_is_put_right_at_once() {
    let mut cut = Cut::ready();
    cut.cut_and_say("RELOADING=1");
    cut.proxy.set(Fault::None);
    wait_until(LIMIT, "the store to be told", || {
        (cut.before.state(&cut.redis)? == "not_ready").then_some(())
    });
    cut.before.assert_put_right(&cut.redis, Some("not_ready"));
}

/// What lies in the queue of a paused server is read when it goes on, in whatever order.
#[test]
fn what_a_paused_server_reads_of_an_old_connection_does_not_stand() {
    let mut redis = Redis::start();
    let mut program = Speaker::start_with(&[TTL], |command| {
        let url = redis.url();
        command.env("READY_STORE", url).env("READY_TIMEOUT", "1s");
    });
    program.does("say('READY=1')");
    let before = Held::ready(&redis);
    redis.pause();
    program.does("say('STATUS=busy')");
    wait_refused(&program);
    program.does("say('RELOADING=1')");
    redis.resume();
    wait_until(LIMIT, "the store to be told", || {
        (before.state(&redis)? == "not_ready").then_some(())
    });
    before.assert_put_right(&redis, Some("not_ready"));
}

/// Nobody is there to put that right once `run` has ended, so it stays for a moment.
#[test]
fn a_farewell_after_an_outage_is_said_twice() {
    let mut cut = Cut::ready();
    cut.cut_and_say("STATUS=busy");
    let removals = |redis: &Redis| -> u64 {
        let stats = redis.command(&["INFO", "commandstats"]);
        let calls = stats.split("cmdstat_del:calls=").nth(1);
        let calls = calls.and_then(|rest| rest.split(',').next());
        calls.map_or(0, |calls| calls.parse().unwrap())
    };
    let earlier = removals(&cut.redis);
    cut.program.ends();
    cut.proxy.set(Fault::None);
    assert_eq!(cut.program.code(), Some(0));
    assert!(keys(&cut.redis).is_empty());
    assert!(removals(&cut.redis) - earlier >= 2);
}

#[test]
fn a_farewell_to_a_store_that_was_never_away_is_said_once_and_at_once() {
    let mut cut = Cut::ready();
    let mut took = Duration::MAX;
    // Of a machine that is busy with other tests, one try is in time.
    for _ in 0..5 {
        let start = Instant::now();
        cut.program.ends();
        assert_eq!(cut.program.code(), Some(0));
        took = took.min(start.elapsed());
        assert!(keys(&cut.redis).is_empty());
        if took < Duration::from_millis(900) {
            return;
        }
        cut = Cut::ready();
    }
    panic!("the quickest took {took:?}");
}

/// Killed with all that it had started.
fn kill(mut program: Speaker) {
    let pid: u32 = program.tells("tell(os.getpid())").parse().unwrap();
    program.guard.signal(Signal::KILL);
    program.guard.wait_within(LIMIT);
    signal(pid, Signal::KILL);
    wait_until(LIMIT, "the program to die", || (!lives(pid)).then_some(()));
}

#[test]
fn what_arrives_of_a_predecessor_behind_its_successor_is_removed() {
    let redis = Redis::start();
    let mut first = announcing(TTL, &redis.url());
    first.does("say('READY=1')");
    let late = Held::ready(&redis);
    kill(first);
    redis.command(&["DEL", &late.key]);
    let (proxy, url) = before(&redis);
    proxy.set(Fault::Refuse);
    let mut second = announcing(TTL, &url);
    second.does("say('READY=1')");
    wait_refused(&second);
    proxy.set(Fault::None);
    let own = Held::ready(&redis);
    late.assert_put_right(&redis, None);
    assert_eq!(own.state(&redis).as_deref(), Some("ready"));
}

#[test]
fn who_comes_before_its_predecessor_has_died_removes_what_that_left_all_the_same() {
    let redis = Redis::start();
    let mut first = announcing(TTL, &redis.url());
    first.does("say('READY=1')");
    let left = Held::ready(&redis);
    // Its beats come every four seconds at the soonest, and it looks again with the next two.
    let _second = announcing("--ttl=30s", &redis.url());
    wait_until(LIMIT, "both to be announced", || {
        (keys(&redis).len() == 2).then_some(())
    });
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(500) {
        assert_eq!(
            keys(&redis).len(),
            2,
            "its first look is over, and both live"
        );
    }
    kill(first);
    wait_until(LIMIT, "the dead one to be removed", || {
        left.state(&redis).is_none().then_some(())
    });
    assert_eq!(keys(&redis).len(), 1);
}
