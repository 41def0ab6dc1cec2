//! Commands: their exit status is the answer, and nothing of them is left behind.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use ready_probe_test_support::process::{Run, run, wait_until};
use rustix::process::{Pid, Signal, kill_process};

use crate::container::{Container, assert_mentions, assert_said, through};
use crate::starved::{in_time, unless_starved};

const HEALTHY: &str = "healthy: 1 check passes";

fn exec(script: &str) -> String {
    format!("exec:sh -c '{}'", script.replace('\'', r"'\''"))
}

fn ask(target: &str) -> Run {
    Container::new().ask(target)
}

#[test]
fn the_exit_status_is_the_answer() {
    assert_said(&ask("exec:true"), 0, HEALTHY);
    assert_said(&ask("exec:/bin/sh -c 'exit 0'"), 0, HEALTHY);
    let table = [
        ("exit 1", "exit status 1"),
        ("exit 255", "exit status 255"),
        ("kill -TERM $$", "killed by signal 15"),
        ("echo no luck; exit 3", "exit status 3: no luck"),
        ("echo on stderr >&2; exit 4", "exit status 4: on stderr"),
        ("echo one; echo two >&2; exit 1", "exit status 1: one two"),
        (
            "printf \"\\033[31mred\\007\"; exit 1",
            "exit status 1:  [31mred ",
        ),
    ];
    for (script, reason) in table {
        assert_said(
            &ask(&exec(script)),
            1,
            &format!("unhealthy: exec:sh …: {reason}"),
        );
    }
}

