//! A folder anybody may write to: what is in it can't make a reader hang, or read without end.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::process::Command;

use common::{TempFolder, dead_process, name, own_file, own_signal, signal_of};
use ready_probe_sdk::signal::{MAX_RECORD_BYTES, Signal};

fn bytes(signal: &Signal) -> Vec<u8> {
    signal.encode().unwrap()
}

#[test]
fn what_is_not_a_regular_file_is_ignored_and_does_not_hang() {
    let folder = TempFolder::new();
    let target = folder.put("elsewhere", "record", bytes(&own_signal("a")));
    fs::create_dir_all(folder.agent_dir("a")).unwrap();
    symlink(&target, folder.agent_dir("a").join("11-1.json")).unwrap();
    let fifo = folder.agent_dir("a").join("12-1.json");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    fs::create_dir(folder.agent_dir("a").join("13-1.json")).unwrap();
    let _socket = UnixListener::bind(folder.agent_dir("a").join("14-1.json")).unwrap();

    let found = folder.read("a");
    assert!(found.believed.is_empty(), "{found:?}");
    let mut whys: Vec<_> = found
        .ignored
        .iter()
        .map(|i| i.rsplit_once('/').unwrap().1)
        .collect();
    whys.sort_unstable();
    assert_eq!(
        whys,
        [
            "11-1.json: ignored, a symbolic link",
            "12-1.json: ignored, not a regular file",
            "13-1.json: ignored, not a regular file",
            "14-1.json: ignored, No such device or address (os error 6)",
        ]
    );
}

#[test]
fn a_huge_file_is_not_read_to_its_end() {
    let folder = TempFolder::new();
    let path = folder.put("a", &own_file(), bytes(&own_signal("a")));
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(1 << 40).unwrap();
    assert_eq!(
        folder.says("a"),
        [format!("record larger than {MAX_RECORD_BYTES} bytes")]
    );
}

#[test]
fn a_folder_may_hold_1024_records_and_one_more_is_an_error_that_says_where() {
    let folder = TempFolder::new();
    let (pid, start) = dead_process();
    let record = bytes(&signal_of("a", pid, start));
    for i in 0..1_024 {
        folder.put("a", &format!("{}-1.json", 5_000_000 + i), &record);
    }
    folder.put("a", ".hidden", "");
    assert_eq!(folder.read("a").believed.len(), 1_024);
    folder.put("a", "x", "");
    let e = folder.signals().read(&name("a")).unwrap_err().to_string();
    let dir = folder.agent_dir("a");
    let want = "more than 1024 entries; remove what does not belong there";
    assert_eq!(e, format!("{}: {want}", dir.display()));
}

#[test]
fn a_folder_full_of_hidden_files_is_an_error_rather_than_read_for_ever() {
    let folder = TempFolder::new();
    for i in 0..4_097 {
        folder.put("a", &format!(".{i}"), "");
    }
    assert!(folder.signals().read(&name("a")).is_err());
}

#[test]
fn a_folder_of_rubbish_does_not_use_up_the_probe_s_time() {
    let folder = TempFolder::new();
    for i in 0..1_000 {
        folder.put("a", &format!("{}-1.json", 5_000_000 + i), "rubbish");
    }
    let took_ms = || {
        let begin = ready_probe_sdk::clock::mono_ms();
        assert_eq!(folder.says("a").len(), 1_000);
        ready_probe_sdk::clock::mono_ms() - begin
    };
    // Again where the machine was late.
    assert!((0..5).any(|_| took_ms() < 900));
}

#[test]
fn a_file_name_cannot_forge_a_line() {
    let folder = TempFolder::new();
    let dir = folder.agent_dir("a");
    fs::create_dir_all(&dir).unwrap();
    symlink("/", dir.join("1-1.\nhealthy.json")).unwrap();
    let ignored = folder.read("a").ignored;
    assert!(
        ignored.len() == 1 && !ignored[0].contains('\n'),
        "{ignored:?}"
    );
}
