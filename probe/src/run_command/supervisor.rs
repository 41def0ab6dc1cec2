//! A program while it runs: what happens to it, what that makes of its signal, and its end.

use std::collections::BTreeSet;
use std::io::Write;

use ready_probe::child::pid_of;
use ready_probe_sdk::clock;
use ready_probe_sdk::host::Process;
use rustix::io::Errno;
use rustix::process::{Signal, getpgid, getpgrp, kill_process};
use signal_hook::consts::{
    SIGALRM, SIGCHLD, SIGHUP, SIGINT, SIGIO, SIGQUIT, SIGTERM, SIGURG, SIGUSR1, SIGUSR2, SIGVTALRM,
    SIGWINCH,
};

use super::children::Children;
use super::end::{End, signal_name};
use super::notify::{self, Said};
use super::outer::Outer;
use super::output::Outputs;
use super::publisher::{Owner, Publisher};
use super::readiness::{Event, Readiness, Word};
use super::socket::{Message, Socket};
use super::speakers::{self, From, Refused};
use ready_probe::signals::Caught;

/// What is passed on, and what tells of children. Not those that stop and continue a job, which the shell
/// sends to all of it.
pub const CAUGHT: [i32; 13] = [
    SIGHUP,
    SIGINT,
    SIGQUIT,
    SIGTERM,
    SIGUSR1,
    SIGUSR2,
    SIGWINCH,
    SIGALRM,
    SIGVTALRM,
    SIGIO,
    Signal::POWER.as_raw(),
    SIGURG,
    SIGCHLD,
];
/// How often is looked at what nobody tells: whether the program publishes itself, and whether its main
/// process lives.
const LOOK_EVERY_MS: u64 = 1_000;
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
    pub children: Children,
    /// Its output, where that is passed on.
    pub outputs: Option<Outputs>,
    /// Somebody has sent a signal that ends a program, as a rule.
    asked_to_end: bool,
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
        (children, outputs): (Children, Option<Outputs>),
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
            asked_to_end: false,
            beat_at_ms: 0,
            look_at_ms: 0,
            voice,
        }
    }

    /// Waits until there may be a message of the program's.
    pub async fn heard(&self) {
        if !self.has_more {
            self.socket.readable().await;
        }
    }

    /// Takes what has happened.
    pub fn take(&mut self, event: Event) {
        self.readiness.take(event, clock::mono_ms());
    }

    /// Whether `--when` does not pass any longer.
    pub fn is_when_failing(&self) -> bool {
        self.readiness.is_when_failing()
    }

    /// Passes a signal on to the program's main process.
    pub fn pass_on(&mut self, caught: Caught) {
        let Caught { number, by_kernel } = caught;
        if number == SIGCHLD {
            return;
        }
        let owner = self.publisher.owner();
        let Some(pid) = pid_of(owner.pid).filter(|_| owner.lives()) else {
            return;
        };
        self.asked_to_end |= matches!(number, SIGTERM | SIGINT | SIGQUIT | SIGHUP);
        if number == SIGTERM {
            self.take(Event::Terminated);
            self.publish();
        }
        if let (SIGWINCH, Some(outputs)) = (number, &self.outputs)
            && let Some(terminal) = &outputs.terminal
        {
            terminal.follow_size();
        } else if by_kernel && getpgid(Some(pid)) == Ok(getpgrp()) {
            // The terminal has sent it to the whole group.
            return;
        }
        let Some(signal) = Signal::from_named_raw(number) else {
            return;
        };
        let name = signal_name(number);
        match kill_process(pid, signal) {
            // It has just ended.
            Ok(()) | Err(Errno::SRCH) => {}
            Err(Errno::PERM) => self.voice.say_once(&format!(
                "{name} can't be passed on to process {}, which runs as another user: run this \
                 command as root, or the program as this user",
                owner.pid
            )),
            Err(e) => {
                let e = std::io::Error::from(e);
                self.voice.say_once(&format!(
                    "{name} can't be passed on to process {}: {e}",
                    owner.pid
                ));
            }
        }
    }

    /// Takes what the program has said, in the order in which it came, and publishes the sum. A barrier is
    /// answered after that.
    pub fn listen(&mut self) {
        let mut barriers = Vec::new();
        self.has_more = true;
        for _ in 0..MAX_MESSAGES {
            match self.socket.next() {
                Ok(Some(message)) => {
                    self.hear(&message);
                    barriers.push(message.descriptors);
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
        drop(barriers);
    }

    fn hear(&mut self, message: &Message) {
        let Some(sender) = message.sender else {
            return;
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
        match speakers::may_speak(self.from, sender, relation, &users) {
            Ok(()) => {}
            Err(Refused::NotMain) => {
                return self.voice.say_once(&format!(
                    "process {} is not the main process, and what it says by sd_notify does not \
                     count: --notify-from all has every process beneath this one speak",
                    sender.pid
                ));
            }
            Err(Refused::OtherNamespace) => {
                return self.voice.say_once(
                    "a process of another PID namespace has sent a message, which does not count",
                );
            }
            Err(Refused::Stranger) => {
                return self.voice.say_once(&format!(
                    "process {} has sent a message, which does not count: this command has not \
                     started it",
                    sender.pid
                ));
            }
        }
        let Some(bytes) = &message.bytes else {
            return self
                .voice
                .say_once("a message of more than 4096 bytes does not count");
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
        self.voice.complain(said);
        self.word = Some(word);
        self.beat_at_ms = clock::mono_ms() + self.publisher.beat_ms();
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
        self.publish();
        if now_ms >= self.beat_at_ms {
            let beaten = self.publisher.beat();
            self.voice.complain(beaten);
            self.beat_at_ms = now_ms + self.publisher.beat_ms();
        }
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
        let asked_for = self.asked_to_end;
        let concluded = if end.is_crash(asked_for) {
            self.publisher.leave(end.to_string())
        } else {
            self.publisher.remove()
        };
        self.voice.complain(concluded);
        self.publisher.end()
    }

    /// Whether somebody has sent a signal that ends a program, as a rule.
    pub fn was_asked_to_end(&self) -> bool {
        self.asked_to_end
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

/// What this command itself says, on stderr.
#[derive(Debug)]
pub struct Voice {
    name: String,
    quiet: bool,
    said: BTreeSet<String>,
}

impl Voice {
    /// A voice that speaks of this agent.
    pub fn new(name: &str, quiet: bool) -> Self {
        Self {
            name: name.to_owned(),
            quiet,
            said: BTreeSet::new(),
        }
    }

    /// Says it, unless it was said before. Numbers make no difference.
    pub fn say_once(&mut self, what: &str) {
        /// As many different things as one program can do wrong.
        const MAX_SAID: usize = 64;
        let timeless: String = what.chars().filter(|c| !c.is_ascii_digit()).collect();
        if self.quiet || self.said.len() >= MAX_SAID || !self.said.insert(timeless) {
            return;
        }
        // Nobody is left to be told when stderr is closed.
        let _ = writeln!(std::io::stderr(), "ready-probe: {}: {what}", self.name);
    }

    fn complain(&mut self, done: Result<(), String>) {
        if let Err(why) = done {
            self.say_once(&why);
        }
    }
}
