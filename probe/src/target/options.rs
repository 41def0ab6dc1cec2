//! The options of a target: `#option=value&option=value`, or the keys of a `[[check]]` table.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use ready_probe_sdk::connect::tls::{self, TlsOptions};

use super::variables::Variables;
use crate::redact::HIDDEN;

/// Options of every target.
pub const COMMON: &[&str] = &[
    "timeout", "grace", "confirm", "recheck", "name", "optional", "not", "scope",
];
/// Options of every target that may speak TLS.
pub const TLS: &[&str] = &["ca", "cert", "key_file", "server_name", "insecure"];
/// Options that only say how long, or by what name: they do not make it another check.
const NOT_IDENTIFYING: &[&str] = &[
    "timeout", "grace", "confirm", "recheck", "name", "optional", "scope",
];
/// Options without a value. A file writes them `not = true`.
const FLAGS: &[&str] = &["optional", "not", "insecure", "jetstream"];
/// Options that may stand more than once.
const REPEATABLE: &[&str] = &["header", "json", "contains"];
/// Options whose values are never printed.
const SECRET: &[&str] = &["header", "value", "body", "password"];

/// Longer than any option's name.
const MAX_NAME_BYTES: usize = 20;

#[derive(Debug, Clone)]
struct Pair {
    key: String,
    value: Option<String>,
    /// The value as it is printed.
    shown: Option<String>,
}

/// The options of one target, used up while it is parsed.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pairs: Vec<Pair>,
    /// They may be the rest of a password or query that holds a `#`.
    doubtful: bool,
}

