//! What the engine says happens to containers.

use std::{
    fs::{self, File},
    path::PathBuf,
};

use ready_probe_test_support::{docker::Engine, process::Guard};
use serde_json::Value;

/// What the engine says happens, from the beginning on: it remembers little itself.
pub struct Events {
    lines: PathBuf,
    _folder: tempfile::TempDir,
    _docker: Guard,
}

impl Events {
    /// From now on.
    pub fn record(engine: &Engine) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lines = folder.path().join("events");
        let mut docker = engine.command("docker");
        docker.args([
            "events",
            "--filter=event=start",
            "--filter=event=health_status",
            "--format={{json .}}",
        ]);
        docker.stdout(File::create(&lines).unwrap());
        Self {
            lines,
            _docker: Guard::spawn(&mut docker),
            _folder: folder,
        }
    }

    /// When `action` first happened to a container, in nanoseconds on the engine's clock.
    #[track_caller]
    pub fn first(&self, id: &str, action: &str) -> u64 {
        let events = self.of(id);
        let first = events.iter().find(|event| event["status"] == action);
        let first = first.unwrap_or_else(|| panic!("no event {action} of {id} in {events:#?}"));
        first["timeNano"].as_u64().unwrap()
    }

    /// What has happened to the health of a container, in order.
    pub fn health(&self, id: &str) -> Vec<String> {
        let events = self.of(id);
        let events = events.iter().filter_map(|event| {
            let status = event["status"].as_str()?;
            Some(status.strip_prefix("health_status: ")?.to_owned())
        });
        events.collect()
    }

    fn of(&self, id: &str) -> Vec<Value> {
        let lines = fs::read_to_string(&self.lines).unwrap();
        let events = lines
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        events.filter(|event: &Value| event["id"] == id).collect()
    }
}
