//! This program's own children: itself again, in another role. One asks questions, so that what hangs can be left behind;
//! one becomes a restart command, in a session of its own, once it is told that its process is remembered; one sends alerts.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use ready_probe_sdk::clock;
use ready_probe_sdk::host::{self, Process};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, getpgid, kill_process_group, test_kill_process_group};
use serde::{Deserialize, Serialize};

use crate::asking::patience;
use crate::container::Life;
use crate::engine;
use crate::question::{OURS, Question, Reply};
use crate::recovery::{Contained, Recovery, Script, Shell};
use crate::shell;
use crate::stop;

/// The argument by which a child knows its role, and the roles.
pub const ROLE: &str = "--role";
/// It answers questions.
pub const ASK: &str = "ask";
/// It becomes a restart command.
pub const START: &str = "start";
/// It sends alerts.
pub const SEND: &str = "send";
/// It asks an engine which containers there are.
pub const LIST: &str = "list";

/// The text of a restart command. In the environment, since `pkill -f NAME` in it would find a shell that has NAME among
/// its arguments.
const COMMAND: &str = "READY_KEEPER_COMMAND";
/// What a restart command is told before it begins.
const GO: &[u8; 1] = b"!";
/// The variable has a name that nobody exports, and a text that begins with `-` is no option.
const EVAL: &str =
    "ready_keeper=$READY_KEEPER_COMMAND; unset READY_KEEPER_COMMAND; eval \" $ready_keeper\"";
/// Which shell reads it, and what is ended before that.
const RECOVERY: &str = "READY_KEEPER_RECOVERY";
/// Between this program and whoever started it.
const NOT_FOR_SERVICES: [&str; 6] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
];
/// How long the end of what was killed, or has answered, is waited for, and how often it is looked at.
const REAP: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(2);
/// All processes of this machine are looked at.
const LOOK_AT_GROUP: Duration = Duration::from_millis(50);
/// A larger output of restart commands is cut.
const MAX_OUTPUT_BYTES: u64 = 1024 * 1024;
/// To its last lines.
const KEPT_OUTPUT_BYTES: u64 = 64 * 1024;

fn myself(role: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("ready-keeper").args([ROLE, role]);
    let ours = std::env::vars_os().map(|(name, _)| name);
    for name in ours.filter(|name| name.to_string_lossy().starts_with(OURS)) {
        command.env_remove(name);
    }
    command
}

/// Asks questions in a child, which is ended when it takes too long. The replies are in the order of the questions.
pub fn ask(questions: &[Question]) -> Vec<Reply> {
    if questions.is_empty() {
        return Vec::new();
    }
    let replies = try_ask(questions).and_then(|replies| match replies.len() == questions.len() {
        true => Ok(replies),
        false => Err(format!(
            "{} replies came to {} questions",
            replies.len(),
            questions.len()
        )),
    });
    replies.unwrap_or_else(|why| unasked(questions, &why))
}

/// What is known when nobody could ask.
pub fn unasked(questions: &[Question], why: &str) -> Vec<Reply> {
    vec![Reply::unasked(why); questions.len()]
}

fn try_ask(questions: &[Question]) -> Result<Vec<Reply>, String> {
    let text = serde_json::to_vec(questions).map_err(|e| e.to_string())?;
    let text = talk(ASK, text, patience(questions))?;
    serde_json::from_slice(&text).map_err(|e| format!("its child said something else: {e}"))
}

/// Gives a child something to do, and returns what it says. One that takes longer than `limit` is ended.
pub fn talk(role: &str, text: Vec<u8>, limit: Duration) -> Result<Vec<u8>, String> {
    let mut child = myself(role)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("no process can be had: {e}"))?;
    let said = exchange(&mut child, text, limit);
    if said.is_err() {
        end_group(child.id());
    }
    reap(child);
    said
}

fn exchange(child: &mut Child, text: Vec<u8>, limit: Duration) -> Result<Vec<u8>, String> {
    let (Some(mut input), Some(mut output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err("its child has no pipes".to_owned());
    };
    let (sender, replies) = channel();
    std::thread::Builder::new()
        .spawn(move || {
            let said = input.write_all(&text).and_then(|()| {
                drop(input);
                let mut said = Vec::new();
                output.read_to_end(&mut said).map(|_| said)
            });
            // Nobody listens when time is up.
            let _ = sender.send(said);
        })
        .map_err(|e| format!("no thread can be had: {e}"))?;
    match replies.recv_timeout(limit) {
        Ok(said) => said.map_err(|e| format!("its child: {e}")),
        Err(RecvTimeoutError::Timeout) => Err(format!("no answer within {} s", limit.as_secs())),
        Err(RecvTimeoutError::Disconnected) => Err("its child ended".to_owned()),
    }
}

/// A process, by its number and its start: numbers are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Its number, and that of its group.
    pub pid: u32,
    /// Field 22 of `/proc/PID/stat`.
    pub start: u64,
}

