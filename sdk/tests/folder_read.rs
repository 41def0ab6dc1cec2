//! Reading the folder of signals: what counts, and what anybody may put there without being believed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use common::{TempFolder, file_of, name, own_file, own_signal, signal_of};
use ready_probe_sdk::folder::Folder;
use ready_probe_sdk::host;
use ready_probe_sdk::signal::{Signal, State};

const NOBODY: u32 = 65_534;

fn bytes(signal: &Signal) -> Vec<u8> {
    signal.encode().unwrap()
}

/// Tests of whose file it is give files away.
fn give_to(path: &Path, user: u32) {
    chown(path, Some(user), None).expect("this test needs root: sudo -E cargo test");
}

#[test]
fn a_fresh_record_of_a_living_process_is_ready() {
    let folder = TempFolder::new();
    folder.put("a", &own_file(), bytes(&own_signal("a")));
    assert_eq!(folder.says("a"), ["ready"]);
    assert!(folder.read("a").ignored.is_empty());
}

#[test]
fn a_folder_that_is_not_there_holds_no_agent() {
    let folder = TempFolder::new();
    assert!(folder.signals().agents().unwrap().is_empty());
    assert!(folder.says("a").is_empty());
}

#[test]
fn agents_are_listed_by_name_without_hidden_ones_and_what_is_no_name() {
    let folder = TempFolder::new();
    for agent in ["b", "a", ".probe", "a b", "-a"] {
        fs::create_dir_all(folder.agent_dir(agent)).unwrap();
    }
    assert_eq!(folder.signals().agents().unwrap(), [name("a"), name("b")]);
}

#[test]
fn two_processes_of_one_agent_are_two_instances() {
    let folder = TempFolder::new();
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    let start = host::Process::of(child.id()).start();
    folder.put("a", &own_file(), bytes(&own_signal("a")));
    let other = signal_of("a", child.id(), start);
    folder.put("a", &file_of(child.id(), start), bytes(&other));
    assert_eq!(folder.says("a"), ["ready", "ready"]);

    child.kill().unwrap();
    common::until("the child is a zombie", || {
        let says = folder.says("a");
        says.contains(&format!("process {} has died and is a zombie", child.id()))
            .then_some(())
    });
    child.wait().unwrap();
    let says = folder.says("a");
    let gone = format!("process {} is gone, last beat ", child.id());
    assert_eq!(
        says.iter().filter(|s| s.starts_with(&gone)).count(),
        1,
        "{says:?}"
    );
    assert_eq!(says.iter().filter(|s| *s == "ready").count(), 1, "{says:?}");
}

#[test]
fn a_process_id_that_was_reused_is_not_ready() {
    let folder = TempFolder::new();
    let (pid, start) = host::myself();
    let earlier = start.map(|start| start - 1);
    folder.put(
        "a",
        &file_of(pid, earlier),
        bytes(&signal_of("a", pid, earlier)),
    );
    assert_eq!(
        folder.says("a"),
        [format!("process {pid} is gone, another one has its id")]
    );
}

#[test]
fn the_death_of_an_agent_shows_also_when_another_user_s_process_has_its_id() {
    let folder = TempFolder::new();
    let (pid, start) = host::myself();
    let earlier = start.map(|start| start - 1);
    let path = folder.put(
        "a",
        &file_of(pid, earlier),
        bytes(&signal_of("a", pid, earlier)),
    );
    give_to(&path, NOBODY);
    assert_eq!(
        folder.says("a"),
        [format!("process {pid} is gone, another one has its id")]
    );
}

#[test]
fn a_record_of_an_earlier_life_of_the_container_is_not_ready() {
    let folder = TempFolder::new();
    let mut signal = own_signal("a");
    signal.init_start = signal.init_start.map(|start| start + 1);
    folder.put("a", &own_file(), bytes(&signal));
    let why = "no signal in this life of the container, only an earlier one's";
    assert_eq!(folder.says("a"), [why]);
}

#[test]
fn a_file_of_another_user_is_ignored_and_mentioned() {
    let folder = TempFolder::new();
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    let start = host::Process::of(child.id()).start();
    let file = file_of(child.id(), start);
    let path = folder.put("a", &file, bytes(&signal_of("a", child.id(), start)));
    give_to(&path, NOBODY);
    let found = folder.read("a");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(found.believed.is_empty(), "{found:?}");
    let want = format!(
        "a record of agent a, process {}: ignored, its file belongs to user 65534, the process to \
         user 0",
        child.id()
    );
    assert_eq!(found.ignored, [want]);
}

#[test]
fn a_file_of_another_user_can_neither_replace_nor_outlive_the_process_s_own() {
    let folder = TempFolder::new();
    let mut own = own_signal("a");
    own.state = State::NotReady;
    folder.put("a", &own_file(), bytes(&own));
    let mut forged = own_signal("a");
    forged.mono_ms = own.mono_ms.map(|ms| ms + 1);
    let name = own_file().replace(".json", ".65534.json");
    give_to(&folder.put("a", &name, bytes(&forged)), NOBODY);
    assert_eq!(folder.says("a"), ["not_ready"]);
}

#[test]
fn a_file_that_names_a_dead_start_and_holds_a_living_one_is_not_believed() {
    let folder = TempFolder::new();
    let (pid, start) = host::myself();
    let path = folder.put("a", &format!("{pid}-1.json"), bytes(&own_signal("a")));
    give_to(&path, NOBODY);
    let want = format!(
        "malformed record: it names a process started at {}, but its file names one started at 1",
        start.unwrap()
    );
    assert_eq!(folder.says("a"), [want]);
}

