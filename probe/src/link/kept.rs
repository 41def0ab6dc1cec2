//! Connections that rest between the rounds of one process, so that the next round need not open them.
//!
//! A resting connection may only say yes. Whatever else comes of it, silence included, is asked anew on
//! a new one, whose answer counts: no answer is worse for a connection that was kept. It is used by one
//! check only, for one question at a time, and for a minute in all: then a new one finds out about a
//! failover, a changed password, another address, or a server that takes no more connections.

use std::any::Any;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use ready_probe_sdk::clock;
use ready_probe_sdk::connect::Endpoint;
use ready_probe_sdk::connect::nats::NatsAddress;
use ready_probe_sdk::connect::place::Place;
use ready_probe_sdk::connect::redis::RedisAddress;
use ready_probe_sdk::connect::stage;
use ready_probe_sdk::connect::tls::TlsOptions;
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use tokio::sync::Notify;

use crate::time_limit::TimeLimit;

/// How long a connection is kept, from when it was opened.
const KEPT_FOR: Duration = Duration::from_secs(60);
/// How often the end of connections is news of one target: a server that ends each at once must not
/// keep us busy.
const NEWS_EVERY: Duration = Duration::from_secs(30);
/// A resting connection gets this part of the time: after that a new one is asked as well.
const PART_OF_THE_TIME: u32 = 3;
/// So many rest at most, and so large a part of the descriptors of this process.
const MAX_RESTING: u64 = 64;
const PART_OF_THE_DESCRIPTORS: u64 = 4;

/// A connection that can rest.
pub trait Resting: Any + Send {
    /// Takes what is still to come of the last answer. Returns whether the connection can be asked
    /// again then: nothing came that was not asked for, and nothing is left.
    fn poll_settled(&mut self, context: &mut Context<'_>) -> Poll<bool>;

    /// While it rests: ready once it has ended, or says what nobody asked for. Answers what a server
    /// wants to know meanwhile.
    fn poll_ended(&mut self, context: &mut Context<'_>) -> Poll<()>;
}

/// All that opened a connection, credentials included: never to be printed.
#[derive(Clone, PartialEq, Eq)]
pub enum Opened {
    /// To one of the servers of an address.
    Redis(RedisAddress, TlsOptions),
    /// The same.
    Nats(NatsAddress, TlsOptions),
    /// To this server of a store.
    Store(Endpoint, Place),
    /// To this server, perhaps with TLS.
    Http(Endpoint, Option<TlsOptions>),
}

/// The connections of a process that rest.
#[derive(Default)]
pub struct Kept {
    resting: RefCell<Vec<AtRest>>,
    /// When the end of a connection of this target was news last.
    told: RefCell<BTreeMap<String, Instant>>,
    /// Another one rests.
    more: Notify,
}

/// A connection between two questions.
pub struct AtRest {
    link: Box<dyn Resting>,
    opened: Opened,
    target: String,
    since: Instant,
}

/// The resting connections of one target.
#[derive(Clone, Copy)]
pub struct KeptFor<'a> {
    kept: &'a Kept,
    target: &'a str,
}

impl Kept {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Those of the target that is printed like this.
    pub fn of<'a>(&'a self, target: &'a str) -> KeptFor<'a> {
        KeptFor { kept: self, target }
    }

