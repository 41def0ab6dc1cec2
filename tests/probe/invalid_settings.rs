//! A setting that can't be used is one line that says where it was set, whatever it is and wherever
//! that was; and the line holds no secret.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use ready_probe_test_support::process::{Run, run};

use crate::container::Container;

/// Planted wherever a secret may stand.
const SECRET: &str = "hUnTeR2";

/// What a usage error and a configuration error exit with.
const USAGE: i32 = 64;
const CONFIG: i32 = 78;

/// What is wrong with each run, so that a failing table shows all of its rows at once.
#[derive(Default)]
struct Problems(Vec<String>);

impl Problems {
    fn one_line(&mut self, run: &Run, code: i32, at: &str, what: &str) {
        let line = run.stderr.strip_suffix('\n').unwrap_or_default();
        let expected = [
            ("exit status", run.code() == code),
            ("nothing on stdout", run.stdout.is_empty()),
            ("one line", !line.is_empty() && !line.contains('\n')),
            ("at most 500 bytes", line.len() <= 500),
            ("the place", line.starts_with(&format!("ready-probe: {at}"))),
            ("the reason", line.contains(what)),
            ("no secret", !line.contains(SECRET)),
        ];
        for (what_of, _) in expected.iter().filter(|(_, as_expected)| !as_expected) {
            let stderr: String = run.stderr.chars().take(600).collect();
            let code = run.code();
            self.0
                .push(format!("{at:?} {what:?}: not {what_of}: {code} {stderr:?}"));
        }
    }
}

impl Drop for Problems {
    fn drop(&mut self) {
        assert!(
            self.0.is_empty() || std::thread::panicking(),
            "{}",
            self.0.join("\n")
        );
    }
}

