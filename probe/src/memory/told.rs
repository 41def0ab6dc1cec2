//! What the asker of a held answer was told, and has surely heard; who holds an answer now, and whether several
//! ask for it.
//!
//! An entry is about one command line. Whatever is doubtful counts as not heard: then the next answer is given
//! at once, which costs an engine no more than an ordinary check.

use std::time::Duration;

use ready_probe_sdk::clock::millis;
use ready_probe_sdk::host::{self, Process};
use serde::{Deserialize, Serialize};

use super::Memory;
use super::asker_limit::AskerLimit;
use super::asker_pace::AskerPace;
use crate::hold::{Class, Heard};

/// An asker that comes again later than this may have heard something else meanwhile, or be another one.
const FRESH_MS: u64 = 5_000;
/// Where several ask alternately, each has heard an answer that has been the same for so long: they come more
/// often than that.
const SETTLED_MS: u64 = 60_000;
/// So many command lines are remembered, the latest.
const MAX_ENTRIES: usize = 16;

/// A process that gives an answer, or holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its id.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub start: u64,
}

impl Holder {
    /// This process; nothing where `/proc` does not show it.
    pub fn myself() -> Option<Self> {
        let pid = std::process::id();
        let start = host::stat_of(pid)?.start;
        Some(Self { pid, start })
    }

    /// Whether it still runs. One that has ended gives no answer, also if nobody has reaped it.
    pub fn lives(&self) -> bool {
        Process::lives(self.pid, self.start)
    }
}

/// How a run has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Its answer was taken in full.
    Whole,
    /// Its answer can't be relied on: nobody read it, or something was wrong while it was held.
    Doubtful,
    /// A signal has ended its hold, after so long.
    Cut(Duration),
}

/// What is remembered of the answers to one command line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The last answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    class: Option<Class>,
    /// How many in a row were not healthy.
    failures: u32,
    /// Since when it has been the same.
    since_ms: u64,
    /// When it was given.
    at_ms: u64,
    /// Whether it was surely heard.
    whole: bool,
    /// Who gives the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    holder: Option<Holder>,
    /// Since when.
    #[serde(default)]
    began_ms: u64,
    /// Several ask, each of whom has heard a part of the answers.
    #[serde(default)]
    several: bool,
    /// How long its asker waits.
    #[serde(default, skip_serializing_if = "AskerLimit::is_unknown")]
    limit: AskerLimit,
    /// How soon its asker comes again.
    #[serde(default, skip_serializing_if = "AskerPace::is_unknown")]
    pace: AskerPace,
}

/// What a run finds when it begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Begun {
    /// What its asker has surely heard.
    pub heard: Option<Heard>,
    /// Somebody who holds the same answer already.
    pub beside: Option<Holder>,
    /// Several ask the same.
    pub several: bool,
    /// Since when its asker has been told the same, by `CLOCK_MONOTONIC` in milliseconds.
    pub since_ms: u64,
    /// Its asker gives up not much later than this, as the last holds have shown.
    pub limit: Option<Duration>,
}

impl Told {
    /// A run begins. From now on its asker has heard nothing for sure, until it has answered.
    fn begin(&mut self, me: Holder, now_ms: u64, lives: impl Fn(&Holder) -> bool) -> Begun {
        let before = self.holder.filter(|holder| *holder != me);
        if let Some(beside) = before.filter(|holder| lives(holder)) {
            return Begun {
                heard: None,
                beside: Some(beside),
                several: self.several,
                since_ms: self.since_ms,
                limit: self.limit.known(),
            };
        }
        // One that has ended without a word may have been heard or not.
        if before.is_some() {
            self.limit.killed(now_ms.saturating_sub(self.began_ms));
        }
        let is_sure = before.is_none() && self.is_sure(now_ms);
        if before.is_none()
            && self.class.is_some()
            && let Some(gap_ms) = now_ms.checked_sub(self.at_ms)
            && gap_ms <= FRESH_MS
        {
            self.pace.came(gap_ms);
        }
        let heard = self.class.filter(|_| is_sure).map(|class| Heard {
            class,
            failures: self.failures,
        });
        self.holder = Some(me);
        self.began_ms = now_ms;
        Begun {
            heard,
            beside: None,
            several: self.several,
            since_ms: self.since_ms,
            limit: self.limit.known(),
        }
    }

