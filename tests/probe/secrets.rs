//! An unusual text is planted wherever a setting can hold a secret, and looked for in everything that
//! comes out.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use data_encoding::BASE64;
use ready_probe_test_support::hostile::refused_port;
use ready_probe_test_support::process::{Guard, run};
use serde_json::json;

use crate::container::{Container, assert_mentions, row};
use crate::records::publish;

/// Needs encoding in a URL, and is told apart from everything else.
const SECRET: &str = "zQ9/un@us#ual";
const ENCODED: &str = "zQ9%2Fun%40us%23ual";
/// What a report must not hold: parts of it, so that no encoding of the rest hides it.
const TRACES: [&str; 2] = ["zQ9", "un@us"];

/// A server that greets with `greeting` and sends back what it receives, once.
fn echo(greeting: &'static str, before: &'static str, after: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // Ends with the process: it waits for the next connection then.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream: TcpStream = stream.unwrap();
            let mut bytes = [0; 8_192];
            let _ = stream.write_all(greeting.as_bytes());
            let n = stream.read(&mut bytes).unwrap_or(0);
            let said = String::from_utf8_lossy(&bytes[..n]).replace(['\r', '\n'], " ");
            let _ = stream.write_all(format!("{before}{said}{after}").as_bytes());
            let _ = stream.shutdown(Shutdown::Write);
        }
    });
    port
}

/// Where a secret can stand in a target: `{S}` as it is, `{E}` encoded, `{P}` a port, `{F}` a file with it.
const TARGETS: &[&str] = &[
    "redis://:{E}@127.0.0.1:{P}",
    "redis://user:{E}@127.0.0.1:{P}/1",
    "redis://127.0.0.1:{P}?password={E}&x=y",
    "redis://127.0.0.1:{P}?username=u&password={E}",
    "redis://127.0.0.1:{P}#key=k&value={E}",
    "redis://:{E}@127.0.0.1:{P},127.0.0.1:{P}",
    "redis://:{E}@127.0.0.1:{P},redis://:{E}@127.0.0.1:{P}",
    "redis+unix:///no/such.sock?password={E}",
    "rediss://:{E}@127.0.0.1:{P}#insecure",
    "nats://user:{E}@127.0.0.1:{P}",
    "nats://{E}@127.0.0.1:{P}",
    "nats://127.0.0.1:{P}#token_file={F}",
    "nats://127.0.0.1:{P}#nkey={F}",
    "nats://127.0.0.1:{P}#creds={F}",
    "tls://user:{E}@127.0.0.1:{P}",
    "nats://user:{E}@127.0.0.1:{P}#jetstream",
    "http://user:{E}@127.0.0.1:{P}/",
    "http://{E}@127.0.0.1:{P}/",
    "http://127.0.0.1:{P}/?token={E}",
    "http://127.0.0.1:{P}/?{E}",
    "http://127.0.0.1:{P}/#header=Authorization:Bearer%20{E}",
    "http://127.0.0.1:{P}/#header=X-Key:{E}&json=/said=x",
    "http://user:{E}@127.0.0.1:{P}/?t={E}#json=/said=x&contains=none",
    "https://user:{E}@127.0.0.1:{P}/?t={E}#insecure",
    "exec:sh -c 'exit 1' '{S}'",
    "exec:sh -c 'echo redis://u:{E}@h; exit 1' '{S}'",
];

/// Ways to make the same target unusable.
const BREAKAGES: &[&str] = &[
    "&nonsense=1",
    "&timeout=5",
    "&name=%ff",
    "&optional=maybe",
    "&scope=x",
];

fn fill(template: &str, port: u16, file: &str) -> String {
    template
        .replace("{S}", SECRET)
        .replace("{E}", ENCODED)
        .replace("{P}", &port.to_string())
        .replace("{F}", file)
}

#[track_caller]
fn assert_clean(what: &str, command: &mut Command) {
    let run = run(command);
    let all = format!("{}{}", run.stdout, run.stderr);
    assert!(
        !all.is_empty(),
        "{what}: nothing was said, so nothing is proved"
    );
    let base64 = BASE64.encode(format!("user:{SECRET}").as_bytes());
    for trace in TRACES.iter().chain(&[base64.as_str()]) {
        assert!(!all.contains(trace), "{trace} in {what}:\n{all}");
    }
}

