//! Restart commands: when they begin, whether they run, and whose ends are news.

use ready_probe_sdk::clock;

use super::Keeper;
use super::asked::Slot;
use crate::children::{Restart, Started, bound_output};
use crate::commands::{End, unended};
use crate::machine::{Act, Command, Due, Hold, Marker, Now, Phase, State};
use crate::memory::output_of;
use crate::process_one;
use crate::services::Service;
use crate::voice::{self, Ending, Level};

/// A command that takes longer is ended after a minute, unless its service works: it must be known by then.
const SCRIPT_MS: u64 = 30_000;

impl Keeper {
    /// Does what was decided. What is `due` is so also after a restart that could not begin, if a person wants it.
    /// Returns what has become of the container.
    pub(super) fn act(&mut self, acts: &[Act], due: &[Option<Due>], now: Now) -> Option<Ending> {
        let mut ending = None;
        for &act in acts {
            match act {
                Act::Restart(number) => {
                    let is_ordered = due.get(number) == Some(&Some(Due::Ordered));
                    self.restart(number, is_ordered, now);
                }
                Act::EndCommand(number) => self.end_command(number),
                Act::EndContainer(number) => ending = Some(self.end_container(number)),
            }
        }
        ending
    }

    /// Restarts a service. Its command begins when its process is remembered, so that there is never a second beside it.
    fn restart(&mut self, number: usize, is_ordered: bool, now: Now) {
        let Some(service) = self.services.get(number) else {
            return;
        };
        let name = service.name.clone();
        if let Err(why) = self.prepare(number) {
            voice::say(
                Level::Error,
                &format!("{name}: its restart command is not run: {why}"),
            );
            self.take_back(number, |state| {
                state.hold_back(Hold::NotRun, now);
                if is_ordered {
                    state.ask_for_restart();
                }
            });
            return;
        }
        // The last moment.
        match self.marker(number) {
            Marker::Absent => self.commands.go(&name),
            marker @ (Marker::Present | Marker::Unreadable) => {
                self.take_back(number, |state| state.withdraw(marker, now));
            }
        }
    }

    /// All that can go wrong before it begins.
    fn prepare(&mut self, number: usize) -> Result<(), String> {
        let service = self.services.get(number);
        let Some((service, command)) = service.and_then(|s| Some((s, s.restart.as_ref()?))) else {
            return Err("there is none".to_owned());
        };
        if let Some(why) = &self.unkept {
            return Err(format!("it could not be remembered: {why}"));
        }
        let name = service.name.clone();
        // One that an earlier restart has left.
        if let End::Lives(process) = self.commands.end(&name) {
            return Err(format!(
                "process {process} of an earlier one does not end, even after KILL: nothing is started beside it"
            ));
        }
        let life = self.slots.get(number).and_then(Slot::last);
        let life = life.and_then(|reply| reply.life.clone());
        let restart = Restart::prepare(command, life, &output_of(self.memory.dir(), &name))?;
        self.commands.begin(&name, restart);
        if let Some(account) = self.accounts.get_mut(number) {
            account.restarts += 1;
        }
        let kept = self.keep();
        if kept.is_err() {
            self.count_back(number);
            self.commands.end(&name);
        }
        kept.map_err(|why| format!("it could not be remembered: {why}"))
    }

    /// Takes back a restart that was decided, and not begun.
    fn take_back(&mut self, number: usize, take: impl FnOnce(&mut State)) {
        let service = self.services.get(number);
        let ended = service.map(|service| self.commands.end(&service.name));
        if ended == Some(End::Ended) {
            self.count_back(number);
        }
        if let Some(state) = self.states.get_mut(number) {
            take(state);
        }
        self.keep_or_say();
    }

    fn count_back(&mut self, number: usize) {
        if let Some(account) = self.accounts.get_mut(number) {
            account.restarts = account.restarts.saturating_sub(1);
        }
    }

