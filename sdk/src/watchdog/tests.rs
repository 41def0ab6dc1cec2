use super::*;

const LIMIT: u64 = 10_000;

fn gap(from_ms: u64, to_ms: u64) -> Option<Gap> {
    Some(Gap { from_ms, to_ms })
}

#[test]
fn it_fires_once_and_one_millisecond_after_its_limit() {
    let watchdog = Watchdog::new(LIMIT, 5);
    assert!(!watchdog.look(10_005, None));
    assert_eq!(watchdog.next_look_ms(10_005), 10_006);
    assert!(watchdog.look(10_006, None));
    assert!(!watchdog.look(10_007, None), "a stall begins once");
    assert_eq!(watchdog.next_look_ms(10_007), 10_257);
}

#[test]
fn a_tick_ends_a_stall_once() {
    let watchdog = Watchdog::new(LIMIT, 0);
    assert!(!watchdog.tick(1));
    assert!(watchdog.look(20_000, None));
    assert!(watchdog.tick(20_001));
    assert!(!watchdog.tick(20_002));
    assert!(!watchdog.look(30_002, None));
    assert!(watchdog.look(30_003, None));
}

#[test]
fn a_pause_is_not_counted_and_the_time_before_and_after_it_is() {
    let watchdog = Watchdog::new(LIMIT, 0);
    assert!(!watchdog.look(64_000, gap(4_000, 64_000)));
    assert_eq!(own_idle_ms(&watchdog, 64_000), 4_000);
    assert!(!watchdog.look(70_000, None));
    assert!(watchdog.look(70_001, None));
}

#[test]
fn pauses_add_up() {
    let watchdog = Watchdog::new(LIMIT, 0);
    assert!(!watchdog.look(60_000, gap(1_000, 60_000)));
    assert!(!watchdog.look(120_000, gap(61_000, 120_000)));
    assert_eq!(own_idle_ms(&watchdog, 120_000), 2_000);
}

#[test]
fn a_tick_right_after_a_pause_is_not_credited_with_the_pause() {
    let watchdog = Watchdog::new(LIMIT, 0);
    watchdog.tick(64_000);
    assert!(!watchdog.look(64_010, gap(4_000, 64_010)));
    assert!(!watchdog.look(74_010, None));
    assert!(watchdog.look(74_011, None));
}

#[test]
fn a_tick_that_read_the_clock_before_a_pause_and_counts_after_it_is_credited() {
    let watchdog = Watchdog::new(LIMIT, 0);
    assert!(!watchdog.look(64_000, gap(4_000, 64_000)));
    watchdog.tick(3_999);
    assert!(!watchdog.look(64_001, None));
    assert!(!watchdog.look(73_999, None));
    assert!(watchdog.look(74_000, None));
}

#[test]
fn a_pause_before_the_last_tick_is_forgotten() {
    let watchdog = Watchdog::new(LIMIT, 0);
    assert!(!watchdog.look(64_000, gap(4_000, 64_000)));
    watchdog.tick(64_001);
    assert_eq!(own_idle_ms(&watchdog, 64_101), 100);
    assert!(watchdog.look(74_002, None));
}

#[test]
fn it_goes_on_looking_at_its_pace_when_the_limit_is_passed() {
    let unwatched = Watchdog::new(LIMIT, 0);
    assert_eq!(unwatched.next_look_ms(20_000), 20_250);
    let stalled = Watchdog::new(100, 0);
    assert!(stalled.look(101, None));
    assert_eq!(stalled.next_look_ms(102), 112);
}

#[test]
fn the_longest_limit_does_not_overflow() {
    let watchdog = Watchdog::new(u64::MAX, 0);
    assert!(!watchdog.look(1_000_000, None));
    assert_eq!(watchdog.next_look_ms(1_000_000), 1_000_250);
}

