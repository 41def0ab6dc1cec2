//! Rounds of checks that keep their connections, on real servers.

mod http;
mod nats;
mod peer;

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join;
use ready_probe_test_support::hostile::refused_port;
use ready_probe_test_support::process::wait_until;
use ready_probe_test_support::proxy::{Fault, Proxy};
use ready_probe_test_support::servers::{Redis, RedisBinary};
use tokio::runtime::Runtime;

use super::*;
use crate::event_loop;
use crate::target::options::Options;

/// For an answer, and for news: far more than either takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A process that asks again and again.
struct Asking {
    event_loop: Runtime,
    kept: Kept,
    folder: Folder,
    epoch: Epoch,
    secrets: Secrets,
    targets: Vec<Target>,
    timeout: Duration,
    place: Option<Place>,
}

impl Asking {
    fn new(targets: &[&str]) -> Self {
        let mut secrets = Secrets::default();
        let mut parse =
            |text: &&str| Target::parse(text, Options::default(), &mut secrets).unwrap();
        Self {
            event_loop: event_loop::start().unwrap(),
            kept: Kept::new(),
            folder: Folder::default(),
            epoch: Epoch::current(),
            targets: targets.iter().map(&mut parse).collect(),
            secrets,
            timeout: PATIENCE,
            place: None,
        }
    }

    /// The outcome of each target, as in `pass` and `unknown connection closed`.
    fn round(&self) -> Vec<String> {
        self.event_loop.block_on(self.ask())
    }

    async fn ask(&self) -> Vec<String> {
        let context = Context {
            folder: &self.folder,
            epoch: &self.epoch,
            place: self.place.as_ref(),
            secrets: &self.secrets,
            supervises: false,
            kept: Some(&self.kept),
        };
        let limit = TimeLimit {
            at: clock::instant() + self.timeout,
            set: self.timeout,
        };
        let targets: Vec<&Target> = self.targets.iter().collect();
        let answers = ask_all(&targets, context, limit).await;
        let said = |answer: Answer| {
            let said = format!("{} {}", answer.outcome.word(), answer.outcome.text());
            said.trim_end().to_owned()
        };
        answers.into_iter().map(said).collect()
    }

    #[track_caller]
    fn passes(&self) {
        let said = self.round();
        assert!(said.iter().all(|said| said.starts_with("pass")), "{said:?}");
    }

    /// Whose connections end within so long.
    fn ended(&self, within: Duration) -> Option<BTreeSet<String>> {
        self.event_loop
            .block_on(async { tokio::time::timeout(within, self.kept.ended()).await.ok() })
    }

    /// Connections end soon, of all targets.
    #[track_caller]
    fn has_news_after(&self, happens: impl FnOnce()) {
        assert_eq!(self.ended(Duration::from_millis(50)), None);
        happens();
        let all = self.targets.iter().map(|target| target.redacted.clone());
        assert_eq!(self.ended(PATIENCE), Some(all.collect()));
    }

