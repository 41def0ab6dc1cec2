//! Conditions and what has happened → state and reason.

use super::Event::{Asked, Line, MainEnded, Paused, Said as Says};
use super::WhenAnswer::{No, Unknown, Yes};
use super::*;
use Said::{Alive, MainPid, Ready, Reloading, Stalled, Status, Stopping, WatchdogMs};

const NOTIFY: &str = "notify";
const WHEN: &str = "when";
const LINE: &str = "line";

fn conditions(of: &[&str]) -> Conditions {
    Conditions {
        when: of.contains(&WHEN),
        line: of.contains(&LINE).then(|| "open".to_owned()),
        notify: of.contains(&NOTIFY),
    }
}

fn shown(word: &Word) -> String {
    match &word.reason {
        Some(reason) => format!("{}: {reason}", word.state),
        None => word.state.to_string(),
    }
}

/// Events, each a second after the one before, from second 1 on; the word is read with the last one.
fn after(of: &[&str], watchdog_ms: Option<u64>, events: &[Event]) -> String {
    let mut readiness = Readiness::new(conditions(of), watchdog_ms);
    let mut now_ms = 0;
    for event in events {
        now_ms += 1_000;
        readiness.take(event.clone(), now_ms);
    }
    shown(&readiness.word(now_ms))
}

fn no() -> Event {
    Asked(No("tcp: refused".to_owned()))
}

fn terminated() -> Event {
    Event::Terminated("SIGTERM".to_owned())
}

fn unknown() -> Event {
    Asked(Unknown("tcp: no answer".to_owned()))
}

#[test]
fn it_is_ready_once_every_condition_has_held() {
    let table: [(&[&str], &[Event], &str); 15] = [
        (&[], &[], "starting: no READY=1 yet"),
        (&[], &[Says(Ready)], "ready"),
        (&[], &[Says(Ready), Says(Ready)], "ready"),
        (&[], &[Line, Asked(Yes)], "starting: no READY=1 yet"),
        (&[NOTIFY], &[Says(Ready)], "ready"),
        (&[LINE], &[], "starting: no line with \"open\" yet"),
        (&[LINE], &[Line], "ready"),
        (
            &[LINE],
            &[Says(Ready)],
            "starting: no line with \"open\" yet",
        ),
        (&[WHEN], &[], "starting: --when has not been answered yet"),
        (&[WHEN], &[no()], "starting: tcp: refused"),
        (&[WHEN], &[unknown()], "starting: tcp: no answer"),
        (&[WHEN], &[no(), Asked(Yes)], "ready"),
        (&[WHEN, NOTIFY], &[Asked(Yes)], "starting: no READY=1 yet"),
        (
            &[WHEN, NOTIFY],
            &[Says(Ready), no()],
            "starting: tcp: refused",
        ),
        (
            &[WHEN, LINE, NOTIFY],
            &[Says(Ready), Asked(Yes), Line],
            "ready",
        ),
    ];
    for (of, events, want) in table {
        assert_eq!(after(of, None, events), want, "{of:?} {events:?}");
    }
}

#[test]
fn a_no_counts_at_once_and_a_missing_answer_only_if_it_stays_missing() {
    let up = Asked(Yes);
    let table: [(&[Event], &str); 8] = [
        (&[up.clone(), no()], "not_ready: tcp: refused"),
        (&[up.clone(), unknown()], "ready"),
        (&[up.clone(), unknown(), unknown(), unknown()], "ready"),
        (
            &[up.clone(), unknown(), unknown(), unknown(), unknown()],
            "not_ready: tcp: no answer",
        ),
        (
            &[
                up.clone(),
                unknown(),
                unknown(),
                up.clone(),
                unknown(),
                unknown(),
            ],
            "ready",
        ),
        (&[up.clone(), no(), unknown()], "not_ready: tcp: no answer"),
        (&[up.clone(), no(), up.clone()], "ready"),
        (&[no(), unknown(), up], "ready"),
    ];
    for (events, want) in table {
        assert_eq!(after(&[WHEN], None, events), want, "{events:?}");
    }
}

#[test]
fn reloading_holds_until_the_next_ready_and_stopping_for_good() {
    let table: [(&[&str], &[Event], &str); 12] = [
        (&[], &[Says(Ready), Says(Reloading)], "not_ready: reloading"),
        (&[], &[Says(Ready), Says(Reloading), Says(Ready)], "ready"),
        (&[], &[Says(Reloading)], "starting: no READY=1 yet"),
        (
            &[WHEN],
            &[Asked(Yes), Says(Reloading), Asked(Yes)],
            "not_ready: reloading",
        ),
        (
            &[WHEN],
            &[Says(Reloading), Asked(Yes)],
            "starting: reloading",
        ),
        (
            &[WHEN],
            &[Asked(Yes), Says(Reloading), Says(Ready)],
            "ready",
        ),
        (&[], &[Says(Stopping)], "stopping: STOPPING=1"),
        (
            &[],
            &[Says(Ready), Says(Stopping), Says(Ready)],
            "stopping: STOPPING=1",
        ),
        (&[], &[terminated()], "stopping: SIGTERM"),
        (
            &[],
            &[Says(Ready), terminated(), Says(Stopping)],
            "stopping: SIGTERM",
        ),
        (
            &[],
            &[Says(Ready), Says(Stopping), terminated()],
            "stopping: STOPPING=1",
        ),
        (
            &[],
            &[Says(Ready), Says(Reloading), Says(Stopping)],
            "stopping: STOPPING=1",
        ),
    ];
    for (of, events, want) in table {
        assert_eq!(after(of, None, events), want, "{of:?} {events:?}");
    }
}

