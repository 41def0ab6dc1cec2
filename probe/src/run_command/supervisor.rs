//! A program while it runs: what happens to it, what that makes of its signal, and its end.

pub mod forward_signals;

use ready_probe_sdk::clock;
use ready_probe_sdk::host::{self, Process};

use super::children::ProcessesBeneath;
use super::end::{Asked, End};
use super::notify::{self, Said};
use super::outer::Outer;
use super::output::Outputs;
use super::publisher::{Owner, Publisher};
use super::readiness::{Event, Readiness, Word};
use super::socket::{Datagram, Socket};
use super::speakers::{self, From};
use super::voice::Voice;

/// How often is looked at what nobody tells: whether the program publishes itself, and whether its main
/// process lives.
const LOOK_EVERY_MS: u64 = 1_000;
/// When a signal is written again that could not be written.
const RETRY_MS: u64 = 1_000;
/// How many messages are taken before their sum is published.
const MAX_MESSAGES: usize = 256;

/// A program, and what is known of it.
#[derive(Debug)]
pub struct Supervisor {
    /// The command's process, until it has ended.
    command: Option<u32>,
    /// How that ended.
    command_end: Option<End>,
    from: From,
    readiness: Readiness,
    /// What was said last.
    word: Option<Word>,
    publisher: Publisher,
    socket: Socket,
    /// There may be messages that were not taken yet.
    has_more: bool,
    outer: Option<Outer>,
    /// The processes beneath this one.
    pub children: ProcessesBeneath,
    /// Its output, where that is passed on.
    pub outputs: Option<Outputs>,
    /// By whoever sends signals: to end.
    asked: Asked,
    beat_at_ms: u64,
    look_at_ms: u64,
    voice: Voice,
}

impl Supervisor {
    /// Of a command that has just been started.
    pub fn new(
        command: u32,
        from: From,
        readiness: Readiness,
        publisher: Publisher,
        (socket, outer): (Socket, Option<Outer>),
        (children, outputs): (ProcessesBeneath, Option<Outputs>),
        voice: Voice,
    ) -> Self {
        Self {
            command: Some(command),
            command_end: None,
            from,
            readiness,
            word: None,
            publisher,
            socket,
            has_more: false,
            outer,
            children,
            outputs,
            asked: Asked::default(),
            beat_at_ms: 0,
            look_at_ms: 0,
            voice,
        }
    }

    /// Waits until there may be a message of the program's.
    pub async fn heard(&self) {
        if self.has_more {
            // A flood leaves room for signals and for whatever else there is to do.
            tokio::task::yield_now().await;
        } else {
            self.socket.readable().await;
        }
    }

    /// Takes what has happened.
    pub fn take(&mut self, event: Event) {
        self.readiness.take(event, clock::mono_ms());
    }

    /// Whether `--when` is worth asking soon.
    pub fn is_when_failing(&self) -> bool {
        self.readiness.is_when_failing()
    }

    /// Takes what the program has said, in the order in which it came, and publishes the sum. A barrier is
    /// answered after that.
    pub fn listen(&mut self) {
        self.has_more = true;
        for _ in 0..MAX_MESSAGES {
            match self.socket.next() {
                Ok(Some(message)) => {
                    if self.hear(&message) && message.barrier.is_some() {
                        self.publish();
                    }
                    // Dropping the message answers it.
                }
                Ok(None) => {
                    self.has_more = false;
                    break;
                }
                Err(e) => self
                    .voice
                    .say_once(&format!("a message can't be read: {e}")),
            }
        }
        self.publish();
    }

    /// Says whether it counts.
    fn hear(&mut self, message: &Datagram) -> bool {
        let Some(sender) = message.sender else {
            return false;
        };
        let owner = self.publisher.owner();
        let mut main: Vec<u32> = self.command.into_iter().collect();
        if owner.lives() || self.command == Some(owner.pid) {
            main.push(owner.pid);
        }
        let relation = speakers::relation(sender.pid, &main);
        let users = [
            Some(rustix::process::geteuid().as_raw()),
            user_of(owner.pid),
        ];
        let users: Vec<u32> = users.into_iter().flatten().collect();
        if let Err(refused) = speakers::may_speak(self.from, sender, relation, &users) {
            self.voice.say_once(&refused.text(sender.pid));
            return false;
        }
        let Some(bytes) = &message.bytes else {
            self.voice
                .say_once("a message of more than 4096 bytes does not count");
            return false;
        };
        for said in notify::parse(bytes) {
            match said {
                Said::MainPid(pid) if !self.follow(pid) => continue,
                Said::MainPid(_) => {}
                Said::Alive => self.pass_on_outside("WATCHDOG=1"),
                Said::Stalled => self.pass_on_outside("WATCHDOG=trigger"),
                Said::Ready
                | Said::Reloading
                | Said::Stopping
                | Said::Status(_)
                | Said::WatchdogMs(_) => {}
            }
            self.take(Event::Said(said));
        }
        true
    }

    fn pass_on_outside(&self, line: &str) {
        if let Some(outer) = &self.outer {
            outer.pass_on(line);
        }
    }

    /// Another process is the program from now on, if it can be.
    fn follow(&mut self, pid: u32) -> bool {
        let owner = Owner::of(pid);
        if !owner.lives() || !speakers::is_beneath(pid) {
            self.voice.say_once(&format!(
                "MAINPID={pid} does not count: this command has not started such a process"
            ));
            return false;
        }
        let moved = self.publisher.move_to(owner);
        self.voice.complain(moved);
        true
    }

