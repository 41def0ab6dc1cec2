//! `--metrics-listen`: what is counted, told to a real Prometheus; and examples/monitoring with it.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use ready_probe_test_support::pages::block;
use ready_probe_test_support::process::{
    Guard, Signal, free_port, probe, run, wait_until, workspace_root,
};
use ready_probe_test_support::servers::prometheus::{
    NodeExporter, Prometheus, assert_lints, http_get, promtool,
};
use serde_json::{Value, json};

use crate::host::{Host, http};

const SOON: Duration = Duration::from_secs(60);
const LOG: &str = "log";

fn monitoring() -> PathBuf {
    workspace_root().join("examples/monitoring")
}

fn example(name: &str) -> String {
    fs::read_to_string(monitoring().join(name)).unwrap()
}

/// A server that is down at first, and one that nobody can ask.
fn services(host: &Host, port: u16) {
    let mut check = http(port);
    check["interval_seconds"] = json!(1);
    let unasked = json!({"type": "custom", "command": "exit 127", "interval_seconds": 1});
    host.services(&[
        (
            "svc",
            json!({"health_check": check, "restart_cmd": host.server(port)}),
        ),
        ("unasked", json!({"health_check": unasked})),
    ]);
}

/// A keeper that tells its metrics there.
fn listening(host: &Host, at: u16) -> Guard {
    let keeper = host.loop_with(LOG, &["--metrics-listen", &at.to_string()]);
    wait_until(SOON, "somebody to listen", || http_get(at, "/readyz"));
    keeper
}

fn metrics(at: u16) -> String {
    let (status, body) = http_get(at, "/metrics").expect("it listens");
    assert_eq!(status, 200, "{body}");
    body
}

fn value(metrics: &str, sample: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(sample));
    let line = line.unwrap_or_else(|| panic!("no {sample}\n{metrics}"));
    line.trim().parse().unwrap()
}

/// Our names of metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    let words = text.split(|c| !is_name(c));
    let ours = words.filter(|word| {
        let rest = word.strip_prefix("ready_probe_");
        let rest = rest.or_else(|| word.strip_prefix("ready_keeper_"));
        rest.is_some_and(|rest| !rest.is_empty())
    });
    ours.map(str::to_owned).collect()
}

/// The queries of the dashboard, with all of its variables filled in.
fn queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&example("dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    let mut queries: Vec<String> = targets
        .map(|target| target["expr"].as_str().unwrap().to_owned())
        .collect();
    // What its variables are filled from: `label_values(metric, label)`.
    let variables = dashboard["templating"]["list"].as_array().unwrap().iter();
    for variable in variables.filter_map(|variable| variable["definition"].as_str()) {
        let inner = variable.strip_prefix("label_values(").unwrap();
        let (metric, label) = inner.trim_end_matches(')').split_once(", ").unwrap();
        queries.push(format!("group by ({label}) ({metric})"));
    }
    for query in &mut queries {
        for (variable, with) in [
            ("$host", ".+"),
            ("$service", ".+"),
            ("$__range", "5m"),
            ("$__rate_interval", "1m"),
        ] {
            *query = query.replace(variable, with);
        }
        assert!(!query.contains('$'), "{query}");
    }
    queries
}

