//! What a connection that was given up still delivers, behind what the next one has told.

use std::thread;
use std::time::{Duration, Instant};

use ready_probe_sdk::signal::{Signal, State};
use ready_probe_sdk::{Agent, Result};
use ready_probe_test_support::proxy::{Fault, Proxy};
use ready_probe_test_support::servers::{Nats, NatsVersion, Redis};

use crate::bucket::{Bucket, VERSIONS};
use crate::common::program::Program;
use crate::common::{PATIENCE, TempFolder, dead_process, signal_of, throughout, until};
use crate::fixture::{builder, record, until_told};

/// As by default: beats come every 8 s at the soonest, and none of this may wait for one.
const TTL: Duration = Duration::from_secs(60);
/// What a busy machine may add, and a beat does not come within.
const SLACK: Duration = Duration::from_millis(2_500);
/// When everything is told again, counted from when the store is back.
const FIRST: Duration = Duration::from_secs(1);
const SECOND: Duration = Duration::from_secs(5);
/// For how long it is then looked whether that stays.
const SETTLES: Duration = Duration::from_millis(1_500);

trait Place: Send {
    fn url(&self, port: u16) -> String;
    fn port(&self) -> u16;
    /// The record of the only instance of an agent.
    fn record(&self, agent: &str) -> Option<Signal>;
    /// Puts a record as its own writer would have, some time ago.
    fn arrive_late(&self, signal: &Signal);
    /// Takes a record back, as its own writer would have.
    fn remove_late(&self, signal: &Signal);
    /// Whether whoever looks for the agent comes upon its instance.
    fn finds(&self, agent: &str) -> bool;
    fn pause(&mut self);
    fn resume(&mut self);
}

impl Place for Redis {
    fn url(&self, port: u16) -> String {
        format!("redis://127.0.0.1:{port}")
    }

    fn port(&self) -> u16 {
        self.port()
    }

    fn record(&self, agent: &str) -> Option<Signal> {
        record(self, agent)
    }

    fn arrive_late(&self, signal: &Signal) {
        let (agent, instance) = (signal.agent.as_str(), signal.instance.as_str());
        let set = format!("ready:default:{{{agent}}}");
        let key = format!("{set}:{instance}");
        let text = String::from_utf8(signal.encode().unwrap()).unwrap();
        self.command(&["SET", &key, &text, "PX", "60000"]);
        self.command(&["SADD", &set, instance]);
        self.command(&["SADD", "ready:default", agent]);
    }

    fn remove_late(&self, signal: &Signal) {
        let (agent, instance) = (signal.agent.as_str(), signal.instance.as_str());
        let set = format!("ready:default:{{{agent}}}");
        self.command(&["DEL", &format!("{set}:{instance}")]);
        self.command(&["SREM", &set, instance]);
        self.command(&["SREM", "ready:default", agent]);
    }

    fn finds(&self, agent: &str) -> bool {
        let set = format!("ready:default:{{{agent}}}");
        self.command(&["SCARD", &set]) == "1"
            && self.command(&["SISMEMBER", "ready:default", agent]) == "1"
    }

    fn pause(&mut self) {
        self.pause();
    }

    fn resume(&mut self) {
        self.resume();
    }
}

struct Jetstream {
    nats: Nats,
    version: NatsVersion,
}

impl Place for Jetstream {
    fn url(&self, port: u16) -> String {
        format!("nats://127.0.0.1:{port}")
    }

    fn port(&self) -> u16 {
        self.nats.port()
    }

    fn record(&self, agent: &str) -> Option<Signal> {
        let bucket = Bucket::of(&self.nats);
        let prefix = format!("$KV.ready.default.{agent}.");
        let subjects = bucket.subjects().into_iter();
        let messages = subjects
            .filter(|subject| subject.starts_with(&prefix))
            .filter_map(|subject| bucket.message(&subject));
        // Markers of what was removed stand beside it.
        let mut records = messages.filter_map(|(_, body)| Signal::decode(&body).ok());
        let record = records.next();
        record.filter(|_| records.next().is_none())
    }