#[test]
fn its_status_stands_behind_every_reason() {
    let status = |text: &str| Says(Status(text.to_owned()));
    let table: [(&[Event], &str); 4] = [
        (&[status("40 %")], "starting: no READY=1 yet; it says: 40 %"),
        (&[status("40 %"), status("")], "starting: no READY=1 yet"),
        (&[status("serving"), Says(Ready)], "ready"),
        (
            &[Says(Ready), status("bye"), Says(Stopping)],
            "stopping: STOPPING=1; it says: bye",
        ),
    ];
    for (events, want) in table {
        assert_eq!(after(&[], None, events), want, "{events:?}");
    }
    let mut readiness = Readiness::new(Conditions::default(), None);
    readiness.take(Says(Ready), 1);
    readiness.take(status("serving"), 1);
    assert_eq!(readiness.word(1).status.as_deref(), Some("serving"));
}

#[test]
fn a_watchdog_watches_from_ready_on() {
    const LIMIT: Option<u64> = Some(2_500);
    let (tick, idle) = (Says(Alive), Line);
    let stalled = "not_ready: stalled: no WATCHDOG=1 within 2s";
    let up = Says(Ready);
    let table: [(Option<u64>, &[Event], &str); 12] = [
        (
            LIMIT,
            &[idle.clone(), idle.clone(), idle.clone(), idle.clone()],
            "starting: no READY=1 yet",
        ),
        (LIMIT, &[up.clone(), idle.clone(), idle.clone()], "ready"),
        (
            LIMIT,
            &[up.clone(), idle.clone(), idle.clone(), idle.clone()],
            stalled,
        ),
        (
            LIMIT,
            &[
                up.clone(),
                idle.clone(),
                tick.clone(),
                idle.clone(),
                idle.clone(),
            ],
            "ready",
        ),
        (
            LIMIT,
            &[
                up.clone(),
                idle.clone(),
                idle.clone(),
                idle.clone(),
                tick.clone(),
            ],
            "ready",
        ),
        (
            LIMIT,
            &[up.clone(), idle.clone(), Paused(9_000), idle.clone()],
            "ready",
        ),
        (
            None,
            &[
                up.clone(),
                Says(WatchdogMs(2_500)),
                idle.clone(),
                idle.clone(),
                idle.clone(),
            ],
            stalled,
        ),
        (
            LIMIT,
            &[
                up.clone(),
                Says(WatchdogMs(0)),
                idle.clone(),
                idle.clone(),
                idle.clone(),
            ],
            "ready",
        ),
        (
            None,
            &[up.clone(), Says(Stalled)],
            "not_ready: stalled: it says WATCHDOG=trigger",
        ),
        (None, &[up.clone(), Says(Stalled), tick], "ready"),
        (
            LIMIT,
            &[up.clone(), idle.clone(), idle.clone(), idle, terminated()],
            "stopping: SIGTERM",
        ),
        (None, &[up.clone(), Says(Stalled), up.clone()], "ready"),
    ];
    for (limit_ms, events, want) in table {
        assert_eq!(
            after(&[], limit_ms, events),
            want,
            "{limit_ms:?} {events:?}"
        );
    }
    let mut readiness = Readiness::new(Conditions::default(), LIMIT);
    assert_eq!(readiness.changes_at_ms(), None);
    readiness.take(up, 1_000);
    let at_ms = readiness.changes_at_ms().unwrap();
    assert_eq!(shown(&readiness.word(at_ms - 1)), "ready");
    assert_eq!(shown(&readiness.word(at_ms)), stalled);
}

#[test]
fn a_main_process_that_has_ended_is_missed_until_another_one_speaks() {
    let table: [(&[Event], &str); 3] = [
        (
            &[Says(Ready), MainEnded(17)],
            "not_ready: its main process 17 has ended",
        ),
        (&[Says(Ready), MainEnded(17), Says(MainPid(18))], "ready"),
        (&[Says(Ready), MainEnded(17), Says(Ready)], "ready"),
    ];
    for (events, want) in table {
        assert_eq!(after(&[], None, events), want, "{events:?}");
    }
}

#[test]
fn it_is_asked_soon_again_while_it_fails_or_an_answer_is_missing() {
    let table: [(&[Event], bool); 6] = [
        (&[], false),
        (&[Asked(Yes)], false),
        (&[Asked(Yes), no()], true),
        (&[Asked(Yes), unknown()], true),
        (&[Asked(Yes), unknown(), Asked(Yes)], false),
        (&[Asked(Yes), no(), Asked(Yes)], false),
    ];
    for (events, want) in table {
        let mut readiness = Readiness::new(conditions(&[WHEN]), None);
        for event in events {
            readiness.take(event.clone(), 1_000);
        }
        assert_eq!(readiness.is_when_failing(), want, "{events:?}");
    }
}