#[test]
fn no_output_of_any_command_holds_a_secret() {
    let dead = refused_port().port();
    let ports = [
        dead,
        echo("", "-ERR said ", "\r\n"),
        echo("INFO {}\r\n", "-ERR 'said ", "'\r\n"),
        echo("", "HTTP/1.1 500 said\r\nContent-Length: 2\r\n\r\n", ""),
        echo("", "HTTP/1.1 200 OK\r\n\r\n{\"said\":\"", "\"}"),
        echo("", "", "\r\n"),
    ];
    let container = Container::new();
    let file = container.file("secret", format!("{SECRET}\n"));
    for template in TARGETS {
        for port in ports {
            let target = fill(template, port, file.to_str().unwrap());
            let mut probe = container.probe(["-v", &target]);
            assert_clean(template, probe.env("READY_TIMEOUT", "500ms"));
        }
    }
    let memory = std::fs::read_to_string(container.memory()).unwrap();
    assert!(
        TRACES.iter().all(|trace| !memory.contains(trace)),
        "{memory}"
    );
}

#[test]
fn a_short_secret_garbles_no_words_of_our_own() {
    let dead = refused_port().port();
    let container = Container::new();
    let process = Guard::spawn(Command::new("sleep").arg("1000"));
    let pid = process.pid();
    publish(&container, "gone", pid, |_| {});
    publish(&container, "talker", pid, |record| {
        record["state"] = "not_ready".into();
        record["reason"] = "no cookie".into();
    });
    let says = container.ask("agent:talker");
    assert_mentions(&says, 1, &["agent talker: not_ready: no cookie"]);
    let run = run(container
        .probe([""; 0])
        .env("REDIS_URL", format!("redis://:o@127.0.0.1:{dead}"))
        .env("NATS_URL", format!("nats://e@127.0.0.1:{dead}"))
        .env("READY_AGENT", "talker,absent"));
    let refused = "connection refused; it has never passed";
    for (label, said) in [
        ("agent:talker", "not_ready: n*** c******ki***"),
        (
            "agent:absent",
            "no signal published; others have: gone, talker",
        ),
        (&format!("redis://***@127.0.0.1:{dead}"), refused),
        (&format!("nats://***@127.0.0.1:{dead}"), refused),
    ] {
        assert_eq!(row(&run, label).1, said);
    }
    drop(process);
    let gone = container.run(["agent:gone", &format!("redis://:o@127.0.0.1:{dead}")]);
    assert_mentions(&gone, 1, &[&format!("process {pid} is gone")]);
}

#[test]
fn neither_config_nor_wait_nor_json_holds_a_secret() {
    let container = Container::new();
    let file = container.file("secret", SECRET);
    let dead = refused_port().port();
    for template in TARGETS {
        let target = fill(template, dead, file.to_str().unwrap());
        assert_clean(template, &mut container.probe(["config", &target]));
        assert_clean(
            template,
            &mut container.probe(["config", "--format=json", &target]),
        );
        assert_clean(template, &mut container.probe(["--format=json", &target]));
        assert_clean(
            template,
            &mut container.probe(["-v", "wait", "--for=10ms", &target]),
        );
        // A name that a user gives is printed as it is given; the target behind it is not.
        let named = if target.contains('#') {
            "&name=n"
        } else {
            "#name=n"
        };
        assert_clean(template, &mut container.probe([format!("{target}{named}")]));
    }
}

#[test]
fn no_error_holds_a_secret_wherever_the_target_stands() {
    let container = Container::new();
    for template in TARGETS {
        let target = fill(template, 1, "/x");
        // The fragment of a command begins only where all behind it are options.
        if target.starts_with("exec:") {
            continue;
        }
        for breakage in BREAKAGES {
            let separator = if target.contains('#') { "" } else { "#x" };
            let broken = format!("{target}{separator}{breakage}");
            assert_clean(&broken, &mut container.probe([&broken]));
            let quoted = format!("'{}'", broken.replace('\'', r"'\''"));
            assert_clean(
                &broken,
                container.probe([""; 0]).env("READY_CHECKS", &quoted),
            );
            let toml = container.file("probe.toml", format!("[[check]]\ntarget = {broken:?}\n"));
            assert_clean(&broken, container.probe([""; 0]).env("READY_CONFIG", toml));
            for variable in ["REDIS_URL", "NATS_URL"] {
                assert_clean(&broken, container.probe([""; 0]).env(variable, &broken));
            }
        }
    }
}