    /// Waits until a resting connection ends, or its server says what nobody asked for. Returns the
    /// targets that used it, as they are printed; each of them at most once in 30 s. Who
    /// stops waiting loses nothing.
    pub async fn ended(&self) -> BTreeSet<String> {
        loop {
            let next_end = self.resting.borrow().iter().map(AtRest::until).min();
            let is_old = async {
                match next_end {
                    Some(end) => tokio::time::sleep_until(end.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                ended = poll_fn(|context| self.poll_ended(context)) => {
                    let news = self.news(ended, clock::instant());
                    if !news.is_empty() {
                        return news;
                    }
                }
                () = is_old => self.close_old(clock::instant()),
                () = self.more.notified() => {}
            }
        }
    }

    /// Closes all that rest if this process has run out of descriptors. Returns whether it has.
    pub fn make_room(&self) -> bool {
        if self.resting.borrow().is_empty() {
            return false;
        }
        let one_more = eventfd(0, EventfdFlags::CLOEXEC);
        let is_out = matches!(one_more, Err(Errno::MFILE | Errno::NFILE));
        if is_out {
            self.resting.borrow_mut().clear();
        }
        is_out
    }

    /// Keeps a connection, if that can be asked again at once.
    pub fn put(&self, mut rest: AtRest) {
        let now = clock::instant();
        self.close_old(now);
        let settled = rest
            .link
            .poll_settled(&mut Context::from_waker(Waker::noop()));
        let mut resting = self.resting.borrow_mut();
        if settled == Poll::Ready(true)
            && rest.until() > now
            && (resting.len() as u64) < most(descriptors())
        {
            resting.push(rest);
            self.more.notify_one();
        }
    }

    fn poll_ended(&self, context: &mut Context<'_>) -> Poll<BTreeSet<String>> {
        let mut ended = BTreeSet::new();
        self.resting.borrow_mut().retain_mut(|rest| {
            let goes_on = rest.link.poll_ended(context).is_pending();
            if !goes_on {
                ended.insert(rest.target.clone());
            }
            goes_on
        });
        if ended.is_empty() {
            Poll::Pending
        } else {
            Poll::Ready(ended)
        }
    }

    /// Those of these targets for which it is news, which they hear of from now on.
    fn news(&self, ended: BTreeSet<String>, now: Instant) -> BTreeSet<String> {
        let mut told = self.told.borrow_mut();
        let is_news = |target: &String| {
            let last = told.get(target);
            last.is_none_or(|last| now.saturating_duration_since(*last) >= NEWS_EVERY)
        };
        let news: BTreeSet<String> = ended.into_iter().filter(is_news).collect();
        told.extend(news.iter().map(|target| (target.clone(), now)));
        news
    }

    fn close_old(&self, now: Instant) {
        self.resting.borrow_mut().retain(|rest| rest.until() > now);
    }
}

impl AtRest {
    /// Takes what is still to come of the last answer. `None` if it can't be asked again.
    pub async fn settled(mut self) -> Option<Self> {
        let can_go_on = poll_fn(|context| self.link.poll_settled(context)).await;
        can_go_on.then_some(self)
    }

    /// Until when it may be used.
    fn until(&self) -> Instant {
        self.since + KEPT_FOR
    }
}

impl KeptFor<'_> {
    /// Keeps a connection that was opened just now and has said yes.
    pub fn put(self, opened: Opened, link: impl Resting) {
        self.kept.put(self.at_rest(opened, link, clock::instant()));
    }

    /// One that was opened then, and is to be kept.
    pub fn at_rest(self, opened: Opened, link: impl Resting, since: Instant) -> AtRest {
        AtRest {
            link: Box::new(link),
            opened,
            target: self.target.to_owned(),
            since,
        }
    }

    /// Takes a connection that was opened so, and has been quiet since.
    fn take<L: Resting>(self, opened: &Opened) -> Option<(Box<L>, Instant)> {
        let now = clock::instant();
        self.kept.close_old(now);
        let is_ours = |rest: &AtRest| rest.target == self.target && rest.opened == *opened;
        let context = &mut Context::from_waker(Waker::noop());
        let mut resting = self.kept.resting.borrow_mut();
        while let Some(number) = resting.iter().position(is_ours) {
            let mut rest = resting.swap_remove(number);
            if rest.link.poll_ended(context).is_pending() {
                let link: Box<dyn Any> = rest.link;
                return Some((link.downcast().ok()?, rest.since));
            }
        }
        None
    }
}

/// Asks `again` on a resting connection that was opened so. If there is none, or what comes of it does
/// not `pass`, asks `anew`; also beside it once it has taken its part of the time.
pub async fn ask<L: Resting, T>(
    kept: Option<KeptFor<'_>>,
    opened: impl Fn() -> Opened,
    limit: TimeLimit,
    again: impl AsyncFnOnce(&mut L) -> T,
    passes: impl Fn(&T) -> bool,
    anew: impl Future<Output = T>,
) -> T {
    let through = async |mut link: L, since| {
        let said = again(&mut link).await;
        passes(&said).then(|| {
            if let Some(kept) = kept {
                kept.kept.put(kept.at_rest(opened(), link, since));
            }
            said
        })
    };
    ask_through(kept, &opened, limit, through, anew).await
}

/// The same where `through` says nothing unless it passes, and looks after the connection that it is
/// given, and was opened then.
pub async fn ask_through<L: Resting, T>(
    kept: Option<KeptFor<'_>>,
    opened: impl Fn() -> Opened,
    limit: TimeLimit,
    through: impl AsyncFnOnce(L, Instant) -> Option<T>,
    anew: impl Future<Output = T>,
) -> T {
    let taken = kept.and_then(|kept| kept.take::<L>(&opened()));
    match taken {
        Some((link, since)) => first(limit, through(*link, since), anew).await,
        None => anew.await,
    }
}

/// What `again` says, if it says anything. After its part of the time, or without a word of it, what is
/// said `anew`.
async fn first<T>(
    limit: TimeLimit,
    again: impl Future<Output = Option<T>>,
    anew: impl Future<Output = T>,
) -> T {
    // How far it has come is nothing to tell: by the end of the time the other one has come further.
    let mut again = pin!(stage::until(limit.at, limit.set, again));
    let part = limit.share(PART_OF_THE_TIME).at;
    match tokio::time::timeout_at(part.into(), &mut again).await {
        Ok(Ok(Some(said))) => return said,
        Ok(Ok(None) | Err(_)) => return anew.await,
        Err(_) => {}
    }
    tokio::select! {
        biased;
        said = anew => said,
        Ok(Some(said)) = again => said,
    }
}

/// Their number, and no more: what opened them is secret.
impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let resting = self.resting.borrow().len();
        f.debug_struct("Kept").field("resting", &resting).finish()
    }
}

/// How many descriptors this process may have.
fn descriptors() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many of them connections may take that rest.
fn most(descriptors: u64) -> u64 {
    MAX_RESTING.min(descriptors / PART_OF_THE_DESCRIPTORS)
}

#[cfg(test)]
mod tests;
