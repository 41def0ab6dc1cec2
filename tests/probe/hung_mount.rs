//! A file system that has stopped answering, beside a container, and the probes that are stuck there.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ready_probe_test_support::fuse::Fuse;
use ready_probe_test_support::process::{Run, run, wait_until};

use crate::container::Container;
use crate::starved::is_starved;

pub const TIMEOUT: Duration = Duration::from_secs(2);
/// How long after its deadline a process may end, on a machine that is busy with other tests.
const SLACK: Duration = Duration::from_secs(3);

/// A container beside which a folder is shown that may hang.
pub struct World {
    pub container: Container,
    pub fuse: Fuse,
}

impl World {
    pub fn new() -> Self {
        let container = Container::new();
        for folder in ["behind", "far"] {
            fs::create_dir(container.path(folder)).unwrap();
        }
        let fuse = Fuse::mount(&container.path("behind"), &container.path("far"));
        Self { container, fuse }
    }

    /// Puts a file there; returns where it is seen.
    pub fn file(&self, name: &str, text: &str) -> String {
        fs::write(self.container.path("behind").join(name), text).unwrap();
        self.far(name)
    }

    pub fn far(&self, name: &str) -> String {
        self.container.path("far").join(name).display().to_string()
    }

    pub fn point(&self) -> String {
        self.container.path("far").display().to_string()
    }

    pub fn probe(&self, args: &[&str]) -> Command {
        let mut probe = self.container.probe(args);
        probe.current_dir(self.container.path(""));
        probe.env("READY_TIMEOUT", format!("{}ms", TIMEOUT.as_millis()));
        probe
    }

    /// Probes that are stuck there.
    pub fn left(&self) -> Vec<u32> {
        probes_below(&self.container.path(""))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.fuse.go_on();
        wait_until(
            Duration::from_secs(10),
            "those that were left to end",
            || self.left().is_empty().then_some(()),
        );
    }
}

/// The processes of probes that were started in a folder.
fn probes_below(folder: &Path) -> Vec<u32> {
    let folder = folder.display().to_string();
    let folder = folder.trim_end_matches('/');
    let numbers = |path: &str| -> Vec<u32> {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        names.collect()
    };
    // Of one that was killed, only the thread that waits is left to tell.
    let is_ours = |pid: &u32| {
        numbers(&format!("/proc/{pid}/task")).iter().any(|tid| {
            let read = |file: &str| {
                let bytes = fs::read(format!("/proc/{pid}/task/{tid}/{file}"));
                String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
            };
            read("cmdline").contains("ready-probe") && read("environ").contains(folder)
        })
    };
    let mut pids = numbers("/proc");
    pids.retain(is_ours);
    pids
}

#[track_caller]
pub fn assert_in_time(run: &Run) {
    assert!(run.elapsed < TIMEOUT + SLACK, "{run:?}");
}

/// Runs it again where the machine was too busy; such a one has not had the time to remember its child.
pub fn unless_starved(probe: &mut Command, starved: &mut usize) -> Run {
    loop {
        let run = run(probe);
        if !is_starved(&run) || *starved == 10 {
            return run;
        }
        *starved += 1;
    }
}
