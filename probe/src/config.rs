//! `ready-probe config`: what would be checked, and where each setting came from.

use std::fmt::Write;

use ready_probe_sdk::clock::millis;
use ready_probe_sdk::connect::place::Place;
use ready_probe_sdk::freshness::Span;
use ready_probe_sdk::signal::NO_AGENTS;
use serde_json::{Value, json};

use crate::cli;
use crate::exit::Exit;
use crate::hung_settings::Task;
use crate::run;
use crate::start::Start;
use ready_probe::settings::{Flags, Format, Settings};
use ready_probe::target::AGENTS;

/// Every variable this program reads that begins with `READY_`.
const VARIABLES: &[&str] = &[
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
    "READY_STORE",
    "READY_STORE_FILE",
    "READY_NAMESPACE",
    "READY_NATS_MAX_AGE",
];

/// Runs the command.
pub fn run(args: &cli::Config, options: &Flags, start: &Start) -> Exit {
    if let Err(exit) = run::relay(Task::Whole, options, start).here() {
        return exit;
    }
    let settings = match run::resolve(options, &args.targets.targets, start) {
        Ok(settings) => settings,
        Err(invalid) => return invalid.into(),
    };
    let unknown = unknown_variables(std::env::vars_os().map(|(name, _)| name));
    Exit::Done(match settings.format.value {
        Format::Text | Format::Prometheus => text(&settings, &unknown),
        Format::Json => json(&settings, &unknown).to_string() + "\n",
    })
}

/// Every setting with its value and origin, in the order in which they are printed.
fn settings_shown(settings: &Settings) -> Vec<(&'static str, String, String)> {
    let dirs: Vec<String> = settings
        .folder
        .value
        .dirs()
        .map(|dir| dir.display().to_string())
        .collect();
    let format = match settings.format.value {
        Format::Text => "text",
        Format::Json => "json",
        Format::Prometheus => "prometheus",
    };
    let mut shown = vec![
        (
            "timeout",
            Span(millis(settings.timeout.value)).to_string(),
            settings.timeout.origin.to_string(),
        ),
        (
            "grace",
            settings.grace.value.to_string(),
            settings.grace.origin.to_string(),
        ),
        ("dir", dirs.join(", "), settings.folder.origin.to_string()),
        (
            "format",
            format.to_owned(),
            settings.format.origin.to_string(),
        ),
        (
            "quiet",
            settings.quiet.value.to_string(),
            settings.quiet.origin.to_string(),
        ),
        (
            "verbose",
            settings.verbose.value.to_string(),
            settings.verbose.origin.to_string(),
        ),
    ];
    if let Some(origin) = &settings.without_agents {
        shown.push(("agent", NO_AGENTS.to_owned(), origin.to_string()));
    }
    if let Some(place) = &settings.place {
        let origin = place.origin.to_string();
        let Place { store, namespace } = &place.value;
        shown.push(("store", store.redacted().to_owned(), origin));
        shown.push((
            "namespace",
            namespace.to_string(),
            settings.namespace.to_string(),
        ));
    }
    shown
}

/// Every check: target, scope, origin.
fn checks_shown(settings: &Settings) -> Vec<(String, &'static str, String)> {
    let discovered = settings.discover.then(|| {
        (
            AGENTS.to_owned(),
            "own",
            "every agent that has published; READY_AGENT names them".to_owned(),
        )
    });
    let configured = settings.checks.iter().map(|check| {
        let target = &check.value;
        (
            target.redacted.clone(),
            target.scope.word(),
            check.origin.to_string(),
        )
    });
    discovered.into_iter().chain(configured).collect()
}

fn text(settings: &Settings, unknown: &[String]) -> String {
    let mut text = String::new();
    // Writing to a String can't fail.
    for (name, value, origin) in settings_shown(settings) {
        let _ = writeln!(text, "{name:<9} {value:<36} {origin}");
    }
    let _ = writeln!(text, "checks");
    for (target, scope, origin) in checks_shown(settings) {
        let _ = writeln!(text, " {scope:<10} {target:<36} {origin}");
    }
    for name in unknown {
        let _ = writeln!(
            text,
            "note      {name} is set, but ready-probe has no such variable"
        );
    }
    text
}

fn json(settings: &Settings, unknown: &[String]) -> Value {
    let shown: serde_json::Map<String, Value> = settings_shown(settings)
        .into_iter()
        .map(|(name, value, origin)| (name.to_owned(), json!({ "value": value, "origin": origin })))
        .collect();
    let checks: Vec<Value> = checks_shown(settings)
        .into_iter()
        .map(
            |(target, scope, origin)| json!({ "target": target, "scope": scope, "origin": origin }),
        )
        .collect();
    json!({ "settings": shown, "checks": checks, "unknown_variables": unknown })
}

/// A misspelt variable is no error (an orchestrator may set `READY_PORT` for a service of that
/// name), but this is where somebody looks for it.
fn unknown_variables(names: impl Iterator<Item = std::ffi::OsString>) -> Vec<String> {
    let mut unknown: Vec<String> = names
        .filter_map(|name| name.into_string().ok())
        .filter(|name| name.starts_with("READY_"))
        .filter(|name| !VARIABLES.contains(&name.as_str()))
        .collect();
    unknown.sort();
    unknown
}
