//! Telling people: what is worth an alert, when it is sent, and where to.
//!
//! A thread does it, and a process sends, so that nothing here is ever in the way of a restart. Decisions are pure (`events`,
//! `policy`, `tray`, `message`, `fate`); this is the edge around them.

pub mod events;
mod fate;
pub mod message;
mod ntfy;
mod policy;
pub mod sender;
pub mod settings;
mod store;
mod tray;
mod webhook;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ready_probe_sdk::clock;

use crate::voice::{self, Level};
use events::Sighting;
use fate::Fate;
use message::{Letter, Subjects};
use policy::{Delivery, Desk, Round};
use settings::Channel;
use store::Store;

/// How long a pass stays for its last alerts; what is left is sent in the next one.
pub const STAY: Duration = Duration::from_secs(15);
/// How long a loop does: whoever ends it kills it soon, Docker after 10 s.
pub const STAY_OF_LOOP: Duration = Duration::from_secs(5);
/// What the thread may take beyond that.
const MARGIN: Duration = Duration::from_secs(1);

/// Where sightings go.
#[derive(Debug)]
pub struct Alerts {
    dir: PathBuf,
    thread: Option<Thread>,
    counts: Arc<Mutex<AlertCounts>>,
}

/// What became of messages since the keeper began.
#[derive(Debug, Clone, Copy, Default)]
pub struct AlertCounts {
    /// A channel has taken them.
    pub sent: u64,
    /// Tries that failed.
    pub failed: u64,
    /// Messages and news that were given up.
    pub dropped: u64,
}

#[derive(Debug)]
struct Thread {
    told: Sender<Told>,
    ended: Receiver<()>,
}

enum Told {
    People(Vec<Channel>, Subjects),
    Pass(Vec<Sighting>),
    Last(Instant),
}

impl Alerts {
    /// Nobody is told yet. `dir` is the keeper's own folder.
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            thread: None,
            counts: Arc::default(),
        }
    }

    /// Tells these from now on.
    pub fn tell_to(&mut self, channels: Vec<Channel>, subjects: Subjects) {
        if self.thread.is_none() && !channels.is_empty() {
            self.thread = self.start();
        }
        if let Some(thread) = &self.thread {
            // It has ended, and has said why.
            let _ = thread.told.send(Told::People(channels, subjects));
        }
    }

    fn start(&self) -> Option<Thread> {
        let (told, hears) = channel();
        let (ends, ended) = channel();
        let (dir, counts) = (self.dir.clone(), Arc::clone(&self.counts));
        let thread = std::thread::Builder::new().spawn(move || {
            Office::open(&dir, counts).run(&hears);
            // Nobody waits for it any longer.
            let _ = ends.send(());
        });
        match thread {
            Ok(_) => Some(Thread { told, ended }),
            Err(e) => {
                let text = format!("nobody is told of anything: no thread can be had: {e}");
                voice::say(Level::Error, &text);
                None
            }
        }
    }

    /// What became of messages so far.
    pub fn counts(&self) -> AlertCounts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anybody is told.
    pub fn is_on(&self) -> bool {
        self.thread.is_some()
    }

    /// What was seen in one pass, of all services. Returns at once.
    pub fn tell(&self, sightings: Vec<Sighting>) {
        if let Some(thread) = &self.thread {
            // It has ended, and has said why.
            let _ = thread.told.send(Told::Pass(sightings));
        }
    }

    /// Sends what is left, within a limit. What could not be sent is remembered.
    pub fn finish(self, stay: Duration) {
        let Some(thread) = self.thread else { return };
        let last = thread.told.send(Told::Last(clock::instant() + stay));
        if last.is_ok() {
            // What hangs there is left behind.
            let _ = thread.ended.recv_timeout(stay + MARGIN);
        }
    }
}

/// One message to each channel, once. What became of it, by the channels' names for people.
pub fn test(channels: &[Channel]) -> Vec<(String, Result<(), String>)> {
    let letter = Letter::test(&host());
    let letters: Vec<(&Channel, &Letter)> = channels.iter().map(|one| (one, &letter)).collect();
    let fates = sender::send(&letters, STAY).into_iter();
    let name = channels.iter().map(Channel::shown);
    let came = fates.map(|fate| match fate {
        Fate::Delivered => Ok(()),
        Fate::Refused(why) | Fate::Later { why, .. } => Err(why),
    });
    name.zip(came).collect()
}

