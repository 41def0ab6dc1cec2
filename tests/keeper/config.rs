//! `config`: what would be done, and where each setting came from.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use ready_probe_test_support::process::{Run, keeper_binary, run, run_within, workspace_root};
use serde_json::{Value, json};

use crate::host::Host;

const TOML: &str = r#"[keeper]
interval = "15s"
container = "here"

[alert.ops]
kind = "ntfy"
url = "https://user:Sesam01@ntfy.example.com/SecretTopic"
token_file = "/run/secrets/ntfy-token"

[alert.chat]
kind = "webhook"
url_file = "/run/secrets/chat"
field = "text"

[[service]]
name = "api"
check = ["http://user:Sesam02@localhost:8080/health?key=Sesam03", "tcp://db:5432", "exec:check --password=Sesam04"]
restart = "API_KEY=Sesam05 /usr/bin/api --token=Sesam06 &"
stop = { process = "api", wait = "20s" }
needs = ["db", "redis://:Sesam07@localhost:6379"]
inhibit = ["disk:/#free=2%"]
restart_on = ["not_ready"]
hung_after = "90s"
alert = ["ops", "chat"]

[[service]]
name = "db"
check = ["process:postgres"]
restart = """AUTH="Bearer Sesam09" curl -X POST localhost/start"""
"#;

fn ask(host: &Host, file: &str, args: &[&str]) -> Run {
    let mut command = Command::new(keeper_binary());
    command
        .arg("config")
        .arg("--config")
        .arg(host.path(file))
        .args(args)
        .env_clear()
        .env("READY_KEEPER_NTFY_URL", "https://:Sesam08@ntfy.example.com")
        .env("READY_KEEPER_COOLDOWN", "5m")
        .env("READY_KEEPER_NTFY_URLS", "x");
    run_within(&mut command, Duration::from_secs(30))
}

/// The lines with single blanks, and without the folder.
fn lines(host: &Host, run: &Run) -> Vec<String> {
    let folder = format!("{}/", host.path("").display());
    let folder = folder.replace("//", "/");
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines = run.stdout.lines();
    lines
        .map(|line| words(&line.replace(&folder, "")))
        .collect()
}

#[test]
fn each_setting_is_told_with_its_origin_and_no_secret() {
    let host = Host::new();
    host.write("services.toml", TOML);
    let text = ask(
        &host,
        "services.toml",
        &[
            "--dry-run",
            "--state",
            "/var/lib/other",
            "--metrics-listen",
            "9464",
        ],
    );
    assert_eq!((text.code(), text.stderr.as_str()), (0, ""), "{text:?}");
    let want = "\
config services.toml --config (command line)
state /var/lib/other --state (command line)
manual_stop /var/run/manual-stop default
container here line 3 (services.toml)
dry_run true --dry-run (command line)
metrics_listen 127.0.0.1:9464 --metrics-listen (command line)
service api
own http://***@localhost:8080/health?*** line 17 (services.toml)
dependency tcp://db:5432 line 17 (services.toml)
own exec:check … line 17 (services.toml)
interval 15s line 2 (services.toml)
timeout 5s default
restart /usr/bin/api … line 18 (services.toml)
stop.process api line 19 (services.toml)
stop.signal TERM default
stop.wait 20s line 19 (services.toml)
needs db, redis://***@localhost:6379 line 20 (services.toml)
inhibit disk:/#free=2% line 21 (services.toml)
hung_after 1m30s line 23 (services.toml)
startup 1m default
startup_delay 5s default
attempts 3 default
max_restarts 5 default
window 1h default
give_up slow default
restart_on not_ready line 22 (services.toml)
restart_with none default
log none default
alert ops, chat line 24 (services.toml)
service db
own process:postgres line 28 (services.toml)
interval 15s line 2 (services.toml)
timeout 5s default
restart … line 29 (services.toml)
stop none default
needs none default
inhibit none default
hung_after 1m default
startup 1m default
startup_delay 5s default
attempts 3 default
max_restarts 5 default
window 1h default
give_up slow default
restart_on none default
restart_with none default
log none default
alert none default
alert chat
kind webhook line 11 (services.toml)
url_file /run/secrets/chat line 12 (services.toml)
field text line 13 (services.toml)
alert ops
kind ntfy line 6 (services.toml)
url *** line 7 (services.toml)
token_file /run/secrets/ntfy-token line 8 (services.toml)
note READY_KEEPER_COOLDOWN is set, but ready-keeper has no such variable
note READY_KEEPER_NTFY_URLS is set, but ready-keeper has no such variable";
    assert_eq!(lines(&host, &text), want.lines().collect::<Vec<_>>());
    let json = ask(&host, "services.toml", &["--format", "json"]);
    for secret in ["Sesam", "SecretTopic", "ntfy.example.com"] {
        assert!(!text.stdout.contains(secret), "{text:?}");
        assert!(!json.stdout.contains(secret), "{json:?}");
    }
    assert!(!host.path("state").exists());
}

