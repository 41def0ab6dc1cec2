use std::time::Duration;

use ready_probe_sdk::signal::Name;

use super::super::Past;
use super::*;
use crate::outcome::Outcome;

const TTL_MS: u64 = 60_000;
const KEY: &str = "peer:a";

fn fleet(min: usize, ready: &[&str], others: &[&str]) -> Fleet {
    Fleet {
        agent: Name::new("a").unwrap(),
        min,
        ready: ready.iter().map(|name| (Id::of(name), TTL_MS)).collect(),
        others: others.iter().map(|name| Id::of(name)).collect(),
    }
}

fn add(memory: &mut Memory, outcome: &Outcome, fleet: Fleet, now_ms: u64) -> bool {
    let changed = memory.add(&[(KEY, outcome)], now_ms);
    memory.add_fleets(&[(KEY, &[fleet])], now_ms) || changed
}

/// A memory of a check that passed at 0 with these.
fn passed(min: usize, ready: &[&str]) -> Memory {
    let mut memory = Memory::default();
    add(&mut memory, &Outcome::pass(), fleet(min, ready, &[]), 0);
    memory
}

fn may_be_enough(memory: &Memory, fleet: Fleet, now_ms: u64) -> bool {
    let roster = memory.roster(KEY);
    roster.is_some_and(|roster| roster.may_be_enough(&[fleet], now_ms))
}

/// Another look that was not enough.
fn unknown(memory: &mut Memory, fleet: Fleet, now_ms: u64) {
    add(memory, &Outcome::unknown("?"), fleet, now_ms);
}