    /// Cuts what these services have written.
    pub(super) fn bound_outputs<'a>(&self, numbers: impl Iterator<Item = &'a usize>) {
        for service in numbers.filter_map(|number| self.services.get(*number)) {
            // The next restart says so, if it can't be written.
            let _ = bound_output(&output_of(self.memory.dir(), &service.name));
        }
    }

    /// Ends the container, if that is remembered: it is done three times a day at most. One that can't be ended is tried
    /// again, at the next answer.
    fn end_container(&mut self, number: usize) -> Ending {
        let name = self
            .services
            .get(number)
            .map_or("", |service| &service.name);
        let can_be = match &self.unkept {
            Some(why) => Err(format!("it could not be remembered: {why}")),
            None => process_one::can_be_ended(),
        };
        let ended = can_be.and_then(|()| {
            voice::say(Level::Error, &format!("{name}: process 1 is asked to end"));
            process_one::end()
        });
        let Err(why) = ended else {
            return Ending::Done;
        };
        voice::say(
            Level::Error,
            &format!("{name}: the container is not ended: {why}"),
        );
        if let Some(state) = self.states.get_mut(number) {
            state.exits.pop();
            state.given_up = false;
        }
        self.keep_or_say();
        Ending::Failed
    }

    /// Ends a command that takes too long.
    fn end_command(&mut self, number: usize) {
        if let Some(service) = self.services.get(number)
            && let End::Lives(process) = self.commands.end(&service.name)
        {
            voice::say(Level::Error, &unended(&service.name, process));
        }
    }

    /// The session of a restart command that has not run for long: what has the service's name in it may be a script that
    /// starts it. One that stays is the service.
    pub(super) fn restart_script(&self, service: &Service, state: &State) -> Option<u32> {
        let began_ms = state.restarted_ms?;
        let is_short = clock::mono_ms().saturating_sub(began_ms) < SCRIPT_MS;
        let session = self.commands.session(&service.name);
        session.filter(|_| is_short && state.phase == Phase::Restarting)
    }

    /// Whether one is being restarted.
    pub fn restarts(&self) -> bool {
        self.states
            .iter()
            .any(|state| state.phase == Phase::Restarting)
    }

    /// The processes whose ends are news.
    pub fn processes(&self) -> Vec<(u32, u64)> {
        let seen = self.slots.iter().filter_map(Slot::process);
        let commands = self.commands.processes();
        seen.chain(commands.map(|(_, started)| (started.pid, started.start)))
            .collect()
    }

    /// Looks which of these processes have ended: their services are asked at once.
    pub fn look_for_ended(&mut self) {
        for slot in &mut self.slots {
            let has_ended = |(pid, start)| !(Started { pid, start }).lives();
            if slot.process().is_some_and(has_ended) {
                slot.lose_process();
            }
        }
        let ended = self.commands.processes();
        let ended = ended.filter(|(_, started)| !started.lives());
        let services: Vec<&str> = ended.map(|(service, _)| service).collect();
        for (service, slot) in self.services.iter().zip(&mut self.slots) {
            if services.contains(&service.name.as_str()) {
                slot.hurry();
            }
        }
    }

    /// Whether its restart command runs. How it ended decides nothing, and is said.
    pub(super) fn command(&mut self, number: usize) -> Command {
        let Some(service) = self.services.get(number) else {
            return Command::Ended;
        };
        let (runs, trouble) = self.commands.look(&service.name);
        if let Some(trouble) = trouble {
            voice::say(Level::Warning, &format!("{}: {trouble}", service.name));
        }
        if runs {
            Command::Running
        } else {
            Command::Ended
        }
    }

    /// Whether the command of a service that is being restarted has ended since the last round.
    pub fn restart_has_ended(&mut self) -> bool {
        let restarting = |number: &usize| {
            let state = self.states.get(*number);
            state.is_some_and(|state| state.phase == Phase::Restarting)
        };
        let numbers: Vec<usize> = (0..self.states.len()).filter(restarting).collect();
        let has_ended = |&number: &usize| self.command(number) == Command::Ended;
        numbers.iter().any(has_ended)
    }
}
