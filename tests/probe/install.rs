//! `ready-probe install DIR`: the copy, its mode, what it replaces, and what is said when there can be none.

use std::ffi::CString;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use ready_probe_test_support::process::{
    Guard, Run, Signal, copy_program, probe, probe_binary, run,
};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::container::{Container, assert_mentions, assert_said, assert_starts};

const NOBODY: u32 = 65_534;

fn install(folder: &Path) -> Run {
    run(probe().arg("install").arg(folder))
}

#[track_caller]
fn assert_installed(folder: &Path) {
    let copy = folder.join("ready-probe");
    assert_eq!(fs::read(&copy).unwrap(), fs::read(probe_binary()).unwrap());
    assert_eq!(fs::metadata(&copy).unwrap().mode() & 0o7777, 0o755);
    let version = run(Command::new(&copy).arg("--version").env_clear());
    assert_eq!(version.stdout, run(probe().arg("--version")).stdout);
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn the_copy_is_whole_executable_and_alone_in_a_folder_that_is_made() {
    let container = Container::new();
    let folder = container.path("volume/bin");
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", "umask 077; exec \"$0\" install \"$1\""])
        .arg(probe_binary())
        .arg(&folder);
    let version = env!("CARGO_PKG_VERSION");
    let said = format!("installed {}/ready-probe ({version})", folder.display());
    assert_said(&run(&mut command), 0, &said);
    assert_installed(&folder);
    assert_eq!(names(&folder), ["ready-probe"]);
}

#[test]
fn a_copy_that_is_running_is_replaced_and_runs_on() {
    let container = Container::new();
    let folder = container.path("volume");
    install(&folder);
    let before = fs::metadata(folder.join("ready-probe")).unwrap().ino();
    let mut command = Command::new(folder.join("ready-probe"));
    command
        .args(["wait", "--for=1h", "file:/never"])
        .env_clear();
    let mut running = Guard::spawn(&mut command);

    // The copy makes the next one, as a newer image's would.
    let again = run(Command::new(folder.join("ready-probe"))
        .arg("install")
        .arg(&folder));
    assert_eq!(again.code(), 0, "{again:?}");
    assert_installed(&folder);
    assert_ne!(
        fs::metadata(folder.join("ready-probe")).unwrap().ino(),
        before
    );
    assert!(running.ended().is_none());
    running.signal(Signal::TERM);
    running.wait_within(Duration::from_secs(20));
}

#[test]
fn a_link_of_that_name_is_replaced_not_followed() {
    let container = Container::new();
    let folder = container.path("volume");
    fs::create_dir(&folder).unwrap();
    let precious = container.file("precious", "precious");
    symlink(&precious, folder.join("ready-probe")).unwrap();
    assert_eq!(install(&folder).code(), 0);
    assert_installed(&folder);
    assert_eq!(fs::read_to_string(precious).unwrap(), "precious");
}

#[test]
fn what_a_killed_install_has_left_is_used_up() {
    let container = Container::new();
    let folder = container.path("volume");
    fs::create_dir(&folder).unwrap();
    // Longer than the program, so that a rest of it would be seen.
    fs::write(folder.join(".ready-probe-0"), vec![b'x'; 16 << 20]).unwrap();
    assert_eq!(install(&folder).code(), 0);
    assert_installed(&folder);
    assert_eq!(names(&folder), ["ready-probe"]);
}

#[test]
fn what_another_install_is_filling_or_somebody_else_has_put_there_is_left_alone() {
    let container = Container::new();
    let folder = container.path("volume");
    fs::create_dir(&folder).unwrap();
    let filling = File::create(folder.join(".ready-probe-0")).unwrap();
    filling.lock().unwrap();
    let precious = container.file("precious", "precious");
    symlink(&precious, folder.join(".ready-probe-1")).unwrap();
    fs::hard_link(&precious, folder.join(".ready-probe-2")).unwrap();
    fs::write(folder.join(".ready-probe-3"), "somebody else's").unwrap();
    chown(folder.join(".ready-probe-3"), Some(NOBODY), None).unwrap();
    fs::create_dir(folder.join(".ready-probe-4")).unwrap();

    assert_eq!(install(&folder).code(), 0);
    assert_installed(&folder);
    let left: Vec<String> = (0..5).map(|n| format!(".ready-probe-{n}")).collect();
    assert_eq!(
        names(&folder),
        [left.as_slice(), &["ready-probe".to_owned()]].concat()
    );
    assert_eq!(fs::read_to_string(precious).unwrap(), "precious");
    assert_eq!(filling.metadata().unwrap().len(), 0);
}

