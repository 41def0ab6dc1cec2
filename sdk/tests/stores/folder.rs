//! The container's shared memory. Its instances are living processes.

use std::fs;
use std::process::{Child, Command};

use ready_probe_sdk::folder::Folder;
use ready_probe_sdk::host::{Epoch, Process};
use ready_probe_sdk::signal::{Instance, Name, Signal};
use ready_probe_sdk::store::Published;
use ready_probe_sdk::store::contract::Backend;
use ready_probe_sdk::store_contract;

struct Signals {
    dir: tempfile::TempDir,
    processes: Vec<Child>,
}

impl Signals {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            processes: Vec::new(),
        }
    }

    fn process(&mut self, nth: u32) -> (u32, Option<u64>) {
        while self.processes.len() < usize::try_from(nth).unwrap() {
            let child = Command::new("sleep").arg("1000").spawn().unwrap();
            self.processes.push(child);
        }
        let pid = self.processes[usize::try_from(nth).unwrap() - 1].id();
        (pid, Process::of(pid).start())
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Backend for Signals {
    type Store = Folder;
    const KEEPS_EACH: bool = false;

    async fn store(&mut self) -> Folder {
        Folder::at(self.dir.path()).unwrap()
    }

    fn published(&mut self, agent: &str, nth: u32) -> Published {
        let (pid, start) = self.process(nth);
        Published {
            agent: Name::new(agent).unwrap(),
            instance: Instance::of_process("host", pid, start),
        }
    }

    fn complete(&mut self, signal: &mut Signal) {
        let epoch = Epoch::current();
        let mut ids = signal.instance.as_str().split('-').skip(1);
        signal.pid = ids.next().and_then(|pid| pid.parse().ok());
        signal.pid_start = ids.next().and_then(|start| start.parse().ok());
        signal.boot_id = epoch.boot_id;
        signal.pid_ns = epoch.pid_ns;
        signal.init_start = epoch.init_start;
    }

    /// Life without end can't be had here: every record ends with its process.
    async fn put_raw(&mut self, published: &Published, bytes: &[u8], ttl_ms: Option<u64>) -> bool {
        let folder = self.dir.path().join(published.agent.as_str());
        fs::create_dir_all(&folder).unwrap();
        let process = published.instance.as_str().trim_start_matches("host-");
        fs::write(folder.join(format!("{process}.json")), bytes).unwrap();
        ttl_ms.is_some()
    }

    async fn wipe(&mut self) {
        for entry in fs::read_dir(self.dir.path()).unwrap() {
            fs::remove_dir_all(entry.unwrap().path()).unwrap();
        }
    }
}

store_contract!(local, Signals::new());