impl Options {
    /// Splits a target where its options begin: at the first `#`.
    pub fn split<'a>(text: &'a str, variables: &Variables) -> Result<(&'a str, Self), String> {
        let (before, fragment) = text.split_once('#').unwrap_or((text, ""));
        let mut options = Self::parse(fragment, variables)?;
        options.doubtful = before.contains('?') || fragment.contains('@');
        Ok((before, options))
    }

    /// Parses what follows the `#`.
    pub fn parse(fragment: &str, variables: &Variables) -> Result<Self, String> {
        let mut pairs = Vec::new();
        for pair in fragment.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = match pair.split_once('=') {
                Some((key, value)) => (key, Some(decode(value)?)),
                None => (pair, None),
            };
            pairs.push(Pair {
                key: key.to_owned(),
                value: value.as_deref().map(|value| variables.raw(value)),
                shown: value.as_deref().map(|value| variables.shown(value)),
            });
        }
        Ok(Self {
            pairs,
            doubtful: false,
        })
    }

    /// Adds an option that a file has as a key, and how it is printed.
    pub fn push(&mut self, key: &str, (value, shown): (String, String)) {
        self.pairs.push(Pair {
            key: key.to_owned(),
            value: Some(value),
            shown: Some(shown),
        });
    }

    /// Adds the options of `other`.
    pub fn extend(&mut self, other: Self) {
        self.pairs.extend(other.pairs);
    }

    /// Whether every option is one of `known` (or of every target).
    pub fn all_known(&self, known: &[&str]) -> bool {
        self.pairs.iter().all(|pair| is_known(&pair.key, known))
    }

    /// Refuses options that no target of this kind has, and repeated ones.
    pub fn check_known(&self, kind: &str, known: &[&str]) -> Result<(), String> {
        for (i, Pair { key, .. }) in self.pairs.iter().enumerate() {
            if !is_known(key, known) {
                let all = [known, COMMON].concat().join(", ");
                let is_name = |c: char| c.is_ascii_alphabetic() || c == '_';
                let in_secret = |pair: &Pair| SECRET.contains(&pair.key.as_str());
                let doubtful = self.doubtful || self.pairs.iter().take(i).any(in_secret);
                if !doubtful && key.len() <= MAX_NAME_BYTES && key.chars().all(is_name) {
                    return Err(format!("{key:?} is no option of {kind} (there are: {all})"));
                }
                return Err(format!(
                    "what follows its # is not an option of {kind} (options: {all}); a # in a \
                     password or query is written %23"
                ));
            }
            let twice = self.pairs.iter().take(i).any(|other| other.key == *key);
            if twice && !REPEATABLE.contains(&key.as_str()) {
                return Err(format!("the option {key} is given twice"));
            }
        }
        Ok(())
    }

    /// The identifying options as they are printed, secrets hidden: `#key=k&value=***`, or nothing.
    pub fn redacted(&self) -> String {
        let shown: Vec<String> = self
            .pairs
            .iter()
            .filter(|pair| !NOT_IDENTIFYING.contains(&pair.key.as_str()))
            .filter(|pair| !is_flag(&pair.key) || pair.value.as_deref() != Some("false"))
            .map(|Pair { key, shown, .. }| match shown {
                Some(_) if is_flag(key) => key.clone(),
                Some(_) if SECRET.contains(&key.as_str()) => format!("{key}={HIDDEN}"),
                Some(value) => format!("{key}={}", ready_probe_sdk::signal::clean(value, 80)),
                None => key.clone(),
            })
            .collect();
        if shown.is_empty() {
            return String::new();
        }
        format!("#{}", shown.join("&"))
    }

    /// The value of an option that needs one.
    pub fn value(&mut self, key: &str) -> Result<Option<String>, String> {
        match self.take(key) {
            None => Ok(None),
            Some(Some(value)) if !value.is_empty() => Ok(Some(value)),
            Some(_) => Err(format!("the option {key} needs a value: {key}=…")),
        }
    }

    /// As [`Options::value`], but the empty text is a value, too.
    pub fn text(&mut self, key: &str) -> Result<Option<String>, String> {
        match self.take(key) {
            None => Ok(None),
            Some(Some(value)) => Ok(Some(value)),
            Some(None) => Err(format!("the option {key} needs a value: {key}=…")),
        }
    }

    /// All values of an option that may be repeated.
    pub fn values(&mut self, key: &str) -> Result<Vec<String>, String> {
        let mut values = Vec::new();
        while let Some(value) = self.value(key)? {
            values.push(value);
        }
        Ok(values)
    }

    /// An option without a value.
    pub fn flag(&mut self, key: &str) -> Result<bool, String> {
        Ok(self.said(key)?.unwrap_or(false))
    }

    /// The same where nothing said is something else than no.
    pub fn said(&mut self, key: &str) -> Result<Option<bool>, String> {
        match self.take(key) {
            None => Ok(None),
            Some(None) => Ok(Some(true)),
            Some(Some(value)) => match value.as_str() {
                "true" => Ok(Some(true)),
                "false" => Ok(Some(false)),
                _ => Err(format!(
                    "the option {key} is either there or not; it takes no value"
                )),
            },
        }
    }

    /// A value, parsed.
    pub fn parsed<T>(
        &mut self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, String> {
        match self.value(key)? {
            None => Ok(None),
            Some(value) => parse(&value)
                .map(Some)
                .map_err(|e| format!("the option {key}: {e}")),
        }
    }

    /// All values of an option that may be repeated, parsed.
    pub fn all_parsed<T>(
        &mut self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        let mut values = Vec::new();
        while let Some(value) = self.parsed(key, &parse)? {
            values.push(value);
        }
        Ok(values)
    }

    /// `min=N`, 1 by default.
    pub fn min(&mut self) -> Result<usize, String> {
        let at_least_one = |text: &str| {
            text.parse()
                .ok()
                .filter(|n| (1..=1_024).contains(n))
                .ok_or_else(|| "it must be a number from 1 to 1024".to_owned())
        };
        Ok(self.parsed("min", at_least_one)?.unwrap_or(1))
    }

    /// The options of [`TLS`].
    pub fn tls(&mut self) -> Result<TlsOptions, String> {
        let tls = TlsOptions {
            ca: self.value("ca")?.map(PathBuf::from),
            cert: self.value("cert")?.map(PathBuf::from),
            key: self.value("key_file")?.map(PathBuf::from),
            insecure: self.flag("insecure")?,
            name: self
                .parsed("server_name", tls::server_name)?
                .unwrap_or_default(),
        };
        match (&tls.cert, &tls.key) {
            (Some(_), None) => Err("the option cert needs key_file beside it".to_owned()),
            (None, Some(_)) => Err("the option key_file needs cert beside it".to_owned()),
            (Some(_), Some(_)) | (None, None) => Ok(tls),
        }
    }

    fn take(&mut self, key: &str) -> Option<Option<String>> {
        let at = self.pairs.iter().position(|pair| pair.key == key)?;
        Some(self.pairs.remove(at).value)
    }
}

fn is_flag(key: &str) -> bool {
    FLAGS.contains(&key)
}

fn is_known(key: &str, known: &[&str]) -> bool {
    known.contains(&key) || COMMON.contains(&key)
}

fn decode(value: &str) -> Result<String, String> {
    let encoded = |rest: &str| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    // Nothing can be encoded at the end: `90%` is what it looks like.
    let within = value.strip_suffix('%').unwrap_or(value);
    if !within.split('%').skip(1).all(encoded) {
        return Err("a % in an option is written %25".to_owned());
    }
    percent_decode_str(value)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| "the percent-encoding of an option is not UTF-8".to_owned())
}