#[test]
fn a_root_owned_file_of_another_user_s_process_is_believed() {
    let folder = TempFolder::new();
    let mut child = Command::new("setpriv")
        .args(["--reuid=65534", "--clear-groups", "sleep", "60"])
        .spawn()
        .expect("apt-get install util-linux");
    let pid = child.id();
    common::until("it has dropped its privileges", || {
        let dropped = matches!(
            host::Process::of(pid),
            host::Process::Alive {
                euid: Some(NOBODY),
                ..
            }
        );
        dropped.then_some(())
    });
    let start = host::Process::of(pid).start();
    folder.put(
        "a",
        &file_of(pid, start),
        bytes(&signal_of("a", pid, start)),
    );
    let says = folder.says("a");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(says, ["ready"]);
}

#[test]
fn of_several_records_of_one_process_the_newest_counts() {
    let folder = TempFolder::new();
    let mut older = own_signal("a");
    older.mono_ms = older.mono_ms.map(|ms| ms - 1_000);
    let mut newer = own_signal("a");
    newer.state = State::NotReady;
    let fresh = own_file().replace(".json", ".0.json");
    folder.put("a", &own_file(), bytes(&older));
    folder.put("a", &fresh, bytes(&newer));
    assert_eq!(folder.says("a"), ["not_ready"]);
    folder.put("a", &own_file(), bytes(&newer));
    folder.put("a", &fresh, bytes(&older));
    assert_eq!(folder.says("a"), ["not_ready"]);
}

#[test]
fn of_two_records_of_the_same_millisecond_the_later_one_counts() {
    let folder = TempFolder::new();
    let mut last = own_signal("a");
    let mut first = last.clone();
    (first.seq, last.seq) = (1, 2);
    last.state = State::NotReady;
    let fresh = own_file().replace(".json", ".0.json");
    for (plain, own) in [(&first, &last), (&last, &first)] {
        folder.put("a", &own_file(), bytes(plain));
        folder.put("a", &fresh, bytes(own));
        assert_eq!(folder.says("a"), ["not_ready"]);
    }
}

#[test]
fn a_record_in_the_wrong_place_is_malformed() {
    let folder = TempFolder::new();
    folder.put("a", &own_file(), bytes(&own_signal("b")));
    assert_eq!(
        folder.says("a"),
        ["malformed record: it names agent b, but lies in the folder of a"]
    );

    let (pid, start) = host::myself();
    folder.put("c", &own_file(), bytes(&signal_of("c", pid + 1, start)));
    let want = format!(
        "malformed record: it names process {}, but its file names {pid}",
        pid + 1
    );
    assert_eq!(folder.says("c"), [want]);
}

#[test]
fn a_torn_record_is_malformed_and_stays_in_sight() {
    let folder = TempFolder::new();
    let whole = bytes(&own_signal("a"));
    folder.put("a", &own_file(), &whole[..100]);
    let says = folder.says("a");
    assert!(
        says.len() == 1 && says[0].starts_with("malformed record: EOF"),
        "{says:?}"
    );
}

#[test]
fn a_torn_record_is_read_again() {
    let folder = TempFolder::new();
    let whole = bytes(&own_signal("a"));
    let path = folder.put("a", &own_file(), &whole);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let order = std::sync::atomic::Ordering::Relaxed;
    // A writer in place whose record is torn half of the time, a few microseconds long.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(order) {
                for part in [&whole[..200], &whole] {
                    fs::write(path.with_file_name("next"), part).unwrap();
                    fs::rename(path.with_file_name("next"), &path).unwrap();
                }
            }
        });
        let ready = (0..300).filter(|_| folder.says("a") == ["ready"]).count();
        stop.store(true, order);
        // Read once, it would be 150 give or take 30; read again, nearly all.
        assert!(ready > 190, "{ready} of 300");
    });
}

#[test]
fn an_empty_record_was_withdrawn() {
    let folder = TempFolder::new();
    folder.put("a", &own_file(), "");
    let found = folder.read("a");
    assert!(
        found.believed.is_empty() && found.ignored.is_empty(),
        "{found:?}"
    );
}

#[test]
fn an_agent_s_folder_is_never_a_link() {
    let folder = TempFolder::new();
    folder.put("real", &own_file(), bytes(&own_signal("a")));
    symlink(folder.agent_dir("real"), folder.agent_dir("a")).unwrap();
    assert!(folder.says("a").is_empty());
}

#[test]
fn a_folder_that_somebody_chose_may_be_a_link() {
    let folder = TempFolder::new();
    folder.put("a", &own_file(), bytes(&own_signal("a")));
    let link = folder.path().with_file_name("link");
    symlink(folder.path(), &link).unwrap();
    let found = Folder::at(&link).unwrap().read(&name("a")).unwrap();
    assert_eq!(common::verdict(&found.believed[0]), "ready");
}

#[test]
fn a_record_that_cannot_be_opened_is_not_passed_over() {
    let folder = TempFolder::new();
    let path = folder.put("a", &own_file(), bytes(&own_signal("a")));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    // Root reads everything, so that somebody else has to look.
    for dir in folder.path().ancestors().take(2) {
        common::program::open_to_all(dir);
    }
    let says = common::program::as_user(NOBODY, &["says", folder.path().to_str().unwrap(), "a"]);
    assert_eq!(
        says,
        "malformed record: unreadable: Permission denied (os error 13)"
    );
}

#[test]
fn program() {
    common::program::main_if_asked();
}
