//! When a service is asked next. Pure: no I/O, no clock.

use crate::machine::{Phase, State, Wait};
use crate::rules::Rules;
use crate::seen::{Cause, Seen};

/// How often one that was restarted is asked, and a suspect within a pass.
const CLOSELY_MS: u64 = 1_000;
/// How often a suspect is asked, and one that is on its way.
const SUSPECT_MS: u64 = 2_000;
/// So many times in a row nobody could ask: more questions at once teach nothing.
const UNASKED: u32 = 3;

/// How a program asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Until nothing more can be learned, and no longer.
    OnePass,
    /// Again and again; the intervals began then.
    Loop {
        /// By the monotonic clock.
        began_ms: u64,
    },
}

/// What is known of a service beside its state.
#[derive(Debug, Clone, Copy)]
pub struct LastAsked {
    /// When its last answer came, or would have: a person may have stopped it.
    pub asked_ms: Option<u64>,
    /// That answer.
    pub last: Option<Seen>,
    /// How many times in a row nobody could ask.
    pub unasked: u32,
    /// How often it is asked while all is well.
    pub interval_ms: u64,
}

/// When a service is asked next, by the monotonic clock; never if nothing is to be learned.
pub fn next_ms(
    pace: Pace,
    rules: &Rules,
    states: &[State],
    state: &State,
    asking: LastAsked,
) -> Option<u64> {
    let Some(asked_ms) = asking.asked_ms else {
        return Some(0);
    };
    let calm = match pace {
        Pace::OnePass => None,
        Pace::Loop { began_ms } => Some(on_beat(began_ms, asking.interval_ms, asked_ms)),
    };
    // Its restart command is looked after to its end.
    if asking.unasked >= UNASKED && state.phase != Phase::Restarting {
        return calm;
    }
    let closely = asked_ms + CLOSELY_MS;
    let as_suspect = match pace {
        Pace::OnePass => closely,
        Pace::Loop { .. } => asked_ms + SUSPECT_MS,
    };
    let is_bad = match asking.last {
        Some(Seen::Bad(_)) => true,
        Some(Seen::Pass | Seen::NotNow | Seen::CouldNotAsk) | None => false,
    };
    match (state.phase, pace) {
        // What hangs, hangs in the next pass, too.
        (Phase::Suspect, Pace::OnePass) if matches!(state.cause, Some(Cause::Hung) | None) => None,
        (Phase::Suspect, Pace::OnePass | Pace::Loop { .. }) => Some(as_suspect),
        (Phase::Restarting, Pace::OnePass | Pace::Loop { .. }) => Some(closely),
        // Before that its answers would change nothing.
        (Phase::Verifying, Pace::OnePass | Pace::Loop { .. })
            if state.in_phase_ms < rules.delay_ms =>
        {
            let heard_ms = state.heard_ms.unwrap_or(asked_ms);
            Some(heard_ms + (rules.delay_ms - state.in_phase_ms))
        }
        (Phase::Verifying, Pace::OnePass | Pace::Loop { .. }) => Some(closely),
        (Phase::Waiting(Wait::Turn), Pace::OnePass | Pace::Loop { .. }) => {
            let is_busy = states.iter().any(|state| state.phase == Phase::Restarting);
            Some(if is_busy { closely } else { asked_ms })
        }
        // It has just come to its beginning, or has not come up yet.
        (Phase::Starting, Pace::OnePass | Pace::Loop { .. }) if is_bad => {
            Some(calm.map_or(as_suspect, |calm| calm.min(as_suspect)))
        }
        (Phase::Backoff, Pace::Loop { .. }) => {
            calm.map(|calm| calm.min(state.not_before_ms.max(asked_ms)))
        }
        (
            Phase::Starting
            | Phase::Healthy
            | Phase::Probation
            | Phase::Waiting(Wait::Needs)
            | Phase::Held(_)
            | Phase::Backoff
            | Phase::Failed,
            Pace::OnePass | Pace::Loop { .. },
        ) => calm,
        (Phase::Paused, Pace::OnePass | Pace::Loop { .. }) => None,
    }
}

