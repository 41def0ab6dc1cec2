//! What is printed: short enough for Docker and Podman, and as documented.

use std::fs;
use std::process::Command;
use std::sync::OnceLock;

use jsonschema::Validator;
use ready_probe_test_support::process::{Run, probe_binary, run, workspace_root};
use ready_probe_test_support::servers::Redis;
use serde_json::Value;

use crate::container::{Container, assert_said, assert_starts};

/// What Podman keeps of an entry, and Docker of a whole output.
const FIRST_LINE: usize = 500;
const ALL: usize = 4_096;

fn schema() -> &'static Validator {
    static SCHEMA: OnceLock<Validator> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let text = fs::read_to_string(workspace_root().join("docs/report.schema.json")).unwrap();
        jsonschema::validator_for(&serde_json::from_str(&text).unwrap()).unwrap()
    })
}

#[track_caller]
fn report(run: &Run) -> Value {
    assert_eq!(run.stderr, "", "{run:?}");
    assert!(
        run.stdout.len() <= ALL,
        "{} bytes: {run:?}",
        run.stdout.len()
    );
    assert!(
        run.stdout.ends_with("}\n") && run.stdout.lines().count() == 1,
        "{run:?}"
    );
    // In this order, for those who read no further than the first 500 bytes.
    assert!(run.stdout.starts_with("{\"verdict\":\"") && run.stdout.contains("\",\"reason\":\""));
    let report = serde_json::from_str(&run.stdout).unwrap();
    if let Err(e) = schema().validate(&report) {
        panic!("{}: {e}\n{run:?}", e.instance_path());
    }
    report
}

#[track_caller]
fn assert_fits(run: &Run) {
    let all = run.stdout.len() + run.stderr.len();
    assert!(all <= ALL, "{all} bytes: {run:?}");
    let first = run.first_line();
    assert!(first.len() <= FIRST_LINE, "{} bytes: {first}", first.len());
    assert!(run.stdout.ends_with('\n'), "{run:?}");
    let texts = run.stdout.lines().flat_map(str::chars);
    assert!(texts.clone().all(|c| !c.is_control()), "{run:?}");
    for line in run.stdout.lines().skip(1) {
        let is_row = ["pass", "fail", "unknown", "note", "…"]
            .iter()
            .any(|word| line.starts_with(&format!(" {word:<8} ")));
        assert!(is_row, "{line:?}");
    }
}

/// Checks of every outcome.
fn checks() -> Vec<&'static str> {
    vec![
        "exec:true",
        "exec:false",
        "exec:false#optional&name=an optional one",
        "redis://127.0.0.1:1",
        r#"exec:sh -c 'echo "\"quoted\" text"; exit 3'"#,
        "tcp://127.0.0.1:1#not",
        "agent:nobody",
    ]
}

#[test]
fn the_json_report_is_as_its_schema_says() {
    let container = Container::new();
    let targets = checks();
    let run = run(container.probe(&targets).args(["--format", "json"]));
    let report = report(&run);
    assert_eq!(run.code(), 1);
    assert_eq!(report["verdict"], "unhealthy");
    assert_eq!(report["reason"], "exec:false: exit status 1");
    let outcomes: Vec<&str> = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| check["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(
        outcomes,
        ["pass", "fail", "fail", "unknown", "fail", "pass", "fail"]
    );
    assert_eq!(report["checks"][2]["optional"], true);
    assert_eq!(
        report["checks"][4]["reason"],
        "exit status 3: \"quoted\" text"
    );
    assert!(report.get("omitted").is_none() && report.get("notes").is_none());
}

#[test]
fn every_verdict_is_as_the_schema_says() {
    let container = Container::new();
    let table: &[(&[&str], &str, i32)] = &[
        (&["exec:true"], "healthy", 0),
        (&["exec:false#optional"], "degraded", 0),
        (&["agent:nobody"], "starting", 1),
        (&["exec:false"], "unhealthy", 1),
        (&[], "starting", 1),
    ];
    for (targets, verdict, code) in table {
        let run = run(container.probe(*targets).env("READY_FORMAT", "json"));
        assert_eq!(
            (report(&run)["verdict"].as_str(), run.code()),
            (Some(*verdict), *code)
        );
    }
}

#[test]
fn the_schema_is_strict() {
    let container = Container::new();
    let good = report(&run(container
        .probe(["exec:true"])
        .env("READY_FORMAT", "json")));
    type Change = fn(&mut Value);
    let changes: &[Change] = &[
        |r| r["extra"] = 1.into(),
        |r| r["verdict"] = "ok".into(),
        |r| r["reason"] = "a\nb".into(),
        |r| r["schema"] = 2.into(),
        |r| r["omitted"] = 0.into(),
        |r| r["notes"] = Value::Array(Vec::new()),
        |r| r["checks"][0]["extra"] = 1.into(),
        |r| r["checks"][0]["outcome"] = "ok".into(),
        |r| r["checks"][0]["optional"] = false.into(),
        |r| {
            r["checks"][0].as_object_mut().unwrap().remove("target");
        },
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut bad = good.clone();
        change(&mut bad);
        assert!(!schema().is_valid(&bad), "{number}: {bad}");
    }
}

/// Far more than fits, with texts that grow when they are quoted as JSON.
fn too_many() -> Vec<String> {
    let long = "\"\\ü€".repeat(60);
    let failing = (0..200).map(|i| format!("file:/no/such/{long}/{i}"));
    let named = (0..50).map(|i| format!("agent:a{i}#name={}", "n".repeat(60)));
    failing.chain(named).collect()
}