#[test]
fn there_is_no_shell_unless_one_is_written() {
    let container = Container::new();
    let witness = container.path("witness");
    let target = format!(
        "exec:true && touch {0} ; touch {0} $(touch {0})",
        witness.display()
    );
    assert_said(&container.ask(target), 0, HEALTHY);
    assert!(!witness.exists());
    assert_said(&container.ask(r#"exec:test "a b" = 'a b'"#), 0, HEALTHY);
}

#[test]
fn what_only_a_shell_understands_is_told() {
    let container = Container::new();
    for (target, word) in [
        ("exec:true || exit 1", "||"),
        ("exec:true | cat", "|"),
        ("exec:true && true", "&&"),
        ("exec:true > /dev/null", ">"),
        ("exec:true 2>/dev/null", ">"),
        ("exec:true ; true", ";"),
        ("exec:true $HOME", "$"),
        ("exec:true ${HOME}/x", "$"),
        ("exec:true $(hostname)", "$"),
    ] {
        let hint = format!("no shell reads the {word} in it: write exec:sh -c '…'");
        let run = container.ask(target);
        let is_one = |line: &str| line.ends_with(&hint);
        assert!(run.stdout.lines().any(is_one), "{target}: {run:?}");
        let fails = target.replacen("true", "false", 1);
        // Two of them have one name, and one that has failed before says for how long.
        let run = Container::new().ask(&fails);
        assert!(run.first_line().ends_with(&hint), "{run:?}");
    }
    // Without blanks it is the name of a program that is not there.
    for (target, word) in [("exec:true|cat", "|"), ("exec:true||exit 1", "||")] {
        let hint = format!("; no shell reads the {word} in it: write exec:sh -c '…'");
        assert_mentions(&container.ask(target), 1, &["it can't be started: ", &hint]);
    }
    for target in [
        "exec:sh -c 'true || exit 1'",
        "exec:bash -c 'echo $HOME > /dev/null'",
        "exec:test '^x$' = ^x$",
        "exec:test a-|-b = a-|-b",
        "exec:true",
    ] {
        let run = container.ask(target);
        assert_said(&run, 0, HEALTHY);
        assert!(!run.stdout.contains("no shell"), "{run:?}");
    }
}

#[test]
fn a_word_of_ready_checks_that_is_no_target_is_named() {
    let container = Container::new();
    for (checks, word) in [
        ("exec:pg_isready -h db", "word 2 (\"-h\") is no target"),
        (
            "exec:redis-cli --pass hUnTeR2",
            "word 2 (\"--pass\") is no target",
        ),
        ("exec:mysqladmin -phUnTeR2 ping", "word 2 is no target"),
        ("exec:cat hUnTeR2", "word 2 is no target"),
        ("tcp://h:1 agent", "word 2 is no target"),
        (
            "tcp://h:1 exec:true redis://:hUnTeR2@",
            "word 3: the target \"redis:…\"",
        ),
    ] {
        let run = run(container.probe([""; 0]).env("READY_CHECKS", checks));
        assert_eq!(run.code(), 78, "{run:?}");
        assert!(run.stderr.contains(word), "{run:?}");
        assert!(!run.stderr.contains("hUnTeR2"), "{run:?}");
        let shows_how = run
            .stderr
            .contains("READY_CHECKS=\"'exec:CMD ARG' tcp://HOST:PORT\"");
        assert!(shows_how || word.contains("word 3"), "{run:?}");
    }
}

#[test]
fn a_command_that_cannot_start_is_not_an_answer() {
    let container = Container::new();
    let plain = container.file("plain", "text");
    for (target, cause) in [
        (
            "exec:no-such-command-anywhere".to_owned(),
            "it can't be started: ",
        ),
        (
            format!("exec:{}", plain.display()),
            "it can't be started: permission denied",
        ),
        ("exec:/proc".to_owned(), "it can't be started: "),
    ] {
        assert_mentions(&ask(&target), 1, &[cause, "; it has never passed"]);
    }
}

#[test]
fn ends_of_children_that_are_ignored_on_entry_are_seen_all_the_same() {
    let container = Container::new();
    for (args, code) in [
        (&["exec:true"][..], 0),
        (&["exec:false"], 1),
        (&["exec:sh -c 'setsid true & true'"], 0),
        (
            &[
                "wait",
                "exec:true",
                "--",
                "sh",
                "-c",
                "sh -c 'exit 7'; exit $?",
            ],
            7,
        ),
    ] {
        let probe = container.probe(args);
        let run = run(&mut through("env", &["--ignore-signal=CHLD"], &probe));
        assert_eq!(run.code(), code, "{args:?}: {run:?}");
        assert!(!run.stdout.contains("can't be told"), "{run:?}");
    }
}

#[test]
fn arguments_may_hold_secrets_and_are_not_printed() {
    let container = Container::new();
    let target = "exec:sh -c 'exit 1' --password hUnTeR2";
    for args in [vec![target], vec!["-v", target], vec!["config", target]] {
        let run = container.run(&args);
        assert!(!format!("{run:?}").contains("hUnTeR2"), "{run:?}");
        assert!(run.stdout.contains("exec:sh …"), "{run:?}");
    }
}

#[test]
fn output_is_quoted_within_bounds_without_secrets() {
    let container = Container::new();
    let script = "echo redis://u:hUnTeR2@h/0?token=hUnTeR2 said no; yes | head -c 100000; exit 1";
    let run = container.ask(exec(script));
    assert_mentions(
        &run,
        1,
        &["exit status 1: redis://***@h/0?*** said no y y y"],
    );
    assert!(
        run.first_line().len() <= 500 && run.stdout.len() <= 1_000,
        "{run:?}"
    );
    assert!(!run.stdout.contains("hUnTeR2"), "{run:?}");
    // Bytes that are no text, and a line without an end.
    let run = container.ask(exec("printf \"\\377\\376\\000x\"; exit 1"));
    assert_mentions(&run, 1, &["exit status 1: "]);
}

#[test]
fn a_flood_of_output_costs_no_memory_and_blocks_nobody() {
    let container = Container::new();
    let run = container.ask(exec("yes | head -c 50000000; echo done >&2; exit 7"));
    assert_mentions(&run, 1, &["exit status 7: y y y"]);
    assert!(run.peak_rss_kib < 8 * 1024, "{run:?}");
}

#[test]
fn a_command_has_no_input_and_its_own_group() {
    assert_said(&ask(&exec("read line; test $? = 1")), 0, HEALTHY);
    // Field 5 of /proc/self/stat is the process group.
    let leads = "read pid comm state parent group rest </proc/self/stat; test $$ = $group";
    assert_said(
        &ask(&exec(&format!("exec sh -c {}", shell_words(leads)))),
        0,
        HEALTHY,
    );
}

fn shell_words(script: &str) -> String {
    format!("'{}'", script.replace('\'', r"'\''"))
}

#[test]
fn a_command_has_the_probes_environment_and_directory() {
    let container = Container::new();
    let mut probe = container.probe([exec("test \"$MODEL\" = large && test -d ready")]);
    fs::create_dir(container.ready_dir()).unwrap();
    assert_said(&run(probe.env("MODEL", "large")), 0, HEALTHY);
}

#[test]
fn a_literal_hash_belongs_to_the_command() {
    let container = Container::new();
    assert_said(&container.ask("exec:test a#b = a#b"), 0, HEALTHY);
    assert_said(
        &container.ask("exec:test a#b = a#b#timeout=2s&name=hash"),
        0,
        HEALTHY,
    );
    assert_said(&container.ask("exec:sh -c 'test $# = 0'"), 0, HEALTHY);
    assert_mentions(
        &container.ask("exec:test 1#2 = 2#name=x"),
        1,
        &["unhealthy: x: exit status 1"],
    );
}

/// Every process of this machine: its id, its state, its parent.
fn processes() -> HashMap<u32, (char, u32)> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
            let state = fields.next()?.chars().next()?;
            Some((pid, (state, fields.next()?.parse().ok()?)))
        })
        .collect()
}

/// The processes that have `mark` in their environment.
fn marked(mark: &str) -> Vec<u32> {
    let all = processes().into_keys();
    all.filter(|pid| {
        fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|env| String::from_utf8_lossy(&env).contains(mark))
    })
    .collect()
}

