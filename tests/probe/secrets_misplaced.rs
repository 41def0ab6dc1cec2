//! What looks like an address and is none is refused, without asking DNS for it and without printing
//! any of it but its scheme.

use ready_probe_test_support::process::{Run, run};

use crate::container::Container;
use crate::problems::{CONFIG, Problems, USAGE};

/// StackExchange.Redis and .NET write options behind commas, and not every client encodes a password.
const NO_ADDRESSES: &[&str] = &[
    "127.0.0.1:1,password=hUnTeR2,ssl=False",
    "127.0.0.1:1,password=x@hUnTeR2,ssl=False",
    "127.0.0.1:1,password=hUnTeR2:80,abortConnect=False",
    "password=hUnTeR2",
    "password=hUnTeR2:6379",
    "Server=127.0.0.1;Password=hUnTeR2",
];

/// Behind `redis://` or `nats://`.
const NO_AUTHORITIES: &[&str] = &[
    "default:12?hUnTeR2@127.0.0.1:1",
    "default:12?hUnTeR2",
    "user:12?a=b&hUnTeR2@127.0.0.1:1",
    "hUnTeR2?x@127.0.0.1:1",
    "u:a@hUnTeR2?x@127.0.0.1:1",
    "u:a@hUnTeR2=@127.0.0.1=x",
    "hUn TeR2",
    "u:x@hUnTeR2 y",
    "hUnTeR2%20y:1",
    "hUnTeR2%3Dy:1",
    "hUnTeR2\ty:1",
    "hUnTeR2$y:1",
    "hUnTeR2\"y:1",
];

fn written() -> Vec<String> {
    let mut written: Vec<String> = NO_ADDRESSES.iter().map(ToString::to_string).collect();
    for scheme in ["redis", "rediss", "nats", "tls"] {
        let with_scheme = |text: &&str| format!("{scheme}://{text}");
        written.extend(NO_ADDRESSES.iter().chain(NO_AUTHORITIES).map(with_scheme));
    }
    written
}

fn expect(problems: &mut Problems, run: &Run, code: i32, at: &str, what: &str) {
    problems.one_line(run, code, at, "");
    let said = run.stderr.to_lowercase();
    for trace in ["hunter2", "hun ter2", "dns", "password=x"] {
        assert!(!said.contains(trace), "{trace} in {what:?}: {run:?}");
    }
}

#[test]
fn a_variable_with_what_is_no_address_is_refused() {
    let container = Container::new();
    let mut problems = Problems::default();
    for text in written() {
        let file = container.file("url", &text);
        for (variable, schemes) in [
            ("REDIS_URL", ["redis", "rediss"]),
            ("NATS_URL", ["nats", "tls"]),
            ("READY_STORE", ["", ""]),
        ] {
            let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
            if !scheme.is_empty() && variable != "READY_STORE" && !schemes.contains(&scheme) {
                continue;
            }
            let said = run(container.probe([""; 0]).env(variable, &text));
            let at = format!("{variable} (environment)");
            expect(&mut problems, &said, CONFIG, &at, &text);
            let in_file = format!("{variable}_FILE");
            let said = run(container.probe([""; 0]).env(&in_file, &file));
            expect(&mut problems, &said, CONFIG, &in_file, &text);
        }
    }
}

#[test]
fn a_target_with_what_is_no_address_is_refused() {
    let container = Container::new();
    let mut problems = Problems::default();
    let more = ["tcp", "http", "https", "http+unix"].map(|scheme| {
        let with_scheme = move |text: &str| format!("{scheme}://{text}");
        [
            "hUnTeR2=y:1",
            "hUn TeR2:1",
            "hUnTeR2%3Dy:1",
            "127.0.0.1:1,password=hUnTeR2,ssl=False",
            "user:12?hUnTeR2@127.0.0.1:1",
        ]
        .map(with_scheme)
    });
    for text in written().into_iter().chain(more.into_iter().flatten()) {
        let at = "TARGET (command line)";
        expect(&mut problems, &container.ask(&text), USAGE, at, &text);
        let said = container.run(["--store", &text, "agent:a"]);
        expect(&mut problems, &said, USAGE, "--store", &text);
        let quoted = format!("'{}'", text.replace('\'', r"'\''"));
        let said = run(container.probe([""; 0]).env("READY_CHECKS", quoted));
        expect(&mut problems, &said, CONFIG, "READY_CHECKS", &text);
    }
}

#[test]
fn a_secret_file_that_holds_a_password_alone_is_refused() {
    let container = Container::new();
    let mut problems = Problems::default();
    for text in [
        "hUnTeR2",
        "hUnTeR2\n",
        "hUnTeR2:6379",
        "x@hUnTeR2",
        "default:hUnTeR2@h",
    ] {
        let file = container.file("url", text);
        for variable in ["REDIS_URL_FILE", "NATS_URL_FILE", "READY_STORE_FILE"] {
            let said = run(container.probe([""; 0]).env(variable, &file));
            problems.one_line(&said, CONFIG, variable, "://");
            assert!(!said.stderr.contains("DNS"), "{said:?}");
        }
    }
    // The application's own variable may hold a host and nothing else.
    let said = run(container
        .probe([""; 0])
        .env("REDIS_URL", "no-such-host.invalid"));
    assert!(said.stdout.contains("DNS"), "{said:?}");
}

#[test]
fn a_stray_option_is_named_up_to_what_may_be_a_secret() {
    let container = Container::new();
    let mut problems = Problems::default();
    for (args, what) in [
        (["--redis://default:hUnTeR2@h"], "'--redis"),
        (["--redis://default:12#hUnTeR2@h"], "'--redis"),
        (["--redis://default:12?hUnTeR2"], "'--redis"),
        (["--default:hUnTeR2"], "'--default"),
        (["--password=hUnTeR2"], "'--password"),
        (
            ["--hUnTeR2 with more than a name holds"],
            "unexpected argument",
        ),
        (["-ahUnTeR2"], "'-a"),
        (["--quiet=hUnTeR2"], "'--quiet"),
    ] {
        problems.one_line(&container.run(args), USAGE, "", what);
    }
    let said = container.run(["mark", "a", "redis://default:12?hUnTeR2"]);
    problems.one_line(&said, USAGE, "", "unexpected argument");
    let said = container.run(["mark", "a", "default:hUnTeR2"]);
    problems.one_line(&said, USAGE, "", "unexpected argument");
}