    /// Publishes what is to be said now, if that is news.
    pub fn publish(&mut self) {
        let word = self.readiness.word(clock::mono_ms());
        if self.word.as_ref() == Some(&word) {
            return;
        }
        tracing::debug!(state = %word.state, reason = ?word.reason);
        if let Some(outer) = &mut self.outer {
            outer.tell(&word);
        }
        let said = self.publisher.say(&word);
        self.word = Some(word);
        self.beat_after(said);
    }

    /// Says in this container what a store has made of it.
    pub fn note(&mut self, announced: Option<ready_probe_sdk::Announced>) {
        let noted = self.publisher.note(announced);
        self.voice.complain(noted);
    }

    /// When there is something to do even if nothing happens.
    pub fn due_at_ms(&self) -> u64 {
        let due_ms = self.beat_at_ms.min(self.look_at_ms);
        let changes = self.readiness.changes_at_ms();
        // One that is over is seen by the next look, or by what comes.
        let now_ms = clock::mono_ms();
        changes
            .filter(|at_ms| *at_ms > now_ms)
            .map_or(due_ms, |at_ms| due_ms.min(at_ms))
    }

    /// Does what is due.
    pub fn do_due(&mut self) {
        let now_ms = clock::mono_ms();
        if now_ms >= self.look_at_ms {
            if self.look_at_ms > 0 && now_ms - self.look_at_ms > LOOK_EVERY_MS {
                // The program, too, has not run for so long.
                self.take(Event::Paused(now_ms - self.look_at_ms));
            }
            self.look();
            self.look_at_ms = now_ms + LOOK_EVERY_MS;
        }
        if self
            .readiness
            .changes_at_ms()
            .is_some_and(|at_ms| at_ms <= now_ms)
        {
            // Perhaps it has spoken in time, and we are late.
            self.listen();
        }
        self.publish();
        if now_ms >= self.beat_at_ms {
            let beaten = self.publisher.beat();
            self.beat_after(beaten);
        }
    }

    /// What could not be written is tried again soon.
    fn beat_after(&mut self, written: Result<(), String>) {
        let pause_ms = if written.is_ok() {
            self.publisher.beat_ms()
        } else {
            self.publisher.beat_ms().min(RETRY_MS)
        };
        self.beat_at_ms = clock::mono_ms() + pause_ms;
        self.voice.complain(written);
    }

    fn look(&mut self) {
        if let Some(outer) = &mut self.outer {
            outer.tell_due();
        }
        if self.word.is_none() {
            return;
        }
        match self.publisher.give_way() {
            Ok(false) => {}
            Ok(true) => self.voice.say_once(&format!(
                "process {} publishes this agent itself: its word counts from now on",
                self.publisher.owner().pid
            )),
            Err(why) => self.voice.say_once(&why),
        }
    }

    /// Reaps what has ended, and says how the program has, if it has. `only_wanted`: others wait for
    /// children of theirs.
    pub fn ended(&mut self, only_wanted: bool) -> Option<End> {
        let owner = self.publisher.owner();
        let mut wanted: Vec<u32> = self.command.into_iter().collect();
        if self.command != Some(owner.pid) {
            wanted.push(owner.pid);
        }
        let reaped = self.children.reap(&wanted, only_wanted);
        let command_end = reaped.iter().find(|(pid, _)| Some(*pid) == self.command);
        let command_end = command_end.map(|(_, end)| *end);
        if command_end.is_some() {
            // What it has said before counts: who follows it, perhaps.
            self.listen();
            self.command_end = command_end;
        }
        let owner = self.publisher.owner();
        let end = reaped.iter().find(|(pid, _)| *pid == owner.pid);
        if command_end.is_some() {
            self.command = None;
        }
        if let Some((_, end)) = end {
            return Some(*end);
        }
        if self.command == Some(owner.pid) || owner.lives() {
            return None;
        }
        let own = std::process::id();
        if host::stat_of(owner.pid).is_some_and(|stat| {
            stat.ppid == own && owner.start.is_none_or(|start| start == stat.start)
        }) {
            // It has ended since, and it is we who reap it: with the next turn.
            return None;
        }
        // Its parent has reaped it, and knows how it ended.
        let Some(command) = self.command else {
            return self.command_end;
        };
        self.take(Event::MainEnded(owner.pid));
        let moved = self.publisher.move_to(Owner::of(command));
        self.voice.complain(moved);
        None
    }

    /// Says the last word on a program that has ended, and returns what the store is to be told by the end.
    pub fn conclude(&mut self, end: End) -> u64 {
        let concluded = if end.is_crash(self.was_asked_for(end)) {
            self.publisher.leave(end.to_string())
        } else {
            self.publisher.remove()
        };
        self.voice.complain(concluded);
        self.publisher.end()
    }

    /// Whether a signal had asked for this end.
    pub fn was_asked_for(&self, end: End) -> bool {
        self.asked.explains(end, clock::mono_ms())
    }

    /// Says something for people.
    pub fn say(&mut self, what: &str) {
        self.voice.say_once(what);
    }
}

/// The effective user of a process, if that can be seen.
fn user_of(pid: u32) -> Option<u32> {
    match Process::of(pid) {
        Process::Alive { euid, .. } => euid,
        Process::Zombie { .. } | Process::Gone | Process::Unreadable => None,
    }
}
