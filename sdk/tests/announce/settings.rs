//! Where to announce, told by the environment.

use std::fs;
use std::process::Command;

use ready_probe_test_support::servers::{Nats, NatsVersion, Redis};

use crate::common::program::Program;
use crate::common::{TempFolder, until};
use crate::fixture::keys;

/// A process with these variables.
fn program(folder: &TempFolder, variables: &[(&str, &str)]) -> Program {
    let mut command = Command::new(std::env::current_exe().unwrap());
    for name in [
        "READY_STORE",
        "READY_STORE_FILE",
        "READY_NAMESPACE",
        "READY_NATS_MAX_AGE",
    ] {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied());
    Program::start_with(&folder.path(), command)
}

#[test]
fn an_agent_is_announced_where_the_environment_says() {
    let (redis, folder) = (Redis::with(&["--requirepass", "s3cret"]), TempFolder::new());
    let url = format!("redis://:s3cret@127.0.0.1:{}", redis.port());
    let file = folder.put("settings", "url", format!("{url}\n"));
    let file = file.to_str().unwrap();
    for (variables, namespace) in [
        (vec![("READY_STORE", url.as_str())], "default"),
        (
            vec![("READY_STORE_FILE", file), ("READY_STORE", "")],
            "default",
        ),
        (
            vec![("READY_STORE", url.as_str()), ("READY_NAMESPACE", "blue.1")],
            "blue.1",
        ),
        // An env file written on Windows, a YAML block.
        (
            vec![
                ("READY_STORE_FILE", with_end(file).as_str()),
                ("READY_NAMESPACE", "blue.2 \r\n"),
                ("READY_NATS_MAX_AGE", "\r\n"),
                ("READY_STORE", " \n"),
            ],
            "blue.2",
        ),
    ] {
        let mut program = program(&folder, &variables);
        program.tell("register told");
        program.tell("wait_announced");
        let set = format!("ready:{namespace}:{{told}}");
        assert!(keys(&redis, "*").contains(&set), "{variables:?}");
        let announced = until("it is told", || folder.record("told").announced);
        assert!(!announced.store.contains("s3cret"), "{announced:?}");
        program.tell("drop");
        assert_eq!(keys(&redis, "*"), Vec::<String>::new());
    }
}

fn with_end(value: &str) -> String {
    format!("{value}\r\n")
}

#[test]
fn without_a_store_nothing_is_announced() {
    let folder = TempFolder::new();
    let mut program = program(
        &folder,
        &[("READY_STORE", ""), ("READY_NAMESPACE", "-no-name")],
    );
    program.tell("register untold");
    assert_eq!(
        program.ask("wait_announced"),
        "InvalidConfig agent untold is not announced anywhere: READY_STORE is not set"
    );
}

#[test]
fn settings_that_can_not_be_used_are_refused_by_name_and_without_secrets() {
    let folder = TempFolder::new();
    let secret = folder.put("settings", "secret", "redis://:hUnTeR2@h:port");
    let secret = secret.to_str().unwrap();
    let password = folder.put("settings", "password", "hUnTeR2\n");
    let password = password.to_str().unwrap();
    let none = folder.path().join("none");
    let none = none.to_str().unwrap();
    let table: &[(&[(&str, &str)], &str)] = &[
        (
            &[("READY_STORE", "redis://h"), ("READY_STORE_FILE", secret)],
            "READY_STORE_FILE (environment): READY_STORE is set as well; set one of them",
        ),
        (&[("READY_STORE", "hUnTeR2")], "READY_STORE (environment): "),
        (
            &[("READY_STORE", "redis://:hUnTeR2@h:port")],
            "READY_STORE (environment): ",
        ),
        (
            &[("READY_STORE", "http://u:hUnTeR2@h")],
            "READY_STORE (environment): ",
        ),
        (
            &[("READY_STORE", "127.0.0.1:1,password=hUnTeR2,ssl=False")],
            "READY_STORE (environment): ",
        ),
        (
            &[(
                "READY_STORE",
                "redis://127.0.0.1:1,password=hUnTeR2,ssl=False",
            )],
            "READY_STORE (environment): ",
        ),
        (&[("READY_STORE_FILE", password)], "READY_STORE_FILE (file "),
        (
            &[
                ("READY_NAMESPACE", "a\u{200b}"),
                ("READY_STORE", "redis://h"),
            ],
            "READY_NAMESPACE (environment): invalid name \"a\\u{200b}\"",
        ),
        (&[("READY_STORE_FILE", secret)], "READY_STORE_FILE (file "),
        (
            &[("READY_STORE_FILE", none)],
            "READY_STORE_FILE (environment): ",
        ),
        (
            &[("READY_STORE", "redis://h"), ("READY_NAMESPACE", "a b")],
            "READY_NAMESPACE (environment): ",
        ),
        (
            &[("READY_STORE", "nats://h"), ("READY_NATS_MAX_AGE", "60")],
            "READY_NATS_MAX_AGE (environment): \"60\" has no unit: write it as 500ms, 5s or 2m",
        ),
        (
            &[("READY_STORE", "nats://h"), ("READY_NATS_MAX_AGE", "2h")],
            "READY_NATS_MAX_AGE (environment): ",
        ),
    ];
    for (variables, want) in table {
        let mut program = program(&folder, variables);
        for verb in ["register refused", "mark_ready refused"] {
            let said = program.ask(verb);
            let want = format!("InvalidConfig {want}");
            assert!(said.starts_with(&want), "{variables:?}: {said}");
            assert!(!said.contains("hUnTeR2"), "{said}");
        }
    }
    assert!(fs::read_dir(folder.path().join("refused")).is_err());
}

#[test]
fn how_long_an_older_nats_keeps_records_is_told_by_the_environment() {
    let nats = Nats::builder(NatsVersion::V2_9).jetstream().start();
    let folder = TempFolder::new();
    let url = nats.url();
    let max_age = ("READY_NATS_MAX_AGE", "2m");
    let mut program = program(&folder, &[("READY_STORE", &url), max_age]);
    program.tell("register kept-long 120000");
    program.tell("wait_announced");
    let announced = until("it is told", || folder.record("kept-long").announced);
    assert_eq!((announced.ok, announced.reason), (true, None));
}
