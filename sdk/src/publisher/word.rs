//! What an agent says of itself, and the record that says so.

use serde_json::{Map, Value};

use super::Publisher;
use super::identity::sdk;
use crate::signal::{Signal, State, VERSION};
use crate::{Result, clock};

#[derive(Debug, Clone)]
pub(super) struct Word {
    pub(super) state: State,
    pub(super) reason: Option<String>,
    pub(super) details: Map<String, Value>,
    /// Since when the published state holds.
    pub(super) since: String,
}

impl Word {
    pub(super) fn first() -> Self {
        Self {
            state: State::Starting,
            reason: None,
            details: Map::new(),
            since: clock::wall_rfc3339(),
        }
    }

    pub(super) fn state_with(&self, stalled: bool) -> State {
        if stalled && self.state == State::Ready {
            return State::NotReady;
        }
        self.state
    }
}

impl Publisher {
    /// Details are refused when they come, not once the sequence number has grown a digit.
    pub(super) fn check_size(&self, details: &Map<String, Value>) -> Result<()> {
        let word = Word {
            state: State::Ready,
            details: details.clone(),
            ..Word::first()
        };
        let mut signal = self.signal(&word, u64::MAX, u64::MAX);
        // The same record has to fit in a store, too.
        if let Some(outbox) = &self.outbox {
            signal.container.clone_from(&outbox.container);
        }
        signal.encode().map(drop)
    }

    pub(super) fn signal(&self, word: &Word, seq: u64, now_ms: u64) -> Signal {
        let stall = (self.watchdog.as_ref())
            .filter(|_| word.state == State::Ready)
            .and_then(|watchdog| watchdog.stall(now_ms));
        let reason = match stall {
            Some(stall) => Some(stall.to_string()),
            None => word.reason.clone(),
        };
        let identity = &self.identity;
        Signal {
            v: VERSION,
            agent: self.name.clone(),
            instance: self.instance.clone(),
            state: word.state_with(stall.is_some()),
            reason,
            details: word.details.clone(),
            ttl_ms: Some(self.ttl_ms),
            beat_ms: Some(self.beat_ms),
            seq,
            host: Some(identity.host.clone()),
            pid: Some(identity.pid),
            pid_start: identity.pid_start,
            boot_id: identity.epoch.boot_id.clone(),
            pid_ns: identity.epoch.pid_ns,
            init_start: identity.epoch.init_start,
            time_ns: identity.epoch.time_ns,
            container: None,
            mono_ms: Some(now_ms),
            since: Some(word.since.clone()),
            sdk: Some(sdk().to_owned()),
            announced: self.announced(),
        }
    }
}
