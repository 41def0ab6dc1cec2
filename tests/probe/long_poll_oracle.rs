//! `--long-poll`: an agent that changes at random, and a caller that must never be told anything but the truth.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ready_probe_test_support::process::Run;

use crate::container::Container;
use crate::long_poll::{Caller, ready};

const STEPS: usize = 60;
/// Between two answers, as an engine that is asked to hurry.
const INTERVAL: Duration = Duration::from_millis(200);
const HOLD: &str = "2s";
/// Between the judgement and the end of the process, on a machine that is not late.
const JUDGED: Duration = Duration::from_millis(400);
/// How much later than it should somebody has woken up, before that excuses others.
const PUNCTUAL: Duration = Duration::from_millis(20);

/// Numbers that look random and are the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// One answer: when it was asked for, and when it had come.
struct Told {
    from: Instant,
    to: Instant,
    run: Run,
}

/// What was so, and since when: from before the change to after it, in which nobody knows.
#[derive(Clone, Copy)]
struct Was {
    ready: bool,
    before: Instant,
    after: Instant,
}

#[test]
fn every_answer_is_true_when_it_is_given() {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = u64::try_from(seed.as_nanos() % u128::from(u64::MAX)).unwrap() | 1;
    println!("seed {seed}");
    let container = Container::new();
    let agent = ready(&container, "oracle");
    let start = Instant::now();
    let history = Mutex::new(vec![Was {
        ready: true,
        before: start,
        after: start,
    }]);
    let lateness = Mutex::new(Vec::new());
    let done = AtomicBool::new(false);
    let mut told = Vec::new();
    thread::scope(|scope| {
        // Somebody who notes when the machine was late.
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                let from = Instant::now();
                thread::sleep(Duration::from_millis(5));
                if from.elapsed() > PUNCTUAL {
                    lateness.lock().unwrap().push((from, Instant::now()));
                }
            }
        });
        scope.spawn(|| {
            let mut random = Random(seed);
            for step in 0..STEPS {
                let pause = match random.below(4) {
                    0 => random.below(30),
                    1 => random.below(300),
                    _ => random.below(1_500),
                };
                thread::sleep(Duration::from_millis(pause));
                let before = Instant::now();
                // It ends ready or not, and says the same again at times.
                let is_ready = random.below(2) == 0;
                if is_ready {
                    agent
                        .mark_ready(serde_json::json!({ "step": step }))
                        .unwrap();
                } else {
                    agent.mark_not_ready(&format!("step {step}")).unwrap();
                }
                history.lock().unwrap().push(Was {
                    ready: is_ready,
                    before,
                    after: Instant::now(),
                });
            }
            done.store(true, Ordering::SeqCst);
        });
        let flags = ["--long-poll", HOLD, "--retries", "1"];
        let caller = Caller::with(&container, &flags, &[]);
        let mut rest = 3;
        while rest > 0 {
            rest -= usize::from(done.load(Ordering::SeqCst));
            let from = Instant::now();
            let run = caller.begin().ends();
            told.push(Told {
                from,
                to: Instant::now(),
                run,
            });
            thread::sleep(INTERVAL);
        }
    });
    let history = history.into_inner().unwrap();
    let lateness = lateness.into_inner().unwrap();
    let mut wrong = Vec::new();
    for one in &told {
        if !is_true(one, &history, &lateness) {
            wrong.push(format!(
                "{:?}..{:?}: {:?}",
                one.from - start,
                one.to - start,
                one.run
            ));
        }
    }
    let held = told
        .iter()
        .filter(|one| one.to - one.from > Duration::from_secs(1));
    let held = held.count();
    assert!(
        wrong.is_empty(),
        "seed {seed}: {wrong:#?}\n{:?}",
        history
            .iter()
            .map(|was| (was.ready, was.before - start))
            .collect::<Vec<_>>()
    );
    // The last change was told, and some answers waited for theirs.
    let last = told.last().unwrap();
    let last_is_ready = history.last().unwrap().ready;
    assert_eq!(
        last.run.code() == 0,
        last_is_ready,
        "seed {seed}: {:?}",
        last.run
    );
    assert!(
        held >= 1,
        "seed {seed}: nothing was held, in {} answers",
        told.len()
    );
}

/// Whether what it says was so at a time shortly before it was said.
fn is_true(told: &Told, history: &[Was], lateness: &[(Instant, Instant)]) -> bool {
    let excuse: Duration = lateness
        .iter()
        .filter(|(from, to)| *to > told.to - Duration::from_secs(4) && *from < told.to)
        .map(|(from, to)| *to - *from)
        .sum();
    let earliest = (told.to - JUDGED).checked_sub(excuse * 2).unwrap();
    let earliest = earliest.max(told.from);
    let ready = told.run.code() == 0;
    history.iter().enumerate().any(|(number, was)| {
        let until = history.get(number + 1).map_or(told.to, |next| next.after);
        was.ready == ready && was.before <= told.to && until >= earliest
    })
}
