//! `[alert.NAME]`: every kind of channel, on servers that refuse what their documentation does not allow.

use std::fs;
use std::time::Duration;

use ready_probe_test_support::http::{HttpServer, Request, Response};
use ready_probe_test_support::ntfy::NtfyServer;
use ready_probe_test_support::process::{Run, free_port, run_within};
use serde_json::{Value, json};

use crate::host::{Host, assert_says};

const FILE: &str = "services.toml";
const PATIENCE: Duration = Duration::from_secs(60);

/// Slack's and Discord's webhooks, and one that takes anything.
///
/// <https://api.slack.com/messaging/webhooks#handling_errors>,
/// <https://discord.com/developers/docs/resources/webhook#execute-webhook>
fn webhooks() -> HttpServer {
    HttpServer::start(|request| {
        let body = body(request);
        let text = |field: &str| body[field].as_str().map_or(0, |text| text.chars().count());
        if request.method != "POST" || request.header("content-type") != Some("application/json") {
            return Response::new(415);
        }
        match request.path.as_str() {
            "/services/T0/B0/SecretHook" if text("text") > 0 => Response::new(200).body("ok"),
            "/services/T0/B0/SecretHook" => Response::new(400).body("no_text"),
            "/api/webhooks/1/SecretHook" if (1..=2_000).contains(&text("content")) => {
                Response::new(204)
            }
            "/api/webhooks/1/SecretHook" => Response::new(400).body("{\"content\": []}"),
            "/all" if body.is_object() => Response::new(202),
            _ => Response::new(404),
        }
    })
}

fn body(request: &Request) -> Value {
    serde_json::from_slice(&request.body).unwrap_or_default()
}

/// A channel of each kind, and one service that is told of to all of them, with these keys.
fn services(host: &Host, ntfy: &NtfyServer, hooks: &HttpServer, keys: &str) -> String {
    let url_file = host.path("url").display().to_string();
    host.write(
        "url",
        &format!("{}\n", hooks.url("/api/webhooks/1/SecretHook")),
    );
    host.write("token", "tk_Sesam01\n");
    let token_file = host.path("token").display().to_string();
    let (up, slack, all) = (
        host.path("up").display().to_string(),
        hooks.url("/services/T0/B0/SecretHook"),
        hooks.url("/all"),
    );
    format!(
        r#"[alert.phone]
kind = "ntfy"
url = "{}"
topic = "SecretTopic"
token_file = "{token_file}"

[alert.slack]
kind = "webhook"
url = "{slack}"
field = "text"

[alert.discord]
kind = "webhook"
url_file = "{url_file}"
field = "content"

[alert.json]
kind = "webhook"
url = "{all}"

[[service]]
name = "svc"
check = ["file:{up}"]
startup = "0s"
startup_delay = "0s"
alert = ["phone", "slack", "discord", "json"]
{keys}
"#,
        ntfy.url()
    )
}

fn once(host: &Host) -> Run {
    run_within(&mut host.keep_file("once", FILE), PATIENCE)
}

fn ntfy() -> NtfyServer {
    NtfyServer::protected("Bearer tk_Sesam01", &["SecretTopic"])
}

