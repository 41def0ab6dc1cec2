//! The life of an agent in one process.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use common::disk::SmallDisk;
use common::{TempFolder, until};
use ready_probe_sdk::signal::Signal;
use ready_probe_sdk::{Agent, AgentBuilder, ErrorKind, State, find_agent, host};
use serde_json::json;

const SECOND: Duration = Duration::from_secs(1);

/// Each test takes a name of its own: one process is one instance of a name.
fn builder(folder: &TempFolder, name: &str) -> AgentBuilder {
    Agent::builder(name).folder(folder.signals())
}

fn register(folder: &TempFolder, name: &str) -> Agent {
    builder(folder, name).register().unwrap()
}

#[test]
fn it_says_starting_then_ready_then_not_ready_then_stopping_then_nothing() {
    let folder = TempFolder::new();
    let agent = register(&folder, "life");
    assert_eq!((agent.state(), agent.name()), (State::Starting, "life"));
    assert_eq!(folder.says("life"), ["starting"]);

    agent.mark_ready(json!({ "port": 5555 })).unwrap();
    assert_eq!(
        (agent.state(), folder.says("life")),
        (State::Ready, vec!["ready".to_owned()])
    );
    assert_eq!(folder.record("life").details["port"], 5555);

    agent.mark_not_ready("reloading\nthe model").unwrap();
    assert_eq!(folder.says("life"), ["not_ready: reloading the model"]);
    assert_eq!(folder.record("life").details["port"], 5555, "details stay");

    agent.mark_ready(()).unwrap();
    assert_eq!(folder.says("life"), ["ready"]);
    let record = folder.record("life");
    assert!(
        record.details.is_empty() && record.reason.is_none(),
        "{record:?}"
    );

    let draining = agent.close("deploy").unwrap();
    assert_eq!(folder.says("life"), ["stopping: deploy"]);
    drop(draining);
    assert!(folder.files("life").is_empty());
}

#[test]
fn a_record_says_who_wrote_it_and_when() {
    let folder = TempFolder::new();
    let before_ms = ready_probe_sdk::clock::mono_ms();
    let agent = builder(&folder, "who")
        .ttl(30 * SECOND)
        .heartbeat(7 * SECOND)
        .register()
        .unwrap();
    agent.mark_ready(()).unwrap();
    let record = folder.record("who");
    let (pid, pid_start) = host::myself();
    let epoch = host::Epoch::current();
    let want = Signal {
        ttl_ms: Some(30_000),
        beat_ms: Some(7_000),
        host: Some(host::name()),
        pid: Some(pid),
        pid_start,
        boot_id: epoch.boot_id,
        pid_ns: epoch.pid_ns,
        init_start: epoch.init_start,
        time_ns: epoch.time_ns,
        sdk: Some(format!("rust/{}", env!("CARGO_PKG_VERSION"))),
        ..record.clone()
    };
    assert_eq!(record, want);
    // Registered, marked; the first beat comes at any time.
    assert!(record.seq >= 2, "{record:?}");
    let now_ms = ready_probe_sdk::clock::mono_ms();
    assert!((before_ms..=now_ms).contains(&record.mono_ms.unwrap()));
    assert!(
        record
            .instance
            .as_str()
            .ends_with(&format!("-{pid}-{}", pid_start.unwrap()))
    );
    assert!(
        record
            .since
            .is_some_and(|since| since.ends_with('Z') && since.len() == 20)
    );
}

#[test]
fn by_default_the_ttl_is_a_minute_and_holds_six_beats() {
    let folder = TempFolder::new();
    let _agent = register(&folder, "defaults");
    let record = folder.record("defaults");
    assert_eq!(
        (record.ttl_ms, record.beat_ms),
        (Some(60_000), Some(10_000))
    );
}

#[test]
fn beats_keep_the_signal_alive_beyond_its_ttl_and_never_in_step() {
    let folder = TempFolder::new();
    let agent = builder(&folder, "beats")
        .ttl(SECOND)
        .heartbeat(SECOND / 10)
        .register()
        .unwrap();
    agent.mark_ready(()).unwrap();
    let mut beats = vec![folder.record("beats")];
    until("twenty beats", || {
        let record = folder.record("beats");
        assert_eq!(folder.says("beats"), ["ready"]);
        if record.seq > beats.last().unwrap().seq {
            beats.push(record);
        }
        (beats.len() > 20).then_some(())
    });
    let at = |beat: &Signal| beat.mono_ms.unwrap();
    let gaps: Vec<u64> = beats
        .windows(2)
        .map(|pair| at(&pair[1]) - at(&pair[0]))
        .collect();
    // ±20 %; a busy machine makes some later, never earlier.
    assert!(gaps.iter().all(|gap| *gap >= 79), "{gaps:?}");
    assert!(gaps.iter().any(|gap| *gap < 97), "{gaps:?}");
    assert_eq!(beats[0].since, beats[20].since, "a beat changes nothing");
}

