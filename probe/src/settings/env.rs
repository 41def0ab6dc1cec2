//! Settings from the environment, read by the SDK's rule.

use std::path::PathBuf;
use std::time::Duration;

use ready_probe_sdk::connect::env_or_file::{self, Lookup};
use ready_probe_sdk::connect::place;
use ready_probe_sdk::trimmed_variable;

use super::origin::{Invalid, Origin, Setting};
use crate::redact::shown;

/// The environment, or a test's stand-in for it.
pub struct Env<'a> {
    lookup: Lookup<'a>,
}

impl<'a> Env<'a> {
    /// Reads variables through `lookup`.
    pub fn new(lookup: Lookup<'a>) -> Self {
        Self { lookup }
    }

    /// Whether a variable is set, to any value.
    pub fn is_set(&self, name: &str) -> bool {
        (self.lookup)(name)
            .and_then(trimmed_variable::meant)
            .is_some()
    }

    /// A variable that names a file or folder.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        let value = (self.lookup)(name).filter(|value| !value.is_empty())?;
        Some(PathBuf::from(value))
    }

    /// A variable, if it is set.
    pub fn variable(&self, name: &str) -> Result<Option<Setting<String>>, Invalid> {
        let text = env_or_file::text(self.lookup, name)?;
        Ok(text.map(|text| Setting::new(text, Origin::Env(name.to_owned()))))
    }

    /// Its value; the error does not name it.
    pub fn text(&self, name: &str) -> Result<Option<String>, String> {
        env_or_file::text(self.lookup, name).map_err(|e| e.why)
    }

    /// An address that may also come from the file that `NAME_FILE` names.
    pub fn address(&self, name: &str) -> Result<Option<Setting<String>>, Invalid> {
        let found = env_or_file::address(self.lookup, name)?;
        Ok(found.map(|(text, source)| Setting::new(text, source.into())))
    }

    /// How long a nats-server before 2.11 keeps records.
    pub fn max_age(&self) -> Result<Option<Duration>, Invalid> {
        Ok(place::max_age(self.lookup)?)
    }

    /// A variable that is on or off; `default` when it is not set.
    pub fn switch(&self, name: &str, default: bool) -> Result<Setting<bool>, Invalid> {
        match self.variable(name)? {
            None => Ok(Setting::default_of(default)),
            Some(setting) => setting.parse(|text| on_or_off(text)),
        }
    }
}

/// `on` or `off`, in all the ways that people write them.
pub fn on_or_off(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "on" | "true" | "yes" | "1" => Ok(true),
        "off" | "false" | "no" | "0" => Ok(false),
        _ => Err(format!("{} is neither on nor off", shown(text))),
    }
}
