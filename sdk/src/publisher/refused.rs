//! What a publisher does not do, and why.

use std::time::Duration;

use super::Publisher;
use crate::freshness::Span;
use crate::{Error, ErrorKind, clock};

impl Publisher {
    pub(super) fn is_forked(&self) -> Error {
        Error::new(
            ErrorKind::Forked,
            format!(
                "agent {} belongs to process {}, which this one was forked from: register or mark \
                 it anew in this process",
                self.name, self.identity.pid
            ),
        )
    }

    pub(super) fn is_stopping(&self, reason: Option<&str>) -> Error {
        let why = reason.map_or(String::new(), |reason| format!(" ({reason})"));
        Error::new(
            ErrorKind::Closed,
            format!(
                "agent {} is stopping{why}: register or mark it anew once its signal is removed",
                self.name
            ),
        )
    }

    pub(super) fn is_closed(&self) -> Error {
        Error::new(
            ErrorKind::Closed,
            format!(
                "agent {} was closed: register or mark it anew once its signal is removed",
                self.name
            ),
        )
    }

    pub(super) fn has_no_store(&self) -> Error {
        Error::new(
            ErrorKind::InvalidConfig,
            format!(
                "agent {} is not announced anywhere: READY_STORE is not set",
                self.name
            ),
        )
    }

    pub(super) fn is_not_announced(
        &self,
        store: &str,
        timeout: Duration,
        why: Option<String>,
    ) -> Error {
        let waited = Span(clock::millis(timeout));
        let why = why.unwrap_or_else(|| "it has not answered yet".to_owned());
        Error::new(
            ErrorKind::StoreUnavailable,
            format!(
                "agent {} was not announced to {store} within {waited}: {why}",
                self.name
            ),
        )
    }
}
