//! What goes on after a check has its answer: a server that is cut off in the middle of its own
//! answer takes that for an error, and logs it.

use std::cell::RefCell;
use std::pin::Pin;
use std::time::Duration;

use ready_probe_sdk::clock;
use tokio::task::JoinSet;

use crate::link::kept::{AtRest, Kept};
use crate::time_limit::TimeLimit;

/// How long it goes on after the answer at most: nobody should wait for something that decides
/// nothing.
const AT_MOST: Duration = Duration::from_millis(300);

/// What is left to do with a server, once it has answered; a connection may be left to be kept.
pub type Rest = Pin<Box<dyn Future<Output = Option<AtRest>> + Send>>;

/// The rests of all checks of a run. They go on beside the checks that still wait, and count
/// towards no check's time.
#[derive(Debug, Default)]
pub struct Rests(RefCell<JoinSet<Option<AtRest>>>);

impl Rests {
    /// Goes on with this one, up to the run's limit. To be called within the event loop.
    pub fn add(&self, rest: Rest, limit: TimeLimit) {
        let until = limit.at.min(clock::instant() + AT_MOST);
        let bounded = async move {
            // Whether it finishes decides nothing else.
            let ended = tokio::time::timeout_at(until.into(), rest).await;
            ended.ok().flatten()
        };
        self.0.borrow_mut().spawn(bounded);
    }

    /// Waits until none goes on, and keeps what they leave.
    pub async fn end(self, kept: Option<&Kept>) {
        let mut rests = self.0.into_inner();
        while let Some(ended) = rests.join_next().await {
            if let (Ok(Some(at_rest)), Some(kept)) = (ended, kept) {
                kept.put(at_rest);
            }
        }
    }
}
