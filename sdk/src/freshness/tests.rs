//! Every defect of a signal by itself, and what the reader says of it.

use super::*;
use crate::signal::{Instance, Name, VERSION};

const NOW: u64 = 1_000_000;

fn epoch() -> Epoch {
    Epoch {
        boot_id: Some("b".into()),
        pid_ns: Some(1),
        init_start: Some(2),
        time_ns: Some(3),
    }
}

fn signal() -> Signal {
    Signal {
        v: VERSION,
        agent: Name::new("translator").unwrap(),
        instance: Instance::of_process("h", 17, Some(5)),
        state: State::Ready,
        reason: None,
        details: serde_json::Map::new(),
        ttl_ms: Some(60_000),
        beat_ms: Some(10_000),
        seq: 1,
        host: None,
        pid: Some(17),
        pid_start: Some(5),
        boot_id: Some("b".into()),
        pid_ns: Some(1),
        init_start: Some(2),
        time_ns: Some(3),
        container: None,
        mono_ms: Some(NOW - 4_000),
        since: None,
        sdk: None,
        announced: None,
    }
}

const ALIVE: Process = Process::Alive {
    start: 5,
    euid: Some(0),
};

fn judged(change: impl Fn(&mut Signal), process: Process, epoch: &Epoch) -> String {
    let mut signal = signal();
    change(&mut signal);
    let observed = Observed {
        epoch,
        process,
        now_ms: NOW,
    };
    match judge(&signal, &observed) {
        Ok(Ready { .. }) => "ready".to_owned(),
        Err(why) => why.to_string(),
    }
}

#[test]
fn a_fresh_ready_signal_of_a_living_process_is_ready() {
    assert_eq!(judged(|_| (), ALIVE, &epoch()), "ready");
}

#[test]
fn an_agent_that_cannot_see_process_1_is_known_by_its_own_start() {
    assert_eq!(judged(|s| s.init_start = None, ALIVE, &epoch()), "ready");
}

#[test]
fn every_single_defect_makes_it_not_ready() {
    type Change = fn(&mut Signal);
    let table: &[(Change, Process, &str)] = &[
        (
            |_| (),
            Process::Gone,
            "process 17 is gone, last beat 4s ago",
        ),
        (
            |_| (),
            Process::Zombie { start: 5 },
            "process 17 has died and is a zombie",
        ),
        (
            |s| s.pid_start = Some(4),
            ALIVE,
            "process 17 is gone, another one has its id",
        ),
        (
            |s| s.pid_start = None,
            ALIVE,
            "malformed record: pid_start is missing",
        ),
        (|s| s.pid = None, ALIVE, "malformed record: pid is missing"),
        (
            |s| s.boot_id = Some("c".into()),
            ALIVE,
            "no signal in this life of the container, only an earlier one's",
        ),
        (
            |s| s.pid_ns = Some(9),
            ALIVE,
            "no signal in this life of the container, only an earlier one's",
        ),
        (
            |s| s.init_start = Some(9),
            ALIVE,
            "no signal in this life of the container, only an earlier one's",
        ),
        (
            |s| s.init_start = None,
            Process::Unreadable,
            "malformed record: init_start is missing",
        ),
        (
            |s| s.time_ns = Some(9),
            ALIVE,
            "its clocks can't be compared: it runs in time namespace 9, this reader in 3",
        ),
        (
            |s| (s.pid_ns, s.time_ns) = (Some(9), Some(9)),
            ALIVE,
            "no signal in this life of the container, only an earlier one's",
        ),
        (
            |s| s.mono_ms = Some(NOW + 1),
            ALIVE,
            "malformed record: its beat lies in the future",
        ),
        (
            |s| s.mono_ms = None,
            ALIVE,
            "malformed record: mono_ms is missing",
        ),
        (
            |s| s.mono_ms = Some(NOW - 60_001),
            ALIVE,
            "expired: last beat 1m ago (TTL 1m)",
        ),
        (
            |s| {
                s.state = State::NotReady;
                s.reason = Some("reloading".into());
            },
            ALIVE,
            "not_ready: reloading",
        ),
        (|s| s.state = State::Starting, ALIVE, "starting"),
        (|s| s.state = State::Stopping, ALIVE, "stopping"),
    ];
    for (change, process, want) in table {
        assert_eq!(&judged(change, *process, &epoch()), want);
    }
}

#[test]
fn a_time_namespace_is_compared_where_both_sides_tell_it() {
    assert_eq!(judged(|s| s.time_ns = None, ALIVE, &epoch()), "ready");
    let here = Epoch {
        time_ns: None,
        ..epoch()
    };
    assert_eq!(judged(|_| (), ALIVE, &here), "ready");
}

#[test]
fn what_the_reader_cannot_determine_is_left_to_the_ttl() {
    let blind = Epoch::default();
    assert_eq!(judged(|s| s.boot_id = None, ALIVE, &blind), "ready");
    assert_eq!(
        judged(|s| s.pid_start = None, Process::Unreadable, &blind),
        "ready"
    );
    assert_eq!(
        judged(|s| s.mono_ms = Some(1), Process::Unreadable, &blind),
        "expired: last beat 16m39s ago (TTL 1m)"
    );
}

#[test]
fn a_record_bound_to_its_process_does_not_expire() {
    let bound = |s: &mut Signal| {
        s.ttl_ms = None;
        s.mono_ms = Some(0);
    };
    assert_eq!(judged(bound, ALIVE, &epoch()), "ready");
    assert_eq!(
        judged(bound, Process::Unreadable, &epoch()),
        "malformed record: ttl_ms is missing"
    );
    assert_eq!(
        judged(bound, Process::Gone, &epoch()),
        "process 17 is gone, last beat 16m40s ago"
    );
}

#[test]
fn the_last_millisecond_of_the_ttl_still_counts() {
    assert_eq!(
        judged(|s| s.mono_ms = Some(NOW - 60_000), ALIVE, &epoch()),
        "ready"
    );
}

#[test]
fn it_is_told_until_when_a_signal_is_ready() {
    let until = |ttl_ms, now_ms| {
        let signal = Signal { ttl_ms, ..signal() };
        let here = epoch();
        let observed = Observed {
            epoch: &here,
            process: ALIVE,
            now_ms,
        };
        judge(&signal, &observed).map(|ready| ready.until_ms)
    };
    let over_ms = NOW - 4_000 + 60_000 + 1;
    assert_eq!(until(Some(60_000), NOW), Ok(Some(over_ms)));
    assert_eq!(until(Some(60_000), over_ms - 1), Ok(Some(over_ms)));
    assert!(until(Some(60_000), over_ms).is_err());
    assert_eq!(until(None, over_ms), Ok(None));
}