#[test]
fn those_that_are_missing_count_beside_those_that_are_there() {
    // Who was ready when it passed, how many are needed, who is ready now, who says no now.
    type Row<'a> = (&'a [&'a str], usize, &'a [&'a str], &'a [&'a str], bool);
    let table: &[Row<'_>] = &[
        (&["x"], 1, &[], &[], true),
        (&["x"], 1, &[], &["y"], true),
        (&["x"], 1, &[], &["x"], false),
        (&["x", "y"], 1, &[], &["x"], true),
        (&["x", "y"], 1, &[], &["x", "y"], false),
        (&["x", "y"], 2, &["x"], &[], true),
        (&["x", "y"], 2, &["z"], &["x"], true),
        (&["x", "y"], 2, &[], &["x"], false),
        (&["x", "y", "z"], 2, &[], &["x"], true),
        // Somebody else came, and nobody is missing: that is no reason to wait.
        (&["x"], 2, &["x"], &[], false),
        (&[], 1, &[], &[], false),
    ];
    for (before, min, ready, others, want) in table {
        let memory = passed(*min, before);
        let got = may_be_enough(&memory, fleet(*min, ready, others), 1);
        assert_eq!(got, *want, "{before:?} {min} {ready:?} {others:?}");
    }
}

#[test]
fn each_is_waited_for_as_long_as_its_ttl_from_the_probe_that_missed_it() {
    let mut memory = passed(2, &["x", "y"]);
    // A long silence between probes takes nothing away.
    unknown(&mut memory, fleet(2, &["y"], &[]), 900_000);
    let last_ms = 900_000 + TTL_MS - 1;
    assert!(may_be_enough(&memory, fleet(2, &["y"], &[]), last_ms));
    assert!(!may_be_enough(&memory, fleet(2, &["y"], &[]), last_ms + 1));
    // The one that goes later is missed later, and one that has come back anew.
    unknown(&mut memory, fleet(2, &["x"], &[]), 930_000);
    let last_ms = 930_000 + TTL_MS - 1;
    assert!(may_be_enough(&memory, fleet(2, &["x"], &[]), last_ms));
    assert!(!may_be_enough(&memory, fleet(2, &["x"], &[]), last_ms + 1));
    // Of a clock that went back nothing follows.
    assert!(may_be_enough(&memory, fleet(2, &["x"], &[]), 10));
}

#[test]
fn who_has_said_no_is_not_waited_for_again() {
    let mut memory = passed(1, &["x", "y"]);
    unknown(&mut memory, fleet(1, &[], &["x"]), 1);
    unknown(&mut memory, fleet(1, &[], &[]), 2);
    assert!(may_be_enough(&memory, fleet(1, &[], &["x"]), 3));
    assert!(!may_be_enough(&memory, fleet(1, &[], &["y"]), 3));
    // A no of the check is one of all of them.
    add(&mut memory, &Outcome::fail("no"), fleet(1, &[], &["y"]), 4);
    assert_eq!(memory.roster(KEY), None);
}

#[test]
fn who_is_not_asked_about_stays_as_it_was() {
    let mut memory = passed(1, &["x"]);
    let before = memory.roster(KEY).cloned();
    memory.add(
        &[
            (KEY, &Outcome::unknown("away")),
            ("other", &Outcome::pass()),
        ],
        5,
    );
    assert!(!memory.add_fleets(&[("other", &[])], 5));
    assert_eq!(memory.roster(KEY).cloned(), before);
    // Namesakes of other agents are others.
    let other = Fleet {
        agent: Name::new("b").unwrap(),
        ..fleet(1, &[], &[])
    };
    assert!(!may_be_enough(&memory, other, 6));
}

#[test]
fn grace_ends_when_nobody_is_waited_for_any_longer() {
    let minutes = |n: u64| Grace::For(Duration::from_secs(60 * n));
    let mut memory = passed(1, &["x"]);
    // The store was away before it came back empty.
    memory.add(&[(KEY, &Outcome::unknown("away"))], 1_000);
    let nobody = || vec![fleet(1, &[], &[])];
    unknown(&mut memory, fleet(1, &[], &[]), 11_000);
    let grace = |grace: Grace, fleets: &[Fleet]| memory.grace(KEY, fleets, grace, 12_000);
    let bounded = Grace::For(Duration::from_millis(10_000 + TTL_MS));
    assert_eq!(grace(minutes(3), &nobody()), bounded);
    assert_eq!(grace(Grace::Forever, &nobody()), bounded);
    assert_eq!(grace(minutes(1), &nobody()), minutes(1));
    // Away again: that has the whole grace.
    assert_eq!(grace(minutes(3), &[]), minutes(3));
}

#[test]
fn nothing_is_written_while_nobody_comes_or_goes() {
    let mut memory = passed(1, &["x", "y"]);
    let pass = Outcome::pass();
    assert!(!add(&mut memory, &pass, fleet(1, &["y", "x"], &[]), 1));
    assert!(add(&mut memory, &pass, fleet(1, &["y"], &["x"]), 2));
    unknown(&mut memory, fleet(1, &[], &[]), 3);
    let again = add(&mut memory, &Outcome::unknown("?"), fleet(1, &[], &[]), 4);
    assert!(!again);
}

#[test]
fn only_what_can_matter_is_remembered_and_little_of_it() {
    let names: Vec<String> = (0..1_024).map(|n| format!("host-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(passed(1, &names).roster(KEY).unwrap().len(), 1 + SPARE);
    assert!(passed(1_000, &names).roster(KEY).unwrap().len() > 1_000);
    let mut memory = passed(1_000, &names);
    for n in 0..20 {
        let key = format!("peer:a#{n}");
        let fleets = [fleet(1_000, &names, &[])];
        memory.add(&[(&key, &Outcome::pass())], n);
        memory.add_fleets(&[(&key, &fleets)], n);
        assert!(memory.roster(&key).is_some(), "what was asked last");
    }
    let all = memory.peers.values().map(Roster::len).sum::<usize>();
    assert!(all <= MAX_MEMBERS, "{all}");
    let bytes = serde_json::to_vec(&memory).unwrap();
    assert!(bytes.len() < 10 * MAX_MEMBERS, "{}", bytes.len());
}

#[test]
fn a_roster_is_read_as_it_was_written() {
    let mut memory = passed(2, &["x", "y", "z"]);
    unknown(&mut memory, fleet(2, &["x"], &[]), 7);
    let text = serde_json::to_string(&memory).unwrap();
    let missing = "{\"ttl_ms\":60000,\"missing_ms\":7,\"ids\":\"";
    assert!(text.contains(missing), "{text}");
    assert_eq!(serde_json::from_str::<Memory>(&text).unwrap(), memory);
    let cut = text.replace("\"ids\":\"", "\"ids\":\"0");
    assert!(serde_json::from_str::<Memory>(&cut).is_err());
    // As a probe wrote it that knew of none.
    let past = Past::after(None, Answered::Pass, 1);
    let old = serde_json::json!({ "v": 1, "written_ms": 1, "checks": { KEY: past } });
    let old: Memory = serde_json::from_value(old).unwrap();
    assert_eq!((old.past(KEY), old.roster(KEY)), (Some(&past), None));
}
