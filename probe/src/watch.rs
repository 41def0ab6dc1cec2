//! What wakes whoever waits for news of this container: records that change, processes that end.
//!
//! Owns how such news is noticed, and says whose record has to be read again; it reads none and judges none.
//! inotify(7) tells of folders and pidfd_open(2) of processes, without a thread. Where either can't be had, its
//! part is looked at every second instead, and [`Watch::note`] says why.
//!
//! - `folders`: the folders of signals, also those that are not there yet.
//! - `processes`: the ends of processes.

mod folders;
mod processes;

use std::collections::BTreeSet;
use std::mem;
use std::time::Duration;

use ready_probe_sdk::clock;
use ready_probe_sdk::folder::Folder;
use ready_probe_sdk::host::Mounts;
use ready_probe_sdk::signal::Name;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use self::folders::Folders;
use self::processes::{EndedProcess, Processes};
use crate::hung_mount;

/// How often that is looked at which nothing tells of.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// Others make their files where a folder of ours is still missing, in `/tmp` maybe many: those are taken up
/// together.
const NOISE_PAUSE: Duration = Duration::from_millis(50);
/// What the queue calls inotify; a process goes by its id, which is never 0.
const FOLDERS: u64 = 0;
/// How many things the queue hands over at once.
const MOST_AT_ONCE: usize = 32;
const NO_TIME: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};
/// How often what changes again and again is taken up in one go.
const MOST_TIMES: usize = 4;
/// Of so many processes that end at once, each one's agent is looked for.
const MOST_SOUGHT: usize = 8;

/// Of which agents the folders are looked at.
#[derive(Debug, Clone, Copy)]
pub enum Agents<'a> {
    /// All that there are: nobody has named any.
    All,
    /// These and no others, whose beats wake nobody.
    Named(&'a BTreeSet<Name>),
}

/// What has to be looked at again.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Woken {
    /// Agents whose records may have changed, or whose process has ended.
    pub agents: BTreeSet<Name>,
    /// Every agent: folders have come or gone, news was lost, or nothing tells of any.
    pub all: bool,
}

impl Woken {
    fn is_empty(&self) -> bool {
        !self.all && self.agents.is_empty()
    }
}

/// The folders and the processes that are looked at.
#[derive(Debug)]
pub struct Watch {
    /// An epoll(7) of inotify and all pidfds: however many there are, the event loop knows one descriptor.
    queue: Option<AsyncFd<OwnedFd>>,
    folders: Folders,
    processes: Processes,
    look: Interval,
    news: Woken,
    noise_ms: u64,
    note: Option<String>,
}

impl Watch {
    /// Begins to look: what happens after this is news. Folders that are not there yet are seen when they are
    /// made. One on a mount that may hang is never touched; nothing tells of it.
    ///
    /// Is called within the event loop.
    pub fn new(folder: &Folder, mounts: Option<&Mounts>, agents: Agents<'_>) -> Self {
        let (queue, trouble) = match queue() {
            Ok(queue) => (Some(queue), None),
            Err(e) => (None, Some(format!("no event queue: {e}"))),
        };
        let far = mounts.and_then(|mounts| hung_mount::paths::of_folder(mounts, folder));
        let hopeless = far
            .map(|point| format!("{} may hang", point.display()))
            .or(trouble);
        let mut watch = Self::over(queue, Folders::new(folder, agents, hopeless));
        watch.settle_folders();
        watch.write_note();
        watch
    }

    /// Looks at processes, and at no folder; each end is news of everything.
    ///
    /// Is called within the event loop.
    pub fn of_processes() -> Self {
        let none = Agents::Named(&BTreeSet::new());
        Self::over(queue().ok(), Folders::new(&Folder::default(), none, None))
    }

