//! Random streams of outcomes with a truth behind them. An oracle, that knows the truth and none of the machine's states,
//! says which restarts were needless and which are missing, by the words of `docs/keeper.md`.

use fastrand::Rng;

use super::*;
use crate::seen::Cause;

const STREAMS: u64 = 100_000;
const STEPS: usize = 40;
const SERVICES: usize = 3;

/// What is so, whoever looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Truth {
    Works,
    Gone,
    SaysNo,
    Hangs,
    /// Loads or drains, and says so.
    Loads,
}

/// One service as it is.
struct Service {
    truth: Truth,
    is_paused: bool,
    /// How long its restart command still runs, in steps, and whether it helps.
    command: Option<(u8, bool)>,
    /// What the oracle has seen: answers of "no" in a row, and how long.
    noes: u32,
    noes_ms: u64,
    gone: u32,
    gone_ms: u64,
    hung: u32,
    heard: bool,
    /// What was proven stays so until it is denied.
    was_proven: bool,
    restarts: Vec<u64>,
    /// Nothing stands in the way of a restart since so many steps.
    open: u32,
}

impl Service {
    fn new() -> Self {
        Self {
            truth: Truth::Works,
            is_paused: false,
            command: None,
            noes: 0,
            noes_ms: 0,
            gone: 0,
            gone_ms: 0,
            hung: 0,
            heard: false,
            was_proven: false,
            restarts: Vec::new(),
            open: 0,
        }
    }

    fn seen(&self, can_ask: bool) -> Seen {
        match (can_ask, self.truth) {
            (false, _) => Seen::CouldNotAsk,
            (true, Truth::Works) => Seen::Pass,
            (true, Truth::Gone) => Seen::Bad(Cause::Gone),
            (true, Truth::SaysNo) => Seen::Bad(Cause::SaysNo),
            (true, Truth::Hangs) => Seen::Bad(Cause::Hung),
            (true, Truth::Loads) => Seen::NotNow,
        }
    }

    fn forget(&mut self) {
        self.was_proven = false;
        (self.noes, self.noes_ms, self.gone, self.gone_ms, self.hung) = (0, 0, 0, 0, 0);
    }

    /// Counts what is seen; the time counts between two answers.
    fn count(&mut self, seen: Seen, passed_ms: u64) {
        let passed = if self.heard { passed_ms } else { 0 };
        let add = |times: &mut u32, lasted: &mut u64, holds: bool| {
            if !holds {
                (*times, *lasted) = (0, 0);
                return;
            }
            *lasted += if *times > 0 { passed } else { 0 };
            *times += 1;
        };
        match seen {
            Seen::CouldNotAsk => self.heard = false,
            Seen::Pass | Seen::NotNow => {
                self.forget();
                self.heard = true;
            }
            Seen::Bad(cause) => {
                add(&mut self.gone, &mut self.gone_ms, cause == Cause::Gone);
                add(&mut self.noes, &mut self.noes_ms, cause != Cause::Hung);
                self.hung += u32::from(cause == Cause::Hung);
                self.heard = true;
                self.was_proven |= self.is_proven();
            }
        }
    }

    fn is_proven(&self) -> bool {
        (self.noes >= 3 && self.noes_ms >= 2_000)
            || (self.gone >= 3 && self.gone_ms >= 2_000)
            || self.hung >= 2
    }
}

fn truth(random: &mut Rng) -> Truth {
    match random.u8(..10) {
        0..=3 => Truth::Works,
        4 | 5 => Truth::Gone,
        6 | 7 => Truth::Hangs,
        8 => Truth::SaysNo,
        _ => Truth::Loads,
    }
}

