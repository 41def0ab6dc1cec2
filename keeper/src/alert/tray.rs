//! What is to go through one channel: what comes together is one message, so many an hour, so many tries. Pure.
//!
//! It outlives the keeper, so times are times of day; a clock that is set back ends a pause after as long again at the latest.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::fate::Fate;
use super::message::{Item, Letter, Subjects};
use crate::voice::Level;

/// What comes within this time is one message.
const TOGETHER: u64 = 10 * SECOND;
/// So many messages
const MAX_SENT: usize = 10;
/// within this time.
const SENT_WITHIN: u64 = 3_600 * SECOND;
/// So many wait to be sent.
const MAX_QUEUE: usize = 20;
/// So much waits to be told.
const MAX_PENDING: usize = 100;
/// The pauses before a message is tried again; then it is given up.
const RETRIES: [u64; 3] = [SECOND, 5 * SECOND, 25 * SECOND];

const SECOND: u64 = 1_000;

/// What waits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tray {
    pending: Vec<Item>,
    since_ms: u64,
    sent_ms: Vec<u64>,
    queue: VecDeque<Queued>,
    next: u64,
    lost: u32,
    /// The same, for whoever counts.
    #[serde(skip)]
    dropped: u64,
    shut: Option<Lull>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Queued {
    number: u64,
    letter: Letter,
    tries: usize,
    pause: Lull,
}

/// From then on, for so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Lull {
    since_ms: u64,
    for_ms: u64,
}

impl Lull {
    fn left_ms(self, wall_ms: u64) -> u64 {
        self.for_ms.saturating_sub(self.since_ms.abs_diff(wall_ms))
    }
}

impl Tray {
    /// Puts something into it.
    pub fn put(&mut self, item: Item, wall_ms: u64) {
        if self.pending.is_empty() {
            self.since_ms = wall_ms;
        }
        self.pending.push(item);
        if self.pending.len() > MAX_PENDING {
            self.pending.remove(0);
            self.give_up();
        }
    }

    /// Takes out of it what no message holds yet.
    pub fn take_back(&mut self, is_meant: impl Fn(&Item) -> bool) -> Vec<Item> {
        let (taken, left) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(is_meant);
        self.pending = left;
        taken
    }

    /// Makes a message of what has waited long enough; or now, if nothing more will come.
    pub fn compose(&mut self, subjects: &Subjects, host: &str, wall_ms: u64, is_last: bool) {
        if self.pending.is_empty() || self.together_ms(wall_ms, is_last) > 0 {
            return;
        }
        self.sent_ms.retain(|at| at.abs_diff(wall_ms) < SENT_WITHIN);
        self.sent_ms.push(wall_ms);
        let items = std::mem::take(&mut self.pending);
        let letter = Letter::write(&items, subjects, host, std::mem::take(&mut self.lost));
        self.queue.push_back(Queued {
            number: self.next,
            letter,
            tries: 0,
            pause: Lull {
                since_ms: wall_ms,
                for_ms: 0,
            },
        });
        self.next += 1;
        if self.queue.len() > MAX_QUEUE {
            self.queue.pop_front();
            self.give_up();
        }
    }

    /// Messages that are to be sent now, with their numbers.
    pub fn due(&self, wall_ms: u64) -> impl Iterator<Item = (u64, &Letter)> {
        let due = self
            .queue
            .iter()
            .filter(move |queued| self.wait_ms(queued, wall_ms) == 0);
        due.map(|queued| (queued.number, &queued.letter))
    }

    /// In how long there is something to do: a message to be made, or to be sent.
    pub fn next_ms(&self, wall_ms: u64, is_last: bool) -> Option<u64> {
        let letters = self
            .queue
            .iter()
            .map(|queued| self.wait_ms(queued, wall_ms));
        let pending = (!self.pending.is_empty()).then(|| self.together_ms(wall_ms, is_last));
        letters.chain(pending).min()
    }

    /// Takes in what became of a message. Returns what is to be said; `channel` is what people call it.
    pub fn settle(
        &mut self,
        number: u64,
        fate: Fate,
        channel: &str,
        wall_ms: u64,
    ) -> Option<(Level, String)> {
        let at = self
            .queue
            .iter()
            .position(|queued| queued.number == number)?;
        let queued = self.queue.get_mut(at)?;
        let title = queued.letter.title.clone();
        let (why, after_ms) = match fate {
            Fate::Delivered => {
                self.queue.remove(at);
                return Some((Level::Info, format!("alert sent to {channel}: {title}")));
            }
            Fate::Refused(why) => {
                self.lose(at);
                let said =
                    format!("alert not sent to {channel}, and not tried again: {title}: {why}");
                return Some((Level::Error, said));
            }
            Fate::Later { why, after_ms } => (why, after_ms),
        };
        if let Some(for_ms) = after_ms {
            self.shut = Some(Lull {
                since_ms: wall_ms,
                for_ms,
            });
        }
        let Some(&for_ms) = RETRIES.get(queued.tries) else {
            self.lose(at);
            let tries = RETRIES.len() + 1;
            let said = format!(
                "alert not sent to {channel}, and given up after {tries} tries: {title}: {why}"
            );
            return Some((Level::Error, said));
        };
        queued.tries += 1;
        queued.pause = Lull {
            since_ms: wall_ms,
            for_ms,
        };
        let seconds = for_ms.max(after_ms.unwrap_or(0)).div_ceil(SECOND);
        let said =
            format!("alert not sent to {channel}, tried again in {seconds} s: {title}: {why}");
        Some((Level::Warning, said))
    }

    /// How many were given up since this was asked last.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    fn give_up(&mut self) {
        self.lost += 1;
        self.dropped += 1;
    }

    fn lose(&mut self, at: usize) {
        self.queue.remove(at);
        self.give_up();
    }

    /// In how long the next message may be made.
    fn together_ms(&self, wall_ms: u64, is_last: bool) -> u64 {
        let together = Lull {
            since_ms: self.since_ms,
            for_ms: if is_last { 0 } else { TOGETHER },
        };
        let mut recent: Vec<u64> = self
            .sent_ms
            .iter()
            .copied()
            .filter(|at| at.abs_diff(wall_ms) < SENT_WITHIN)
            .collect();
        recent.sort_unstable();
        let oldest = recent
            .len()
            .checked_sub(MAX_SENT)
            .and_then(|at| recent.get(at));
        let cap = oldest.map_or(0, |&since_ms| {
            let cap = Lull {
                since_ms,
                for_ms: SENT_WITHIN,
            };
            cap.left_ms(wall_ms)
        });
        together.left_ms(wall_ms).max(cap)
    }

    /// In how long a message may be sent.
    fn wait_ms(&self, queued: &Queued, wall_ms: u64) -> u64 {
        let shut = self.shut.map_or(0, |shut| shut.left_ms(wall_ms));
        queued.pause.left_ms(wall_ms).max(shut)
    }
}

#[cfg(test)]
mod tests;
