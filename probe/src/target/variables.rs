//! `${NAME}` and `${NAME:-default}` in a target. A value stands for itself, whatever it holds:
//! syntax in it is encoded where the target is encoded, and it is never searched for variables.
//!
//! While a target is parsed, each variable is one character that means nothing in any target, so
//! its value can't decide where the parts begin. [`Variables`] then puts the values in.

use std::net::Ipv6Addr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::redact::Secrets;

/// Looks a variable up: `None` if it is not set, or why it can't be used.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Result<Option<String>, String>;

/// The first character of a plane that is free for private use; the n-th stands for the n-th variable.
const FIRST: u32 = 0xF_0000;
/// All characters but the unreserved ones (RFC 3986, 2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// Options whose values are no secrets: they are numbers and words, or there to be printed.
const HARMLESS: &[&str] = &[
    "timeout", "grace", "confirm", "recheck", "name", "scope", "min", "max_age", "method",
    "status", "role", "bucket", "free", "inodes", "used", "max", "socket", "inet", "user",
];
/// A shorter value is no secret, and hiding it everywhere would garble every message.
const MIN_SECRET_BYTES: usize = 4;
const RULE: &str = "write a variable as ${NAME} or ${NAME:-default}, and a literal ${ as $${";

/// Why a text with variables can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unusable {
    /// A variable can't: its name, and why.
    Variable(String, String),
    /// The text itself.
    Text(String),
}

impl From<String> for Unusable {
    fn from(why: String) -> Self {
        Self::Text(why)
    }
}

/// The variables of one target, in order.
#[derive(Debug, Clone, Default)]
pub struct Variables(Vec<Variable>);

#[derive(Debug, Clone)]
struct Variable {
    name: String,
    value: String,
    /// It may be printed.
    harmless: bool,
}

impl Variables {
    /// Takes the variables out of a text.
    pub fn take(text: &str, lookup: Lookup<'_>) -> Result<(String, Self), Unusable> {
        let mut variables = Vec::new();
        let mut without = String::new();
        let mut left = text;
        while let Some(at) = left.find("${") {
            let (before, rest) = left.split_at(at);
            let rest = rest.get(2..).unwrap_or_default();
            left = rest;
            if let Some(before) = before.strip_suffix('$') {
                without.push_str(before);
                without.push_str("${");
                continue;
            }
            let (inside, after) = rest.split_once('}').ok_or_else(|| RULE.to_owned())?;
            without.push_str(before);
            without.push(stand_in(variables.len()).ok_or_else(|| "too many variables".to_owned())?);
            variables.push(Variable::look_up(inside, lookup)?);
            left = after;
        }
        without.push_str(left);
        let all = Self(variables);
        let stand_ins = without.chars().filter(|c| all.at(*c).is_some()).count();
        if stand_ins != all.0.len() {
            return Err("it holds a character for private use".to_owned().into());
        }
        Ok((without, all))
    }

    /// Decides which of them may be printed: hosts, ports, and options that are no secrets. The
    /// others are secrets from now on.
    pub fn classify(&mut self, scheme: &str, rest: &str, secrets: &mut Secrets) {
        let is_address = rest.starts_with("//");
        let hash = match scheme {
            "process" | "pid" | "exec" | "file" | "fds" => rest.rfind('#'),
            _ => rest.find('#'),
        };
        let (body, fragment) = rest.split_at(hash.unwrap_or(rest.len()));
        let harmless_in_body = match (scheme, is_address) {
            ("agent" | "peer" | "supervisor" | "container", _) => body.to_owned(),
            (_, true) => hosts(body),
            (_, false) => String::new(),
        };
        self.tell_apart(&harmless_in_body, fragment, secrets);
    }

    /// The same for `whole#options`, where `whole` is a variable. What is secret in that one's value is known
    /// once it is parsed.
    pub fn classify_options(&mut self, whole: char, fragment: &str, secrets: &mut Secrets) {
        self.tell_apart(&whole.to_string(), fragment, secrets);
    }