/// Runs one stream. Returns how many restarts there were.
fn stream(seed: u64) -> usize {
    let mut random = Rng::with_seed(seed);
    let mut rules = vec![Rules::of_passes(); SERVICES];
    if random.bool() {
        rules[2].needs = vec![0];
    }
    let mut world: Vec<Service> = (0..SERVICES).map(|_| Service::new()).collect();
    let mut now = Now {
        mono_ms: 10_000_000,
        wall_ms: 90_000_000,
        dice: 0,
    };
    let mut states: Vec<State> = (0..SERVICES).map(|_| State::new(now)).collect();
    let mut restarts = 0;
    for step in 0..STEPS {
        let passed = *random
            .choice([1_000, 1_000, 2_000, 5_000, 30_000].iter())
            .unwrap_or(&1_000);
        now = Now {
            mono_ms: now.mono_ms + passed,
            wall_ms: now.wall_ms + passed,
            dice: random.u64(..),
        };
        let mut observed = Vec::new();
        for service in &mut world {
            if random.u8(..8) == 0 {
                service.truth = truth(&mut random);
            }
            if random.u8(..32) == 0 {
                service.is_paused = !service.is_paused;
            }
            let can_ask = random.u8(..6) != 0;
            if let Some((left, helps)) = service.command {
                if left == 0 {
                    service.truth = if helps { Truth::Works } else { service.truth };
                    service.command = None;
                } else {
                    service.command = Some((left - 1, helps));
                }
            }
            let seen = service.seen(can_ask);
            if service.is_paused {
                service.forget();
                service.heard = true;
            } else {
                service.count(seen, passed);
            }
            observed.push(Observation {
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
            });
        }
        let before = states.clone();
        let acts = pass(&rules, &mut states, &observed, &[0, 1, 2], now);
        let context = || format!("stream {seed}, step {step}: {acts:?} {observed:?} {before:?}");
        for &act in &acts {
            let Act::Restart(number) = act else { continue };
            restarts += 1;
            let service = &mut world[number];
            let seen = observed[number].seen;
            // Needless: it works, or says that it will, or nobody knows, or a person has stopped it.
            assert!(
                matches!(seen, Some(Seen::Bad(_))),
                "needless: {}",
                context()
            );
            assert!(
                matches!(service.truth, Truth::Gone | Truth::SaysNo | Truth::Hangs),
                "needless: {}",
                context()
            );
            assert!(service.was_proven, "without proof: {}", context());
            assert!(!service.is_paused, "a person has stopped it: {}", context());
            // What it needs works.
            for &need in &rules[number].needs {
                assert!(
                    states[need].works(),
                    "what it needs does not work: {}",
                    context()
                );
            }
            service.restarts.push(now.mono_ms);
            let recent = service
                .restarts
                .iter()
                .filter(|&&at| at + 3_600_000 > now.mono_ms)
                .count();
            assert!(recent <= 5, "more than its budget: {}", context());
            service.command = Some((random.u8(..3), random.bool()));
        }
        let at_once = states
            .iter()
            .filter(|state| state.phase == Phase::Restarting)
            .count();
        assert!(at_once <= 1, "two at once: {}", context());
        for (number, service) in world.iter_mut().enumerate() {
            // A restart stands or falls with its verification; an answer before that denies nothing.
            service.was_proven |=
                matches!(states[number].phase, Phase::Restarting | Phase::Verifying);
            let frozen = observed[number].seen == Some(Seen::CouldNotAsk);
            if frozen && before[number].phase != Phase::Restarting {
                assert_eq!(
                    states[number].streaks,
                    before[number].streaks,
                    "counted: {}",
                    context()
                );
                assert_eq!(
                    states[number].in_phase_ms,
                    before[number].in_phase_ms,
                    "a clock ran: {}",
                    context()
                );
            }
            expect_restart(
                number,
                service,
                &rules,
                (&before, &states),
                &observed,
                now,
                &context,
            );
        }
    }
    restarts
}

/// Missing: it is proven, nothing stands in its way by the rules' own words, and it was not restarted.
fn expect_restart(
    number: usize,
    service: &mut Service,
    rules: &[Rules],
    (before, states): (&[State], &[State]),
    observed: &[Observation],
    now: Now,
    context: &dyn Fn() -> String,
) {
    let state = &states[number];
    let is_bad = matches!(observed[number].seen, Some(Seen::Bad(_)));
    let was_restarted = service
        .restarts
        .last()
        .is_some_and(|&at| now.mono_ms < at + 5_000 + 300_000 * 6 / 5);
    let in_window = service
        .restarts
        .iter()
        .filter(|&&at| now.mono_ms < at + 3_600_000)
        .count();
    let spent = in_window >= 5 || state.attempts >= 3;
    let needs_work = rules[number].needs.iter().all(|&need| states[need].works());
    // Also one that ends in this very step had its turn in it.
    let busy = before
        .iter()
        .chain(states)
        .any(|state| state.phase == Phase::Restarting);
    // Two that do not answer at once, whatever they need.
    let others = (0..SERVICES).filter(|&other| other != number);
    let storm = service.gone == 0
        && others
            .into_iter()
            .any(|other| matches!(states[other].phase, Phase::Suspect | Phase::Held(_)));
    let is_open =
        is_bad && service.is_proven() && !was_restarted && !spent && needs_work && !busy && !storm;
    service.open = if is_open && state.phase != Phase::Restarting {
        service.open + 1
    } else {
        0
    };
    // After it has waited for another, its proof begins anew: three answers more.
    let patience = if rules[number].needs.is_empty() { 1 } else { 5 };
    assert!(
        service.open < patience,
        "missing for service {number}: {}",
        context()
    );
}

#[test]
fn random_streams_have_no_needless_and_no_missing_restart() {
    let restarts: usize = (0..STREAMS).map(stream).sum();
    // That the streams are not empty.
    assert!(restarts > 100_000, "{restarts}");
}
