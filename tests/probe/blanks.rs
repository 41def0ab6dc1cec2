//! What a variable ends in that nobody sees: an env file written on Windows, a YAML block, an
//! `echo` into a secret.

use ready_probe_test_support::process::run;

use crate::container::Container;
use crate::problems::{CONFIG, Problems};

const ENDS: &[&str] = &["\n", "\r\n", "\r", " ", "\t", " \r\n\n"];

#[test]
fn line_ends_and_blanks_behind_a_variable_are_nothing() {
    let container = Container::new();
    let toml = container.file("probe.toml", "timeout = '3s'\n");
    let (toml, dir) = (toml.to_str().unwrap(), container.path("other"));
    let url = container.file("url", "redis://:hUnTeR2@h:1");
    let ended = container.file("ended", "redis://:hUnTeR2@h:1 \r\n \t\n");
    let (url, ended) = (url.to_str().unwrap(), ended.to_str().unwrap());
    let table = [
        ("READY_TIMEOUT", "2s"),
        ("READY_GRACE", "forever"),
        ("READY_AGENT", "a,b"),
        ("READY_DIR", dir.to_str().unwrap()),
        ("READY_CONFIG", toml),
        ("READY_FORMAT", "json"),
        ("READY_QUIET", "on"),
        ("READY_VERBOSE", "on"),
        ("READY_CHECKS", "exec:true"),
        ("READY_STORE", "redis://h:1"),
        ("READY_STORE_FILE", url),
        ("READY_NATS_MAX_AGE", "9s"),
        ("REDIS_URL", "h:1"),
        ("REDIS_URL_FILE", url),
        ("NATS_URL", "h:1"),
    ];
    let config = |variable: &str, value: &str| {
        let mut probe = container.probe(["config"]);
        let run = run(probe.env(variable, value));
        (run.code(), run.stdout, run.stderr)
    };
    let mut wrong = Vec::new();
    for (variable, value) in table {
        let plain = config(variable, value);
        assert_eq!(plain.0, 0, "{plain:?}");
        for end in ENDS {
            let is = config(variable, &format!("{value}{end}"));
            if is != plain {
                wrong.push(format!("{variable} {end:?}: {is:?}"));
            }
        }
    }
    let nothing = config("READY_TIMEOUT", "");
    for (variable, _) in table.iter().filter(|(name, _)| *name != "READY_DIR") {
        for end in ENDS {
            let is = config(variable, end);
            if is != nothing {
                wrong.push(format!("{variable} {end:?} alone: {is:?}"));
            }
        }
    }
    let plain = config("REDIS_URL_FILE", url);
    let file = config("REDIS_URL_FILE", ended);
    if file.1.replace(ended, url) != plain.1 {
        wrong.push(format!("in a file: {file:?}"));
    }
    for (switch, variable) in [("READY_REDIS", "REDIS_URL"), ("READY_NATS", "NATS_URL")] {
        let mut probe = container.probe(["config"]);
        let run = run(probe.env(variable, "h:1").env(switch, "off\n"));
        if run.code() != 0 || run.stdout.contains("h:1") {
            wrong.push(format!("{switch}: {run:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_folder_of_signals_does_not_end_in_a_line_end() {
    let container = Container::new();
    let dir = container.path("signals");
    let value = format!("{}\r\n", dir.display());
    let mut probe = container.probe(["exec:true"]);
    assert_eq!(run(probe.env("READY_DIR", value)).code(), 0);
    assert!(dir.join(".probe").is_dir());
}

#[test]
fn invisible_characters_are_shown() {
    let container = Container::new();
    let mut problems = Problems::default();
    for (variable, value, what) in [
        ("READY_REDIS", "off\u{200b}", r#""off\u{200b}""#),
        ("READY_FORMAT", "\u{feff}json", r#""\u{feff}json""#),
        ("READY_TIMEOUT", "5\u{200b}s", r#""5\u{200b}s""#),
        ("READY_QUIET", "o\tn", r#""o\tn""#),
        ("READY_VERBOSE", "o\rn", r#""o\rn""#),
        ("READY_AGENT", "a\u{202e}b", r#""a\u{202e}b""#),
        ("READY_AGENT", "a\nb", r#""a\nb""#),
        ("READY_NAMESPACE", "a\u{ad}", r#""a\u{ad}""#),
        (
            "READY_CONFIG",
            "/no/such\u{200b}.toml",
            r"/no/such\u{200b}.toml",
        ),
    ] {
        let run = run(container.probe(["agent:a"]).env(variable, value));
        problems.one_line(&run, CONFIG, &format!("{variable} (environment)"), what);
    }
    let run = container.run(["--timeout", "5\rx"]);
    problems.one_line(&run, 64, "--timeout", r#""5\rx""#);
}
