//! What goes on after a check has its answer: a server that is cut off in the middle of its own answer
//! takes that for an error, and logs it.

use std::cell::RefCell;
use std::pin::Pin;
use std::time::Duration;

use ready_probe_sdk::clock;
use tokio::task::JoinSet;

use crate::time_limit::TimeLimit;

/// How long after the answer it goes on at most: nobody should wait for what decides nothing.
const AT_MOST: Duration = Duration::from_millis(300);

/// What is left to be done with a server, once it has answered.
pub type Rest = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The rests of all checks of a run. They go on beside the checks that have no answer yet, and no
/// check's own time counts for them.
#[derive(Debug, Default)]
pub struct Rests(RefCell<JoinSet<()>>);

impl Rests {
    /// Goes on with this one, not past the run's limit. To be called within the event loop.
    pub fn add(&self, rest: Rest, limit: TimeLimit) {
        let until = limit.at.min(clock::instant() + AT_MOST);
        let bounded = async move {
            // Whether it was finished decides nothing.
            let _ = tokio::time::timeout_at(until.into(), rest).await;
        };
        self.0.borrow_mut().spawn(bounded);
    }

    /// Waits until none goes on.
    pub async fn end(self) {
        let mut rests = self.0.into_inner();
        while rests.join_next().await.is_some() {}
    }
}
