//! The configuration file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::origin::{Invalid, Origin, Setting};
use crate::redact::Secrets;
use crate::target::options::Options;
use crate::target::variables::{Lookup, Unusable, Variables};
use crate::target::{Kind, Target};
use ready_probe_sdk::connect::file;

/// The file that is read if it exists and no other is named.
pub const DEFAULT_PATH: &str = "/etc/ready-probe.toml";

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    timeout: Option<String>,
    grace: Option<String>,
    agent: Option<AgentNames>,
    dir: Option<String>,
    store: Option<String>,
    namespace: Option<String>,
    format: Option<String>,
    quiet: Option<bool>,
    verbose: Option<bool>,
    #[serde(default)]
    check: Vec<BTreeMap<String, toml::Value>>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "agent must be a text or a list of texts")]
enum AgentNames {
    List(Vec<String>),
    Text(String),
}

/// The file's settings.
#[derive(Debug, Default)]
pub struct ConfigFile {
    /// `timeout`.
    pub timeout: Option<Setting<String>>,
    /// `grace`.
    pub grace: Option<Setting<String>>,
    /// `agent`; an empty list says that this container has no agents.
    pub agent: Option<Setting<Vec<String>>>,
    /// `dir`.
    pub dir: Option<Setting<String>>,
    /// `store`.
    pub store: Option<Setting<String>>,
    /// `namespace`.
    pub namespace: Option<Setting<String>>,
    /// `format`.
    pub format: Option<Setting<String>>,
    /// `quiet`.
    pub quiet: Option<Setting<bool>>,
    /// `verbose`.
    pub verbose: Option<Setting<bool>>,
    /// The `[[check]]` tables.
    pub checks: Vec<Setting<Target>>,
}

impl ConfigFile {
    /// Whether the default file exists.
    pub fn is_there() -> bool {
        !is_absent(Path::new(DEFAULT_PATH))
    }

    /// Reads the file that was named, or the default one if it exists.
    pub fn load(
        named: Option<&Setting<String>>,
        lookup: Lookup<'_>,
        secrets: &mut Secrets,
    ) -> Result<Self, Invalid> {
        if let Some(named) = named.filter(|named| named.value.is_empty()) {
            return Err(Invalid::new(&named.origin, "it names no file"));
        }
        let path = PathBuf::from(named.map_or(DEFAULT_PATH, |named| named.value.as_str()));
        if named.is_none() && is_absent(&path) {
            return Ok(Self::default());
        }
        let text = file::read_text(&path).map_err(|e| match named {
            // If the file is there, it was named correctly: the fault is in the file.
            Some(named) if !e.is_content() => Invalid::new(&named.origin, e),
            Some(_) | None => Invalid::new(&at(&path, ""), e.why()),
        })?;
        Self::parse(&text, &path, lookup, secrets)
    }

    fn parse(
        text: &str,
        path: &Path,
        lookup: Lookup<'_>,
        secrets: &mut Secrets,
    ) -> Result<Self, Invalid> {
        let written: Written = toml::from_str(text).map_err(|e| {
            let why = match e.span() {
                Some(span) => on_line(text, span.start, e.message()),
                None => without_value(e.message()),
            };
            Invalid::new(&at(path, ""), why)
        })?;
        let checks = written
            .check
            .into_iter()
            .enumerate()
            .map(|(i, table)| {
                let origin = at(path, &format!("check {}", i + 1));
                let target =
                    check(table, lookup, secrets).map_err(|e| Invalid::target(&origin, e))?;
                Ok(Setting::new(target, origin))
            })
            .collect::<Result<_, Invalid>>()?;
        Ok(Self {
            timeout: set(path, "timeout", written.timeout),
            grace: set(path, "grace", written.grace),
            agent: set(path, "agent", written.agent).map(|setting| {
                let names = match setting.value {
                    AgentNames::List(names) => names,
                    AgentNames::Text(names) => vec![names],
                };
                Setting::new(names, setting.origin)
            }),
            dir: set(path, "dir", written.dir),
            store: set(path, "store", written.store),
            namespace: set(path, "namespace", written.namespace),
            format: set(path, "format", written.format),
            quiet: set(path, "quiet", written.quiet),
            verbose: set(path, "verbose", written.verbose),
            checks,
        })
    }
}