    fn is_sure(&self, now_ms: u64) -> bool {
        let ago = |then_ms| now_ms.checked_sub(then_ms);
        self.whole
            && ago(self.at_ms).is_some_and(|ms| ms <= FRESH_MS && self.pace.is_usual(ms))
            && (!self.several || ago(self.since_ms).is_some_and(|ms| ms >= SETTLED_MS))
    }

    /// A run has ended.
    fn end(&mut self, me: Holder, class: Class, ending: Ending, now_ms: u64) {
        let is_mine = self.holder == Some(me);
        if is_mine {
            self.holder = None;
        }
        self.whole = ending == Ending::Whole;
        match ending {
            Ending::Cut(after) => self.limit.cut(millis(after)),
            Ending::Whole if is_mine => {
                self.limit.outlasted(now_ms.saturating_sub(self.began_ms));
            }
            Ending::Whole | Ending::Doubtful => {}
        }
        self.failures = match class {
            Class::Healthy => 0,
            Class::Starting | Class::Unhealthy => self.failures.saturating_add(1),
        };
        if self.class != Some(class) {
            self.class = Some(class);
            self.since_ms = now_ms;
        }
        self.at_ms = now_ms;
    }
}

impl Memory {
    /// A run begins that answers this command line.
    pub fn begin(&mut self, key: &str, me: Holder, now_ms: u64) -> Begun {
        self.stamp(now_ms);
        let told = self.told.entry(key.to_owned()).or_default();
        let begun = told.begin(me, now_ms, Holder::lives);
        while self.told.len() > MAX_ENTRIES {
            let others = self.told.iter().filter(|(other, _)| *other != key);
            let Some((oldest, _)) = others.min_by_key(|(_, told)| told.at_ms) else {
                break;
            };
            let oldest = oldest.clone();
            self.told.remove(&oldest);
        }
        begun
    }

    /// It has ended. `beside` is whom it has found when it began: if that one still lives, several ask.
    pub fn end(
        &mut self,
        key: &str,
        me: Holder,
        beside: Option<Holder>,
        (class, ending): (Class, Ending),
        now_ms: u64,
    ) {
        self.stamp(now_ms);
        let told = self.told.entry(key.to_owned()).or_default();
        told.several |= beside.is_some_and(|holder| told.holder == beside && holder.lives());
        told.end(me, class, ending, now_ms);
    }

