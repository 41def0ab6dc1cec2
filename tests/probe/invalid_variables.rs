//! A variable that can't be used is one line that says which, and exit status 78; and no secret is in it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use ready_probe_test_support::process::run;

use crate::container::Container;
use crate::problems::{CONFIG, Problems, USAGE};

#[test]
fn an_invalid_variable_is_one_line_and_exit_78() {
    let long = "x".repeat(100_000);
    let table: &[(&str, &str, &str)] = &[
        ("READY_TIMEOUT", "5", "has no unit"),
        ("READY_TIMEOUT", "0ms", "leaves no time"),
        ("READY_TIMEOUT", &long, "is not a duration"),
        ("READY_GRACE", "always", "or forever"),
        ("READY_AGENT", ", ,", "it names no agent"),
        ("READY_AGENT", "a;b", "invalid name \"a;b\""),
        ("READY_AGENT", "a\nb", "invalid name \"a\\nb\""),
        ("READY_DIR", "./x", "absolute path"),
        ("READY_CONFIG", "/no/such.toml", "No such file"),
        ("READY_CONFIG", "/no/such\nfile.toml", "No such file"),
        (
            "READY_FORMAT",
            "JSON",
            "there are text, json and prometheus",
        ),
        ("READY_QUIET", "maybe", "neither on nor off"),
        ("READY_VERBOSE", "2", "neither on nor off"),
        ("READY_REDIS", "disabled", "neither on nor off"),
        ("READY_NATS", "none", "neither on nor off"),
        (
            "READY_CHECKS",
            "tcp://h:1 'redis://:hUnTeR2@h",
            "its quotes are not closed",
        ),
        ("READY_CHECKS", "tcp://h:1 redis://:hUnTeR2@", "\"redis:…\""),
        ("READY_CHECKS", "redis://h:1 -- x", "SCHEME:…"),
        (
            "REDIS_URL",
            "http://u:hUnTeR2@h",
            "READY_REDIS=off leaves this variable alone",
        ),
        ("REDIS_URL", "redis-socket:///x", "its scheme must be redis"),
        (
            "REDIS_URL",
            "redis://u:hUnTeR2@h/x",
            "its database must be a number",
        ),
        ("REDIS_URL", "redis://:hUn/TeR2@h:1", "READY_REDIS=off"),
        (
            "REDIS_URL",
            "redis://:hUnTeR2@h#x=1",
            "\"x\" is no option of redis",
        ),
        ("REDIS_URL_FILE", "/no/such/hint", "No such file"),
        (
            "NATS_URL",
            "amqp://u:hUnTeR2@h",
            "READY_NATS=off leaves this variable alone",
        ),
        ("NATS_URL", "nats://u:hUnTeR2@h:x", "invalid port number"),
        ("NATS_URL_FILE", "/proc", "not a regular file"),
    ];
    let container = Container::new();
    let mut problems = Problems::default();
    for (variable, value, what) in table {
        let run = run(container.probe([""; 0]).env(variable, value));
        problems.one_line(&run, CONFIG, &format!("{variable} (environment)"), what);
    }
}

