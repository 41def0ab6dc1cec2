//! An ntfy server as its documentation has it: JSON publishing, sizes, credentials and limits, enforced.
//!
//! <https://docs.ntfy.sh/publish/#publish-as-json>, <https://docs.ntfy.sh/publish/#limitations>,
//! <https://docs.ntfy.sh/config/#rate-limiting>. Owns what a publisher sees, and delivers to nobody.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use crate::http::{HttpServer, Request, Response};

/// What a longer message is: an attachment, which this server does not take.
const MAX_MESSAGE_BYTES: usize = 4096;
/// JSON is read up to twice that.
const MAX_JSON_BYTES: usize = 2 * MAX_MESSAGE_BYTES;
/// So many failures to log in, and whoever it was is locked out.
const MAX_AUTH_FAILURES: usize = 30;
/// All fields that a message may have.
const FIELDS: [&str; 15] = [
    "topic",
    "message",
    "title",
    "tags",
    "priority",
    "actions",
    "click",
    "attach",
    "markdown",
    "icon",
    "filename",
    "delay",
    "email",
    "call",
    "sequence_id",
];

/// The server. Stops on drop.
#[derive(Debug)]
pub struct NtfyServer {
    http: HttpServer,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// `Bearer …` or `Basic …`, if it asks for credentials.
    authorization: Option<String>,
    /// The topics that may be written, if not all.
    topics: Option<Vec<String>>,
    auth_failures: usize,
    answers: VecDeque<Response>,
    taken: Vec<Value>,
}

impl NtfyServer {
    /// One that takes messages from everybody.
    pub fn start() -> Self {
        Self::with(State::default())
    }

    /// One that takes them from whoever sends this header, for these topics.
    pub fn protected(authorization: &str, topics: &[&str]) -> Self {
        Self::with(State {
            authorization: Some(authorization.to_owned()),
            topics: Some(topics.iter().map(|topic| (*topic).to_owned()).collect()),
            ..State::default()
        })
    }

    fn with(state: State) -> Self {
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        let http = HttpServer::start(move |request| {
            let mut state = shared.lock().expect("nobody panics here");
            if let Some(answer) = state.answers.pop_front() {
                return answer;
            }
            match state.publish(request) {
                Ok(message) => {
                    state.taken.push(message.clone());
                    Response::new(200).body(message.to_string())
                }
                Err((code, why)) => {
                    let status = u16::try_from(code / 100).expect("three digits");
                    let error = json!({"code": code, "http": status, "error": why});
                    Response::new(status).body(error.to_string())
                }
            }
        });
        Self { http, state }
    }

    /// Where it is, without a topic.
    pub fn url(&self) -> String {
        self.http.url("")
    }

    /// Answers the next request so, whatever it asks.
    pub fn answer_next(&self, answer: Response) {
        self.lock().answers.push_back(answer);
    }

    /// The messages that it has taken.
    pub fn messages(&self) -> Vec<Value> {
        self.lock().taken.clone()
    }

    /// How many requests there were, taken or not.
    pub fn requests(&self) -> usize {
        self.http.requests().len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics here")
    }
}

impl State {
    /// The message, or an error with ntfy's code for it.
    fn publish(&mut self, request: &Request) -> Result<Value, (u32, &'static str)> {
        if self.auth_failures >= MAX_AUTH_FAILURES {
            return Err((42909, "limit reached: too many auth failures"));
        }
        if !matches!(request.method.as_str(), "POST" | "PUT") || request.path != "/" {
            return Err((40401, "page not found"));
        }
        if let Some(wanted) = &self.authorization
            && request.header("authorization") != Some(wanted)
        {
            self.auth_failures += 1;
            return Err((40101, "unauthorized"));
        }
        if request.body.len() > MAX_JSON_BYTES {
            return Err((41303, "JSON body too large"));
        }
        let message: Value = serde_json::from_slice(&request.body)
            .map_err(|_| (40017, "invalid request: request body must be message JSON"))?;
        let fields = message
            .as_object()
            .ok_or((40017, "invalid request: request body must be message JSON"))?;
        if let Some(foreign) = fields.keys().find(|key| !FIELDS.contains(&key.as_str())) {
            panic!("ntfy would not know the field {foreign}: {message}");
        }
        let topic = message["topic"].as_str().unwrap_or_default();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if topic.is_empty() || topic.len() > 64 || !topic.chars().all(is_plain) {
            return Err((40009, "invalid request: topic invalid"));
        }
        if self
            .topics
            .as_ref()
            .is_some_and(|topics| !topics.iter().any(|one| one == topic))
        {
            return Err((40301, "forbidden"));
        }
        let is_text = |key: &str| fields.get(key).is_none_or(Value::is_string);
        let are_texts = |tags: &Value| {
            tags.as_array()
                .is_some_and(|tags| tags.iter().all(Value::is_string))
        };
        if !is_text("message") || !is_text("title") || !fields.get("tags").is_none_or(are_texts) {
            return Err((40017, "invalid request: request body must be message JSON"));
        }
        if let Some(priority) = fields.get("priority")
            && !priority
                .as_u64()
                .is_some_and(|priority| (1..=5).contains(&priority))
        {
            return Err((40007, "invalid priority parameter"));
        }
        if message["message"].as_str().unwrap_or_default().len() > MAX_MESSAGE_BYTES {
            return Err((40014, "invalid request: attachments not allowed"));
        }
        Ok(message)
    }
}

#[cfg(test)]
#[path = "ntfy_tests.rs"]
mod tests;
