//! Settings from the environment, read by the SDK's rule.

use std::ffi::OsString;
use std::path::PathBuf;

use ready_probe_sdk::variable;

use super::origin::{Invalid, Origin, Setting};
use crate::redact::shown;
use crate::text_file;

/// The environment, or what a test puts in its place.
pub struct Env<'a> {
    lookup: &'a dyn Fn(&str) -> Option<OsString>,
}

impl<'a> Env<'a> {
    /// Reads variables through `lookup`.
    pub fn new(lookup: &'a dyn Fn(&str) -> Option<OsString>) -> Self {
        Self { lookup }
    }

    /// Whether a variable is set, to whatever.
    pub fn is_set(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    fn value(&self, name: &str) -> Option<OsString> {
        (self.lookup)(name).and_then(variable::meant)
    }

    /// A variable that names a file or folder.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        let value = (self.lookup)(name).filter(|value| !value.is_empty())?;
        Some(PathBuf::from(value))
    }

    /// A variable, if it is set.
    pub fn variable(&self, name: &str) -> Result<Option<Setting<String>>, Invalid> {
        let origin = Origin::Env(name.to_owned());
        match self.text(name) {
            Ok(value) => Ok(value.map(|value| Setting::new(value, origin))),
            Err(why) => Err(Invalid::new(&origin, why)),
        }
    }

    /// Its value; the error does not name it.
    pub fn text(&self, name: &str) -> Result<Option<String>, String> {
        let text = self.value(name).map(OsString::into_string).transpose();
        text.map_err(|_| "it is not UTF-8".to_owned())
    }

    /// A variable that may also come from the file that `NAME_FILE` names.
    pub fn secret(&self, name: &str) -> Result<Option<Setting<String>>, Invalid> {
        let file_variable = format!("{name}_FILE");
        let (direct, file) = (self.variable(name)?, self.variable(&file_variable)?);
        let Some(file) = file else {
            return Ok(direct);
        };
        if direct.is_some() {
            return Err(Invalid::new(
                &file.origin,
                format!("{name} is set as well; set one of them"),
            ));
        }
        let path = PathBuf::from(&file.value);
        let text = text_file::read(&path).map_err(|e| Invalid::new(&file.origin, e))?;
        let origin = Origin::EnvFile {
            variable: file_variable,
            path,
        };
        if text.is_empty() {
            return Err(Invalid::new(&origin, "the file is empty"));
        }
        // A host without its scheme can't be told from a password, and DNS is not to be asked for one.
        if !text.contains("://") {
            return Err(Invalid::new(
                &origin,
                "the file holds no address, which begins with its scheme, as in redis:// or nats://",
            ));
        }
        Ok(Some(Setting::new(text, origin)))
    }

    /// A variable that is on or off; `default` when it is not set.
    pub fn switch(&self, name: &str, default: bool) -> Result<Setting<bool>, Invalid> {
        match self.variable(name)? {
            None => Ok(Setting::default_of(default)),
            Some(setting) => setting.parse(|text| on_or_off(text)),
        }
    }
}

/// `on` or `off`, and how else people write these.
pub fn on_or_off(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "on" | "true" | "yes" | "1" => Ok(true),
        "off" | "false" | "no" | "0" => Ok(false),
        _ => Err(format!("{} is neither on nor off", shown(text))),
    }
}
