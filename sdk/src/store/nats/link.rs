//! Questions to a NATS server and their answers, whatever connection they go over.

use std::time::Duration;

use super::Failure;

/// The status of an answer that a denied permission keeps from coming.
pub(super) const DENIED: u16 = 403;

/// One question to a NATS server, and how its answers come.
#[derive(Debug, Clone)]
pub struct Request {
    /// Where it goes.
    pub subject: String,
    /// Headers to send along.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub payload: Vec<u8>,
    /// How many answers come.
    pub replies: Replies,
}

/// Answers to what was asked together come together, in whatever order.
pub const MOMENT: Duration = Duration::from_millis(25);

/// How many answers a request has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replies {
    /// One.
    One,
    /// Any number, and then one that says that these were all.
    Batch,
    /// One, or none at all: once all others are there it is waited for a [`MOMENT`] more.
    Maybe,
}

/// One answer.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    /// The status of one that has no body, such as 404 or 503.
    pub status: Option<u16>,
    /// What the status means, in the server's words.
    pub description: String,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub payload: Vec<u8>,
}

impl Reply {
    /// What stands for the answer to a request that the server does not let us send.
    #[cfg(feature = "nats")]
    pub(super) fn denied(error: String) -> Self {
        Self {
            status: Some(DENIED),
            description: error,
            ..Self::default()
        }
    }

    /// Why a status that means neither an answer nor its lack is a failure.
    pub(super) fn failure(&self, status: u16) -> Failure {
        Failure::answered(match status {
            DENIED => self.description.clone(),
            _ => format!("{status} {}", self.description),
        })
    }

    /// Whether the record that it brings ends by itself. The server knows this header in these letters
    /// only, and keeps for ever what has another.
    pub(super) fn has_ttl(&self) -> bool {
        let own = self.headers.iter().find(|(name, _)| name == "Nats-TTL");
        own.is_some_and(|(_, ttl)| {
            ttl.starts_with(|c: char| c.is_ascii_digit())
                && ttl.contains(|c: char| ('1'..='9').contains(&c))
        })
    }

    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter();
        values
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Whether this is the last answer to a [`Replies::Batch`]: a status, which no record has.
    #[must_use]
    pub fn ends_batch(&self) -> bool {
        self.status.is_some()
    }
}

/// A connection to a NATS server.
#[allow(
    async_fn_in_trait,
    reason = "a link is used on the runtime it was made on"
)]
pub trait Link {
    /// Sends all requests together, and returns the answers to each.
    async fn ask(&mut self, requests: Vec<Request>) -> Result<Vec<Vec<Reply>>, Failure>;

    /// The version of the server that answers.
    fn server_version(&self) -> (u64, u64);
}
