//! `ready-keeper once`: one pass over all services, from the first question to the last verification.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use ready_probe::redact::one_line;
use ready_probe_sdk::clock;

use crate::alert::Alerts;
use crate::alert::events::Sighting;
use crate::children::{self, Restart};
use crate::machine::{self, Act, Command, Marker, Now, Observation, Phase, State, Wait};
use crate::markers;
use crate::memory::Memory;
use crate::question::{Question, Reply};
use crate::seen::{Cause, Seen};
use crate::services::{Service, Services};
use crate::voice::{self, Level};

/// How often a suspect, and one that was restarted, is asked.
const ASK_AGAIN_MS: u64 = 1_000;
/// How often a restart command is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// So many times in a row nobody could ask: this pass learns no more of it.
const UNASKED: u32 = 3;

/// How much of a reason is told.
const MAX_REASON_CHARS: usize = 300;

/// One pass.
pub struct Pass<'a> {
    services: &'a [Service],
    order: &'a [usize],
    rules: Vec<crate::rules::Rules>,
    states: Vec<State>,
    memory: &'a Memory,
    markers: &'a Path,
    alerts: &'a Alerts,
    running: BTreeMap<usize, Restart>,
    last: Vec<Option<Reply>>,
    next_ms: Vec<Option<u64>>,
    unasked: Vec<u32>,
}

fn now() -> Now {
    Now {
        mono_ms: clock::mono_ms(),
        wall_ms: clock::wall()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, clock::millis),
        dice: fastrand::u64(..),
    }
}

/// Makes a pass. Returns whether every service works, or is meant not to.
pub fn run(
    services: &Services,
    memory: &Memory,
    markers: &Path,
    alerts: &Alerts,
) -> Result<bool, String> {
    let names: Vec<&str> = services
        .all
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    let now = now();
    let states = memory.recall(&names, now)?;
    let mut pass = Pass {
        services: &services.all,
        order: &services.order,
        rules: services
            .all
            .iter()
            .map(|service| service.rules.clone())
            .collect(),
        last: vec![None; states.len()],
        next_ms: vec![Some(now.mono_ms); states.len()],
        unasked: vec![0; states.len()],
        states,
        memory,
        markers,
        alerts,
        running: BTreeMap::new(),
    };
    // Before anything is done: a keeper that can't remember its restarts must not begin with any.
    pass.keep()?;
    while pass.step() {}
    Ok(pass
        .states
        .iter()
        .all(|state| state.works() || state.phase == Phase::Paused))
}

