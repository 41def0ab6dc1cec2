//! The processes of this container, looked at once for all who ask about them.
//!
//! Two grammars: a regular expression over whole command lines, as `pgrep -f` has it, and the part of a command line of
//! the target `process:`. Neither finds this program or what it has started, who only repeats the command line of another,
//! or what has ended.

use std::cell::RefCell;
use std::collections::HashSet;

use ready_probe::check::process::{INIT_WRAPPERS, ancestors, find, judge};
use ready_probe::outcome::Outcome;
use ready_probe_sdk::clock;
use ready_probe_sdk::host::{self, Stat};
use regex_lite::Regex;
use rustix::process::{Pid, getsid};

use crate::machine::Instance;

/// Programs of ours, which have the names of services on their command lines.
const OURS: [&str; 2] = ["ready-keeper", "ready-probe"];
const SHELLS: [&str; 6] = ["sh", "bash", "dash", "ash", "busybox", "zsh"];

/// Which processes are meant.
#[derive(Debug, Clone)]
pub enum Pattern {
    /// Those whose command lines match.
    Regex(Regex),
    /// Those whose command lines contain this.
    Part(String),
}

impl Pattern {
    fn is_in(&self, text: &str) -> bool {
        match self {
            Self::Regex(regex) => regex.is_match(text),
            Self::Part(part) => text.contains(part.as_str()),
        }
    }
}

/// What runs here.
#[derive(Debug)]
pub struct Running {
    all: Vec<(u32, Vec<String>)>,
    /// Others can't be looked at.
    hidden: bool,
    /// This process and all that led to it.
    ancestors: HashSet<u32>,
}

/// One that matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match {
    /// Its id.
    pub pid: u32,
    /// Its parent's.
    pub ppid: u32,
    /// Field 22 of `/proc/PID/stat`.
    pub start: u64,
}

/// What a process is to whoever looks for a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// It may be the service.
    Candidate,
    /// It has another's command line in its own.
    Repeats,
    /// A script that started this program, or that restarts the service; or the service itself.
    Doubtful,
}

/// Where a process comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// It started this program.
    Ours,
    /// The restart command that runs has started it.
    Restart,
    /// Elsewhere.
    Other,
}

impl Running {
    /// Looks. The error says why nothing can be seen.
    pub fn look() -> Result<Self, String> {
        let me = std::process::id();
        let all = RefCell::new(Vec::new());
        let found = find(&HashSet::from([me]), |pid, argv| {
            // A kernel thread has no arguments, and would match a pattern that matches nothing.
            if !argv.is_empty() {
                all.borrow_mut().push((pid, argv.to_vec()));
            }
            false
        })?;
        Ok(Self {
            all: all.into_inner(),
            hidden: found.hidden,
            ancestors: ancestors(me),
        })
    }

    /// Those that match and live, without scripts of the session `restart`.
    pub fn matching(&self, pattern: &Pattern, restart: Option<u32>) -> Vec<Match> {
        self.of_role(pattern, restart, Role::Candidate)
    }

    /// Whether there are others, which can't be looked at.
    pub fn are_others_hidden(&self) -> bool {
        self.hidden
    }

    /// Whether this program was started by it.
    pub fn started_us(&self, pid: u32) -> bool {
        self.ancestors.contains(&pid)
    }

    fn of_role(&self, pattern: &Pattern, restart: Option<u32>, wanted: Role) -> Vec<Match> {
        let me = std::process::id();
        let origin = |pid: u32| match restart {
            _ if self.started_us(pid) => Origin::Ours,
            Some(restart) if is_in_session(pid, restart) => Origin::Restart,
            Some(_) | None => Origin::Other,
        };
        let candidates = self.all.iter().filter(|(pid, argv)| {
            pattern.is_in(&argv.join(" ")) && role(argv, origin(*pid), pattern) == wanted
        });
        candidates
            .filter_map(|(pid, _)| {
                let Stat { ppid, start, .. } =
                    host::stat_of(*pid).filter(|stat| !stat.has_ended())?;
                // A command of another check may hold the pattern.
                let is_ours = ancestors(*pid).contains(&me);
                (!is_ours).then_some(Match {
                    pid: *pid,
                    ppid,
                    start,
                })
            })
            .collect()
    }

    /// Whether so many match, and which they are. In the session `restart` the service is restarted.
    pub fn ask(
        &self,
        pattern: &Pattern,
        min: usize,
        restart: Option<u32>,
    ) -> (Outcome, Vec<Match>) {
        let matching = self.matching(pattern, restart);
        let outcome = match matching.first() {
            Some(first) if min == 1 => Outcome::Pass(format!("process {}", first.pid)),
            Some(_) | None => judge(matching.len(), self.hidden, min),
        };
        let is_no = !outcome.passes();
        let doubtful = if is_no {
            self.of_role(pattern, restart, Role::Doubtful)
        } else {
            Vec::new()
        };
        match doubtful.first() {
            Some(one) => {
                let script = match self.started_us(one.pid) {
                    true => "a script that started ready-keeper",
                    false => "a script that restarts it",
                };
                let pid = one.pid;
                let text = format!("no process matches but {pid}, {script}");
                (Outcome::unknown(text), matching)
            }
            None => (outcome, matching),
        }
    }
}