impl Started {
    /// Whether it runs.
    pub fn lives(self) -> bool {
        Process::lives(self.pid, self.start)
    }

    /// Ends it, with all that it has started and that has not left its group.
    pub fn end(self) {
        if self.lives() {
            end_group(self.pid);
        }
    }

    /// What still lives of its group, within the time that the kernel takes to end what was killed.
    pub fn left(self) -> Option<u32> {
        let by = clock::instant() + REAP;
        loop {
            let left = self.living();
            if left.is_none() || clock::instant() >= by {
                return left;
            }
            std::thread::sleep(LOOK_AT_GROUP);
        }
    }

    /// One that lives of its group. As long as there is one, the kernel gives its number to nobody else.
    pub fn living(self) -> Option<u32> {
        let group = i32::try_from(self.pid).ok().and_then(Pid::from_raw)?;
        let sent = test_kill_process_group(group);
        if sent == Err(Errno::SRCH) {
            return None;
        }
        if let Some(first) = host::stat_of(self.pid)
            && first.start != self.start
        {
            return None;
        }
        let is_member = |pid: &u32| {
            let pid = i32::try_from(*pid).ok().and_then(Pid::from_raw);
            pid.is_some_and(|pid| getpgid(Some(pid)) == Ok(group))
        };
        let all = host::pids().unwrap_or_default();
        let members: Vec<u32> = all.into_iter().filter(is_member).collect();
        let lives = |pid: &u32| host::stat_of(*pid).is_some_and(|stat| !stat.has_ended());
        match members.iter().copied().find(lives) {
            // Other users' processes may be hidden, see hidepid in proc(5).
            None if members.is_empty() && sent == Err(Errno::PERM) => Some(self.pid),
            found => found,
        }
    }
}

/// A restart command on its way.
#[derive(Debug)]
pub struct Restart {
    child: Child,
    output: PathBuf,
    /// It asks an engine, and says in one line what came of it.
    asks_engine: bool,
}

impl Restart {
    /// Starts a process that becomes the command when it is told to [`go`](Self::go), and never if this process ends
    /// before that. Its output goes into a file: a service that it leaves behind would hold a pipe open.
    /// Of a container it is the `life` that was decided on, and no other.
    pub fn prepare(recovery: &Recovery, life: Option<Life>, output: &Path) -> Result<Self, String> {
        let file = open(output).map_err(|e| format!("{}: {e}", output.display()))?;
        let too = file
            .try_clone()
            .map_err(|e| format!("{}: {e}", output.display()))?;
        let mut recovery = recovery.clone();
        let (command, asks_engine) = match &mut recovery {
            Recovery::Command(script) => (std::mem::take(&mut script.command), false),
            Recovery::Container(_) => (String::new(), true),
        };
        let rest = serde_json::to_string(&(recovery, life)).map_err(|e| e.to_string())?;
        let mut child = myself(START);
        for name in NOT_FOR_SERVICES {
            child.env_remove(name);
        }
        let child = child
            .env(COMMAND, command)
            .env(RECOVERY, rest)
            .stdin(Stdio::piped())
            .stdout(file)
            .stderr(too)
            .spawn()
            .map_err(|e| format!("no process can be had: {e}"))?;
        Ok(Self {
            child,
            output: output.to_owned(),
            asks_engine,
        })
    }

    /// Its process, if it can be known again.
    pub fn started(&self) -> Option<Started> {
        let pid = self.child.id();
        let start = Process::of(pid).start()?;
        Some(Started { pid, start })
    }

    /// Lets it become the command.
    pub fn go(&mut self) {
        if let Some(mut input) = self.child.stdin.take() {
            // Where it has ended, its status says so.
            let _ = input.write_all(GO);
        }
    }

    /// Whether it still runs. One whose end can't be told has ended.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// How it ended, for people, if it did not end well.
    pub fn trouble(&mut self) -> Option<String> {
        match self.child.try_wait() {
            Ok(Some(status)) if !status.success() && self.asks_engine => {
                let why = last_line(&self.output);
                Some(format!("the engine has not restarted it: {why}"))
            }
            Ok(Some(status)) if !status.success() => Some(format!(
                "the command ended with {status}; what it said is in {}",
                self.output.display()
            )),
            Ok(_) => None,
            Err(e) => Some(format!("the command's end can't be told: {e}")),
        }
    }