#[test]
fn what_something_stronger_overrides_must_be_usable_as_well() {
    let container = Container::new();
    let mut problems = Problems::default();
    let table: &[(&str, &str, &[&str], &str)] = &[
        (
            "READY_TIMEOUT",
            "abc",
            &["--timeout", "1s"],
            "is not a duration",
        ),
        (
            "READY_GRACE",
            "abc",
            &["--grace", "1s"],
            "is not a duration",
        ),
        (
            "READY_FORMAT",
            "xml",
            &["--format", "json"],
            "there are text, json and prometheus",
        ),
        ("READY_DIR", "x", &["--dir", "/tmp/x"], "absolute path"),
        ("READY_QUIET", "junk", &["-q"], "neither on nor off"),
        ("READY_VERBOSE", "junk", &["-v"], "neither on nor off"),
        ("READY_AGENT", "a b", &["agent:a"], "invalid name"),
        ("READY_AGENT", "a b", &["--agent", "a"], "invalid name"),
        (
            "READY_CHECKS",
            "'a",
            &["agent:a"],
            "its quotes are not closed",
        ),
        (
            "READY_CHECKS",
            "redis://:hUnTeR2@",
            &["agent:a"],
            "\"redis:…\"",
        ),
        ("READY_REDIS", "junk", &["agent:a"], "neither on nor off"),
        ("READY_NATS", "junk", &["agent:a"], "neither on nor off"),
    ];
    for (variable, value, args, what) in table {
        let run = run(container.probe(*args).env(variable, value));
        problems.one_line(&run, CONFIG, &format!("{variable} (environment)"), what);
    }
    let file = container.file("probe.toml", "timeout = \"junk\"");
    let mut probe = container.probe(["--config", file.to_str().unwrap(), "agent:a"]);
    let overridden = run(probe.env("READY_TIMEOUT", "1s"));
    problems.one_line(
        &overridden,
        CONFIG,
        "timeout (",
        "\"junk\" is not a duration",
    );
}

#[test]
fn variables_of_the_application_that_are_not_asked_may_hold_anything() {
    let container = Container::new();
    for variable in ["REDIS_URL", "NATS_URL"] {
        let mut probe = container.probe(["exec:true"]);
        let run = run(probe.env(variable, "http://what"));
        assert_eq!(run.code(), 0, "{run:?}");
    }
}

#[test]
fn a_variable_that_is_not_utf8_is_named() {
    let container = Container::new();
    let mut problems = Problems::default();
    let bytes = OsStr::from_bytes(b"\xff\xfe");
    for variable in [
        "READY_TIMEOUT",
        "READY_GRACE",
        "READY_AGENT",
        "READY_DIR",
        "READY_CONFIG",
        "READY_FORMAT",
        "READY_QUIET",
        "READY_VERBOSE",
        "READY_CHECKS",
        "READY_REDIS",
        "READY_NATS",
        "REDIS_URL",
        "REDIS_URL_FILE",
        "NATS_URL",
        "NATS_URL_FILE",
    ] {
        let run = run(container.probe([""; 0]).env(variable, bytes));
        problems.one_line(
            &run,
            CONFIG,
            &format!("{variable} (environment)"),
            "not UTF-8",
        );
    }
    let run = container.run([bytes]);
    problems.one_line(&run, USAGE, "", "invalid UTF-8");
}

#[test]
fn a_variable_and_its_file_exclude_each_other() {
    let container = Container::new();
    let mut problems = Problems::default();
    let file = container.file("url", "redis://:hUnTeR2@h");
    for name in ["REDIS_URL", "NATS_URL"] {
        let mut probe = container.probe([""; 0]);
        probe.env(name, "h:1").env(format!("{name}_FILE"), &file);
        problems.one_line(
            &run(&mut probe),
            CONFIG,
            &format!("{name}_FILE (environment)"),
            &format!("{name} is set as well; set one of them"),
        );
    }
}

#[test]
fn a_secret_file_that_cannot_be_used_is_named() {
    let container = Container::new();
    let mut problems = Problems::default();
    let bytes: &[(&[u8], &str)] = &[
        (b"", "the file is empty"),
        (b"\n", "the file is empty"),
        (b"\xff", "not UTF-8"),
        (b"\xef\xbb\xbfredis://:hUnTeR2@h\n", "byte order mark"),
        (b"\xff\xfer\0e\0d\0i\0s\0", "not UTF-8 but UTF-16"),
        (b"redis://:hUnTeR2@h:x\n", "invalid port number"),
        (
            b"redis://:hUnTeR2@h\nredis://:hUnTeR2@i\n",
            "REDIS_URL_FILE",
        ),
        (&[b'x'; 65_537], "larger than 64 KiB"),
    ];
    for (content, what) in bytes {
        let file = container.file("url", content);
        let run = run(container.probe([""; 0]).env("REDIS_URL_FILE", file));
        problems.one_line(&run, CONFIG, "REDIS_URL_FILE", what);
    }
}
