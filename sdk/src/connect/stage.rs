//! How far a talk with a server has come: to be told when time runs out.
//!
//! Whoever waits opens a scope with [`until`]. Whoever talks notes each step, anywhere in the call
//! chain, without knowing whether anybody waits. Notes outside of a scope are lost.

use std::cell::RefCell;
use std::fmt::Display;
use std::time::{Duration, Instant};

use crate::clock::millis;
use crate::freshness::Span;

/// So many of the addresses that are tried at once are named.
const MAX_NAMED: usize = 3;

#[derive(Debug, Default)]
struct Talk {
    /// The peer, once there is a connection.
    peer: String,
    stage: String,
}

tokio::task_local! {
    static TALK: RefCell<Talk>;
}

/// Waits for an answer until then. The error says that there is none, and how far the talk has
/// come.
///
/// # Errors
/// For people: `no answer within 5s (resolving redis)`. `set` is the time limit as it was set.
pub async fn until<T>(
    at: Instant,
    set: Duration,
    talk: impl Future<Output = T>,
) -> Result<T, String> {
    let scope = TALK.scope(RefCell::default(), async {
        let answer = tokio::time::timeout_at(at.into(), talk).await;
        answer.map_err(|_| no_answer(set))
    });
    scope.await
}

fn no_answer(set: Duration) -> String {
    let stage = TALK.try_with(|talk| talk.borrow().stage.clone());
    let set = Span(millis(set));
    match stage.unwrap_or_default().as_str() {
        "" => format!("no answer within {set}"),
        stage => format!("no answer within {set} ({stage})"),
    }
}

/// Any other step.
pub fn doing(what: impl FnOnce() -> String) {
    note(|talk| talk.stage = what());
}

pub(super) fn resolving(host: &str) {
    doing(|| format!("resolving {host}"));
}

/// Connecting to these addresses, of which any will do.
pub(crate) fn connecting(addresses: &[impl Display]) {
    doing(|| {
        let named = addresses.iter().take(MAX_NAMED);
        let mut named: Vec<String> = named.map(ToString::to_string).collect();
        if addresses.len() > MAX_NAMED {
            named.push(format!("{} more", addresses.len() - MAX_NAMED));
        }
        format!("connecting to {}", named.join(", "))
    });
}

/// There is a connection.
pub fn connected(peer: impl FnOnce() -> String) {
    note(|talk| {
        talk.peer = peer();
        talk.stage = format!("connected to {}", talk.peer);
    });
}

/// The connection is there, but not yet TLS.
pub(super) fn shaking_hands() {
    note(|talk| talk.stage = format!("TLS handshake with {}", talk.peer));
}

/// What the server was asked for and has not sent.
pub fn lacks(what: impl FnOnce() -> String) {
    note(|talk| talk.stage = format!("connected to {}, no {}", talk.peer, what()));
}

fn note(change: impl FnOnce(&mut Talk)) {
    // Nobody waits, or at least not for a bounded time.
    let _ = TALK.try_with(|talk| change(&mut talk.borrow_mut()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    /// What is said when time runs out after these steps.
    fn said(steps: impl FnOnce()) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let talk = async {
            steps();
            std::future::pending::<()>().await;
        };
        let limit = Duration::from_millis(1);
        let waited = runtime.block_on(until(clock::instant() + limit, limit, talk));
        waited.unwrap_err()
    }

    #[test]
    fn the_last_step_is_told() {
        let peer = || connected(|| "10.0.0.1:6379".to_owned());
        assert_eq!(said(|| {}), "no answer within 1ms");
        assert_eq!(
            said(|| resolving("redis")),
            "no answer within 1ms (resolving redis)"
        );
        assert_eq!(
            said(|| connecting(&["a:1", "b:1", "c:1", "d:1"])),
            "no answer within 1ms (connecting to a:1, b:1, c:1, 1 more)"
        );
        assert_eq!(
            said(|| {
                peer();
                shaking_hands();
            }),
            "no answer within 1ms (TLS handshake with 10.0.0.1:6379)"
        );
        assert_eq!(
            said(|| {
                peer();
                lacks(|| "PONG".to_owned());
            }),
            "no answer within 1ms (connected to 10.0.0.1:6379, no PONG)"
        );
    }

    #[test]
    fn what_nobody_waits_for_is_not_noted() {
        resolving("redis");
        connected(|| unreachable!("nobody waits"));
    }
}
