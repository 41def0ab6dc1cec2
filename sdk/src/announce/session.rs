//! The connection to a store: which of its servers, and when to try again.

use std::time::Duration;

use crate::backoff::backoff_ms;
use crate::clock;
use crate::connect::Endpoint;
use crate::connect::failover::{self, Next};
use crate::connect::file;
use crate::connect::place::Place;
use crate::connect::redact::Secrets;
use crate::connect::stage;
use crate::store::Failure;
use crate::store::connected::{self, Connected};
use crate::thread;

/// A silent server has at least so long before the next one is tried.
const MIN_SHARE: Duration = Duration::from_secs(1);
/// After so many beats without an answer, the connection is made anew.
const MAX_TIMEOUTS: u32 = 2;

#[derive(Debug)]
pub(super) struct Session<'a> {
    place: &'a Place,
    connection: Option<Connected>,
    /// The secrets of our login.
    secrets: Secrets,
    /// Which server is next, or was tried last, or is connected.
    server: usize,
    timeouts: u32,
    failures: u32,
    /// Nothing is tried before.
    pub(super) retry_ms: u64,
}

impl<'a> Session<'a> {
    pub(super) fn new(place: &'a Place, retry_ms: u64) -> Self {
        Self {
            place,
            connection: None,
            secrets: Secrets::default(),
            server: 0,
            timeouts: 0,
            failures: 0,
            retry_ms,
        }
    }

    /// The connection, made if there is none: to the server that is next, or else to one of those
    /// after it.
    pub(super) async fn connect(&mut self, limit: Duration) -> Result<&mut Connected, Failure> {
        if self.connection.is_some() {
            self.note_connected();
        } else {
            self.secrets = secrets(self.place).await?;
            self.connect_to_next(limit).await?;
        }
        self.connection()
            .ok_or_else(|| Failure::lost("the address names no server"))
    }

    async fn connect_to_next(&mut self, limit: Duration) -> Result<(), Failure> {
        let Place { store, namespace } = self.place;
        let until = clock::instant() + limit;
        let endpoints = store.endpoints();
        let (first, has_failed) = (self.server, self.failures > 0);
        let server = &mut self.server;
        let connecting = failover::in_turn(endpoints, first, 1, async |next| {
            let Next {
                endpoint,
                number,
                left,
            } = next;
            // If the turn's time ends in the middle, the next one begins behind this server.
            *server = number;
            let connecting = connected::connect_to(endpoint, store, namespace);
            // The last one gets all the time that is left. Once all have failed, each gets a whole
            // turn: part of one may be too short for any of them.
            if left == 1 || has_failed {
                return connecting.await.map_err(|e| e.cause);
            }
            let time = until.saturating_duration_since(clock::instant());
            let share = failover::share(time, left).max(MIN_SHARE);
            let connected = stage::until(clock::instant() + share, share, connecting).await?;
            connected.map_err(|e| e.cause)
        });
        let asked = connecting.await;
        let connected = asked.answers.into_iter().next();
        let why_none = || Failure::lost(failover::why_none(endpoints, &asked.failures));
        self.connection = Some(connected.ok_or_else(why_none)?);
        Ok(())
    }

    /// What a server's message must not repeat.
    pub(super) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// The connection, if there is one.
    pub(super) fn connection(&mut self) -> Option<&mut Connected> {
        self.connection.as_mut()
    }

    /// A turn has come through.
    pub(super) fn succeeded(&mut self) {
        self.timeouts = 0;
        self.failures = 0;
        self.retry_ms = 0;
    }

    /// A turn has failed. Returns the cause, with the server if there are several; then another one
    /// may do better.
    pub(super) fn failed(&mut self, failure: &Failure, beat_ms: Option<u64>) -> String {
        let stays = !failure.reconnect && !self.has_several();
        // If none could be connected to, the reason names them all already.
        let cause = match self.connection {
            Some(_) => self.named(&failure.cause),
            None => failure.cause.clone(),
        };
        self.try_again(stays, beat_ms);
        cause
    }

    /// The same for a turn without an answer. One is no reason to leave a server.
    pub(super) fn timed_out(&mut self, cause: &str, beat_ms: Option<u64>) -> String {
        self.timeouts += 1;
        let stays = self.connection.is_some() && self.timeouts < MAX_TIMEOUTS;
        let cause = self.named(cause);
        self.try_again(stays, beat_ms);
        cause
    }

    /// For whoever runs out of time on a connection that was there before.
    pub(super) fn note_connected(&self) {
        if let Some(endpoint) = self.endpoint() {
            stage::connected(|| endpoint.to_string());
        }
    }

    fn named(&self, cause: &str) -> String {
        let endpoints = self.place.store.endpoints();
        self.endpoint().map_or_else(
            || cause.to_owned(),
            |endpoint| failover::named(endpoints, endpoint, cause),
        )
    }

    fn try_again(&mut self, stays: bool, beat_ms: Option<u64>) {
        if !stays {
            self.leave();
        }
        self.retry_ms = clock::mono_ms() + self.backoff_ms(beat_ms);
        self.failures = self.failures.saturating_add(1);
    }

    /// Makes the next turn connect anew, to the next server.
    pub(super) fn leave(&mut self) {
        self.connection = None;
        self.timeouts = 0;
        self.server += 1;
    }

    fn endpoint(&self) -> Option<&'a Endpoint> {
        let endpoints = self.place.store.endpoints();
        endpoints.get(self.server.checked_rem(endpoints.len())?)
    }

    fn has_several(&self) -> bool {
        self.place.store.endpoints().len() > 1
    }

    /// How long to wait before the next attempt. A short TTL leaves no time for the longest pause.
    fn backoff_ms(&self, beat_ms: Option<u64>) -> u64 {
        let pause_ms = backoff_ms(self.failures);
        let most_ms = beat_ms.unwrap_or(u64::MAX).max(backoff_ms(0));
        if pause_ms <= most_ms {
            return pause_ms;
        }
        fastrand::u64(most_ms / 2..=most_ms)
    }
}

/// With those in files as they are now. On a thread of its own, since somebody's disk may hang.
async fn secrets(place: &Place) -> Result<Secrets, Failure> {
    let mut secrets = Secrets::default();
    if !place.store.has_secret_files() {
        place.store.add_secrets(&mut secrets, file::read_text);
        return Ok(secrets);
    }
    let store = place.store.clone();
    let read = thread::run(move || {
        store.add_secrets(&mut secrets, file::read_text);
        secrets
    });
    read.await.map_err(Failure::lost)
}
