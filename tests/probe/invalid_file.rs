//! A configuration file that can't be used is one line that says where in it, and exit status 78.

use ready_probe_test_support::process::run;

use crate::container::Container;
use crate::problems::{CONFIG, Problems, USAGE};

#[test]
fn an_invalid_file_is_one_line_with_its_path() {
    let table: &[(&str, &str, &str)] = &[
        ("timeout = \"5\"", "timeout (", "has no unit"),
        (
            "timeout = 5",
            "/",
            "line 1: timeout: invalid type, expected a string",
        ),
        ("\n\ntimeout =", "/", "line 3: "),
        ("grace = \"x\"", "grace (", "or forever"),
        ("agent = [\"a b\"]", "agent (", "invalid name \"a b\""),
        ("agent = \"\"", "agent (", "it names no agent"),
        ("agent = 5", "/", "a text or a list of texts"),
        ("dir = \"x\"", "dir (", "absolute path"),
        (
            "format = \"xml\"",
            "format (",
            "there are text, json and prometheus",
        ),
        (
            "quiet = \"hUnTeR2\"",
            "/",
            "line 1: quiet: invalid type, expected a boolean",
        ),
        ("verbose = 1", "/", "expected a boolean"),
        ("timeuot = \"5s\"", "/", "unknown field `timeuot`"),
        ("\"a\\nb\" = \"hUnTeR2\"", "/", "unknown field `a b`"),
        (
            "check = \"redis://:hUnTeR2@h\"",
            "/",
            "line 1: each check is written [[check]]",
        ),
        ("check = [\"redis://:hUnTeR2@h\"]", "/", "line 1: "),
        (
            "[check]\ntarget = \"redis://:hUnTeR2@h\"",
            "/",
            "line 1: each check is written [[check]]",
        ),
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
            // Of a server that is gone it is not known whether it is red.
            "[[check]]\nany = [\"http://127.0.0.1:1/#json=/status=red\"]\nnot = true",
            "check 1 (",
            "not is no option of any",
        ),
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
            "[[check]]\ntarget = \"http://h\"\nheader = []",
            "check 1 (",
            "the option header is an empty list",
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

#[test]
fn what_is_wrong_with_the_content_is_the_files_and_a_path_that_cannot_be_read_is_who_named_it() {
    let container = Container::new();
    let mut problems = Problems::default();
    let contents: &[(&[u8], &str)] = &[
        (b"timeout = \"\xff\"", "not UTF-8"),
        (
            b"\xef\xbb\xbftimeout = \"5s\"",
            "it begins with a byte order mark; save it as UTF-8 without one",
        ),
        (&[b'#'; 65_537], "larger than 64 KiB"),
        (b"timeout = ", "line 1: "),
    ];
    for (content, what) in contents {
        let file = container.file("probe.toml", content);
        let run = container.run(["--config", file.to_str().unwrap(), "agent:a"]);
        let at = format!("{}: {what}", file.display());
        problems.one_line(&run, CONFIG, &at, what);
    }
    for path in ["/no/such.toml", "/proc"] {
        let run = container.run(["--config", path, "agent:a"]);
        problems.one_line(&run, USAGE, "--config (command line): ", path);
    }
}
