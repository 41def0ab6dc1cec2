//! A store that loses what it was told, in whole or in part, in the middle of an agent's life.

use std::time::{Duration, Instant};

use ready_probe_sdk::Agent;
use ready_probe_test_support::servers::Redis;

use crate::common::{PATIENCE, TempFolder, until};
use crate::fixture::{BEAT, SLACK, announced_agent, builder, immortal_keys, keys, record_keys};

/// A beat with its variation.
const LONGEST_BEAT: Duration = Duration::from_millis(1_200);

fn until_whole(redis: &Redis, limit: Duration) {
    let start = Instant::now();
    until("all three keys are back", || {
        (keys(redis, "*").len() == 3).then_some(())
    });
    let took = start.elapsed();
    assert!(took < limit + SLACK, "{took:?}");
    assert_eq!(immortal_keys(redis), Vec::<String>::new());
}

#[test]
fn what_a_store_has_lost_is_back_with_its_indexes_within_one_beat() {
    let (redis, folder) = (Redis::start(), TempFolder::new());
    let _agent = announced_agent(&folder, "flushed", &redis.url());
    for _ in 0..2 {
        redis.command(&["FLUSHALL"]);
        until_whole(&redis, LONGEST_BEAT);
    }
    assert!(folder.record("flushed").announced.unwrap().ok);
}

#[test]
fn a_record_that_is_lost_alone_is_back_within_one_beat() {
    let (redis, folder) = (Redis::start(), TempFolder::new());
    let _agent = announced_agent(&folder, "lost", &redis.url());
    let [key] = record_keys(&redis, "lost").try_into().unwrap();
    redis.command(&["DEL", &key]);
    until_whole(&redis, LONGEST_BEAT);
}

/// Indexes are kept once a TTL.
#[test]
fn an_index_that_is_lost_alone_is_back_within_one_ttl_and_a_beat() {
    let (redis, folder) = (Redis::start(), TempFolder::new());
    let ttl = Duration::from_secs(2);
    let agent: Agent = builder(&folder, "unindexed", &redis.url())
        .ttl(ttl)
        .register()
        .unwrap();
    agent.wait_announced(PATIENCE).unwrap();
    for set in ["ready:default:{unindexed}", "ready:default"] {
        redis.command(&["DEL", set]);
        until_whole(&redis, ttl + BEAT);
    }
}

#[test]
fn a_record_that_somebody_made_immortal_is_mortal_again_within_one_beat() {
    let (redis, folder) = (Redis::start(), TempFolder::new());
    let _agent = announced_agent(&folder, "persisted", &redis.url());
    let [key] = record_keys(&redis, "persisted").try_into().unwrap();
    redis.command(&["PERSIST", &key]);
    let start = Instant::now();
    until("it has a TTL again", || {
        immortal_keys(&redis).is_empty().then_some(())
    });
    assert!(start.elapsed() < LONGEST_BEAT + SLACK);
}
