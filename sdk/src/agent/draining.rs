//! The end of an agent: `stopping` until what is in flight is done.

use std::sync::Arc;

use super::abandon;
use crate::agents::Member;

/// An agent that says `stopping` until this is dropped; then its signal is removed.
#[derive(Debug)]
#[must_use = "the signal is removed as soon as this is dropped: hold it while you drain"]
pub struct Draining {
    pub(super) member: Arc<Member>,
}

impl Drop for Draining {
    fn drop(&mut self) {
        if self.member.publisher.is_own() {
            self.member.remove();
            self.member.wait_withdrawn();
        } else {
            abandon(&self.member);
        }
    }
}
