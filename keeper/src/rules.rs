//! The numbers by which a service is suspected, restarted and given up.

/// How much has to be seen before it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// So many answers, one after another,
    pub times: u32,
    /// over at least so long.
    pub for_ms: u64,
}

/// What becomes of a service whose budget is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GiveUp {
    /// It is tried now and then.
    Slow,
    /// It is left to a person.
    Stop,
    /// The container is ended, by its process 1.
    Exit,
}

/// The rules of one service. Integers carry their unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// When `gone` counts.
    pub gone: Proof,
    /// When `says no` counts.
    pub says_no: Proof,
    /// When `hung` counts.
    pub hung: Proof,
    /// How often it is asked while nothing is wrong, at least.
    pub interval_ms: u64,
    /// How long it may take until it works.
    pub startup_ms: u64,
    /// The same of one that nobody here has started, where the loop may have begun together with it.
    pub unseen_ms: u64,
    /// How long after a restart it is asked first.
    pub delay_ms: u64,
    /// How long it has to work until earlier failures are forgotten.
    pub stable_ms: u64,
    /// So many restarts in a row that did not help, and it is given up.
    pub attempts: u32,
    /// So many restarts at most
    pub max_restarts: usize,
    /// within so long.
    pub window_ms: u64,
    /// How long a restart command may run without the service being back.
    pub command_ms: u64,
    /// How often one that was given up is tried again.
    pub slow_ms: u64,
    /// What becomes of it when its budget is spent.
    pub give_up: GiveUp,
    /// It can be restarted at all.
    pub restarts: bool,
    /// The services without which it can't work, by number.
    pub needs: Vec<usize>,
    /// The services after whose restart it is restarted, too.
    pub restart_with: Vec<usize>,
}

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;

/// So often a container may be ended within a day.
pub const MAX_EXITS: usize = 3;
/// A day.
pub const DAY_MS: u64 = 24 * 60 * MINUTE;

/// What was seen longer ago proves nothing about now.
pub const PROOF_HOLDS_MS: u64 = MINUTE;

/// In a program that cron starts, a failure is asked about again after 1 and 2 s.
const THREE_AT_ONCE: Proof = Proof {
    times: 3,
    for_ms: 2 * SECOND,
};
/// And what hangs in two passes is hung, unless a person has made one right after the other.
const BETWEEN_PASSES_MS: u64 = 30 * SECOND;

/// The first pauses between restarts that did not help; the last one stays.
const BACKOFF_MS: [u64; 7] = [
    0,
    10 * SECOND,
    20 * SECOND,
    40 * SECOND,
    80 * SECOND,
    160 * SECOND,
    300 * SECOND,
];

impl Rules {
    /// Those of a service in TOML, in a program that asks again and again.
    pub fn of_loop() -> Self {
        Self {
            gone: Proof {
                times: 2,
                for_ms: 2 * SECOND,
            },
            says_no: Proof {
                times: 3,
                for_ms: 30 * SECOND,
            },
            hung: Proof {
                times: 3,
                for_ms: MINUTE,
            },
            interval_ms: 30 * SECOND,
            startup_ms: MINUTE,
            unseen_ms: 0,
            delay_ms: 5 * SECOND,
            stable_ms: 10 * MINUTE,
            attempts: 3,
            max_restarts: 5,
            window_ms: 60 * MINUTE,
            command_ms: MINUTE,
            slow_ms: 30 * MINUTE,
            give_up: GiveUp::Slow,
            restarts: true,
            needs: Vec::new(),
            restart_with: Vec::new(),
        }
    }

    /// Those of a service in the JSON of services: as its script meant them.
    pub fn of_passes() -> Self {
        Self {
            startup_ms: 0,
            ..Self::of_loop().in_passes()
        }
    }

    /// The same in a program that cron starts.
    pub fn in_passes(self) -> Self {
        Self {
            gone: THREE_AT_ONCE,
            says_no: THREE_AT_ONCE,
            hung: Proof {
                times: 2,
                for_ms: BETWEEN_PASSES_MS.min(self.hung.for_ms),
            },
            unseen_ms: 0,
            ..self
        }
    }

    /// The least time in which all of its restarts can happen: within a shorter window its limit is never reached.
    pub fn least_window_ms(&self) -> u64 {
        let others = u64::try_from(self.max_restarts.saturating_sub(1)).unwrap_or(u64::MAX);
        let each = self.delay_ms + self.interval_ms + self.gone.for_ms;
        others.saturating_mul(each)
    }

    /// The pause before the next restart, after so many that did not help: up to a fifth less or more, so that what
    /// fell together does not rise together.
    pub fn backoff_ms(attempts: u32, dice: u64) -> u64 {
        let last = BACKOFF_MS.len() - 1;
        let nth = usize::try_from(attempts).unwrap_or(last).min(last);
        let base = BACKOFF_MS.get(nth).copied().unwrap_or(300 * SECOND);
        base * (800 + dice % 401) / 1_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_holds_all_restarts_that_the_schedule_allows() {
        let rules = Rules::of_loop();
        assert_eq!(rules.least_window_ms(), 4 * 37 * SECOND);
        assert!(rules.least_window_ms() <= rules.window_ms);
        let one = Rules {
            max_restarts: 1,
            ..rules
        };
        assert_eq!(one.least_window_ms(), 0);
    }

    #[test]
    fn the_pause_grows_to_five_minutes_give_or_take_a_fifth() {
        for (attempts, seconds) in [
            (0, 0),
            (1, 10),
            (2, 20),
            (3, 40),
            (6, 300),
            (7, 300),
            (u32::MAX, 300),
        ] {
            for dice in [0, 200, 400, u64::MAX] {
                let ms = Rules::backoff_ms(attempts, dice);
                assert!(
                    (seconds * 800..=seconds * 1_200).contains(&ms),
                    "{attempts}: {ms}"
                );
            }
        }
    }
}
