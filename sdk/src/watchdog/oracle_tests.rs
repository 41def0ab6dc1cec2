//! The watchdog beside an oracle that keeps the same accounts by hand.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Event {
    Run(u64),
    Pause(u64),
    Look,
    Tick,
    TickCall(usize),
    Begin(Option<usize>),
    End(usize),
    Arm,
    Disarm,
    Mark,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (1..8_u64).prop_map(Event::Run),
        1 => (1..40_u64).prop_map(Event::Pause),
        4 => Just(Event::Look),
        1 => Just(Event::Tick),
        3 => (0..6_usize).prop_map(Event::TickCall),
        2 => proptest::option::of(0..6_usize).prop_map(Event::Begin),
        1 => (0..6_usize).prop_map(Event::End),
        1 => Just(Event::Arm),
        1 => Just(Event::Disarm),
        1 => Just(Event::Mark),
    ]
}

/// The same, as it would be told to somebody: for each call how long the process has run since its last
/// proof, and who was found to be late.
#[derive(Default)]
struct Oracle {
    own: Told,
    calls: Vec<Told>,
    arms: u64,
    on_demand: bool,
}

#[derive(Default, Clone)]
struct Told {
    ran: u64,
    late: bool,
    ended: bool,
    around: Option<usize>,
}

impl Oracle {
    fn is_own_watched(&self) -> bool {
        !self.on_demand || self.arms > 0
    }

    fn prove(&mut self, call: Option<usize>) {
        self.own = Told::default();
        let mut next = call;
        while let Some(call) = next {
            let told = &mut self.calls[call];
            (told.ran, told.late) = (0, false);
            next = told.around;
        }
    }

    fn living(&self, mut call: Option<usize>) -> Option<usize> {
        while let Some(at) = call.filter(|at| self.calls[*at].ended) {
            call = self.calls[at].around;
        }
        call
    }

    fn run(&mut self, ms: u64) {
        self.own.ran += ms;
        self.calls.iter_mut().for_each(|call| call.ran += ms);
    }

    fn look(&mut self, limit: u64) {
        self.own.late |= self.is_own_watched() && self.own.ran > limit;
        for call in self.calls.iter_mut().filter(|call| !call.ended) {
            call.late |= call.ran > limit;
        }
    }

    fn is_stalled(&self) -> bool {
        (self.is_own_watched() && self.own.late) || self.calls.iter().any(|c| c.late && !c.ended)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn it_is_stalled_when_the_oracle_says_so(events in proptest::collection::vec(event(), 1..80)) {
        const LIMIT: u64 = 10;
        let (mut now, mut oracle) = (0, Oracle::default());
        let watchdog = Watchdog::new(LIMIT, now);
        let mut calls: Vec<Arc<Call>> = Vec::new();
        for event in events {
            let was_stalled = watchdog.is_stalled();
            let mut begins = false;
            let mut ends = false;
            match event {
                Event::Run(ms) => {
                    now += ms;
                    oracle.run(ms);
                }
                // The heartbeat looks as soon as it runs again.
                Event::Pause(ms) => {
                    begins = watchdog.look(now + ms, Some(Gap { from_ms: now, to_ms: now + ms }));
                    now += ms;
                    oracle.look(LIMIT);
                }
                Event::Look => {
                    begins = watchdog.look(now, None);
                    oracle.look(LIMIT);
                }
                Event::Tick => {
                    ends = watchdog.tick(now);
                    oracle.prove(None);
                    for told in &mut oracle.calls {
                        (told.ran, told.late) = (0, false);
                    }
                }
                Event::TickCall(at) => {
                    if let Some(call) = calls.get(at).filter(|_| !oracle.calls[at].ended) {
                        ends = watchdog.tick_call(call, now);
                        oracle.prove(Some(at));
                    }
                }
                Event::Begin(around) => {
                    let around = around.filter(|at| *at < calls.len());
                    let (call, ended) = watchdog.begin(around.map(|at| &calls[at]), now);
                    ends = ended;
                    calls.push(call);
                    oracle.on_demand = true;
                    let around = oracle.living(around);
                    oracle.prove(around);
                    oracle.calls.push(Told { around, ..Told::default() });
                }
                Event::End(at) => {
                    if let Some(call) = calls.get(at).filter(|_| !oracle.calls[at].ended) {
                        ends = watchdog.end(call, now);
                        oracle.prove(Some(at));
                        oracle.calls[at].ended = true;
                    }
                }
                Event::Arm => {
                    ends = watchdog.arm(now);
                    oracle.prove(None);
                    oracle.arms += 1;
                }
                Event::Disarm => {
                    ends = watchdog.disarm(now);
                    oracle.prove(None);
                    oracle.arms = oracle.arms.saturating_sub(1);
                    oracle.on_demand = true;
                }
                Event::Mark => {
                    ends = watchdog.mark(now);
                    if !oracle.on_demand && oracle.arms == 0 {
                        oracle.prove(None);
                    }
                }
            }
            let is_stalled = watchdog.is_stalled();
            prop_assert_eq!(is_stalled, oracle.is_stalled());
            prop_assert_eq!(begins, !was_stalled && is_stalled);
            prop_assert_eq!(ends, was_stalled && !is_stalled);
            prop_assert!(watchdog.next_look_ms(now) > now);
        }
    }
}