#[test]
fn the_same_is_told_in_json() {
    let host = Host::new();
    host.write("services.toml", TOML);
    let run = ask(
        &host,
        "services.toml",
        &["--container", "here", "--format", "json"],
    );
    assert_eq!(run.code(), 0, "{run:?}");
    let told: Value = serde_json::from_str(&run.stdout).unwrap();
    let at = |line: u8| format!("line {line} ({})", host.path("services.toml").display());
    assert_eq!(
        told["settings"]["container"],
        json!({"value": "here", "origin": "--container (command line)"})
    );
    assert_eq!(
        told["settings"]["state"],
        json!({"value": "/var/lib/ready-keeper", "origin": "default"})
    );
    let api = &told["services"][0];
    assert_eq!(api["name"], "api");
    assert_eq!(
        api["checks"][1],
        json!({"target": "tcp://db:5432", "scope": "dependency", "origin": at(17)})
    );
    assert_eq!(
        api["settings"]["stop.wait"],
        json!({"value": "20s", "origin": at(19)})
    );
    assert_eq!(told["alerts"][1]["name"], "ops");
    assert_eq!(
        told["alerts"][1]["settings"]["url"],
        json!({"value": "***", "origin": at(7)})
    );
    assert_eq!(
        told["unknown_variables"],
        json!(["READY_KEEPER_COOLDOWN", "READY_KEEPER_NTFY_URLS"])
    );
}

#[test]
fn the_json_of_services_is_told_in_the_same_words() {
    let host = Host::new();
    host.services(&[(
        "minio",
        json!({
            "health_check": {"type": "http", "endpoint": "http://localhost:9000/live", "interval_seconds": 60, "colour": 1},
            "restart_cmd": "/usr/local/bin/minio server /data &",
            "notify_on_fail": "SecretTopic",
        }),
    )]);
    let run = ask(&host, "services.json", &[]);
    assert_eq!((run.code(), run.stderr.as_str()), (0, ""), "{run:?}");
    let told = lines(&host, &run);
    for line in [
        "container none default",
        "own HTTP GET http://localhost:9000/live health_check (services.json)",
        "interval 1m health_check.interval_seconds (services.json)",
        "timeout 5s default",
        "restart /usr/local/bin/minio … restart_cmd (services.json)",
        "startup 0ms default",
        "startup_delay 0ms startup_delay_seconds (services.json)",
        "alert Se… notify_on_fail (services.json)",
        "alert ntfy's topic Se…",
        "url *** READY_KEEPER_NTFY_URL (environment)",
        "topic Se… notify_on_fail (services.json)",
        "note minio: health_check: the key \"colour\" means nothing here",
        "note taken for container \"services\", in which all services are: --container says otherwise",
    ] {
        assert!(told.iter().any(|it| it == line), "{line}: {told:#?}");
    }
    assert!(!run.stdout.contains("Sesam"), "{run:?}");
}

#[test]
fn a_container_is_told_with_where_its_engine_is() {
    let host = Host::new();
    let text = "[[service]]\nname = \"web\"\ncontainer = \"shop-web-1\"\n[[service]]\nlabel = \"ready-keeper=true\"\n";
    host.write("services.toml", text);
    let mut command = Command::new(keeper_binary());
    command
        .arg("config")
        .arg("--config")
        .arg(host.path("services.toml"));
    command.env_clear().env("DOCKER_HOST", "tcp://proxy:2375");
    // The engine is not asked: nobody is there.
    let told = lines(&host, &run(&mut command));
    for line in [
        "engine tcp://proxy:2375 DOCKER_HOST (environment)",
        "own container shop-web-1 line 3 (services.toml)",
        "own every container with this label line 5 (services.toml)",
        "restart by its engine default",
        "restart_exited false default",
    ] {
        assert!(told.iter().any(|it| it == line), "{line}: {told:#?}");
    }
}

#[test]
fn the_page_shows_what_is_printed() {
    let page = fs::read_to_string(workspace_root().join("docs/keeper-settings.md")).unwrap();
    let block = |language: &str, heading: &str| {
        let after = page.split(&format!("## {heading}\n")).nth(1).unwrap();
        let block = after.split(&format!("```{language}\n")).nth(1).unwrap();
        block.split("```").next().unwrap().to_owned()
    };
    let host = Host::new();
    host.write("services.toml", &block("toml", "`stop`"));
    let mut command = Command::new(keeper_binary());
    command
        .args(["config", "--config"])
        .arg(host.path("services.toml"));
    let run = run(command.env_clear());
    let shown = block("console", "What would be done");
    let (typed, shown) = shown.split_once('\n').unwrap();
    assert_eq!(typed, "$ ready-keeper config --config /etc/services.toml");
    let shown = shown.replace("/etc/services.toml", "services.toml");
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(
        lines(&host, &run),
        shown.lines().map(words).collect::<Vec<_>>()
    );
}

#[test]
fn whoever_stops_reading_makes_no_failure_and_a_full_disk_is_told() {
    let host = Host::new();
    host.write("services.toml", TOML);
    let told = |stdout: Stdio| {
        let mut command = Command::new(keeper_binary());
        command
            .args(["config", "--config"])
            .arg(host.path("services.toml"));
        let child = command.stdout(stdout).stderr(Stdio::piped()).spawn();
        let output = child.unwrap().wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), said)
    };
    let (reader, writer) = UnixStream::pair().unwrap();
    drop(reader);
    let closed = told(Stdio::from(OwnedFd::from(writer)));
    assert_eq!(closed, (Some(0), String::new()));
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let (status, said) = told(Stdio::from(full));
    assert_eq!(status, Some(74), "{said}");
    assert!(
        said.starts_with("ready-keeper: standard output can't be written: No space left"),
        "{said}"
    );
}

#[test]
fn without_a_file_it_is_64() {
    let run = run(Command::new(keeper_binary()).arg("config"));
    assert_eq!(run.code(), 64, "{run:?}");
    assert_eq!(
        run.stderr,
        "ready-keeper: --config is missing: it names the file of services\n"
    );
}