    fn tell_apart(&mut self, harmless_in_body: &str, fragment: &str, secrets: &mut Secrets) {
        let is_harmless = |pair: &&str| {
            let key = pair.split('=').next().unwrap_or_default();
            HARMLESS.contains(&key)
        };
        let options = fragment.trim_start_matches('#').split('&');
        let harmless: String = options.filter(is_harmless).collect();
        for (i, variable) in self.0.iter_mut().enumerate() {
            variable.harmless =
                stand_in(i).is_some_and(|c| harmless.contains(c) || harmless_in_body.contains(c));
        }
        self.add_secrets(secrets);
    }

    /// Remembers the secret ones.
    fn add_secrets(&self, secrets: &mut Secrets) {
        for variable in self.0.iter().filter(|variable| !variable.harmless) {
            if variable.value.len() >= MIN_SECRET_BYTES {
                secrets.add(&variable.value);
            }
        }
    }

    /// The value of an option that stands beside the target, and how it is printed.
    pub fn option(
        key: &str,
        text: &str,
        lookup: Lookup<'_>,
        secrets: &mut Secrets,
    ) -> Result<(String, String), Unusable> {
        let (text, mut variables) = Self::take(text, lookup)?;
        for variable in &mut variables.0 {
            variable.harmless = HARMLESS.contains(&key);
        }
        variables.add_secrets(secrets);
        Ok((variables.raw(&text), variables.shown(&text)))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value, if all of `text` is one variable.
    fn whole(&self, text: &str) -> Option<&str> {
        let mut chars = text.chars();
        let variable = self.at(chars.next()?)?;
        chars.next().is_none().then_some(variable.value.as_str())
    }

    /// The variable that is a whole target, and the options behind its `#`, if there are any.
    pub fn target<'a>(&self, text: &'a str) -> Option<(char, &'a str)> {
        let (body, fragment) = text.split_once('#').unwrap_or((text, ""));
        self.whole(body)?;
        Some((body.chars().next()?, fragment))
    }

    /// `${A}, ${B}`
    pub fn names(&self) -> String {
        let names = self.0.iter().map(Variable::written);
        names.collect::<Vec<_>>().join(", ")
    }

    /// A part of the target with the values as they are.
    pub fn raw(&self, text: &str) -> String {
        self.replace(text, |variable| variable.value.clone())
    }

    /// A part of an address, with the values percent-encoded.
    pub fn encoded(&self, text: &str) -> String {
        let encoded = self.replace(text, |variable| {
            utf8_percent_encode(&variable.value, ENCODED).to_string()
        });
        // In brackets, a colon is no syntax.
        let brackets = text.match_indices('[').filter_map(|(at, _)| {
            let inside = text.get(at + 1..)?.split(']').next()?;
            let value = self.whole(inside)?;
            value.parse::<Ipv6Addr>().is_ok().then_some(value)
        });
        brackets.fold(encoded, |encoded, ip| {
            let coded = utf8_percent_encode(ip, ENCODED);
            encoded.replacen(&format!("[{coded}]"), &format!("[{ip}]"), 1)
        })
    }

    /// A part of the target as it is printed.
    pub fn shown(&self, text: &str) -> String {
        self.replace(text, |variable| {
            if variable.harmless {
                variable.value.clone()
            } else {
                variable.written()
            }
        })
    }

    fn replace(&self, text: &str, by: impl Fn(&Variable) -> String) -> String {
        let mut replaced = String::new();
        for c in text.chars() {
            match self.at(c) {
                Some(variable) => replaced.push_str(&by(variable)),
                None => replaced.push(c),
            }
        }
        replaced
    }

    fn at(&self, c: char) -> Option<&Variable> {
        let at = u32::from(c).checked_sub(FIRST)?;
        self.0.get(usize::try_from(at).ok()?)
    }
}

impl Variable {
    /// The errors never quote the default: it may be a secret.
    fn look_up(inside: &str, lookup: Lookup<'_>) -> Result<Self, Unusable> {
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let is_name = name.chars().all(is_name) && !name.starts_with(|c: char| c.is_ascii_digit());
        if name.is_empty() || !is_name {
            return Err(RULE.to_owned().into());
        }
        if default.is_some_and(|default| default.contains("${")) {
            return Err(format!("the default of ${{{name}}} can't hold another variable").into());
        }
        let unusable = |why: String| Unusable::Variable(name.to_owned(), why);
        let value = match (lookup(name).map_err(unusable)?, default) {
            (Some(value), _) => value,
            (None, Some(default)) => default.to_owned(),
            (None, None) => {
                return Err(unusable(format!(
                    "it is not set, and a target needs it; ${{{name}:-…}} gives it a default"
                )));
            }
        };
        Ok(Self {
            name: name.to_owned(),
            value,
            harmless: false,
        })
    }

