//! The record an agent publishes: its fields, limits, encoding and decoding. No I/O, no clock.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::{Error, ErrorKind, Result};

/// The version of the record this crate writes and believes.
pub const VERSION: u32 = 1;
/// The largest encoded record, in bytes.
pub const MAX_RECORD_BYTES: usize = 4096;
/// The longest reason, in characters.
pub const MAX_REASON_CHARS: usize = 256;
/// The shortest TTL, in milliseconds.
pub const MIN_TTL_MS: u64 = 1_000;
/// The longest TTL, in milliseconds.
pub const MAX_TTL_MS: u64 = 3_600_000;
/// The default TTL, in milliseconds.
pub const DEFAULT_TTL_MS: u64 = 60_000;
/// How many beats fit into a TTL by default.
pub const BEATS_PER_TTL: u64 = 6;

/// What a name is, for messages.
pub const NAME_RULE: &str =
    "a letter or digit, then letters, digits, '.', '_' or '-', at most 128 characters in all";
/// What is written instead of agents' names where there are none, letter for letter.
pub const NO_AGENTS: &str = "off";

const INSTANCE_MAX: usize = 200;

/// What an agent says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is loading, connecting, warming up.
    Starting,
    /// It does its work.
    Ready,
    /// It runs and can't do its work now; the reason says why.
    NotReady,
    /// It is shutting down.
    Stopping,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::NotReady => "not_ready",
            Self::Stopping => "stopping",
        })
    }
}

/// The name of an agent or of a namespace: `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Name(String);

impl Name {
    /// Checks a name.
    ///
    /// ```
    /// use ready_probe_sdk::signal::Name;
    ///
    /// assert!(Name::new("translator-2").is_ok());
    /// assert!(Name::new("../translator").is_err());
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidName`], with the rule, when the name breaks it.
    pub fn new(name: &str) -> Result<Self> {
        if is_name(name, 128) {
            return Ok(Self(name.to_owned()));
        }
        // `{:?}` shows invisible characters.
        let shown: String = name.chars().take(40).collect();
        let shown = match name.chars().nth(40) {
            Some(_) => shown + "…",
            None => shown,
        };
        Err(Error::new(
            ErrorKind::InvalidName,
            format!("invalid name {shown:?}: a name is {NAME_RULE}"),
        ))
    }

    /// Checks the name of an agent: any name but `off`, which says that a container has no agents.
    ///
    /// ```
    /// use ready_probe_sdk::signal::Name;
    ///
    /// assert!(Name::of_agent("translator").is_ok());
    /// assert!(Name::of_agent("off").is_err());
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidName`] as [`Name::new`], and for `off`.
    pub fn of_agent(name: &str) -> Result<Self> {
        if name == NO_AGENTS {
            return Err(Error::new(
                ErrorKind::InvalidName,
                "invalid name \"off\": READY_AGENT=off says that a container has no agents; call the \
                 agent something else",
            ));
        }
        Self::new(name)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

/// One process's publication of an agent name: the letters of a [`Name`], up to 200.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Instance(String);

impl Instance {
    /// The instance of a process: `HOST-PID-PIDSTART`, where letters a host name may hold and an
    /// instance may not are written `_`.
    #[must_use]
    pub fn of_process(host: &str, pid: u32, pid_start: Option<u64>) -> Self {
        let host: String = host
            .chars()
            .map(|c| if is_name_char(c) { c } else { '_' })
            .take(64)
            .collect();
        let host = host.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
        let host = if host.is_empty() { "host" } else { host };
        Self(match pid_start {
            Some(start) => format!("{host}-{pid}-{start}"),
            None => format!("{host}-{pid}"),
        })
    }

    /// Checks an instance.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidName`] when it breaks the rule.
    pub fn new(text: &str) -> Result<Self> {
        if is_name(text, INSTANCE_MAX) {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::new(ErrorKind::InvalidName, "invalid instance"))
    }

    /// The same instance, distinct from any other with its host name and process id.
    #[must_use]
    pub fn with_nonce(self, nonce: &str) -> Self {
        Self(format!("{}-{nonce}", self.0))
    }

    /// The instance as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Instance {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

/// What became of announcing the signal to the store that others read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// The store's address without its secrets.
    pub store: String,
    /// Whether the last beat arrived there.
    pub ok: bool,
    /// Why it did not, or what holds with reservations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What an agent publishes. See `docs/signal.md` for the format.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    /// The record's version, [`VERSION`].
    pub v: u32,
    /// The agent's name.
    pub agent: Name,
    /// Which process of that name published it.
    pub instance: Instance,
    /// What the agent says of itself.
    pub state: State,
    /// Why, in at most [`MAX_REASON_CHARS`] characters.
    #[serde(default)]
    pub reason: Option<String>,
    /// Anything the agent wants to tell; a JSON object.
    #[serde(default)]
    pub details: Map<String, Value>,
    /// How long the signal lives after its beat; null for a local record bound to a process.
    #[serde(deserialize_with = "required")]
    pub ttl_ms: Option<u64>,
    /// The interval of the heartbeat.
    #[serde(default)]
    pub beat_ms: Option<u64>,
    /// Counts the records of one instance.
    #[serde(default)]
    pub seq: u64,
    /// The host name of the publisher.
    #[serde(default)]
    pub host: Option<String>,
    /// The publisher's process id, in its PID namespace.
    #[serde(default)]
    pub pid: Option<u32>,
    /// When that process started: field 22 of `/proc/PID/stat`.
    #[serde(default)]
    pub pid_start: Option<u64>,
    /// The kernel's boot id.
    #[serde(default)]
    pub boot_id: Option<String>,
    /// The inode of the publisher's PID namespace.
    #[serde(default)]
    pub pid_ns: Option<u64>,
    /// When PID 1 of that namespace started: field 22 of `/proc/1/stat`.
    #[serde(default)]
    pub init_start: Option<u64>,
    /// The inode of the publisher's time namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_ns: Option<u64>,
    /// The container's id, if the paths of its layers tell it; see [`crate::host::container_id`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// `CLOCK_MONOTONIC` at the beat.
    #[serde(default)]
    pub mono_ms: Option<u64>,
    /// Since when the state holds, wall clock, for people only.
    #[serde(default)]
    pub since: Option<String>,
    /// What wrote the record: `rust/0.1.0`, `python/0.1.0`.
    #[serde(default)]
    pub sdk: Option<String>,
    /// What became of the announcement, if there is a store for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announced: Option<Announced>,
}