/// Only of what started this program can be said that it repeats the command line of another by accident: cron's shell
/// does, and whatever else has this program's arguments among its own.
fn role(argv: &[String], origin: Origin, pattern: &Pattern) -> Role {
    let Some(program) = argv.first() else {
        return Role::Repeats;
    };
    let name = base_name(program);
    let is_wrapper = INIT_WRAPPERS.contains(&name) || OURS.contains(&name);
    // Looked for by its own name, it is meant.
    if is_wrapper && !pattern.is_in(program) {
        return Role::Repeats;
    }
    let is_shell = SHELLS.contains(&name.trim_start_matches('-'));
    match origin {
        Origin::Other => return Role::Candidate,
        Origin::Restart if is_shell => return Role::Doubtful,
        Origin::Restart => return Role::Candidate,
        Origin::Ours => {}
    }
    let names_us = argv
        .iter()
        .skip(1)
        .any(|word| OURS.contains(&base_name(word)));
    let reads_text = argv.iter().skip(1).any(|word| word == "-c");
    match (names_us, is_shell, reads_text) {
        (true, false, _) if pattern.is_in(program) => Role::Candidate,
        (true, ..) | (false, true, true) => Role::Repeats,
        (false, true, false) => Role::Doubtful,
        (false, false, _) => Role::Candidate,
    }
}

fn base_name(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

fn is_in_session(pid: u32, session: u32) -> bool {
    let raw = |pid: u32| i32::try_from(pid).ok().and_then(Pid::from_raw);
    raw(pid).is_some_and(|pid| getsid(Some(pid)).ok() == raw(session))
}

/// The youngest of them that none of the others has started: workers come and go.
pub fn youngest(matching: &[Match]) -> Option<Match> {
    let is_root = |one: &&Match| !matching.iter().any(|other| other.pid == one.ppid);
    let roots = matching.iter().filter(is_root);
    roots.max_by_key(|one| one.start).copied()
}

/// The life of a process.
pub fn instance(pid: u32, start: u64) -> Instance {
    let ticks_per_second = rustix::param::clock_ticks_per_second().max(1);
    // At the latest: the kernel tells the tick in which it began.
    let started_ms = start.saturating_add(1).saturating_mul(1_000) / ticks_per_second;
    let age_ms = clock::millis(clock::since_boot()).saturating_sub(started_ms);
    Instance {
        // Process ids have 22 bits: PID_MAX_LIMIT, see proc_sys_kernel(5).
        id: start << 22 | u64::from(pid),
        began_ms: clock::mono_ms().saturating_sub(age_ms),
        // Workers come and go.
        is_alone: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(pid: u32, ppid: u32, start: u64) -> Match {
        Match { pid, ppid, start }
    }

    #[test]
    fn the_youngest_is_no_worker_of_another() {
        let (master, worker, other) = (one(10, 1, 100), one(11, 10, 900), one(20, 1, 500));
        assert_eq!(youngest(&[]), None);
        assert_eq!(youngest(&[worker, master]), Some(master));
        assert_eq!(youngest(&[master, worker, other]), Some(other));
        assert_eq!(youngest(&[worker]), Some(worker));
    }

    #[test]
    fn a_life_began_when_its_process_did() {
        let (me, start) = host::myself();
        let start = start.unwrap();
        let life = instance(me, start);
        assert!(life.began_ms <= clock::mono_ms());
        assert_eq!(life.id, instance(me, start).id);
        assert_ne!(life.id, instance(me + 1, start).id);
        assert_ne!(life.id, instance(me, start + 1).id);
    }

    #[test]
    fn who_only_repeats_a_command_line_is_no_service() {
        let part = |text: &str| Pattern::Part(text.to_owned());
        let table = [
            // command line, whether it started us, pattern, role
            ("minio server /data", false, "minio", Role::Candidate),
            ("sh -c minio", false, "minio", Role::Candidate),
            ("tini -- minio", false, "minio", Role::Repeats),
            ("/sbin/tini -- minio", false, "tini", Role::Candidate),
            (
                "ready-keeper run --config /etc/minio.toml",
                false,
                "minio",
                Role::Repeats,
            ),
            ("ready-probe run -- minio", false, "minio", Role::Repeats),
            ("/usr/sbin/cron -f", true, "cron", Role::Candidate),
            ("python3 worker.py", true, "worker", Role::Candidate),
            (
                "sudo ready-keeper once --config /etc/minio.json",
                true,
                "minio",
                Role::Repeats,
            ),
            (
                "python3 /srv/x.py /bin/ready-keeper",
                true,
                "python3",
                Role::Candidate,
            ),
            ("/bin/sh -c minio-health", true, "minio", Role::Repeats),
            ("bash /opt/minio-health.sh", true, "minio", Role::Doubtful),
            ("-bash", true, "bash", Role::Doubtful),
        ];
        for (line, started_us, pattern, want) in table {
            let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let origin = match started_us {
                true => Origin::Ours,
                false => Origin::Other,
            };
            assert_eq!(role(&argv, origin, &part(pattern)), want, "{line}");
        }
        for (line, want) in [
            ("bash /opt/restart-minio.sh", Role::Doubtful),
            ("minio server /data", Role::Candidate),
            ("python3 minio.py", Role::Candidate),
        ] {
            let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let role = role(&argv, Origin::Restart, &part("minio"));
            assert_eq!(role, want, "{line}");
        }
    }

    #[test]
    fn this_program_is_not_found_and_what_it_started_is_not_either() {
        let mut child = std::process::Command::new("sleep")
            .arg("61.5")
            .spawn()
            .unwrap();
        let running = Running::look().unwrap();
        let found = running.matching(&Pattern::Part("sleep 61.5".to_owned()), None);
        let any = running.matching(&Pattern::Regex(Regex::new("").unwrap()), None);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found, []);
        assert!(!any.iter().any(|one| one.pid == std::process::id()));
    }
}