#[test]
fn a_tick_at_the_moment_of_the_look_leaves_no_stall_behind() {
    let rounds = 20_000;
    let watchdog = Watchdog::new(10, 0);
    let barrier = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..=rounds {
                barrier.wait();
                // Sweeps the tick over the look.
                (0..round % 97).for_each(|_| std::hint::spin_loop());
                watchdog.tick(round * 100);
                barrier.wait();
            }
        });
        let left_behind = (1..=rounds).filter(|round| {
            barrier.wait();
            (0..round % 89).for_each(|_| std::hint::spin_loop());
            watchdog.look(round * 100, None);
            barrier.wait();
            watchdog.is_stalled()
        });
        assert_eq!(left_behind.count(), 0);
    });
}

fn own_idle_ms(watchdog: &Watchdog, now_ms: u64) -> u64 {
    let ledger = watchdog.ledger();
    watchdog.idle_ms(&watchdog.own, &ledger.own, now_ms)
}

fn begin(watchdog: &Watchdog, now_ms: u64) -> Arc<Call> {
    watchdog.begin(None, now_ms).0
}

#[test]
fn without_calls_it_is_watched_and_on_demand_only_while_it_is_armed() {
    type Step = fn(&Watchdog);
    let arm: Step = |w| {
        w.arm(0);
    };
    let disarm: Step = |w| {
        w.disarm(0);
    };
    let call: Step = |w| {
        w.end(&begin(w, 0), 0);
    };
    let table: [(&[Step], bool); 10] = [
        (&[], true),
        (&[arm], true),
        (&[disarm], false),
        (&[call], false),
        (&[arm, disarm], false),
        (&[disarm, arm], true),
        (&[disarm, disarm, arm], true),
        (&[arm, arm, disarm], true),
        (&[arm, call], true),
        (&[call, arm, disarm], false),
    ];
    for (row, (steps, is_watched)) in table.into_iter().enumerate() {
        let watchdog = Watchdog::new(LIMIT, 0);
        for step in steps {
            step(&watchdog);
        }
        assert_eq!(watchdog.look(10_001, None), is_watched, "row {row}");
    }
}

#[test]
fn what_each_proof_renews() {
    // Of a call within another one, of a third one beside them, and of the agent's own account, armed.
    type Proof = fn(&Watchdog, &[Arc<Call>; 3]);
    let table: [(Proof, [bool; 4]); 9] = [
        (|_, _| {}, [true; 4]),
        (
            |w, _| {
                w.tick(1);
            },
            [false; 4],
        ),
        (
            |w, c| {
                w.tick_call(&c[0], 1);
            },
            [false, true, true, false],
        ),
        (
            |w, c| {
                w.tick_call(&c[1], 1);
            },
            [false, false, true, false],
        ),
        (
            |w, c| {
                w.begin(Some(&c[0]), 1);
            },
            [false, true, true, false],
        ),
        (
            |w, _| {
                w.begin(None, 1);
            },
            [true, true, true, false],
        ),
        (
            |w, c| {
                w.tick_alone(&c[1], 1);
            },
            [true, false, true, true],
        ),
        (
            |w, _| {
                w.mark(1);
            },
            [true; 4],
        ),
        (
            |w, _| {
                w.arm(1);
            },
            [true, true, true, false],
        ),
    ];
    for (row, (prove, late)) in table.into_iter().enumerate() {
        let watchdog = Watchdog::new(LIMIT, 0);
        let outer = begin(&watchdog, 0);
        let (inner, _) = watchdog.begin(Some(&outer), 0);
        let calls = [outer, inner, begin(&watchdog, 0)];
        watchdog.arm(0);
        prove(&watchdog, &calls);
        watchdog.look(10_001, None);
        let [outer, inner, third] = &calls;
        let own = &watchdog.own;
        let got = [&outer.account, &inner.account, &third.account, own].map(Account::is_expired);
        assert_eq!(got, late, "row {row}");
    }
}