    /// Whether several ask this.
    pub fn is_asked_by_several(&self, key: &str) -> bool {
        self.told.get(key).is_some_and(|told| told.several)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: Holder = Holder { pid: 7, start: 70 };
    const OTHER: Holder = Holder { pid: 8, start: 80 };
    const UNHEALTHY: Class = Class::Unhealthy;
    const HEALTHY: Class = Class::Healthy;

    fn dead(_: &Holder) -> bool {
        false
    }

    fn alive(_: &Holder) -> bool {
        true
    }

    /// After one answer, given at 1,000.
    fn after(class: Class, ending: Ending) -> Told {
        let mut told = Told::default();
        told.begin(OTHER, 900, dead);
        told.end(OTHER, class, ending, 1_000);
        told
    }

    fn heard(told: &Told, now_ms: u64) -> Option<Heard> {
        told.clone().begin(ME, now_ms, dead).heard
    }

    #[test]
    fn heard_is_what_was_said_in_full_not_long_ago() {
        let healthy = Some(Heard {
            class: HEALTHY,
            failures: 0,
        });
        assert_eq!(heard(&Told::default(), 0), None, "nothing was said");
        let told = after(HEALTHY, Ending::Whole);
        assert_eq!(heard(&told, 1_000), healthy);
        assert_eq!(heard(&told, 2_500), healthy);
        assert_eq!(heard(&told, 2_501), None, "something may have happened");
        assert_eq!(heard(&told, 999), None, "another boot's clock");
        for ending in [Ending::Doubtful, Ending::Cut(Duration::from_secs(3))] {
            assert_eq!(heard(&after(HEALTHY, ending), 1_000), None, "{ending:?}");
        }
    }

    #[test]
    fn nothing_is_sure_for_whoever_comes_later_than_usual_or_after_too_long() {
        let mut told = Told::default();
        let mut now_ms = 100_000;
        for (gap_ms, is_sure) in [
            (1_000, false),
            (4_900, false),
            (4_950, true),
            (5_001, false),
            (1_000, true),
            // The container was paused in between.
            (2_700, false),
            (1_050, true),
        ] {
            now_ms += gap_ms;
            let begun = told.begin(ME, now_ms, dead);
            assert_eq!(begun.heard.is_some(), is_sure, "{gap_ms}");
            told.end(ME, HEALTHY, Ending::Whole, now_ms);
        }
    }

    #[test]
    fn one_that_ended_without_a_word_leaves_nothing_sure() {
        let mut told = after(HEALTHY, Ending::Whole);
        assert!(told.begin(OTHER, 1_500, dead).heard.is_some());
        let begun = told.begin(ME, 2_000, dead);
        assert_eq!((begun.heard, begun.beside), (None, None));
        told.end(ME, HEALTHY, Ending::Whole, 2_100);
        assert!(heard(&told, 2_200).is_some(), "its own answer counts again");
    }

    #[test]
    fn nothing_is_sure_beside_another_who_keeps_what_is_its_own() {
        let mut told = after(HEALTHY, Ending::Whole);
        told.begin(OTHER, 1_500, dead);
        let begun = told.begin(ME, 2_000, alive);
        assert_eq!((begun.heard, begun.beside), (None, Some(OTHER)));
        told.end(ME, HEALTHY, Ending::Whole, 2_100);
        assert_eq!(told.holder, Some(OTHER));
    }

    #[test]
    fn where_several_ask_an_answer_has_to_stay_the_same_for_a_minute() {
        let mut told = after(HEALTHY, Ending::Whole);
        told.several = true;
        told.end(ME, HEALTHY, Ending::Whole, 60_000);
        assert_eq!(heard(&told, 60_999), None);
        assert!(heard(&told, 61_000).is_some());
        told.end(ME, UNHEALTHY, Ending::Whole, 62_000);
        told.end(OTHER, HEALTHY, Ending::Whole, 63_000);
        assert_eq!(heard(&told, 63_100), None);
    }

    #[test]
    fn failed_answers_in_a_row_are_counted() {
        let mut told = Told::default();
        for (class, want) in [
            (Class::Starting, 1),
            (UNHEALTHY, 2),
            (UNHEALTHY, 3),
            (HEALTHY, 0),
            (UNHEALTHY, 1),
        ] {
            told.end(ME, class, Ending::Whole, 1_000);
            assert_eq!(
                heard(&told, 1_000),
                Some(Heard {
                    class,
                    failures: want
                })
            );
        }
    }

    #[test]
    fn what_is_taken_in_full_beyond_a_limit_ends_it() {
        let mut told = Told::default();
        for _ in 0..3 {
            told.begin(ME, 1_000, dead);
            told.end(ME, HEALTHY, Ending::Cut(Duration::from_secs(10)), 11_000);
        }
        let limit = Some(Duration::from_secs(5));
        assert_eq!(told.begin(ME, 20_000, dead).limit, limit);
        told.end(ME, HEALTHY, Ending::Whole, 25_000);
        assert_eq!(told.begin(ME, 30_000, dead).limit, limit);
        told.end(ME, HEALTHY, Ending::Whole, 41_000);
        assert_eq!(told.limit, AskerLimit::default());
    }

    #[test]
    fn three_that_were_killed_after_the_same_time_are_a_limit_too() {
        let mut told = Told::default();
        let mut now_ms = 100_000;
        for (gap_ms, want) in [
            (11_000, None),
            (4_000, None),
            (11_050, None),
            (11_000, None),
            (11_100, Some(5_050)),
            (8_000, Some(5_050)),
        ] {
            told.begin(OTHER, now_ms, dead);
            now_ms += gap_ms;
            let begun = told.begin(ME, now_ms, dead);
            let want = want.map(Duration::from_millis);
            assert_eq!((begun.heard, begun.limit), (None, want), "{gap_ms}");
            told.end(ME, HEALTHY, Ending::Whole, now_ms);
        }
    }

    #[test]
    fn only_the_latest_command_lines_are_remembered() {
        let mut memory = Memory::default();
        for n in 0..40_u64 {
            let key = n.to_string();
            memory.begin(&key, ME, n);
            memory.end(&key, ME, None, (HEALTHY, Ending::Whole), n);
        }
        assert_eq!(memory.told.len(), MAX_ENTRIES);
        assert!(memory.told.contains_key("39"));
    }

    #[test]
    fn this_process_lives_and_none_that_started_at_another_time() {
        let me = Holder::myself().unwrap();
        assert!(me.lives());
        let earlier = Holder {
            start: me.start - 1,
            ..me
        };
        assert!(!earlier.lives());
    }
}