    /// Passes although nothing comes over the connections that rest.
    #[track_caller]
    fn passes_past_a_silence(mut self, proxy: &Proxy) {
        self.passes();
        let before = proxy.connections();
        proxy.set(Fault::Blackhole);
        // As if only what is new got through.
        let mend = async {
            while proxy.connections() == before {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            proxy.set(Fault::None);
        };
        self.timeout = Duration::from_secs(9);
        let (said, ()) = self.event_loop.block_on(join(self.ask(), mend));
        assert!(said.iter().all(|said| said.starts_with("pass")), "{said:?}");
        wait_until(PATIENCE, "the silent one to be closed", || {
            (proxy.open() == 1).then_some(())
        });
    }
}

/// The numbers that a server has given those who came over TCP.
fn clients(redis: &Redis) -> Vec<String> {
    let list = redis.command(&["CLIENT", "LIST"]);
    let over_tcp = list.lines().filter(|line| line.contains(" addr=127.0.0.1"));
    let number = |line: &str| line.split(' ').next().unwrap().to_owned();
    over_tcp.map(number).collect()
}

#[test]
fn a_connection_to_redis_is_used_for_all_rounds() {
    for binary in [RedisBinary::Debian, RedisBinary::Valkey] {
        let redis = Redis::builder()
            .binary(binary)
            .args(&["--requirepass", "s3cret"])
            .start();
        redis.command(&["SET", "k", "v"]);
        let port = redis.port();
        let login = format!("redis://:s3cret@127.0.0.1:{port}");
        let asking = Asking::new(&[
            &login,
            &format!("{login}/0#key=k&value=v&role=master"),
            &format!("{login}/1#key=k&not"),
        ]);
        asking.passes();
        let first = clients(&redis);
        assert_eq!(first.len(), 3, "{first:?}");
        for _ in 0..3 {
            asking.passes();
            assert_eq!(clients(&redis), first);
        }
        // It is the database that was selected first.
        redis.command(&["DEL", "k"]);
        let said = asking.round();
        assert_eq!(said[1], "fail key k does not exist");
        assert!(said[2].starts_with("pass"), "{said:?}");
    }
}

#[test]
fn without_a_place_to_rest_each_round_opens_a_connection() {
    let redis = Redis::start();
    let proxy = Proxy::start(([127, 0, 0, 1], redis.port()).into());
    let mut asking = Asking::new(&[&format!("redis://127.0.0.1:{}", proxy.port())]);
    for round in 1..=3 {
        asking.passes();
        asking.kept = Kept::new();
        assert_eq!(proxy.connections(), round);
    }
}

#[test]
fn a_connection_that_has_failed_is_not_kept() {
    let redis = Redis::start();
    let asking = Asking::new(&[&format!("{}#key=k", redis.url())]);
    for _ in 0..2 {
        assert_eq!(asking.round(), ["fail key k does not exist"]);
        assert_eq!(clients(&redis), [""; 0]);
    }
    redis.command(&["SET", "k", "v"]);
    asking.passes();
    assert_eq!(clients(&redis).len(), 1);
    redis.command(&["DEL", "k"]);
    assert_eq!(asking.round(), ["fail key k does not exist"]);
    assert_eq!(clients(&redis), [""; 0]);
}

#[test]
fn a_server_that_has_restarted_answers_as_on_a_new_connection() {
    let mut redis = Redis::start();
    let asking = Asking::new(&[&redis.url()]);
    asking.passes();
    redis.restart();
    asking.passes();
    assert_eq!(clients(&redis).len(), 1);
    redis.kill();
    assert_eq!(asking.round(), ["unknown connection refused"]);
}

#[test]
fn the_end_of_a_resting_connection_is_news_once() {
    let redis = Redis::start();
    let asking = Asking::new(&[&redis.url()]);
    assert_eq!(asking.ended(Duration::ZERO), None);
    asking.passes();
    let kill = || redis.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    asking.has_news_after(|| assert_eq!(kill(), "1"));
    asking.passes();
    assert_eq!(kill(), "1");
    assert_eq!(asking.ended(Duration::from_millis(300)), None);
    asking.passes();
}

#[test]
fn a_server_that_ends_who_is_idle_is_asked_on_a_new_connection() {
    let redis = Redis::with(&["--timeout", "1"]);
    let asking = Asking::new(&[&redis.url()]);
    asking.passes();
    asking.has_news_after(|| {});
    asking.passes();
}

#[test]
fn a_changed_password_is_found_out_by_the_next_connection() {
    let redis = Redis::with(&["--user", "probe", "on", ">first", "+@all"]);
    let url = format!("redis://probe:first@127.0.0.1:{}", redis.port());
    let asking = Asking::new(&[&url]);
    asking.passes();
    redis.command(&["ACL", "SETUSER", "probe", "resetpass", ">second"]);
    // Redis lets those in who have come before; what it takes from them, it takes at once.
    asking.passes();
    redis.command(&["ACL", "SETUSER", "probe", "off"]);
    redis.command(&["CLIENT", "KILL", "USER", "probe"]);
    let [said] = &asking.round()[..] else {
        panic!("one target")
    };
    assert!(said.starts_with("unknown WRONGPASS"), "{said}");
}

#[test]
fn a_resting_connection_that_is_silent_costs_a_part_of_the_time() {
    let redis = Redis::start();
    let proxy = Proxy::start(([127, 0, 0, 1], redis.port()).into());
    let asking = Asking::new(&[&format!("redis://127.0.0.1:{}", proxy.port())]);
    asking.passes_past_a_silence(&proxy);
}

#[test]
fn whoever_does_not_answer_at_all_is_told_of_by_the_new_connection() {
    let redis = Redis::start();
    let proxy = Proxy::start(([127, 0, 0, 1], redis.port()).into());
    let mut asking = Asking::new(&[&format!("redis://127.0.0.1:{}", proxy.port())]);
    asking.passes();
    proxy.set(Fault::Blackhole);
    asking.timeout = Duration::from_millis(300);
    let said = asking.round();
    let want = format!(
        "unknown no answer within 300ms (connected to 127.0.0.1:{}, no PONG)",
        proxy.port()
    );
    assert_eq!(said, [want]);
}

#[test]
fn the_one_of_several_that_has_passed_is_asked_alone() {
    let (first, second) = (Redis::start(), Redis::start());
    let refused = refused_port();
    let proxies = [&first, &second].map(|redis| {
        let upstream = ([127, 0, 0, 1], redis.port()).into();
        Proxy::start(upstream)
    });
    let [a, b] = &proxies;
    let url = format!(
        "redis://127.0.0.1:{},127.0.0.1:{},127.0.0.1:{}",
        refused.port(),
        a.port(),
        b.port()
    );
    let asking = Asking::new(&[&url]);
    asking.passes();
    // Whoever is answered through a proxy was accepted after all that came before.
    let opened = || {
        for proxy in &proxies {
            Asking::new(&[&format!("redis://127.0.0.1:{}", proxy.port())]).passes();
        }
        a.connections() + b.connections()
    };
    let before = opened();
    for _ in 0..3 {
        asking.passes();
    }
    let own = proxies.len() as u64;
    assert_eq!(opened(), before + own);
    a.set(Fault::Refuse);
    asking.passes();
    b.set(Fault::Refuse);
    a.set(Fault::None);
    asking.passes();
}

#[test]
fn another_password_is_another_connection() {
    let redis = Redis::with(&[
        "--user", "a", "on", ">one", "+@all", "--user", "b", "on", ">two", "+@all",
    ]);
    let port = redis.port();
    let [a, b] = ["a:one", "b:two"].map(|login| format!("redis://{login}@127.0.0.1:{port}"));
    let mut asking = Asking::new(&[&a]);
    asking.passes();
    let wrong = Asking::new(&[&b]);
    assert_eq!(asking.targets[0].redacted, wrong.targets[0].redacted);
    asking.targets = wrong.targets;
    asking.passes();
    let list = redis.command(&["CLIENT", "LIST"]);
    for user in [" user=a ", " user=b "] {
        assert_eq!(list.matches(user).count(), 1, "{list}");
    }
}