#[test]
fn an_address_that_was_not_encoded_is_not_printed_either() {
    let container = Container::new();
    for url in [
        "redis://:zQ9/un@us@127.0.0.1:1",
        "redis://:zQ9#un@us@127.0.0.1:1",
        "redis://:zQ9?un@us@127.0.0.1:1",
        "redis://user:zQ9 un@us@127.0.0.1:1",
        "nats://user:zQ9,un@us@127.0.0.1:1",
        "nats://zQ9@us:un@us@127.0.0.1:1/zQ9",
        "http://user:zQ9/un@us@127.0.0.1:1/",
        "http://user:zQ9#un@us@127.0.0.1:1/",
        "zQ9un@us",
        "zQ9un@us:1:2:3",
        "user:zQ9un@us@127.0.0.1:1",
        "//user:zQ9un@us@h",
        "redis:zQ9un@us",
    ] {
        assert_clean(url, &mut container.probe(["-v", url]));
        assert_clean(url, &mut container.probe(["config", url]));
        for variable in ["REDIS_URL", "NATS_URL"] {
            assert_clean(url, container.probe([""; 0]).env(variable, url));
            assert_clean(url, container.probe(["config"]).env(variable, url));
            let file = container.file("url", url);
            assert_clean(
                url,
                container
                    .probe([""; 0])
                    .env(format!("{variable}_FILE"), file),
            );
        }
        let quoted = format!("'{url}'");
        assert_clean(url, container.probe([""; 0]).env("READY_CHECKS", quoted));
    }
}

#[test]
fn what_a_command_repeats_of_a_secret_is_hidden_however_it_is_encoded() {
    let container = Container::new();
    for said in [
        "zQ9%2Fun%40us%23ual",
        "zQ9%2fun@us%23ual",
        "zQ9%252Fun%2540us",
        r"zQ9\/un\u0040us#ual",
        "zQ9&#x2f;un&#64;us#ual",
        r"zQ9/un\@us\#ual",
        "connecting to redis://u:zQ9#un@us/x y@h failed",
        "connecting to redis://u:zQ9 un@us/x y@h failed",
    ] {
        let said = container.file("said", said);
        let target = format!("exec:sh -c 'cat {}; exit 1'", said.display());
        let mut probe = container.probe([""; 0]);
        probe
            .env("REDIS_URL", format!("redis://:{ENCODED}@127.0.0.1:1"))
            .env("READY_CHECKS", format!("\"{target}\""));
        assert_clean(&target, &mut probe);
    }
}

#[test]
fn what_a_record_repeats_of_a_secret_is_hidden() {
    let container = Container::new();
    let process = Guard::spawn(Command::new("sleep").arg("1000"));
    publish(&container, "w", process.pid(), |record| {
        record["announced"] = json!({
            "store": format!("redis://:{SECRET}@redis"), "ok": false, "reason": format!("bad {SECRET}"),
        });
        record["details"] =
            json!({ "said": [format!("bad {SECRET}")], (format!("a {SECRET}")): 1 });
        record["host"] = json!(SECRET);
        record["sdk"] = json!(SECRET);
    });
    let store = format!("redis://:{ENCODED}@127.0.0.1:{}", refused_port().port());
    for args in [
        &["agent:w"][..],
        &["agent:w", "--format", "json"],
        &["list", "--wide"],
        &["list", "--format", "json"],
    ] {
        let mut probe = container.probe(args);
        probe.env("READY_STORE", &store);
        assert_clean(&args.join(" "), &mut probe);
        assert!(run(&mut probe).stdout.contains('w'), "{args:?}");
    }
}

#[test]
fn a_secret_at_the_end_of_what_is_kept_of_an_output_is_hidden() {
    let container = Container::new();
    for kept in 1..ENCODED.len() {
        let blanks = "\n".repeat(4_096 - kept);
        let said = container.file("said", blanks + ENCODED);
        let mut probe = container.probe([""; 0]);
        probe
            .env("REDIS_URL", format!("redis://:{ENCODED}@127.0.0.1:1"))
            .env(
                "READY_CHECKS",
                format!("\"exec:sh -c 'cat {}; exit 1'\"", said.display()),
            );
        let run = run(&mut probe);
        // Of a run of these it says since when it fails.
        let told = row(&run, "exec:sh …").1;
        let (told, _) = told.split_once(", for ").unwrap_or((told, ""));
        assert_eq!(told, "exit status 1: ***", "{kept}: {run:?}");
    }
}
