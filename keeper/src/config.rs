//! `ready-keeper config`: what would be looked after and how, and where each setting came from.

use std::ffi::OsString;
use std::fmt::Write;
use std::path::Path;

use ready_probe::redact::{HIDDEN, Secrets, one_line};
use ready_probe::settings::Origin;
use ready_probe::verdict::Scope;
use ready_probe_sdk::freshness::Span;
use serde_json::{Map, Value, json};

use crate::alert::settings::{Channel, Hidden, NTFY_URL, NTFY_URL_FILE, Receiver, topic_shown};
use crate::cli::{self, Format, Typed};
use crate::engine::DOCKER_HOST;
use crate::exit::{OK, Refusal, print};
use crate::memory;
use crate::people::{self, People};
use crate::question::What;
use crate::recovery::{Recovery, Whose};
use crate::rules::GiveUp;
use crate::services::{Places, Service, Services, Source};
use crate::shell;
use crate::stop;

/// Every variable that this program reads and nobody else.
const VARIABLES: [&str; 2] = [NTFY_URL, NTFY_URL_FILE];
const OURS: &str = "READY_KEEPER_";
const NONE: &str = "none";
const MAX_CHARS: usize = 200;

/// A setting, as it is printed.
struct Setting {
    name: String,
    value: String,
    origin: Origin,
}

/// What belongs together: a service, or a channel.
struct Chapter {
    name: String,
    /// What is asked, each by the word for its scope.
    checks: Vec<Setting>,
    rows: Vec<Setting>,
}

/// All of it.
struct Shown {
    rows: Vec<Setting>,
    services: Vec<Chapter>,
    alerts: Vec<Chapter>,
    notes: Vec<String>,
    unknown: Vec<String>,
}

/// Prints it.
pub fn run(options: &cli::ConfigOptions, typed: &Typed) -> Result<u8, Refusal> {
    let file = options.run.keep.file()?;
    let services = Source::read(file)?.services_of_any(options.run.keep.container.as_deref())?;
    let output_of = |name: &str| memory::output_of(&options.run.keep.state.dir, name);
    let people = people::find(&services, output_of, &|name| std::env::var_os(name))?;
    let notes = services.notes.iter().chain(&people.notes);
    let shown = Shown {
        rows: own_rows(options, typed, file, &services),
        services: services
            .all
            .iter()
            .map(|service| service_section(file, service, &services))
            .collect(),
        alerts: alert_sections(file, &services, &people),
        notes: notes.cloned().collect(),
        unknown: unknown_variables(std::env::vars_os().map(|(name, _)| name)),
    };
    let text = match options.format {
        Format::Text => text(&shown),
        Format::Json => json(&shown).to_string() + "\n",
    };
    print(&text)?;
    Ok(OK)
}

fn row(name: &str, value: &str, origin: Origin) -> Setting {
    Setting {
        name: name.to_owned(),
        value: one_line(value, MAX_CHARS),
        origin,
    }
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

/// Where a setting stands in the file.
fn origin(file: &Path, places: &Places, name: &str) -> Origin {
    match places.get(name) {
        Some(key) => Origin::File {
            path: file.to_owned(),
            key: key.clone(),
        },
        None => Origin::Default,
    }
}

/// The settings of the keeper itself.
fn own_rows(
    options: &cli::ConfigOptions,
    typed: &Typed,
    file: &Path,
    services: &Services,
) -> Vec<Setting> {
    let keep = &options.run.keep;
    let typed_or = |option: &'static str, name: &str| match typed.has(option) {
        true => Origin::Flag(option),
        false => origin(file, &services.places, name),
    };
    let container = services.container.as_deref().unwrap_or(NONE);
    let dry_run = keep.dry_run || services.dry_run;
    let listen = options.run.metrics_listen;
    let listen = listen.map_or(NONE.to_owned(), |at| at.to_string());
    let engine = services.engine.as_ref().map(|engine| {
        let origin = match origin(file, &services.places, "engine") {
            Origin::Default if std::env::var_os(DOCKER_HOST).is_some_and(|at| !at.is_empty()) => {
                Origin::Env(DOCKER_HOST.to_owned())
            }
            origin => origin,
        };
        row("engine", &engine.at, origin)
    });
    let mut all = vec![
        row("config", &path(file), Origin::Flag("--config")),
        row("state", &path(&keep.state.dir), typed_or("--state", "")),
        row(
            "manual_stop",
            &path(&keep.markers.dir),
            typed_or("--manual-stop", ""),
        ),
        row("container", container, typed_or("--container", "container")),
        row(
            "dry_run",
            &dry_run.to_string(),
            typed_or("--dry-run", "dry_run"),
        ),
        row("metrics_listen", &listen, typed_or("--metrics-listen", "")),
    ];
    all.extend(engine);
    all
}