    /// Ends it, with all that it has started and that has not left its group.
    pub fn end(mut self) {
        if self.child.stdin.take().is_some() {
            // It was never told to go, and ends by itself; it may not have its own group yet.
            let _ = self.child.kill();
        }
        end_group(self.child.id());
        reap(self.child);
    }
}

/// Waits for one that was killed. One that another user runs, or that a file system holds, is left to a thread of its own,
/// so that it keeps nobody waiting and is no zombie later.
fn reap(mut child: Child) {
    let by = clock::instant() + REAP;
    while clock::instant() < by {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(LOOK);
    }
    // Without a thread it waits for the end of this process.
    let _ = std::thread::Builder::new().spawn(move || child.wait());
}

/// What this program has said last there.
fn last_line(output: &Path) -> String {
    let said = fs::read_to_string(output).unwrap_or_default();
    let last = said.lines().last().unwrap_or("nothing is known of it");
    last.trim_start_matches("ready-keeper: ").to_owned()
}

fn open(path: &Path) -> io::Result<File> {
    bound_output(path)?;
    OpenOptions::new()
        .create(true)
        .mode(0o600)
        .append(true)
        .open(path)
}

/// Cuts an output that has become too large to its end. Whoever still writes to it goes on there.
pub fn bound_output(path: &Path) -> io::Result<()> {
    let size = fs::metadata(path).map_or(0, |meta| meta.len());
    if size <= MAX_OUTPUT_BYTES {
        return Ok(());
    }
    let mut file = OpenOptions::new().read(true).append(true).open(path)?;
    let mut last = Vec::new();
    file.seek(SeekFrom::Start(size.saturating_sub(KEPT_OUTPUT_BYTES)))?;
    (&file).take(KEPT_OUTPUT_BYTES).read_to_end(&mut last)?;
    let whole_lines = last
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    file.set_len(0)?;
    file.write_all(last.get(whole_lines..).unwrap_or_default())
}

fn end_group(pid: u32) {
    if let Some(group) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It is gone already.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// In the child: becomes the command, in a session of its own, once it is told to; or restarts the container. The error is
/// why it did not.
pub fn carry_out() -> Result<(), String> {
    rustix::process::setsid().map_err(|e| format!("no session of its own: {e}"))?;
    let mut word = [0; GO.len()];
    if io::stdin().read_exact(&mut word).is_err() || word != *GO {
        return Err("it was not run: whoever wanted it has ended".to_owned());
    }
    let recovery = std::env::var(RECOVERY).unwrap_or_default();
    let recovery: (Recovery, Option<Life>) =
        serde_json::from_str(&recovery).map_err(|e| format!("{RECOVERY}: {e}"))?;
    match recovery {
        (Recovery::Command(script), _) => Err(become_command(&script)),
        (Recovery::Container(container), life) => restart_container(&container, life.as_ref()),
    }
}

fn restart_container(container: &Contained, life: Option<&Life>) -> Result<(), String> {
    let done = engine::restart(container, life)?;
    // Nobody may read it, or its disk may be full: it is done all the same.
    let _ = writeln!(io::stdout(), "ready-keeper: {done}");
    Ok(())
}

/// Returns why it did not.
fn become_command(script: &Script) -> String {
    let input = match File::open("/dev/null") {
        Ok(nothing) => Stdio::from(nothing),
        Err(e) => return format!("/dev/null: {e}"),
    };
    if let Some(Err(why)) = script.stop.as_ref().map(stop::run) {
        return why;
    }
    let shell = match script.shell {
        Shell::Sh => "/bin/sh".to_owned(),
        Shell::Bash => shell::find(),
    };
    let error = Command::new(&shell)
        .args(["-c", EVAL])
        .env_remove(RECOVERY)
        .stdin(input)
        .exec();
    format!("{shell} can't be run: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_that_grew_too_large_keeps_its_last_lines_and_its_writer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.out");
        let mut writer = open(&path).unwrap();
        let line = format!("{}\n", "x".repeat(99));
        for _ in 0..=MAX_OUTPUT_BYTES / 100 {
            writer.write_all(line.as_bytes()).unwrap();
        }
        bound_output(&path).unwrap();
        writer.write_all(b"last\n").unwrap();
        let kept = fs::read_to_string(&path).unwrap();
        assert!(kept.len() as u64 <= KEPT_OUTPUT_BYTES + 5, "{}", kept.len());
        assert!(kept.starts_with(&line) && kept.ends_with(&format!("{line}last\n")));
        bound_output(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), kept);
    }
}