    fn arrive_late(&self, signal: &Signal) {
        let ttl = match self.version {
            NatsVersion::V2_9 => None,
            NatsVersion::V2_15 => Some(("Nats-TTL", "60s")),
        };
        let text = String::from_utf8(signal.encode().unwrap()).unwrap();
        Bucket::of(&self.nats).put(&subject(signal), ttl, &text);
    }

    fn remove_late(&self, signal: &Signal) {
        let removal = Some(("KV-Operation", "DEL"));
        Bucket::of(&self.nats).put(&subject(signal), removal, "");
    }

    /// A bucket has no indexes.
    fn finds(&self, agent: &str) -> bool {
        self.record(agent).is_some()
    }

    fn pause(&mut self) {
        self.nats.pause();
    }

    fn resume(&mut self) {
        self.nats.resume();
    }
}

fn subject(signal: &Signal) -> String {
    let names = [signal.agent.as_str(), signal.instance.as_str()];
    let tokens = names.map(|name| name.replace('.', "=2E"));
    format!("$KV.ready.default.{}", tokens.join("."))
}

fn places() -> Vec<Box<dyn Place>> {
    let jetstream = VERSIONS.map(|version| -> Box<dyn Place> {
        let nats = Nats::builder(version).jetstream().start();
        Box::new(Jetstream { nats, version })
    });
    let mut places: Vec<Box<dyn Place>> = vec![Box::new(Redis::start())];
    places.extend(jetstream);
    places
}

/// A store, and a network before it that can be cut.
struct Cut {
    /// In one process a name is one agent's.
    nth: usize,
    place: Box<dyn Place>,
    proxy: Proxy,
    folder: TempFolder,
}

impl Cut {
    fn before(nth: usize, place: Box<dyn Place>) -> Self {
        let proxy = Proxy::start(([127, 0, 0, 1], place.port()).into());
        let folder = TempFolder::new();
        Self {
            nth,
            place,
            proxy,
            folder,
        }
    }

    /// Runs a test on each store, all at once: most of it is waiting.
    fn each(test: impl Fn(Self) + Sync) {
        thread::scope(|scope| {
            for (nth, place) in places().into_iter().enumerate() {
                let test = &test;
                scope.spawn(move || test(Self::before(nth, place)));
            }
        });
    }

    fn name(&self, name: &str) -> String {
        format!("{name}-{}", self.nth)
    }

    fn url(&self) -> String {
        self.place.url(self.proxy.port())
    }

    /// An agent that the store holds as ready, and what it holds. It is then away.
    fn ready_and_cut(&self, name: &str) -> Result<(Agent, Signal)> {
        let name = &self.name(name);
        let agent = builder(&self.folder, name, &self.url())
            .ttl(TTL)
            .register()?;
        agent.mark_ready(())?;
        agent.wait_announced(PATIENCE)?;
        let before = self.place.record(name).unwrap();
        assert_eq!(before.state, State::Ready);
        self.proxy.set(Fault::Refuse);
        agent.mark_ready(())?;
        until_told(&self.folder, name, "connection refused");
        Ok((agent, before))
    }

    /// The store is back, and holds what it is to hold. What comes late is put right, again and again.
    fn assert_puts_right(&self, late: &Signal, is_right: impl Fn(Option<Signal>) -> bool) {
        self.assert_mends(late, |place| place.arrive_late(late), is_right);
    }

    fn assert_mends(
        &self,
        late: &Signal,
        arrive: impl Fn(&dyn Place),
        is_right: impl Fn(Option<Signal>) -> bool,
    ) {
        let name = late.agent.as_str();
        let right = || is_right(self.place.record(name)).then_some(());
        self.proxy.set(Fault::None);
        until("the store is told", right);
        for limit in [FIRST, SECOND] {
            let start = Instant::now();
            arrive(&*self.place);
            until("the store is told again", right);
            let took = start.elapsed();
            assert!(took < limit + SLACK, "{name}: {took:?}");
        }
    }
}

#[test]
fn a_ready_that_arrives_behind_a_not_ready_is_put_right_at_once() {
    Cut::each(|cut| {
        let (agent, before) = cut.ready_and_cut("overtaken").unwrap();
        agent.mark_not_ready("overloaded").unwrap();
        cut.assert_puts_right(&before, |record| {
            record.is_some_and(|record| record.state == State::NotReady)
        });
    });
}

