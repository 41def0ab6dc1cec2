//! Where the instances of an agent are, on a server that would look through the whole bucket for them.
//!
//! Before 2.11 a nats-server finds one subject at once, and what matches a wildcard by going through all
//! subjects there are. So an agent's writers keep a hint beside its records, at `NAMESPACE.AGENT`: the
//! names of the instances that were there lately. It is only a hint. Whoever does not find what it looks
//! for by it looks without it, so that it may be wrong, incomplete or missing, and another language's
//! writer need not know of it.

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use crate::signal::Instance;

/// So many instances are remembered: they fit into a bucket's message, and are read at once.
const MAX_INSTANCES: usize = 32;

#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hint {
    instances: Vec<String>,
}

impl Hint {
    /// What is no hint is an empty one.
    pub(super) fn decode(bytes: &[u8]) -> Self {
        let mut hint: Self = serde_json::from_slice(bytes).unwrap_or_default();
        hint.instances
            .retain(|instance| Instance::new(instance).is_ok());
        hint.instances.truncate(MAX_INSTANCES);
        hint
    }

    /// The hint in an answer to a request for a message; none in a refusal.
    pub(super) fn of_message(answer: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Answer {
            message: Message,
        }
        #[derive(Deserialize)]
        struct Message {
            data: String,
        }
        let answer: Answer = serde_json::from_slice(answer).ok()?;
        let data = BASE64.decode(answer.message.data.as_bytes()).ok()?;
        Some(Self::decode(&data))
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::json!(self).to_string().into_bytes()
    }

    /// An instance is there: the latest one stands first, the oldest one is forgotten.
    pub(super) fn add(&mut self, instance: &Instance) {
        self.instances.retain(|known| known != instance.as_str());
        self.instances.insert(0, instance.as_str().to_owned());
        self.instances.truncate(MAX_INSTANCES);
    }

    pub(super) fn instances(&self) -> &[String] {
        &self.instances
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(n: usize) -> Instance {
        Instance::new(&format!("{n}{}", "x".repeat(150))).unwrap()
    }

    #[test]
    fn the_latest_instances_are_remembered_each_once_and_fit_into_a_message() {
        let mut hint = Hint::default();
        for n in (0..100).chain([90]) {
            hint.add(&instance(n));
        }
        assert_eq!(hint.instances().len(), MAX_INSTANCES);
        assert_eq!(
            hint.instances()[..2],
            [instance(90), instance(99)].map(|i| i.as_str().to_owned())
        );
        let bytes = hint.encode();
        assert!(bytes.len() < 8 * 1024, "{}", bytes.len());
        assert_eq!(Hint::decode(&bytes), hint);
    }

    #[test]
    fn what_is_no_hint_is_an_empty_one() {
        let names = serde_json::json!({ "instances": ["../x", "", "h-1"] }).to_string();
        assert_eq!(Hint::decode(names.as_bytes()).instances(), ["h-1"]);
        for garbage in ["", "x", "[]", "{}", "{\"instances\":[1]}"] {
            assert_eq!(
                Hint::decode(garbage.as_bytes()),
                Hint::default(),
                "{garbage}"
            );
        }
    }
}
