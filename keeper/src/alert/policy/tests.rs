use super::super::events::tests::{sighting, state};
use super::super::message::Subject;
use super::*;
use crate::machine::{Hold, State};
use crate::seen::{Cause, Seen};

const START: u64 = 1_000_000_000;
const MINUTE: u64 = 60_000;
const TIME: &str = "2026-11-28T03:00:00Z";
const GONE: Option<Seen> = Some(Seen::Bad(Cause::Gone));
const HELD: Phase = Phase::Held(Hold::NoCommand);
const STORM: Phase = Phase::Held(Hold::Storm);

/// One that remembers something of everything.
pub fn some() -> Desk {
    let mut world = World::new(&[("a", &[])]);
    world.pass(&[("a", Phase::Healthy, Phase::Failed)]);
    world.desk.compose(&world.subjects, "web-1", START, true);
    world.pass(&[("a", Phase::Failed, Phase::Probation)]);
    world.desk
}

fn name(event: Event) -> String {
    let name = serde_json::to_value(event).unwrap();
    name.as_str().unwrap().to_owned()
}

/// Services, who is told of them, and a clock.
struct World {
    subjects: Subjects,
    desk: Desk,
    now_ms: u64,
}

impl World {
    /// Services with those that they need; all are told to `ops`.
    fn new(services: &[(&str, &[&str])]) -> Self {
        let subject = |needs: &[&str]| Subject {
            needs: needs.iter().map(|need| (*need).to_owned()).collect(),
            channels: vec!["ops".to_owned()],
            ..Subject::default()
        };
        let subjects = services
            .iter()
            .map(|(name, needs)| ((*name).to_owned(), subject(needs)));
        Self {
            subjects: subjects.collect(),
            desk: Desk::default(),
            now_ms: START,
        }
    }

    /// A pass in which services come from one state to another.
    fn pass(&mut self, changes: &[(&str, Phase, Phase)]) {
        let of = |(name, before, after): &(&str, Phase, Phase)| {
            let after: State = state(*after, 3);
            let seen = if after.works() {
                Some(Seen::Pass)
            } else {
                GONE
            };
            sighting(name, state(*before, 3), after, seen)
        };
        let sightings: Vec<Sighting> = changes.iter().map(of).collect();
        self.desk.hear(Round {
            subjects: &self.subjects,
            sightings: &sightings,
            wall_ms: self.now_ms,
            time: TIME,
        });
    }

    /// What is told from here on: service and event, message by message.
    fn told(&mut self) -> Vec<String> {
        self.desk
            .compose(&self.subjects, "web-1", self.now_ms, true);
        let due = self.desk.due(self.now_ms);
        for delivery in &due {
            self.desk
                .settle(delivery, Fate::Delivered, "ops", self.now_ms)
                .unwrap();
        }
        let of = |delivery: Delivery| {
            let facts = delivery.letter.facts.iter();
            let facts = facts.map(|fact| format!("{} {}", fact.service, name(fact.event)));
            facts.collect::<Vec<String>>().join(", ")
        };
        due.into_iter().map(of).collect()
    }
}

#[test]
fn what_was_told_is_not_told_again_within_an_hour_whatever_its_text() {
    let mut world = World::new(&[("a", &[])]);
    world.pass(&[("a", Phase::Healthy, Phase::Failed)]);
    assert_eq!(world.told(), ["a failed"]);
    world.now_ms += 5 * MINUTE;
    world.pass(&[("a", Phase::Failed, Phase::Probation)]);
    assert_eq!(world.told(), ["a recovered"]);
    // It fails again: told once the hour is over, if it still is so.
    world.now_ms += 5 * MINUTE;
    world.pass(&[("a", Phase::Probation, Phase::Failed)]);
    assert_eq!(world.told(), Vec::<String>::new());
    world.now_ms += 50 * MINUTE - 1;
    world.pass(&[("a", Phase::Failed, Phase::Failed)]);
    assert_eq!(world.told(), Vec::<String>::new());
    world.now_ms += 1;
    world.pass(&[("a", Phase::Failed, Phase::Failed)]);
    assert_eq!(world.told(), ["a failed"]);
    // That it works is told although it was told within the hour: each failure that was told has its end.
    world.pass(&[("a", Phase::Failed, Phase::Probation)]);
    assert_eq!(world.told(), ["a recovered"]);
}

#[test]
fn what_could_not_be_told_and_ended_is_told_to_nobody() {
    let mut world = World::new(&[("a", &[])]);
    world.pass(&[("a", Phase::Healthy, Phase::Failed)]);
    world.pass(&[("a", Phase::Failed, Phase::Probation)]);
    world.told();
    world.pass(&[("a", Phase::Probation, Phase::Failed)]);
    world.pass(&[("a", Phase::Failed, Phase::Probation)]);
    world.now_ms += 2 * 60 * MINUTE;
    world.pass(&[("a", Phase::Probation, Phase::Probation)]);
    assert_eq!(world.told(), Vec::<String>::new());
}

