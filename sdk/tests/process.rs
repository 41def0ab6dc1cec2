//! Agents in processes of their own: how they end, and what is left of them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::process::Command;

use common::TempFolder;
use common::program::Program;

#[test]
fn a_process_that_is_killed_is_not_ready_at_once_and_its_record_stays() {
    let folder = TempFolder::new();
    let mut program = Program::start(&folder.path());
    program.tell("register a");
    program.tell("ready");
    assert_eq!(folder.says("a"), ["ready"]);
    let pid = program.pid();
    program.kill();
    folder.until_says("a", &format!("process {pid} has died and is a zombie"));
    program.reap();
    let says = folder.says("a");
    assert!(
        says[0].starts_with(&format!("process {pid} is gone, last beat ")),
        "{says:?}"
    );
}

#[test]
fn processes_are_looked_up_only_where_proc_is_that_of_their_own_pid_namespace() {
    let folder = TempFolder::new();
    for (mount_proc, wants) in [
        (Some("--mount-proc"), ["Alive { start: ", "Gone"]),
        // What it shows as process 1 is another one, and 77 may live unseen.
        (None, ["Unreadable", "Unreadable"]),
    ] {
        let mut unshare = Command::new("unshare");
        unshare.args(["--pid", "--fork", "--kill-child"]);
        unshare
            .args(mount_proc)
            .arg(std::env::current_exe().unwrap());
        let mut program = Program::start_with(&folder.path(), unshare);
        for (pid, want) in ["1", "77"].into_iter().zip(wants) {
            let found = program.ask(&format!("process {pid}"));
            assert!(found.starts_with(want), "{pid}, {mount_proc:?}: {found}");
        }
    }
}

#[test]
fn a_process_that_just_ends_has_died() {
    let folder = TempFolder::new();
    let mut program = Program::start(&folder.path());
    program.tell("mark_ready a");
    let pid = program.pid();
    program.end();
    assert!(folder.says("a")[0].starts_with(&format!("process {pid} is gone")));
}

#[test]
fn a_process_that_closes_all_leaves_nothing_behind() {
    let folder = TempFolder::new();
    let mut program = Program::start(&folder.path());
    program.tell("mark_ready a");
    program.tell("mark_not_ready b");
    program.tell("register c");
    assert_eq!(folder.says("b"), ["not_ready: as it was told"]);
    program.tell("close_all deploy");
    for agent in ["a", "b", "c"] {
        assert!(folder.files(agent).is_empty());
    }
    let closed = "Closed agent c was closed: register or mark it anew once its signal is removed";
    assert_eq!(program.ask("ready"), closed);
    program.tell("mark_ready a");
    assert_eq!(folder.says("a"), ["ready"], "a name may be marked anew");
}

#[test]
fn an_agent_that_was_closed_does_not_take_its_successor_along() {
    let folder = TempFolder::new();
    let mut program = Program::start(&folder.path());
    program.tell("register a 1000 100");
    program.tell("close_all deploy");
    program.tell("mark_ready a");
    program.tell("drop");
    assert_eq!(folder.says("a"), ["ready"]);
    let seq = folder.record("a").seq;
    program.tell("mark_ready a");
    let again = folder.record("a").seq;
    assert!(
        again > seq,
        "the same instance is marked: {again} after {seq}"
    );
}

#[test]
fn an_agent_that_drains_while_all_are_closed_does_not_take_its_successor_along() {
    let folder = TempFolder::new();
    let mut program = Program::start(&folder.path());
    program.tell("register a");
    program.tell("close deploy");
    program.tell("close_all exit");
    program.tell("mark_ready a");
    program.tell("drained");
    assert_eq!(folder.says("a"), ["ready"]);
}

#[test]
fn stopping_is_the_last_word() {
    let folder = TempFolder::new();
    let mut program = Program::start(&folder.path());
    program.tell("register a");
    program.tell("close deploy");
    let stopping =
        "Closed agent a is stopping (deploy): register or mark it anew once its signal is removed";
    assert_eq!(program.ask("mark_ready a"), stopping);
    assert_eq!(folder.says("a"), ["stopping: deploy"]);
    program.tell("drained");
    program.tell("mark_ready a");
    assert_eq!(folder.says("a"), ["ready"]);
}

#[test]
fn an_agent_whose_thread_panics_does_not_vanish() {
    let folder = TempFolder::new();
    let mut program = Program::start(&folder.path());
    program.tell("register a");
    program.tell("ready");
    program.tell("panic");
    assert_eq!(folder.says("a"), ["stopping: panicked"]);
    program.tell("mark_ready a");
    assert_eq!(folder.says("a"), ["ready"]);
}

#[test]
fn a_successor_takes_the_place_of_the_dead_and_of_nobody_else() {
    let folder = TempFolder::new();
    let mut living = Program::start(&folder.path());
    living.tell("mark_ready a");
    let mut first = Program::start(&folder.path());
    first.tell("mark_ready a");
    first.tell("mark_ready b");
    first.kill();
    first.reap();
    let mut second = Program::start(&folder.path());
    second.tell("mark_ready a");
    assert_eq!(folder.says("a"), ["ready", "ready"]);
    assert!(
        folder.says("b")[0].starts_with("process "),
        "another agent's death was tidied away"
    );
}

#[test]
fn an_agent_may_take_the_place_of_a_zombie() {
    let folder = TempFolder::new();
    let mut first = Program::start(&folder.path());
    first.tell("mark_ready a");
    first.kill();
    folder.until_says(
        "a",
        &format!("process {} has died and is a zombie", first.pid()),
    );
    let mut second = Program::start(&folder.path());
    second.tell("mark_ready a");
    assert_eq!(folder.says("a"), ["ready"]);
}

#[test]
fn marking_what_is_no_name_is_refused_and_publishes_nothing() {
    let folder = TempFolder::new();
    let mut program = Program::start(&folder.path());
    let rule = "a letter or digit, then letters, digits, '.', '_' or '-', at most 128 characters \
                in all";
    for verb in ["mark_ready", "mark_not_ready"] {
        let want = format!("InvalidName invalid name \"../a\": a name is {rule}");
        assert_eq!(program.ask(&format!("{verb} ../a")), want);
    }
    assert!(!folder.path().exists());
}

#[test]
fn program() {
    common::program::main_if_asked();
}