/// The place of an error: the line, and the key if there is one.
fn on_line(text: &str, at: usize, message: &str) -> String {
    let before = text.get(..at).unwrap_or_default();
    let number = before.matches('\n').count() + 1;
    let line = text.lines().nth(number - 1).unwrap_or_default().trim();
    let key = line.split_once('=').map_or(line, |(key, _)| key);
    let key = key.trim_matches(|c: char| c.is_whitespace() || "[]".contains(c));
    let why = without_value(message);
    match (
        key,
        why.contains("expected a sequence"),
        why.starts_with("invalid type"),
    ) {
        ("check", true, _) => format!("line {number}: each check is written [[check]]"),
        (key, _, true) if is_key(key) => format!("line {number}: {key}: {why}"),
        _ => format!("line {number}: {why}"),
    }
}

/// A bare word, as our keys are; anything else may be a value.
fn is_key(word: &str) -> bool {
    (1..=20).contains(&word.len()) && word.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

/// serde quotes a value that has the wrong type, and it may be an address with a password.
fn without_value(message: &str) -> String {
    match (message.split_once(": "), message.rsplit_once(", expected ")) {
        (Some((what @ ("invalid type" | "invalid value"), _)), Some((_, expected))) => {
            format!("{what}, expected {expected}")
        }
        (Some(_) | None, Some(_) | None) => message.to_owned(),
    }
}

/// A link to nowhere, or a folder that can't be searched, is not absent: somebody meant something.
fn is_absent(path: &Path) -> bool {
    let found = std::fs::symlink_metadata(path);
    found.is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound)
}

fn at(path: &Path, key: &str) -> Origin {
    Origin::File {
        path: path.to_owned(),
        key: key.to_owned(),
    }
}

fn set<T>(path: &Path, key: &str, value: Option<T>) -> Option<Setting<T>> {
    value.map(|value| Setting::new(value, at(path, key)))
}

/// One `[[check]]`: `target` or `any`, and options as keys.
fn check(
    mut table: BTreeMap<String, toml::Value>,
    lookup: Lookup<'_>,
    secrets: &mut Secrets,
) -> Result<Target, Unusable> {
    let target = table.remove("target");
    let any = table.remove("any");
    let mut options = Options::default();
    for (key, value) in table {
        for value in option_values(&key, value)? {
            options.push(&key, Variables::option(&key, &value, lookup, secrets)?);
        }
    }
    match (target, any) {
        (Some(toml::Value::String(text)), None) => {
            Target::parse_configured(&text, options, lookup, secrets)
        }
        (None, Some(toml::Value::Array(items))) => {
            let targets = items
                .iter()
                .map(|item| match item.as_str() {
                    Some(text) => {
                        let none = Options::default();
                        let target = Target::parse_configured(text, none, lookup, secrets)?;
                        Ok(only_asks(target)?)
                    }
                    None => Err(Unusable::from("any must be a list of texts".to_owned())),
                })
                .collect::<Result<_, _>>()?;
            Ok(Target::any(targets, options)?)
        }
        (Some(_), Some(_)) => Err("it has both target and any".to_owned().into()),
        (Some(_), None) => Err("target must be a text".to_owned().into()),
        (None, Some(_)) => Err("any must be a list of texts".to_owned().into()),
        (None, None) => Err("it needs target = \"…\" or any = [\"…\"]".to_owned().into()),
    }
}

/// Within `any`, what a target's answer means is decided for all of them together.
fn only_asks(target: Target) -> Result<Target, String> {
    let lasts = [target.confirm, target.recheck];
    // A limit decides here, unless it was told not to: this can't be told from its default.
    let is_optional = target.optional && !matches!(target.kind, Kind::Resource(_));
    if target.grace.is_some() || is_optional || lasts.iter().any(Option::is_some) {
        return Err(format!(
            "{}: within any, grace, confirm, recheck and optional belong to the check as a whole",
            target.redacted
        ));
    }
    Ok(target)
}

fn option_values(key: &str, value: toml::Value) -> Result<Vec<String>, String> {
    let one = |value: toml::Value| match value {
        toml::Value::String(text) => Ok(text),
        toml::Value::Boolean(flag) => Ok(flag.to_string()),
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::Float(_)
        | toml::Value::Datetime(_)
        | toml::Value::Array(_)
        | toml::Value::Table(_) => Err(format!(
            "the option {key} must be a text, a number, true or false"
        )),
    };
    match value {
        toml::Value::Array(values) if values.is_empty() => {
            Err(format!("the option {key} is an empty list"))
        }
        toml::Value::Array(values) => values.into_iter().map(one).collect(),
        value @ (toml::Value::String(_)
        | toml::Value::Boolean(_)
        | toml::Value::Integer(_)
        | toml::Value::Float(_)
        | toml::Value::Datetime(_)
        | toml::Value::Table(_)) => Ok(vec![one(value)?]),
    }
}
