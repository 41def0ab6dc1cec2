//! Writing the folder of signals: whole records, readable by everybody, whatever happens to the folder.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and may set a file's time"
)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use common::disk::SmallDisk;
use common::program::Program;
use common::{TempFolder, dead_process, file_of, mode_of, name, own_file, own_signal, signal_of};
use ready_probe_sdk::ErrorKind;
use ready_probe_sdk::folder::{DEFAULT_DIRS, Folder, Publication};
use ready_probe_sdk::host::{self, Epoch};
use ready_probe_sdk::signal::{Signal, State};

fn publication(folder: &TempFolder) -> Publication {
    let (pid, start) = host::myself();
    Publication::new(folder.signals(), name("a"), pid, start)
}

fn record() -> Vec<u8> {
    own_signal("a").encode().unwrap()
}

#[test]
fn a_record_is_one_file_named_after_its_process() {
    let folder = TempFolder::new();
    let mut publication = publication(&folder);
    publication.write(&record()).unwrap();
    publication.write(&record()).unwrap();
    assert_eq!(folder.files("a"), [own_file()]);
    assert_eq!(folder.says("a"), ["ready"]);
    publication.remove().unwrap();
    assert!(folder.files("a").is_empty());
    publication.remove().unwrap();
}

#[test]
fn everybody_may_read_records_and_publish_beside_them_whatever_the_umask() {
    let folder = TempFolder::new();
    let deep = folder.path().join("x/y");
    let mut program = Program::start(&deep);
    program.tell("umask 077");
    program.tell("register a");
    assert_eq!(mode_of(&folder.path().join("x")), 0o755);
    assert_eq!(mode_of(&deep), 0o1777);
    assert_eq!(mode_of(&deep.join("a")), 0o1777);
    let start = host::Process::of(program.pid()).start();
    assert_eq!(
        mode_of(&deep.join("a").join(file_of(program.pid(), start))),
        0o644
    );
    assert_eq!(
        fs::read_dir(&deep).unwrap().count(),
        1,
        "a temporary folder stayed behind"
    );
}

#[test]
fn the_mode_of_a_folder_that_is_there_is_left_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempFolder::new();
    fs::create_dir(folder.path()).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o750)).unwrap();
    publication(&folder).write(&record()).unwrap();
    assert_eq!(mode_of(&folder.path()), 0o750);
}

#[test]
fn many_who_make_the_folder_at_once_all_publish() {
    for _ in 0..20 {
        let folder = TempFolder::new();
        let barrier = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for i in 0..8 {
                let (folder, barrier) = (&folder, &barrier);
                scope.spawn(move || {
                    let agent = if i % 2 == 0 { "a" } else { "b" };
                    let mut publication =
                        Publication::new(folder.signals(), name(agent), 5_000_000 + i, Some(1));
                    barrier.wait();
                    publication.write(b"{}").unwrap();
                });
            }
        });
        assert_eq!(mode_of(&folder.path()), 0o1777);
        assert_eq!((folder.files("a").len(), folder.files("b").len()), (4, 4));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}

#[test]
fn a_folder_that_was_removed_or_moved_away_is_made_again() {
    let folder = TempFolder::new();
    let mut publication = publication(&folder);
    publication.write(&record()).unwrap();
    fs::remove_dir_all(folder.path()).unwrap();
    publication.write(&record()).unwrap();
    assert_eq!(folder.says("a"), ["ready"]);
    fs::rename(folder.path(), folder.path().with_file_name("elsewhere")).unwrap();
    publication.write(&record()).unwrap();
    assert_eq!(folder.says("a"), ["ready"]);
}

#[test]
fn a_reader_never_sees_half_a_record() {
    let folder = TempFolder::new();
    let mut publication = publication(&folder);
    let long = {
        let mut signal = own_signal("a");
        signal.details.insert("x".into(), "y".repeat(3_000).into());
        signal.encode().unwrap()
    };
    publication.write(&record()).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for _ in 0..2_000 {
                publication.write(&long).unwrap();
                publication.write(&record()).unwrap();
            }
        });
        while !writer.is_finished() {
            assert_eq!(folder.says("a"), ["ready"]);
        }
    });
}