#[test]
fn an_invalid_argument_is_one_line_and_exit_64() {
    let table: &[(&[&str], &str, &str)] = &[
        (
            &["--timeout", "5"],
            "--timeout (command line)",
            "has no unit",
        ),
        (
            &["--timeout", "0s"],
            "--timeout (command line)",
            "leaves no time",
        ),
        (&["--timeout", "-5s"], "", "unexpected argument '-5'"),
        (
            &["--timeout=-5s"],
            "--timeout (command line)",
            "\"-5s\" is not a duration",
        ),
        (
            &["--timeout", "soon"],
            "--timeout (command line)",
            "\"soon\" is not a duration",
        ),
        (&["--timeout", ""], "--timeout (command line)", "\"\""),
        (
            &["--timeout", "400d"],
            "--timeout (command line)",
            "longer than a year",
        ),
        (&["--timeout"], "", "a value is required for '--timeout"),
        (&["--timeout", "1s", "--timeout", "2s"], "", "--timeout"),
        (
            &["--grace", "never"],
            "--grace (command line)",
            "or forever",
        ),
        (
            &["--agent", ","],
            "--agent (command line)",
            "it names no agent",
        ),
        (
            &["--agent", "a b"],
            "--agent (command line)",
            "invalid name \"a b\"",
        ),
        (&["--agent", "-a"], "", "'-a'"),
        (
            &["--agent", "ok,../etc"],
            "--agent (command line)",
            "invalid name \"../etc\"",
        ),
        (
            &["--dir", "signals"],
            "--dir (command line)",
            "absolute path",
        ),
        (
            &["--format", "yaml"],
            "--format (command line)",
            "there are text and json",
        ),
        (
            &["--config", "/no/such.toml"],
            "--config (command line)",
            "/no/such.toml: No such file",
        ),
        (
            &["--config", "/"],
            "--config (command line)",
            "not a regular file",
        ),
        (&["--quiet=very"], "", "'--quiet'"),
        (&["--nonsense"], "", "'--nonsense'"),
        (&["--password", "hUnTeR2"], "", "'--password'"),
        (
            &["start"],
            "TARGET (command line)",
            "\"start\" is neither a command nor a target",
        ),
        (
            &["hUnTeR2 with more than a name holds"],
            "TARGET (command line)",
            "SCHEME:…",
        ),
        (
            &["mongo://u:hUnTeR2@h"],
            "TARGET (command line)",
            "\"mongo:\" is no kind of target",
        ),
        (&[""], "TARGET (command line)", "SCHEME:…"),
        (
            &["agent:"],
            "TARGET (command line)",
            "\"agent:…\": invalid name",
        ),
        (
            &["agent:a#min=0"],
            "TARGET (command line)",
            "the option min: it must be a number",
        ),
        (
            &["agent:a#mim=1"],
            "TARGET (command line)",
            "\"mim\" is no option of agent",
        ),
        (
            &["agent:a#min"],
            "TARGET (command line)",
            "the option min needs a value",
        ),
        (
            &["agent:a#optional=maybe"],
            "TARGET (command line)",
            "optional",
        ),
        (
            &["agent:a#timeout=5"],
            "TARGET (command line)",
            "the option timeout: \"5\" has no unit",
        ),
        (
            &["agent:a#grace=x"],
            "TARGET (command line)",
            "the option grace:",
        ),
        (
            &["agent:a#scope=mine"],
            "TARGET (command line)",
            "own or dependency",
        ),
        (
            &["agent:a#min=1&min=2"],
            "TARGET (command line)",
            "the option min is given twice",
        ),
        (
            &["agent:a#name=a%0Ab"],
            "TARGET (command line)",
            "at most 64 printable",
        ),
        (&["agent:a#name=%ff"], "TARGET (command line)", "not UTF-8"),
        (
            &["redis://u:hUnTeR2@"],
            "TARGET (command line)",
            "\"redis:…\": the address can't be used",
        ),
        (
            &["redis://u:hUnTeR2@h/hUnTeR2"],
            "TARGET (command line)",
            "its database must be a number",
        ),
        (
            &["redis://u:hUnTeR2@h:99999"],
            "TARGET (command line)",
            "invalid port number",
        ),
        (
            &["redis://u:hUnTeR2@h#value=hUnTeR2"],
            "TARGET (command line)",
            "value needs key",
        ),
        (
            &["redis://u:hUnTeR2@h#role=boss"],
            "TARGET (command line)",
            "it must be master or replica",
        ),
        (
            &["redis://u:hUnTeR2@h#cert=/c"],
            "TARGET (command line)",
            "cert needs key_file",
        ),
        (
            &["redis://u:hUnTeR2@h,nats://h"],
            "TARGET (command line)",
            "one scheme",
        ),
        (
            &["redis+unix://u:hUnTeR2@h/s"],
            "TARGET (command line)",
            "three slashes",
        ),
        (
            &["nats://u:hUnTeR2@h#creds=/c"],
            "TARGET (command line)",
            "more than one way",
        ),
        (
            &["nats://h#creds=/c&nkey=/n"],
            "TARGET (command line)",
            "more than one way",
        ),
        (
            &["nats://h#bucket=a.b"],
            "TARGET (command line)",
            "the option bucket",
        ),
        (&["nats://hUnTeR2@h:0"], "TARGET (command line)", "port 0"),
        (
            &["http://u:hUnTeR2@/"],
            "TARGET (command line)",
            "\"http:…\": the address can't be used",
        ),
        (
            &["http://h#status=20"],
            "TARGET (command line)",
            "codes go from 100 to 599",
        ),
        (
            &["http://h#status=299-200"],
            "TARGET (command line)",
            "codes go from 100 to 599",
        ),
        (
            &["http://h#header=hUnTeR2"],
            "TARGET (command line)",
            "header=NAME:VALUE",
        ),
        (
            &["http://h#header=X:a%0ahUnTeR2"],
            "TARGET (command line)",
            "can't be sent",
        ),
        (
            &["http://h#header=X Y:hUnTeR2"],
            "TARGET (command line)",
            "its name can't be sent",
        ),
        (
            &["http://h#json=pointer=1"],
            "TARGET (command line)",
            "json=/pointer=value",
        ),
        (
            &["http://h#method=G%20T"],
            "TARGET (command line)",
            "no HTTP method",
        ),
        (
            &["http://h#insecure"],
            "TARGET (command line)",
            "no sense without https",
        ),
        (
            &["http+unix://run/app.sock/"],
            "TARGET (command line)",
            "slashes encoded",
        ),
        (&["tcp://h"], "TARGET (command line)", "\"tcp:…\""),
        (
            &["tcp://h:1/path"],
            "TARGET (command line)",
            "tcp://host:port",
        ),
        (
            &["tcp://a:1,b:2"],
            "TARGET (command line)",
            "more than one server",
        ),
        (&["unix://relative"], "TARGET (command line)", "\"unix:…\""),
        (
            &["process:"],
            "TARGET (command line)",
            "a part of a command line",
        ),
        (
            &["pid:run/x.pid"],
            "TARGET (command line)",
            "an absolute path",
        ),
        (&["exec:"], "TARGET (command line)", "it needs a command"),
        (
            &["exec:sh -c 'hUnTeR2"],
            "TARGET (command line)",
            "quotes are not closed",
        ),
        (&["file:x"], "TARGET (command line)", "an absolute path"),
        (
            &["file:/x#max_age=1"],
            "TARGET (command line)",
            "the option max_age: \"1\" has no unit",
        ),
        (
            &["wait", "--for", "5", "tcp://h:1"],
            "--for (command line)",
            "has no unit",
        ),
        (
            &["wait", "--for", "0s", "tcp://h:1"],
            "--for (command line)",
            "leaves no time",
        ),
        (&["mark"], "", "NAME"),
        (
            &["mark", "a/b"],
            "NAME (command line)",
            "invalid name \"a/b\"",
        ),
        (
            &["mark", "a", "--ttl", "10ms"],
            "--ttl (command line)",
            "at least 1s, at most 1h",
        ),
        (
            &["mark", "a", "--ttl", "2h"],
            "--ttl (command line)",
            "at least 1s, at most 1h",
        ),
        (
            &["mark", "a", "--pid", "0"],
            "--pid (command line)",
            "not a process id",
        ),
        (
            &["mark", "a", "--pid", "self"],
            "--pid (command line)",
            "not a process id",
        ),
        (
            &["mark", "a", "--detail", "port"],
            "--detail (command line)",
            "KEY=VALUE",
        ),
        (&["mark", "a", "b"], "", "'b'"),
        (
            &["config", "--format", "xml"],
            "--format (command line)",
            "there are text and json",
        ),
    ];
    let container = Container::new();
    let mut problems = Problems::default();
    for (args, at, what) in table {
        problems.one_line(&container.run(*args), USAGE, at, what);
    }
}

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
        ("READY_AGENT", "a\nb", "invalid name \"a b\""),
        ("READY_DIR", "./x", "absolute path"),
        ("READY_CONFIG", "/no/such.toml", "No such file"),
        ("READY_CONFIG", "/no/such\nfile.toml", "No such file"),
        ("READY_FORMAT", "JSON", "there are text and json"),
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

