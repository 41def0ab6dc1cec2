//! A bucket as its administrator sees it: JetStream's API, with nothing of the SDK in between.

use std::time::Duration;

use async_nats::{ConnectOptions, HeaderMap};
use data_encoding::BASE64;
use ready_probe_sdk::signal::Signal;
use ready_probe_test_support::servers::{Nats, NatsVersion};
use serde_json::{Value, json};

pub const VERSIONS: [NatsVersion; 2] = [NatsVersion::V2_9, NatsVersion::V2_15];
const BUCKET: &str = "KV_ready";

/// The bucket `ready` of a server.
pub struct Bucket {
    address: String,
    login: Option<(&'static str, &'static str)>,
}

impl Bucket {
    pub fn of(nats: &Nats) -> Self {
        Self {
            address: nats.url(),
            login: None,
        }
    }

    pub fn with_login(nats: &Nats, user: &'static str, password: &'static str) -> Self {
        Self {
            address: nats.url(),
            login: Some((user, password)),
        }
    }

    /// Asks JetStream's API for something, over a connection of its own.
    pub fn api(&self, what: &str, body: &Value) -> Value {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let options = match self.login {
                Some((user, password)) => {
                    ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned())
                }
                None => ConnectOptions::new(),
            };
            let client = options.connect(&self.address).await.unwrap();
            let subject = format!("$JS.API.STREAM.{what}.{BUCKET}");
            let answer = client.request(subject, body.to_string().into()).await;
            serde_json::from_slice(&answer.unwrap().payload).unwrap()
        })
    }

    /// As `nats kv add ready` makes it, and with these settings of its stream.
    pub fn make(&self, settings: &Value) {
        let made = self.api("CREATE", &Self::config(settings));
        assert!(made["error"].is_null(), "{made}");
    }

    pub fn edit(&self, settings: &Value) {
        let edited = self.api("UPDATE", &Self::config(settings));
        assert!(edited["error"].is_null(), "{edited}");
    }

    pub fn delete(&self) {
        let deleted = self.api("DELETE", &json!({}));
        assert_eq!(deleted["success"], true, "{deleted}");
    }

    fn config(settings: &Value) -> Value {
        let mut config = json!({
            "name": BUCKET,
            "subjects": ["$KV.ready.>"],
            "max_msgs_per_subject": 1,
            "discard": "new",
            "allow_rollup_hdrs": true,
            "deny_delete": true,
            "allow_direct": true,
            "num_replicas": 1,
        });
        let settings = settings.as_object().unwrap().clone();
        config.as_object_mut().unwrap().extend(settings);
        config
    }

    /// What ends records where a server can't end each by itself.
    pub fn max_age(max_age: Duration) -> Value {
        let nanos = u64::try_from(max_age.as_nanos()).unwrap();
        json!({ "max_age": nanos, "duplicate_window": nanos })
    }

    pub fn info(&self) -> Value {
        self.api("INFO", &json!({ "subjects_filter": ">" }))
    }

    /// How many messages there are, hints and markers of what was removed included.
    pub fn len(&self) -> u64 {
        self.info()["state"]["messages"].as_u64().unwrap_or(0)
    }

    /// Where records are, or markers in their place: the hints of older servers have no instance.
    pub fn subjects(&self) -> Vec<String> {
        let info = self.info();
        let subjects = info["state"]["subjects"].as_object();
        subjects
            .into_iter()
            .flatten()
            .map(|(subject, _)| subject.clone())
            .filter(|subject| subject.split('.').count() == 5)
            .collect()
    }

    /// The last message of a subject: its headers and its body.
    pub fn message(&self, subject: &str) -> Option<(String, Vec<u8>)> {
        let found = self.api("MSG.GET", &json!({ "last_by_subj": subject }));
        let part = |name: &str| {
            let text = found["message"][name].as_str().unwrap_or_default();
            BASE64.decode(text.as_bytes()).unwrap()
        };
        found["error"].is_null().then(|| {
            let headers = String::from_utf8(part("hdrs")).unwrap();
            (headers, part("data"))
        })
    }

    /// Puts anything anywhere in the bucket.
    pub fn put(&self, subject: &str, header: Option<(&str, &str)>, body: &str) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let client = async_nats::connect(&self.address).await.unwrap();
            let subject = subject.to_owned();
            let mut headers = HeaderMap::new();
            if let Some((name, value)) = header {
                headers.insert(name, value);
            }
            let body = body.to_owned().into();
            let ack = client.request_with_headers(subject, headers, body).await;
            let ack: Value = serde_json::from_slice(&ack.unwrap().payload).unwrap();
            assert!(ack["error"].is_null(), "{ack}");
        });
    }

    /// The record of the only instance of an agent.
    pub fn record(&self, agent: &str) -> Option<Signal> {
        let prefix = format!("$KV.ready.default.{}.", agent.replace('.', "=2E"));
        let subjects = self.subjects();
        let mut of_agent = subjects.iter().filter(|s| s.starts_with(&prefix));
        let (headers, body) = self.message(of_agent.next()?)?;
        let is_only = of_agent.next().is_none() && !headers.contains("KV-Operation");
        is_only.then(|| Signal::decode(&body).ok()).flatten()
    }
}