#[test]
fn a_store_that_cannot_be_written_names_the_folders_it_tried_and_what_to_do() {
    let folder = TempFolder::new();
    fs::write(folder.path(), "in the way").unwrap();
    let e = publication(&folder).write(&record()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Folder);
    let want = format!(
        "the signal of agent a can't be written ({}: Not a directory (os error 20)); make one of \
         these folders writable or set READY_DIR to one that is",
        folder.path().display()
    );
    assert_eq!(e.to_string(), want);
}

#[test]
fn a_relative_folder_is_refused_with_the_reason() {
    let e = Folder::at(Path::new("signals")).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidConfig);
    let want = "the folder for signals must be an absolute path, not \"signals\": the probe and \
                the agent need not have the same working directory";
    assert_eq!(e.to_string(), want);

    let mut program = Program::start(Path::new("signals"));
    assert_eq!(
        program.ask("register a"),
        format!("InvalidConfig READY_DIR (environment): {want}")
    );
}

#[test]
fn a_line_end_behind_the_variable_is_no_part_of_the_folder() {
    let folder = TempFolder::new();
    let written = format!("{}\r\n", folder.path().display());
    let mut program = Program::start(Path::new(&written));
    program.tell("register ended");
    assert_eq!(folder.says("ended"), ["starting"]);
}

#[test]
fn without_a_choice_the_store_is_in_shared_memory_or_else_in_tmp() {
    let dirs: Vec<_> = Folder::default().dirs().map(Path::to_owned).collect();
    assert_eq!(dirs, DEFAULT_DIRS.map(Path::new));
    assert_eq!(DEFAULT_DIRS, ["/dev/shm/ready-probe", "/tmp/ready-probe"]);
}

#[test]
fn only_dead_predecessors_of_the_same_agent_and_life_are_removed() {
    let folder = TempFolder::new();
    let (pid, start) = dead_process();
    let dead = |agent: &str| signal_of(agent, pid, start);
    let put = |agent: &str, file: &str, signal: &Signal| {
        folder.put(agent, file, signal.encode().unwrap());
    };
    let file = file_of(pid, start);
    put("a", &file, &dead("a"));
    put("a", &file.replace(".json", ".1000.json"), &dead("a"));
    put("b", &file, &dead("b"));
    let mut foreign = dead("a");
    (foreign.pid, foreign.init_start) = (Some(5_000_001), Some(1));
    put(
        "a",
        "5000001-1.json",
        &Signal {
            pid_start: Some(1),
            ..foreign
        },
    );
    let other_container = Signal {
        pid: Some(5_000_002),
        pid_ns: Some(1),
        ..dead("a")
    };
    put(
        "a",
        "5000002-x.json",
        &Signal {
            pid_start: None,
            ..other_container
        },
    );
    put(
        "a",
        "5000003-1.json",
        &Signal {
            pid: Some(5_000_003),
            boot_id: None,
            ..dead("a")
        },
    );
    folder.put("a", "5000004-1.json", "rubbish");
    folder.put("a", "README", "");
    put("a", &own_file(), &own_signal("a"));

    publication(&folder).remove_dead_predecessors(&Epoch::current());

    let left: BTreeSet<_> = folder.files("a").into_iter().collect();
    let own = own_file();
    let want = [
        "5000001-1.json",
        "5000002-x.json",
        "5000003-1.json",
        "5000004-1.json",
        "README",
        own.as_str(),
    ];
    assert_eq!(left, want.map(str::to_owned).into());
    assert_eq!(folder.files("b"), [file]);
}

#[test]
fn the_record_of_a_process_that_has_ended_meanwhile_stays_to_tell_of_it() {
    let folder = TempFolder::new();
    let (pid, start) = dead_process();
    let record = signal_of("a", pid, start).encode().unwrap();
    Publication::new(folder.signals(), name("a"), pid, start)
        .succeeding(Epoch::current())
        .write(&record)
        .unwrap();
    assert_eq!(folder.files("a"), [file_of(pid, start)]);
}

#[test]
fn whoever_looks_while_a_successor_takes_over_finds_one_of_the_two() {
    let folder = TempFolder::new();
    let (pid, start) = dead_process();
    let left = signal_of("a", pid, start).encode().unwrap();
    let publish = || {
        let mut successor = publication(&folder).succeeding(Epoch::current());
        successor.write(&record()).unwrap();
        successor
    };
    let mut successor = publish();
    std::thread::scope(|scope| {
        let taking_over = scope.spawn(|| {
            for _ in 0..300 {
                folder.put("a", &file_of(pid, start), left.clone());
                successor.remove().unwrap();
                successor = publish();
                assert_eq!(folder.files("a"), [own_file()]);
            }
        });
        while !taking_over.is_finished() {
            assert!(!folder.read("a").believed.is_empty());
        }
    });
}

