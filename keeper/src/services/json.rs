//! The JSON of services that a script of cron's used to read, with jq: what it meant there, it means here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ready_probe::redact::shown;
use ready_probe_sdk::clock;
use serde_json::{Map, Value};

use super::{Places, Service, Services, TIMEOUT_MS, check_name, in_order, only_container};
use crate::question::{Question, What};
use crate::recovery::{Recovery, Script, Shell};
use crate::rules::Rules;

const MAX_SECONDS: u64 = 86_400;

const SERVICE_KEYS: [&str; 9] = [
    "enabled",
    "type",
    "container",
    "health_check",
    "restart_cmd",
    "startup_delay_seconds",
    "log_path",
    "notify_on_fail",
    "dependencies",
];
/// What its keys are called in TOML, and in `health_check`.
const NAMES: [(&str, &str); 7] = [
    ("health_check", "check"),
    ("container", "container"),
    ("restart_cmd", "restart"),
    ("startup_delay_seconds", "startup_delay"),
    ("log_path", "log"),
    ("notify_on_fail", "alert"),
    ("dependencies", "needs"),
];
const NAMES_IN_CHECK: [(&str, &str); 2] = [
    ("interval_seconds", "interval"),
    ("timeout_seconds", "timeout"),
];
const CHECK_KEYS: [&str; 8] = [
    "type",
    "endpoint",
    "host",
    "port",
    "process_name",
    "command",
    "interval_seconds",
    "timeout_seconds",
];

/// One service, the container that it is in, and what it depends on.
struct Entry {
    service: Service,
    container: Option<String>,
    dependencies: Vec<String>,
}

/// What a text says. `container` is the one that this is, if only its own services are meant.
pub fn parse(text: &str, container: Option<&str>) -> Result<Services, String> {
    let value: Value = serde_json::from_str(text).map_err(|e| format!("not JSON: {e}"))?;
    let Value::Object(root) = value else {
        return Err("a JSON object is expected: {\"services\": {NAME: {…}}}".to_owned());
    };
    // The bare map of services, too.
    let services = match root.get("services") {
        Some(Value::Object(services)) => services.clone(),
        Some(_) => {
            return Err("services: an object is expected, with a service for each name".to_owned());
        }
        None => root,
    };
    let known: BTreeSet<&str> = services.keys().map(String::as_str).collect();
    let mut notes = Vec::new();
    let mut found: Vec<Entry> = Vec::new();
    for (name, value) in &services {
        if let Some(read) = service(name, value, container, &mut notes)? {
            found.push(read);
        }
    }
    if container.is_none() {
        let named = found.iter().filter_map(|found| found.container.as_deref());
        notes.extend(only_container(named)?);
    }
    let numbers: BTreeMap<String, usize> = found
        .iter()
        .enumerate()
        .map(|(n, found)| (found.service.name.clone(), n))
        .collect();
    let mut all = Vec::new();
    for Entry {
        mut service,
        dependencies,
        ..
    } in found
    {
        for need in dependencies {
            match numbers.get(&need) {
                Some(&number) => service.rules.needs.push(number),
                None if known.contains(need.as_str()) => notes.push(format!(
                    "{}: its dependency {need} is not looked after here, and not waited for",
                    service.name
                )),
                None => {
                    return Err(format!(
                        "{}: dependencies: there is no service {}",
                        service.name,
                        shown(&need)
                    ));
                }
            }
        }
        all.push(service);
    }
    let order = in_order(&all).map_err(|names| {
        format!(
            "dependencies: these wait for one another in a circle, or for one that does: {names}"
        )
    })?;
    Ok(Services {
        all,
        order,
        notes,
        dry_run: false,
        container: container.map(str::to_owned),
        places: Places::new(),
        alerts: BTreeMap::new(),
        engine: None,
    })
}

fn service(
    name: &str,
    value: &Value,
    container: Option<&str>,
    notes: &mut Vec<String>,
) -> Result<Option<Entry>, String> {
    check_name(name)?;
    let fields = Fields::of(name, value)?;
    if !fields.is_true("enabled") {
        return Ok(None);
    }
    fields.note_unknown(&SERVICE_KEYS, notes);
    let its = fields.text("container")?;
    if let (Some(here), Some(its)) = (container, &its)
        && here != its
    {
        notes.push(format!("{name}: not here, but in container {}", shown(its)));
        return Ok(None);
    }
    let check = fields.need("health_check")?;
    let check = Fields::of(&format!("{name}: health_check"), check)?;
    check.note_unknown(&CHECK_KEYS, notes);
    let mut places = fields.places(&NAMES, "");
    places.extend(check.places(&NAMES_IN_CHECK, "health_check."));
    let mut rules = Rules::of_passes();
    rules.unseen_ms = Rules::of_loop().startup_ms;
    match check.millis("interval_seconds", 1) {
        Ok(Some(ms)) => rules.interval_ms = ms,
        Ok(None) => {}
        // Cron's script never read it.
        Err(why) => {
            places.remove("interval");
            notes.push(format!(
                "{why}; it is asked every {} s",
                rules.interval_ms / 1_000
            ));
        }
    }
    // Where nobody makes passes, they are as far apart.
    rules.hung.for_ms = rules.interval_ms;
    if let Some(ms) = fields.millis("startup_delay_seconds", 0)? {
        (rules.delay_ms, rules.unseen_ms) = (ms, ms);
    }
    rules.command_ms += rules.delay_ms;
    let restart = fields
        .text("restart_cmd")?
        .filter(|command| !command.trim().is_empty());
    rules.restarts = restart.is_some();
    let question = Question {
        checks: vec![what(&check)?],
        timeout_ms: timeout_ms(&check)?,
        ..Question::default()
    };
    question.check().map_err(|e| format!("{name}: {e}"))?;
    Ok(Some(Entry {
        container: its,
        dependencies: fields.texts("dependencies")?,
        service: Service {
            name: name.to_owned(),
            question,
            restart: restart.map(|command| {
                Recovery::Command(Script {
                    stop: None,
                    command,
                    shell: Shell::Bash,
                })
            }),
            log: fields.text("log_path")?,
            rules,
            alert: fields.text("notify_on_fail")?.into_iter().collect(),
            places,
        },
    }))
}