    fn over(queue: Option<AsyncFd<OwnedFd>>, folders: Folders) -> Self {
        let mut look = interval_at(Instant::now() + LOOK_PAUSE, LOOK_PAUSE);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            queue,
            folders,
            processes: Processes::new(),
            look,
            news: Woken::default(),
            noise_ms: 0,
            note: None,
        }
    }

    /// The processes whose end is news from now on, by id and start: those that the records name which were
    /// read last. One that is gone is news at once, and once.
    pub fn follow(&mut self, processes: &[(u32, u64)]) {
        let queue = self.queue.as_ref().map(AsyncFd::get_ref);
        let ended = self.processes.follow(processes, queue);
        self.tell_ended(&ended);
        self.write_note();
    }

    /// Waits for the next news, and takes up all that there is. May be given up and called again; none is lost.
    pub async fn next(&mut self) -> Woken {
        loop {
            if self.folders.is_stale() || !self.news.is_empty() {
                self.take_up();
                return mem::take(&mut self.news);
            }
            let looks = self.folders.trouble().is_some() || self.processes.are_looked_at();
            tokio::select! {
                biased;
                () = readable(self.queue.as_ref()) => {
                    self.take_up();
                    if self.news.is_empty() {
                        self.rest().await;
                    }
                }
                _ = self.look.tick(), if looks => self.look(),
            }
        }
    }

    /// Why something is looked at every second only, for people.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Takes up what the queue holds.
    fn take_up(&mut self) {
        for _ in 0..MOST_TIMES {
            self.drain();
            if !self.folders.is_stale() {
                break;
            }
            // Where folders come and go, records may have come before anything told of them.
            self.news.all = true;
            self.settle_folders();
        }
        self.write_note();
    }

    fn drain(&mut self) {
        let Some(queue) = &self.queue else { return };
        let mut ready = Vec::with_capacity(MOST_AT_ONCE);
        let mut ended = Vec::new();
        loop {
            ready.clear();
            match epoll::wait(queue, spare_capacity(&mut ready), Some(&NO_TIME)) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(_) => break,
            }
            for event in &ready {
                let key = event.data.u64();
                if key == FOLDERS {
                    self.folders.drain(&mut self.news);
                } else {
                    ended.extend(self.processes.ended(key));
                }
            }
            if ready.len() < MOST_AT_ONCE {
                break;
            }
        }
        self.tell_ended(&ended);
    }

    /// Looks at what nothing tells of. What could not be had before may be there by now.
    fn look(&mut self) {
        if self.folders.trouble().is_some() {
            self.news.all = true;
            self.settle_folders();
        }
        let ended = self.processes.look();
        self.tell_ended(&ended);
        self.write_note();
    }

    fn settle_folders(&mut self) {
        let queue = self.queue.as_ref().map(AsyncFd::get_ref);
        self.folders.settle(|inotify| {
            let queue = queue.ok_or(Errno::BADF)?;
            let key = epoll::EventData::new_u64(FOLDERS);
            epoll::add(queue, inotify, key, epoll::EventFlags::IN)
        });
    }

    fn tell_ended(&mut self, ended: &[EndedProcess]) {
        for process in ended.iter().take(MOST_SOUGHT) {
            let agents = self.folders.agents_of(&process.stem());
            self.news.all |= agents.is_empty();
            self.news.agents.extend(agents);
        }
        self.news.all |= ended.len() > MOST_SOUGHT;
    }

    /// After something that was no news: nothing the first time, a pause if it goes on.
    async fn rest(&mut self) {
        let before_ms = mem::replace(&mut self.noise_ms, clock::mono_ms());
        if self.noise_ms < before_ms.saturating_add(2 * clock::millis(NOISE_PAUSE)) {
            tokio::time::sleep(NOISE_PAUSE).await;
        }
    }

    fn write_note(&mut self) {
        let signals = self.folders.trouble().map(|why| ("signals", why));
        let processes = self.processes.trouble().map(|why| ("processes", why));
        let notes: Vec<String> = [signals, processes]
            .into_iter()
            .flatten()
            .map(|(what, why)| format!("{what} are looked at every second: {why}"))
            .collect();
        self.note = (!notes.is_empty()).then(|| notes.join("; "));
    }
}

fn queue() -> std::io::Result<AsyncFd<OwnedFd>> {
    let queue = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    #[allow(
        deprecated,
        reason = "what replaces it is unsafe, since others than an OwnedFd may close their descriptor"
    )]
    AsyncFd::with_interest(queue, Interest::READABLE)
}

async fn readable(queue: Option<&AsyncFd<OwnedFd>>) {
    if let Some(queue) = queue
        && let Ok(mut ready) = queue.readable().await
    {
        // All of it is taken up then, but not by the event loop, which is told so before.
        ready.clear_ready();
        return;
    }
    // There is none, or the event loop is shutting down.
    std::future::pending::<()>().await;
}

#[cfg(test)]
mod tests;
