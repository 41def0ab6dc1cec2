use super::super::events::Event;
use super::super::message::tests::item;
use super::*;

const NOW: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;

fn later() -> Fate {
    Fate::Later {
        why: "connection refused".to_owned(),
        after_ms: None,
    }
}

/// A tray and a clock.
struct World {
    tray: Tray,
    now_ms: u64,
}

impl World {
    fn new() -> Self {
        Self {
            tray: Tray::default(),
            now_ms: NOW,
        }
    }

    fn put(&mut self, service: &str) {
        self.tray.put(item(Event::Failed, service), self.now_ms);
    }

    fn compose(&mut self, is_last: bool) {
        self.tray
            .compose(&Subjects::new(), "web-1", self.now_ms, is_last);
    }

    fn due(&self) -> Vec<u64> {
        self.tray
            .due(self.now_ms)
            .map(|(number, _)| number)
            .collect()
    }

    /// One more message, at once.
    fn message(&mut self, service: &str) {
        self.put(service);
        self.compose(true);
    }

    fn settle(&mut self, number: u64, fate: Fate) -> (Level, String) {
        self.tray.settle(number, fate, "ops", self.now_ms).unwrap()
    }
}

#[test]
fn what_comes_within_ten_seconds_is_one_message() {
    let mut world = World::new();
    world.put("a");
    world.now_ms += 9_999;
    world.put("b");
    world.compose(false);
    assert!(world.due().is_empty());
    assert_eq!(world.tray.next_ms(world.now_ms, false), Some(1));
    world.now_ms += 1;
    world.compose(false);
    let letters: Vec<&Letter> = world
        .tray
        .due(world.now_ms)
        .map(|(_, letter)| letter)
        .collect();
    let [letter] = &letters[..] else {
        panic!("{letters:?}")
    };
    assert_eq!(letter.facts.len(), 2);
}

#[test]
fn the_last_pass_waits_for_no_more() {
    let mut world = World::new();
    world.put("a");
    assert_eq!(world.tray.next_ms(world.now_ms, true), Some(0));
    world.compose(true);
    assert_eq!(world.due(), [0]);
}

#[test]
fn ten_messages_an_hour_and_what_is_over_is_told_in_the_next() {
    let mut world = World::new();
    for n in 0..12 {
        world.message(&format!("s{n}"));
        world.now_ms += MINUTE;
    }
    assert_eq!(world.due().len(), 10);
    assert_eq!(
        world.tray.next_ms(NOW + 12 * MINUTE, true),
        Some(0),
        "they are to be sent"
    );
    world.now_ms = NOW + 60 * MINUTE - 1;
    world.compose(true);
    assert_eq!(world.due().len(), 10);
    world.now_ms += 1;
    world.compose(true);
    let last = world.tray.due(world.now_ms).last().unwrap().1.clone();
    assert_eq!(last.facts.len(), 2, "both that waited: {last:?}");
    // The second of the ten is still within its hour.
    world.message("more");
    assert_eq!(world.due().len(), 11);
}

#[test]
fn three_more_tries_after_1_5_and_25_seconds() {
    let mut world = World::new();
    world.message("a");
    for pause in [SECOND, 5 * SECOND, 25 * SECOND] {
        assert_eq!(world.due(), [0]);
        let (level, said) = world.settle(0, later());
        assert_eq!(level, Level::Warning);
        assert!(
            said.contains(&format!("tried again in {} s", pause / SECOND)),
            "{said}"
        );
        world.now_ms += pause - 1;
        assert!(world.due().is_empty());
        world.now_ms += 1;
    }
    let (level, said) = world.settle(0, later());
    assert_eq!(level, Level::Error);
    assert!(
        said.contains("given up after 4 tries: a is down and given up: connection refused"),
        "{said}"
    );
    assert_eq!(world.tray.next_ms(world.now_ms, false), None);
    world.message("b");
    let body = world.tray.due(world.now_ms).next().unwrap().1.body.clone();
    assert!(
        body.starts_with("1 earlier alert could not be delivered"),
        "{body}"
    );
}

#[test]
fn what_is_refused_is_never_tried_again() {
    let mut world = World::new();
    world.message("a");
    let (level, said) = world.settle(0, Fate::Refused("status 401".to_owned()));
    assert_eq!(level, Level::Error);
    assert!(said.contains("not tried again"), "{said}");
    assert_eq!(world.tray.next_ms(world.now_ms, false), None);
}

#[test]
fn a_server_that_names_a_time_is_left_alone_until_then() {
    let mut world = World::new();
    world.message("a");
    world.message("b");
    let busy = Fate::Later {
        why: "status 429".to_owned(),
        after_ms: Some(60 * SECOND),
    };
    world.settle(0, busy);
    // The other message, too.
    world.now_ms += 60 * SECOND - 1;
    assert!(world.due().is_empty());
    assert_eq!(world.tray.next_ms(world.now_ms, false), Some(1));
    world.now_ms += 1;
    assert_eq!(world.due(), [0, 1]);
}

#[test]
fn twenty_wait_and_the_oldest_is_lost() {
    let mut world = World::new();
    for n in 0..22 {
        world.message(&format!("s{n}"));
        world.now_ms += 6 * MINUTE;
    }
    assert_eq!(world.due(), (2..22).collect::<Vec<u64>>());
    assert_eq!(world.tray.lost, 1, "the last one tells of the one before");
}

#[test]
fn what_was_about_to_be_told_is_taken_back() {
    let mut world = World::new();
    world.put("a");
    world.put("b");
    let taken = world.tray.take_back(|item| item.services == ["a"]);
    assert_eq!(taken.len(), 1);
    world.compose(true);
    assert_eq!(
        world.tray.due(world.now_ms).next().unwrap().1.facts.len(),
        1
    );
}

#[test]
fn a_clock_that_is_set_back_stops_nothing_for_long() {
    let mut world = World::new();
    world.put("a");
    world.now_ms -= 100 * MINUTE;
    world.compose(false);
    assert_eq!(world.due(), [0]);
    world.settle(0, later());
    world.now_ms -= 100 * MINUTE;
    assert_eq!(world.due(), [0]);
}