#[test]
fn marking_again_is_no_change() {
    let folder = TempFolder::new();
    let agent = register(&folder, "again");
    for _ in 0..3 {
        agent.mark_ready(json!({ "a": 1 })).unwrap();
    }
    let first = folder.record("again");
    thread::sleep(Duration::from_millis(1_100)); // `since` counts whole seconds
    agent.mark_ready(json!({ "a": 2 })).unwrap();
    let second = folder.record("again");
    assert_eq!(second.since, first.since);
    assert!(second.seq > first.seq, "{second:?}");
    assert_eq!(second.details["a"], 2);
    agent.mark_not_ready("x").unwrap();
    assert_ne!(folder.record("again").since, folder.record("again").sdk);
}

#[test]
fn any_thread_may_mark_and_the_last_word_is_what_is_published() {
    let folder = TempFolder::new();
    let agent = register(&folder, "threads");
    let barrier = Barrier::new(8);
    thread::scope(|scope| {
        for i in 0..8 {
            let (agent, barrier) = (&agent, &barrier);
            scope.spawn(move || {
                barrier.wait();
                for _ in 0..50 {
                    match i % 2 {
                        0 => agent.mark_ready(json!({ "thread": i })).unwrap(),
                        _ => agent.mark_not_ready(&format!("thread {i}")).unwrap(),
                    }
                    agent.tick().unwrap();
                }
            });
        }
    });
    let record = folder.record("threads");
    // Registered, and marked 400 times; the first beat comes at any time.
    assert!(record.seq >= 401, "{record:?}");
    assert_eq!(record.state, agent.state());
    assert_eq!(record.reason.is_none(), record.state == State::Ready);
    fn shared<T: Send + Sync>(_: &T) {}
    shared(&agent);
}

#[test]
fn a_name_is_published_once_a_process_and_is_free_after_its_end() {
    let folder = TempFolder::new();
    let agent = register(&folder, "once");
    let e = builder(&folder, "once").register().unwrap_err();
    assert_eq!(e.kind(), ErrorKind::AlreadyRegistered);
    let want = "this process publishes agent once already, and one process is one instance of a name: \
                close that one first, take another name, or get it with find_agent or mark_agent_ready";
    assert_eq!(e.to_string(), want);
    assert_eq!(
        folder.says("once"),
        ["starting"],
        "the first one is not disturbed"
    );
    drop(agent);
    assert!(folder.files("once").is_empty());
    let _agent = register(&folder, "once");
    assert_eq!(folder.says("once"), ["starting"]);
}

