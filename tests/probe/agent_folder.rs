//! The folder of signals may be written by anybody: what is no record of whom it names is passed over.

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use ready_probe_test_support::process::{Guard, run};

use crate::container::{Container, assert_mentions, assert_said, assert_starts, open_to_all, row};
use crate::records::{path, publish, ready};
use crate::starved::in_time;

const PASSES: &str = "healthy: 1 check passes";
const NOBODY: u32 = 65_534;
const OTHER: u32 = 12_345;

fn sleeper() -> Guard {
    Guard::spawn(Command::new("sleep").arg("1000"))
}

#[test]
fn what_is_no_file_is_passed_over_and_mentioned() {
    let process = sleeper();
    let container = Container::new();
    let place = path(&container, "a", process.pid());
    let elsewhere = container.file("record", ready("a", process.pid()).to_string());
    symlink(&elsewhere, &place).unwrap();
    let run = container.ask("agent:a");
    assert_mentions(
        &run,
        1,
        &[
            "starting: agent a: no signal published (",
            "a symbolic link)",
        ],
    );

    let container = Container::new();
    let place = path(&container, "a", process.pid());
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
    rustix::fs::mknodat(rustix::fs::CWD, &place, kind, mode, 0).unwrap();
    // It waits for no writer.
    let run = in_time(Duration::from_secs(2), || container.ask("agent:a"));
    assert_mentions(
        &run,
        1,
        &[
            "starting: agent a: no signal published (",
            "not a regular file)",
        ],
    );

    let container = Container::new();
    fs::create_dir(path(&container, "a", process.pid())).unwrap();
    let run = container.ask("agent:a");
    assert_mentions(
        &run,
        1,
        &[
            "starting: agent a: no signal published (",
            "not a regular file)",
        ],
    );
}

#[test]
fn a_link_to_an_agents_folder_is_not_followed() {
    let process = sleeper();
    let (container, other) = (Container::new(), Container::new());
    publish(&other, "a", process.pid(), |_| {});
    fs::create_dir(container.ready_dir()).unwrap();
    symlink(other.ready_dir().join("a"), container.ready_dir().join("a")).unwrap();
    assert_starts(
        &container.ask("agent:a"),
        1,
        "starting: agent a: no signal published",
    );
}

#[test]
fn a_strangers_record_is_not_believed() {
    let mut command = Command::new("sleep");
    let process = Guard::spawn(command.arg("1000").uid(NOBODY).gid(NOBODY));
    let container = Container::new();
    publish(&container, "a", process.pid(), |_| {});
    let place = path(&container, "a", process.pid());
    // root's is, and its own user's.
    for owner in [0, NOBODY] {
        chown(&place, Some(owner), None).unwrap();
        assert_said(&container.ask("agent:a"), 0, PASSES);
    }
    chown(&place, Some(OTHER), None).unwrap();
    let run = container.ask("agent:a");
    let why = format!("its file belongs to user {OTHER}, the process to user {NOBODY}");
    assert_mentions(&run, 1, &["agent a: no signal published (", &why]);
    // A stranger does not hide what is believed either.
    let own = place.with_extension("65534.json");
    fs::write(&own, ready("a", process.pid()).to_string()).unwrap();
    chown(&own, Some(NOBODY), None).unwrap();
    let run = container.ask("agent:a");
    assert_said(&run, 0, PASSES);
    assert!(row(&run, "agent:a").1.contains(&why), "{run:?}");
}

#[test]
fn other_names_in_the_folder_are_passed_over() {
    let container = Container::new();
    let process = sleeper();
    publish(&container, "a", process.pid(), |_| {});
    for name in [".probe", "not a name", "lost+found", "ü"] {
        fs::create_dir(container.ready_dir().join(name)).unwrap();
    }
    fs::write(container.ready_dir().join("a/README"), "x").unwrap();
    fs::write(container.ready_dir().join("a/.17-1.tmp"), "x").unwrap();
    let said = "healthy: 1 check passes; 1 agent discovered; READY_AGENT not set";
    assert_said(&container.run([""; 0]), 0, said);
}

#[test]
fn a_folder_full_of_rubbish_costs_neither_time_nor_memory() {
    let container = Container::new();
    let process = sleeper();
    publish(&container, "a", process.pid(), |_| {});
    let folder = container.ready_dir().join("a");
    for number in 0..5_000 {
        fs::write(folder.join(format!("{number}-1.json")), "{").unwrap();
    }
    let run = in_time(Duration::from_secs(1), || container.ask("agent:a"));
    assert_mentions(
        &run,
        1,
        &["the folder of signals can't be read: ", "entries"],
    );
    assert!(run.peak_rss_kib < 8 * 1024, "{run:?}");
}

#[test]
fn a_folder_that_cannot_be_read_is_not_an_answer() {
    let container = Container::new();
    let process = sleeper();
    publish(&container, "a", process.pid(), |_| {});
    let ready_dir = container.ready_dir();
    fs::set_permissions(
        &ready_dir,
        std::os::unix::fs::PermissionsExt::from_mode(0o700),
    )
    .unwrap();
    for args in [&["agent:a"][..], &[]] {
        let mut probe = container.probe(args);
        let run = run(probe.uid(NOBODY).gid(NOBODY));
        assert_mentions(
            &run,
            1,
            &[
                "unhealthy: ",
                "the folder of signals can't be read: ",
                "Permission denied",
            ],
        );
    }
    open_to_all(&ready_dir);
    let mut probe = container.probe(["agent:a"]);
    assert_said(&run(probe.uid(NOBODY).gid(NOBODY)), 0, PASSES);
}