/// Why bytes are not a signal.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// Larger than [`MAX_RECORD_BYTES`].
    TooLarge,
    /// A record of a version this crate does not know.
    UnknownVersion(u64),
    /// Not a record; why.
    Malformed(String),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => write!(f, "record larger than {MAX_RECORD_BYTES} bytes"),
            Self::UnknownVersion(v) => write!(
                f,
                "record of version {v}; this reader knows version {VERSION} only"
            ),
            Self::Malformed(why) => write!(f, "malformed record: {why}"),
        }
    }
}

impl Signal {
    /// The signal cut to fit: what an agent says matters more than its details, so these are left
    /// out if `encode` refuses both, as with a long reason for not being ready.
    #[cfg(feature = "agent")]
    pub(crate) fn fitting<T>(&self, encode: impl Fn(&Self) -> Result<T>) -> Result<T> {
        encode(self).or_else(|_| {
            encode(&Self {
                details: Map::new(),
                ..self.clone()
            })
        })
    }

    /// The record as JSON.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] when it would exceed [`MAX_RECORD_BYTES`].
    pub fn encode(&self) -> Result<Vec<u8>> {
        let bytes = serde_json::to_vec(self)
            .map_err(|e| Error::new(ErrorKind::InvalidArgument, format!("details: {e}")))?;
        if bytes.len() > MAX_RECORD_BYTES {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!(
                    "the signal of agent {} would take {} bytes; at most {MAX_RECORD_BYTES} are \
                     allowed: shorten the details",
                    self.agent,
                    bytes.len()
                ),
            ));
        }
        Ok(bytes)
    }

    /// Reads a record and checks it against the limits.
    ///
    /// # Errors
    /// [`DecodeError`] for anything that is not a complete record of this version.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MAX_RECORD_BYTES {
            return Err(DecodeError::TooLarge);
        }
        if bytes.is_empty() {
            return Err(malformed("it is empty"));
        }
        let mut signal = match serde_json::from_slice::<Self>(bytes) {
            Ok(signal) => signal,
            Err(e) => return Err(version_of(bytes).unwrap_or_else(|| malformed(e))),
        };
        if signal.v != VERSION {
            return Err(DecodeError::UnknownVersion(u64::from(signal.v)));
        }
        if let Some(ttl_ms) = signal.ttl_ms {
            check_ttl_ms(ttl_ms).map_err(malformed)?;
        }
        if let Some(reason) = &signal.reason
            && reason.chars().count() > MAX_REASON_CHARS
        {
            return Err(malformed(format!(
                "reason longer than {MAX_REASON_CHARS} characters"
            )));
        }
        // Other writers may have left in it what breaks or forges a line.
        signal.reason = signal.reason.map(|reason| clean_reason(&reason));
        Ok(signal)
    }
}

/// Checks a TTL against [`MIN_TTL_MS`] and [`MAX_TTL_MS`].
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] outside of them.
pub fn check_ttl_ms(ttl_ms: u64) -> Result<()> {
    if (MIN_TTL_MS..=MAX_TTL_MS).contains(&ttl_ms) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidArgument,
        format!("a TTL of {ttl_ms}ms is out of range: at least 1s, at most 1h"),
    ))
}

/// A reason as it is published: control characters replaced, at most [`MAX_REASON_CHARS`].
#[must_use]
pub fn clean_reason(reason: &str) -> String {
    clean(reason, MAX_REASON_CHARS)
}

/// Text from elsewhere, made safe for one line: control characters become spaces, and what is
/// longer than `max` characters is cut and ends in `…`.
#[must_use]
pub fn clean(text: &str, max: usize) -> String {
    let mut out: String = text
        .chars()
        .take(max)
        .map(|c| if is_unprintable(c) { ' ' } else { c })
        .collect();
    if text.chars().nth(max).is_some() {
        out.pop();
        out.push('…');
    }
    out
}

/// Control characters, and those that reorder or hide the text around them on a terminal.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

fn is_name(text: &str, max: usize) -> bool {
    text.len() <= max
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(is_name_char)
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

fn malformed(why: impl fmt::Display) -> DecodeError {
    DecodeError::Malformed(clean(&why.to_string(), 120))
}

/// A record of a later version may have other fields altogether: that is no malformed record.
fn version_of(bytes: &[u8]) -> Option<DecodeError> {
    #[derive(Deserialize)]
    struct Version {
        v: u64,
    }
    let version = serde_json::from_slice::<Version>(bytes).ok()?.v;
    (version != u64::from(VERSION)).then_some(DecodeError::UnknownVersion(version))
}

/// An `Option` field that may be null but not absent.
fn required<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Option::deserialize(deserializer)
}
