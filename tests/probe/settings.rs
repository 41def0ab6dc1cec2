//! The command line beats the environment, which beats the file; an empty variable is an unset one.

use std::process::Command;

use ready_probe_test_support::hostile::refused_port;
use ready_probe_test_support::process::run;
use ready_probe_test_support::servers::Redis;

use crate::container::{Container, assert_mentions, assert_said, assert_starts, row};

/// A setting with its value and origin, as `ready-probe config` prints it but for the padding.
fn setting(command: &mut Command, name: &str) -> String {
    let run = run(command);
    assert_eq!(run.code(), 0, "{run:?}");
    let line = run.stdout.lines().find(|line| line.starts_with(name));
    let line = line.unwrap_or_else(|| panic!("{name} in {run:?}"));
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `(origin, target)` of every check, as `ready-probe config` prints them.
fn checks(command: &mut Command) -> Vec<(String, String)> {
    let run = run(command);
    assert_eq!(run.code(), 0, "{run:?}");
    let rows = run
        .stdout
        .lines()
        .skip_while(|line| *line != "checks")
        .skip(1);
    rows.filter_map(|line| {
        let (_scope, rest) = line.strip_prefix(' ')?.split_once(' ')?;
        let (target, origin) = rest.trim_start().split_once("  ")?;
        Some((origin.trim_start().to_owned(), target.to_owned()))
    })
    .collect()
}

#[test]
fn the_command_line_beats_the_environment_which_beats_the_file() {
    // Name, flag, variable, line of the file; then what each of them sets, and the default.
    let table = [
        (
            "timeout",
            "--timeout=1s",
            "2s",
            "timeout = '3s'",
            ["1s", "2s", "3s", "5s"],
        ),
        (
            "grace",
            "--grace=1s",
            "2s",
            "grace = '3s'",
            ["1s", "2s", "3s", "3m"],
        ),
        (
            "dir",
            "--dir=/1",
            "/2",
            "dir = '/3'",
            ["/1", "/2", "/3", "/dev/shm/ready-probe, /tmp/ready-probe"],
        ),
        (
            "format",
            "--format=text",
            "text",
            "format = 'text'",
            ["text", "text", "text", "text"],
        ),
        (
            "quiet",
            "--quiet",
            "off",
            "quiet = true",
            ["true", "false", "true", "false"],
        ),
        (
            "verbose",
            "--verbose",
            "no",
            "verbose = true",
            ["true", "false", "true", "false"],
        ),
    ];
    for (name, flag, in_env, in_file, [typed, exported, filed, default]) in table {
        let container = Container::new();
        let file = container.file("probe.toml", in_file);
        let variable = format!("READY_{}", name.to_uppercase());
        let probe = |layers: usize| {
            let mut probe = container.probe(["config"]);
            probe.env_remove("READY_DIR");
            if layers > 0 {
                probe.env("READY_CONFIG", &file);
            }
            if layers > 1 {
                probe.env(&variable, in_env);
            }
            if layers > 2 {
                probe.arg(flag);
            }
            probe
        };
        let origins = [
            (3, typed, format!("--{name} (command line)")),
            (2, exported, format!("{variable} (environment)")),
            (1, filed, format!("{name} ({})", file.display())),
            (0, default, "default".to_owned()),
        ];
        for (layers, value, origin) in origins {
            let found = setting(&mut probe(layers), name);
            assert_eq!(found, format!("{name} {value} {origin}"), "{layers} layers");
        }
        // An empty variable is an unset one, also above a file.
        let found = setting(probe(1).env(&variable, ""), name);
        let origin = file.display();
        assert_eq!(found, format!("{name} {filed} {name} ({origin})"));
    }
}

#[test]
fn the_format_is_what_the_strongest_says() {
    let container = Container::new();
    let file = container.file("probe.toml", "format = 'json'");
    let json = |args: &[&str], variable: &str| {
        let mut probe = container.probe(args);
        let run = run(probe
            .env("READY_CONFIG", &file)
            .env("READY_FORMAT", variable));
        run.stdout.starts_with('{')
    };
    assert!(json(&[], ""));
    assert!(!json(&[], "text"));
    assert!(json(&["--format", "json"], "text"));
}

#[test]
fn agents_are_named_by_the_strongest_that_names_any() {
    let container = Container::new();
    let file = container.file("probe.toml", "agent = ['c', 'd']");
    let named = |args: &[&str], variable: &str, file: &str| {
        let mut probe = container.probe(["config"].iter().chain(args));
        let checks = checks(probe.env("READY_AGENT", variable).env("READY_CONFIG", file));
        let targets: Vec<String> = checks.into_iter().map(|(_, target)| target).collect();
        targets.join(" ")
    };
    let file = file.to_str().unwrap();
    assert_eq!(named(&["--agent", "a"], "b", file), "agent:a");
    assert_eq!(named(&[], "b", file), "agent:b");
    assert_eq!(named(&[], "", file), "agent:c agent:d");
    assert_eq!(named(&[], "", ""), "agents");
    assert_eq!(named(&[], " x , y,x, ", ""), "agent:x agent:y");
    // Targets replace what is exported and filed, not what stands beside them.
    assert_eq!(named(&["tcp://h:1"], "b", file), "tcp://h:1");
    assert_eq!(
        named(&["--agent", "a", "tcp://h:1"], "b", file),
        "agent:a tcp://h:1"
    );
}

#[test]
fn an_empty_list_in_the_file_says_that_there_are_no_agents() {
    let container = Container::new();
    let file = container.file("probe.toml", "agent = []\n[[check]]\ntarget = 'exec:true'");
    let run = run(container.probe([""; 0]).env("READY_CONFIG", file));
    assert_said(&run, 0, "healthy: 1 check passes");
}

#[test]
fn the_config_flag_beats_its_variable() {
    let container = Container::new();
    let one = container.file("one.toml", "timeout = '1s'");
    let two = container.file("two.toml", "timeout = '2s'");
    let mut probe = container.probe(["config"]);
    let timeout = setting(probe.env("READY_CONFIG", &two), "timeout");
    assert!(timeout.starts_with("timeout 2s "), "{timeout}");
    let timeout = setting(probe.arg("--config").arg(&one), "timeout");
    assert!(timeout.starts_with("timeout 1s "), "{timeout}");
}

#[test]
fn every_source_of_checks_is_named_and_targets_replace_them_all() {
    let container = Container::new();
    let file = container.file(
        "probe.toml",
        "[[check]]\ntarget = 'tcp://f:1'\n[[check]]\nany = ['tcp://a:1', 'file:/x']\n",
    );
    let nats = container.file("nats", "nats://u:p@n:4222\n");
    let mut probe = container.probe(["config"]);
    probe
        .env("READY_CONFIG", &file)
        .env("REDIS_URL", "redis://:p@r:6379/1")
        .env("NATS_URL_FILE", &nats)
        .env("READY_CHECKS", "tcp://c:1 'exec:sh -c \"exit 0\"'")
        .env("READY_AGENT", "translator");
    let shown = |checks: Vec<(String, String)>| {
        let lines = checks
            .iter()
            .map(|(origin, target)| format!("{target} | {origin}"));
        lines.collect::<Vec<_>>()
    };
    let (file, nats) = (file.display(), nats.display());
    assert_eq!(
        shown(checks(&mut probe)),
        [
            "agent:translator | READY_AGENT (environment)".to_owned(),
            "redis://***@r:6379/1 | REDIS_URL (environment)".to_owned(),
            format!("nats://***@n:4222 | NATS_URL_FILE (file {nats})"),
            "tcp://c:1 | READY_CHECKS (environment)".to_owned(),
            "exec:sh … | READY_CHECKS (environment)".to_owned(),
            format!("tcp://f:1 | check 1 ({file})"),
            format!("any(tcp://a:1, file:/x) | check 2 ({file})"),
        ]
    );
    probe.arg("tcp://t:1");
    assert_eq!(
        shown(checks(&mut probe)),
        ["tcp://t:1 | TARGET (command line)"]
    );
}

#[test]
fn an_empty_variable_is_an_unset_one() {
    let container = Container::new();
    let mut probe = container.probe([""; 0]);
    for variable in [
        "READY_TIMEOUT",
        "READY_GRACE",
        "READY_AGENT",
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
        probe.env(variable, "");
    }
    assert_said(
        &run(&mut probe),
        1,
        "starting: no agent has published a signal",
    );
}

#[test]
fn an_empty_variable_and_its_file_do_not_exclude_each_other() {
    let redis = Redis::start();
    let container = Container::new();
    let file = container.file("url", redis.url());
    let mut probe = container.probe([""; 0]);
    probe.env("REDIS_URL", "").env("REDIS_URL_FILE", file);
    assert_eq!(row(&run(&mut probe), &redis.url()).0, "pass");
}

#[test]
fn switches_leave_the_variables_of_the_application_alone() {
    let (redis, nats) = (refused_port(), refused_port());
    let container = Container::new();
    let probe = |switches: [&str; 2]| {
        let mut probe = container.probe(["config"]);
        probe
            .env("REDIS_URL", format!("redis://127.0.0.1:{}", redis.port()))
            .env("NATS_URL", format!("nats://127.0.0.1:{}", nats.port()))
            .env("READY_REDIS", switches[0])
            .env("READY_NATS", switches[1]);
        checks(&mut probe).len() - 1
    };
    assert_eq!(probe(["on", "on"]), 2);
    assert_eq!(probe(["off", "yes"]), 1);
    assert_eq!(probe(["true", "FALSE"]), 1);
    assert_eq!(probe(["0", "no"]), 0);
    // Off is off also for what can't be used.
    let mut probe = container.probe([""; 0]);
    probe
        .env("REDIS_URL", "what:ever:it is")
        .env("READY_REDIS", "off");
    assert_starts(&run(&mut probe), 1, "starting: no agent");
}

#[test]
fn checks_of_the_environment_are_split_as_a_shell_splits_words() {
    let container = Container::new();
    let mut probe = container.probe([""; 0]);
    let checks = "  'exec:sh -c \"exit 0\"#name=a b'\n file:/\\ x#optional ";
    probe
        .env("READY_CHECKS", checks)
        .env("READY_AGENT", "nobody");
    let run = run(&mut probe);
    assert_eq!(row(&run, "a b").0, "pass");
    assert_eq!(row(&run, "file:/ x"), ("fail", "(optional) no such file"));
}

#[test]
fn a_misspelt_variable_is_found_by_config() {
    let container = Container::new();
    let mut probe = container.probe(["config"]);
    let run = run(probe
        .env("READY_TIMOUT", "1s")
        .env("READY_PORT", "tcp://1.2.3.4:5"));
    for name in ["READY_TIMOUT", "READY_PORT"] {
        let note = format!("note      {name} is set, but ready-probe has no such variable\n");
        assert!(run.stdout.contains(&note), "{run:?}");
    }
    assert!(
        !run.stdout.contains("1.2.3.4"),
        "values are nobody's business: {run:?}"
    );
}

#[test]
fn config_prints_json_with_the_same_content() {
    let container = Container::new();
    let mut probe = container.probe(["config", "--format", "json", "redis://:p@h#value=v&key=k"]);
    let json = crate::container::parsed(&run(probe.env("READY_TIMEOUT", "2s")));
    assert_eq!(json["settings"]["timeout"]["value"], "2s");
    assert_eq!(
        json["settings"]["timeout"]["origin"],
        "READY_TIMEOUT (environment)"
    );
    assert_eq!(json["checks"][0]["target"], "redis://***@h#value=***&key=k");
    assert_eq!(json["checks"][0]["scope"], "dependency");
    assert_eq!(json["checks"][0]["origin"], "TARGET (command line)");
}

#[test]
fn help_and_version_are_answers() {
    let container = Container::new();
    for args in [["--help"], ["-h"], ["--version"]] {
        let run = container.run(args);
        assert_eq!((run.code(), run.stderr.as_str()), (0, ""), "{run:?}");
        assert!(run.stdout.contains("ready-probe"), "{run:?}");
    }
    for command in ["wait", "mark", "config"] {
        assert_mentions(&container.run([command, "--help"]), 0, &[]);
    }
}