#[test]
fn a_record_of_another_life_goes_once_it_expired_long_ago() {
    let folder = TempFolder::new();
    let signal = |agent: &str, ttl_ms: Option<u64>| Signal {
        boot_id: Some("another".to_owned()),
        ttl_ms,
        ..own_signal(agent)
    };
    let hours_ago =
        |hours: u64| std::time::SystemTime::now() - std::time::Duration::from_secs(hours * 3_600);
    let write = |agent: &str, pid: u32, ttl_ms, hours| {
        let record = Signal {
            pid: Some(pid),
            ..signal(agent, ttl_ms)
        }
        .encode()
        .unwrap();
        let mut other = Publication::new(folder.signals(), name(agent), pid, Some(1));
        other.write(&record).unwrap();
        let path = folder.path().join(agent).join(format!("{pid}-1.json"));
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(hours_ago(hours)).unwrap();
    };
    write("a", 1_001, Some(60_000), 2);
    write("a", 1_002, Some(60_000), 0);
    write("a", 1_003, None, 2);
    write("b", 1_004, Some(60_000), 2);
    publication(&folder).remove_dead_predecessors(&Epoch::current());
    assert_eq!(folder.files("a"), ["1002-1.json", "1003-1.json"]);
    assert_eq!(folder.files("b"), ["1004-1.json"]);
}

#[test]
fn a_predecessor_whose_id_was_reused_is_dead() {
    let folder = TempFolder::new();
    let (_, start) = host::myself();
    let earlier = start.map(|start| start - 1);
    // The parent of this test has this id now.
    let pid = std::os::unix::process::parent_id();
    folder.put(
        "a",
        &file_of(pid, earlier),
        signal_of("a", pid, earlier).encode().unwrap(),
    );
    publication(&folder).remove_dead_predecessors(&Epoch::current());
    assert!(folder.files("a").is_empty());
}

#[test]
fn who_cannot_tell_containers_apart_tidies_nothing() {
    let folder = TempFolder::new();
    let (pid, start) = dead_process();
    let file = file_of(pid, start);
    folder.put("a", &file, signal_of("a", pid, start).encode().unwrap());
    let blind = Epoch {
        pid_ns: None,
        ..Epoch::current()
    };
    publication(&folder).remove_dead_predecessors(&blind);
    assert_eq!(folder.files("a"), [file]);
}

#[test]
fn a_link_in_place_of_the_agent_s_folder_is_not_followed() {
    let folder = TempFolder::new();
    let elsewhere = folder.path().with_file_name("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::create_dir(folder.path()).unwrap();
    symlink(&elsewhere, folder.agent_dir("a")).unwrap();
    let e = publication(&folder).write(&record()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Folder);
    assert_eq!(fs::read_dir(elsewhere).unwrap().count(), 0);
}

#[test]
fn when_the_folder_is_full_a_record_is_rewritten_in_place() {
    let disk = SmallDisk::new();
    let mut publication = publication(&disk.folder);
    let mut signal = own_signal("a");
    signal.details.insert("x".into(), "y".repeat(1_000).into());
    publication.write(&signal.encode().unwrap()).unwrap();
    disk.fill();
    for (state, size, says) in [
        (State::NotReady, 10, "not_ready"),
        (State::Ready, 3_000, "ready"),
        (State::NotReady, 0, "not_ready"),
    ] {
        signal.state = state;
        signal.details.insert("x".into(), "y".repeat(size).into());
        publication.write(&signal.encode().unwrap()).unwrap();
        assert_eq!(disk.folder.says("a"), [says]);
    }
    assert_eq!(
        disk.folder.files("a"),
        [own_file()],
        "a temporary file stayed behind"
    );
    publication.remove().unwrap();
    assert!(disk.folder.says("a").is_empty());
}

#[test]
fn a_first_record_in_a_full_folder_is_an_error() {
    let disk = SmallDisk::new();
    disk.fill();
    let e = publication(&disk.folder).write(&record()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Folder);
    assert!(e.to_string().contains("No space left on device"), "{e}");
}

#[test]
fn program() {
    common::program::main_if_asked();
}