fn assert_no_secret(text: &str) {
    for secret in ["Sesam", "Secret"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[test]
fn each_kind_of_channel_is_sent_what_it_takes() {
    let (host, ntfy, hooks) = (Host::new(), ntfy(), webhooks());
    host.write(FILE, &services(&host, &ntfy, &hooks, ""));
    let run = once(&host);
    for name in ["phone", "slack", "discord", "json"] {
        assert_says(
            &run,
            &format!("alert sent to {name}: svc is down and not restarted"),
        );
    }
    let messages = ntfy.messages();
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert_eq!(messages[0]["topic"], "SecretTopic");
    assert_eq!(messages[0]["priority"], 4);
    let requests = hooks.requests();
    assert_eq!(requests.len(), 3, "{run:?}");
    let sent = |path: &str| {
        let found = requests.iter().find(|request| request.path == path);
        body(found.unwrap_or_else(|| panic!("{path}: {run:?}")))
    };
    let slack = sent("/services/T0/B0/SecretHook");
    let text = slack["text"].as_str().unwrap();
    assert!(
        text.starts_with("svc is down and not restarted\n\nService: svc"),
        "{text}"
    );
    assert_eq!(slack.as_object().unwrap().len(), 1, "{slack}");
    let discord = sent("/api/webhooks/1/SecretHook");
    assert_eq!(discord["content"], text);
    assert_eq!(discord["allowed_mentions"], json!({"parse": []}));
    let all = sent("/all");
    assert_eq!(all["title"], "svc is down and not restarted");
    assert_eq!(all["priority"], 4);
    assert_eq!(all["events"][0]["event"], "held");
    assert_eq!(all["events"][0]["service"], "svc");
    assert_no_secret(&run.stdout);
    assert_no_secret(&host.read("state/alerts.json"));
}

#[test]
fn alert_test_reaches_each_channel_and_says_which_it_does_not() {
    let (host, ntfy, hooks) = (Host::new(), ntfy(), webhooks());
    let text = services(&host, &ntfy, &hooks, "");
    host.write(FILE, &text);
    let test = || run_within(&mut host.alert_test_of(FILE), PATIENCE);
    let run = test();
    let delivered = "phone: delivered\nslack: delivered\ndiscord: delivered\njson: delivered\n";
    assert_eq!((run.code(), run.stdout.as_str()), (0, delivered), "{run:?}");
    assert_eq!((ntfy.messages().len(), hooks.requests().len()), (1, 3));
    host.write("token", "tk_Sesam02");
    host.write("url", "not an address: Sesam03");
    // Slack's server hears Discord's message.
    host.write(
        FILE,
        &text.replace("field = \"text\"", "field = \"content\""),
    );
    let run = test();
    assert_eq!(run.code(), 1, "{run:?}");
    for line in [
        "phone: not delivered: status 401: unauthorized; look at its token or password",
        "slack: not delivered: status 400: no_text",
        "discord: not delivered: its address: it is written https://HOST/…",
        "json: delivered",
    ] {
        assert_says(&run, line);
    }
    assert_no_secret(&run.stdout);
    host.write(FILE, &text.replace("alert = [", "restart_with = [] # ["));
    let run = test();
    assert_eq!(run.code(), 78, "{run:?}");
    assert!(run.stderr.contains("there is no channel"), "{run:?}");
}

#[test]
fn an_address_in_a_file_is_read_whenever_something_is_sent() {
    let (host, ntfy, hooks) = (Host::new(), ntfy(), webhooks());
    let text = services(&host, &ntfy, &hooks, "")
        .replace("\"phone\", \"slack\", \"discord\", \"json\"", "\"discord\"");
    host.write(FILE, &text);
    host.write("url", &hooks.url("/nowhere"));
    let run = once(&host);
    assert_says(
        &run,
        "ERROR alert not sent to discord, and not tried again: svc is down",
    );
    host.write("url", &hooks.url("/api/webhooks/1/SecretHook"));
    host.write("up", "");
    let run = once(&host);
    assert_says(&run, "INFO alert sent to discord: svc works again");
    let sent = body(&hooks.requests()[1]);
    let sent = sent["content"].as_str().unwrap().to_owned();
    assert!(
        sent.contains("1 earlier alert could not be delivered"),
        "{sent}"
    );
}

#[test]
fn a_dry_run_restarts_nothing_and_tells_nobody() {
    let (host, ntfy, hooks, port) = (Host::new(), ntfy(), webhooks(), free_port());
    let restart = format!("restart = '''{}'''", host.server(port));
    let up = format!("file:{}", host.path("up").display());
    let text =
        services(&host, &ntfy, &hooks, &restart).replace(&up, &format!("tcp://127.0.0.1:{port}"));
    host.write(FILE, &format!("[keeper]\ndry_run = true\n{text}"));
    let said = "This is a dry run, in which svc is not restarted; otherwise it would be: ";
    let keeper = host.logged("log", host.keep_file("run", FILE));
    host.wait_for("log", said);
    drop(keeper);
    // What was said is not said again.
    fs::remove_dir_all(host.path("state")).unwrap();
    let run = once(&host);
    assert_eq!(run.code(), 1, "{run:?}");
    assert_says(&run, said);
    assert_eq!(host.starts(port), 0);
    assert_eq!((ntfy.requests(), hooks.requests().len()), (0, 0));
    // Nothing of it counts.
    host.write(FILE, &text);
    let run = once(&host);
    assert_eq!((run.code(), host.starts(port)), (0, 1), "{run:?}");
    assert_says(&run, "Successfully recovered svc");
}

#[test]
fn a_message_names_no_password_of_a_target_and_no_argument_of_a_command() {
    let (host, ntfy, hooks) = (Host::new(), ntfy(), webhooks());
    let restart = "restart = '''SECRET=Sesam05 AUTH=\"Bearer Sesam07\" false --token=Sesam06'''\nattempts = 1";
    let text = services(&host, &ntfy, &hooks, restart).replace(
        "check = [",
        "check = [\"http://user:Sesam02@127.0.0.1:1/x?key=Sesam03\", ",
    );
    host.write(FILE, &text);
    let run = once(&host);
    let sent = hooks.requests();
    let all = sent.iter().find(|request| request.path == "/all");
    let all = body(all.unwrap_or_else(|| panic!("{run:?}")));
    assert_eq!(all["title"], "svc is down and given up", "{run:?}");
    let text = all["message"].as_str().unwrap();
    assert!(
        text.contains("http://***@127.0.0.1:1/x?***") && text.contains("Restart command: …"),
        "{text}"
    );
    assert_no_secret(&all.to_string());
    assert_no_secret(&run.stdout);
}
