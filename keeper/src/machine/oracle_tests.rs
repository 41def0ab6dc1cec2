//! Who knows the truth behind a stream of answers: what a service is, and what has been seen of it, counted by the words of
//! `docs/keeper.md`.

use fastrand::Rng;

use super::*;
use crate::rules::Proof;
use crate::seen::Cause;

const MINUTE: u64 = 60_000;

/// What is so, whoever looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Truth {
    Works,
    Gone,
    SaysNo,
    Hangs,
    /// Loads or drains, and says so.
    Loads,
}

/// One service as it is, and what the oracle has seen of it.
pub(super) struct Service {
    pub(super) truth: Truth,
    pub(super) is_paused: bool,
    pub(super) is_inhibited: bool,
    /// Something that it needs, and that is no service, does not work.
    pub(super) lacks: bool,
    /// How long its restart command still runs, in steps, and what comes of it.
    pub(super) command: Option<(u8, Truth)>,
    pub(super) life: Instance,
    /// Its lives can be told apart.
    pub(super) is_known: bool,
    /// When somebody else has started it, where that can be known.
    pub(super) started_ms: Option<u64>,
    /// Answers of "no" in a row, and over how long.
    pub(super) noes: (u32, u64),
    pub(super) gone: (u32, u64),
    pub(super) hung: u32,
    /// The same within the last minutes: it may have been forgotten what was before.
    pub(super) hung_now: u32,
    pub(super) is_heard: bool,
    /// A restart has not helped: that is proof, as long as it is seen not to work at least once a minute.
    pub(super) has_failed: bool,
    pub(super) bad_ms: u64,
    /// How long it was seen not to work.
    pub(super) bad_for_ms: u64,
    /// And that without a minute in which nobody saw it.
    pub(super) closely_ms: u64,
    /// When it was first seen not to work, since it worked or was restarted.
    pub(super) since_ms: Option<u64>,
    pub(super) passed_ms: u64,
    pub(super) restarts: Vec<u64>,
    /// When its last restart was not over yet.
    pub(super) verified_ms: u64,
    /// Restarts since it worked for ten minutes.
    pub(super) in_row: u32,
    pub(super) given_up: bool,
    /// The service that it is restarted with was restarted.
    pub(super) is_due: bool,
    /// Nothing stands in the way of a restart since so many steps.
    pub(super) open: u32,
}

impl Service {
    pub(super) fn new(now: Now, is_known: bool) -> Self {
        Self {
            truth: Truth::Works,
            is_paused: false,
            is_inhibited: false,
            lacks: false,
            command: None,
            life: Instance {
                id: 0,
                began_ms: now.mono_ms - 1,
                is_alone: false,
            },
            is_known,
            started_ms: None,
            noes: (0, 0),
            gone: (0, 0),
            hung: 0,
            hung_now: 0,
            is_heard: false,
            has_failed: false,
            bad_ms: 0,
            bad_for_ms: 0,
            closely_ms: 0,
            since_ms: None,
            passed_ms: 0,
            restarts: Vec::new(),
            verified_ms: 0,
            in_row: 0,
            given_up: false,
            is_due: false,
            open: 0,
        }
    }

    pub(super) fn seen(&self, can_ask: bool) -> Seen {
        match (can_ask, self.truth) {
            (false, _) => Seen::CouldNotAsk,
            (true, Truth::Works) => Seen::Pass,
            (true, Truth::Gone) => Seen::Bad(Cause::Gone),
            (true, Truth::SaysNo) => Seen::Bad(Cause::SaysNo),
            (true, Truth::Hangs) => Seen::Bad(Cause::Hung),
            (true, Truth::Loads) => Seen::NotNow,
        }
    }

    pub(super) fn begins(&mut self, truth: Truth, now: Now) {
        self.truth = truth;
        self.life = Instance {
            id: self.life.id + 1,
            began_ms: now.mono_ms,
            is_alone: false,
        };
    }

    pub(super) fn forget(&mut self) {
        (self.noes, self.gone) = ((0, 0), (0, 0));
        (self.hung, self.hung_now) = (0, 0);
        self.since_ms = None;
        (self.has_failed, self.bad_for_ms, self.closely_ms) = (false, 0, 0);
    }