/// The next of the beats, which all services of an interval share: they are asked together, at the price of one.
fn on_beat(began_ms: u64, interval_ms: u64, asked_ms: u64) -> u64 {
    let interval_ms = interval_ms.max(1);
    let beats = asked_ms.saturating_sub(began_ms) / interval_ms + 1;
    began_ms + beats * interval_ms
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Hold, Now};

    const NOW: Now = Now {
        mono_ms: 100_000,
        wall_ms: 1,
        dice: 0,
    };
    const LOOP: Pace = Pace::Loop { began_ms: 10_000 };

    fn state(phase: Phase) -> State {
        let mut state = State::new(NOW);
        state.phase = phase;
        state.cause = Some(Cause::Gone);
        state
    }

    fn asked(last: Seen) -> LastAsked {
        LastAsked {
            asked_ms: Some(100_500),
            last: Some(last),
            unasked: 0,
            interval_ms: 30_000,
        }
    }

    #[test]
    fn truth_table() {
        let (gone, pass) = (Seen::Bad(Cause::Gone), Seen::Pass);
        let beat = Some(130_000);
        let mut hangs = state(Phase::Suspect);
        hangs.cause = Some(Cause::Hung);
        let mut backs_off = state(Phase::Backoff);
        backs_off.not_before_ms = 112_000;
        let mut late = state(Phase::Backoff);
        late.not_before_ms = 900_000;
        // state, last answer, within a pass, in a loop
        let table = [
            (state(Phase::Healthy), pass, None, beat),
            (state(Phase::Probation), pass, None, beat),
            (state(Phase::Suspect), gone, Some(101_500), Some(102_500)),
            (hangs, Seen::Bad(Cause::Hung), None, Some(102_500)),
            (state(Phase::Restarting), gone, Some(101_500), Some(101_500)),
            // heard at 100 s, and asked 5 s later
            (state(Phase::Verifying), gone, Some(105_000), Some(105_000)),
            (state(Phase::Starting), gone, Some(101_500), Some(102_500)),
            (state(Phase::Starting), Seen::NotNow, None, beat),
            (state(Phase::Held(Hold::Storm)), gone, None, beat),
            (state(Phase::Waiting(Wait::Needs)), gone, None, beat),
            (state(Phase::Failed), gone, None, beat),
            (state(Phase::Paused), pass, None, None),
            (backs_off, gone, None, Some(112_000)),
            (late, gone, None, beat),
            (
                state(Phase::Waiting(Wait::Turn)),
                gone,
                Some(100_500),
                Some(100_500),
            ),
        ];
        let rules = Rules::of_passes();
        for (state, last, in_a_pass, in_a_loop) in table {
            for (pace, want) in [(Pace::OnePass, in_a_pass), (LOOP, in_a_loop)] {
                let next = next_ms(pace, &rules, &[], &state, asked(last));
                assert_eq!(next, want, "{pace:?} {state:?} {last:?}");
            }
        }
    }

    #[test]
    fn one_that_was_never_asked_is_asked_at_once() {
        let new = LastAsked {
            asked_ms: None,
            last: None,
            ..asked(Seen::Pass)
        };
        for pace in [Pace::OnePass, LOOP] {
            let next = next_ms(pace, &Rules::of_passes(), &[], &state(Phase::Starting), new);
            assert_eq!(next, Some(0));
        }
    }

    #[test]
    fn who_waits_for_its_turn_is_asked_closely_until_it_comes() {
        let states = [state(Phase::Restarting)];
        let turn = state(Phase::Waiting(Wait::Turn));
        let answer = asked(Seen::Bad(Cause::Gone));
        let next = next_ms(LOOP, &Rules::of_passes(), &states, &turn, answer);
        assert_eq!(next, Some(101_500));
    }

    #[test]
    fn what_can_not_be_asked_waits_for_the_next_beat() {
        let mut answer = asked(Seen::CouldNotAsk);
        let suspect = state(Phase::Suspect);
        assert_eq!(
            next_ms(LOOP, &Rules::of_passes(), &[], &suspect, answer),
            Some(102_500)
        );
        answer.unasked = UNASKED;
        assert_eq!(
            next_ms(LOOP, &Rules::of_passes(), &[], &suspect, answer),
            Some(130_000)
        );
        assert_eq!(
            next_ms(Pace::OnePass, &Rules::of_passes(), &[], &suspect, answer),
            None
        );
        let restarts = state(Phase::Restarting);
        let next = next_ms(Pace::OnePass, &Rules::of_passes(), &[], &restarts, answer);
        assert_eq!(next, Some(101_500));
    }

    #[test]
    fn services_of_one_interval_are_asked_together() {
        for asked_ms in [10_000, 10_001, 39_999] {
            assert_eq!(on_beat(10_000, 30_000, asked_ms), 40_000);
        }
        assert_eq!(on_beat(10_000, 30_000, 40_000), 70_000);
    }
}
