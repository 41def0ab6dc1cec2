//! The narrow ACLs that docs/signal.md states are enough for agents and readers, and give no more
//! than is used.

use std::collections::BTreeSet;

use ready_probe_sdk::connect::store::StoreAddress;
use ready_probe_sdk::signal::{Name, Signal};
use ready_probe_sdk::store::connected::{self, Connected};
use ready_probe_sdk::store::{Published, Record, Store};
use ready_probe_test_support::servers::{Redis, RedisBinary};

use crate::common::{TempFolder, own_signal};
use crate::fixture::{announced_agent, keys};

const DOCUMENT: &str = include_str!("../../../docs/signal.md");

/// The words of a line of the document, with a password of ours.
fn documented(user: &str) -> Vec<String> {
    let start = format!("ACL SETUSER {user} ");
    let mut lines = DOCUMENT.lines().filter(|line| line.starts_with(&start));
    let line = lines.next().expect("the document has the line");
    let words = line.split(' ').map(|word| word.replace("PASSWORD", "pw"));
    words.collect()
}

/// The commands that the line allows, but PING: that is for the check `redis://`.
fn allowed(user: &str) -> BTreeSet<String> {
    let words = documented(user);
    let commands = words.iter().filter_map(|word| word.strip_prefix('+'));
    let commands = commands.filter(|command| *command != "ping");
    commands.map(ToOwned::to_owned).collect()
}

/// The commands that anybody has sent since the statistics were reset, but our own.
fn used(redis: &Redis) -> BTreeSet<String> {
    let stats = redis.command(&["INFO", "commandstats"]);
    let names = stats
        .lines()
        .filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(':'));
    let names = names.map(|(name, _)| name.to_owned());
    let ours =
        |name: &String| ["auth", "info", "keys", "config|resetstat"].contains(&name.as_str());
    names.filter(|name| !ours(name)).collect()
}

fn start(binary: RedisBinary) -> Redis {
    let redis = Redis::builder().binary(binary).start();
    for user in ["ready-agent", "ready-reader"] {
        let words = documented(user);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        assert_eq!(redis.command(&words), "OK", "{words:?}");
    }
    redis
}

async fn connect(redis: &Redis, user: &str, namespace: &str) -> Connected {
    let url = format!("redis://{user}:pw@127.0.0.1:{}", redis.port());
    let address = StoreAddress::parse(&url).unwrap();
    let namespace = Name::new(namespace).unwrap();
    connected::connect(&address, &namespace).await.unwrap()
}

fn record_of(agent: &str) -> (Published, Record) {
    let signal: Signal = own_signal(agent);
    let record = Record::of(&signal).unwrap();
    (record.published.clone(), record)
}

#[tokio::test]
async fn the_documented_acls_are_enough_and_give_no_more_than_is_used() {
    for binary in [RedisBinary::Debian, RedisBinary::Valkey] {
        let redis = start(binary);
        redis.command(&["CONFIG", "RESETSTAT"]);
        let (published, record) = record_of("by-acl");
        let mut store = connect(&redis, "ready-agent", "default").await;
        for answer in store.put(&[record.clone(), record.clone()]).await.unwrap() {
            answer.unwrap();
        }
        let names = [published.agent.clone()];
        assert_eq!(store.read(&names).await.unwrap().len(), 1);
        // An index that names what is not there: everything that tidying does.
        redis.command(&["SADD", "ready:default:{by-acl}", "gone"]);
        store.tidy(&names).await.unwrap();

        let mut reader = connect(&redis, "ready-reader", "default").await;
        assert_eq!(reader.read(&names).await.unwrap().len(), 1);
        assert_eq!(reader.agents().await.unwrap(), names);
        store.remove(&[published]).await.unwrap();
        assert_eq!(keys(&redis, "*"), Vec::<String>::new());
        assert_eq!(used(&redis), allowed("ready-agent"));

        redis.command(&["CONFIG", "RESETSTAT"]);
        assert!(reader.read(&names).await.unwrap().is_empty());
        redis.command(&["SADD", "ready:default:{by-acl}", "gone"]);
        redis.command(&["SADD", "ready:default", "by-acl"]);
        assert!(reader.agents().await.unwrap().is_empty());
        assert!(reader.read(&names).await.unwrap().is_empty());
        let mut used = used(&redis);
        assert!(used.remove("sadd"), "that was us");
        assert_eq!(used, allowed("ready-reader"));
    }
}

#[tokio::test]
async fn the_documented_acls_keep_to_their_namespace_and_readers_write_nothing() {
    let redis = start(RedisBinary::Debian);
    let (published, record) = record_of("foreign");
    let mut foreign = connect(&redis, "ready-agent", "default2").await;
    let [answer] = foreign
        .put(std::slice::from_ref(&record))
        .await
        .unwrap()
        .try_into()
        .unwrap();
    assert!(answer.unwrap_err().contains("NOPERM"));
    let mut reader = connect(&redis, "ready-reader", "default").await;
    let [answer] = reader.put(&[record]).await.unwrap().try_into().unwrap();
    assert!(answer.unwrap_err().contains("NOPERM"));
    let e = reader.remove(&[published]).await.unwrap_err();
    assert!(e.cause.contains("NOPERM"), "{e}");
    let foreign = connect(&redis, "ready-reader", "default2")
        .await
        .agents()
        .await;
    assert!(foreign.unwrap_err().cause.contains("NOPERM"));
    assert_eq!(keys(&redis, "*"), Vec::<String>::new());
}

#[test]
fn an_agent_lives_and_ends_by_the_documented_acl() {
    let redis = start(RedisBinary::Debian);
    let folder = TempFolder::new();
    redis.command(&["ACL", "LOG", "RESET"]);
    let url = format!("redis://ready-agent:pw@127.0.0.1:{}", redis.port());
    let agent = announced_agent(&folder, "acl-life", &url);
    let ping = redis.command_as("ready-agent", "pw", &["PING"]);
    assert_eq!(ping, "PONG", "the check redis:// goes by the same user");
    redis.command(&["FLUSHALL"]);
    crate::common::until("it is back", || {
        (keys(&redis, "*").len() == 3).then_some(())
    });
    drop(agent);
    assert_eq!(keys(&redis, "*"), Vec::<String>::new());
    assert_eq!(redis.command(&["ACL", "LOG"]), "");
}