#[test]
fn two_hundred_checks_with_long_reasons_fit() {
    let container = Container::new();
    let targets = too_many();
    let text = container.run(&targets);
    assert_fits(&text);
    assert_starts(&text, 1, "unhealthy: file:/no/such/\"");
    let left_out: usize = text
        .stdout
        .lines()
        .find_map(|line| {
            line.trim_start_matches([' ', '…'])
                .strip_suffix(" more checks left out")
        })
        .unwrap()
        .parse()
        .unwrap();
    let rows = text.stdout.lines().count() - 2;
    assert_eq!(rows + left_out, targets.len(), "{text:?}");
    assert!(rows > 3, "{text:?}");

    let run = run(container.probe(&targets).env("READY_FORMAT", "json"));
    let report = report(&run);
    let shown = report["checks"].as_array().unwrap().len();
    assert_eq!(
        shown + usize::try_from(report["omitted"].as_u64().unwrap()).unwrap(),
        targets.len()
    );
    assert!(shown > 1, "{run:?}");
}

#[test]
fn the_check_that_explains_the_verdict_is_never_left_out() {
    let container = Container::new();
    let passing = (0..200).map(|i| format!("file:/#name=check%20number%20{i}%20that%20passes"));
    let targets: Vec<String> = passing.chain(["exec:false".to_owned()]).collect();
    let text = container.run(&targets);
    assert_fits(&text);
    assert_said(&text, 1, "unhealthy: exec:false: exit status 1");
    assert!(text.stdout.contains("\n fail     exec:false "), "{text:?}");
    let run = run(container.probe(&targets).env("READY_FORMAT", "json"));
    let report = report(&run);
    let checks = report["checks"].as_array().unwrap();
    assert!(
        checks.iter().any(|check| check["target"] == "exec:false"),
        "{run:?}"
    );
}

#[test]
fn one_target_of_any_length_fits() {
    let container = Container::new();
    let long = "x".repeat(100_000);
    for target in [
        format!("file:/{long}"),
        format!("process:{long}"),
        format!("exec:{long}"),
        format!("redis://127.0.0.1:1#key={long}"),
        format!("http://127.0.0.1:1/{long}"),
        format!("unix:///{long}"),
        format!("redis://{}:1", "h".repeat(200)),
        "file:/a\nb\u{1b}[31m\u{202e}".to_owned(),
    ] {
        let text = container.run([&target]);
        assert_eq!(text.code(), 1, "{text:?}");
        assert_fits(&text);
        report(&run(container.probe([&target]).env("READY_FORMAT", "json")));
    }
}

#[test]
fn a_note_is_in_the_report() {
    let redis = Redis::start();
    let container = Container::new();
    fs::write(container.ready_dir(), "").unwrap();
    let run = run(container.probe([redis.url()]).env("READY_FORMAT", "json"));
    let report = report(&run);
    let note = report["notes"][0].as_str().unwrap();
    assert!(note.starts_with("grace can't be counted: "), "{note}");
}

#[test]
fn quiet_is_silent_when_healthy_and_one_line_otherwise() {
    let container = Container::new();
    let redis = Redis::start();
    for target in [
        "exec:true".to_owned(),
        redis.url(),
        "exec:false#optional".to_owned(),
    ] {
        let run = container.run(["-q", &target]);
        assert_eq!(
            (run.code(), run.stdout.as_str(), run.stderr.as_str()),
            (0, "", "")
        );
    }
    let run = container.run(["--quiet", "exec:false", "exec:true"]);
    assert_eq!(
        (run.code(), run.stdout.as_str()),
        (1, "unhealthy: exec:false: exit status 1\n")
    );
    let json = container.run(["-q", "--format", "json", "exec:false"]);
    assert_eq!(report(&json)["verdict"], "unhealthy");
    let json = container.run(["-q", "--format", "json", "exec:true"]);
    assert_eq!((json.code(), json.stdout.as_str()), (0, ""));
}

#[test]
fn there_is_colour_on_a_terminal_only() {
    let container = Container::new();
    for term in ["", "xterm-256color"] {
        let mut probe = container.probe(["exec:false"]);
        let run = run(probe.env("TERM", term).env("CLICOLOR_FORCE", "1"));
        assert!(!run.stdout.contains('\u{1b}'), "{run:?}");
    }
    let on_a_terminal = |no_color: &str| {
        // It takes the command as one text.
        let shell = format!("{} exec:false", probe_binary().display());
        let mut script = Command::new("script");
        script.args(["-qec", &shell, "/dev/null"]).env_clear();
        script
            .env("NO_COLOR", no_color)
            .env("READY_DIR", container.ready_dir());
        run(&mut script).stdout
    };
    assert!(on_a_terminal("").contains("\u{1b}[31munhealthy\u{1b}[0m: exec:false"));
    assert!(on_a_terminal("1").contains("unhealthy: exec:false"));
    assert!(!on_a_terminal("1").contains('\u{1b}'));
}

#[test]
fn verbose_speaks_on_stderr_and_changes_nothing_on_stdout() {
    let container = Container::new();
    let plain = container.run(["exec:false"]);
    let verbose = container.run(["--verbose", "exec:false"]);
    assert_eq!(plain.first_line(), verbose.first_line());
    assert!(
        plain.stderr.is_empty() && verbose.stderr.contains("exec:false"),
        "{verbose:?}"
    );
    assert!(!verbose.stderr.contains('\u{1b}'), "{verbose:?}");
}
