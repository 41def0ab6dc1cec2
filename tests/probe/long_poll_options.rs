//! `--long-poll`, `--retries`, `confirm=` and `recheck=`: what is understood, and what is refused.

use ready_probe_test_support::process::run;

use crate::container::{Container, assert_starts};
use crate::long_poll::{Caller, tell};
use crate::problems::{CONFIG, Problems, USAGE};

#[test]
fn what_cannot_be_held_is_refused() {
    let table: &[(&[&str], &str)] = &[
        (&["--long-poll", "0s"], "--long-poll (command line)"),
        (&["--long-poll", "25"], "--long-poll (command line)"),
        (&["--long-poll", "soon"], "--long-poll (command line)"),
        (&["--long-poll", ""], "--long-poll (command line)"),
        (&["--long-poll=-1s"], "--long-poll (command line)"),
        (&["--long-poll", "3601s"], "--long-poll (command line)"),
        (&["--long-poll", "2h"], "--long-poll (command line)"),
        (&["--long-poll", "forever"], "--long-poll (command line)"),
        (&["--long-poll"], ""),
        (&["--long-poll", "1s", "--long-poll", "1s"], ""),
        (&["--long-poll", "1s", "--retries", "0"], "--retries"),
        (&["--long-poll", "1s", "--retries", "-1"], ""),
        (&["--long-poll", "1s", "--retries", "x"], "--retries"),
        (&["--long-poll", "1s", "--retries", ""], "--retries"),
        (&["--retries", "3"], ""),
        (&["wait", "--long-poll", "1s"], ""),
        (&["list", "--long-poll", "1s"], ""),
        (&["config", "--long-poll", "1s"], ""),
        (&["mark", "--long-poll", "1s"], ""),
    ];
    let container = Container::new();
    let mut problems = Problems::default();
    for (args, at) in table {
        problems.one_line(&container.run(*args), USAGE, at, "");
    }
}

#[test]
fn options_that_mean_nothing_are_refused() {
    let table = [
        ("agent:a#confirm=1s", "confirm"),
        ("agent:a#recheck=1s", "recheck"),
        ("http://127.0.0.1/#recheck=0", "the option recheck: "),
        ("http://127.0.0.1/#recheck=0s", "the option recheck: "),
        ("http://127.0.0.1/#recheck=99ms", "the option recheck: "),
        ("http://127.0.0.1/#recheck=5", "the option recheck: "),
        ("http://127.0.0.1/#recheck", "recheck"),
        ("redis://127.0.0.1#confirm=soon", "the option confirm: "),
        ("redis://127.0.0.1#confirm=10", "the option confirm: "),
        ("tcp://127.0.0.1:1#confirm=1s&confirm=2s", "confirm"),
    ];
    let container = Container::new();
    let mut problems = Problems::default();
    for (target, what) in table {
        for args in [&[target][..], &["--long-poll", "1s", target]] {
            let run = container.run(args);
            problems.one_line(&run, USAGE, "TARGET (command line)", what);
        }
    }
}

#[test]
fn no_file_and_no_variable_makes_a_bare_probe_hold() {
    let container = Container::new();
    tell(&container, "a", "ready");
    for line in ["long-poll = '10m'", "long_poll = '10m'", "retries = 3"] {
        let file = container.file("probe.toml", format!("{line}\n"));
        let run = run(container.probe([""; 0]).env("READY_CONFIG", &file));
        assert_eq!(run.code(), CONFIG, "{line}: {run:?}");
    }
    for _ in 0..2 {
        let mut probe = container.probe([""; 0]);
        probe
            .env("READY_LONG_POLL", "10m")
            .env("READY_RETRIES", "1");
        // A variable that nobody knows may be refused; it never makes it hold.
        run(&mut probe);
    }
}

#[test]
fn the_options_of_a_target_are_read_by_every_probe() {
    let container = Container::new();
    tell(&container, "a", "ready");
    let here = container.path("");
    let targets = ["confirm=1m", "recheck=100ms", "confirm=1ms&recheck=1h"]
        .map(|options| format!("file:{}#{options}&name=here", here.display()));
    for target in &targets {
        assert_starts(&container.run([target]), 0, "healthy");
        let run = container.run(["wait", "--for=20s", target]);
        assert_starts(&run, 0, "healthy");
    }
    // They are no part of what a check is remembered by, and may be given for each element of `any`.
    let memory = std::fs::read_to_string(container.memory()).unwrap();
    assert!(
        !memory.contains("confirm=") && !memory.contains("recheck="),
        "{memory}"
    );
}

#[test]
fn the_longest_hold_is_an_hour() {
    for hold in ["1h", "60m", "3600s", "1ms"] {
        let container = Container::new();
        tell(&container, "a", "ready");
        let flags = ["--long-poll", hold, "--retries", "1"];
        let caller = Caller::with(&container, &flags, &[]);
        assert_starts(&caller.at_once(), 0, "healthy");
    }
}

#[test]
fn quiet_and_json_hold_as_well() {
    let container = Container::new();
    tell(&container, "a", "ready");
    for flags in [&["--quiet"][..], &["--format", "json"], &["--verbose"]] {
        let all = [&["--long-poll", "10m"], flags].concat();
        let hold = Caller::with(&container, &all, &["agent:a"]).hold();
        tell(&container, "a", "not_ready");
        let run = hold.ends();
        assert_eq!(run.code(), 1, "{run:?}");
        assert!(run.stdout.contains("told so"), "{run:?}");
        tell(&container, "a", "ready");
    }
}