#[test]
fn prometheus_takes_them_and_answers_what_the_dashboard_and_the_alerts_ask() {
    let (host, port, at) = (Host::new(), free_port(), free_port());
    services(&host, port);
    let _keeper = listening(&host, at);
    let textfile = host.path("textfile");
    fs::create_dir(&textfile).unwrap();
    let file = textfile.join("translator.prom").display().to_string();
    let signals = host.path("agents");
    let myself = std::process::id().to_string();
    let ask = |args: &[&str]| run(probe().args(args).env_clear().env("READY_DIR", &signals));
    let marked = ask(&["mark", "translator", "--pid", &myself]);
    assert_eq!(marked.code(), 0, "{marked:?}");
    let output = ["--format", "prometheus", "--output", &file];
    let told = ask(&[&output[..], &["agent:translator", "file:/nonexistent"]].concat());
    assert_eq!((told.code(), told.stderr.as_str()), (1, ""), "{told:?}");
    let exporter = NodeExporter::start(&textfile);

    fs::copy(monitoring().join("alerts.yml"), host.path("alerts.yml")).unwrap();
    let mut configuration = example("prometheus.yml");
    for (from, to) in [
        ("15s", "1s".to_owned()),
        ("localhost:9100", format!("127.0.0.1:{}", exporter.port())),
        ("localhost:9464", format!("127.0.0.1:{at}")),
    ] {
        assert!(configuration.contains(from), "{configuration}");
        configuration = configuration.replace(from, &to);
    }
    let prometheus = Prometheus::start(&configuration, &host.path(""));
    let mut unanswered = queries();
    assert!(unanswered.len() > 20, "{unanswered:?}");
    let answered = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait_until(SOON, "every query to have an answer", || {
            unanswered.retain(|query| prometheus.query(query).is_empty());
            unanswered.is_empty().then_some(())
        });
    }));
    assert!(answered.is_ok(), "no answer to {unanswered:#?}");
    // They are what was exposed, and all of it is right.
    for (query, want) in [
        ("up{job=\"node\"}", "1"),
        ("node_textfile_scrape_error", "0"),
        ("ready_probe_verdict{state=\"unhealthy\"}", "1"),
        ("ready_probe_agent_instances{state=\"ready\"}", "1"),
        ("ready_keeper_service_restarts_total{service=\"svc\"}", "1"),
        (
            "ready_keeper_service_recoveries_total{service=\"svc\",result=\"helped\"}",
            "1",
        ),
    ] {
        wait_until(SOON, &format!("{query} to be {want}"), || {
            let results = prometheus.query(query);
            (results.len() == 1 && results[0]["value"][1] == want).then_some(())
        });
    }
    wait_until(SOON, "each rule to be evaluated", || {
        let groups = prometheus.ask("/api/v1/rules")["data"]["groups"].clone();
        let groups = groups.as_array().unwrap().iter();
        let rules: Vec<&Value> = groups
            .flat_map(|g| g["rules"].as_array().unwrap())
            .collect();
        let broken = rules.iter().find(|rule| rule["health"] == "err");
        assert!(broken.is_none(), "{broken:?}");
        (rules.len() > 10 && rules.iter().all(|rule| rule["health"] == "ok")).then_some(())
    });

    let both = fs::read_to_string(file).unwrap() + &metrics(at);
    assert_lints(&both);
    let exposed: BTreeSet<String> = both
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .map(str::to_owned)
        .collect();
    let page = fs::read_to_string(workspace_root().join("docs/monitoring.md")).unwrap();
    assert_eq!(names(&page), exposed, "docs/monitoring.md");
    for file in ["alerts.yml", "dashboard.json"] {
        let unknown: Vec<String> = names(&example(file))
            .difference(&exposed)
            .cloned()
            .collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
}

#[test]
fn each_alert_has_a_test_in_which_it_fires_and_they_pass() {
    let run = promtool(&monitoring(), &["test", "rules", "alerts_test.yml"]);
    assert_eq!(run.code(), 0, "{run:?}");
    let tests = example("alerts_test.yml");
    let rules = example("alerts.yml");
    let alerts = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    for alert in alerts {
        let fires = format!("        alertname: {alert}\n        exp_alerts:\n");
        assert!(tests.contains(&fires), "{alert}");
    }
    let run = promtool(&monitoring(), &["check", "config", "prometheus.yml"]);
    assert_eq!(run.code(), 0, "{run:?}");
}

