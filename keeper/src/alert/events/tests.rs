use super::*;
use crate::machine::{Now, Wait};
use crate::seen::Cause;

const NOW: Now = Now {
    mono_ms: 5_000,
    wall_ms: 0,
    dice: 0,
};
const START: u64 = 10 * HOUR;
const GONE: Option<Seen> = Some(Seen::Bad(Cause::Gone));

/// Before, after, the answer, and what may be worth an alert.
type Row<'a> = ((Phase, u32), (Phase, u32), Option<Seen>, &'a [Event]);

/// A state in that phase, after so many attempts.
pub fn state(phase: Phase, attempts: u32) -> State {
    State {
        phase,
        attempts,
        ..State::new(NOW)
    }
}

/// A service on its way from one state to another.
pub fn sighting(service: &str, before: State, after: State, seen: Option<Seen>) -> Sighting {
    Sighting {
        service: service.to_owned(),
        before,
        after,
        seen,
        reason: "connection refused".to_owned(),
        attempts: 3,
    }
}

fn hear(
    episode: &mut Episode,
    before: (Phase, u32),
    after: (Phase, u32),
    seen: Option<Seen>,
    wall_ms: u64,
) -> Vec<Event> {
    let sighting = sighting(
        "a",
        state(before.0, before.1),
        state(after.0, after.1),
        seen,
    );
    episode.hear(&sighting, wall_ms)
}

#[test]
fn truth_table() {
    use Event::{Failed, Flapping, Held, RecoveryFailed};
    use Phase::{Backoff, Healthy, Paused, Probation, Restarting, Suspect, Verifying, Waiting};
    let held = Phase::Held(Hold::NoCommand);
    let storm = Phase::Held(Hold::Storm);
    let pass = Some(Seen::Pass);
    let rows: &[Row] = &[
        // A first restart that works is silent, and so is one that does not help.
        ((Healthy, 0), (Suspect, 0), GONE, &[]),
        ((Suspect, 0), (Restarting, 0), GONE, &[]),
        ((Restarting, 0), (Verifying, 0), None, &[]),
        ((Verifying, 0), (Probation, 0), pass, &[]),
        ((Verifying, 0), (Backoff, 1), GONE, &[]),
        ((Verifying, 1), (Backoff, 2), GONE, &[RecoveryFailed]),
        ((Restarting, 1), (Backoff, 2), GONE, &[RecoveryFailed]),
        ((Backoff, 2), (Backoff, 2), GONE, &[]),
        ((Verifying, 2), (Phase::Failed, 3), GONE, &[Failed]),
        // By the window: restarts that worked have spent it.
        ((Suspect, 0), (Phase::Failed, 0), GONE, &[Failed, Flapping]),
        ((Healthy, 0), (held, 0), GONE, &[Held]),
        ((Healthy, 0), (storm, 0), GONE, &[]),
        ((Healthy, 0), (Waiting(Wait::Needs), 0), GONE, &[]),
        ((Healthy, 0), (Paused, 0), None, &[]),
        ((Healthy, 0), (Healthy, 0), Some(Seen::NotNow), &[]),
        ((Healthy, 0), (Healthy, 0), Some(Seen::CouldNotAsk), &[]),
    ];
    for (before, after, seen, want) in rows {
        let events = hear(&mut Episode::default(), *before, *after, *seen, START);
        assert_eq!(events, *want, "{before:?} → {after:?}");
    }
}

#[test]
fn what_lasts_is_found_again_until_it_was_told() {
    for (phase, event) in [
        (Phase::Failed, Event::Failed),
        (Phase::Held(Hold::Needs), Event::Held),
    ] {
        let mut episode = Episode::default();
        let stays = |episode: &mut Episode| hear(episode, (phase, 3), (phase, 3), GONE, START);
        assert_eq!(stays(&mut episode), [event]);
        assert_eq!(stays(&mut episode), [event]);
        episode.note(event, START);
        assert_eq!(stays(&mut episode), []);
        episode.forget(event);
        assert_eq!(stays(&mut episode), [event]);
    }
}

#[test]
fn one_that_was_given_up_is_told_again_when_another_try_failed() {
    let mut episode = Episode::default();
    episode.note(Event::Failed, START);
    let tried = hear(
        &mut episode,
        (Phase::Verifying, 3),
        (Phase::Failed, 4),
        GONE,
        START + HOUR,
    );
    assert_eq!(tried, [Event::Failed]);
}

#[test]
fn who_was_told_of_a_failure_is_told_of_its_end_and_nobody_else() {
    let mut episode = Episode::default();
    let works = |episode: &mut Episode| {
        hear(
            episode,
            (Phase::Verifying, 2),
            (Phase::Probation, 2),
            Some(Seen::Pass),
            START,
        )
    };
    assert_eq!(works(&mut episode), []);
    episode.note(Event::RecoveryFailed, START);
    let not_asked = hear(
        &mut episode,
        (Phase::Healthy, 0),
        (Phase::Healthy, 0),
        None,
        START,
    );
    assert_eq!(not_asked, []);
    assert_eq!(works(&mut episode), [Event::Recovered]);
    episode.note(Event::Recovered, START);
    assert_eq!(
        hear(
            &mut episode,
            (Phase::Probation, 0),
            (Phase::Probation, 0),
            Some(Seen::Pass),
            START
        ),
        []
    );
}

#[test]
fn three_restarts_that_worked_within_a_day_are_flapping() {
    let mut episode = Episode::default();
    let mut recover = |at: u64| {
        hear(
            &mut episode,
            (Phase::Verifying, 0),
            (Phase::Probation, 0),
            Some(Seen::Pass),
            at,
        )
    };
    assert_eq!(recover(START), []);
    assert_eq!(recover(START + 12 * HOUR), []);
    assert_eq!(recover(START + 24 * HOUR), [], "the first is a day old");
    assert_eq!(recover(START + 30 * HOUR), [Event::Flapping]);
}

#[test]
fn what_nobody_could_ask_for_a_quarter_of_an_hour_is_told() {
    let mut episode = Episode::default();
    let mut ask = |seen: Seen, minutes: u64| {
        let healthy = (Phase::Healthy, 0);
        hear(
            &mut episode,
            healthy,
            healthy,
            Some(seen),
            START + minutes * MINUTE,
        )
    };
    assert_eq!(ask(Seen::CouldNotAsk, 0), []);
    assert_eq!(ask(Seen::CouldNotAsk, 14), []);
    assert_eq!(ask(Seen::NotNow, 15), [], "it was asked");
    assert_eq!(ask(Seen::CouldNotAsk, 16), []);
    assert_eq!(ask(Seen::CouldNotAsk, 30), []);
    assert_eq!(ask(Seen::CouldNotAsk, 31), [Event::CannotTell]);
}

#[test]
fn the_cooldown_is_of_an_event_and_ends() {
    let mut episode = Episode::default();
    episode.note(Event::Failed, START);
    let cools = |event: Event, at: u64| episode.is_cooling(event, HOUR, at);
    assert!(cools(Event::Failed, START) && cools(Event::Failed, START + HOUR - 1));
    assert!(!cools(Event::Failed, START + HOUR) && !cools(Event::Held, START));
    // The clock was set back.
    assert!(!cools(Event::Failed, START - HOUR));
}
