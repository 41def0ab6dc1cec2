//! The stream behind a bucket: how it is made, what it says about itself, how it ends a record's
//! life.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::{Value, json};

use super::Failure;
use crate::clock::millis;
use crate::connect::store::Bucket;
use crate::freshness::Span;

/// Within this time a server drops repeated messages; its default is longer than the shortest
/// `max_age`, which it refuses.
const DUPLICATES: Duration = Duration::from_secs(120);

impl Bucket {
    /// A key-value bucket is a stream of this name (ADR-8).
    pub(super) fn stream(&self) -> String {
        format!("KV_{}", self.name)
    }

    /// The stream to make. At a limit that an account or an administrator sets, `discard: new`
    /// refuses a record and says so to its writer. With `discard: old` the record of the agent that
    /// beat the longest ago would silently make way, and a healthy agent would be missed.
    pub(super) fn config(&self, supports_ttl: bool) -> Value {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let mut config = json!({
            "name": self.stream(),
            "subjects": [format!("$KV.{}.>", self.name)],
            "max_msgs_per_subject": 1,
            "discard": "new",
            "allow_rollup_hdrs": true,
            "deny_delete": true,
            "allow_direct": true,
            "max_msg_size": 8 * 1024,
            "num_replicas": 1,
        });
        if supports_ttl {
            config["allow_msg_ttl"] = json!(true);
        } else {
            config["max_age"] = json!(nanos(self.max_age));
            config["duplicate_window"] = json!(nanos(self.max_age.min(DUPLICATES)));
        }
        config
    }

    /// How a person makes it. Not with `--marker-ttl`: such a bucket expires nothing without a quorum.
    pub(super) fn command(&self, supports_ttl: bool) -> String {
        let add = format!("nats kv add {} --history=1", self.name);
        if supports_ttl {
            return format!("{add} && {} -f", self.edit("--allow-msg-ttl"));
        }
        format!("{add} --ttl={}", Span(millis(self.max_age)))
    }

    /// How a person changes it.
    pub(super) fn edit(&self, option: &str) -> String {
        format!("nats stream edit {} {option}", self.stream())
    }

    /// Why nothing that it says about its records can be relied on, and nothing can be put there.
    pub(super) fn has_no_leader(&self) -> Failure {
        Failure::answered(format!(
            "bucket {} has no leader: too few of its servers are up",
            self.name
        ))
    }

    /// Why a record was not taken if nobody listens to the bucket's subjects.
    pub(super) fn takes_nothing(&self) -> Failure {
        Failure::answered(format!(
            "bucket {} takes no records: it is gone, or has no leader",
            self.name
        ))
    }

    /// Why a bucket can't be read.
    pub(super) fn is_not_direct(&self) -> Failure {
        Failure::answered(format!(
            "bucket {} can't be read directly: {}",
            self.name,
            self.edit("--allow-direct")
        ))
    }

    /// Why a bucket that keeps several records of one instance is refused.
    pub(super) fn keeps_several(&self) -> String {
        format!(
            "bucket {} would bring back an older signal when the last one ends: {}",
            self.name,
            self.edit("--max-msgs-per-subject=1")
        )
    }

    /// Why a bucket that never ends a record's life is refused.
    pub(super) fn is_for_ever(&self, supports_ttl: bool) -> String {
        let option = if supports_ttl {
            "--allow-msg-ttl".to_owned()
        } else {
            format!("--max-age={}", Span(millis(self.max_age)))
        };
        format!(
            "bucket {} would keep a dead agent's signal for ever: {}",
            self.name,
            self.edit(&option)
        )
    }
}

/// What ends the life of a record in a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lifetimes {
    /// Each record's own TTL; the bucket's `max_age`, in milliseconds, where that is shorter.
    Own(Option<u64>),
    /// The bucket's `max_age`, in milliseconds.
    MaxAge(u64),
    /// Nothing.
    Never,
    /// When a record ends, the one before it comes back: the bucket keeps several.
    Several,
}

impl Lifetimes {
    /// Whether a record's life ends at all.
    pub(super) fn end(self) -> bool {
        match self {
            Self::Own(_) | Self::MaxAge(_) => true,
            Self::Never | Self::Several => false,
        }
    }

    /// How long a record is kept that asks for so long; `None` for ever.
    pub(super) fn kept_ms(self, asked_ms: Option<u64>) -> Option<u64> {
        match self {
            Self::Own(None) => asked_ms,
            Self::Own(Some(max_age_ms)) => {
                Some(asked_ms.map_or(max_age_ms, |asked_ms| asked_ms.min(max_age_ms)))
            }
            Self::MaxAge(max_age_ms) => Some(max_age_ms),
            Self::Never | Self::Several => None,
        }
    }
}