#[test]
fn an_agent_is_found_by_its_name_and_stays_when_what_was_found_is_dropped() {
    let folder = TempFolder::new();
    assert!(find_agent("found").is_none());
    let agent = register(&folder, "found");
    let found = find_agent("found").unwrap();
    found.mark_ready(json!({ "port": 5555 })).unwrap();
    assert_eq!((agent.state(), found.name()), (State::Ready, "found"));
    drop(found);
    assert_eq!(folder.says("found"), ["ready"]);

    let draining = find_agent("found").unwrap().close("deploy").unwrap();
    assert_eq!(folder.says("found"), ["stopping: deploy"]);
    drop(draining);
    assert!(folder.files("found").is_empty());
    assert!(find_agent("found").is_none() && find_agent("../found").is_none());
    assert_eq!(agent.tick().unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn an_agent_that_drains_goes_on_beating() {
    let folder = TempFolder::new();
    let agent = builder(&folder, "drains")
        .ttl(SECOND)
        .heartbeat(SECOND / 10)
        .register()
        .unwrap();
    let _draining = agent.close("deploy").unwrap();
    let seq = folder.record("drains").seq;
    until("three more beats", || {
        (folder.record("drains").seq > seq + 2).then_some(())
    });
    assert_eq!(folder.says("drains"), ["stopping: deploy"]);
}

#[test]
fn an_agent_that_is_shared_says_stopping_until_the_last_owner_lets_go() {
    let folder = TempFolder::new();
    let agent = register(&folder, "shared");
    agent.mark_stopping("deploy").unwrap();
    agent.mark_stopping("again").unwrap();
    assert_eq!(folder.says("shared"), ["stopping: deploy"]);
    let e = agent.mark_ready(()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Closed);
    assert!(
        e.to_string()
            .starts_with("agent shared is stopping (deploy)")
    );
    drop(agent);
    assert!(folder.files("shared").is_empty());
}

#[test]
fn work_in_flight_ends_well_while_its_agent_says_stopping() {
    let folder = TempFolder::new();
    let agent = builder(&folder, "drains")
        .watchdog(Duration::from_millis(100))
        .register()
        .unwrap();
    agent.mark_ready(()).unwrap();
    agent.mark_stopping("deploy").unwrap();
    agent.arm().unwrap();
    agent.tick().unwrap();
    agent.disarm().unwrap();
    assert_eq!(folder.says("drains"), ["stopping: deploy"]);
}

#[test]
fn an_agent_that_failed_leaves_its_reason_behind_until_it_registers_anew() {
    let folder = TempFolder::new();
    let agent = register(&folder, "fails");
    agent.fail("ValueError: no such model").unwrap();
    drop(agent);
    let want = ["stopping: ValueError: no such model"];
    assert_eq!(folder.says("fails"), want);
    let _agent = register(&folder, "fails");
    assert_eq!(folder.says("fails"), ["starting"]);
}

#[test]
fn a_builder_marks_an_agent_that_the_process_holds_and_its_first_options_stand() {
    let folder = TempFolder::new();
    builder(&folder, "held").ttl(SECOND).mark_ready(()).unwrap();
    let again = builder(&folder, "held").ttl(2 * SECOND);
    again.mark_ready(json!({ "port": 1 })).unwrap();
    assert_eq!(folder.says("held"), ["ready"]);
    let record = folder.record("held");
    assert_eq!(record.ttl_ms, Some(1_000));
    assert_eq!(record.details["port"], 1);
    ready_probe_sdk::mark_agent_not_ready("held", "reloading").unwrap();
    assert_eq!(folder.says("held"), ["not_ready: reloading"]);
}

/// A store that takes no record any more although what is there can be removed: it is full, and
/// the record is a link, which is never written through.
fn stuff(disk: &SmallDisk, agent: &str) -> PathBuf {
    let record = disk.folder.agent_dir(agent).join(common::own_file());
    fs::remove_file(&record).unwrap();
    symlink("/dev/null", &record).unwrap();
    disk.fill();
    record
}

#[test]
fn an_agent_that_cannot_say_stopping_is_closed_even_so() {
    let disk = SmallDisk::new();
    let agent = register(&disk.folder, "closes");
    let record = stuff(&disk, "closes");
    assert_eq!(agent.close("deploy").unwrap_err().kind(), ErrorKind::Folder);
    assert!(
        record.symlink_metadata().is_err(),
        "its record was left behind"
    );
}

#[test]
fn an_agent_that_is_dropped_and_cannot_say_stopping_is_closed_even_so() {
    let disk = SmallDisk::new();
    let agent = register(&disk.folder, "dropped");
    let record = stuff(&disk, "dropped");
    drop(agent);
    assert!(
        record.symlink_metadata().is_err(),
        "its record was left behind"
    );
}

#[test]
fn a_store_that_refuses_is_reported_and_the_word_is_written_as_soon_as_it_heals() {
    let folder = TempFolder::new();
    let agent = register(&folder, "heals");
    fs::remove_dir_all(folder.path()).unwrap();
    fs::write(folder.path(), "in the way").unwrap();
    let e = agent.mark_ready(()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Folder);
    assert_eq!(agent.state(), State::Ready);
    fs::remove_file(folder.path()).unwrap();
    // The next beat is 10 s away; a failed one is tried again within 100 ms, 200 ms, …
    let begin = ready_probe_sdk::clock::mono_ms();
    folder.until_says("heals", "ready");
    let took = ready_probe_sdk::clock::mono_ms() - begin;
    assert!(took < 5_000, "{took}ms");
}

#[test]
fn a_folder_that_is_removed_is_made_again_by_the_next_beat() {
    let folder = TempFolder::new();
    let agent = builder(&folder, "again-2")
        .ttl(SECOND)
        .heartbeat(SECOND / 10)
        .register()
        .unwrap();
    agent.mark_ready(()).unwrap();
    fs::remove_dir_all(folder.path()).unwrap();
    folder.until_says("again-2", "ready");
}

#[test]
fn a_registration_that_cannot_publish_is_an_error_and_may_be_repeated() {
    let folder = TempFolder::new();
    fs::write(folder.path(), "in the way").unwrap();
    for _ in 0..2 {
        let e = builder(&folder, "repeat").register().unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Folder);
    }
    fs::remove_file(folder.path()).unwrap();
    let _agent = register(&folder, "repeat");
}
