//! The JSON of services, parsed once: what comes out of here can't be invalid.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ready_probe::redact::shown;
use serde_json::{Map, Value};

use crate::question::{Question, What};
use crate::rules::Rules;

/// Larger ones are not what is meant.
const MAX_BYTES: u64 = 1024 * 1024;
const TIMEOUT_SECONDS: u64 = 5;
const MAX_SECONDS: u64 = 86_400;

/// One service.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its name: also of its marker and of its output.
    pub name: String,
    /// What it is asked.
    pub question: Question,
    /// How it is brought back.
    pub restart: Option<String>,
    /// Where its log is, for people.
    pub log: Option<String>,
    /// When it is brought back.
    pub rules: Rules,
    /// Who is told: the topic of `notify_on_fail`.
    pub alert: Vec<String>,
}

/// What a file says.
#[derive(Debug)]
pub struct Services {
    /// Those that are enabled, and here, by name.
    pub all: Vec<Service>,
    /// Their numbers, each after those that it needs.
    pub order: Vec<usize>,
    /// What somebody should know.
    pub notes: Vec<String>,
}

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

/// Reads a file. `container` is the one that this is, if only its own services are meant.
pub fn read(path: &Path, container: Option<&str>) -> Result<Services, String> {
    let at = path.display();
    is_trusted(path)?;
    let size = fs::metadata(path).map_err(|e| format!("{at}: {e}"))?.len();
    if size > MAX_BYTES {
        return Err(format!(
            "{at}: it has {size} bytes, more than {MAX_BYTES}: is it the right file?"
        ));
    }
    let text = fs::read_to_string(path).map_err(|e| format!("{at}: {e}"))?;
    parse(&text, container).map_err(|e| format!("{at}: {e}"))
}

