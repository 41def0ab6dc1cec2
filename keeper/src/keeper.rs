//! The services and what is known of them; a round: what was heard → states → what is said, remembered and done.
//!
//! It asks nothing itself and never waits: who keeps it does, one pass long or on and on.

mod asked;
mod by_hand;
mod measure;
mod restart;
mod tell;

use std::collections::BTreeMap;
use std::path::PathBuf;

use ready_probe_sdk::clock;

use asked::Slot;
pub use asked::{Answered, Ask};
use measure::Measures;

use crate::account::Account;
use crate::alert::{self, Alerts};
use crate::commands::{Commands, End, unended};
use crate::machine::{self, Act, Barrier, Due, Hold, Marker, Now, Observation, Phase, State, Wait};
use crate::memory::{Kept, Memory};
use crate::orders::{Order, Orders};
use crate::people::People;
use crate::question::Question;
use crate::rules::Rules;
use crate::schedule::{self, Pace};
use crate::seen::Seen;
use crate::services::{Service, Services};
use crate::voice::{self, Ending, Level};

/// How it keeps.
#[derive(Debug, Clone)]
pub struct Manner {
    /// How often it asks.
    pub pace: Pace,
    /// Where people put their markers.
    pub markers: PathBuf,
    /// Nothing is done, it is only told.
    pub dry_run: bool,
}

/// All of it.
#[derive(Debug)]
pub struct Keeper {
    manner: Manner,
    memory: Memory,
    orders: Orders,
    services: Vec<Service>,
    /// Their numbers, each after those that it needs.
    order: Vec<usize>,
    rules: Vec<Rules>,
    states: Vec<State>,
    accounts: Vec<Account>,
    slots: Vec<Slot>,
    commands: Commands,
    alerts: Alerts,
    /// What is remembered of services that are not looked after now.
    others: Kept,
    /// So many slots there have been.
    slots_so_far: u64,
    /// Why it can't remember, if it can't.
    unkept: Option<String>,
    /// Orders that are done, and it is not remembered yet.
    unkept_orders: Vec<(String, Order)>,
    /// Orders that are done, and whose files can't be removed.
    obeyed: Vec<(String, Order)>,
    /// What is told to whoever wants metrics.
    measures: Measures,
}

/// The time.
pub fn now() -> Now {
    Now {
        mono_ms: clock::mono_ms(),
        wall_ms: clock::wall_ms(),
        dice: fastrand::u64(..),
    }
}

impl Keeper {
    /// Takes up what is remembered of these services. An error if it can't be read or written: a keeper that can't
    /// remember its restarts must not begin with any.
    pub fn open(
        services: Services,
        memory: Memory,
        alerts: Alerts,
        manner: Manner,
    ) -> Result<Self, String> {
        let now = now();
        let kept = memory.recall(now)?;
        let orders = Orders::beside(memory.dir());
        let mut keeper = Self {
            manner,
            memory,
            orders,
            services: Vec::new(),
            order: Vec::new(),
            rules: Vec::new(),
            states: Vec::new(),
            accounts: Vec::new(),
            slots: Vec::new(),
            commands: Commands::left(&kept.commands, &kept.unended),
            alerts,
            others: Kept::default(),
            slots_so_far: 0,
            unkept: None,
            unkept_orders: Vec::new(),
            obeyed: Vec::new(),
            measures: Measures::new(now.wall_ms),
        };
        keeper.take(services, kept, now);
        keeper.keep()?;
        Ok(keeper)
    }

    /// Looks after other services from now on, or after the same in another way.
    pub fn replace(&mut self, services: Services, people: People) {
        let kept = self.kept();
        // Never the other way: whoever typed --dry-run meant it.
        if services.dry_run && !self.manner.dry_run {
            self.manner.dry_run = true;
            self.memory.turn_dry();
        }
        if self.manner.dry_run {
            self.alerts.tell_to(Vec::new(), BTreeMap::new());
        } else {
            self.alerts.tell_to(people.channels, people.subjects);
        }
        self.take(services, kept, now());
        self.keep_or_say();
    }