fn what(check: &Fields<'_>) -> Result<What, String> {
    let kind = check.need_text("type")?;
    Ok(match kind.as_str() {
        "http" => {
            let endpoint = check.need_text("endpoint")?;
            // As curl does.
            match endpoint.contains("://") {
                true => What::Http(endpoint),
                false => What::Http(format!("http://{endpoint}")),
            }
        }
        "tcp" => What::Tcp {
            host: check
                .text("host")?
                .unwrap_or_else(|| "localhost".to_owned()),
            port: check.port()?,
        },
        "process" => What::Process(check.need_text("process_name")?),
        "custom" => What::Command(check.need_text("command")?),
        other => {
            return Err(format!(
                "{}: type: {} is none of http, tcp, process, custom",
                check.place,
                shown(other)
            ));
        }
    })
}

/// 0 is no limit, as for curl and timeout; a day is as long.
fn timeout_ms(check: &Fields<'_>) -> Result<u64, String> {
    Ok(match check.millis("timeout_seconds", 0)? {
        None => TIMEOUT_MS,
        Some(0) => MAX_SECONDS * 1_000,
        Some(ms) => ms,
    })
}

/// The keys of an object, and where it stands. To jq and a shell, `"5"` is as good as 5.
struct Fields<'a> {
    place: String,
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    fn of(place: &str, value: &'a Value) -> Result<Self, String> {
        match value {
            Value::Object(map) => Ok(Self {
                place: place.to_owned(),
                map,
            }),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Err(format!("{place}: an object is expected, {{…}}")),
        }
    }

    fn note_unknown(&self, known: &[&str], notes: &mut Vec<String>) {
        for key in self.map.keys().filter(|key| !known.contains(&key.as_str())) {
            notes.push(format!(
                "{}: the key {} means nothing here",
                self.place,
                shown(key)
            ));
        }
    }

    /// Where the settings stand that are here.
    fn places(&self, names: &[(&str, &str)], within: &str) -> Places {
        let here = names.iter().filter(|(key, _)| self.value(key).is_some());
        here.map(|(key, name)| ((*name).to_owned(), format!("{within}{key}")))
            .collect()
    }

    fn wrong(&self, key: &str, expected: &str) -> String {
        format!("{}: {key}: {expected} is expected", self.place)
    }

    /// `null` is as good as nothing.
    fn value(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    fn need(&self, key: &str) -> Result<&'a Value, String> {
        self.value(key)
            .ok_or_else(|| format!("{}: {key} is missing", self.place))
    }

    /// Whether a shell finds the word `true` there.
    fn is_true(&self, key: &str) -> bool {
        let value = self.value(key);
        value.is_some_and(|value| value.as_bool() == Some(true) || value.as_str() == Some("true"))
    }

    fn text(&self, key: &str) -> Result<Option<String>, String> {
        let text = |value: &Value| {
            value
                .as_str()
                .map(str::to_owned)
                .ok_or_else(|| self.wrong(key, "a text"))
        };
        self.value(key).map(text).transpose()
    }

    fn need_text(&self, key: &str) -> Result<String, String> {
        self.need(key)?;
        match self.text(key)? {
            Some(text) if !text.trim().is_empty() => Ok(text),
            Some(_) | None => Err(self.wrong(key, "a text that is not empty")),
        }
    }

    fn texts(&self, key: &str) -> Result<Vec<String>, String> {
        let wrong = || self.wrong(key, "a list of names");
        let Some(value) = self.value(key) else {
            return Ok(Vec::new());
        };
        let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(wrong);
        value
            .as_array()
            .ok_or_else(wrong)?
            .iter()
            .map(text)
            .collect()
    }

    fn millis(&self, key: &str, least: u64) -> Result<Option<u64>, String> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        let number = match value.as_str() {
            Some(text) => text.trim().parse().ok(),
            None => value.as_f64(),
        };
        let most = Duration::from_secs(MAX_SECONDS);
        let seconds = number.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let seconds = seconds.filter(|it| (Duration::from_secs(least)..=most).contains(it));
        seconds.map(clock::millis).map(Some).ok_or_else(|| {
            self.wrong(
                key,
                &format!("a number of seconds, {least} to {MAX_SECONDS},"),
            )
        })
    }

    fn port(&self) -> Result<u16, String> {
        let value = self.need("port")?;
        let number = match value.as_str() {
            Some(text) => text.trim().parse().ok(),
            None => value.as_u64(),
        };
        let port = number.and_then(|port| u16::try_from(port).ok());
        port.filter(|&port| port > 0)
            .ok_or_else(|| self.wrong("port", "a number from 1 to 65535"))
    }
}