fn service_section(file: &Path, service: &Service, services: &Services) -> Chapter {
    let question = &service.question;
    let asked = |what: &What| {
        let target = what.target(question.timeout_ms, &mut Secrets::default());
        let scope = target.map_or(Scope::Own, |target| target.scope);
        let origin = origin(file, &service.places, "check");
        row(scope.word(), &what.shown(question.timeout_ms), origin)
    };
    let of_engine = question.container.as_ref().map(|container| {
        let (key, what) = match service.places.contains_key("label") {
            true => ("label", "every container with this label".to_owned()),
            false => ("container", format!("container {}", container.name)),
        };
        let origin = origin(file, &service.places, key);
        row(Scope::Own.word(), &what, origin)
    });
    let rows = settings_of(service, services).into_iter();
    Chapter {
        name: service.name.clone(),
        checks: of_engine
            .into_iter()
            .chain(question.checks.iter().map(asked))
            .collect(),
        rows: rows
            .map(|(name, value)| row(name, &value, origin(file, &service.places, name)))
            .collect(),
    }
}

/// In the order of the document.
fn settings_of(service: &Service, services: &Services) -> Vec<(&'static str, String)> {
    let (rules, question) = (&service.rules, &service.question);
    let name = |number: &usize| services.all.get(*number).map(|one| one.name.clone());
    let names = |numbers: &[usize]| numbers.iter().filter_map(name).collect::<Vec<String>>();
    let targets = |all: &[What]| {
        let shown = all.iter().map(|what| what.shown(question.timeout_ms));
        shown.collect::<Vec<String>>()
    };
    let ms = |ms: u64| Span(ms).to_string();
    let give_up = match rules.give_up {
        GiveUp::Slow => "slow",
        GiveUp::Stop => "stop",
        GiveUp::Exit => "exit",
    };
    let not_ready: &[String] = if question.no_counts {
        &["not_ready".to_owned()]
    } else {
        &[]
    };
    let mut all = vec![
        ("interval", ms(rules.interval_ms)),
        ("timeout", ms(question.timeout_ms)),
    ];
    all.extend(restart(service.restart.as_ref()));
    all.extend([
        (
            "needs",
            list(&[names(&rules.needs), targets(&question.needs)].concat()),
        ),
        ("inhibit", list(&targets(&question.inhibit))),
        ("hung_after", ms(rules.hung.for_ms)),
        ("startup", ms(rules.startup_ms)),
        ("startup_delay", ms(rules.delay_ms)),
        ("attempts", rules.attempts.to_string()),
        ("max_restarts", rules.max_restarts.to_string()),
        ("window", ms(rules.window_ms)),
        ("give_up", give_up.to_owned()),
        ("restart_on", list(not_ready)),
        ("restart_with", list(&names(&rules.restart_with))),
        ("log", service.log.clone().unwrap_or(NONE.to_owned())),
        ("alert", list(&alerts_of(service, services))),
    ]);
    all
}

/// Of a command only its program: arguments may be secrets.
fn restart(recovery: Option<&Recovery>) -> Vec<(&'static str, String)> {
    let script = match recovery {
        None => return vec![("restart", NONE.to_owned()), ("stop", NONE.to_owned())],
        Some(Recovery::Container(container)) => {
            return vec![
                ("restart", "by its engine".to_owned()),
                ("restart_exited", container.restart_exited.to_string()),
            ];
        }
        Some(Recovery::Command(script)) => script,
    };
    let mut all = vec![("restart", shell::program(&script.command))];
    match &script.stop {
        None => all.push(("stop", NONE.to_owned())),
        Some(stop) => all.extend([
            match &stop.of {
                Whose::Pattern(part) => ("stop.process", part.clone()),
                Whose::Pidfile(path) => ("stop.pidfile", self::path(path)),
            },
            ("stop.signal", stop::name_of(stop.signal).to_owned()),
            ("stop.wait", Span(stop.wait_ms).to_string()),
        ]),
    }
    all
}

/// Topics are secrets, the names of tables are not.
fn alerts_of(service: &Service, services: &Services) -> Vec<String> {
    let shown = |name: &String| match services.alerts.contains_key(name) {
        true => name.clone(),
        false => topic_shown(name),
    };
    service.alert.iter().map(shown).collect()
}