#[test]
fn it_outlives_the_keeper() {
    let mut world = World::new(&[("a", &[])]);
    world.pass(&[("a", Phase::Healthy, Phase::Failed)]);
    let text = serde_json::to_string(&world.desk).unwrap();
    world.desk = serde_json::from_str(&text).unwrap();
    world.pass(&[("a", Phase::Failed, Phase::Failed)]);
    assert_eq!(world.told(), ["a failed"]);
    let text = serde_json::to_string(&world.desk).unwrap();
    world.desk = serde_json::from_str(&text).unwrap();
    // Another life of the container: it begins anew, and works.
    world.pass(&[("a", Phase::Starting, Phase::Healthy)]);
    assert_eq!(world.told(), ["a recovered"]);
    // Every field may be missing: an older keeper did not have it.
    assert_eq!(serde_json::from_str::<Desk>("{}").unwrap(), Desk::default());
}

#[test]
fn the_alert_of_what_is_needed_covers_those_that_need_it() {
    let mut world = World::new(&[("app", &["api"]), ("api", &["db"]), ("db", &[])]);
    // In one pass, in any order.
    world.pass(&[
        ("app", Phase::Healthy, HELD),
        ("api", Phase::Healthy, HELD),
        ("db", Phase::Healthy, Phase::Failed),
    ]);
    world
        .desk
        .compose(&world.subjects, "web-1", world.now_ms, true);
    let due = world.desk.due(world.now_ms);
    let [one] = &due[..] else { panic!("{due:?}") };
    assert!(
        one.letter.body.contains("Waiting for it: app, api"),
        "{one:?}"
    );
    assert_eq!(world.told(), ["db failed"]);
    // In a later one.
    world.now_ms += MINUTE;
    world.pass(&[
        ("app", HELD, HELD),
        ("api", HELD, HELD),
        ("db", Phase::Failed, Phase::Failed),
    ]);
    assert_eq!(world.told(), Vec::<String>::new());
    // It is back, and one of them is not.
    world.pass(&[
        ("app", HELD, HELD),
        ("api", HELD, Phase::Probation),
        ("db", Phase::Failed, Phase::Probation),
    ]);
    assert_eq!(world.told(), ["app held, db recovered"]);
}

#[test]
fn what_is_needed_may_be_found_a_moment_later() {
    let mut world = World::new(&[("app", &["db"]), ("db", &[])]);
    world.pass(&[
        ("app", Phase::Healthy, HELD),
        ("db", Phase::Healthy, Phase::Suspect),
    ]);
    world.pass(&[("app", HELD, HELD), ("db", Phase::Suspect, Phase::Failed)]);
    assert_eq!(world.told(), ["db failed"]);
    // Taken back is not told: it is found again.
    world.pass(&[("app", HELD, HELD), ("db", Phase::Failed, Phase::Probation)]);
    assert_eq!(world.told(), ["app held, db recovered"]);
}

#[test]
fn nobody_is_covered_by_what_others_are_told() {
    let mut world = World::new(&[("app", &["db"]), ("db", &[])]);
    world.subjects.get_mut("db").unwrap().channels = vec!["dba".to_owned()];
    world.pass(&[
        ("app", Phase::Healthy, HELD),
        ("db", Phase::Healthy, Phase::Failed),
    ]);
    assert_eq!(world.told(), ["db failed", "app held"]);
}

#[test]
fn services_that_fail_at_once_are_one_alert_and_one_end() {
    let names: Vec<String> = (0..24).map(|n| format!("agent-{n:02}")).collect();
    let services: Vec<(&str, &[&str])> =
        names.iter().map(|name| (name.as_str(), &[][..])).collect();
    let mut world = World::new(&services);
    let pass = |world: &mut World, failing: std::ops::Range<usize>, was: std::ops::Range<usize>| {
        let phase = |range: &std::ops::Range<usize>, n: usize| {
            if range.contains(&n) {
                STORM
            } else {
                Phase::Probation
            }
        };
        let changes: Vec<(&str, Phase, Phase)> = names
            .iter()
            .enumerate()
            .map(|(n, name)| (name.as_str(), phase(&was, n), phase(&failing, n)))
            .collect();
        world.pass(&changes);
    };
    pass(&mut world, 0..10, 0..0);
    let told = world.told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].matches(" held").count(), 10, "{told:?}");
    // More of them join.
    world.now_ms += MINUTE;
    pass(&mut world, 0..24, 0..10);
    assert_eq!(world.told(), Vec::<String>::new());
    pass(&mut world, 5..24, 0..24);
    assert_eq!(world.told(), Vec::<String>::new());
    pass(&mut world, 0..0, 5..24);
    let told = world.told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].matches(" recovered").count(), 24, "{told:?}");
    // The next one within the hour is told once the hour is over.
    pass(&mut world, 0..24, 0..0);
    assert_eq!(world.told(), Vec::<String>::new());
    world.now_ms += 60 * MINUTE;
    pass(&mut world, 0..24, 0..24);
    assert_eq!(world.told().len(), 1);
    // However long it lasts.
    world.now_ms += 120 * MINUTE;
    pass(&mut world, 0..24, 0..24);
    assert_eq!(world.told(), Vec::<String>::new());
}

#[test]
fn who_has_no_channel_is_told_of_nowhere() {
    let mut world = World::new(&[("a", &[])]);
    world.subjects.get_mut("a").unwrap().channels.clear();
    world.pass(&[("a", Phase::Healthy, Phase::Failed)]);
    assert_eq!(world.told(), Vec::<String>::new());
    assert_eq!(world.desk, Desk::default());
}

#[test]
fn a_channel_that_is_no_more_is_forgotten() {
    let mut desk = some();
    assert!(!desk.due(START).is_empty());
    desk.keep_channels(|name| name != "ops");
    assert!(desk.due(START).is_empty());
}