#[test]
fn three_hung_calls_of_four_are_seen_and_each_of_them_has_to_go_on() {
    let watchdog = Watchdog::new(LIMIT, 0);
    let calls: Vec<_> = (0..4).map(|_| begin(&watchdog, 0)).collect();
    for now_ms in [5_000, 10_000] {
        assert!(!watchdog.tick_call(&calls[3], now_ms));
        assert!(!watchdog.look(now_ms, None));
    }
    assert!(watchdog.look(10_001, None));
    assert_eq!(
        watchdog.stall(12_000).map(|stall| stall.to_string()),
        Some("stalled: no progress for 12s in 3 of 4 calls (limit 10s)".to_owned())
    );
    assert!(!watchdog.tick_call(&calls[3], 12_000), "it was not late");
    assert!(!watchdog.tick_call(&calls[0], 12_000), "two are late");
    assert!(!watchdog.end(&calls[1], 12_000), "one is late");
    assert!(watchdog.tick_call(&calls[2], 12_000));
    assert_eq!(watchdog.stall(12_000), None);
}

#[test]
fn a_call_that_hangs_within_another_one_counts_once() {
    let watchdog = Watchdog::new(LIMIT, 0);
    let outer = begin(&watchdog, 0);
    let _inner = watchdog.begin(Some(&outer), 0);
    assert!(watchdog.look(10_001, None));
    let stall = watchdog.stall(10_001);
    assert_eq!(stall.map(|stall| (stall.hung, stall.calls)), Some((1, 1)));
    assert_eq!(
        stall.map(|stall| stall.to_string()),
        Some("stalled: no progress for 10s (limit 10s)".to_owned())
    );
}

#[test]
fn the_time_before_the_first_call_is_not_its_own_and_ends_a_stall() {
    let watchdog = Watchdog::new(LIMIT, 0);
    assert!(watchdog.look(10_001, None));
    let (call, ends_stall) = watchdog.begin(None, 20_000);
    assert!(ends_stall);
    assert!(!watchdog.look(30_000, None));
    assert!(watchdog.look(30_001, None));
    assert!(watchdog.end(&call, 30_002));
    assert!(!watchdog.look(90_000, None), "it is idle");
}

#[test]
fn calls_that_outlive_the_one_they_began_in_do_not_keep_it() {
    let watchdog = Watchdog::new(LIMIT, 0);
    let first = begin(&watchdog, 0);
    let mut last = Arc::clone(&first);
    for _ in 0..1_000 {
        let (next, _) = watchdog.begin(Some(&last), 0);
        watchdog.end(&last, 0);
        last = next;
    }
    let mut depth = 0;
    last.each(|_| depth += 1);
    assert!(depth <= 2, "{depth}");
    assert_eq!(Arc::strong_count(&first), 1);
}

#[test]
fn a_call_within_one_that_has_ended_is_within_the_next_one_around_it() {
    let watchdog = Watchdog::new(LIMIT, 0);
    let outer = begin(&watchdog, 0);
    let (middle, _) = watchdog.begin(Some(&outer), 0);
    watchdog.end(&middle, 0);
    let (inner, _) = watchdog.begin(Some(&middle), 0);
    watchdog.tick_call(&inner, 5_000);
    assert!(!watchdog.look(10_001, None), "the outer one was renewed");
}

#[test]
fn what_proves_that_something_runs_is_renewed_by_its_own_ticks_only_and_is_no_call() {
    let watchdog = Watchdog::new(LIMIT, 0);
    let (proof, _) = watchdog.begin_proof(0);
    let (call, _) = watchdog.begin(Some(&proof), 0);
    watchdog.tick_call(&call, 10_000);
    watchdog.tick(10_000);
    assert!(watchdog.look(10_001, None));
    assert!(!watchdog.tick(10_002), "the work goes on, and it does not");
    assert_eq!(
        watchdog
            .stall(10_002)
            .map(|stall| (stall.hung, stall.calls)),
        Some((0, 1))
    );
    assert!(watchdog.tick_alone(&proof, 10_003));
    assert!(watchdog.look(20_004, None));
    assert!(watchdog.begin_anew(20_005));
}