#[test]
fn an_invalid_file_is_one_line_with_its_path() {
    let table: &[(&str, &str, &str)] = &[
        ("timeout = \"5\"", "timeout (", "has no unit"),
        ("timeout = 5", "/", "line 1: "),
        ("\n\ntimeout =", "/", "line 3: "),
        ("grace = \"x\"", "grace (", "or forever"),
        ("agent = [\"a b\"]", "agent (", "invalid name \"a b\""),
        ("agent = \"\"", "agent (", "it names no agent"),
        ("agent = 5", "/", "a text or a list of texts"),
        ("dir = \"x\"", "dir (", "absolute path"),
        ("format = \"xml\"", "format (", "there are text and json"),
        ("quiet = \"hUnTeR2\"", "/", "expected a boolean"),
        ("verbose = 1", "/", "expected a boolean"),
        ("timeuot = \"5s\"", "/", "unknown field `timeuot`"),
        ("\"a\\nb\" = \"hUnTeR2\"", "/", "unknown field `a b`"),
        ("check = \"redis://:hUnTeR2@h\"", "/", "line 1: "),
        ("check = [\"redis://:hUnTeR2@h\"]", "/", "line 1: "),
        ("[check]\ntarget = \"redis://:hUnTeR2@h\"", "/", "line 1: "),
        ("[[check]]\ntarget = \"redis://:hUnTeR2@h", "/", "line 2: "),
        ("[[check]]\ntarget = redis://:hUnTeR2@h", "/", "line 2: "),
        (
            "[[check]]\ntarget = \"redis://:hUnTeR2@h\"\ntarget = 1",
            "/",
            "line 3: ",
        ),
        ("[[check]]", "check 1 (", "it needs target = "),
        (
            "[[check]]\ntarget = 5",
            "check 1 (",
            "target must be a text",
        ),
        (
            "[[check]]\nany = \"tcp://h:1\"",
            "check 1 (",
            "any must be a list of texts",
        ),
        ("[[check]]\nany = []", "check 1 (", "at least one target"),
        (
            "[[check]]\nany = [\"tcp://h:1\", 5]",
            "check 1 (",
            "any must be a list of texts",
        ),
        (
            "[[check]]\nany = [\"redis://:hUnTeR2@\"]",
            "check 1 (",
            "\"redis:…\"",
        ),
        (
            "[[check]]\nany = [\"tcp://h:1\"]\nmin = 2",
            "check 1 (",
            "\"min\" is no option of any",
        ),
        (
            "[[check]]\nany = [\"tcp://h:1\"]\ntarget = \"tcp://h:1\"",
            "check 1 (",
            "both target and any",
        ),
        (
            "[[check]]\ntarget = \"tcp://h:1\"\n[[check]]\ntarget = \"redis://:hUnTeR2@\"",
            "check 2 (",
            "\"redis:…\"",
        ),
        (
            "[[check]]\ntarget = \"agent:a\"\nmim = 2",
            "check 1 (",
            "\"mim\" is no option of agent",
        ),
        (
            "[[check]]\ntarget = \"agent:a\"\nmin = 0",
            "check 1 (",
            "the option min",
        ),
        (
            "[[check]]\ntarget = \"agent:a\"\nmin = 1.5",
            "check 1 (",
            "the option min",
        ),
        (
            "[[check]]\ntarget = \"agent:a#min=1\"\nmin = 1",
            "check 1 (",
            "given twice",
        ),
        (
            "[[check]]\ntarget = \"redis://:hUnTeR2@h\"\nvalue = { a = \"hUnTeR2\" }",
            "check 1 (",
            "the option value must be a text",
        ),
        (
            "[[check]]\ntarget = \"agent:a\"\noptional = \"hUnTeR2\"",
            "check 1 (",
            "optional",
        ),
    ];
    let container = Container::new();
    let mut problems = Problems::default();
    for (text, at, what) in table {
        let file = container.file("probe.toml", text);
        let path = file.to_str().unwrap();
        let at = match at.strip_suffix('(') {
            Some(key) => format!("{key}({path}): "),
            None => format!("{path}: "),
        };
        let run = run(container
            .probe([""; 0])
            .env("READY_CONFIG", &file)
            .env_remove("READY_DIR"));
        problems.one_line(&run, CONFIG, &at, what);
    }
}
