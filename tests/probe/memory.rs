//! Where the past of checks is kept: believed only if it is ours, and never needed.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;

use ready_probe_test_support::process::run;
use ready_probe_test_support::servers::Redis;

use crate::container::{Container, assert_mentions, assert_said, open_to_all};

const HEALTHY: &str = "healthy: 1 check passes";
/// A user whom nothing belongs to.
const NOBODY: u32 = 65_534;

/// A container whose probe remembers that Redis has passed, after which Redis was stopped.
fn with_a_past() -> (Container, String) {
    let mut redis = Redis::start();
    let container = Container::new();
    assert_said(&container.ask(redis.url()), 0, HEALTHY);
    redis.kill();
    (container, redis.url())
}

#[test]
fn it_is_readable_by_its_owner_only_in_a_folder_for_all() {
    let (container, _) = with_a_past();
    let memory = container.memory();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(&memory), 0o600);
    assert_eq!(mode(&container.ready_dir()), 0o1777);
    assert_eq!(mode(&container.ready_dir().join(".probe")), 0o1777);
    let name = memory.file_stem().unwrap().to_str().unwrap().to_owned();
    let uid = rustix::process::geteuid().as_raw();
    assert!(name.ends_with(&format!("-{uid}")), "{name}");
}

#[test]
fn it_holds_no_secret() {
    let redis = Redis::with(&["--requirepass", "hUnTeR2"]);
    redis.command(&["SET", "k", "hUnTeR2"]);
    let container = Container::new();
    let url = format!(
        "redis://:hUnTeR2@127.0.0.1:{}#key=k&value=hUnTeR2",
        redis.port()
    );
    assert_said(&container.ask(url), 0, HEALTHY);
    let text = fs::read_to_string(container.memory()).unwrap();
    assert!(
        text.contains("redis://***@127.0.0.1") && !text.contains("hUnTeR2"),
        "{text}"
    );
}

#[test]
fn what_cannot_be_believed_is_said_and_replaced() {
    let table: &[(&str, &str)] = &[
        ("", "it is corrupt"),
        ("{", "it is corrupt"),
        ("[1]", "it is corrupt"),
        ("{\"v\":2,\"checks\":{}}", "it is of another version"),
        ("{\"v\":1,\"checks\":{\"x\":{}}}", "it is corrupt"),
        (&" ".repeat(300 * 1024), "it is corrupt"),
    ];
    for (content, why) in table {
        let (container, url) = with_a_past();
        fs::write(container.memory(), content).unwrap();
        let run = container.ask(&url);
        assert_mentions(&run, 1, &[&url, "connection refused; it has never passed"]);
        let note = format!("no grace: {}: {why}", container.memory().display());
        assert!(run.stdout.contains(&note), "{note}\n{run:?}");
        let again = container.ask(&url);
        assert!(
            !again.stdout.contains("no grace: "),
            "it was not replaced: {again:?}"
        );
    }
}

#[test]
fn what_others_may_have_written_is_not_believed() {
    let (container, url) = with_a_past();
    let memory = container.memory();
    fs::set_permissions(&memory, fs::Permissions::from_mode(0o622)).unwrap();
    let run = container.ask(&url);
    assert_mentions(&run, 1, &["it has never passed"]);
    assert!(
        run.stdout.contains("no grace: ") && run.stdout.contains("others may write it"),
        "{run:?}"
    );

    let (container, url) = with_a_past();
    chown(container.memory(), Some(NOBODY), None).unwrap();
    let run = container.ask(&url);
    assert_mentions(&run, 1, &["it has never passed"]);
    assert!(run.stdout.contains("it belongs to another user"), "{run:?}");
}

#[test]
fn a_link_in_its_place_is_not_followed() {
    let (container, url) = with_a_past();
    let memory = container.memory();
    let elsewhere = container.path("elsewhere");
    fs::rename(&memory, &elsewhere).unwrap();
    let before = fs::read(&elsewhere).unwrap();
    symlink(&elsewhere, &memory).unwrap();
    let run = container.ask(&url);
    assert_mentions(&run, 1, &["it has never passed"]);
    assert!(run.stdout.contains("no grace: "), "{run:?}");
    assert_eq!(fs::read(&elsewhere).unwrap(), before);
}

#[test]
fn a_link_where_it_is_written_first_is_not_followed() {
    let redis = Redis::start();
    let (container, _) = with_a_past();
    let victim = container.file("victim", "precious");
    for extension in ["tmp", "lock"] {
        let path = container.memory().with_extension(extension);
        let _ = fs::remove_file(&path);
        symlink(&victim, path).unwrap();
    }
    let run = container.ask(redis.url());
    assert_mentions(
        &run,
        0,
        &["healthy: 1 check passes; grace can't be counted: "],
    );
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}

#[test]
fn a_fifo_in_its_place_does_not_hang_anybody() {
    let (container, url) = with_a_past();
    let memory = container.memory();
    fs::remove_file(&memory).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &memory,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let run = container.ask(&url);
    assert_mentions(&run, 1, &["it has never passed"]);
    assert!(run.stdout.contains("no grace: "), "{run:?}");
}

#[test]
fn where_nothing_can_be_written_that_is_said_and_nothing_breaks() {
    let redis = Redis::start();
    let container = Container::new();
    fs::create_dir(container.ready_dir()).unwrap();
    let mut probe = container.probe([redis.url()]);
    let run = run(probe.uid(NOBODY).gid(NOBODY));
    let note = "healthy: 1 check passes; grace can't be counted: ";
    assert_mentions(&run, 0, &[note, ".probe: Permission denied"]);
}

#[test]
fn each_user_has_a_memory_of_its_own() {
    let mut redis = Redis::start();
    let container = Container::new();
    assert_said(&container.ask(redis.url()), 0, HEALTHY);
    open_to_all(&container.ready_dir());
    let mut probe = container.probe([redis.url()]);
    let probe = probe.uid(NOBODY).gid(NOBODY);
    assert_said(&run(probe), 0, HEALTHY);
    let files = fs::read_dir(container.ready_dir().join(".probe")).unwrap();
    let owners: std::collections::BTreeSet<u32> = files
        .map(|entry| entry.unwrap().metadata().unwrap().uid())
        .collect();
    assert!(owners.contains(&NOBODY) && owners.len() == 2, "{owners:?}");
    redis.kill();
    assert_mentions(&run(probe), 0, &["degraded"]);
}

#[test]
fn a_ready_dir_that_is_a_file_is_said() {
    let redis = Redis::start();
    let container = Container::new();
    fs::write(container.ready_dir(), "").unwrap();
    let run = container.ask(redis.url());
    assert_mentions(
        &run,
        0,
        &["healthy: 1 check passes; grace can't be counted: "],
    );
}

#[test]
fn a_lock_that_is_held_costs_milliseconds() {
    let redis = Redis::start();
    let (container, _) = with_a_past();
    let lock = fs::File::open(container.memory().with_extension("lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let run = container.ask(redis.url());
    assert_mentions(
        &run,
        0,
        &["grace can't be counted: ", "another probe holds the lock"],
    );
}
