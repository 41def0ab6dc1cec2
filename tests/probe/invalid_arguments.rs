//! An argument that can't be used is one line that says which, and exit status 64.

use crate::container::Container;
use crate::problems::{Problems, USAGE};

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
            "there are text, json and prometheus",
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
            &["http://bücher.example/"],
            "TARGET (command line)",
            "a host with letters beyond ASCII is written in Punycode, beginning with xn--",
        ),
        (
            &["redis://bücher.example"],
            "TARGET (command line)",
            "a host with letters beyond ASCII is written in Punycode, beginning with xn--",
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
            "the same scheme",
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
        (
            &["tcp://h"],
            "TARGET (command line)",
            "\"tcp:…\": it needs a port",
        ),
        (&["tcp://h:0"], "TARGET (command line)", "port 0"),
        (&["http:///x"], "TARGET (command line)", "it names no host"),
        (
            &["unix:///tmp/x?y"],
            "TARGET (command line)",
            "with nothing behind it",
        ),
        (
            &["rediss://u:hUnTeR2@h?ssl_cert_reqs=bogus"],
            "TARGET (command line)",
            "ssl_cert_reqs must be none, optional or required",
        ),
        (
            &["redis://u:hUn/TeR2@h"],
            "TARGET (command line)",
            "a / in a password is written %2F",
        ),
        (
            &["redis://u:8/hUnTeR2@h"],
            "TARGET (command line)",
            "a / in a password is written %2F",
        ),
        (
            &["redis://a/1,b/2"],
            "TARGET (command line)",
            "must have the same path",
        ),
        (
            &["agent:a#name=%zz"],
            "TARGET (command line)",
            "a % in an option is written %25",
        ),
        (
            &["agent:a#name=1%x"],
            "TARGET (command line)",
            "a % in an option is written %25",
        ),
        (
            &["help"],
            "TARGET (command line)",
            "there is no command help, and a target is written SCHEME:…; see ready-probe --help",
        ),
        (&["check", "agent:a"], "", "see ready-probe --help"),
        (
            &["--config="],
            "--config (command line)",
            "it names no file",
        ),
        (
            &["--config=/no/such.toml"],
            "--config (command line)",
            "/no/such.toml: No such file",
        ),
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
        (
            &["mark", "a", "--detail", "x=1", "--detail", "x=2"],
            "--detail (command line)",
            "\"x\" is given twice",
        ),
        (
            &["mark", "a", "--not-ready", " "],
            "--not-ready (command line)",
            "it needs a reason",
        ),
        (&["mark", "a", "b"], "", "'b'"),
        (
            &["config", "--format", "xml"],
            "--format (command line)",
            "there are text, json and prometheus",
        ),
    ];
    let container = Container::new();
    let mut problems = Problems::default();
    for (args, at, what) in table {
        problems.one_line(&container.run(*args), USAGE, at, what);
    }
}