    /// Counts what is seen; the time counts between two answers.
    pub(super) fn count(&mut self, seen: Seen, passed_ms: u64, now: Now) {
        let passed = if self.is_heard { passed_ms } else { 0 };
        self.is_heard = seen != Seen::CouldNotAsk;
        let add = |(times, lasted): &mut (u32, u64), holds: bool| {
            if !holds || passed > MINUTE {
                (*times, *lasted) = (0, 0);
            }
            if holds {
                *lasted += if *times > 0 { passed } else { 0 };
                *times += 1;
            }
        };
        match seen {
            Seen::CouldNotAsk => {}
            Seen::Pass => {
                self.passed_ms += passed;
                if self.passed_ms >= 10 * MINUTE {
                    self.in_row = 0;
                }
                (self.given_up, self.started_ms) = (false, None);
                self.forget();
            }
            Seen::NotNow => self.forget(),
            Seen::Bad(cause) => {
                self.passed_ms = 0;
                self.bad_for_ms += passed;
                self.closely_ms += passed;
                if now.mono_ms - self.bad_ms > MINUTE {
                    (self.hung_now, self.closely_ms) = (0, 0);
                }
                self.has_failed &= now.mono_ms - self.bad_ms <= MINUTE;
                self.bad_ms = now.mono_ms;
                self.since_ms.get_or_insert(now.mono_ms);
                add(&mut self.gone, cause == Cause::Gone);
                add(&mut self.noes, cause != Cause::Hung);
                self.hung = match cause {
                    Cause::Hung => self.hung + 1,
                    Cause::SaysNo => 0,
                    Cause::Gone => self.hung,
                };
                self.hung_now = match cause {
                    Cause::Hung => self.hung_now + 1,
                    Cause::SaysNo => 0,
                    Cause::Gone => self.hung_now,
                };
            }
        }
    }

    pub(super) fn is_proven(&self, rules: &Rules) -> bool {
        self.is_proven_now(rules) || self.hung >= rules.hung.times
    }

    pub(super) fn is_proven_now(&self, rules: &Rules) -> bool {
        let is_met = |(times, lasted): (u32, u64), proof: Proof| {
            times >= proof.times && lasted >= proof.for_ms
        };
        self.has_failed
            || is_met(self.noes, rules.says_no)
            || is_met(self.gone, rules.gone)
            || self.hung_now >= rules.hung.times
    }

    /// Somebody else has started it, and its startup is not over.
    pub(super) fn is_acted_on(&self, rules: &Rules, now: Now) -> bool {
        self.started_ms
            .is_some_and(|at| now.mono_ms - at < rules.startup_ms)
    }

    pub(super) fn within(&self, ms: u64, now: Now) -> usize {
        let recent = |&&at: &&u64| at + ms > now.mono_ms;
        self.restarts.iter().filter(recent).count()
    }
}

pub(super) fn truth(random: &mut Rng) -> Truth {
    match random.u8(..10) {
        0..=3 => Truth::Works,
        4 | 5 => Truth::Gone,
        6 | 7 => Truth::Hangs,
        8 => Truth::SaysNo,
        _ => Truth::Loads,
    }
}

pub(super) fn one_in(random: &mut Rng, many: u8) -> bool {
    random.u8(..many) == 0
}

/// Lets time pass over one service. Returns what is observed.
pub(super) fn live(
    service: &mut Service,
    is_ours: bool,
    random: &mut Rng,
    passed: u64,
    now: Now,
) -> Observation {
    if one_in(random, 8) {
        let truth = truth(random);
        // What was gone is started by somebody, and so is some of the rest. While its restart is not over, that is ours.
        if truth != Truth::Gone && (service.truth == Truth::Gone || one_in(random, 4)) {
            service.begins(truth, now);
            if service.is_known && !is_ours {
                service.started_ms = Some(now.mono_ms);
                service.forget();
            }
        }
        service.truth = truth;
    }
    service.is_paused ^= one_in(random, 40);
    service.is_inhibited ^= one_in(random, if service.is_inhibited { 8 } else { 60 });
    service.lacks ^= one_in(random, if service.lacks { 8 } else { 60 });
    match service.command {
        Some((0, truth)) => {
            service.begins(truth, now);
            service.command = None;
        }
        Some((left, truth)) => service.command = Some((left - 1, truth)),
        None => {}
    }
    let seen = service.seen(!one_in(random, 6));
    if service.is_paused {
        service.forget();
        (service.is_heard, service.given_up, service.is_due) = (true, false, false);
    } else {
        service.count(seen, passed, now);
    }
    let bad = matches!(seen, Seen::Bad(_));
    let barrier = match (service.lacks, service.is_inhibited) {
        (true, _) if bad => Barrier::Needs,
        (_, true) if bad => Barrier::Inhibited,
        (true | false, true | false) => Barrier::Open,
    };
    Observation {
        seen: (!service.is_paused).then_some(seen),
        marker: if service.is_paused {
            Marker::Present
        } else {
            Marker::Absent
        },
        command: if service.command.is_some() {
            Command::Running
        } else {
            Command::Ended
        },
        instance: (service.is_known && service.truth != Truth::Gone).then_some(service.life),
        barrier,
        asked_ms: now.mono_ms,
    }
}