    fn take(&mut self, services: Services, mut kept: Kept, now: Now) {
        let before = std::mem::replace(&mut self.services, services.all);
        let slots = before.iter().zip(self.slots.drain(..));
        self.slots = asked::slots_of(&self.services, slots, &mut self.slots_so_far);
        self.order = services.order;
        let named = |service: &Service| service.name.clone();
        let names: Vec<String> = self.services.iter().map(named).collect();
        let is_loop = self.manner.pace != Pace::OnePass;
        let rules = |service: &Service| match is_loop {
            true => service.rules.clone(),
            false => service.rules.clone().in_passes(),
        };
        self.rules = self.services.iter().map(rules).collect();
        let state = |name: &String| kept.services.remove(name).unwrap_or(State::new(now));
        self.states = names.iter().map(state).collect();
        let account = |name: &String| {
            let account = kept.accounts.remove(name);
            account.unwrap_or(Account::new(now.wall_ms))
        };
        self.accounts = names.iter().map(account).collect();
        self.measures.take(&before, &names, &self.accounts);
        kept.forget_old(now.wall_ms);
        self.others = kept;
    }

    /// Tells people what is left to tell. A restart command that runs goes on.
    pub fn finish(self) {
        let stay = match self.manner.pace {
            Pace::OnePass => alert::STAY,
            Pace::Loop { .. } => alert::STAY_OF_LOOP,
        };
        self.alerts.finish(stay);
    }

    /// Whether every service works, or is meant not to.
    pub fn all_work(&self) -> bool {
        let works = |(state, slot): (&State, &Slot)| {
            let last = slot.last().map(|last| last.seen);
            state.phase == Phase::Paused || (state.works() && last != Some(Seen::CouldNotAsk))
        };
        self.states.iter().zip(&self.slots).all(works)
    }

    /// What has to be asked now, and by nobody else: what works together; by itself what does not, or may take long, so that
    /// nobody waits for its answer, and it waits for nobody's.
    pub fn due(&mut self) -> Vec<Ask> {
        let now_ms = clock::mono_ms();
        let mut asks = Vec::new();
        let mut together = Vec::new();
        for number in 0..self.services.len() {
            if self.next_of(number).is_none_or(|next| next > now_ms) {
                continue;
            }
            let is_stopped = self.marker(number) != Marker::Absent;
            let (Some(slot), Some(state)) = (self.slots.get_mut(number), self.states.get(number))
            else {
                continue;
            };
            if is_stopped {
                slot.skip(now_ms);
                continue;
            }
            slot.begin(now_ms);
            if is_calm(state.phase) && slot.is_quick() {
                together.push(number);
            } else {
                asks.push(vec![number]);
            }
        }
        asks.push(together);
        let asks = asks.into_iter().filter(|numbers| !numbers.is_empty());
        asks.map(|numbers| self.ask(&numbers)).collect()
    }

    fn ask(&self, numbers: &[usize]) -> Ask {
        let question = |&number: &usize| {
            let (service, state) = (self.services.get(number)?, self.states.get(number)?);
            Some(Question {
                restart: self.restart_script(service, state),
                ..service.question.clone()
            })
        };
        let questions = numbers.iter().filter_map(question).collect();
        let slots = numbers.iter().filter_map(|&number| self.slots.get(number));
        Ask {
            slots: slots.map(Slot::id).collect(),
            questions,
        }
    }

    /// Whether answers are still to come.
    pub fn is_asking(&self) -> bool {
        self.slots.iter().any(Slot::is_asked)
    }

    /// When there is something to ask, by the monotonic clock; none as long as all that could be asked is under way.
    pub fn next_ms(&self) -> Option<u64> {
        let next = |number| self.next_of(number);
        (0..self.services.len()).filter_map(next).min()
    }