fn list(all: &[String]) -> String {
    match all {
        [] => NONE.to_owned(),
        [_, ..] => all.join(", "),
    }
}

/// The tables `[alert.NAME]`, and the topics of `notify_on_fail`.
fn alert_sections(file: &Path, services: &Services, people: &People) -> Vec<Chapter> {
    let tables = services.alerts.iter().map(|(name, table)| {
        let origin = |key: &str| origin(file, &table.places, key);
        alert_section(name.clone(), &table.channel, &origin)
    });
    let is_topic = |channel: &&Channel| !services.alerts.contains_key(&channel.name);
    let topics = people.channels.iter().filter(is_topic).map(|channel| {
        let origin = |key: &str| match key {
            "url" => Origin::Env(NTFY_URL.to_owned()),
            "url_file" => Origin::Env(NTFY_URL_FILE.to_owned()),
            _ => Origin::File {
                path: file.to_owned(),
                key: "notify_on_fail".to_owned(),
            },
        };
        alert_section(channel.shown(), channel, &origin)
    });
    tables.chain(topics).collect()
}

/// Who knows an address may write there, so that none is shown.
fn alert_section(name: String, channel: &Channel, origin: &dyn Fn(&str) -> Origin) -> Chapter {
    let hidden = |key: &str, hidden: &Hidden| match hidden {
        Hidden::Text(_) => row(key, HIDDEN, origin(key)),
        Hidden::File(path) => {
            let key = format!("{key}_file");
            let origin = origin(&key);
            row(&key, &self::path(path), origin)
        }
    };
    let (kind, more) = match &channel.receiver {
        Receiver::Ntfy { topic } => (
            "ntfy",
            topic.as_deref().map(|it| ("topic", topic_shown(it))),
        ),
        Receiver::Webhook { field } => ("webhook", field.clone().map(|it| ("field", it))),
    };
    let mut rows = vec![
        row("kind", kind, origin("kind")),
        hidden("url", &channel.url),
    ];
    rows.extend(channel.token.as_ref().map(|token| hidden("token", token)));
    rows.extend(more.map(|(key, value)| row(key, &value, origin(key))));
    Chapter {
        name,
        checks: Vec::new(),
        rows,
    }
}

fn text(shown: &Shown) -> String {
    let mut text = String::new();
    // Writing to a String can't fail.
    for row in &shown.rows {
        let _ = writeln!(text, "{:<15} {:<36} {}", row.name, row.value, row.origin);
    }
    let services = shown.services.iter().map(|one| ("service", one));
    let alerts = shown.alerts.iter().map(|one| ("alert", one));
    for (what, section) in services.chain(alerts) {
        let _ = writeln!(text, "{what:<15} {}", section.name);
        for row in section.checks.iter().chain(&section.rows) {
            let _ = writeln!(text, " {:<14} {:<36} {}", row.name, row.value, row.origin);
        }
    }
    let unknown = shown.unknown.iter();
    let unknown =
        unknown.map(|name| format!("{name} is set, but ready-keeper has no such variable"));
    for note in shown.notes.iter().cloned().chain(unknown) {
        let _ = writeln!(text, "{:<15} {note}", "note");
    }
    text
}

fn json(shown: &Shown) -> Value {
    let settings = |rows: &[Setting]| {
        let all = rows.iter().map(|row| {
            let setting = json!({ "value": row.value, "origin": row.origin.to_string() });
            (row.name.clone(), setting)
        });
        all.collect::<Map<String, Value>>()
    };
    let service = |one: &Chapter| {
        let checks = one.checks.iter().map(|row| {
            json!({ "target": row.value, "scope": row.name, "origin": row.origin.to_string() })
        });
        json!({
            "name": one.name,
            "checks": checks.collect::<Vec<Value>>(),
            "settings": settings(&one.rows),
        })
    };
    let alert = |one: &Chapter| json!({ "name": one.name, "settings": settings(&one.rows) });
    json!({
        "settings": settings(&shown.rows),
        "services": shown.services.iter().map(service).collect::<Vec<Value>>(),
        "alerts": shown.alerts.iter().map(alert).collect::<Vec<Value>>(),
        "notes": shown.notes,
        "unknown_variables": shown.unknown,
    })
}

/// A misspelt variable is no error, and this is where somebody looks for it.
fn unknown_variables(names: impl Iterator<Item = OsString>) -> Vec<String> {
    let mut unknown: Vec<String> = names
        .filter_map(|name| name.into_string().ok())
        .filter(|name| name.starts_with(OURS) && !VARIABLES.contains(&name.as_str()))
        .collect();
    unknown.sort();
    unknown
}
