//! Questions to a NATS server and their answers, whatever connection they go over.

use std::time::{Duration, SystemTime};

use super::Failure;
use super::bucket::time;

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

    /// The TTL that the record it brings asks for, in milliseconds. The server knows this header in these
    /// letters only, and keeps for ever what has another.
    pub(super) fn ttl_ms(&self) -> Option<u64> {
        let mut headers = self.headers.iter();
        let (_, ttl) = headers.find(|(name, _)| name == "Nats-TTL")?;
        ttl_ms(ttl).filter(|ttl_ms| *ttl_ms > 0)
    }

    /// When the record that it brings was put, by the clock of the server that led the stream then.
    pub(super) fn time(&self) -> Option<SystemTime> {
        time(self.header("Nats-Time-Stamp")?)
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

/// A TTL as the server reads it: whole seconds, or a duration of Go such as `1m30s` (ADR-43). `never` is
/// none.
fn ttl_ms(text: &str) -> Option<u64> {
    if let Ok(seconds) = text.parse::<u64>() {
        return seconds.checked_mul(1_000);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut total_ns = 0_u64;
    while !rest.is_empty() {
        let (number, after) = split(rest, |c| c.is_ascii_digit() || c == '.');
        let (unit, after) = split(after, char::is_alphabetic);
        let unit_ns = match unit {
            "h" => 3_600_000_000_000,
            "m" => 60_000_000_000,
            "s" => 1_000_000_000,
            "ms" => 1_000_000,
            "us" | "µs" | "μs" => 1_000,
            "ns" => 1,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let whole_ns = whole.parse::<u64>().ok()?.checked_mul(unit_ns)?;
        let fraction_ns = fraction_ns(fraction, unit_ns)?;
        total_ns = total_ns.checked_add(whole_ns)?.checked_add(fraction_ns)?;
        rest = after;
    }
    Some(total_ns / 1_000_000)
}

/// What stands behind the point; of more than three digits the rest is less than anybody counts.
fn fraction_ns(digits: &str, unit_ns: u64) -> Option<u64> {
    let mut total_ns = 0;
    let mut place_ns = unit_ns;
    for digit in digits.chars().take(3) {
        place_ns /= 10;
        total_ns += u64::from(digit.to_digit(10)?) * place_ns;
    }
    Some(total_ns)
}

/// What it begins with, and what follows.
fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What nats-server 2.15.1 takes, and what it refuses.
    #[test]
    fn a_ttl_is_read_as_the_server_reads_it() {
        for (text, want) in [
            ("60", Some(60_000)),
            ("60s", Some(60_000)),
            ("+5s", Some(5_000)),
            ("1m0s", Some(60_000)),
            ("1h30m", Some(5_400_000)),
            ("1.5h", Some(5_400_000)),
            ("0.25m1.125s", Some(16_125)),
            ("1500ms", Some(1_500)),
            ("never", None),
            ("2d", None),
            ("60s ", None),
            ("-1", None),
            ("x", None),
            ("99999999999999999999h", None),
        ] {
            assert_eq!(ttl_ms(text), want, "{text}");
        }
    }

    #[test]
    fn only_the_header_that_the_server_knows_is_a_ttl() {
        for (name, ttl, want) in [
            ("Nats-TTL", "5s", Some(5_000)),
            ("Nats-TTL", "0s", None),
            ("Nats-TTL", "", None),
            ("Nats-Ttl", "5s", None),
            ("nats-ttl", "5s", None),
        ] {
            let reply = Reply {
                headers: vec![(name.to_owned(), ttl.to_owned())],
                ..Reply::default()
            };
            assert_eq!(reply.ttl_ms(), want, "{name}: {ttl}");
        }
    }
}
