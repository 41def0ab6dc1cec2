use std::fs::File;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ready_probe_sdk::folder::{Folder, PROBE_DIR};
use ready_probe_sdk::host::Epoch;
use rustix::fs::{FlockOperation, flock};

use super::*;

fn memory(answers: &[(&Outcome, u64)]) -> Memory {
    let mut memory = Memory::default();
    for (outcome, at_ms) in answers {
        memory.add(&[("k", outcome)], *at_ms);
    }
    memory
}

fn tolerance(answers: &[(&Outcome, u64)], grace: Grace, now_ms: u64) -> Tolerance {
    memory(answers).past("k").unwrap().tolerance(grace, now_ms)
}

#[test]
fn grace_runs_from_the_first_unknown_after_a_pass() {
    let (pass, fail, unknown) = (Outcome::pass(), Outcome::fail("n"), Outcome::unknown("?"));
    let minute = Grace::For(Duration::from_secs(60));
    type Answers<'a> = &'a [(&'a Outcome, u64)];
    let table: &[(Answers<'_>, Grace, u64, Tolerance)] = &[
        // A long silence between probes does not eat the grace.
        (
            &[(&pass, 0), (&unknown, 900_000)],
            minute,
            900_000,
            Tolerance::Tolerated {
                until_ms: Some(960_000),
            },
        ),
        (
            &[(&pass, 0), (&unknown, 1_000)],
            minute,
            60_999,
            Tolerance::Tolerated {
                until_ms: Some(61_000),
            },
        ),
        (
            &[(&pass, 0), (&unknown, 1_000)],
            minute,
            61_000,
            Tolerance::Exhausted,
        ),
        (
            &[(&pass, 0), (&unknown, 1_000), (&unknown, 50_000)],
            minute,
            61_000,
            Tolerance::Exhausted,
        ),
        // Only a pass renews it.
        (
            &[
                (&pass, 0),
                (&unknown, 1_000),
                (&pass, 2_000),
                (&unknown, 50_000),
            ],
            minute,
            61_000,
            Tolerance::Tolerated {
                until_ms: Some(110_000),
            },
        ),
        (&[(&unknown, 0)], Grace::Forever, 0, Tolerance::Exhausted),
        (
            &[(&fail, 0), (&unknown, 1)],
            Grace::Forever,
            1,
            Tolerance::Exhausted,
        ),
        (
            &[(&pass, 0), (&unknown, 1), (&fail, 2), (&unknown, 3)],
            Grace::Forever,
            3,
            Tolerance::Exhausted,
        ),
        (
            &[(&pass, 0), (&unknown, 1)],
            Grace::Forever,
            u64::MAX,
            Tolerance::Tolerated { until_ms: None },
        ),
        (
            &[(&pass, 0), (&unknown, 1)],
            Grace::For(Duration::ZERO),
            1,
            Tolerance::Exhausted,
        ),
    ];
    for (answers, grace, now_ms, want) in table {
        assert_eq!(
            tolerance(answers, *grace, *now_ms),
            *want,
            "{answers:?} at {now_ms}"
        );
    }
}

#[test]
fn nothing_is_written_while_nothing_changes() {
    let mut memory = memory(&[(&Outcome::pass(), 5)]);
    assert!(!memory.add(&[("k", &Outcome::Pass("another note".into()))], 99));
    assert!(memory.add(&[("k", &Outcome::fail("n"))], 99));
    // But often enough to be seen to be in use.
    assert!(!memory.add(&[("k", &Outcome::fail("n"))], 98 + REWRITE_MS));
    assert!(memory.add(&[("k", &Outcome::fail("n"))], 98 + 2 * REWRITE_MS));
}

fn keeper(dir: &Path) -> Keeper {
    let epoch = Epoch {
        boot_id: Some("b".into()),
        pid_ns: Some(1),
        init_start: Some(2),
        time_ns: Some(3),
    };
    Keeper::new(&Folder::at(dir).unwrap(), None, &epoch)
}

/// Patient: a child that another test starts has the lock, too, until it becomes its program.
fn remember(keeper: &Keeper, key: &str, outcome: &Outcome, at_ms: u64) -> Result<(), String> {
    remember_within(Duration::from_secs(10), keeper, key, outcome, at_ms)
}

fn remember_within(
    patience: Duration,
    keeper: &Keeper,
    key: &str,
    outcome: &Outcome,
    at_ms: u64,
) -> Result<(), String> {
    let news = News {
        answers: vec![(key, outcome)],
        ..News::default()
    };
    keeper.remember(&news, at_ms, patience)
}

/// The file in which the memory is kept.
fn file_in(dir: &Path) -> PathBuf {
    let entries = std::fs::read_dir(dir.join(PROBE_DIR)).unwrap();
    let mut paths = entries.map(|entry| entry.unwrap().path());
    paths
        .find(|path| path.extension().is_some_and(|e| e == "json"))
        .unwrap()
}

#[test]
fn what_is_remembered_is_recalled_and_added_to() {
    let dir = tempfile::tempdir().unwrap();
    let keeper = keeper(dir.path());
    assert_eq!(keeper.recall().memory, Memory::default());
    remember(&keeper, "a", &Outcome::pass(), 1).unwrap();
    remember(&keeper, "b", &Outcome::fail("n"), 2).unwrap();
    let recalled = keeper.recall();
    assert_eq!(recalled.problem, None);
    assert_eq!(recalled.memory.past("a").unwrap().since_ms, 1);
    assert_eq!(recalled.memory.past("b").unwrap().last, Answered::Fail);
    let path = file_in(dir.path());
    assert_eq!(
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn what_cannot_be_believed_is_said_and_then_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let keeper = keeper(dir.path());
    remember(&keeper, "a", &Outcome::pass(), 1).unwrap();
    let path = file_in(dir.path());
    for garbage in ["", "{", "[]", "{\"v\":9,\"checks\":{}}"] {
        std::fs::write(&path, garbage).unwrap();
        let recalled = keeper.recall();
        assert_eq!(recalled.memory, Memory::default());
        assert!(recalled.problem.is_some(), "{garbage:?}");
    }
    remember(&keeper, "a", &Outcome::pass(), 2).unwrap();
    assert_eq!(keeper.recall().problem, None);

    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
    assert!(
        keeper
            .recall()
            .problem
            .unwrap()
            .contains("others may write it")
    );
}

#[test]
fn a_memory_does_not_grow_without_end() {
    let dir = tempfile::tempdir().unwrap();
    let keeper = keeper(dir.path());
    for i in 0..MAX_CHECKS as u64 + 50 {
        remember(&keeper, &format!("k{i}"), &Outcome::pass(), i).unwrap();
    }
    let memory = keeper.recall().memory;
    assert_eq!(memory.checks.len(), MAX_CHECKS);
    assert!(memory.past("k0").is_none() && memory.past("k549").is_some());
}

#[test]
fn a_lock_that_is_held_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let keeper = keeper(dir.path());
    remember(&keeper, "a", &Outcome::pass(), 1).unwrap();
    let path = file_in(dir.path()).with_extension("lock");
    let held = File::options().write(true).open(path).unwrap();
    flock(&held, FlockOperation::LockExclusive).unwrap();
    let patience = Duration::from_millis(10);
    let error = remember_within(patience, &keeper, "b", &Outcome::pass(), 2).unwrap_err();
    assert!(error.contains("another probe holds the lock"), "{error}");
}

#[test]
fn no_link_is_followed_and_nobody_elses_file_is_removed() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let victim = elsewhere.path().join("victim");
    let old = std::time::UNIX_EPOCH + Duration::from_secs(1);
    File::create(&victim).unwrap().set_modified(old).unwrap();
    symlink(elsewhere.path(), dir.path().join(PROBE_DIR)).unwrap();
    assert!(remember(&keeper(dir.path()), "a", &Outcome::pass(), 1).is_err());
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 1);

    std::fs::remove_file(dir.path().join(PROBE_DIR)).unwrap();
    std::fs::create_dir(dir.path().join(PROBE_DIR)).unwrap();
    let ours = format!("x-1-2-{}.json", ready_probe_sdk::host::my_euid());
    for name in [ours.as_str(), "notes.txt"] {
        let path = dir.path().join(PROBE_DIR).join(name);
        File::create(path).unwrap().set_modified(old).unwrap();
    }
    remember(&keeper(dir.path()), "a", &Outcome::pass(), 1).unwrap();
    assert!(!dir.path().join(PROBE_DIR).join(ours).exists());
    assert!(dir.path().join(PROBE_DIR).join("notes.txt").exists());
}
