//! What a forked child announces is its own, and its parent's stays the parent's.

use std::thread;
use std::time::Duration;

use ready_probe_fork_tests::fork;
use ready_probe_sdk::folder::Folder;
use ready_probe_sdk::{Agent, clock};
use ready_probe_test_support::servers::Redis;

const PATIENCE: Duration = Duration::from_secs(20);

/// The instances of the agent `own`, as the index names them.
fn instances(redis: &Redis) -> Vec<String> {
    let members = redis.command(&["SMEMBERS", "ready:default:{own}"]);
    members.lines().map(ToOwned::to_owned).collect()
}

fn records(redis: &Redis) -> usize {
    let keys = redis.command(&["KEYS", "ready:default:{own}:*"]);
    keys.lines().count()
}

fn is_of(instance: &str, pid: u32) -> bool {
    instance.contains(&format!("-{pid}-"))
}

#[test]
fn a_child_announces_its_own_instance_and_leaves_its_parents_alone() {
    let redis = Redis::start();
    let dir = tempfile::tempdir().unwrap();
    let register = || {
        let agent = Agent::builder("own")
            .folder(Folder::at(&dir.path().join("signals")).unwrap())
            .store(&redis.url())
            .ttl(Duration::from_secs(4))
            .heartbeat(Duration::from_millis(200))
            .register()
            .unwrap();
        agent.mark_ready(()).unwrap();
        agent.wait_announced(PATIENCE).unwrap();
        agent
    };
    let parent = register();
    let [of_parent] = instances(&redis).try_into().unwrap();
    assert!(is_of(&of_parent, std::process::id()));
    let child = fork(|| {
        let inherited = match parent.wait_announced(PATIENCE) {
            Ok(()) => "announced".to_owned(),
            Err(e) => format!("{:?}", e.kind()),
        };
        let agent = register();
        // Beyond the TTL: each of them beats.
        let end = clock::mono_ms() + 5_000;
        while clock::mono_ms() < end {
            assert_eq!(records(&redis), 2);
            thread::sleep(Duration::from_millis(20));
        }
        let both = instances(&redis);
        let mine = both
            .iter()
            .filter(|instance| is_of(instance, std::process::id()))
            .count();
        drop(agent);
        format!("{inherited} {mine} of {}", both.len())
    });
    assert_eq!(child.answer(PATIENCE), "Forked 1 of 2");
    assert_eq!(instances(&redis), [of_parent]);
    parent.mark_not_ready("still the parent's").unwrap();
    parent.wait_announced(PATIENCE).unwrap();
    drop(parent);
    assert_eq!(redis.command(&["KEYS", "*"]), "");
}