#[test]
fn installs_at_the_same_time_do_not_disturb_each_other() {
    let container = Container::new();
    let folder = container.path("volume");
    let runs: Vec<Run> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| install(&folder))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    for run in runs {
        assert_eq!(run.code(), 0, "{run:?}");
    }
    assert_installed(&folder);
    assert_eq!(names(&folder), ["ready-probe"]);
}

#[test]
fn it_reads_no_settings() {
    let container = Container::new();
    let folder = container.path("volume");
    let mut command = probe();
    command
        .args(["install", "--quiet"])
        .arg(&folder)
        .env("READY_TIMEOUT", "nonsense")
        .env("READY_CONFIG", "/never")
        .env("REDIS_URL", "nonsense");
    assert_said(&run(&mut command), 0, "");
    assert_installed(&folder);
}

#[test]
fn a_file_in_the_way_is_named() {
    let container = Container::new();
    let file = container.file("file", "precious");
    for folder in [file.clone(), file.join("volume")] {
        let said = format!(
            "ready-probe: can't install into {}: it is not a folder; name another one",
            folder.display()
        );
        assert_said(&install(&folder), 1, &said);
    }
    assert_eq!(fs::read_to_string(file).unwrap(), "precious");

    let folder = container.path("volume");
    fs::create_dir_all(folder.join("ready-probe")).unwrap();
    let said = format!(
        "ready-probe: can't install into {folder}: {folder}/ready-probe is a folder; remove it",
        folder = folder.display()
    );
    assert_said(&install(&folder), 1, &said);
    assert_eq!(names(&folder), ["ready-probe"], "nothing is left");
}

#[test]
fn a_user_who_may_not_write_there_is_told_so() {
    let container = Container::new();
    let folder = container.path("volume");
    fs::create_dir(&folder).unwrap();
    // Tests may run as root, who may write anywhere; and a probe that nobody may read is no program.
    let program = container.path("ready-probe");
    copy_program(&probe_binary(), &program);
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(program);
    command
        .arg("install")
        .arg(&folder)
        .env_clear()
        .uid(NOBODY)
        .gid(NOBODY);
    let refused = run(&mut command);
    assert_starts(
        &refused,
        1,
        &format!(
            "ready-probe: can't install into {}: user 65534 may not write there; run as a user",
            folder.display()
        ),
    );
    assert_eq!(names(&folder), [""; 0]);

    fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
    assert_eq!(run(&mut command).code(), 0);
    assert_installed(&folder);
}

/// A tmpfs, unmounted on drop.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn at(folder: &'a Path, flags: MountFlags, options: &str) -> Self {
        fs::create_dir(folder).unwrap();
        let options = CString::new(options).unwrap();
        mount("tmpfs", folder, "tmpfs", flags, options.as_c_str()).unwrap();
        Self(folder)
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = unmount(self.0, UnmountFlags::DETACH);
    }
}

#[test]
fn a_volume_that_is_full_or_read_only_is_named_and_nothing_is_left() {
    let container = Container::new();
    let small = container.path("small");
    let _small = Mounted::at(&small, MountFlags::empty(), "size=1m");
    let full = install(&small);
    assert_mentions(&full, 1, &["no space is left there; it takes 4 MB"]);
    assert_eq!(names(&small), [""; 0]);

    let fixed = container.path("fixed");
    let _fixed = Mounted::at(&fixed, MountFlags::RDONLY, "");
    assert_mentions(
        &install(&fixed),
        1,
        &["it is read-only; mount a volume there that can be written"],
    );
}

#[test]
fn the_command_line_is_checked() {
    for (args, said) in [
        (&["install"][..], "<DIR>"),
        (
            &["install", "--timeout=nonsense", "/never"],
            "--timeout (command line)",
        ),
    ] {
        let refused = run(probe().args(args));
        assert_eq!((refused.code(), refused.stdout.as_str()), (64, ""));
        assert!(refused.stderr.contains(said), "{refused:?}");
    }
}