/// What others may write decides what is run here.
fn is_trusted(path: &Path) -> Result<(), String> {
    let path = fs::canonicalize(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let folder = path.parent().map(Path::to_owned);
    for (place, is_folder) in [(Some(path), false), (folder, true)] {
        let Some(place) = place else { continue };
        let meta = fs::metadata(&place).map_err(|e| format!("{}: {e}", place.display()))?;
        let mode = meta.permissions().mode();
        // In a folder with the sticky bit nobody replaces another's file.
        let by_others = mode & 0o002 != 0 && !(is_folder && mode & 0o1000 != 0);
        let at = place.display();
        if by_others {
            return Err(format!(
                "{at}: everybody may write it, and so decide what is run here: chmod o-w {at}"
            ));
        }
        let me = rustix::process::geteuid().as_raw();
        if !is_folder && meta.uid() != me && meta.uid() != 0 {
            return Err(format!(
                "{at}: it belongs to user {}, who would decide what user {me} runs: chown {me} {at}",
                meta.uid()
            ));
        }
    }
    Ok(())
}

/// What a text says.
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
    let mut found: Vec<(Service, Vec<String>)> = Vec::new();
    for (name, value) in &services {
        if let Some(read) = service(name, value, container, &mut notes)? {
            found.push(read);
        }
    }
    let numbers: BTreeMap<String, usize> = found
        .iter()
        .enumerate()
        .map(|(n, (service, _))| (service.name.clone(), n))
        .collect();
    let mut all = Vec::new();
    for (mut service, needs) in found {
        for need in needs {
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
    let order = order(&all)?;
    Ok(Services { all, order, notes })
}

fn service(
    name: &str,
    value: &Value,
    container: Option<&str>,
    notes: &mut Vec<String>,
) -> Result<Option<(Service, Vec<String>)>, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 100 || name.starts_with('.') || !name.chars().all(is_plain) {
        return Err(format!(
            "{}: the name of a service is also that of a file: letters, digits, - _ . and no dot in front",
            shown(name)
        ));
    }
    let fields = Fields::of(name, value)?;
    fields.note_unknown(&SERVICE_KEYS, notes);
    if !fields.flag("enabled")? {
        return Ok(None);
    }
    if let (Some(here), Some(its)) = (container, fields.text("container")?)
        && here != its
    {
        notes.push(format!(
            "{name}: not here, but in container {}",
            shown(&its)
        ));
        return Ok(None);
    }
    let check = fields.need("health_check")?;
    let check = Fields::of(&format!("{name}: health_check"), check)?;
    check.note_unknown(&CHECK_KEYS, notes);
    let mut rules = Rules::of_passes();
    if let Some(seconds) = fields.seconds("startup_delay_seconds", 0)? {
        rules.delay_ms = seconds * 1_000;
    }
    if let Some(seconds) = check.seconds("interval_seconds", 1)? {
        rules.interval_ms = seconds * 1_000;
    }
    let restart = fields
        .text("restart_cmd")?
        .filter(|command| !command.trim().is_empty());
    rules.restarts = restart.is_some();
    let service = Service {
        name: name.to_owned(),
        question: question(&check)?,
        restart,
        log: fields.text("log_path")?,
        rules,
        alert: fields.text("notify_on_fail")?.into_iter().collect(),
    };
    Ok(Some((service, fields.texts("dependencies")?)))
}

fn question(check: &Fields<'_>) -> Result<Question, String> {
    let kind = check.need_text("type")?;
    let what = match kind.as_str() {
        "http" => What::Http(check.need_text("endpoint")?),
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
    };
    let timeout = check
        .seconds("timeout_seconds", 1)?
        .unwrap_or(TIMEOUT_SECONDS);
    let question = Question {
        what,
        timeout_ms: timeout * 1_000,
    };
    question
        .check()
        .map_err(|e| format!("{}: {e}", check.place))?;
    Ok(question)
}

/// The keys of an object, and where it stands.
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

    fn flag(&self, key: &str) -> Result<bool, String> {
        match self.value(key) {
            None => Ok(false),
            Some(value) => value
                .as_bool()
                .ok_or_else(|| self.wrong(key, "true or false")),
        }
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

    fn seconds(&self, key: &str, least: u64) -> Result<Option<u64>, String> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        let seconds = value
            .as_u64()
            .filter(|seconds| (least..=MAX_SECONDS).contains(seconds));
        seconds.map(Some).ok_or_else(|| {
            self.wrong(
                key,
                &format!("a whole number of seconds, {least} to {MAX_SECONDS},"),
            )
        })
    }

    fn port(&self) -> Result<u16, String> {
        let port = self
            .need("port")?
            .as_u64()
            .and_then(|port| u16::try_from(port).ok());
        port.filter(|&port| port > 0)
            .ok_or_else(|| self.wrong("port", "a number from 1 to 65535"))
    }
}

/// Each after those that it needs.
fn order(all: &[Service]) -> Result<Vec<usize>, String> {
    let mut order: Vec<usize> = Vec::new();
    while order.len() < all.len() {
        let is_next = |number: &usize| {
            let needs = all
                .get(*number)
                .map_or(&[][..], |service| &service.rules.needs);
            !order.contains(number) && needs.iter().all(|need| order.contains(need))
        };
        let next: Vec<usize> = (0..all.len()).filter(is_next).collect();
        if next.is_empty() {
            let names = all.iter().enumerate().filter(|(n, _)| !order.contains(n));
            let names: Vec<&str> = names.map(|(_, service)| service.name.as_str()).collect();
            return Err(format!(
                "dependencies: these wait for one another in a circle, or for one that does: {}",
                names.join(", ")
            ));
        }
        order.extend(next);
    }
    Ok(order)
}

/// Where services are configured, for error messages and for people.
pub fn named(path: PathBuf) -> Result<PathBuf, String> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("json") => Ok(path),
        Some(_) | None => Err(format!(
            "{}: the file of services is JSON, and its name ends in .json",
            path.display()
        )),
    }
}

#[cfg(test)]
mod tests;