#[test]
fn a_ready_that_arrives_behind_a_farewell_is_taken_back_again() {
    Cut::each(|cut| {
        let (agent, before) = cut.ready_and_cut("farewell").unwrap();
        drop(agent);
        cut.assert_puts_right(&before, |record| record.is_none());
        // Whoever has that name now has nothing to do with it.
        let name = cut.name("farewell");
        let next = builder(&cut.folder, &name, &cut.url()).ttl(TTL);
        let next = next.register().unwrap();
        next.mark_ready(()).unwrap();
        next.wait_announced(PATIENCE).unwrap();
        throughout(FIRST, || {
            let record = cut.place.record(&name);
            assert!(
                record.is_some(),
                "it is taken back though it is there again"
            );
        });
    });
}

#[test]
fn a_farewell_that_arrives_behind_the_next_agent_of_that_name_is_put_right_at_once() {
    Cut::each(|cut| {
        let (agent, before) = cut.ready_and_cut("back-again").unwrap();
        drop(agent);
        let next = builder(&cut.folder, before.agent.as_str(), &cut.url()).ttl(TTL);
        let next = next.register().unwrap();
        next.mark_ready(()).unwrap();
        cut.assert_mends(
            &before,
            |place| place.remove_late(&before),
            |record| record.is_some_and(|record| record.state == State::Ready),
        );
        let name = before.agent.as_str();
        until("it is found as well", || {
            cut.place.finds(name).then_some(())
        });
    });
}

#[test]
fn a_ready_that_arrives_behind_a_last_word_is_put_right_at_once() {
    Cut::each(|cut| {
        let (agent, before) = cut.ready_and_cut("last-word").unwrap();
        agent.fail("as it was told").unwrap();
        cut.assert_puts_right(&before, |record| {
            record.is_some_and(|record| record.state == State::Stopping)
        });
    });
}

/// Killed while the store was away, and started again before it is back.
#[test]
fn what_arrives_of_a_predecessor_behind_its_successor_is_removed() {
    Cut::each(|cut| {
        let (pid, pid_start) = dead_process();
        let name = cut.name("succeeded-late");
        let late = signal_of(&name, pid, pid_start);
        cut.proxy.set(Fault::Refuse);
        let mut program = Program::announcing(&cut.folder.path(), &cut.url());
        program.tell(&format!("register {name} 60000"));
        program.tell("ready");
        until_told(&cut.folder, &name, "connection refused");
        cut.assert_puts_right(&late, |record| {
            record.is_some_and(|record| record.pid == Some(program.pid()))
        });
    });
}

/// What lies in the queue of a paused server is read when it goes on, in whatever order.
#[test]
fn what_a_paused_server_reads_of_an_old_connection_does_not_stand() {
    Cut::each(|mut cut| {
        let name = cut.name("paused");
        let agent = builder(&cut.folder, &name, &cut.url());
        let agent = agent.register().unwrap();
        agent.mark_ready(()).unwrap();
        agent.wait_announced(PATIENCE).unwrap();
        let before = cut.proxy.connections();
        cut.place.pause();
        agent
            .mark_ready(serde_json::json!({ "late": true }))
            .unwrap();
        until_told(&cut.folder, &name, "no answer within 1s");
        agent.mark_not_ready("overloaded").unwrap();
        until("it has connected anew", || {
            (cut.proxy.connections() > before).then_some(())
        });
        cut.place.resume();
        let is_right = || {
            let record = cut.place.record(&name);
            record.is_some_and(|record| record.state == State::NotReady)
        };
        until("not_ready is told", || is_right().then_some(()));
        let mut wrong_since = None;
        throughout(FIRST + SETTLES, || {
            let since = wrong_since.take();
            if !is_right() {
                let since: Instant = since.unwrap_or_else(Instant::now);
                assert!(since.elapsed() < FIRST + SLACK, "it stands");
                wrong_since = Some(since);
            }
        });
        assert!(is_right());
    });
}
