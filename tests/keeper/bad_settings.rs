//! Settings in TOML that can't be used: one clear line, 78, and nothing is restarted.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::time::Duration;

use ready_probe_test_support::process::{Run, run_within};

use crate::host::Host;

const FILE: &str = "services.toml";

/// A service that is down, and would be restarted.
fn down(host: &Host) -> String {
    let (never, tries) = (host.path("never"), host.path("tries"));
    let (never, tries) = (never.display(), tries.display());
    format!(
        "[[service]]\nname = \"x\"\ncheck = [\"file:{never}\"]\nstartup = \"0s\"\nrestart = \"echo x >> {tries}\"\n"
    )
}

fn ask(host: &Host, command: &str) -> Run {
    run_within(&mut host.keep_file(command, FILE), Duration::from_secs(30))
}

/// Every command refuses it, in the same words.
fn refused(host: &Host, what: &str, commands: &[&str], want: &str) {
    for command in commands {
        let run = ask(host, command);
        assert_eq!(run.code(), 78, "{what}: {command}: {run:?}");
        assert_eq!(run.stderr.lines().count(), 1, "{what}: {run:?}");
        assert!(
            run.stderr.starts_with("ready-keeper: ") && run.stderr.contains(want),
            "{what}: {command}: {want:?} is missing: {run:?}"
        );
        assert_eq!((run.stdout.as_str(), host.read("tries").as_str()), ("", ""));
    }
}

const ALL: &[&str] = &["once", "run", "config"];

#[test]
fn every_wrong_key_is_named_with_its_line() {
    let host = Host::new();
    let service = down(&host);
    // A key of the service stands in line 6 then, one of `[keeper]` and `[alert.ops]` in line 2.
    let rows: &[(&str, &str)] = &[
        // Misspelt.
        (
            "[keepr]\n",
            "line 1: there is no key \"keepr\": is keeper meant?",
        ),
        (
            "[[sevice]]\n",
            "line 1: there is no key \"sevice\": is service meant?",
        ),
        (
            "[keeper]\nintervall = \"30s\"\n",
            "line 2: [keeper]: there is no key \"intervall\": is interval meant?",
        ),
        (
            "[alert.ops]\nkidn = \"ntfy\"\n",
            "line 2: [alert.ops]: there is no key \"kidn\": is kind meant?",
        ),
        (
            "restat = \"x\"",
            "line 6: service x: there is no key \"restat\": is restart meant?",
        ),
        (
            "stop = { proces = \"x\" }",
            "line 6: service x: stop: there is no key \"proces\": is process meant?",
        ),
        // Of another type.
        (
            "[keeper]\ninterval = 30\n",
            "line 2: [keeper]: interval: a time is expected, as \"30s\"",
        ),
        (
            "[keeper]\ndry_run = \"yes\"\n",
            "line 2: [keeper]: dry_run: true or false is expected",
        ),
        (
            "[keeper]\ncontainer = 1\n",
            "line 2: [keeper]: container: a text that is not empty is expected",
        ),
        (
            "[alert.ops]\nkind = 1\n",
            "line 2: [alert.ops]: kind: a text that is not empty is expected",
        ),
        (
            "[alert.ops]\nurl = 1\nkind = \"ntfy\"\n",
            "line 2: [alert.ops]: url: a text that is not empty is expected",
        ),
        (
            "timeout = 5",
            "line 6: service x: timeout: a time is expected, as \"30s\"",
        ),
        (
            "stop = \"x\"",
            "line 6: service x: stop: a table is expected",
        ),
        (
            "needs = 1",
            "line 6: service x: needs: a list of texts is expected",
        ),
        (
            "needs = [1]",
            "line 6: service x: needs: a list of texts is expected",
        ),
        (
            "inhibit = { a = 1 }",
            "line 6: service x: inhibit: a list of texts is expected",
        ),
        (
            "hung_after = 60",
            "line 6: service x: hung_after: a time is expected",
        ),
        (
            "startup_delay = 5",
            "line 6: service x: startup_delay: a time is expected",
        ),
        (
            "attempts = \"3\"",
            "line 6: service x: attempts: a number from 1 to 100 is expected",
        ),
        (
            "attempts = 1.5",
            "line 6: service x: attempts: a number from 1 to 100 is expected",
        ),
        (
            "max_restarts = 0",
            "line 6: service x: max_restarts: a number from 1 to 1000 is expected",
        ),
        (
            "window = 3600",
            "line 6: service x: window: a time is expected",
        ),
        (
            "give_up = true",
            "line 6: service x: give_up: a text that is not empty is expected",
        ),
        (
            "restart_on = 1",
            "line 6: service x: restart_on: a list of texts is expected",
        ),
        (
            "restart_with = 1",
            "line 6: service x: restart_with: a list of texts is expected",
        ),
        (
            "log = []",
            "line 6: service x: log: a text that is not empty is expected",
        ),
        (
            "alert = 1",
            "line 6: service x: alert: a list of texts is expected",
        ),
        // In another unit, or without one.
        (
            "[keeper]\ninterval = \"30\"\n",
            "line 2: [keeper]: interval: \"30\" ",
        ),
        (
            "[keeper]\ninterval = \"500ms\"\n",
            "line 2: [keeper]: interval: it is at least 1s",
        ),
        (
            "hung_after = \"1 lightyear\"",
            "line 6: service x: hung_after: \"1 lightyear\" ",
        ),
        (
            "window = \"30s\"",
            "line 6: service x: window: 5 restarts take 2m28s at least",
        ),
        // One where there are several, and the other way round.
        ("[service]\nname = \"y\"\n", "service"),
        (
            "[[keeper]]\ninterval = \"30s\"\n",
            "line 1: keeper: a table is expected",
        ),
        (
            "[[alert]]\nkind = \"ntfy\"\n",
            "line 1: alert: a table is expected",
        ),
        (
            "[[alert.ops]]\nkind = \"ntfy\"\n",
            "[alert]: ops: a table is expected",
        ),
        (
            "stop = [{ process = \"x\" }]",
            "line 6: service x: stop: a table is expected",
        ),
        // What can't work.
        (
            "[alert.ops]\ntopic = \"x\"\n",
            "line 2: [alert.ops]: kind: it is missing",
        ),
        (
            "[alert.ops]\nkind = \"mail\"\n",
            "line 2: [alert.ops]: kind: \"mail\" is none of ntfy, webhook",
        ),
        (
            "[alert.ops]\nkind = \"ntfy\"\n",
            "line 2: [alert.ops]: url: it is missing, and so is url_file",
        ),
        (
            "[alert.ops]\nkind = \"ntfy\"\nurl = \"ntfy.sh/x\"\n",
            "line 3: [alert.ops]: url: it is written https://HOST/…",
        ),
        (
            "[alert.ops]\nkind = \"ntfy\"\nurl = \"https://ntfy.sh\"\n",
            "line 3: [alert.ops]: url: there is no topic",
        ),
        (
            "[alert.ops]\nkind = \"ntfy\"\nurl_file = \"x\"\n",
            "line 3: [alert.ops]: url_file: an absolute path is needed",
        ),
        (
            "[alert.ops]\nkind = \"ntfy\"\nfield = \"text\"\nurl_file = \"/x\"\n",
            "line 3: [alert.ops]: field: only a webhook has one",
        ),
        (
            "[alert.ops]\nkind = \"webhook\"\nurl_file = \"/x\"\nurl = \"https://x/y\"\n",
            "line 3: [alert.ops]: url_file: url is set as well",
        ),
        (
            "alert = [\"ops\"]",
            "line 6: service x: alert: there is no [alert.\"ops\"]",
        ),
        (
            "needs = [\"y\"]",
            "line 6: service x: needs: there is no service \"y\"",
        ),
        (
            "needs = [\"x\"]",
            "these wait for one another in a circle, or for one that does: x",
        ),
        (
            "inhibit = [\"ftp://x\"]",
            "line 6: service x: inhibit: \"ftp:\" is no kind of target",
        ),
        (
            "give_up = \"never\"",
            "line 6: service x: give_up: it is slow, stop or exit",
        ),
        (
            "stop = { process = \"x\", signal = \"STOP\" }",
            "line 6: service x: stop: signal: it is one of TERM",
        ),
        (
            "stop = { pidfile = \"x.pid\" }",
            "line 6: service x: stop: pidfile: an absolute path is expected",
        ),
        ("name = \"y\"", "line 6: not TOML: duplicate key"),
        ("restart", "line 6: not TOML: "),
    ];
    for &(keys, want) in rows {
        // What has tables of its own stands before the service.
        let text = match keys.starts_with('[') {
            true => format!("{keys}{service}"),
            false => format!("{service}{keys}\n"),
        };
        host.write(FILE, &text);
        refused(&host, keys, ALL, want);
    }
}