    fn next_of(&self, number: usize) -> Option<u64> {
        let (rules, state) = (self.rules.get(number)?, self.states.get(number)?);
        let asking = self.slots.get(number)?.asking(rules.interval_ms)?;
        schedule::next_ms(self.manner.pace, rules, &self.states, state, asking)
    }

    /// What was heard, what becomes of it, and what is done.
    pub fn round(&mut self, answered: Option<Answered>) {
        let began = clock::instant();
        let now = now();
        let services = &self.services;
        let is_kept = |name: &str| services.iter().any(|service| service.name == name);
        self.commands.reap(is_kept);
        let before = self.states.clone();
        let seen = self.hear(answered, now);
        let orders = self.obey();
        self.unkept_orders.extend(orders);
        let observed: Vec<Observation> = (0..self.services.len())
            .map(|number| {
                let seen = seen.get(&number).copied();
                let marker = self.marker(number);
                let command = self.command(number);
                let slot = self.slots.get(number);
                let reply = slot.and_then(Slot::last).filter(|_| seen.is_some());
                Observation {
                    seen,
                    marker,
                    command,
                    instance: reply.and_then(|reply| reply.instance),
                    barrier: reply.map_or(Barrier::Open, |reply| reply.barrier),
                    asked_ms: slot.map_or(0, Slot::begun_ms),
                }
            })
            .collect();
        let due: Vec<Option<Due>> = self.states.iter().map(|state| state.due).collect();
        let mut acts = machine::pass(&self.rules, &mut self.states, &observed, &self.order, now);
        let ends = acts.iter().any(|act| matches!(act, Act::EndContainer(_)));
        acts.retain(|act| !self.is_held_back(*act, now));
        self.follow(&before, &acts, now);
        self.bound_outputs(seen.keys());
        let is_new = self.states != before || !seen.is_empty() || !self.unkept_orders.is_empty();
        if !is_new || self.keep_or_say() {
            for (service, order) in std::mem::take(&mut self.unkept_orders) {
                if let Err(why) = self.orders.done(&service, order) {
                    let word = order.word();
                    let text = format!(
                        "{service}: {word} is not done again, though its order can't be removed: {why}"
                    );
                    voice::say(Level::Error, &text);
                    self.obeyed.push((service, order));
                }
            }
        }
        let ending = self.act(&acts, &due, now);
        let ending = ending.or(ends.then_some(Ending::HeldBack));
        self.tell(&seen, &before, ending);
        if is_new {
            self.alert(&seen, &before);
        }
        self.measures.count(began);
    }

    fn hear(&mut self, answered: Option<Answered>, now: Now) -> BTreeMap<usize, Seen> {
        let mut seen = BTreeMap::new();
        for (id, reply) in answered.into_iter().flat_map(|answered| answered.replies) {
            let mut slots = self.slots.iter_mut().zip(&mut self.accounts).enumerate();
            if let Some((number, (slot, account))) = slots.find(|(_, (slot, _))| slot.id() == id)
                && let Some(heard) = slot.hear(reply, now.mono_ms)
            {
                if let Some(reply) = slot.last() {
                    account.hear(reply);
                }
                seen.insert(number, heard);
            }
        }
        seen
    }