/// What a writer has to know about a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) lifetimes: Lifetimes,
    /// Records can be read. Before 2.11, a server without this does not even answer.
    pub(super) allow_direct: bool,
}

/// What a stream says about itself.
#[derive(Debug, Deserialize)]
pub(super) struct StreamInfo {
    config: StreamConfig,
    #[serde(default)]
    state: StreamState,
    #[serde(default)]
    total: usize,
    #[serde(default)]
    cluster: Option<Cluster>,
    /// When the server answered, by its own clock. 2.9 does not say.
    #[serde(default)]
    ts: Option<String>,
}

/// What a stream says about the servers that keep it; without a cluster it may say nothing.
#[derive(Debug, Deserialize)]
pub struct Cluster {
    /// Who leads the stream. Nobody if too few of its servers are left to elect a leader: then
    /// nothing is written to it, and some buckets expire nothing, while each server still answers
    /// for itself.
    #[serde(default)]
    leader: String,
}

impl Cluster {
    /// Whether somebody leads the stream.
    #[must_use]
    pub fn has_leader(&self) -> bool {
        !self.leader.is_empty()
    }
}

#[derive(Debug, Deserialize)]
struct StreamConfig {
    /// In nanoseconds; 0 for never.
    #[serde(default)]
    max_age: u64,
    #[serde(default)]
    allow_msg_ttl: bool,
    #[serde(default)]
    allow_direct: bool,
    /// How many records of one instance it keeps; -1 or 0 for all.
    #[serde(default)]
    max_msgs_per_subject: i64,
}

#[derive(Debug, Default, Deserialize)]
struct StreamState {
    /// The requested ones, and how many messages each has.
    #[serde(default)]
    subjects: Option<HashMap<String, u64>>,
}

impl StreamInfo {
    pub(super) fn terms(&self) -> Terms {
        Terms {
            lifetimes: self.lifetimes(),
            allow_direct: self.config.allow_direct,
        }
    }

    pub(super) fn lifetimes(&self) -> Lifetimes {
        if self.config.max_msgs_per_subject != 1 {
            return Lifetimes::Several;
        }
        match (self.config.allow_msg_ttl, self.config.max_age) {
            (true, 0) => Lifetimes::Own(None),
            (true, nanos) => Lifetimes::Own(Some(nanos / 1_000_000)),
            (false, 0) => Lifetimes::Never,
            (false, nanos) => Lifetimes::MaxAge(nanos / 1_000_000),
        }
    }

    pub(super) fn has_leader(&self) -> bool {
        self.cluster.as_ref().is_none_or(Cluster::has_leader)
    }

    /// The time at the server that answered, if it says so.
    pub(super) fn now(&self) -> Option<SystemTime> {
        time(self.ts.as_deref()?)
    }

    pub(super) fn subjects(&self) -> impl Iterator<Item = &str> {
        self.state
            .subjects
            .iter()
            .flatten()
            .map(|(s, _)| s.as_str())
    }

    /// How many subjects match, on all pages together.
    pub(super) fn total(&self) -> usize {
        self.total
    }
}

/// An answer of JetStream's API: what was asked for, or an error.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum ApiAnswer<T> {
    Refused { error: ApiError },
    Given(T),
}

impl<T> ApiAnswer<T> {
    pub(super) fn or_error(self) -> Result<T, ApiError> {
        match self {
            Self::Given(answer) => Ok(answer),
            Self::Refused { error } => Err(error),
        }
    }
}

/// An error of JetStream's API (nats-server, server/errors.json).
#[derive(Debug, Deserialize)]
pub(super) struct ApiError {
    #[serde(default)]
    err_code: u32,
    #[serde(default)]
    pub(super) description: String,
}

impl ApiError {
    /// 10059: stream not found.
    pub(super) fn is_not_found(&self) -> bool {
        self.err_code == 10_059
    }

    /// 10039: JetStream not enabled for this account, 10076: not enabled; all others in the
    /// server's words.
    pub(super) fn failure(&self) -> Failure {
        match self.err_code {
            10_039 => Failure::answered("JetStream is not enabled for this account"),
            10_076 => Failure::answered("JetStream is not enabled"),
            _ => Failure::answered(&self.description),
        }
    }
}

/// A time as a server writes it: RFC 3339 in UTC.
pub(super) fn time(text: &str) -> Option<SystemTime> {
    humantime::parse_rfc3339(text).ok()
}