impl Pass<'_> {
    /// One round of questions and what follows. Returns whether there is another.
    fn step(&mut self) -> bool {
        let began = now();
        let is_due = |number: &usize| {
            let next = self.next_ms.get(*number).copied().flatten();
            next.is_some_and(|next| next <= began.mono_ms)
        };
        let due: Vec<usize> = (0..self.services.len()).filter(is_due).collect();
        let mut seen = self.ask(&due);
        let observed: Vec<Observation> = (0..self.services.len())
            .map(|number| Observation {
                seen: seen.remove(&number),
                marker: self.marker(number),
                command: self.command(number),
            })
            .collect();
        let before = self.states.clone();
        // The time of the answers: they took their own.
        let now = now();
        let acts = machine::pass(&self.rules, &mut self.states, &observed, self.order, now);
        let acts: Vec<Act> = acts
            .into_iter()
            .filter(|act| !self.is_stopped(*act, now))
            .collect();
        self.tell(&due, &before);
        self.alert(&before, &observed);
        let kept = self.states == before || self.keep_or_say();
        for act in acts {
            self.act(act, kept);
        }
        self.plan(&due, now);
        self.rest()
    }

    fn ask(&mut self, due: &[usize]) -> BTreeMap<usize, Seen> {
        let asked: Vec<usize> = due
            .iter()
            .copied()
            .filter(|&number| self.marker(number) == Marker::Absent)
            .collect();
        let questions: Vec<Question> = asked
            .iter()
            .filter_map(|&number| self.services.get(number))
            .map(|service| service.question.clone())
            .collect();
        let replies = children::ask(&questions);
        let mut seen = BTreeMap::new();
        for (&number, reply) in asked.iter().zip(replies) {
            seen.insert(number, reply.seen);
            if let Some(unasked) = self.unasked.get_mut(number) {
                *unasked = if reply.seen == Seen::CouldNotAsk {
                    *unasked + 1
                } else {
                    0
                };
            }
            if let Some(last) = self.last.get_mut(number) {
                *last = Some(reply);
            }
        }
        seen
    }

    fn marker(&self, number: usize) -> Marker {
        let service = self.services.get(number);
        service.map_or(Marker::Unreadable, |service| {
            markers::look(self.markers, &service.name)
        })
    }

    /// Whether its command runs. How it ended decides nothing, and is said.
    fn command(&mut self, number: usize) -> Command {
        let Some(restart) = self.running.get_mut(&number) else {
            return Command::Ended;
        };
        if restart.runs() {
            return Command::Running;
        }
        let trouble = restart.trouble();
        self.running.remove(&number);
        if let (Some(trouble), Some(service)) = (trouble, self.services.get(number)) {
            voice::say(Level::Warning, &format!("{}: {trouble}", service.name));
        }
        Command::Ended
    }

    /// Whether somebody has stopped the service since it was looked at.
    fn is_stopped(&mut self, act: Act, now: Now) -> bool {
        let Act::Restart(number) = act else {
            return false;
        };
        let marker = self.marker(number);
        let Some(state) = self.states.get_mut(number) else {
            return true;
        };
        if marker == Marker::Absent {
            return false;
        }
        state.withdraw(marker, now);
        true
    }

    fn tell(&self, due: &[usize], before: &[State]) {
        for (number, service) in self.services.iter().enumerate() {
            let (Some(before), Some(after)) = (before.get(number), self.states.get(number)) else {
                continue;
            };
            let reply = self.last.get(number).and_then(Option::as_ref);
            let reason = reply.map_or("", |reply| reply.text.as_str());
            let name = &service.name;
            let is_new = due.contains(&number);
            match reply.map(|reply| reply.seen) {
                Some(Seen::Pass) if is_new && after.works() => {
                    voice::say(Level::Info, &format!("Health check passed for {name}"));
                }
                Some(Seen::CouldNotAsk) if is_new => {
                    voice::say(
                        Level::Warning,
                        &format!("{name} could not be asked, which proves nothing: {reason}"),
                    );
                }
                Some(Seen::NotNow) if is_new => {
                    voice::say(
                        Level::Info,
                        &format!("{name} is not ready, and says so: {reason}"),
                    );
                }
                Some(Seen::Pass | Seen::CouldNotAsk | Seen::NotNow | Seen::Bad(_)) | None => {}
            }
            if let Some((level, text)) = voice::change(name, before, after, reason) {
                voice::say(level, &text);
                let log = service.log.as_ref().filter(|_| level == Level::Error);
                if let Some(log) = log {
                    voice::say(level, &format!("View logs: tail -50 {log}"));
                }
            }
        }
    }

    /// People are told of what they should know.
    fn alert(&self, before: &[State], observed: &[Observation]) {
        if !self.alerts.is_on() {
            return;
        }
        let sighting = |(number, service): (usize, &Service)| {
            let reply = self.last.get(number).and_then(Option::as_ref);
            Some(Sighting {
                service: service.name.clone(),
                before: before.get(number)?.clone(),
                after: self.states.get(number)?.clone(),
                seen: observed.get(number)?.seen,
                reason: one_line(reply.map_or("", |reply| &reply.text), MAX_REASON_CHARS),
                attempts: self.rules.get(number)?.attempts,
            })
        };
        let all = self.services.iter().enumerate();
        self.alerts.tell(all.filter_map(sighting).collect());
    }

    fn keep(&self) -> Result<(), String> {
        let names = self.services.iter().map(|service| service.name.as_str());
        self.memory.keep(names.zip(&self.states))
    }

    fn keep_or_say(&self) -> bool {
        match self.keep() {
            Ok(()) => true,
            Err(why) => {
                voice::say(
                    Level::Error,
                    &format!("nothing is restarted, since it could not be remembered: {why}"),
                );
                false
            }
        }
    }

    fn act(&mut self, act: Act, kept: bool) {
        match act {
            Act::Restart(number) if kept => {
                let Some(service) = self.services.get(number) else {
                    return;
                };
                let Some(command) = &service.restart else {
                    return;
                };
                match Restart::start(command, &self.memory.output_of(&service.name)) {
                    Ok(restart) => {
                        self.running.insert(number, restart);
                    }
                    Err(why) => {
                        voice::say(
                            Level::Error,
                            &format!(
                                "{}: its restart command can't be started: {why}",
                                service.name
                            ),
                        );
                    }
                }
            }
            Act::Restart(_) => {}
            Act::EndCommand(number) => {
                if let Some(restart) = self.running.remove(&number) {
                    restart.end();
                }
            }
        }
    }

    /// When each is asked next, if this pass can learn more of it.
    fn plan(&mut self, due: &[usize], now: Now) {
        for number in 0..self.services.len() {
            let next = self.next_of(number, due.contains(&number), now);
            if let Some(slot) = self.next_ms.get_mut(number) {
                *slot = next;
            }
        }
    }

    fn next_of(&self, number: usize, was_asked: bool, now: Now) -> Option<u64> {
        let state = self.states.get(number)?;
        let rules = self.rules.get(number)?;
        let planned = self.next_ms.get(number).copied().flatten();
        if self
            .unasked
            .get(number)
            .is_some_and(|&unasked| unasked >= UNASKED)
        {
            return None;
        }
        let again = match planned {
            Some(planned) if !was_asked => planned,
            Some(_) | None => now.mono_ms + ASK_AGAIN_MS,
        };
        match state.phase {
            Phase::Suspect => match state.cause {
                // What hangs, hangs in the next pass, too.
                Some(Cause::Hung) | None => None,
                Some(Cause::SaysNo | Cause::Gone) => Some(again),
            },
            Phase::Restarting => Some(again),
            // Before that its answers would change nothing.
            Phase::Verifying if state.in_phase_ms < rules.delay_ms => {
                let began = state.heard_ms.unwrap_or(now.mono_ms);
                Some(began + (rules.delay_ms - state.in_phase_ms))
            }
            Phase::Verifying => Some(again),
            Phase::Waiting(Wait::Turn) => {
                let is_busy = self
                    .states
                    .iter()
                    .any(|state| state.phase == Phase::Restarting);
                if is_busy {
                    Some(again)
                } else {
                    Some(now.mono_ms)
                }
            }
            Phase::Waiting(Wait::Needs) => {
                let needs = rules.needs.iter().filter_map(|&need| self.states.get(need));
                let work = needs.clone().all(State::works);
                work.then_some(now.mono_ms)
            }
            // It has just come back to its beginning.
            Phase::Starting if was_asked => {
                let is_bad = matches!(self.last.get(number)?.as_ref()?.seen, Seen::Bad(_));
                is_bad.then_some(again)
            }
            Phase::Starting
            | Phase::Healthy
            | Phase::Probation
            | Phase::Held(_)
            | Phase::Backoff
            | Phase::Failed
            | Phase::Paused => None,
        }
    }

    /// Pauses until something is due, or a command has ended. Returns whether anything is to come.
    fn rest(&mut self) -> bool {
        let Some(next) = self.next_ms.iter().flatten().min().copied() else {
            return false;
        };
        loop {
            let restarting: Vec<usize> = (0..self.states.len())
                .filter(|&number| {
                    self.states
                        .get(number)
                        .is_some_and(|state| state.phase == Phase::Restarting)
                })
                .collect();
            if restarting
                .iter()
                .any(|&number| self.command(number) == Command::Ended)
            {
                return true;
            }
            let left = next.saturating_sub(clock::mono_ms());
            if left == 0 {
                return true;
            }
            let pause = Duration::from_millis(left);
            std::thread::sleep(if restarting.is_empty() {
                pause
            } else {
                pause.min(LOOK)
            });
        }
    }
}