fn kill_marked(mark: &str) {
    let marked = if mark.is_empty() {
        Vec::new()
    } else {
        marked(mark)
    };
    for pid in marked {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).unwrap();
        // It may have ended meanwhile.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Whom the probe has killed may still be on its way out; whom it has forgotten stays.
#[track_caller]
fn assert_gone(mark: &str, script: &str) {
    wait_until(Duration::from_secs(10), script, || {
        marked(mark).is_empty().then_some(())
    });
}

#[test]
fn nothing_is_left_of_a_command_that_ran_out_of_time() {
    let scripts = [
        "sleep 1000",
        "sleep 1000 & sleep 1000 & wait",
        "trap \"\" TERM INT HUP; sleep 1000 & sleep 1000",
        "setsid sleep 1000 & sleep 1000",
        "setsid sh -c \"trap '' TERM; setsid sleep 1000 & setsid sleep 1000 & wait\" & sleep 1000",
        "(sleep 1000 &) ; (setsid sleep 1000 >/dev/null 2>&1 </dev/null &) ; sleep 1000",
        "while :; do setsid sleep 1000 & sleep 0.01; done",
    ];
    for (number, script) in scripts.iter().enumerate() {
        let mut tries = 0;
        let mut mark = String::new();
        let run = in_time(Duration::from_secs(5), || {
            tries += 1;
            // A last try that was starved has had no time to end them.
            kill_marked(&mark);
            mark = format!("RP_LEFT_{}_{number}_{tries}", std::process::id());
            let container = Container::new();
            let mut probe = container.probe(["-v", &exec(script)]);
            run(probe.env("READY_TIMEOUT", "300ms").env(&mark, "1"))
        });
        assert_mentions(&run, 1, &["no answer within 300ms"]);
        assert_gone(&mark, script);
    }
}

#[test]
fn nothing_is_left_of_a_command_that_answered() {
    for (script, code) in [
        ("sleep 1000 & exit 0", 0),
        ("setsid sleep 1000 >/dev/null 2>&1 & exit 0", 0),
        ("(setsid sh -c \"sleep 1000 & sleep 1000\" &) ; exit 1", 1),
    ] {
        let mut tries = 0;
        let mut mark = String::new();
        // It does not wait for what was left.
        let run = in_time(Duration::from_secs(2), || {
            tries += 1;
            kill_marked(&mark);
            mark = format!("RP_GONE_{}_{tries}_{}", std::process::id(), script.len());
            let container = Container::new();
            let mut probe = container.probe(["-v", &exec(script)]);
            run(probe.env(&mark, "1"))
        });
        assert_eq!(run.code(), code, "{run:?}");
        assert_gone(&mark, script);
    }
}

#[test]
fn no_zombie_is_left_to_an_init_that_reaps_nothing() {
    // Process 1 of this namespace waits for its own child only, as many entrypoints do.
    let container = Container::new();
    let script = "\"$0\" \"$1\" \"$2\"; code=$?; cat /proc/[0-9]*/stat; exit $code";
    let left = "setsid sleep 1000 & (sleep 1000 &); (exit 0 &); sleep 1000";
    let mut probe = container.probe(["-v", &exec(left)]);
    probe.env("READY_TIMEOUT", "300ms");
    let shell = ["--pid", "--fork", "--mount-proc", "sh", "-c", script];
    let mut shell = through("unshare", &shell, &probe);
    let run = unless_starved(|| run(&mut shell));
    assert_mentions(&run, 1, &["no answer within 300ms"]);
    let stats: Vec<&str> = run
        .stdout
        .lines()
        .filter(|line| line.contains(") ") && line.starts_with(|c: char| c.is_ascii_digit()))
        .collect();
    // The shell, which lists what there is before it starts what reads it.
    assert!(
        stats.len() == 1 && stats[0].starts_with("1 (sh) "),
        "{stats:#?}"
    );
}

#[test]
fn as_process_1_it_ends_what_its_commands_left_and_nobody_else() {
    let container = Container::new();
    let probe = container.probe([exec("(setsid sleep 1000 &) ; exit 0")]);
    let namespace = ["--pid", "--fork", "--mount-proc"];
    let mut process_1 = through("unshare", &namespace, &probe);
    let run = in_time(Duration::from_secs(2), || run(&mut process_1));
    assert_said(&run, 0, HEALTHY);
}

#[test]
fn many_commands_run_side_by_side() {
    let container = Container::new();
    let targets: Vec<String> = (0..20)
        .map(|i| exec(&format!("sleep 0.3; exit {}", i % 2)))
        .collect();
    // One after the other they take twice that.
    let run = in_time(Duration::from_secs(3), || container.run(&targets));
    assert_eq!(run.stdout.matches(" pass ").count(), 10, "{run:?}");
    assert_eq!(run.stdout.matches("exit status 1\n").count(), 11, "{run:?}");
}

#[test]
fn the_end_of_one_command_does_not_end_another() {
    let container = Container::new();
    let run = container.run([
        exec("exit 1"),
        exec("sleep 0.2"),
        exec("sleep 9 & sleep 0.1"),
    ]);
    let outcomes: Vec<&str> = run
        .stdout
        .lines()
        .skip(1)
        .filter_map(|l| l.split_whitespace().next())
        .collect();
    assert_eq!(outcomes, ["fail", "pass", "pass"], "{run:?}");
}
