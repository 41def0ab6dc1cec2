//! What the SDK's integration tests stand on: waiting with a deadline, what a probe would say, and
//! a second process to publish from.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "each test file uses a part; a fixture fails its test by panicking"
)]

pub mod disk;
pub mod log;
pub mod program;

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use ready_probe_sdk::clock;
use ready_probe_sdk::folder::{Believed, Folder, Found};
use ready_probe_sdk::freshness::{Observed, judge};
use ready_probe_sdk::host::{self, Epoch};
use ready_probe_sdk::signal::{Instance, Name, Signal, State};
use serde_json::Map;

/// Longer than anything here takes on a busy machine; a test that waits so long has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(2);

/// Waits until `look` finds something.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = clock::since_boot() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(clock::since_boot() < deadline, "never: {what}");
        thread::sleep(POLL);
    }
}

/// Looks again and again, to see that something does not happen.
pub fn throughout(span: Duration, mut look: impl FnMut()) {
    let end = clock::since_boot() + span;
    while clock::since_boot() < end {
        look();
        thread::sleep(POLL);
    }
}

/// Does what means something only if it is done within the limit, and does it again where the machine
/// stood still for so long.
pub fn within<T>(limit: Duration, mut act: impl FnMut() -> T) -> T {
    loop {
        let begin = clock::since_boot();
        let done = act();
        if clock::since_boot() - begin < limit {
            return done;
        }
    }
}

/// A folder of signals that is removed with it.
pub struct TempFolder {
    dir: tempfile::TempDir,
}

impl TempFolder {
    pub fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// The same in memory, as agents have it: for a thousand of them a disk is too slow.
    pub fn in_memory() -> Self {
        Self {
            dir: tempfile::tempdir_in("/dev/shm").unwrap(),
        }
    }

    /// The folder; it is made by whoever publishes first.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("signals")
    }

    pub fn agent_dir(&self, agent: &str) -> PathBuf {
        self.path().join(agent)
    }

    pub fn signals(&self) -> Folder {
        Folder::at(&self.path()).unwrap()
    }

    pub fn read(&self, agent: &str) -> Found {
        self.signals().read(&name(agent)).unwrap()
    }

    /// What a probe would say of each instance of the agent.
    pub fn says(&self, agent: &str) -> Vec<String> {
        self.read(agent).believed.iter().map(verdict).collect()
    }

    /// The one record of the agent.
    pub fn record(&self, agent: &str) -> Signal {
        let mut found = self.read(agent).believed;
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0).signal.unwrap()
    }

    /// Waits until the only instance says something that starts so.
    pub fn until_says(&self, agent: &str, want: &str) {
        let deadline = clock::since_boot() + PATIENCE;
        loop {
            let says = self.says(agent);
            if says.len() == 1 && says[0].starts_with(want) {
                return;
            }
            assert!(
                clock::since_boot() < deadline,
                "{agent} never says {want:?}, but {says:?}"
            );
            thread::sleep(POLL);
        }
    }

    /// Puts a file where an agent's records are.
    pub fn put(&self, agent: &str, file: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let dir = self.agent_dir(agent);
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join(file);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// The names of all files of an agent, hidden ones included, sorted.
    pub fn files(&self, agent: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.agent_dir(agent)).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

pub fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// `ready`, or why not, as a probe of this container would say it.
pub fn verdict(record: &Believed) -> String {
    let signal = match &record.signal {
        Ok(signal) => signal,
        Err(e) => return e.to_string(),
    };
    let epoch = Epoch::current();
    let observed = Observed {
        epoch: &epoch,
        process: record.process,
        now_ms: clock::mono_ms(),
    };
    judge(signal, &observed).map_or_else(|why| why.to_string(), |_| "ready".to_owned())
}

/// What this process would publish, ready, had it written the record by hand.
pub fn own_signal(agent: &str) -> Signal {
    let (pid, start) = host::myself();
    signal_of(agent, pid, start)
}

pub fn signal_of(agent: &str, pid: u32, pid_start: Option<u64>) -> Signal {
    let epoch = Epoch::current();
    Signal {
        v: 1,
        agent: name(agent),
        instance: Instance::of_process("h", pid, pid_start),
        state: State::Ready,
        reason: None,
        details: Map::new(),
        ttl_ms: Some(60_000),
        beat_ms: Some(10_000),
        seq: 1,
        host: None,
        pid: Some(pid),
        pid_start,
        boot_id: epoch.boot_id,
        pid_ns: epoch.pid_ns,
        init_start: epoch.init_start,
        time_ns: epoch.time_ns,
        container: None,
        mono_ms: Some(clock::mono_ms()),
        since: None,
        sdk: None,
        announced: None,
    }
}

pub fn file_of(pid: u32, start: Option<u64>) -> String {
    format!("{pid}-{}.json", start.unwrap())
}

pub fn own_file() -> String {
    let (pid, start) = host::myself();
    file_of(pid, start)
}

/// A process that has ended: its id is free, its start time known.
pub fn dead_process() -> (u32, Option<u64>) {
    let mut child = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .unwrap();
    let id = (child.id(), host::Process::of(child.id()).start());
    child.kill().unwrap();
    child.wait().unwrap();
    id
}

pub fn mode_of(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}