/// What the thread has.
struct Office {
    channels: BTreeMap<String, Channel>,
    subjects: Subjects,
    host: String,
    desk: Desk,
    store: Store,
    /// What could not be kept, as it was said last.
    trouble: Option<String>,
    counts: Arc<Mutex<AlertCounts>>,
}

impl Office {
    fn open(dir: &Path, counts: Arc<Mutex<AlertCounts>>) -> Self {
        let (store, said) = Store::open(dir);
        if let Some(said) = said {
            voice::say(Level::Warning, &said);
        }
        Self {
            channels: BTreeMap::new(),
            subjects: Subjects::new(),
            host: host(),
            desk: store.desk(),
            store,
            trouble: None,
            counts,
        }
    }

    fn tell_to(&mut self, channels: Vec<Channel>, subjects: Subjects) {
        let named = channels.into_iter().map(|one| (one.name.clone(), one));
        self.channels = named.collect();
        self.subjects = subjects;
        let channels = &self.channels;
        self.desk.keep_channels(|name| channels.contains_key(name));
    }

    fn run(&mut self, hears: &Receiver<Told>) {
        // The first word says who is told.
        let mut next = None;
        let until = loop {
            match hear(hears, next) {
                Some(Told::People(channels, subjects)) => self.tell_to(channels, subjects),
                Some(Told::Pass(sightings)) => self.desk.hear(Round {
                    subjects: &self.subjects,
                    sightings: &sightings,
                    wall_ms: clock::wall_ms(),
                    time: &clock::wall_rfc3339(),
                }),
                Some(Told::Last(until)) => break until,
                None => {}
            }
            next = self.work(false, Duration::MAX);
        };
        let left = || until.saturating_duration_since(clock::instant());
        while let Some(pause) = self.work(true, left()).filter(|pause| *pause < left()) {
            std::thread::sleep(pause);
        }
    }

    /// Makes messages of what has waited long enough, and sends what is due. Returns in how long there is more to do.
    fn work(&mut self, is_last: bool, limit: Duration) -> Option<Duration> {
        self.desk
            .compose(&self.subjects, &self.host, clock::wall_ms(), is_last);
        self.keep();
        self.send(limit);
        self.keep();
        let next = self.desk.next_ms(clock::wall_ms(), is_last);
        next.map(Duration::from_millis)
    }

    /// Tries what is due.
    fn send(&mut self, limit: Duration) {
        let due = self.desk.due(clock::wall_ms());
        let letters: Vec<(&Delivery, &Channel)> = due
            .iter()
            .filter_map(|delivery| Some((delivery, self.channels.get(&delivery.channel)?)))
            .collect();
        if letters.is_empty() || limit.is_zero() {
            return;
        }
        let sent: Vec<(&Channel, &Letter)> = letters
            .iter()
            .map(|(delivery, channel)| (*channel, &delivery.letter))
            .collect();
        let fates = sender::send(&sent, limit);
        for ((delivery, channel), fate) in letters.into_iter().zip(fates) {
            self.count(|counts| match fate {
                Fate::Delivered => counts.sent += 1,
                Fate::Refused(_) | Fate::Later { .. } => counts.failed += 1,
            });
            if let Some((level, text)) =
                self.desk
                    .settle(delivery, fate, &channel.shown(), clock::wall_ms())
            {
                voice::say(level, &text);
            }
        }
    }

    fn count(&self, count: impl FnOnce(&mut AlertCounts)) {
        count(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn keep(&mut self) {
        let dropped = self.desk.take_dropped();
        self.count(|counts| counts.dropped += dropped);
        let trouble = self.store.keep(&self.desk).err();
        if trouble != self.trouble
            && let Some(why) = &trouble
        {
            voice::say(Level::Warning, why);
        }
        self.trouble = trouble;
    }
}

/// The next word, or nothing when it is time to do something. Without anybody who speaks, the last.
fn hear(hears: &Receiver<Told>, next: Option<Duration>) -> Option<Told> {
    let gone = || Told::Last(clock::instant());
    match next {
        None => Some(hears.recv().unwrap_or_else(|_| gone())),
        Some(next) => match hears.recv_timeout(next) {
            Ok(told) => Some(told),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(gone()),
        },
    }
}

fn host() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}