#[test]
fn nothing_that_is_counted_falls_when_a_keeper_is_killed_and_starts_again() {
    let (host, port, at) = (Host::new(), free_port(), free_port());
    services(&host, port);
    let restarts = "ready_keeper_service_restarts_total{service=\"svc\"}";
    let passed = "ready_keeper_service_checks_total{service=\"svc\",outcome=\"pass\"}";
    let mut before = (0.0, 0.0);
    for _ in 0..2 {
        let mut keeper = listening(&host, at);
        let first = metrics(at);
        assert!(value(&first, restarts) >= before.0 && value(&first, passed) >= before.1);
        wait_until(SOON, "more to be counted", || {
            let now = metrics(at);
            before = (value(&now, restarts), value(&now, passed));
            (before.0 >= 1.0 && before.1 > value(&first, passed)).then_some(())
        });
        keeper.signal(Signal::KILL);
        keeper.wait_within(SOON);
    }
    assert_eq!(
        (before.0, host.starts(port)),
        (1.0, 1),
        "{}",
        host.read(LOG)
    );
}

#[test]
fn whether_it_can_remember_is_told() {
    let (host, port, at) = (Host::new(), free_port(), free_port());
    services(&host, port);
    let mut keeper = listening(&host, at);
    let writable = || value(&metrics(at), "ready_keeper_memory_writable{}");
    let state = host.path("state");
    wait_until(SOON, "its first rounds", || {
        (writable() > 0.5).then_some(())
    });
    fs::rename(&state, host.path("moved")).unwrap();
    let why = wait_until(SOON, "it to say that it is not ready", || {
        http_get(at, "/readyz").filter(|(status, _)| *status == 503)
    });
    assert!(
        why.1
            .starts_with("nothing is restarted, since it could not be remembered: "),
        "{why:?}"
    );
    assert!(writable() < 0.5);
    // Meanwhile what is counted stands still, also when the file is read again: it would fall with the next keeper.
    let of_unasked = |name: &str| {
        value(
            &metrics(at),
            &format!("ready_keeper_service_{name}{{service=\"unasked\"}}"),
        )
    };
    let asked = "check_timestamp_seconds";
    let count = || {
        let sample = r#"ready_keeper_service_checks_total{service="unasked",outcome="unknown"}"#;
        value(&metrics(at), sample)
    };
    let (counted, since) = (count(), of_unasked(asked));
    wait_until(SOON, "more answers", || {
        (of_unasked(asked) > since + 1.5).then_some(())
    });
    keeper.signal(Signal::HUP);
    host.wait_for(LOG, "the services are read again");
    assert!((count() - counted).abs() < 0.5);
    fs::rename(host.path("moved"), &state).unwrap();
    wait_until(SOON, "it to be ready again", || {
        http_get(at, "/readyz").filter(|ready| *ready == (200, "ready\n".to_owned()))
    });
    // The same of its settings, which a signal makes it read.
    let readable = || value(&metrics(at), "ready_keeper_services_file_readable{}");
    assert!(readable() > 0.5);
    let good = host.read("services.json");
    for (text, want) in [("{", 0.0), (good.as_str(), 1.0)] {
        host.write("services.json", text);
        keeper.signal(Signal::HUP);
        wait_until(SOON, "the file to be read", || {
            (readable() - want).abs().lt(&0.5).then_some(())
        });
    }
}

#[test]
fn the_command_of_the_page_serves_them() {
    let (host, port, at) = (Host::new(), free_port(), free_port());
    services(&host, port);
    let page = block("docs/monitoring.md", "From the keeper", "sh", 0);
    let words = page.with(&[("9464", &at.to_string())]);
    let option = words.split("--metrics-listen").nth(1).unwrap();
    let address = option.split_whitespace().next().unwrap();
    let _keeper = host.loop_with(LOG, &["--metrics-listen", address]);
    wait_until(SOON, "somebody to listen", || http_get(at, "/readyz"));
    assert!(metrics(at).starts_with("# HELP ready_keeper_info "));
}