    fn written(&self) -> String {
        format!("${{{}}}", self.name)
    }
}

fn stand_in(at: usize) -> Option<char> {
    // The plane has 65,534 characters.
    let at = u32::try_from(at).ok().filter(|at| *at < 0xFFFE)?;
    char::from_u32(FIRST + at)
}

/// The part of an address behind the userinfo of each of its servers, and before any path.
fn hosts(address: &str) -> String {
    let authority = address.strip_prefix("//").unwrap_or(address);
    let authority = authority.split(['/', '?']).next().unwrap_or_default();
    let Some((_, host)) = authority.rsplit_once('@') else {
        return authority.to_owned();
    };
    // A comma may belong to a password, as long as an @ follows.
    host.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Result<Option<String>, String> {
        match name {
            "A" => Ok(Some("a/b #%".to_owned())),
            "IP" => Ok(Some("::1".to_owned())),
            "NESTED" => Ok(Some("${A}".to_owned())),
            "BROKEN" => Err("it is not UTF-8".to_owned()),
            _ => Ok(None),
        }
    }

    #[test]
    fn truth_table() {
        let table = [
            // as written, raw, encoded
            ("x", "x", "x"),
            ("${A}", "a/b #%", "a%2Fb%20%23%25"),
            (
                "x${A}y${A}",
                "xa/b #%ya/b #%",
                "xa%2Fb%20%23%25ya%2Fb%20%23%25",
            ),
            ("${NONE:-d:-e}", "d:-e", "d%3A-e"),
            ("${A:-d}", "a/b #%", "a%2Fb%20%23%25"),
            ("${NONE:-}", "", ""),
            ("$${A}", "${A}", "${A}"),
            ("$$ $A ${NESTED}", "$$ $A ${A}", "$$ $A %24%7BA%7D"),
            ("[${IP}]:1", "[::1]:1", "[::1]:1"),
            ("[${A}]", "[a/b #%]", "[a%2Fb%20%23%25]"),
        ];
        for (text, raw, encoded) in table {
            let (without, variables) = Variables::take(text, &lookup).unwrap();
            assert_eq!(variables.raw(&without), raw, "{text}");
            assert_eq!(variables.encoded(&without), encoded, "{text}");
        }
    }

    #[test]
    fn what_is_no_variable_is_refused() {
        for text in [
            "${",
            "${A",
            "${}",
            "${A-b}",
            "${1}",
            "${A:-${A}}",
            "${ A}",
            "${A}\u{f0000}",
        ] {
            let e = Variables::take(text, &lookup).unwrap_err();
            assert!(matches!(e, Unusable::Text(_)), "{text}: {e:?}");
        }
        for (text, name) in [("${NONE}", "NONE"), ("${A}${BROKEN}", "BROKEN")] {
            let Unusable::Variable(named, _) = Variables::take(text, &lookup).unwrap_err() else {
                panic!("{text}")
            };
            assert_eq!(named, name);
        }
    }

    #[test]
    fn hosts_ports_and_plain_options_are_harmless() {
        let table = [
            (
                "redis",
                "//${A}:${A}@h/${A}?x=${A}#key=${A}",
                "//${A}:${A}@h/${A}?x=${A}#key=${A}",
            ),
            ("tcp", "//${IP}:1#name=${IP}", "//::1:1#name=::1"),
            (
                "redis",
                "//${A}@a,${A}@${IP}:${IP}",
                "//${A}@a,${A}@::1:::1",
            ),
            (
                "file",
                "/${IP}#max_age=${IP}&contains=${IP}",
                "/${IP}#max_age=::1&contains=${IP}",
            ),
            ("agent", "${IP}#min=${IP}", "::1#min=::1"),
            ("unix", "///${IP}/x.sock", "///${IP}/x.sock"),
        ];
        for (scheme, text, want) in table {
            let (without, mut variables) = Variables::take(text, &lookup).unwrap();
            let mut secrets = Secrets::default();
            variables.classify(scheme, &without, &mut secrets);
            assert_eq!(variables.shown(&without), want, "{text}");
        }
    }
}