#[test]
fn who_might_have_written_the_file_is_named() {
    let host = Host::new();
    host.write(FILE, &down(&host));
    let mode = |name: &str, mode| {
        fs::set_permissions(host.path(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(FILE, 0o666);
    refused(
        &host,
        "0666",
        ALL,
        "others may write it, and so decide what is run here: chmod go-w",
    );
    mode(FILE, 0o600);
    mode(".", 0o770);
    refused(
        &host,
        "a group",
        ALL,
        "others may write it, and so decide what is run here: chmod go-w",
    );
    mode(".", 0o700);
    chown(host.path(FILE), Some(65_534), None).unwrap();
    refused(
        &host,
        "nobody's",
        ALL,
        "services.toml: it belongs to user 65534, who would decide what user 0 runs: chown 0",
    );
    fs::remove_file(host.path(FILE)).unwrap();
    refused(
        &host,
        "missing",
        ALL,
        "services.toml: No such file or directory",
    );
    fs::create_dir(host.path(FILE)).unwrap();
    refused(
        &host,
        "a folder",
        ALL,
        "services.toml: it is no regular file",
    );
}

#[test]
fn a_state_that_can_not_be_trusted_or_read_restarts_nothing() {
    const KEEPS: &[&str] = &["once", "run"];
    let host = Host::new();
    host.write(FILE, &down(&host));
    let state = host.path("state");
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
    host.write("state/state.json", "{\"version\": 0}");
    refused(
        &host,
        "another",
        KEEPS,
        "state.json: not what ready-keeper writes",
    );
    fs::remove_file(state.join("state.json")).unwrap();
    fs::create_dir(state.join("state.json")).unwrap();
    refused(&host, "a folder", KEEPS, "state.json: Is a directory");
    fs::remove_dir(state.join("state.json")).unwrap();
    chown(&state, Some(65_534), None).unwrap();
    refused(
        &host,
        "nobody's",
        KEEPS,
        "state: it belongs to user 65534, and this is user 0: chown 0",
    );
    // Who runs there would lose it.
    let pause = host.order(&["pause", "x"]);
    let why = "state: it belongs to user 65534, and this is user 0: run this as user 65534\n";
    assert!(
        pause.code() == 78 && pause.stderr.ends_with(why),
        "{pause:?}"
    );
    fs::remove_dir_all(&state).unwrap();
    host.write("state", "");
    refused(&host, "a file", KEEPS, "--state names another folder");
    // What would be done is told all the same.
    assert_eq!(ask(&host, "config").code(), 0);
}
