//! Bad input: one clear line, 64 or 78, and nothing is restarted.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use ready_probe_test_support::process::{free_port, keeper_binary, run};
use serde_json::json;

use crate::host::{Host, http};

fn refused(host: &Host, want: &str) {
    let run = host.once();
    assert_eq!(run.code(), 78, "{run:?}");
    assert_eq!(run.stderr.lines().count(), 1, "{run:?}");
    assert!(
        run.stderr.starts_with("ready-keeper: ") && run.stderr.contains(want),
        "{want:?}: {run:?}"
    );
    assert_eq!(host.read("tries"), "", "{run:?}");
}

/// One service that is down, and would be restarted.
fn down() -> Host {
    let host = Host::new();
    let restart = format!("echo x >> {}", host.path("tries").display());
    host.services(&[(
        "svc",
        json!({"health_check": http(free_port()), "restart_cmd": restart}),
    )]);
    host
}

#[test]
fn a_file_that_can_not_be_used_is_named_with_what_is_wrong() {
    let host = down();
    fs::remove_file(host.path("services.json")).unwrap();
    refused(&host, "services.json: No such file or directory");
    host.write("services.json", "{");
    refused(
        &host,
        "services.json: not JSON: EOF while parsing an object at line 1 column 1",
    );
    host.write(
        "services.json",
        r#"{"svc": {"enabled": true, "health_check": {"type": "smtp"}}}"#,
    );
    refused(
        &host,
        "services.json: svc: health_check: type: \"smtp\" is none of http, tcp, process, custom",
    );
}

#[test]
fn what_others_may_write_is_not_believed() {
    let host = down();
    let set = |name: &str, mode| {
        fs::set_permissions(host.path(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    for mode in [0o666, 0o664] {
        set("services.json", mode);
        refused(
            &host,
            "others may write it, and so decide what is run here: chmod go-w",
        );
    }
    set("services.json", 0o644);
    set(".", 0o777);
    refused(
        &host,
        "others may write it, and so decide what is run here: chmod go-w",
    );
    set(".", 0o700);
    fs::create_dir(host.path("state")).unwrap();
    set("state", 0o777);
    refused(
        &host,
        "others may write it, and so decide what is restarted: chmod 700",
    );
}

#[test]
fn a_memory_that_can_not_be_read_or_written_restarts_nothing() {
    let host = down();
    fs::create_dir(host.path("state")).unwrap();
    fs::set_permissions(host.path("state"), fs::Permissions::from_mode(0o700)).unwrap();
    host.write("state/state.json", "{");
    refused(&host, "state.json: not what ready-keeper writes");
    fs::remove_dir_all(host.path("state")).unwrap();
    host.write("state", "a file");
    refused(&host, "--state names another folder");
}

#[test]
fn wrong_usage_is_64_and_help_is_0() {
    for (args, status) in [
        (&[][..], 64),
        (&["twice"][..], 64),
        (&["once"][..], 64),
        (&["once", "--config"][..], 64),
        (
            &[
                "once",
                "--config",
                "/nowhere.json",
                "--manual-stop",
                "run/stopped",
            ][..],
            64,
        ),
        (&["pause", "x", "--for", "0"][..], 64),
        (&["--help"][..], 0),
        (&["once", "--help"][..], 0),
        (&["--version"][..], 0),
        (&["once", "--config", "services.toml"][..], 78),
    ] {
        let run = run(Command::new(keeper_binary()).args(args));
        assert_eq!(run.code(), status, "{args:?}: {run:?}");
        assert_eq!(run.stdout.is_empty(), status != 0, "{args:?}: {run:?}");
    }
}