    /// What follows from new states, beside acts.
    fn follow(&mut self, before: &[State], acts: &[Act], now: Now) {
        let is_loop = self.manner.pace != Pace::OnePass;
        let of_each = self.services.iter().zip(before).zip(&self.states);
        let mine = self.accounts.iter_mut().zip(&mut self.slots);
        let mut back = Vec::new();
        let mut suspects = Vec::new();
        for (number, (((service, before), after), (account, slot))) in of_each.zip(mine).enumerate()
        {
            account.step(before, after, now.wall_ms);
            if before.phase == after.phase {
                continue;
            }
            if after.phase == Phase::Suspect {
                suspects.push(number);
            }
            if is_stopped(after.phase) || after.phase == Phase::Restarting {
                slot.void();
            } else if is_stopped(before.phase) && is_loop {
                slot.hurry();
            }
            if before.phase == Phase::Restarting {
                slot.begin_anew();
            }
            let name = &service.name;
            if after.works() {
                back.push(number);
                if !acts.contains(&Act::EndCommand(number)) {
                    self.commands.settle(name);
                }
            } else if matches!(after.phase, Phase::Paused | Phase::Held(Hold::Marker))
                && !self.manner.dry_run
            {
                let why = if after.phase == Phase::Paused {
                    "a person has stopped the service"
                } else {
                    "whether a person has stopped the service can't be told"
                };
                match self.commands.end(name) {
                    End::Nothing => {}
                    End::Ended => {
                        let text = format!("{name}: its restart command is ended, since {why}");
                        voice::say(Level::Warning, &text);
                    }
                    End::Lives(process) => voice::say(Level::Error, &unended(name, process)),
                }
            }
        }
        self.hurry_what_they_need(&suspects);
        self.hurry_those_that_waited(&back);
    }

    /// What these need is asked now: it may have gone before them, and what it said last may be as old as an interval.
    fn hurry_what_they_need(&mut self, suspects: &[usize]) {
        for rules in suspects.iter().filter_map(|&number| self.rules.get(number)) {
            for &need in &rules.needs {
                if let Some(slot) = self.slots.get_mut(need) {
                    slot.hurry();
                }
            }
        }
    }

    /// Whoever has waited for one of these that are back.
    fn hurry_those_that_waited(&mut self, back: &[usize]) {
        let of_each = self.rules.iter().zip(&self.states).zip(&mut self.slots);
        for ((rules, state), slot) in of_each {
            let waits = matches!(
                state.phase,
                Phase::Waiting(Wait::Needs) | Phase::Held(Hold::Needs | Hold::NeedsFailed)
            );
            if waits && rules.needs.iter().any(|need| back.contains(need)) {
                slot.hurry();
            }
        }
    }

    fn kept(&self) -> Kept {
        let named = |service: &Service| service.name.clone();
        let names = || self.services.iter().map(named);
        let mut kept = self.others.clone();
        kept.others = kept.services.keys().cloned().collect();
        kept.written_ms = clock::wall_ms();
        kept.services
            .extend(names().zip(self.states.iter().cloned()));
        kept.accounts
            .extend(names().zip(self.accounts.iter().cloned()));
        kept.commands = self.commands.under_way();
        kept.unended = self.commands.unended();
        kept.unlisted.clone_from(&self.measures.unlisted);
        kept
    }

    fn keep(&self) -> Result<(), String> {
        self.memory.keep(self.kept())
    }

    fn keep_or_say(&mut self) -> bool {
        let why = self.keep().err();
        match &why {
            Some(why) if self.unkept.as_ref() != Some(why) => {
                let text = format!("nothing is restarted, since it could not be remembered: {why}");
                voice::say(Level::Error, &text);
            }
            None if self.unkept.is_some() => {
                voice::say(Level::Info, "restarts can be remembered again");
            }
            Some(_) | None => {}
        }
        self.unkept = why;
        if self.unkept.is_none() {
            self.measures.accounts.clone_from(&self.accounts);
        }
        self.unkept.is_none()
    }
}

/// Whether it may wait for the answers of others.
fn is_calm(phase: Phase) -> bool {
    match phase {
        Phase::Starting | Phase::Healthy | Phase::Probation | Phase::Paused => true,
        Phase::Suspect | Phase::Restarting | Phase::Verifying => false,
        Phase::Waiting(_) | Phase::Held(_) | Phase::Backoff | Phase::Failed => false,
    }
}

fn is_stopped(phase: Phase) -> bool {
    matches!(phase, Phase::Paused | Phase::Held(Hold::Marker))
}
